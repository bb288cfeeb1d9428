# pragma version 0.4.3
# pragma optimize gas
"""
@title One element of a layer's result, recomputed
@license Apache-2.0
@notice What the machine gives for one element, with the numbers of docs/numerics.md: the last step
        of a dispute. It holds no state; who calls it must know where the inputs' roots come from.
        Layers are made by hpu.chain_integration.proofs.layers.
"""

import merkle

# What a layer computes before requantisation, the second operand, clip and table.
DOT: constant(uint256) = 0  # weighted window: convolution, depthwise or dense
MAXIMUM: constant(uint256) = 1
AVERAGE: constant(uint256) = 2
COPY: constant(uint256) = 3  # the element itself: sums, products and tables
BLEND: constant(uint256) = 4  # two positions along an axis, each with a weight
MOVE: constant(uint256) = 5  # an element of some source, or the fill byte
OUTPUT: constant(uint256) = 6  # the list of the network's results; nothing is computed

NOTHING: constant(uint256) = 0
ADD: constant(uint256) = 1
MULTIPLY: constant(uint256) = 2

# No tensor: the element does not depend on one.
NO_TENSOR: constant(uint256) = max_value(uint256)

struct Layer:
    kind: uint256
    inputs: uint256  # of the network
    x: uint256  # number of the layer that gives x, or 2**32 + number of the network's input
    y: uint256  # the same for the second operand
    x_shape: uint256[4]
    shape: uint256[4]  # of the result, and of the second operand
    kernel: uint256[2]
    strides: uint256[2]
    pads: uint256[4]  # top, left, bottom, right
    dilations: uint256[2]
    groups: uint256
    axis: uint256  # of a blend
    counts_padding: uint256  # an average counts what lies in the padding
    x_zero: int256
    zero: int256  # of the requantised number; the fill byte of a move
    operand: uint256
    s_zero: int256
    b_zero: int256
    s_mult: int256
    b_mult: int256
    shift: uint256
    out_zero: int256
    low: int256
    high: int256
    tables: uint256  # 0, 1 for all channels, or one for each
    records: uint256
    weights: bytes32  # root of the weights (bytes, less the records' offset) or of a move's map
    record_root: bytes32
    table_root: bytes32

# Leaves that are shown: `x` and `weights` those of spans, one behind another and 32 bytes more;
# `rest` one leaf each of the records, the second operand and the table, of those that are needed.
struct Shown:
    x: Bytes[merkle.MAX_DATA]
    x_spans: DynArray[uint256, merkle.MAX_SPANS]
    weights: Bytes[merkle.MAX_DATA]
    weight_spans: DynArray[uint256, merkle.MAX_SPANS]
    rest: Bytes[800]
    paths: DynArray[bytes32, merkle.MAX_PATHS]

# The top bit of every byte; every fourth byte, and ones in their places; alternating parts.
FLIP: constant(uint256) = max_value(uint256) // 255 * 128
ONES: constant(uint256) = max_value(uint256) // (2**32 - 1)
LANES: constant(uint256) = max_value(uint256) // (2**32 - 1) * 255
HALVES: constant(uint256) = max_value(uint256) // (2**128 - 1) * (2**64 - 1)
WORDS: constant(uint256) = max_value(uint256) // (2**64 - 1) * (2**32 - 1)
LOW_32: constant(uint256) = 2**32 - 1
# Most taps along an edge of a window, and words of a run of bytes.
MAX_EDGE: constant(uint256) = 64
MAX_WORDS: constant(uint256) = 1025


