"""Arithmetic of the vector unit, as docs/numerics.md defines it.

The functional simulator calls the fast forms, which use float32 because it does exactly the
three roundings of a requantisation; the hardware has integers only, and so have the slow
twins here that the tests compare with.
"""

import numpy as np
import numpy.typing as npt

__all__ = [
    "MANTISSA_LOW",
    "SHIFT_MASK",
    "add",
    "encode_add",
    "encode_multiply",
    "encode_scale",
    "multiply",
    "requantise",
    "requantise_integer",
    "scale_of",
]

IntArray = npt.NDArray[np.integer] | int

#: Smallest normalised mantissa; one below it counts as 0.
MANTISSA_LOW = 1 << 23
#: Bits of a shift that count.
SHIFT_MASK = 63
#: Bits of the larger multiplier of an addition.
_ADD_BITS = 22
#: Bits of the multiplier of a multiplication.
_MULTIPLY_BITS = 15
_SHIFT_MAX = 31


def encode_scale(scale: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Mantissas (2²³ … 2²⁴-1) and shifts (0 … 63), both int64 of the shape of ``scale``.

    Raises
    ------
    ValueError
        When a scale is not a positive finite float32.
    """
    with np.errstate(over="ignore"):
        values = np.asarray(scale, np.float32)
    if not np.all(np.isfinite(values) & (values > 0)):
        bad = values[~(np.isfinite(values) & (values > 0))].flat[0]
        raise ValueError(f"scale must be positive and finite, not {float(bad)!r}")
    clipped = np.clip(values.astype(np.float64), 2.0**-40, 2.0**24 - 1)
    fraction, exponent = np.frexp(clipped)
    mantissa = (fraction * 2**24).astype(np.int64)
    return mantissa, 24 - exponent.astype(np.int64)


def scale_of(mantissa: IntArray, shift: IntArray) -> np.ndarray:
    """The float32 factor that a mantissa and a shift stand for."""
    mantissa, shift = np.asarray(mantissa, np.int64), np.asarray(shift, np.int64)
    normal = np.where(mantissa >= MANTISSA_LOW, mantissa, 0)
    return np.ldexp(normal.astype(np.float64), -(shift & SHIFT_MASK)).astype(np.float32)


def requantise(acc: np.ndarray, mantissa: IntArray, shift: IntArray, zero: IntArray) -> np.ndarray:
    """int8 of ``acc`` (int32, bias added) scaled, rounded, saturated and moved to ``zero``.

    ``mantissa``, ``shift`` and ``zero`` broadcast against ``acc``, per column or as scalars.
    """
    scaled = acc.astype(np.float32)
    scaled = np.multiply(scaled, scale_of(mantissa, shift), out=scaled)
    np.rint(scaled, out=scaled)
    zeros = np.asarray(zero, np.float32)
    np.clip(scaled, -128 - zeros, 127 - zeros, out=scaled)
    scaled += zeros
    return scaled.astype(np.int8)


def _round_to_bits(value: int, bits: int) -> int:
    """``value`` ≥ 0 rounded to ``bits`` significant bits, ties to even."""
    return _shift_round(value, value.bit_length() - bits) << max(0, value.bit_length() - bits)


def _shift_round(value: int, shift: int) -> int:
    """``value`` / 2^``shift`` to the nearest integer, ties to even; negative shifts do nothing."""
    if shift <= 0:
        return value
    below, remainder = value >> shift, value & ((1 << shift) - 1)
    half = 1 << (shift - 1)
    return below + (remainder > half or (remainder == half and below & 1))


def requantise_integer(acc: int, mantissa: int, shift: int, zero: int) -> int:
    """:func:`requantise` of one number by the steps of docs/numerics.md, in integers only."""
    if mantissa < MANTISSA_LOW:
        return zero
    rounded = _round_to_bits(abs(acc), 24)
    product = _round_to_bits(rounded * mantissa, 24)
    whole = _shift_round(product, shift & SHIFT_MASK)
    signed = -whole if acc < 0 else whole
    return min(max(signed, -128 - zero), 127 - zero) + zero


def add(
    s: np.ndarray,
    b: np.ndarray,
    s_zero: int,
    b_zero: int,
    s_mult: int,
    b_mult: int,
    shift: int,
    out_zero: int,
) -> np.ndarray:
    """int8 of ``(s - s_zero)·s_mult + (b - b_zero)·b_mult`` over 2^``shift``, plus ``out_zero``.

    One rounding, to nearest even; ``s`` and ``b`` are int8 of one shape.
    """
    total = (s.astype(np.int32) - np.int32(s_zero)) * np.int32(s_mult)
    total += (b.astype(np.int32) - np.int32(b_zero)) * np.int32(b_mult)
    rounded = np.rint(total * 2.0**-shift)
    return np.clip(rounded + out_zero, -128, 127).astype(np.int8)


def multiply(
    s: np.ndarray, b: np.ndarray, s_zero: int, b_zero: int, mult: int, shift: int, out_zero: int
) -> np.ndarray:
    """int8 of ``(s - s_zero)·(b - b_zero)·mult`` over 2^``shift``, plus ``out_zero``.

    One rounding, to nearest even; ``s`` and ``b`` are int8 of one shape, ``mult`` has 16 bits.
    """
    total = (s.astype(np.int32) - np.int32(s_zero)) * (b.astype(np.int32) - np.int32(b_zero))
    total *= np.int32(mult)
    rounded = np.rint(total * 2.0**-shift)
    return np.clip(rounded + out_zero, -128, 127).astype(np.int8)


def encode_multiply(own_scale: float, other_scale: float, out_scale: float) -> tuple[int, int]:
    """``(mult, shift)`` of :func:`multiply` for two operands' scales and the result's.

    The multiplier has 15 significant bits, unless the ratio is below 2⁻¹⁷, which gives 0 anyway;
    one of 32767 stands for all greater ones, which saturate every product but 0 as it does.

    Raises
    ------
    ValueError
        When a scale is not positive and finite.
    """
    _require_scales(own_scale, other_scale, out_scale)
    ratio = float(own_scale) * float(other_scale) / float(out_scale)
    return _fixed_point(min(ratio, (1 << _MULTIPLY_BITS) - 1.0), _MULTIPLY_BITS)


def _require_scales(*scales: float) -> None:
    for scale in scales:
        if not (np.isfinite(scale) and scale > 0):
            raise ValueError(f"scale must be positive and finite, not {float(scale)!r}")


def _fixed_point(ratio: float, bits: int) -> tuple[int, int]:
    """``ratio`` < 2^``bits`` as a number of at most ``bits`` bits over 2^shift, 0 ≤ shift ≤ 31."""
    limit = (1 << bits) - 1
    shift = min(_SHIFT_MAX, bits - int(np.frexp(ratio)[1]))
    if round(ratio * 2.0**shift) > limit:
        shift -= 1
    return round(ratio * 2.0**shift), shift


def encode_add(own_scale: float, other_scale: float, out_scale: float) -> tuple[int, int, int]:
    """``(s_mult, b_mult, shift)`` of :func:`add` for two operands' scales and the result's.

    The larger multiplier has 22 significant bits, unless its ratio to ``out_scale`` is below 2⁻¹⁰.

    Raises
    ------
    ValueError
        When a scale is not positive and finite, or a ratio is 4194303 or more.
    """
    _require_scales(own_scale, other_scale, out_scale)
    own, other = float(own_scale) / float(out_scale), float(other_scale) / float(out_scale)
    largest, limit = max(own, other), (1 << _ADD_BITS) - 1
    if largest >= limit:
        raise ValueError(f"ratio of scales must be less than {limit}, not {largest!r}")
    _, shift = _fixed_point(largest, _ADD_BITS)
    return round(own * 2.0**shift), round(other * 2.0**shift), shift
