"""Random models of data movements against onnxruntime running the very same model."""

import numpy as np
import pytest

from hpu.compiler import ir
from hpu.compiler.errors import UnsupportedError
from hpu.compiler.frontend import import_model
from hpu.hw.config import by_name

DTYPES = ("int8", "uint8")
LAB = by_name("lab-16")


def begin(models, seed, shape, dtype="int8"):
    """A maker, its random generator, and a quantised activation of ``shape``."""
    rng = np.random.default_rng(seed)
    m = models.Maker(rng)
    quant = m.quant(dtype, 0.1)
    return m, rng, quant, m.q(m.input(shape), quant)


def ints(m, values):
    return m.constant(np.array(values, np.int64))


def end(m, check, rng, value, quant, lsb=0, opset=21):
    """The model whose output is the quantised ``value``, checked."""
    m.output(m.dq(value, quant))
    return check(m.model(opset), rng, lsb, machine=LAB)


def wrapped(m, value, quant, make, last=None):
    """``value`` through the nodes of ``make``, on real values between DQ and Q."""
    return m.q(make(m.dq(value, quant)), last or quant)


SHAPES = [(2, 5, 4, 3), (3, 6, 7), (4, 9), (1, 2, 3, 2, 4)]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("real", [False, True])
def test_slice(models, check, seed, real):
    shape = SHAPES[seed % 4]
    m, rng, quant, value = begin(models, seed, shape, DTYPES[seed % 2])
    axes = sorted(rng.choice(len(shape), int(rng.integers(1, len(shape))), replace=False).tolist())
    starts, ends, steps = [], [], []
    for axis in axes:
        low, high = sorted(rng.choice(shape[axis] + 1, 2, replace=False).tolist())
        step = int(rng.integers(1, 3))
        if rng.integers(2) and high < shape[axis]:
            starts, ends, steps = (
                [*starts, high],
                [*ends, low - 1 - 1000 * (low == 0)],
                [*steps, -step],
            )
        else:
            starts, ends, steps = [*starts, low], [*ends, high], [*steps, step]

    def make(x):
        return m.node("Slice", x, *(ints(m, v) for v in (starts, ends, axes, steps)))

    value = wrapped(m, value, quant, make) if real else make(value)
    end(m, check, rng, value, quant)


@pytest.mark.parametrize("seed", range(8))
def test_split_and_concat_in_another_order(models, check, seed):
    shape = SHAPES[seed % 3]
    m, rng, quant, value = begin(models, seed, shape)
    axis = int(rng.integers(len(shape)))
    first = int(rng.integers(1, shape[axis]))
    node = m.node("Split", value, ints(m, [first, shape[axis] - first]), out="a", axis=axis)
    m.nodes[-1].output.append("b")
    end(m, check, rng, m.node("Concat", "b", node, "b", axis=axis - len(shape)), quant)


@pytest.mark.parametrize("seed", range(8))
def test_concat_of_different_scales(models, check, seed):
    rng = np.random.default_rng(seed)
    m = models.Maker(rng)
    rank = 4 if seed % 2 else 3
    axis = int(rng.integers(rank))
    common = rng.integers(1, 6, rank).tolist()
    last = m.quant("int8", 0.2)
    parts = []
    for k in range(3):
        shape = list(common)
        shape[axis] = int(rng.integers(1, 6))
        quant = m.quant("int8")
        parts.append(m.dq(m.q(m.input(shape, name=f"x{k}"), quant), quant))
    value = m.node("Concat", *parts, axis=axis)
    if seed > 4:
        value = m.node("Relu", value)
    end(m, check, rng, m.q(value, last), last)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dtype", DTYPES)
def test_qlinear_concat(models, check, seed, dtype):
    rng = np.random.default_rng(seed)
    m = models.Maker(rng)
    last = m.quant(dtype, 0.2)
    inputs = []
    for k in range(2):
        quant = m.quant(dtype) if seed % 2 else last
        inputs += [m.input([2, 3 + k, 4, 5], dtype, f"x{k}"), *quant]
    m.output(m.node("QLinearConcat", *last, *inputs, axis=1), dtype)
    check(m.model(), rng, 0)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
def test_pad(models, check, seed, mode):
    shape = SHAPES[seed % 3]
    m, rng, quant, value = begin(models, seed, shape, DTYPES[seed % 2])
    pads = rng.integers(-1 if mode == "constant" else 0, 3, 2 * len(shape))
    pads[:: len(shape)] = 0
    number = [m.constant(np.float32(0 if seed % 3 else 0.77))] if mode == "constant" else []

    def make(x):
        return m.node("Pad", x, ints(m, pads), *number, mode=mode)

    end(m, check, rng, wrapped(m, value, quant, make), quant)