@external
@pure
def compute(
    layer: Layer, position: uint256, x_root: bytes32, y_root: bytes32, shown: Shown
) -> (int256, uint256, uint256):
    """
    @notice The byte at `position` (in C order) of the layer's result.
    @return Its value, and the tensors that `x_root` and `y_root` must be those of (as in a layer's
            x and y; NO_TENSOR where the element does not depend on one).
    """
    size: uint256 = self._size(layer.shape)
    assert position < size, "elements: no such element"
    channel: uint256 = position % layer.shape[3]
    used: uint256 = 0  # of shown.paths
    rest: uint256 = 0  # of shown.rest
    chunk: Bytes[merkle.CHUNK] = b""

    # The weights, or the entry of a move: number of the source, from 1 on, and place in it.
    record_index: uint256 = self._record_index(layer, position, channel)
    place: uint256 = position
    moved: bool = True
    if layer.kind == DOT or layer.kind == MOVE:
        count: uint256 = self._chunks(self._weights(layer))
        if layer.kind == MOVE:
            count = self._chunks(unsafe_mul(size, 8))
        used = merkle._open(
            layer.weights, count, shown.weights, shown.weight_spans, shown.paths, used
        )
    if layer.kind == MOVE:
        assert shown.weight_spans[0] >> 32 == position >> 5, "elements: another leaf is needed"
        entry: uint256 = convert(extract32(shown.weights, (position & 31) * 8), uint256) >> 192
        moved = entry != 0
        if moved:
            record_index = unsafe_sub(entry >> 40, 1)
            place = entry & (2**40 - 1)

    record: uint256 = 0
    if layer.records != 0 and moved:
        chunk = slice(shown.rest, 0, merkle.CHUNK)
        used = merkle._open(
            layer.record_root,
            self._chunks(unsafe_mul(layer.records, 32)),
            chunk,
            [(record_index >> 3) << 32 | 1],
            shown.paths,
            used,
        )
        record = convert(extract32(chunk, (record_index & 7) * 32), uint256)
        rest = merkle.CHUNK

    x_ref: uint256 = NO_TENSOR
    number: int256 = layer.zero
    if moved:
        x_ref = layer.x
        x_size: uint256 = self._size(layer.x_shape)
        if layer.kind == MOVE:
            x_ref = record & (2**64 - 1)
            x_size = record >> 64
        used = merkle._open(
            x_root, self._chunks(x_size), shown.x, shown.x_spans, shown.paths, used
        )
        number = self._value(layer, position, place, record, shown)

    y_ref: uint256 = NO_TENSOR
    if layer.operand != NOTHING and layer.kind != BLEND:
        y_ref = layer.y
        chunk = slice(shown.rest, rest, merkle.CHUNK)
        used = merkle._open(
            y_root,
            self._chunks(size),
            chunk,
            [(position >> 8) << 32 | 1],
            shown.paths,
            used,
        )
        rest = unsafe_add(rest, merkle.CHUNK)
        other: int256 = self._signed(convert(slice(chunk, position & 255, 1), uint256))
        number = self._combine(layer, layer.s_mult, layer.b_mult, layer.shift, number, other)

    number = min(max(number, layer.low), layer.high)
    if layer.tables != 0:
        index: uint256 = 0
        if layer.tables != 1:
            index = channel
        chunk = slice(shown.rest, rest, merkle.CHUNK)
        used = merkle._open(
            layer.table_root, layer.tables, chunk, [index << 32 | 1], shown.paths, used
        )
        byte: uint256 = self._bits(number) & 255
        number = self._signed(convert(slice(chunk, byte, 1), uint256))
    assert used == len(shown.paths), "elements: proof has a wrong length"
    return number, x_ref, y_ref


@internal
@pure
def _value(
    layer: Layer, position: uint256, place: uint256, record: uint256, shown: Shown
) -> int256:
    """
    @notice What comes before the second operand, clip and table.
    """
    if layer.kind == DOT:
        return self._requantise(self._dot(layer, position, record, shown), record, layer.zero)
    if layer.kind == MAXIMUM:
        return self._window(layer, position, shown.x, shown.x_spans)
    if layer.kind == AVERAGE:
        total: int256 = self._window(layer, position, shown.x, shown.x_spans)
        return self._requantise(total, record, layer.zero)
    if layer.kind == BLEND:
        step: uint256 = layer.shape[3]
        if layer.axis == 1:
            step = unsafe_mul(step, layer.shape[2])
        here: uint256 = self._along(layer.axis, position, layer.shape)
        # The same position in x, at the axis' beginning: before it x has its own edge.
        edge: uint256 = layer.shape[layer.axis]
        before: uint256 = position // (step * edge) * (step * layer.x_shape[layer.axis])
        start: uint256 = before + position % step
        first: uint256 = start + (record & LOW_32) * step
        second: uint256 = start + ((record >> 32) & LOW_32) * step
        return self._combine(
            layer,
            self._field(record >> 64, 32),
            self._field(record >> 96, 32),
            (record >> 128) & 255,
            self._byte(shown.x, shown.x_spans, first),
            self._byte(shown.x, shown.x_spans, second),
        )
    assert layer.kind == COPY or layer.kind == MOVE, "elements: unknown kind of layer"
    return self._byte(shown.x, shown.x_spans, place)


@internal
@pure
def _size(shape: uint256[4]) -> uint256:
    return shape[0] * shape[1] * shape[2] * shape[3]


@internal
@pure
def _chunks(size: uint256) -> uint256:
    return unsafe_add(size, 255) >> 8


@internal
@pure
def _bits(number: int256) -> uint256:
    """
    @notice The two's complement.
    """
    return convert(convert(number, bytes32), uint256)


