"""What nodes are in a partition: copied to their readers, folded away, or members of one part."""

import numpy as np
import onnx
from onnx import numpy_helper

from hpu.compiler.importer.values import Activation, Constant, Pending, QuantConstant
from hpu.compiler.importer.walk import ANY_VALUE
from hpu.compiler.net import Groups, Net
from hpu.compiler.survey import Survey

__all__ = ["NOTHING_TO_COMPUTE", "Roles"]

#: Reason of nodes that are on the host because nothing next to them computes.
NOTHING_TO_COMPUTE = "nothing next to it is computed on the HPU"


class Roles:
    """What the nodes are: ``copied`` to every part that reads them, ``folded`` to constants.

    Nodes that only relabel or quantise, and have no neighbour that computes, go to the host: they
    are added to ``reasons``.
    """

    def __init__(self, net: Net, found: Survey, reasons: dict[int, str]):
        self.values = found.values
        self.copied: set[int] = set()
        self.folded: set[int] = set()
        for rank, node in enumerate(net.nodes):
            value = found.values.get(node.output[0]) if node.output else None
            if rank in reasons:
                continue
            if isinstance(value, Constant | QuantConstant):
                self.copied.add(rank)
                if isinstance(value, Constant) and not self._reads_constants(net, rank):
                    self.folded.add(rank)
            elif node.op_type == "DequantizeLinear":
                self.copied.add(rank)
        self._send_idle_to_host(net, reasons)

    def _reads_constants(self, net: Net, rank: int) -> bool:
        made = (self.values.get(name) for name in net.reads[rank])
        return all(isinstance(value, Constant | QuantConstant) for value in made)

    def constants(self, net: Net) -> dict[str, onnx.TensorProto]:
        """Results that are constants although the node reads none (shapes), as initializers."""
        names = [net.nodes[rank].output[0] for rank in sorted(self.folded)]
        return {name: numpy_helper.from_array(_array(self.values[name]), name) for name in names}

    def with_copies(self, net: Net, own: list[int]) -> list[int]:
        """The nodes of a part, and those of every part that they read, in order."""
        ranks, open_ = set(own), list(own)
        while open_:
            for name in net.reads[open_.pop()]:
                maker = net.maker.get(name)
                if maker in self.copied and maker not in ranks and maker not in self.folded:
                    ranks.add(maker)
                    open_.append(maker)
        return sorted(ranks)

    def _send_idle_to_host(self, net: Net, reasons: dict[int, str]) -> None:
        group = Groups()
        busy: set[int] = set()
        for rank, node in enumerate(net.nodes):
            constant = rank in self.copied and not self._is_activation(node)
            if rank in reasons or constant or rank not in net.needed:
                continue
            for name in net.reads[rank]:
                maker = net.maker.get(name)
                constant = maker in self.copied and not self._is_activation(net.nodes[maker])
                if maker is not None and maker not in reasons and not constant:
                    group.join(rank, maker)
            if node.op_type not in ANY_VALUE:
                busy.add(rank)
        kept = {group.of(rank) for rank in busy}
        for rank, node in enumerate(net.nodes):
            idle = rank not in reasons and rank in net.needed and group.of(rank) not in kept
            if idle and self._is_activation(node) and rank not in self.folded:
                reasons[rank] = NOTHING_TO_COMPUTE
                self.copied.discard(rank)

    def _is_activation(self, node: onnx.NodeProto) -> bool:
        return isinstance(self.values.get(node.output[0]), Activation | Pending)


def _array(value: object) -> np.ndarray:
    assert isinstance(value, Constant)
    return value.array
