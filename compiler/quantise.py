"""Float models are quantised with onnxruntime's own tools: QDQ, int8, weights per channel."""

import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from hpu.compiler.calibration import CalibrationData, CalibrationSet, Samples, as_set, warn
from hpu.compiler.calibration_ranges import METHODS, measure_ranges, quiet
from hpu.compiler.errors import ModelError
from hpu.compiler.importer.fold import run_model, small_model
from hpu.compiler.importer.load import first_line, model_inputs
from hpu.compiler.modern import modern
from hpu.compiler.qdq import join_functions, restore_clips, restore_constants, without_unread
from hpu.compiler.recurrent import unroll
from hpu.compiler.submodel import with_names
from hpu.compiler.support import quantised_operators

__all__ = ["is_float", "quantise"]

_QUANTISED = ("QuantizeLinear", "DequantizeLinear", "QLinear", "QGemm")


def is_float(model: onnx.ModelProto) -> bool:
    """Whether the model quantises nothing but weights."""
    weights = {node.output[0] for node in _weights(model)}
    return not any(
        node.op_type.startswith(_QUANTISED) and node.output[0] not in weights
        for node in model.graph.node
    )


def _weights(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """The nodes that dequantise an initializer."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [
        node
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and constants.issuperset(filter(None, node.input))
    ]


def _with_float_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model with float initializers for those that it dequantises."""
    found = _weights(model)
    if not found:
        return model
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    constants = {tensor.name: tensor for tensor in copy.graph.initializer}
    opset = max(e.version for e in copy.opset_import if e.domain in ("", "ai.onnx"))
    for node in _weights(copy):
        arrays = {name: numpy_helper.to_array(constants[name]) for name in node.input if name}
        (real,) = run_model(small_model([node], {}, arrays, [node.output[0]], opset), {})
        copy.graph.initializer.append(numpy_helper.from_array(real, node.output[0]))
        copy.graph.node.remove(node)
    return without_unread(copy)


def quantise(model: onnx.ModelProto, calibration: CalibrationData | None) -> onnx.ModelProto:
    """The model in QDQ form: int8 activations per tensor, int8 weights per output channel.

    What looks wrong with the calibration data is told as an HpuWarning.

    Parameters
    ----------
    model:
        A float model.
    calibration:
        Samples of every input, see :class:`~hpu.compiler.calibration.CalibrationSet`.

    Raises
    ------
    ModelError
        When there are no samples, or they do not fit the model's inputs.
    """
    if calibration is None or calibration == {}:
        raise ModelError(_missing(model))
    given = as_set(calibration)
    samples = Samples(model, given)
    model = modern(_with_float_weights(model))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, folded, target = (folder / f"{stage}.onnx" for stage in ("a", "b", "c"))
        onnx.save(model, source)
        with quiet():
            _fold(source, folded)
        plain = with_names(_with_flat_biases(onnx.load(folded)))
        onnx.save(plain, folded)
        ranges, remarks = measure_ranges(folded, samples, given, folder)
        _quantise_file(folded, target, ranges, given)
        for text in (*samples.remarks(), *remarks):
            warn(text)
        whole = restore_constants(restore_clips(onnx.load(target), plain), plain)
        return join_functions(whole)


def _fold(source: Path, target: Path) -> None:
    """The model at ``source`` with its constants folded and its recurrent layers written out."""
    quant_pre_process(source, target, skip_symbolic_shape=True)
    model = onnx.load(target)
    if unroll(model):
        onnx.save(without_unread(model), source)
        quant_pre_process(source, target, skip_symbolic_shape=True)


def _with_flat_biases(model: onnx.ModelProto) -> onnx.ModelProto:
    """``model`` itself; the constant bias of every Gemm is [n], as per-channel scales want it."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        weight, bias = [constants.get(name) for name in (*node.input[1:3], "", "")[:2]]
        if node.op_type != "Gemm" or weight is None or bias is None:
            continue
        turned = any(entry.name == "transB" and entry.i for entry in node.attribute)
        channels = weight.dims[0 if turned else 1]
        values = numpy_helper.to_array(bias)
        if list(bias.dims) != [channels] and values.size in (1, channels):
            flat = np.ascontiguousarray(np.broadcast_to(values.reshape(-1), [channels]))
            node.input[2] = f"{bias.name}/{node.output[0]}"
            model.graph.initializer.append(numpy_helper.from_array(flat, node.input[2]))
    return without_unread(model)


def _missing(model: onnx.ModelProto) -> str:
    names = ", ".join(repr(value.name) for value in model_inputs(model))
    return (
        f"the model is not quantised; give calibration data (samples of {names}) with --calibrate "
        "(calibration=), or quantise it first"
    )


def _quantise_file(source: Path, target: Path, ranges: Path, given: CalibrationSet) -> None:
    def run(per_channel: bool) -> None:
        with quiet():
            quantize_static(
                source,
                target,
                calibration_cache_path=ranges,
                calibrate_method=METHODS[given.method],
                quant_format=QuantFormat.QDQ,
                per_channel=per_channel,
                op_types_to_quantize=quantised_operators(),
                activation_type=QuantType.QInt8,
                weight_type=QuantType.QInt8,
            )

    try:
        run(per_channel=True)
    except Exception as error:  # onnxruntime's errors have no common base
        warn(
            "onnxruntime cannot quantise the model's weights per channel "
            f"({first_line(error)}); they are quantised per tensor"
        )
        run(per_channel=False)