@internal
@pure
def _field(word: uint256, bits: uint256) -> int256:
    """
    @notice The lowest bits of a word as a signed integer.
    """
    half: uint256 = 1 << unsafe_sub(bits, 1)
    ones: uint256 = max_value(uint256) >> unsafe_sub(256, bits)
    low: uint256 = word & ones
    return unsafe_sub(convert(low ^ half, int256), convert(half, int256))


@internal
@pure
def _signed(byte: uint256) -> int256:
    """
    @notice A byte as int8.
    """
    return unsafe_sub(convert(byte ^ 128, int256), 128)


@internal
@pure
def _weights(layer: Layer) -> uint256:
    """
    @notice Weights of a layer.
    """
    if layer.kind != DOT:
        return 0
    return layer.shape[3] * layer.kernel[0] * layer.kernel[1] * (layer.x_shape[3] // layer.groups)


@internal
@pure
def _along(axis: uint256, position: uint256, shape: uint256[4]) -> uint256:
    """
    @notice The coordinate y (axis 1) or x (axis 2) of a position.
    """
    if axis == 1:
        return position // (shape[3] * shape[2]) % shape[1]
    return position // shape[3] % shape[2]


@internal
@pure
def _record_index(layer: Layer, position: uint256, channel: uint256) -> uint256:
    if layer.kind == BLEND:
        return self._along(layer.axis, position, layer.shape)
    if layer.kind == AVERAGE:
        return self._counted(layer, position)
    return channel


@internal
@pure
def _inside(
    at: uint256, edge: uint256, kernel: uint256, stride: uint256, pad: uint256, dilation: uint256
) -> (uint256, uint256):
    """
    @notice The taps, from the first to before the second, that lie inside an edge of the image, of
            the window of result `at`.
    """
    start: uint256 = at * stride
    first: uint256 = 0
    if start < pad:
        first = (pad - start + dilation - 1) // dilation
    last: uint256 = 0
    if start < edge + pad:
        last = min(kernel, (edge + pad - start + dilation - 1) // dilation)
    return min(first, last), last


@internal
@pure
def _counted(layer: Layer, position: uint256) -> uint256:
    """
    @notice Elements that an average counts, at least 1.
    """
    count: uint256 = 1
    for k: uint256 in range(2):
        edge: uint256 = layer.x_shape[k + 1]
        pad: uint256 = layer.pads[k]
        if layer.counts_padding != 0:
            edge += layer.pads[k] + layer.pads[k + 2]
            pad = 0
        first: uint256 = 0
        last: uint256 = 0
        first, last = self._inside(
            self._along(k + 1, position, layer.shape),
            edge,
            layer.kernel[k],
            layer.strides[k],
            pad,
            layer.dilations[k],
        )
        count *= last - first
    return max(count, 1)


@internal
@pure
def _byte(
    data: Bytes[merkle.MAX_DATA], spans: DynArray[uint256, merkle.MAX_SPANS], position: uint256
) -> int256:
    """
    @notice The int8 at `position` of a tensor of which `data` shows spans.
    """
    offset: uint256 = 0
    for span: uint256 in spans:
        first: uint256 = (span >> 32) << 8
        length: uint256 = (span & LOW_32) << 8
        if position >= first and position < first + length:
            return self._signed(convert(extract32(data, offset + position - first), uint256) >> 248)
        offset += length
    raise "elements: another leaf is needed"


@internal
@pure
def _window(
    layer: Layer,
    position: uint256,
    data: Bytes[merkle.MAX_DATA],
    spans: DynArray[uint256, merkle.MAX_SPANS],
) -> int256:
    """
    @notice Maximum (-128 of nothing), or sum of x - x_zero, over the window inside the image.
    """
    image: uint256[4] = layer.x_shape
    y0: uint256 = 0
    y1: uint256 = 0
    x0: uint256 = 0
    x1: uint256 = 0
    y: uint256 = self._along(1, position, layer.shape)
    x: uint256 = self._along(2, position, layer.shape)
    y0, y1 = self._inside(
        y, image[1], layer.kernel[0], layer.strides[0], layer.pads[0], layer.dilations[0]
    )
    x0, x1 = self._inside(
        x, image[2], layer.kernel[1], layer.strides[1], layer.pads[1], layer.dilations[1]
    )
    channel: uint256 = position % layer.shape[3]
    n: uint256 = position // (layer.shape[1] * layer.shape[2] * layer.shape[3])
    step: uint256 = unsafe_mul(layer.dilations[1], image[3])
    best: uint256 = 0
    total: uint256 = 0
    k: uint256 = 0
    offset: uint256 = 0
    first: uint256 = 0
    end: uint256 = 0
    if y1 > y0 and x1 > x0:
        first = (spans[0] >> 32) << 8
        end = first + ((spans[0] & LOW_32) << 8)
    for ky: uint256 in range(y0, y1, bound=MAX_EDGE):
        row: uint256 = n * image[1] + y * layer.strides[0] + ky * layer.dilations[0] - layer.pads[0]
        col: uint256 = x * layer.strides[1] + x0 * layer.dilations[1] - layer.pads[1]
        at: uint256 = (row * image[2] + col) * image[3] + channel
        for kx: uint256 in range(x0, x1, bound=MAX_EDGE):
            for _: uint256 in range(merkle.MAX_SPANS):
                if at >= first and at < end:
                    break
                k = unsafe_add(k, 1)
                offset = unsafe_add(offset, unsafe_sub(end, first))
                first = (spans[k] >> 32) << 8
                end = first + ((spans[k] & LOW_32) << 8)
            byte: uint256 = convert(extract32(data, offset + at - first), uint256) >> 248 ^ 128
            best = max(best, byte)
            total = unsafe_add(total, byte)
            at = unsafe_add(at, step)
    if layer.kind == MAXIMUM:
        return convert(best, int256) - 128
    terms: uint256 = (y1 - y0) * (x1 - x0)
    return convert(total, int256) - convert(terms, int256) * (layer.x_zero + 128)


@internal
@pure
def _dot(layer: Layer, position: uint256, record: uint256, shown: Shown) -> int256:
    """
    @notice Bias and the sum of (x - x_zero)·w over the window, modulo 2**32, of unsigned bytes
            x + 128 and w - offset: a product of two words whose lanes lie in opposite order has
            the sum of the lanes' products in its highest lane.
    """
    image: uint256[4] = layer.x_shape
    depth: uint256 = image[3] // layer.groups
    channel: uint256 = position % layer.shape[3]
    n: uint256 = position // (layer.shape[1] * layer.shape[2] * layer.shape[3])
    y: uint256 = self._along(1, position, layer.shape)
    x: uint256 = self._along(2, position, layer.shape)
    y0: uint256 = 0
    y1: uint256 = 0
    x0: uint256 = 0
    x1: uint256 = 0
    y0, y1 = self._inside(
        y, image[1], layer.kernel[0], layer.strides[0], layer.pads[0], layer.dilations[0]
    )
    x0, x1 = self._inside(
        x, image[2], layer.kernel[1], layer.strides[1], layer.pads[1], layer.dilations[1]
    )
    # Taps that follow each other in memory are one run.
    runs: uint256 = x1 - x0
    length: uint256 = depth
    if layer.groups == 1 and (layer.dilations[1] == 1 or runs == 1):
        length = unsafe_mul(depth, runs)
        runs = min(runs, 1)
    step: uint256 = unsafe_mul(layer.dilations[1], image[3])
    group: uint256 = channel // (layer.shape[3] // layer.groups)

    xw: uint256 = 0
    xs: uint256 = 0
    ws: uint256 = 0
    k: uint256 = 0
    x_offset: uint256 = 0
    x_first: uint256 = 0
    x_end: uint256 = 0
    l: uint256 = 0
    w_offset: uint256 = 0
    w_first: uint256 = 0
    w_end: uint256 = 0
    if y1 > y0 and runs > 0:
        x_first = (shown.x_spans[0] >> 32) << 8
        x_end = x_first + ((shown.x_spans[0] & LOW_32) << 8)
        w_first = (shown.weight_spans[0] >> 32) << 8
        w_end = w_first + ((shown.weight_spans[0] & LOW_32) << 8)
    for ky: uint256 in range(y0, y1, bound=MAX_EDGE):
        row: uint256 = n * image[1] + y * layer.strides[0] + ky * layer.dilations[0] - layer.pads[0]
        col: uint256 = x * layer.strides[1] + x0 * layer.dilations[1] - layer.pads[1]
        at: uint256 = (row * image[2] + col) * image[3] + group * depth
        w_at: uint256 = ((channel * layer.kernel[0] + ky) * layer.kernel[1] + x0) * depth
        for run: uint256 in range(runs, bound=MAX_EDGE):
            for _: uint256 in range(merkle.MAX_SPANS):
                if at >= x_first and at + length <= x_end:
                    break
                k = unsafe_add(k, 1)
                x_offset = unsafe_add(x_offset, unsafe_sub(x_end, x_first))
                x_first = (shown.x_spans[k] >> 32) << 8
                x_end = x_first + ((shown.x_spans[k] & LOW_32) << 8)
            for _: uint256 in range(merkle.MAX_SPANS):
                if w_at >= w_first and w_at + length <= w_end:
                    break
                l = unsafe_add(l, 1)
                w_offset = unsafe_add(w_offset, unsafe_sub(w_end, w_first))
                w_first = (shown.weight_spans[l] >> 32) << 8
                w_end = w_first + ((shown.weight_spans[l] & LOW_32) << 8)
            x_from: uint256 = x_offset + at - x_first
            w_from: uint256 = w_offset + w_at - w_first
            left: uint256 = length
            for w: uint256 in range(MAX_WORDS):
                if left == 0:
                    break
                a: uint256 = convert(extract32(shown.x, x_from), uint256) ^ FLIP
                b: uint256 = convert(extract32(shown.weights, w_from), uint256)
                if left < 32:
                    unused: uint256 = unsafe_mul(unsafe_sub(32, left), 8)
                    a = (a >> unused) << unused
                    b = (b >> unused) << unused
                    left = 32
                # The lanes of b in opposite order.
                b = (b >> 128) | (b << 128)
                b = ((b >> 64) & HALVES) | ((b & HALVES) << 64)
                b = ((b >> 32) & WORDS) | ((b & WORDS) << 32)
                for _: uint256 in range(4):
                    xw = unsafe_add(xw, unsafe_mul(a & LANES, b & LANES))
                    xs = unsafe_add(xs, a & LANES)
                    ws = unsafe_add(ws, b & LANES)
                    a = a >> 8
                    b = b >> 8
                x_from = unsafe_add(x_from, 32)
                w_from = unsafe_add(w_from, 32)
                left = unsafe_sub(left, 32)
            at = unsafe_add(at, step)
            w_at = unsafe_add(w_at, depth)

    offset: int256 = self._field(record >> 64, 16)
    zero: int256 = layer.x_zero + 128
    x_sum: int256 = convert(unsafe_mul(xs, ONES) >> 224, int256)
    w_sum: int256 = convert(unsafe_mul(ws, ONES) >> 224, int256)
    terms: int256 = convert((y1 - y0) * (x1 - x0) * depth, int256)
    number: int256 = self._field(record, 32) + convert(xw >> 224, int256)
    number += offset * x_sum - zero * w_sum - terms * zero * offset
    return self._field(self._bits(number), 32)


@internal
@pure
def _shifted(number: uint256, places: uint256) -> uint256:
    """
    @notice `number` / 2**places to the nearest integer, ties to even.
    """
    if places == 0:
        return number
    below: uint256 = number >> places
    ones: uint256 = max_value(uint256) >> unsafe_sub(256, places)
    remainder: uint256 = number & ones
    half: uint256 = 1 << unsafe_sub(places, 1)
    if remainder > half or (remainder == half and below & 1 == 1):
        return unsafe_add(below, 1)
    return below


@internal
@pure
def _rounded(number: uint256) -> uint256:
    """
    @notice `number` < 2**56 to 24 significant bits, ties to even.
    """
    excess: uint256 = 0
    for _: uint256 in range(32):
        if number >> unsafe_add(24, excess) == 0:
            break
        excess = unsafe_add(excess, 1)
    return self._shifted(number, excess) << excess


@internal
@pure
def _requantise(number: int256, record: uint256, zero: int256) -> int256:
    mantissa: uint256 = (record >> 32) & (2**24 - 1)
    if mantissa < 2**23:
        return min(max(zero, -128), 127)
    magnitude: uint256 = self._rounded(convert(abs(number), uint256))
    magnitude = self._rounded(unsafe_mul(magnitude, mantissa))
    magnitude = self._shifted(magnitude, (record >> 56) & 63)
    scaled: int256 = convert(magnitude, int256)
    if number < 0:
        scaled = -scaled
    return min(max(scaled, -128 - zero), 127 - zero) + zero


@internal
@pure
def _combine(
    layer: Layer, s_mult: int256, b_mult: int256, places: uint256, s: int256, b: int256
) -> int256:
    """
    @notice Sum or product of two operands.
    """
    total: int256 = 0
    if layer.operand == ADD:
        total = (s - layer.s_zero) * s_mult + (b - layer.b_zero) * b_mult
    else:
        assert layer.operand == MULTIPLY, "elements: unknown operand"
        total = (s - layer.s_zero) * (b - layer.b_zero) * s_mult
    rounded: int256 = convert(self._shifted(convert(abs(total), uint256), places), int256)
    if total < 0:
        rounded = -rounded
    return min(max(rounded + layer.out_zero, -128), 127)
