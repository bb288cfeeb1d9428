import numpy as np
import onnxruntime
import pytest
from onnx import helper

from hpu.sim import numerics

SEEDS = range(6)


def run_node(node, arrays, output_type):
    """onnxruntime's result of one node whose inputs are all graph inputs."""
    types = [helper.np_dtype_to_tensor_dtype(array.dtype) for array in arrays.values()]
    inputs = [
        helper.make_tensor_value_info(name, kind, array.shape)
        for (name, array), kind in zip(arrays.items(), types, strict=True)
    ]
    output = helper.make_tensor_value_info("y", output_type, None)
    graph = helper.make_graph([node], "g", inputs, [output])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, arrays)[0]


def scales(rng, count=()):
    return np.exp2(rng.uniform(-9, -3, count)).astype(np.float32)


def quantised(rng, dtype, shape):
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)


def weights(rng, shape):
    """Small enough that no processor's 16-bit products saturate."""
    return rng.integers(-64, 65, shape).astype(np.int8)


def spread(acc, *factors):
    """An output scale that uses most of int8."""
    return np.float32(acc.std() * np.prod([np.mean(factor) for factor in factors]) / 60)


def flipped(values):
    """As the machine holds it: uint8 with the top bit flipped."""
    wide = values.astype(np.int64)
    return wide - 128 if values.dtype == np.uint8 else wide


def requantised(acc, x_scale, w_scale, y_scale, y_zero):
    mantissa, shift = numerics.encode_scale(np.float32(x_scale * w_scale) / y_scale)
    zero = int(flipped(y_zero))
    return numerics.requantise(acc.astype(np.int32), mantissa, shift, zero)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("per_channel", [False, True])
