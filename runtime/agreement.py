"""Do two devices, and the machine and onnxruntime, agree? Byte for byte, tensor by tensor."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hpu.runtime.execution import Executor
from hpu.runtime.program import Port, Program

if TYPE_CHECKING:
    from hpu.compiler import ir
    from hpu.compiler.reference import Comparison

__all__ = ["Bytes", "Operators", "operators", "same_bytes", "tensors"]


def tensors(executor: Executor, program: Program) -> dict[str, np.ndarray]:
    """Every tensor that ``program`` left in the device's memory: int8 (n, y, x, c) by name."""
    ports: Sequence[Port] = (*program.inputs, *program.outputs, *program.kept)
    return {port.tensor: executor.read_device(port) for port in ports}


@dataclasses.dataclass(frozen=True)
class Bytes:
    """Bytes compared and bytes equal; ``different`` names the first tensor that differs."""

    equal: int
    total: int
    different: str = ""

    def __str__(self) -> str:
        where = f" (first in {self.different})" if self.different else ""
        return f"{self.equal:,}/{self.total:,} bytes{where}"


def same_bytes(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> Bytes:
    """Compare the tensors of two devices."""
    equal = total = 0
    first = ""
    for name, value in one.items():
        same = int((value == other[name]).sum())
        if same != value.size and not first:
            first = name
        equal, total = equal + same, total + value.size
    return Bytes(equal, total, first)


@dataclasses.dataclass(frozen=True)
class Operators:
    """The machine's operators against onnxruntime's, each fed the machine's own input bytes."""

    comparisons: tuple["Comparison", ...]

    @property
    def exact(self) -> list["Comparison"]:
        """Operators of which every byte is promised."""
        return [entry for entry in self.comparisons if entry.exact]

    @property
    def others(self) -> list["Comparison"]:
        """Operators promised within 1 LSB."""
        return [entry for entry in self.comparisons if not entry.exact]

    @property
    def equal(self) -> int:
        """Operators of the exact kind with every byte equal."""
        return sum(entry.different == 0 for entry in self.exact)

    @property
    def largest(self) -> int:
        """The largest difference of the others, in LSB."""
        return max((entry.largest for entry in self.others), default=0)


def operators(graph: "ir.Graph", found: Mapping[str, np.ndarray]) -> Operators:
    """Compare every operation whose result is in ``found`` with onnxruntime."""
    from hpu.compiler.reference import compare

    return Operators(tuple(compare(graph, found)))
