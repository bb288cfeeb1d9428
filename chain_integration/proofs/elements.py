"""What a contract must be shown to recompute one element of a layer.

The leaves of the inputs, weights, records and tables that the element depends on, with their
Merkle proofs: the struct ``Shown`` of ``contracts/elements.vy``.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterable, Iterator

from hpu.chain_integration.proofs.layers import Kind, Layer, LayerData
from hpu.chain_integration.proofs.merkle import CHUNK, Tree

__all__ = ["NO_TENSOR", "Need", "Shown", "Source", "need", "show"]

#: In place of a tensor where the element does not depend on one.
NO_TENSOR = (1 << 256) - 1
_LOW_40 = (1 << 40) - 1
#: First byte and bytes of a part of a tensor.
Run = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Source:
    """A tensor's bytes and the tree over them."""

    data: bytes
    tree: Tree


@dataclasses.dataclass(frozen=True)
class Need:
    """Tensors, by number, that an element depends on, and the parts of ``x`` in reading order."""

    x: int
    y: int
    runs: tuple[Run, ...]


@dataclasses.dataclass(frozen=True)
class Shown:
    """The struct ``Shown`` of the contract."""

    x: bytes
    x_spans: tuple[int, ...]
    weights: bytes
    weight_spans: tuple[int, ...]
    rest: bytes
    paths: tuple[bytes, ...]

    def values(self) -> tuple[object, ...]:
        """The fields in order, as a contract takes them."""
        return dataclasses.astuple(self)


def need(data: LayerData, position: int) -> Need:
    """What the element at ``position`` (in C order) of a layer's result depends on.

    Raises
    ------
    ValueError
        When the layer has no such element.
    """
    layer = data.layer
    if not 0 <= position < layer.size:
        raise ValueError(f"position must be below {layer.size}, not {position}")
    y = layer.y if layer.operand and layer.kind != Kind.BLEND else NO_TENSOR
    if layer.kind == Kind.MOVE:
        source, place = _entry(data, position)
        if source is None:
            return Need(NO_TENSOR, y, ())
        record = int.from_bytes(data.records[32 * source : 32 * source + 32], "big")
        return Need(record & 0xFFFFFFFFFFFFFFFF, y, ((place, 1),))
    return Need(layer.x, y, tuple(_reads(data, position)))


def _entry(data: LayerData, position: int) -> tuple[int | None, int]:
    """The source of a move's element, ``None`` for the fill byte, and the place in it."""
    word = int.from_bytes(data.weights[8 * position : 8 * position + 8], "big")
    return (word >> 40) - 1 if word else None, word & _LOW_40


def _reads(data: LayerData, position: int) -> Iterator[Run]:
    layer = data.layer
    if layer.kind == Kind.COPY:
        yield position, 1
    elif layer.kind == Kind.BLEND:
        yield from sorted(_positions(data, position))
    else:
        yield from (run for run, _ in _window(layer, position))


def _positions(data: LayerData, position: int) -> Iterator[Run]:
    """The two elements of a blend."""
    layer = data.layer
    step = math.prod(layer.shape[layer.axis + 1 :])
    edge, own = layer.shape[layer.axis], layer.x_shape[layer.axis]
    outer, inner = position // (step * edge), position % step
    here = _record_index(layer, position)
    record = int.from_bytes(data.records[32 * here : 32 * here + 32], "big")
    for place in (record & 0xFFFFFFFF, record >> 32 & 0xFFFFFFFF):
        yield (outer * own + place) * step + inner, 1


def _inside(layer: Layer, axis: int, at: int) -> range:
    """Taps of result ``at`` along y (0) or x (1) that lie in the image."""
    start, step = at * layer.strides[axis] - layer.pads[axis], layer.dilations[axis]
    taps = range(layer.kernel[axis])
    kept = [tap for tap in taps if 0 <= start + tap * step < layer.x_shape[axis + 1]]
    return range(kept[0], kept[-1] + 1) if kept else range(0)