def test_requantise_is_qlinearconv(seed, dtype, per_channel):
    rng = np.random.default_rng(seed)
    x, w = quantised(rng, dtype, (4, 24, 9, 9)), weights(rng, (16, 24, 1, 1))
    bias = rng.integers(-3000, 3000, 16).astype(np.int32)
    x_scale = scales(rng)
    w_scale = scales(rng, 16) if per_channel else scales(rng, 1)
    w_zero = np.zeros(w_scale.shape, np.int8)
    x_zero, y_zero = quantised(rng, dtype, ()), quantised(rng, dtype, ())
    centred = flipped(x) - flipped(x_zero)
    acc = np.einsum("nchw,oc->nhwo", centred, w[:, :, 0, 0].astype(np.int64)) + bias
    y_scale = spread(acc, x_scale, w_scale)
    if not per_channel:
        w_scale, w_zero = w_scale.reshape(()), w_zero.reshape(())
    arrays = dict(x=x, xs=x_scale, xz=x_zero, w=w, ws=w_scale, wz=w_zero)
    arrays |= dict(ys=y_scale, yz=y_zero, b=bias)
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    node = helper.make_node("QLinearConv", list(arrays), ["y"])
    found = run_node(node, arrays, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
    expected = requantised(acc, x_scale, w_scale, y_scale, y_zero)
    assert len(np.unique(expected)) > 60
    np.testing.assert_array_equal(flipped(found).transpose(0, 2, 3, 1), expected)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_requantise_is_qlinearmatmul(seed, dtype):
    rng = np.random.default_rng(seed)
    a, b = quantised(rng, dtype, (300, 32)), weights(rng, (32, 48))
    a_scale, b_scale = scales(rng), scales(rng)
    a_zero, y_zero = quantised(rng, dtype, ()), quantised(rng, dtype, ())
    acc = (flipped(a) - flipped(a_zero)) @ b.astype(np.int64)
    y_scale = spread(acc, a_scale, b_scale)
    arrays = dict(
        a=a, as_=a_scale, az=a_zero, b=b, bs=b_scale, bz=np.int8(0), ys=y_scale, yz=y_zero
    )
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    node = helper.make_node("QLinearMatMul", list(arrays), ["y"])
    found = run_node(node, arrays, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
    np.testing.assert_array_equal(
        flipped(found), requantised(acc, a_scale, b_scale, y_scale, y_zero)
    )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_add_is_qlinearadd_within_one(seed, dtype):
    rng = np.random.default_rng(seed)
    a, b = quantised(rng, dtype, 65536), quantised(rng, dtype, 65536)
    a_zero, b_zero, y_zero = (quantised(rng, dtype, ()) for _ in range(3))
    a_scale, b_scale = scales(rng), scales(rng)
    y_scale = np.float32((a_scale + b_scale) * rng.uniform(0.3, 1.2))
    arrays = dict(a=a, as_=a_scale, az=a_zero, b=b, bs=b_scale, bz=b_zero, ys=y_scale, yz=y_zero)
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    node = helper.make_node("QLinearAdd", list(arrays), ["y"], domain="com.microsoft")
    found = run_node(node, arrays, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
    s_mult, b_mult, shift = numerics.encode_add(a_scale, b_scale, y_scale)
    zeros = [int(flipped(zero)) for zero in (a_zero, b_zero, y_zero)]
    small = [flipped(array).astype(np.int8) for array in (a, b)]
    expected = numerics.add(*small, *zeros[:2], s_mult, b_mult, shift, zeros[2])
    difference = np.abs(flipped(found) - expected)
    assert difference.max() <= 1
    assert np.mean(difference != 0) < 0.01


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_multiply_is_qlinearmul_within_one(seed, dtype):
    rng = np.random.default_rng(seed)
    a, b = quantised(rng, dtype, 65536), quantised(rng, dtype, 65536)
    a_zero, b_zero, y_zero = (quantised(rng, dtype, ()) for _ in range(3))
    a_scale, b_scale = scales(rng), scales(rng)
    y_scale = np.float32(a_scale * b_scale * rng.uniform(30, 300))
    arrays = dict(a=a, as_=a_scale, az=a_zero, b=b, bs=b_scale, bz=b_zero, ys=y_scale, yz=y_zero)
    arrays = {name: np.asarray(array) for name, array in arrays.items()}
    node = helper.make_node("QLinearMul", list(arrays), ["y"], domain="com.microsoft")
    found = run_node(node, arrays, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))
    mult, shift = numerics.encode_multiply(a_scale, b_scale, y_scale)
    zeros = [int(flipped(zero)) for zero in (a_zero, b_zero, y_zero)]
    small = [flipped(array).astype(np.int8) for array in (a, b)]
    expected = numerics.multiply(*small, *zeros[:2], mult, shift, zeros[2])
    difference = np.abs(flipped(found) - expected)
    assert difference.max() <= 1
    assert np.mean(difference != 0) < 0.02


def test_requantise_equals_its_integer_twin():
    rng = np.random.default_rng(1)
    count = 50_000
    acc = (rng.integers(-(2**31), 2**31, count) >> rng.integers(0, 31, count)).astype(np.int32)
    acc[:4] = [-(2**31), 2**31 - 1, 0, -1]
    mantissa = rng.integers(2**23 - 2**20, 2**24, count)
    shift, zero = rng.integers(0, 256, count), rng.integers(-128, 128, count)
    slow = [
        numerics.requantise_integer(*map(int, case))
        for case in zip(acc, mantissa, shift, zero, strict=True)
    ]
    np.testing.assert_array_equal(numerics.requantise(acc, mantissa, shift, zero), slow)


def test_every_float32_scale_is_encoded_exactly():
    rng = np.random.default_rng(2)
    scale = np.exp2(rng.uniform(-40, 24, 100_000)).astype(np.float32)
    scale = scale[(scale >= 2.0**-40) & (scale < 2.0**24)]
    mantissa, shift = numerics.encode_scale(scale)
    assert (mantissa.min() >= 2**23) and (mantissa.max() < 2**24)
    assert (shift.min(), shift.max()) == (0, 63)
    np.testing.assert_array_equal(np.ldexp(mantissa.astype(float), -shift), scale.astype(float))


def test_scales_beyond_the_encoding_act_as_they_would():
    acc = np.array([-(2**31), -1, 0, 1, 2**31 - 1], np.int32)
    tiny = numerics.encode_scale(np.float32(2.0**-41))
    huge = numerics.encode_scale(np.float32(2.0**30))
    assert tiny == (2**23, 63) and huge == (2**24 - 1, 0)
    assert numerics.requantise(acc, *tiny, 5).tolist() == [5] * 5
    assert numerics.requantise(acc, *huge, 5).tolist() == [-128, -128, 5, 127, 127]


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf, 1e39])
def test_encode_scale_refuses(scale):
    with pytest.raises(ValueError, match="scale must be positive and finite, not"):
        numerics.encode_scale(scale)


