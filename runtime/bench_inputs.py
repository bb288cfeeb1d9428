"""The folder ``../shared`` with real models, and inputs for each of them."""

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from hpu.runtime.errors import HpuError

__all__ = ["MODELS", "digits", "model_inputs", "quantised_twin", "read", "rebatched"]

SHARED = Path(__file__).resolve().parents[2] / "shared"
#: Every model's kind of input.
MODELS = {
    "mlperf_tiny_ad_fp32": "signal",
    "mlperf_tiny_ad_int8": "signal",
    "mlperf_tiny_ic_resnet8_int8": "photo",
    "mlperf_tiny_kws_fp32": "signal",
    "mlperf_tiny_kws_int8": "signal",
    "mlperf_tiny_vww_fp32": "photo",
    "mlperf_tiny_vww_int8": "photo",
    "mnist_conv_fp32": "digits",
    "mnist_conv_qdq_int8": "digits",
    "mobilenet_v1_025_128_uint8": "photo",
}


def read(name: str) -> onnx.ModelProto:
    """The model ``name`` of the folder.

    Raises
    ------
    HpuError
        When the folder is not there.
    """
    path = SHARED / "models" / f"{name}.onnx"
    if not path.exists():
        raise HpuError(f"{path.name} is not in the folder ../shared/models; put the models there.")
    return onnx.load(path)


def rebatched(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """``model``, whose batch is fixed at 1, with the batch ``batch``."""
    found = onnx.ModelProto()
    found.CopyFrom(model)
    graph = found.graph
    for value in (*graph.input, *graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch
    del graph.value_info[:]
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        shape = constants.get(node.input[1]) if node.op_type == "Reshape" else None
        if shape is not None and (sizes := numpy_helper.to_array(shape).copy())[0] == 1:
            sizes[0] = batch
            shape.CopyFrom(numpy_helper.from_array(sizes, shape.name))
    return found


def digits() -> tuple[np.ndarray, np.ndarray]:
    """1,000 handwritten digits as float32 [1000, 1, 28, 28], 0 to 255, and their labels."""
    with np.load(SHARED / "data" / "mnist_t10k_first1000.npz") as data:
        return data["images"][:, None].astype(np.float32), data["labels"]


def quantised_twin(name: str) -> str:
    """The int8 model of the same network as the float model ``name``."""
    return name.replace("fp32", "int8")


def model_inputs(name: str, count: int) -> np.ndarray:
    """Inputs of the model ``name`` along a new first axis.

    Digits are real; photos are ``count`` random cut-outs of one photo, brighter and darker; signals
    are random walks. A float model takes the same numbers as its int8 twin.
    """
    if MODELS[name] == "digits":
        return digits()[0][:count]
    if name.endswith("fp32"):
        twin = quantised_twin(name)
        scale, zero = _input_quantisation(read(twin))
        return (model_inputs(twin, count).astype(np.float32) - zero) * scale
    value = read(name).graph.input[0].type.tensor_type
    shape = [size.dim_value for size in value.shape.dim][1:]
    draw = _cuts if MODELS[name] == "photo" else _walks
    pixels = draw(shape, count, np.random.default_rng(0))
    if value.elem_type == onnx.TensorProto.INT8:
        return (pixels.astype(np.int16) - 128).astype(np.int8)
    return pixels


def _input_quantisation(model: onnx.ModelProto) -> tuple[np.float32, float]:
    """Scale and zero point of a model's only input, which is int8."""
    name = model.graph.input[0].name
    node = next(n for n in model.graph.node if n.input[0] == name)
    while node.op_type != "DequantizeLinear":
        node = next(n for n in model.graph.node if node.output[0] in n.input)
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    return np.float32(constants[node.input[1]]), float(constants[node.input[2]])


def _cuts(shape: list[int], count: int, random: np.random.Generator) -> np.ndarray:
    """uint8 [count, height, width, 3]."""
    from PIL import Image

    height, width, _colours = shape
    with Image.open(SHARED / "data" / "grace_hopper.bmp") as file:
        photo = file.convert("RGB")
    cuts = []
    for _cut in range(count):
        edge = int(random.integers(min(photo.size) // 4, min(photo.size)))
        left, top = (int(random.integers(0, size - edge + 1)) for size in photo.size)
        cut = photo.resize((width, height), box=(left, top, left + edge, top + edge))
        cuts.append(np.clip(np.asarray(cut) * random.uniform(0.6, 1.3), 0, 255))
    return np.stack(cuts).astype(np.uint8)


def _walks(shape: list[int], count: int, random: np.random.Generator) -> np.ndarray:
    """uint8 [count, *shape], each a random walk along its first axis, over most of the range."""
    walks = np.cumsum(random.normal(size=(count, *shape)), axis=1)
    axes = tuple(range(1, walks.ndim))
    low, high = walks.min(axes, keepdims=True), walks.max(axes, keepdims=True)
    return np.rint(16 + 223 * (walks - low) / (high - low)).astype(np.uint8)
