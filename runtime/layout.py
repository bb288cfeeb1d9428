"""Host arrays ↔ bytes in DRAM.

A device tensor (n, y, x, c) of int8 stands in DRAM cut into channel blocks of ``min(rows, cols)``.
A block of ``width`` chunks is an array [n][y][x] of rows at ``pitch(width)`` chunks, contiguous;
blocks follow each other, each aligned to ``axi_bytes``. Lanes without a channel hold zero.
A tensor in cells (:mod:`hpu.runtime.cell`) stands there in its stored form.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from hpu.hw.config import Config
from hpu.runtime.cell import PLAIN, Cell
from hpu.runtime.program import Port

__all__ = [
    "Block",
    "block_channels",
    "block_widths",
    "blocks",
    "dequantise",
    "from_device",
    "pack",
    "port_bytes",
    "quantise",
    "tensor_bytes",
    "to_device",
    "unpack",
]


@dataclasses.dataclass(frozen=True)
class Block:
    """``channels`` channels from ``first`` on; rows of ``width`` chunks, ``pitch`` bytes apart."""

    first: int
    channels: int
    width: int
    pitch: int
    #: Bytes from the tensor's address to the block's first row.
    offset: int


def block_channels(config: Config) -> int:
    """Channels in a full block."""
    return min(config.rows, config.cols)


def block_widths(c: int, config: Config) -> tuple[int, ...]:
    """Chunks per row of every channel block of a tensor with ``c`` channels."""
    full = block_channels(config)
    return tuple(-(-min(full, c - first) // config.group) for first in range(0, c, full))


def blocks(shape4: Sequence[int], config: Config) -> Iterator[Block]:
    """The channel blocks of a tensor of shape (n, y, x, c), in order."""
    n, y, x, c = shape4
    offset = 0
    for index, width in enumerate(block_widths(c, config)):
        first = index * block_channels(config)
        channels = min(block_channels(config), c - first)
        pitch = config.pitch_chunks(width) * config.group
        yield Block(first, channels, width, pitch, offset)
        offset += _aligned(n * y * x * pitch, config)


def tensor_bytes(shape4: Sequence[int], config: Config) -> int:
    """Bytes of DRAM that a tensor of shape (n, y, x, c) takes, a multiple of ``axi_bytes``."""
    n, y, x, _c = shape4
    return sum(_aligned(n * y * x * block.pitch, config) for block in blocks(shape4, config))


def _aligned(size: int, config: Config) -> int:
    return -(-size // config.axi_bytes) * config.axi_bytes


def pack(values: np.ndarray, config: Config, cell: Cell = PLAIN) -> np.ndarray:
    """DRAM bytes (uint8, one axis) of the device tensor ``values`` (int8, (n, y, x, c))."""
    values = cell.store(values)
    data = np.zeros(tensor_bytes(values.shape, config), np.uint8)
    for block, rows in _rows(data, values.shape, config):
        part = values[..., block.first : block.first + block.channels]
        rows[:, : block.channels] = part.reshape(-1, block.channels).view(np.uint8)
    return data


def unpack(
    data: np.ndarray, shape4: Sequence[int], config: Config, cell: Cell = PLAIN
) -> np.ndarray:
    """The device tensor (int8, (n, y, x, c)) that starts with the DRAM bytes ``data`` (uint8)."""
    n, y, x, c = shape4
    stored = cell.stored((n, y, x, c))
    values = np.empty(stored, np.int8)
    for block, rows in _rows(np.asarray(data), stored, config):
        part = rows[:, : block.channels].view(np.int8)
        values[..., block.first : block.first + block.channels] = part.reshape(*stored[:3], -1)
    return cell.restore(values, c)


def port_bytes(port: Port, config: Config) -> int:
    """Bytes of DRAM that a port's tensor takes."""
    return tensor_bytes(port.cell.stored(port.shape4), config)


def _rows(
    data: np.ndarray, shape4: Sequence[int], config: Config
) -> Iterator[tuple[Block, np.ndarray]]:
    """Every block, with a view of its rows in ``data``: [n·y·x, pitch]."""
    count = int(np.prod(shape4[:3]))
    for block in blocks(shape4, config):
        end = block.offset + count * block.pitch
        yield block, data[block.offset : end].reshape(count, block.pitch)


def to_device(value: np.ndarray, port: Port) -> np.ndarray:
    """The device tensor (int8, (n, y, x, c)) of a user's array of the port's type and shape."""
    if port.dtype == "float32":
        value = quantise(value, port.scale, port.zero, port.quantised)
    return _flip(value).reshape(port.view).transpose(port.perm)


def from_device(values: np.ndarray, port: Port) -> np.ndarray:
    """The user's array, of ``port.dtype`` and ``port.shape``, of a device tensor (int8)."""
    back = np.argsort(port.perm)
    value = np.ascontiguousarray(values.transpose(back)).reshape(port.shape)
    if port.quantised == "uint8":
        value = _flip(value.view(np.uint8)).view(np.uint8)
    if port.dtype == "float32":
        return dequantise(value, port.scale, port.zero)
    return value


def quantise(value: np.ndarray, scale: float, zero: int, dtype: str) -> np.ndarray:
    """ONNX QuantizeLinear of a float32 array: divide in float32, round half to even, saturate.

    What is not a number becomes the least value, as in onnxruntime.
    """
    limits = np.iinfo(dtype)
    with np.errstate(over="ignore"):  # an overflow is infinite, and saturates
        scaled = np.asarray(value, np.float32) / np.float32(scale)
    np.fmax(scaled, np.float32(limits.min - zero), out=scaled)
    np.fmin(scaled, np.float32(limits.max - zero), out=scaled)
    np.rint(scaled, out=scaled)
    scaled += np.float32(zero)
    return scaled.astype(dtype)


def dequantise(value: np.ndarray, scale: float, zero: int) -> np.ndarray:
    """ONNX DequantizeLinear of an int8 or uint8 array, in float32."""
    result = value.astype(np.float32)
    result -= np.float32(zero)
    result *= np.float32(scale)
    return result


def _flip(value: np.ndarray) -> np.ndarray:
    """int8 as it is; uint8 with the top bit flipped, as int8."""
    value = np.ascontiguousarray(value)
    return (value ^ np.uint8(0x80)).view(np.int8) if value.dtype == np.uint8 else value
