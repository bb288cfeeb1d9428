"""Scales and biases, number by number."""

import numpy as np
import pytest

from hpu.compiler.importer.values import OnnxQuant
from hpu.compiler.importer.weights import Weights, requantisation


def one_by_one(x, weights, y):
    """Multiplied first, then divided, each rounded to float32."""
    return [np.float32(np.float32(x * w) / y) for w in weights]


@pytest.mark.parametrize("seed", range(5))
def test_order_of_operations(seed):
    rng = np.random.default_rng(seed)
    x, y = np.exp(rng.normal(size=2)).astype(np.float32)
    scales = np.exp(rng.normal(size=4000)).astype(np.float32)
    weights = Weights(np.zeros((4000, 1), np.int16), scales)
    made = requantisation(OnnxQuant(x, 0, "int8"), weights, OnnxQuant(y, 0, "int8"))
    want = np.array(one_by_one(x, scales, y), np.float32)
    np.testing.assert_array_equal(made, want, err_msg=f"seed {seed}")
    other = (x * (scales / y)).astype(np.float32)
    assert (other != want).any()  # so the order shows


@pytest.mark.parametrize("x,y", [(1e-30, 1e30), (1e30, 1e-30)])
def test_scales_stay_positive_and_finite(x, y):
    weights = Weights(np.zeros((1, 1), np.int16), np.float32([1]))
    x_quant = OnnxQuant(np.float32(x), 0, "int8")
    made = requantisation(x_quant, weights, OnnxQuant(np.float32(y), 0, "int8"))
    assert np.isfinite(made).all() and (made > 0).all()


@pytest.mark.parametrize(
    "dtype,value,byte",
    [
        ("int8", 0.0, 5),
        ("int8", 1.26, 18),
        ("int8", -np.inf, -128),
        ("int8", np.inf, 127),
        ("uint8", 0.0, 5 - 128),
        ("uint8", -np.inf, -128),
        ("uint8", 1e30, 127),
        ("int8", 0.25, 7),  # 2.5 steps: ties to even
    ],
)
def test_quantised_bound(dtype, value, byte):
    assert OnnxQuant(np.float32(0.1), 5, dtype).quantise(value) == byte
