"""A network computed by its definition, and its elements by the contract."""

import numpy as np
from tests.compiler.naive import interpret

from hpu.chain_integration.proofs.elements import NO_TENSOR, Source, need, show
from hpu.chain_integration.proofs.layers import commit_model
from hpu.chain_integration.proofs.merkle import tensor_tree
from hpu.compiler import ir


class Bench:
    """A network with random inputs and everything that its operations give."""

    def __init__(self, graph: ir.Graph, seed: int, extreme: bool = False):
        self.rng = np.random.default_rng(seed)
        self.model = commit_model(graph)
        shapes = {host.tensor: graph.tensors[host.tensor].shape for host in graph.inputs}
        draw = (lambda s: self.rng.choice([-128, 127], s)) if extreme else self._any
        self.values = interpret(graph, {n: draw(s).astype(np.int8) for n, s in shapes.items()})
        self.names = {number: name for name, number in self.model.references.items()}

    def _any(self, shape):
        return self.rng.integers(-128, 128, shape)

    def source(self, number: int) -> Source | None:
        if number == NO_TENSOR:
            return None
        value = self.values[self.names[number]]
        return Source(value.tobytes(), tensor_tree(value))

    def check(self, contract, number: int, position: int) -> None:
        data = self.model.layers[number]
        wanted = need(data, position)
        x, y = self.source(wanted.x), self.source(wanted.y)
        roots = [bytes(32) if part is None else part.tree.root for part in (x, y)]
        shown = show(data, position, x, y).values()
        found, x_of, y_of = contract.call("compute", data.layer.values(), position, *roots, shown)
        expected = int(self.values[data.name].reshape(-1)[position])
        assert (found, x_of, y_of) == (expected, wanted.x, wanted.y), (data.layer, position)

    def check_some(self, contract, count: int) -> None:
        for number, data in enumerate(self.model.layers[:-1]):
            ends = {0, data.layer.size - 1}
            for position in ends | set(self.rng.integers(0, data.layer.size, count).tolist()):
                self.check(contract, number, position)
