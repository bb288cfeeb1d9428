"""The registry of figures: what is measured, in what unit, and when it is good enough."""

import dataclasses
from collections.abc import Callable, Sequence

import msgspec

__all__ = ["FIGURES", "Figure", "Found", "Measurement", "Row", "figure"]

#: Numbers that a figure is made of, by their names.
Row = dict[str, int | float | str]


@dataclasses.dataclass(frozen=True)
class Found:
    """What was measured: the figure's value, and in words how it came about.

    ``peer`` says what others reach, measured in the same run; ``rows`` are the numbers behind.
    """

    value: float
    detail: str
    peer: str = ""
    rows: Sequence[Row] = ()


Function = Callable[[], Found]


@dataclasses.dataclass(frozen=True)
class Figure:
    """One figure; ``bar`` says in words what ``reached`` decides."""

    id: str
    unit: str
    bar: str
    reached: Callable[[float], bool]
    function: Function


class Measurement(msgspec.Struct):
    """A figure as it was measured; ``value`` is ``None`` when it could not be."""

    id: str
    value: float | None
    unit: str
    bar: str
    reached: bool
    detail: str
    peer: str = ""
    rows: list[Row] = []


FIGURES: dict[str, Figure] = {}


def figure(
    name: str, *, unit: str, bar: str, reached: Callable[[float], bool]
) -> Callable[[Function], Function]:
    """Put a measuring function into the registry under ``name``."""

    def register(function: Function) -> Function:
        FIGURES[name] = Figure(name, unit, bar, reached, function)
        return function

    return register
