"""Relabellings without moving data: how an ONNX value lies over a device tensor.

A value is a row-major walk over digits of the device tensor's axes. Reshape regroups the digits,
Transpose reorders them; neither moves a byte. An operator asks for the digits of each of the
value's dimensions and sees whether they are the axes it needs.
"""

import dataclasses
import math
from collections.abc import Iterable, Sequence

__all__ = ["FLAT", "Digit", "Layout", "LayoutError", "host_view", "translate"]

#: Axis of a graph input whose device axes are not decided yet: its elements in row-major order.
FLAT = -1


class LayoutError(Exception):
    """A relabelling that would need data to move."""


@dataclasses.dataclass(frozen=True)
class Digit:
    """``size`` steps of ``stride`` elements along ``axis`` (0 … 3 for n, y, x, c; or ``FLAT``)."""

    axis: int
    stride: int
    size: int

    def split(self, inner: int) -> tuple["Digit", "Digit"]:
        """Outer and inner digit, the inner one of ``inner`` steps."""
        outer = Digit(self.axis, self.stride * inner, self.size // inner)
        return outer, Digit(self.axis, self.stride, inner)


@dataclasses.dataclass(frozen=True)
class Layout:
    """``shape`` of a value and the device digits that it walks, outermost first."""

    shape: tuple[int, ...]
    digits: tuple[Digit, ...]

    @classmethod
    def flat(cls, shape: Sequence[int]) -> "Layout":
        """A graph input of ``shape`` whose device axes are open."""
        return cls(tuple(shape), merge([Digit(FLAT, 1, math.prod(shape))]))

    @classmethod
    def image(cls, shape4: Sequence[int]) -> "Layout":
        """The ONNX value (n, c, y, x) of the device tensor (n, y, x, c)."""
        n, y, x, c = shape4
        digits = [Digit(0, 1, n), Digit(3, 1, c), Digit(1, 1, y), Digit(2, 1, x)]
        return cls((n, c, y, x), merge(digits))

    @classmethod
    def row(cls, shape4: Sequence[int]) -> "Layout":
        """The ONNX value (n, c, x) of the device tensor (n, 1, x, c)."""
        n, _, x, c = shape4
        return cls((n, c, x), cls.image(shape4).digits)

    @classmethod
    def rows(cls, shape4: Sequence[int]) -> "Layout":
        """The ONNX value (n, y, x, c) of the device tensor (n, y, x, c)."""
        n, y, x, c = shape4
        return cls((n, y, x, c), merge([Digit(k, 1, size) for k, size in enumerate(shape4)]))

    def reshape(self, shape: Sequence[int]) -> "Layout":
        """The same walk under another shape of as many elements."""
        return Layout(tuple(shape), self.digits)

    def transpose(self, perm: Sequence[int]) -> "Layout":
        """The value with its dimensions reordered.

        Raises
        ------
        LayoutError
            When a dimension ends inside an axis at a place where the axis cannot be cut.
        """
        dims = self.dims()
        digits = merge([digit for k in perm for digit in dims[k]])
        return Layout(tuple(self.shape[k] for k in perm), digits)

    def dims(self) -> list[tuple[Digit, ...]]:
        """The digits of each dimension, merged; a dimension of 1 has none.

        Raises
        ------
        LayoutError
            As for :meth:`transpose`.
        """
        rest = list(self.digits)
        return [_take(rest, size) for size in self.shape]


def merge(digits: Iterable[Digit]) -> tuple[Digit, ...]:
    """``digits`` without steps of one, neighbours joined that are one walk along one axis."""
    out: list[Digit] = []
    for digit in digits:
        if digit.size == 1:
            continue
        last = out[-1] if out else None
        if last and last.axis == digit.axis and last.stride == digit.stride * digit.size:
            out[-1] = Digit(digit.axis, digit.stride, last.size * digit.size)
        else:
            out.append(digit)
    return tuple(out)


def _take(rest: list[Digit], size: int) -> tuple[Digit, ...]:
    taken = []
    while size > 1:
        digit = rest.pop(0)
        if digit.size > size:
            if digit.size % size:
                raise LayoutError
            outer, inner = digit.split(digit.size // size)
            rest.insert(0, inner)
            digit = outer
        if size % digit.size:
            raise LayoutError
        taken.append(digit)
        size //= digit.size
    return merge(taken)


def translate(layout: Layout, binding: Sequence[tuple[Digit, Digit]]) -> Layout:
    """``layout`` over a flat input, for the device axes that ``binding`` gives its digits.

    ``binding`` pairs each digit of the flat input with its device digit.
    """
    digits: list[Digit] = []
    for digit in layout.digits:
        digits += _translate(digit, binding)
    return Layout(layout.shape, merge(digits))


def _translate(digit: Digit, binding: Sequence[tuple[Digit, Digit]]) -> list[Digit]:
    pieces = []
    for flat, device in sorted(binding, key=lambda pair: -pair[0].stride):
        low = max(digit.stride, flat.stride)
        high = min(digit.stride * digit.size, flat.stride * flat.size)
        if high <= low:
            continue
        if high % low or low % flat.stride:
            raise LayoutError
        pieces.append(Digit(device.axis, device.stride * (low // flat.stride), high // low))
    if math.prod(piece.size for piece in pieces) != digit.size:
        raise LayoutError
    return pieces


def host_view(
    layout: Layout, shape4: Sequence[int]
) -> tuple[tuple[int, int, int, int], tuple[int, int, int, int]]:
    """``view`` and ``perm`` with device tensor = value.reshape(view).transpose(perm).

    Raises
    ------
    LayoutError
        When the value walks some axis in more than one piece.
    """
    order = [digit.axis for digit in layout.digits]
    whole = all(digit == Digit(digit.axis, 1, shape4[digit.axis]) for digit in layout.digits)
    if not whole or len(set(order)) != len(order):
        raise LayoutError
    order += [axis for axis in range(4) if axis not in order]
    a, b, c, d = order
    view = (shape4[a], shape4[b], shape4[c], shape4[d])
    return view, (order.index(0), order.index(1), order.index(2), order.index(3))
