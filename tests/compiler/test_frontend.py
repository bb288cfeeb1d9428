"""Random single-operator models against onnxruntime running the very same model."""

import itertools

import numpy as np
import pytest

from hpu.compiler.frontend import import_model

DTYPES = ("int8", "uint8")
CASES = list(itertools.product(DTYPES, (False, True)))


def window(rng, size, kernel=None, dilate=True):
    """Random attributes of a window that fits an image of (y, x)."""
    kernel = kernel or [int(rng.integers(1, 4)) for _ in size]
    dilations = [int(rng.integers(1, 3)) if dilate else 1 for _ in size]
    attributes = {"kernel_shape": kernel, "strides": [int(rng.integers(1, 4)) for _ in size]}
    if dilate:
        attributes["dilations"] = dilations
    mode = rng.integers(4)
    if mode == 0:
        attributes["auto_pad"] = rng.choice(["SAME_UPPER", "SAME_LOWER", "VALID"]).item()
        attributes.pop("dilations", None)  # onnxruntime has no SAME with dilations
    elif mode < 3:
        attributes["pads"] = [int(rng.integers(0, k)) for k in kernel + kernel]
    return attributes


def conv_parts(m, seed, dtype, per_channel):
    """Shapes, quantisation and constants of a random convolution."""
    rng = m.rng
    groups = int(rng.choice([1, 1, 2, 4]))
    cin, cout = groups * int(rng.integers(1, 5)), groups * int(rng.integers(1, 5))
    attributes = window(rng, (8, 9)) | {"group": groups}
    shape = (cout, cin // groups, *attributes["kernel_shape"])
    quant = m.quant(dtype)
    zero = dtype == "uint8" and bool(seed % 2)  # onnxruntime runs int8 with symmetric weights
    weights = m.weights(shape, 0, dtype, per_channel, zero)
    return [2, cin, 8, 9], attributes, quant, weights, m.quant(dtype, 0.5), cout


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("dtype,per_channel", CASES)
def test_qlinear_conv(models, check, seed, dtype, per_channel):
    rng = np.random.default_rng(seed)
    m = models.Maker(rng)
    shape, attributes, quant, weights, y, cout = conv_parts(m, seed, dtype, per_channel)
    b = [models.bias(m, quant, weights, cout)[0]] if seed % 3 else []
    m.input(shape, dtype)
    m.output(m.node("QLinearConv", "x", *quant, *weights, *y, *b, **attributes), dtype)
    check(m.model(), rng, 0)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("dtype,per_channel", CASES)
def test_qdq_conv(models, check, seed, dtype, per_channel):
    rng = np.random.default_rng(seed)
    m = models.Maker(rng)
    shape, attributes, quant, weights, y, cout = conv_parts(m, seed, dtype, per_channel)
    x = m.dq(m.q(m.input(shape), quant), quant)
    axis = {"axis": 0} if per_channel else {}
    terms = [m.dq(weights[0], weights[1:], **axis)]
    if seed % 3:
        b = models.bias(m, quant, weights, cout)
        terms.append(m.dq(b[0], b[1:], **axis))
    value = m.node("Conv", x, *terms, **attributes)
    if seed % 4 == 1:
        value = m.node("Relu", value)
    if seed % 4 == 2:
        bounds = [m.constant(np.float32(v)) for v in (-3, 5)]
        value = m.node("Clip", value, *bounds)
    m.output(m.dq(m.q(value, y), y))
    check(m.model(), rng, 0 if seed % 4 != 2 else 1, optimised=True, lsb_export=1e-3)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("op", ["QLinearMatMul", "QGemm"])
@pytest.mark.parametrize("dtype,per_channel", CASES)
def test_qlinear_products(models, check, seed, op, dtype, per_channel):
    rng = np.random.default_rng(seed)
    m = models.Maker(rng)
    rows, cols = (int(v) for v in rng.integers(1, 40, 2))
    quant = m.quant(dtype)
    trans = op == "QGemm" and seed % 2
    shape = (cols, rows) if trans else (rows, cols)
    weights = m.weights(shape, 0 if trans else 1, dtype, per_channel)
    more, attributes = [], {}
    if op == "QGemm":
        more = [models.bias(m, quant, weights, cols)[0]]
        attributes = {"transB": int(trans)}
    y = m.quant(dtype, 0.5)
    m.input([3, rows], dtype)
    m.output(m.node(op, "x", *quant, *weights, *more, *y, **attributes), dtype)
    check(m.model(), rng, 0)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("form", ["Flatten", "Reshape", "Transpose"])
def test_dense_over_an_image(models, check, seed, form):
    """A flattened image, channels first or last, becomes a kernel of the whole image."""
    rng = np.random.default_rng(seed)
    m = models.Maker(rng)
    c, y, x = (int(v) for v in rng.integers(1, 5, 3))
    m.input([2, c, y, x])
    first, quant, last = m.quant("int8"), m.quant("int8", 0.3), m.quant("int8", 0.7)
    value = m.dq(m.q("x", first), first)
    weights = m.weights((6, c, 1, 1), 0, "int8", True)
    value = m.node("Conv", value, m.dq(weights[0], weights[1:], axis=0))
    value = m.dq(m.q(value, quant), quant)
    if form == "Transpose":
        value = m.node("Transpose", value, perm=[0, 2, 3, 1])
    if form == "Flatten":
        value = m.node("Flatten", value)
    else:
        value = m.node("Reshape", value, m.constant(np.array([0, -1])))
    matrix = m.weights((6 * y * x, 5), 1, "int8", False)
    b = models.bias(m, quant, matrix, 5)
    value = m.node("Gemm", value, m.dq(matrix[0], matrix[1:]), m.dq(b[0], b[1:]))
    m.output(m.dq(m.q(value, last), last))
    graph = check(m.model(17), rng, 0, optimised=True)
    assert graph.ops[-1].weight.shape == (5, y, x, 6)


def test_dense_over_shuffled_channels(models, check):
    """Channels cut in two and swapped: only the rows of the weights change places."""
    rng = np.random.default_rng(7)
    m = models.Maker(rng)
    quant, last = m.quant("int8", 0.3), m.quant("int8", 0.7)
    value = m.dq(m.q(m.input([2, 6, 2, 2]), quant), quant)
    value = m.node("MaxPool", value, kernel_shape=[1, 1])
    value = m.dq(m.q(value, quant), quant)
    value = m.node("Reshape", value, m.constant(np.array([2, 2, 3, 2, 2])))
    value = m.node("Flatten", m.node("Transpose", value, perm=[0, 2, 4, 1, 3]))
    weights = m.weights((24, 5), 1, "int8", False)
    value = m.node("MatMul", value, m.dq(weights[0], weights[1:]))
    m.output(m.dq(m.q(value, last), last))
    check(m.model(17), rng, 1)


@pytest.mark.parametrize("seed", range(6))
def test_matmul_with_bias_and_relu(models, check, seed):
    """MatMul, Add, Relu is one product; onnxruntime computes it in float, so within 1 LSB."""
    rng = np.random.default_rng(seed)
    m = models.Maker(rng)
    quant, y = m.quant("int8"), m.quant("int8", 0.5)
    value = m.dq(m.q(m.input([1, 3, 20]), quant), quant)
    weights = m.weights((20, 7), 1, "int8", bool(seed % 2))
    value = m.node("MatMul", value, m.dq(weights[0], weights[1:], axis=1))
    b = models.bias(m, quant, weights, 7)
    plain = m.value(b[0]) * m.value(b[1])
    value = m.node("Add", m.constant(plain.astype(np.float32)), value)
    value = m.node("Relu", value)
    m.output(m.dq(m.q(value, y), y))
    graph = check(m.model(), rng, 1)
    assert len(graph.ops) == 1 and len(graph.ops[0].nodes) == 3


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("dtype", DTYPES)
def test_max_pool(models, check, seed, dtype):
    rng = np.random.default_rng(seed)
    m = models.Maker(rng)
    quant = m.quant(dtype)
    value = m.q(m.input([2, 3, 9, 8]), quant)
    attributes = window(rng, (9, 8)) | {"ceil_mode": int(rng.integers(2))}
    m.output(m.dq(m.node("MaxPool", value, **attributes), quant))
    check(m.model(), rng, 0)


@pytest.mark.parametrize("seed", range(6))
def test_qdq_max_pool_with_another_scale(models, check, seed):
    rng = np.random.default_rng(seed)
    m = models.Maker(rng)
    quant, y = m.quant("int8"), m.quant("uint8")
    value = m.dq(m.q(m.input([1, 3, 9, 8]), quant), quant)
    value = m.node("MaxPool", value, kernel_shape=[2, 2], strides=[2, 2])
    if seed % 2:
        value = m.node("Clip", value, m.constant(np.float32(-0.2)), m.constant(np.float32(0.3)))
    m.output(m.dq(m.q(value, y), y))
    check(m.model(), rng, 0)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", ["qdq", "qlinear"])
def test_average_pool(models, check, seed, dtype, form):
    rng = np.random.default_rng(seed)
    m = models.Maker(rng)
    quant, y = m.quant(dtype, 0.1), m.quant(dtype, 0.1)
    attributes = window(rng, (9, 8), dilate=False) | {"count_include_pad": seed % 2}
    attributes["ceil_mode"] = int(rng.integers(2)) if not seed % 2 else 0
    if form == "qdq":
        value = m.dq(m.q(m.input([2, 3, 9, 8]), quant), quant)
        m.output(m.dq(m.q(m.node("AveragePool", value, **attributes), y), y))
    else:
        m.input([2, 3, 9, 8], dtype)
        m.output(m.node("QLinearAveragePool", "x", *quant, *y, **attributes), dtype)
    check(m.model(), rng, 1)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", ["GlobalAveragePool", "QLinearGlobalAveragePool"])
def test_global_average_pool(models, check, seed, dtype, form):
    rng = np.random.default_rng(seed)
    m = models.Maker(rng)
    quant, y = m.quant(dtype, 0.1), m.quant(dtype, 0.05)
    if form == "GlobalAveragePool":
        value = m.dq(m.q(m.input([2, 5, 7, 6]), quant), quant)
        m.output(m.dq(m.q(m.node(form, value), y), y))
    else:
        m.input([2, 5, 7, 6], dtype)
        m.output(m.node(form, "x", *quant, *y, channels_last=0), dtype)
    check(m.model(), rng, 1)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", ["qdq", "qlinear"])
def test_add(models, check, seed, dtype, form):
    rng = np.random.default_rng(seed)
    m = models.Maker(rng)
    a, b, y = m.quant(dtype, 0.1), m.quant(dtype, 0.07), m.quant(dtype, 0.15)
    if form == "qdq":
        p = m.dq(m.q(m.input([2, 3, 4, 5], name="p"), a), a)
        q = m.dq(m.q(m.input([2, 3, 4, 5], name="q"), b), b)
        value = m.node("Add", p, q)
        value = m.node("Relu", value) if seed % 2 else value
        m.output(m.dq(m.q(value, y), y))
    else:
        for name in "pq":
            m.input([2, 3, 4, 5], dtype, name)
        m.output(m.node("QLinearAdd", "p", *a, "q", *b, *y), dtype)
    check(m.model(), rng, 1)


@pytest.mark.parametrize(
    "op", ["Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSwish", "none"]
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_unary_tables(models, check, op, dtype):
    rng = np.random.default_rng(len(op))
    m = models.Maker(rng)
    quant, y = m.quant(dtype, 0.04), m.quant("int8", 0.02)
    value = m.dq(m.q(m.input([1, 3, 16, 16]), quant), quant)
    if op == "Clip":
        value = m.node(op, value, m.constant(np.float32(-0.5)), m.constant(np.float32(0.9)))
    elif op != "none":
        value = m.node(op, value)
    m.output(m.dq(m.q(value, y), y))
    check(m.model(), rng, 0)


@pytest.mark.parametrize("shape", [(), (1,), (3, 1, 1), (1, 3, 1, 1)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_addition_of_a_constant_is_a_table(models, check, shape, dtype):
    rng = np.random.default_rng(len(shape))
    m = models.Maker(rng)
    quant, y = m.quant(dtype, 0.04), m.quant(dtype, 0.05)
    value = m.dq(m.q(m.input([2, 3, 16, 16]), quant), quant)
    value = m.node("Add", value, m.constant(rng.normal(size=shape).astype(np.float32)))
    m.output(m.dq(m.q(value, y), y))
    graph = check(m.model(), rng, 0)
    assert graph.ops[0].table.shape == ((256, 3) if 3 in shape else (256,))


@pytest.mark.parametrize("op", ["Relu", "Clip"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_clip_of_integers(models, check, op, dtype):
    rng = np.random.default_rng(2)
    m = models.Maker(rng)
    quant = m.quant(dtype)
    bounds = [m.constant(np.array(v, dtype)) for v in (20, 90)] if op == "Clip" else []
    if op == "Relu" and dtype == "uint8":
        pytest.skip("ONNX has no Relu of uint8")
    m.output(m.dq(m.node(op, m.q(m.input([1, 3, 9, 9]), quant), *bounds), quant))
    check(m.model(), rng, 0)


def test_one_operand_gives_the_other_its_axes(models, check):
    rng = np.random.default_rng(4)
    m = models.Maker(rng)
    a, b, y = m.quant("int8", 0.1), m.quant("int8", 0.07), m.quant("int8", 0.15)
    p = m.dq(m.q(m.input([2, 4, 5, 3], name="p"), a), a)
    pool = m.node("MaxPool", m.node("Transpose", p, perm=[0, 3, 1, 2]), kernel_shape=[1, 1])
    pool = m.node("Transpose", m.dq(m.q(pool, a), a), perm=[0, 2, 3, 1])
    q = m.dq(m.q(m.input([2, 4, 5, 3], name="q"), b), b)
    m.output(m.dq(m.q(m.node("Add", q, pool), y), y))
    graph = check(m.model(), rng, 1)
    assert graph.tensors["q"].shape == (2, 4, 5, 3)


def test_residual_block_is_fused(models, check):
    rng = np.random.default_rng(5)
    m = models.Maker(rng)
    quant, own, y = m.quant("int8", 0.05), m.quant("int8", 0.5), m.quant("int8", 0.4)
    x = m.dq(m.q(m.input([1, 4, 6, 6]), quant), quant)
    weights = m.weights((4, 4, 3, 3), 0, "int8", True)
    value = m.node("Conv", x, m.dq(weights[0], weights[1:], axis=0), pads=[1, 1, 1, 1])
    value = m.dq(m.q(value, own), own)
    value = m.node("Relu", m.node("Add", x, value))
    m.output(m.dq(m.q(value, y), y))
    graph = check(m.model(), rng, 1)
    assert len(graph.ops) == 1 and graph.ops[0].residual.tensor.name == graph.inputs[0].tensor
    assert [name.rstrip("0123456789") for name in graph.ops[0].nodes] == ["conv", "add", "relu"]


def test_channels_last_model(models, check):
    """Transposes at both ends stay with the host."""
    rng = np.random.default_rng(9)
    m = models.Maker(rng)
    quant, y = m.quant("int8", 0.05), m.quant("int8", 0.5)
    value = m.dq(m.node("Transpose", m.input([2, 5, 6, 3], "int8"), perm=[0, 3, 1, 2]), quant)
    weights = m.weights((4, 3, 3, 3), 0, "int8", True)
    value = m.q(m.node("Conv", value, m.dq(weights[0], weights[1:], axis=0)), y)
    m.output(m.node("Transpose", value, perm=[0, 2, 3, 1]), "int8")
    graph = check(m.model(), rng, 0)
    assert graph.inputs[0].shape == (2, 5, 6, 3) and graph.outputs[0].shape == (2, 3, 4, 4)


def test_symbolic_batch(models):
    rng = np.random.default_rng(1)
    m = models.Maker(rng)
    quant = m.quant("int8", 0.05)
    m.input(["N", 3, 4, 4])
    m.output(m.dq(m.q(m.node("Relu", m.dq(m.q("x", quant), quant)), quant), quant))
    assert import_model(m.model()).inputs[0].shape == (1, 3, 4, 4)
    assert import_model(m.model(), batch=7).outputs[0].shape == (7, 3, 4, 4)
