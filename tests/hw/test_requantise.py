import numpy as np
import pytest

from hpu.sim import requant_check
from hpu.sim.numerics import requantise


def test_rtl_equals_float32_on_random_cases_and_ties():
    cases, mismatches = requant_check.run(200_000, seed=1)
    assert cases >= 200_000 and mismatches == 0


def test_rtl_gives_every_parameter_record_its_meaning():
    """Mantissas below 2²³ count as 0, and the bounds of every field work."""
    rng = np.random.default_rng(2)
    edges = np.array([-(2**31), 1 - 2**31, -1, 0, 1, 2**24 + 1, 2**31 - 1])
    acc = np.broadcast_to(rng.choice(edges, (200, 32, 1)), (200, 32, 16)).astype(np.int32)
    mantissa = rng.choice([0, 1, 2**23 - 1, 2**23, 2**24 - 1], (200, 16))
    shift, zero = (
        rng.choice([0, 1, 22, 23, 24, 46, 54, 63], (200, 16)),
        rng.integers(-128, 128, 200),
    )
    expected = requantise(acc, mantissa[:, None], shift[:, None], zero[:, None, None])
    found = requant_check.requantise_rtl(acc, mantissa, shift, zero)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.slow
def test_rtl_equals_float32_on_ten_million_cases():
    cases, mismatches = requant_check.run(10_000_000, seed=3)
    assert cases >= 10_000_000 and mismatches == 0


def test_lanes_must_be_those_of_the_build():
    with pytest.raises(ValueError, match="acc must have 16 lanes, not 3"):
        requant_check.requantise_rtl(np.zeros((1, 1, 3), np.int32), *np.zeros((3, 1), np.int32))
