"""The graph's meaning, written out: one loop per kernel tap, no blocks, no tiles."""

import itertools

import numpy as np

from hpu.compiler.ir import Binary, Blend, Conv, Graph, Move, Mul, Op, Pool, Quant, Sub


def interpret(graph: Graph, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Every tensor (int8 (n, y, x, c)) by name, from those of the inputs."""
    values = dict(inputs)
    for op in graph.ops:
        values[op.out.name] = finish(op, raw(op, [values[t.name] for t in op.inputs]))
    return values


def raw(op: Op, args: list[np.ndarray]) -> np.ndarray:
    if isinstance(op, Conv):
        return conv(op, *args)
    if isinstance(op, Pool):
        return pool(op, *args)
    if isinstance(op, Mul):
        return multiply(args[0], op.x.quant, args[1], op.y.quant, op.result)
    if isinstance(op, Binary):
        sign = -1 if isinstance(op, Sub) else 1
        return add(args[0], op.x.quant, args[1], op.y.quant, op.result, sign)
    if isinstance(op, Move):
        return move(op, args)
    if isinstance(op, Blend):
        return blend(op, args[0])
    return args[0]


def finish(op: Op, value: np.ndarray) -> np.ndarray:
    value = np.clip(value, op.low, op.high).astype(np.int8)
    if op.table is None:
        return value
    index = value.view(np.uint8)
    table = op.table.reshape(256, -1)
    column = np.arange(value.shape[3]) % table.shape[1]
    return table[index, column].astype(np.int8)


def requantise(acc: np.ndarray, scale: np.ndarray, zero: int) -> np.ndarray:
    scaled = np.rint(acc.astype(np.int32).astype(np.float32) * np.asarray(scale, np.float32))
    return (np.clip(scaled, -128 - zero, 127 - zero) + zero).astype(np.int8)


def windows(op, value: np.ndarray, kernel, fill):
    """For every tap: (ky, kx, the tap's element for every result, whether it is in the image)."""
    _, height, width, _ = value.shape
    _, rows, cols, _ = op.out.shape
    for ky, kx in itertools.product(range(kernel[0]), range(kernel[1])):
        y = np.arange(rows) * op.strides[0] - op.pads[0] + ky * op.dilations[0]
        x = np.arange(cols) * op.strides[1] - op.pads[1] + kx * op.dilations[1]
        inside = ((y >= 0) & (y < height))[:, None] & ((x >= 0) & (x < width))[None, :]
        taken = value[:, np.clip(y, 0, height - 1)][:, :, np.clip(x, 0, width - 1)]
        yield ky, kx, y, x, np.where(inside[None, :, :, None], taken, fill), inside


def conv(op: Conv, value: np.ndarray, residual: np.ndarray | None = None) -> np.ndarray:
    centred = value.astype(np.int64) - op.x.quant.zero
    acc = np.zeros(op.out.shape, np.int64) + op.bias
    per_in, per_out = op.weight.shape[3], op.weight.shape[0] // op.groups
    for ky, kx, _, _, taken, _ in windows(op, centred, op.weight.shape[1:3], 0):
        for group in range(op.groups):
            outs = slice(group * per_out, (group + 1) * per_out)
            ins = slice(group * per_in, (group + 1) * per_in)
            acc[..., outs] += taken[..., ins] @ op.weight[outs, ky, kx].T.astype(np.int64)
    if residual is None:
        return requantise(acc, op.scale, op.result.zero)
    own = op.residual.own
    first = requantise(acc, op.scale, own.zero)
    return add(first, own, residual, op.residual.tensor.quant, op.result)


def add(a, a_quant, b, b_quant, result, sign=1) -> np.ndarray:
    ratios = [float(q.scale) / float(result.scale) for q in (a_quant, b_quant)]
    shift = min(31, 22 - int(np.frexp(max(ratios))[1]))
    if round(max(ratios) * 2.0**shift) > (1 << 22) - 1:
        shift -= 1
    mults = [round(r * 2.0**shift) for r in ratios]
    total = (a.astype(np.int64) - a_quant.zero) * mults[0]
    total += sign * (b.astype(np.int64) - b_quant.zero) * mults[1]
    return np.clip(np.rint(total / 2.0**shift) + result.zero, -128, 127).astype(np.int8)


def multiply(a, a_quant, b, b_quant, result) -> np.ndarray:
    ratio = min(float(a_quant.scale) * float(b_quant.scale) / float(result.scale), 32767.0)
    shift = min(31, 15 - int(np.frexp(ratio)[1]))
    if round(ratio * 2.0**shift) > 32767:
        shift -= 1
    total = (a.astype(np.int64) - a_quant.zero) * (b.astype(np.int64) - b_quant.zero)
    total *= round(ratio * 2.0**shift)
    return np.clip(np.rint(total / 2.0**shift) + result.zero, -128, 127).astype(np.int8)


def pool(op: Pool, value: np.ndarray) -> np.ndarray:
    value = value.astype(np.int64)
    if op.kind == "max":
        return np.max([w[4] for w in windows(op, value, op.kernel, -128)], axis=0)
    total = np.zeros(op.out.shape, np.int64)
    count = np.zeros(op.out.shape[1:3], np.int64)
    _, height, width, _ = value.shape
    for _, _, y, x, taken, inside in windows(op, value - op.x.quant.zero, op.kernel, 0):
        total += taken
        if op.count_include_pad:
            in_y = (y >= -op.pads[0]) & (y < height + op.pads[2])
            in_x = (x >= -op.pads[1]) & (x < width + op.pads[3])
            inside = in_y[:, None] & in_x[None, :]
        count += inside
    scale = float(op.x.quant.scale) / (np.maximum(count, 1) * float(op.result.scale))
    return requantise(total, scale.astype(np.float32)[None, :, :, None], op.result.zero)


def move(op: Move, sources: list[np.ndarray]) -> np.ndarray:
    result = np.zeros(op.out.shape, np.int8)
    for piece in op.pieces:
        for index in itertools.product(*(range(loop.size) for loop in piece.loops)):
            origin, dest = list(piece.origin), list(piece.dest)
            for step, loop in zip(index, piece.loops, strict=True):
                origin[loop.axis] += step * loop.from_step
                dest[loop.to] += step * loop.to_step
            value = op.fill if piece.source < 0 else sources[piece.source][tuple(origin)]
            result[tuple(dest)] = value
    return result


def blend(op: Blend, value: np.ndarray) -> np.ndarray:
    result = np.zeros(op.out.shape, np.int8)
    scale, zero = float(op.x.quant.scale), op.x.quant.zero
    for index, (first, second, share) in enumerate(zip(op.first, op.second, op.share, strict=True)):
        own, other = (Quant(max(scale * weight, 1e-30), zero) for weight in (1 - share, share))
        places = [np.take(value, place, op.axis) for place in (first, second)]
        where = (slice(None),) * op.axis + (index,)
        result[where] = add(places[0], own, places[1], other, op.result)
    return result
