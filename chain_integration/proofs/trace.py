"""Execution traces: what a network gave, layer by layer, and what is committed of it."""

import functools
from collections.abc import Iterable, Mapping

import numpy as np

from hpu.chain_integration.proofs.elements import NO_TENSOR, Source
from hpu.chain_integration.proofs.layers import INPUT, Kind, LayerData, Model
from hpu.chain_integration.proofs.merkle import Tree, tensor_tree
from hpu.runtime.agreement import tensors
from hpu.runtime.errors import HpuError
from hpu.runtime.execution import Executor
from hpu.runtime.program import Program

__all__ = ["Trace", "io_root", "run_traced"]


def io_root(values: Iterable[np.ndarray]) -> bytes:
    """The root of a network's inputs or outputs: int8 device tensors (n, y, x, c), in order."""
    return Tree.of(tensor_tree(value).root for value in values).root


class Trace:
    """A network's tensors and the trees over them.

    Parameters
    ----------
    values:
        int8 (n, y, x, c) of every input and every layer's result, by tensor name.

    Raises
    ------
    HpuError
        When a tensor is missing or of another shape than the model has.
    """

    def __init__(self, model: Model, values: Mapping[str, np.ndarray]):
        self.model = model
        self.values = {name: np.ascontiguousarray(values[name]) for name in model.inputs}
        for data in model.layers[:-1]:
            found = values.get(data.name)
            if found is None or found.shape != tuple(data.layer.shape):
                raise HpuError(f"the trace must have {data.name!r} of shape {data.layer.shape}.")
            self.values[data.name] = _settled(data, found)

    @functools.cached_property
    def trees(self) -> dict[str, Tree]:
        """The tree over every tensor, by name."""
        return {name: tensor_tree(value) for name, value in self.values.items()}

    @functools.cached_property
    def input_tree(self) -> Tree:
        """Tree over the inputs' roots."""
        return Tree.of(self.trees[name].root for name in self.model.inputs)

    @functools.cached_property
    def output_tree(self) -> Tree:
        """Tree over the outputs' roots."""
        return Tree.of(self.trees[name].root for name in self.model.outputs)

    @functools.cached_property
    def tree(self) -> Tree:
        """A leaf with the root of every layer's result, and last the root of the outputs."""
        made = [self.trees[data.name].root for data in self.model.layers[:-1]]
        return Tree.of([*made, self.output_tree.root])

    @property
    def root(self) -> bytes:
        """What a supplier commits to as its trace."""
        return self.tree.root

    def layer_tree(self, number: int) -> Tree:
        """The tree below leaf ``number`` of the trace."""
        if number == len(self.model.layers) - 1:
            return self.output_tree
        return self.trees[self.model.layers[number].name]

    def source(self, number: int) -> Source | None:
        """A tensor by its number in the model, ``None`` for none."""
        if number == NO_TENSOR:
            return None
        inputs = self.model.inputs
        name = inputs[number - INPUT] if number >= INPUT else self.model.layers[number].name
        return Source(self.values[name].tobytes(), self.trees[name])


def _settled(data: LayerData, value: np.ndarray) -> np.ndarray:
    """What no piece of a data movement writes is the fill byte, whatever the device left there."""
    layer = data.layer
    if layer.kind != Kind.MOVE:
        return np.ascontiguousarray(value)
    entries = np.frombuffer(data.weights, ">u8").reshape(value.shape)
    fill = np.full(value.shape, np.clip(layer.zero, layer.low, layer.high), np.int8)
    if layer.tables:
        table = np.frombuffer(data.tables, np.int8).reshape(layer.tables, 256)
        channel = np.arange(value.shape[3]) if layer.tables > 1 else 0
        fill = np.broadcast_to(table[channel, fill.view(np.uint8)], value.shape)
    return np.where(entries == 0, fill, value)


def run_traced(
    executor: Executor, program: Program, model: Model, arrays: Mapping[str, np.ndarray]
) -> tuple[dict[str, np.ndarray], Trace]:
    """Run a network on a device: its outputs as the user sees them, and what each layer gave.

    Parameters
    ----------
    program:
        The network compiled with ``keep=True``.
    model:
        The same network's commitment.

    Raises
    ------
    DeviceError
        When the machine stops with a fault.
    """
    outputs = executor.run(program, arrays)
    return outputs, Trace(model, tensors(executor, program))
