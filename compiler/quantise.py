"""Float models are quantised with onnxruntime's own tools: QDQ, int8, weights per channel."""

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

from hpu.compiler.errors import ModelError
from hpu.compiler.importer.fold import run_model, small_model
from hpu.compiler.importer.load import modern
from hpu.compiler.submodel import names_read

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
    read = {name for node in copy.graph.node for name in names_read(node)}
    for tensor in list(copy.graph.initializer):
        if tensor.name not in read:
            copy.graph.initializer.remove(tensor)
    return copy


def quantise(
    model: onnx.ModelProto, calibration: Mapping[str, np.ndarray] | None
) -> onnx.ModelProto:
    """The model in QDQ form: int8 activations per tensor, int8 weights per output channel.

    Parameters
    ----------
    model:
        A float model.
    calibration:
        float32 samples of every input, along the first axis; the ranges of the activations are the
        least and greatest values seen.

    Raises
    ------
    ModelError
        When there are no samples, or they do not fit the model's inputs.
    """
    samples = _check(model, calibration)
    model = modern(_with_float_weights(model))
    with tempfile.TemporaryDirectory() as folder, _quiet():
        source, folded, target = (Path(folder) / name for name in ("a.onnx", "b.onnx", "c.onnx"))
        onnx.save(model, source)
        quant_pre_process(source, folded, skip_symbolic_shape=True)
        try:
            _quantise_file(folded, target, samples, _batches(model), per_channel=True)
        except ValueError:  # onnxruntime 1.31 cannot scale biases of some shapes per channel
            _quantise_file(folded, target, samples, _batches(model), per_channel=False)
        return onnx.load(target)


def _quantise_file(
    source: Path,
    target: Path,
    samples: Mapping[str, np.ndarray],
    batch: int,
    *,
    per_channel: bool,
) -> None:
    quantize_static(
        source,
        target,
        _Reader(samples, batch),
        quant_format=QuantFormat.QDQ,
        per_channel=per_channel,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
    )


def _input_names(model: onnx.ModelProto) -> list[str]:
    constants = {tensor.name for tensor in model.graph.initializer}
    return [value.name for value in model.graph.input if value.name not in constants]


def _batches(model: onnx.ModelProto) -> int:
    dims = model.graph.input[0].type.tensor_type.shape.dim
    return max(1, dims[0].dim_value) if dims else 1


def _check(
    model: onnx.ModelProto, calibration: Mapping[str, np.ndarray] | None
) -> dict[str, np.ndarray]:
    names = _input_names(model)
    if not calibration:
        raise ModelError(
            "the model is not quantised; give calibration data (samples of "
            f"{', '.join(map(repr, names))}) or quantise it first"
        )
    samples = {}
    for value in model.graph.input:
        if value.name not in names:
            continue
        if value.name not in calibration:
            raise ModelError(f"the calibration data has no samples of the input {value.name!r}")
        samples[value.name] = _fitting(value, np.asarray(calibration[value.name]))
    return samples


def _fitting(value: onnx.ValueInfoProto, samples: np.ndarray) -> np.ndarray:
    dims = value.type.tensor_type.shape.dim
    shape = [dim.dim_value for dim in dims]
    fits = samples.ndim == len(shape) and list(samples.shape[1:]) == shape[1:]
    if not fits or not samples.size or samples.shape[0] % max(1, shape[0]):
        wanted = ", ".join(str(dim.dim_value or dim.dim_param or "?") for dim in dims)
        raise ModelError(
            f"the calibration samples of {value.name!r} have the shape {list(samples.shape)}; the "
            f"model takes [{wanted}], with samples along the first axis"
        )
    samples = samples.astype(np.float32)
    if not np.isfinite(samples).all():
        raise ModelError(f"the calibration samples of {value.name!r} hold NaN or infinity")
    return samples


class _Reader(CalibrationDataReader):
    """Feeds of ``batch`` samples each."""

    def __init__(self, samples: Mapping[str, np.ndarray], batch: int) -> None:
        count = min(len(array) for array in samples.values())
        self._feeds: Iterator[dict[str, np.ndarray]] = (
            {name: array[k : k + batch] for name, array in samples.items()}
            for k in range(0, count - batch + 1, batch)
        )

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next feed, or None after the last."""
        return next(self._feeds, None)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the tools' advice on the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