@pytest.mark.parametrize("place", range(3))
@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_encode_add_refuses_scales(place, scale):
    values = [1.0, 1.0, 1.0]
    values[place] = scale
    with pytest.raises(ValueError, match="scale must be positive and finite, not"):
        numerics.encode_add(*values)


def test_encode_add_refuses_a_large_ratio():
    with pytest.raises(ValueError, match="ratio of scales must be less than 4194303, not 5000000"):
        numerics.encode_add(5000000.0, 1.0, 1.0)


def test_encode_multiply_refuses():
    with pytest.raises(ValueError, match=r"positive and finite, not 0\.0"):
        numerics.encode_multiply(1.0, 0.0, 1.0)


def test_a_large_ratio_of_a_product_saturates_as_it_would():
    assert numerics.encode_multiply(200.0, 200.0, 1.0) == (32767, 0)


def test_encode_multiply_keeps_15_bits_in_the_field():
    rng = np.random.default_rng(3)
    for own, other, out in np.exp2(rng.uniform(-8, 4, (2000, 3))):
        mult, shift = numerics.encode_multiply(own, other, out)
        assert 0 <= shift <= 31 and mult < 2**15 and (mult >= 2**14 - 1 or shift == 31)
        assert abs(mult / 2**shift - own * other / out) <= 2.0 ** -(shift + 1)
    assert numerics.encode_multiply(1 - 2**-30, 1.0, 1.0)[0] <= 2**15 - 1


def test_multiply_stays_in_int32_at_its_bounds():
    ends = np.array([-128, 127], np.int8)
    found = numerics.multiply(ends[:, None], ends[None], 127, 127, -32768, 31, 0)
    assert found.tolist() == [[-1, 0], [0, 0]]  # -255·255·2¹⁵ over 2³¹ is -0.99


def test_add_stays_in_int32_at_its_bounds():
    ends = np.array([-128, 127], np.int8)
    for mult, first in ((-(2**22), 1), (2**22 - 1, -1)):
        found = numerics.add(ends, ends, 127, 127, mult, mult, 31, 0)
        assert found.tolist() == [first, 0]  # ±2·255·2²² over 2³¹ is ±0.996


def additions_unlike_float32(seed):
    """Of all pairs of bytes, how many have another sum than float32 makes of the real numbers."""
    rng = np.random.default_rng(seed)
    a, b = np.mgrid[-128:128, -128:128]
    a_zero, b_zero, y_zero = (int(zero) for zero in rng.integers(-128, 128, 3))
    a_scale, b_scale = scales(rng), scales(rng)
    y_scale = np.float32((a_scale + b_scale) * rng.uniform(0.3, 1.2))
    real = np.float32(a - a_zero) * a_scale + np.float32(b - b_zero) * b_scale
    wanted = np.clip(np.rint(real / y_scale) + y_zero, -128, 127)
    s_mult, b_mult, shift = numerics.encode_add(a_scale, b_scale, y_scale)
    small = [array.astype(np.int8) for array in (a, b)]
    found = numerics.add(*small, a_zero, b_zero, s_mult, b_mult, shift, y_zero)
    assert np.abs(found - wanted).max() <= 1
    return (found != wanted).sum()


def test_additions_are_float32s():
    assert np.mean([additions_unlike_float32(seed) for seed in range(50)]) < 1


def test_encode_add_keeps_22_bits_in_the_fields():
    rng = np.random.default_rng(3)
    for own, other, out in np.exp2(rng.uniform(-8, 8, (2000, 3))):
        s_mult, b_mult, shift = numerics.encode_add(own, other, out)
        assert 0 <= shift <= 31 and min(s_mult, b_mult) >= 0
        assert max(s_mult, b_mult) < 2**22 and (max(s_mult, b_mult) >= 2**21 - 1 or shift == 31)
        assert abs(s_mult / 2**shift - own / out) <= 2.0 ** -(shift + 1)
    # A ratio just below a power of two must not round up out of the field.
    assert numerics.encode_add(1 - 2**-30, 1.0, 1.0)[0] <= 2**22 - 1