def test_pad_of_a_number_between_bytes_keeps_the_scale(models):
    m, _, quant, value = begin(models, 1, [1, 3, 4, 4])
    real = m.node(
        "Pad", m.dq(value, quant), ints(m, [0, 0, 1, 1] * 2), m.constant(np.float32(0.77))
    )
    last = m.quant("int8", 0.3)
    m.output(m.dq(m.q(real, last), last))
    with pytest.raises(UnsupportedError, match="its constant is no multiple of the scale"):
        import_model(m.model())


@pytest.mark.parametrize("seed", range(4))
def test_tile_expand_gather(models, check, seed):
    shape = (3, 1, 4) if seed % 2 else (2, 3, 1, 4)
    m, rng, quant, value = begin(models, seed, shape)
    value = m.node("Tile", value, ints(m, rng.integers(1, 4, len(shape))))
    value = m.node("Gather", value, ints(m, rng.integers(-3, 3, (2, 2))), axis=0 if seed % 2 else 1)
    value = m.node("Reshape", value, ints(m, [4, 1, -1]))
    end(m, check, rng, m.node("Expand", value, ints(m, [2, 1, 3, 1])), quant)


@pytest.mark.parametrize("mode", ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
@pytest.mark.parametrize("coordinate", ["asymmetric", "half_pixel", "align_corners"])
@pytest.mark.parametrize("size", [(8, 12), (7, 5), (3, 14)])
def test_resize_nearest(models, check, mode, coordinate, size):
    m, rng, quant, value = begin(models, 3, (2, 3, 4, 6))
    more = {"nearest_mode": mode, "coordinate_transformation_mode": coordinate}

    def make(x):
        return m.node("Resize", x, "", "", ints(m, [2, 3, *size]), mode="nearest", **more)

    end(m, check, rng, wrapped(m, value, quant, make), quant)


@pytest.mark.parametrize("coordinate", ["half_pixel", "align_corners", "asymmetric"])
@pytest.mark.parametrize("size", [(8, 12), (7, 5), (3, 14), (4, 11)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_resize_linear(models, check, coordinate, size, dtype):
    m, rng, quant, value = begin(models, 3, (2, 3, 4, 6), dtype)
    last = m.quant(dtype, 0.08)
    more = {"coordinate_transformation_mode": coordinate}

    def make(x):
        y = m.node("Resize", x, "", "", ints(m, [2, 3, *size]), mode="linear", **more)
        return m.node("Relu", y) if size == (7, 5) else y

    graph = end(m, check, rng, wrapped(m, value, quant, make, last), last, lsb=1)
    assert [type(op) for op in graph.ops] == [ir.Blend] * (2 - (size[0] == 4))


def test_resize_linear_of_rows_and_of_channels_last(models, check):
    m, rng, quant, value = begin(models, 3, (2, 3, 6))
    real = m.node(
        "Resize", m.dq(value, quant), "", m.constant(np.float32([1, 1, 2])), mode="linear"
    )
    end(m, check, rng, m.q(real, quant), quant, lsb=1)
    m, rng, quant, value = begin(models, 3, (2, 3, 6, 5))
    real = m.node("Transpose", m.dq(value, quant), perm=[0, 2, 3, 1])
    real = m.node("Transpose", real, perm=[0, 3, 1, 2])
    real = m.node("Resize", real, "", m.constant(np.float32([1, 1, 2, 3])), mode="linear")
    end(m, check, rng, m.q(real, quant), quant, lsb=1)


def test_resize_linear_of_an_image_that_is_in_dram(models, check):
    m, rng, quant, value = begin(models, 3, (1, 3, 20, 30))
    real = m.node("Resize", m.dq(value, quant), "", "", ints(m, [1, 3, 40, 60]), mode="linear")
    end(m, check, rng, m.q(real, quant), quant, lsb=1)


def refused(m, op, text, *inputs, **attributes):
    m.output(m.dq(m.q(m.node(op, *inputs, **attributes), m.last), m.last))
    with pytest.raises(UnsupportedError, match=text):
        import_model(m.model())


def test_resizes_that_are_refused(models):
    for attributes, text in (
        ({"mode": "cubic"}, "its mode is 'cubic'; the HPU resizes to the nearest or linearly"),
        ({"mode": "linear", "antialias": 1}, "antialias must be 0"),
        ({"mode": "linear"}, "scale 0.02 is much finer than its input's 0.1"),
    ):
        m, _, quant, value = begin(models, 3, (1, 3, 4, 5))
        m.last = m.quant("int8", 0.02)
        inputs = [m.dq(value, quant), "", "", ints(m, [1, 3, 8, 10])]
        refused(m, "Resize", text, *inputs, **attributes)


@pytest.mark.parametrize("form", ["DCR", "CRD", "to depth"])
def test_channels_and_pixels(models, check, form):
    m, rng, quant, value = begin(models, 5, (2, 12, 4, 6))
    if form == "to depth":
        real = m.node("SpaceToDepth", m.dq(value, quant), blocksize=2)
    else:
        real = m.node("DepthToSpace", m.dq(value, quant), blocksize=2, mode=form)
    real = m.dq(m.q(m.node("MaxPool", real, kernel_shape=[2, 1]), quant), quant)
    graph = end(m, check, rng, m.q(real, quant), quant)
    assert [type(op).__name__ for op in graph.ops] == ["Move", "Pool"]


@pytest.mark.parametrize("seed", range(10))
def test_transposition_before_an_operator(models, check, seed):
    """Whatever an operator needs moved, it moves; the ends of the model are free."""
    m, rng, quant, value = begin(models, seed, (2, 3, 4, 5), DTYPES[seed % 2])
    value = m.q(m.node("MaxPool", m.dq(value, quant), kernel_shape=[2, 2]), quant)
    real = m.node("Transpose", m.dq(value, quant), perm=rng.permutation(4).tolist())
    real = m.node("MaxPool", real, kernel_shape=[1, 2])
    graph = end(m, check, rng, m.q(real, quant), quant)
    assert len(graph.ops) in (2, 3)


@pytest.mark.parametrize("cut", [(8, 3), (3, 8), (2, 2, 6), (24, 1)])
def test_reshape_across_the_axes(models, check, cut):
    m, rng, quant, value = begin(models, 3, (6, 4))
    value = m.q(m.node("Relu", m.dq(value, quant)), quant)
    real = m.node("Reshape", m.dq(value, quant), ints(m, cut))
    weights = m.weights((cut[-1], 5), 1, "int8", False)
    last = m.quant("int8", 0.7)
    value = m.q(m.node("MatMul", real, m.dq(weights[0], weights[1:])), last)
    end(m, check, rng, value, last, lsb=1)


def test_channel_shuffle_is_one_movement(models, check):
    m, rng, quant, value = begin(models, 3, (2, 12, 3, 4))
    real = m.node("MaxPool", m.dq(value, quant), kernel_shape=[2, 2])
    real = m.dq(m.q(real, quant), quant)
    real = m.node("Reshape", real, ints(m, [2, 3, 4, 2, 3]))
    real = m.node("Transpose", real, perm=[0, 2, 1, 3, 4])
    real = m.node("MaxPool", m.node("Reshape", real, ints(m, [2, 12, 2, 3])), kernel_shape=[2, 2])
    graph = end(m, check, rng, m.q(real, quant), quant)
    assert [type(op).__name__ for op in graph.ops] == ["Pool", "Move", "Pool"]
    assert len(graph.ops[1].pieces) == 1


def test_another_scale_after_a_movement_is_its_table(models, check):
    m, rng, quant, value = begin(models, 3, (1, 3, 4, 4))
    last = m.quant("uint8", 0.17)
    real = m.node("Slice", m.dq(value, quant), ints(m, [1]), ints(m, [3]), ints(m, [1]))
    graph = end(m, check, rng, m.q(real, last), last)
    assert [type(op) for op in graph.ops] == [ir.Move] and graph.ops[0].table is not None


def test_transposed_input_keeps_its_own_order_when_the_host_cannot_reorder(models, check):
    """An input cut in six dimensions comes as it is, and moves on the device."""
    m, rng, quant, value = begin(models, 4, (2, 8, 3, 4))
    real = m.node("Reshape", m.dq(value, quant), ints(m, [2, 2, 2, 2, 3, 4]))
    real = m.node("Transpose", real, perm=[0, 3, 4, 1, 5, 2])
    real = m.node("MaxPool", m.node("Reshape", real, ints(m, [2, 2, 6, 8])), kernel_shape=[2, 2])
    graph = end(m, check, rng, m.q(real, quant), quant)
    assert graph.tensors["x"].shape == (2, 3, 4, 8)


def test_a_constant_among_the_parts_is_refused(models):
    m, _, quant, value = begin(models, 4, (2, 8, 3, 4))
    other = m.constant(np.zeros((2, 1, 3, 4), np.float32))
    m.output(m.dq(m.q(m.node("Concat", m.dq(value, quant), other, axis=1), quant), quant))
    with pytest.raises(UnsupportedError, match="is a constant; the HPU joins activations"):
        import_model(m.model())
