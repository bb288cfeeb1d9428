"""What onnxruntime gives for each operation, fed the machine's own input bytes."""

import dataclasses
from collections.abc import Iterator, Mapping

import numpy as np
import onnx

from hpu.compiler import ir
from hpu.compiler.fuse import is_exact
from hpu.compiler.importer.fold import run_model
from hpu.compiler.qoperator import export

__all__ = ["Comparison", "Reference", "compare", "references"]


@dataclasses.dataclass(frozen=True, eq=False)
class Reference:
    """An operation, the ONNX model of the operators that it stands for, and what is promised.

    ``exact``: every byte is onnxruntime's; otherwise within 1 LSB of it.
    """

    op: ir.Op
    model: onnx.ModelProto
    exact: bool

    def run(self, tensors: Mapping[str, np.ndarray]) -> np.ndarray:
        """int8 (n, y, x, c) that onnxruntime makes of the device tensors ``tensors``, by name."""
        feeds = {tensor.name: tensors[tensor.name] for tensor in self.op.inputs}
        return run_model(self.model, feeds)[0]


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The machine's bytes of one operation against onnxruntime's.

    ``wrong`` counts the bytes that differ by more than is promised, ``different`` all that differ;
    ``largest`` is the largest difference in LSB.
    """

    name: str
    nodes: tuple[str, ...]
    exact: bool
    elements: int
    different: int
    wrong: int
    largest: int


def references(graph: ir.Graph) -> Iterator[Reference]:
    """A reference for every operation, in order.

    Raises
    ------
    UnsupportedError
        When onnxruntime has no operator for one (see :func:`hpu.compiler.qoperator.export`).
    """
    for op in graph.ops:
        yield Reference(op, export(_alone(op)), is_exact(op))


def compare(graph: ir.Graph, tensors: Mapping[str, np.ndarray]) -> list[Comparison]:
    """Every operation whose result is in ``tensors`` (int8 (n, y, x, c), by tensor name)."""
    made = [reference for reference in references(graph) if reference.op.out.name in tensors]
    return [_compare(reference, tensors) for reference in made]


def _compare(reference: Reference, tensors: Mapping[str, np.ndarray]) -> Comparison:
    op = reference.op
    expected = reference.run(tensors).astype(np.int16)
    apart = np.abs(expected - tensors[op.out.name].astype(np.int16))
    allowed = 0 if reference.exact else 1
    return Comparison(
        name=op.out.name,
        nodes=op.nodes,
        exact=reference.exact,
        elements=apart.size,
        different=int((apart > 0).sum()),
        wrong=int((apart > allowed).sum()),
        largest=int(apart.max(initial=0)),
    )


def _alone(op: ir.Op) -> ir.Graph:
    """A graph of one operation, its tensors as int8 inputs and output."""
    inputs = {tensor.name: tensor for tensor in op.inputs}
    ends = [_host(tensor) for tensor in inputs.values()]
    return ir.Graph([op], ends, [_host(op.out)], {**inputs, op.out.name: op.out})


def _host(tensor: ir.Tensor) -> ir.HostTensor:
    return ir.HostTensor(
        name=tensor.name,
        dtype="int8",
        shape=tensor.shape,
        view=tensor.shape,
        perm=(0, 1, 2, 3),
        quantised="int8",
        scale=float(tensor.quant.scale),
        zero=tensor.quant.zero,
        tensor=tensor.name,
    )
