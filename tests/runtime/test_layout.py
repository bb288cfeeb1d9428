"""Host arrays in DRAM, against a twin that places one byte at a time."""

import dataclasses

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from hpu.hw.config import CONFIGS, Config
from hpu.runtime import layout
from hpu.runtime.program import Port

LAB = CONFIGS["lab-16"]
#: More rows than columns, and beats of two chunks.
TALL = dataclasses.replace(LAB, rows=32, cols=16, group=8, tile=8, axi_bytes=16)
SHAPES = [(1, 1, 1, 1), (2, 3, 4, 5), (2, 3, 1, 16), (1, 2, 2, 37), (3, 1, 5, 12), (1, 1, 1, 64)]


def place(shape: tuple[int, ...], config: Config) -> tuple[dict[tuple[int, ...], int], int]:
    """Byte of every element, and the bytes in all, straight from the contract."""
    n, y, x, c = shape
    full = min(config.rows, config.cols)
    places, start = {}, 0
    for first in range(0, c, full):
        channels = min(full, c - first)
        width = -(-channels // config.group)
        pitch = config.pitch_chunks(width) * config.group
        for index, (i, j, k) in enumerate(np.ndindex(n, y, x)):
            for channel in range(channels):
                places[i, j, k, first + channel] = start + index * pitch + channel
        start += n * y * x * pitch
        start += -start % config.axi_bytes
    return places, start


@pytest.mark.parametrize("config", [LAB, TALL], ids=["lab-16", "tall"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_byte_has_its_place(shape, config):
    values = np.random.default_rng(1).integers(-128, 128, shape).astype(np.int8)
    places, size = place(shape, config)
    expected = np.zeros(size, np.uint8)
    for index, byte in places.items():
        expected[byte] = values[index].astype(np.uint8)
    assert layout.tensor_bytes(shape, config) == size
    np.testing.assert_array_equal(layout.pack(values, config), expected)
    np.testing.assert_array_equal(layout.unpack(expected, shape, config), values)


def test_block_widths():
    assert layout.block_widths(37, LAB) == (4, 4, 2)
    assert layout.block_widths(1, LAB) == (1,)


def port(**changes) -> Port:
    fields = {
        "name": "x",
        "dtype": "float32",
        "shape": (2, 12),
        "view": (2, 3, 2, 2),
        "perm": (0, 2, 3, 1),
        "quantised": "uint8",
        "scale": 0.5,
        "zero": 128,
        "tensor": "x",
        "address": 0,
        "shape4": (2, 2, 2, 3),
    }
    return Port(**{**fields, **changes})


def test_uint8_flips_its_top_bit_and_axes_move():
    value = np.arange(24, dtype=np.uint8).reshape(2, 12) * 10
    device = layout.to_device(value, port(dtype="uint8"))
    expected = (value.astype(int) - 128).reshape(2, 3, 2, 2).transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(device, expected)
    np.testing.assert_array_equal(layout.from_device(device, port(dtype="uint8")), value)


def test_float_is_quantised_and_back():
    value = np.linspace(-40, 40, 24, dtype=np.float32).reshape(2, 12)
    back = layout.from_device(layout.to_device(value, port()), port())
    assert back.dtype == np.float32
    assert np.abs(back - value).max() <= 0.25


def onnx_quantise(value: np.ndarray, scale: float, zero: int, dtype: str) -> np.ndarray:
    """onnxruntime's QuantizeLinear."""
    kind = TensorProto.INT8 if dtype == "int8" else TensorProto.UINT8
    graph = helper.make_graph(
        [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["y"])],
        "quantise",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, value.shape)],
        [helper.make_tensor_value_info("y", kind, value.shape)],
        [
            numpy_helper.from_array(np.float32(scale), "s"),
            numpy_helper.from_array(np.array(zero, dtype), "z"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {"x": value})[0]


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("scale", [1.0, 0.5, 0.007874015718698502, 3.1e-5, 1e20])
@pytest.mark.parametrize("zero", [0, 3, 100])
def test_quantise_is_onnxruntimes(dtype, scale, zero):
    generator = np.random.default_rng(5)
    halves = (np.arange(-600, 600) / 2).astype(np.float32) * np.float32(scale)
    wild = np.array([np.inf, -np.inf, 1e38, -1e38, 0.0, -0.0, np.nan], np.float32)
    value = np.concatenate([halves, generator.normal(size=999) * 60 * scale, wild])
    value = np.resize(value.astype(np.float32), 2211)
    found = layout.quantise(value, scale, zero, dtype)
    np.testing.assert_array_equal(found, onnx_quantise(value, scale, zero, dtype))
