"""Disputes over a trace: what each party does next.

The contract (``contracts/disputes.vy``) says whose turn it is. A party needs its own trace and the
contract's events, nothing else, so that it can go on after a restart.
"""

import dataclasses
import enum
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from hpu.chain_integration.proofs.elements import NO_TENSOR, Shown, need, show
from hpu.chain_integration.proofs.layers import INPUT, Kind
from hpu.chain_integration.proofs.merkle import CHUNK, Tree, chunks
from hpu.chain_integration.proofs.trace import Trace

__all__ = ["FAN_LEVELS", "Accused", "Challenger", "Move", "Turn", "next_move"]

#: Levels that one move goes down.
FAN_LEVELS = 4
_NOTHING = bytes(32)


class Turn(enum.IntEnum):
    """The next move, as the contract numbers them."""

    OVER = 0
    BEGIN = 1
    PICK = 2
    SHOW = 3
    NAME = 4
    LEAF = 5
    PROVE = 6
    PROVE_OUTPUT = 7

    @property
    def accused(self) -> bool:
        """Whether the accused makes it."""
        return self in (Turn.BEGIN, Turn.SHOW, Turn.LEAF)


@dataclasses.dataclass(frozen=True)
class Move:
    """A call of the contract; ``arguments`` follow the order's number."""

    name: str
    arguments: tuple[Any, ...]


class _Event(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def fields(self) -> dict[str, Any]: ...


def _below(tree: Tree, level: int, index: int) -> list[bytes]:
    """All the nodes up to four levels below a node."""
    down = min(level, FAN_LEVELS)
    return tree.levels[level - down][index << down : (index + 1) << down]


class Accused:
    """The supplier's side: it shows what it committed to."""

    def __init__(self, trace: Trace):
        self.trace = trace

    def move(self, game: Mapping[str, Any], _events: Sequence[_Event]) -> Move:
        """The move that ``game``, as the contract has it, waits for."""
        turn = Turn(game["turn"])
        if turn is Turn.BEGIN:
            return self._begin()
        tree = self.trace.tree
        if game["description"] != _NOTHING:
            tree = self.trace.layer_tree(game["layer"])
        if turn is Turn.SHOW:
            return Move("show", (_below(tree, game["level"], game["index"]),))
        name = self.trace.model.layers[game["layer"]].name
        return Move("leaf", (chunks(self.trace.values[name].tobytes())[game["index"]],))

    def _begin(self) -> Move:
        tree, model = self.trace.tree, self.trace.model.tree
        path = tree.prove(tree.count - 1)
        nodes = _below(tree, tree.height, 0)
        return Move("begin", (tree.count, model.top, nodes, path))


class Challenger:
    """The other side: it leads to the first thing that differs from its own trace."""

    def __init__(self, trace: Trace):
        self.trace = trace

    def move(self, game: Mapping[str, Any], events: Sequence[_Event]) -> Move | None:
        """The move that ``game`` waits for; ``None`` when nothing that was shown is wrong.

        Parameters
        ----------
        events:
            The contract's events of this order, in order.
        """
        turn, number = Turn(game["turn"]), game["layer"]
        if turn is Turn.PICK:
            return self._pick(game, _last(events, "Shown")["nodes"])
        if turn is Turn.NAME:
            layer = self.trace.model.layers[number].layer
            return Move("name", (layer.values(), self.trace.model.tree.prove(number)))
        if turn is Turn.PROVE:
            return self._prove(game, events, _last(events, "LeafShown")["data"])
        return self._prove_output(game, events)

    def _pick(self, game: Mapping[str, Any], nodes: Sequence[bytes]) -> Move | None:
        tree = self.trace.tree
        if game["description"] != _NOTHING:
            tree = self.trace.layer_tree(game["layer"])
        own = _below(tree, game["level"], game["index"])
        for which, (ours, theirs) in enumerate(zip(own, nodes, strict=True)):
            if ours != theirs:
                return Move("pick", (list(nodes), which))
        return None

    def _prove(self, game: Mapping[str, Any], events: Sequence[_Event], data: bytes) -> Move | None:
        number, first = game["layer"], game["index"] * CHUNK
        layer = self.trace.model.layers[number]
        own = chunks(self.trace.values[layer.name].tobytes())[game["index"]]
        differing = [k for k in range(min(CHUNK, layer.layer.size - first)) if own[k] != data[k]]
        if not differing:
            return None
        offset = differing[0]
        wanted = need(layer, first + offset)
        x, y = self.trace.source(wanted.x), self.trace.source(wanted.y)
        shown: Shown = show(layer, first + offset, x, y)
        roots = [
            (_NOTHING if source is None else source.tree.root, self._path(events, tensor))
            for tensor, source in ((wanted.x, x), (wanted.y, y))
        ]
        where = (layer.layer.values(), offset, data)
        return Move("prove", (*where, *roots[0], *roots[1], shown.values()))

    def _prove_output(self, game: Mapping[str, Any], events: Sequence[_Event]) -> Move:
        model, index = self.trace.model, game["index"]
        last, tensor = model.layers[-1], model.references[model.outputs[index]]
        assert last.layer.kind == Kind.OUTPUT
        source = self.trace.source(tensor)
        assert source is not None
        chunk, path = chunks(last.records)[index // 8], last.record_tree.prove(index // 8)
        where = (last.layer.values(), chunk, path)
        return Move("prove_output", (*where, source.tree.root, self._path(events, tensor)))

    def _path(self, events: Sequence[_Event], tensor: int) -> list[bytes]:
        """Where a tensor's root stands in the accused's trace, or among the inputs."""
        if tensor == NO_TENSOR:
            return []
        if tensor >= INPUT:
            return self.trace.input_tree.prove(tensor - INPUT)
        theirs = _theirs(self.trace.tree, events)
        path, at = [], tensor
        for level, nodes in enumerate(self.trace.tree.levels[:-1]):
            if at ^ 1 < len(nodes):
                path.append(theirs.get((level, at ^ 1), nodes[at ^ 1]))
            at //= 2
        return path


def _last(events: Sequence[_Event], name: str) -> dict[str, Any]:
    return next(event.fields for event in reversed(events) if event.name == name)


def _theirs(tree: Tree, events: Sequence[_Event]) -> dict[tuple[int, int], bytes]:
    """Nodes of the accused's trace by level and index, as far as they were shown.

    Left of the way down they are the challenger's own, because it goes to the first difference.
    """
    nodes: dict[tuple[int, int], bytes] = {}
    level, index = tree.height, 0
    for event in events:
        if event.name == "Named":
            break
        if event.name == "Picked":
            level, index = event.fields["level"], event.fields["index"]
        elif event.name == "Shown":
            down = min(level, FAN_LEVELS)
            part, first = Tree(event.fields["nodes"]), index << down
            for up, row in enumerate(part.levels):
                places = (((level - down + up), (first >> up) + k) for k in range(len(row)))
                nodes |= dict(zip(places, row, strict=True))
    return nodes


def next_move(
    party: Accused | Challenger, game: Mapping[str, Any], events: Sequence[_Event]
) -> Move | None:
    """What ``party`` does now: ``None`` when it is not its turn, or it cannot go on.

    Parameters
    ----------
    game:
        What the contract's ``games`` says of the order.
    events:
        The contract's events of this order; those of earlier disputes over it are ignored.
    """
    turn = Turn(game["turn"])
    if turn is Turn.OVER or turn.accused != isinstance(party, Accused):
        return None
    opened = max(k for k, event in enumerate(events) if event.name == "Opened")
    return party.move(game, events[opened:])