def _window(layer: Layer, position: int) -> Iterator[tuple[Run, Run]]:
    """Runs of x, and of the weights that they meet, in the contract's order."""
    _, height, width, channels = layer.x_shape
    n, y, x, c = _coordinates(layer.shape, position)
    rows, cols = _inside(layer, 0, y), _inside(layer, 1, x)
    depth = channels // layer.groups
    group = c // (layer.shape[3] // layer.groups)
    whole = layer.groups == 1 and (layer.dilations[1] == 1 or len(cols) == 1)
    for ky, kx in itertools.product(rows, cols):
        iy = y * layer.strides[0] - layer.pads[0] + ky * layer.dilations[0]
        ix = x * layer.strides[1] - layer.pads[1] + kx * layer.dilations[1]
        pixel = ((n * height + iy) * width + ix) * channels
        at = ((c * layer.kernel[0] + ky) * layer.kernel[1] + kx) * depth
        if layer.kind != Kind.DOT:
            yield (pixel + c, 1), (0, 0)
        elif not whole:
            yield (pixel + group * depth, depth), (at, depth)
        elif kx == cols[0]:
            yield (pixel, len(cols) * depth), (at, len(cols) * depth)


def _coordinates(shape: tuple[int, ...], position: int) -> tuple[int, int, int, int]:
    _, height, width, channels = shape
    rest, c = divmod(position, channels)
    rest, x = divmod(rest, width)
    n, y = divmod(rest, height)
    return n, y, x, c


def _record_index(layer: Layer, position: int) -> int:
    _, y, x, c = _coordinates(layer.shape, position)
    if layer.kind == Kind.BLEND:
        return (y, x)[layer.axis - 1]
    if layer.kind == Kind.AVERAGE:
        return max(_counted(layer, 0, y) * _counted(layer, 1, x), 1)
    return c


def _counted(layer: Layer, axis: int, at: int) -> int:
    """Taps that an average counts along an axis."""
    if not layer.counts_padding:
        return len(_inside(layer, axis, at))
    end = sum(layer.pads[axis::2]) + layer.x_shape[axis + 1]
    step = layer.dilations[axis]
    taps = range(at * layer.strides[axis], end, step)
    return len(taps[: layer.kernel[axis]])


def _spans(runs: Iterable[Run]) -> list[tuple[int, int]]:
    """First leaf and leaves of what the runs, in ascending order, lie in."""
    spans: list[tuple[int, int]] = []
    for start, length in runs:
        first, last = start // CHUNK, (start + length - 1) // CHUNK
        if spans and first <= spans[-1][0] + spans[-1][1]:
            low, size = spans[-1]
            spans[-1] = low, max(size, last - low + 1)
        else:
            spans.append((first, last - first + 1))
    return spans


class _Shelf:
    """Collects leaves and their proofs in the order in which the contract opens them."""

    def __init__(self) -> None:
        self.paths: list[bytes] = []

    def take(self, source: Source, runs: Iterable[Run]) -> tuple[bytes, tuple[int, ...]]:
        """The leaves that hold the runs, and 32 bytes more; and their spans."""
        shown, spans = [], []
        for first, size in _spans(runs):
            part = source.data[first * CHUNK : (first + size) * CHUNK]
            shown.append(part.ljust(size * CHUNK, b"\0"))
            spans.append(first << 32 | size)
            self.paths += source.tree.prove(first, size)
        return b"".join([*shown, bytes(32)]), tuple(spans)

    def leaf(self, source: Source, index: int) -> bytes:
        """One leaf."""
        return self.take(source, [(index * CHUNK, CHUNK)])[0][:CHUNK]


def show(data: LayerData, position: int, x: Source | None, y: Source | None) -> Shown:
    """Everything that a contract must see to recompute an element.

    Parameters
    ----------
    x, y:
        The tensors that :func:`need` names, ``None`` for none.
    """
    layer, shelf, rest = data.layer, _Shelf(), []
    parts = need(data, position)
    own = Source(data.weights, data.weight_tree)
    weights: bytes = b""
    weight_spans: tuple[int, ...] = ()
    if layer.kind == Kind.DOT:
        runs = [run for _, run in _window(layer, position)]
        weights, weight_spans = shelf.take(own, runs)
    elif layer.kind == Kind.MOVE:
        weights, weight_spans = shelf.take(own, [(8 * position, 8)])
    if layer.records and parts.x != NO_TENSOR:
        index = _record_index(layer, position)
        if layer.kind == Kind.MOVE:
            index = _entry(data, position)[0] or 0
        rest.append(shelf.leaf(Source(data.records, data.record_tree), index // 8))
    nothing: tuple[bytes, tuple[int, ...]] = (b"", ())
    shown, spans = nothing if x is None else shelf.take(x, parts.runs)
    if y is not None:
        rest.append(shelf.leaf(y, position // CHUNK))
    if layer.tables:
        index = position % layer.shape[3] if layer.tables > 1 else 0
        rest.append(shelf.leaf(Source(data.tables, data.table_tree), index))
    paths = tuple(shelf.paths)
    return Shown(shown, spans, weights, weight_spans, b"".join(rest), paths)
