"""Disputes played to their end on a chain in process, without a market: to test and to measure."""

import dataclasses

from hpu.chain_integration.chain.compile import compiled
from hpu.chain_integration.chain.connect import connect
from hpu.chain_integration.chain.contract import Event, create
from hpu.chain_integration.proofs.bisect import Accused, Challenger, Turn, next_move
from hpu.chain_integration.proofs.elements import need, show
from hpu.chain_integration.proofs.trace import Trace

__all__ = ["Court", "Verdict"]

_MOST_MOVES = 200


@dataclasses.dataclass(frozen=True)
class Verdict:
    """How a dispute ended: who lost, and by what.

    ``guilty`` is ``"accused"`` or ``"challenger"``; ``proven`` tells that a wrong byte was shown.
    ``gas`` is that of every transaction, in order, with its name.
    """

    guilty: str
    proven: bool
    gas: tuple[tuple[str, int], ...]

    @property
    def transactions(self) -> int:
        """Transactions that the dispute took, with its opening."""
        return len(self.gas)


class Court:
    """A chain with the contracts of disputes and two accounts."""

    def __init__(self) -> None:
        self.connection = connect()
        self.accused, self.challenger = self.connection.accounts(2)
        make = self.connection, self.accused
        self.market = create(*make, compiled("court"))
        self.machine = create(*make, compiled("elements"))
        disputes = compiled("disputes")
        self.disputes = create(*make, disputes, self.market.address, self.machine.address)
        self._orders = 0

    def open(self, given: Trace, claimed: Trace) -> tuple[bytes, int]:
        """Open a dispute over ``given``; the order's number and the gas."""
        self._orders += 1
        order = self._orders.to_bytes(32, "big")
        outcomes = [(trace.output_tree.root, trace.root) for trace in (given, claimed)]
        model, feeds = claimed.model.root, claimed.input_tree.root
        parties = self.accused.address, self.challenger.address
        dispute = (order, model, feeds, *parties, *outcomes)
        receipt = self.market.send(self.challenger, "open", self.disputes.address, dispute)
        return order, receipt.gas_used

    def events(self, order: bytes) -> list[Event]:
        """What the contract said of an order."""
        return [event for event in self.disputes.events() if event.fields["order"] == order]

    def step(self, order: bytes, parties: tuple[Accused, Challenger]) -> tuple[str, int] | None:
        """Make the next move; its name and gas, ``None`` when a party has no move."""
        game = self.disputes.call("games", order)
        accused = Turn(game["turn"]).accused
        move = next_move(parties[0 if accused else 1], game, self.events(order))
        if move is None:
            return None
        account = self.accused if accused else self.challenger
        return move.name, self.disputes.send(account, move.name, order, *move.arguments).gas_used

    def play(self, given: Trace, claimed: Trace) -> Verdict:
        """Play a dispute between a supplier with the trace ``given`` and one with ``claimed``.

        A party without a move lets its time run out.
        """
        order, gas = self.open(given, claimed)
        parties = Accused(given), Challenger(claimed)
        spent = [("open", gas)]
        while self.disputes.call("games", order)["turn"] != Turn.OVER:
            if len(spent) > _MOST_MOVES:
                raise AssertionError("the dispute does not end")
            made = self.step(order, parties)
            spent.append(made or self.timeout(order))
        verdict = self.market.call("verdicts", order)
        guilty = "accused" if verdict["guilty"] == self.accused.address else "challenger"
        return Verdict(guilty, verdict["proven"], tuple(spent))

    def element(self, trace: Trace, number: int, position: int) -> int:
        """What the contract makes of an element of a layer from the inputs that a trace has."""
        data = trace.model.layers[number]
        wanted = need(data, position)
        x, y = trace.source(wanted.x), trace.source(wanted.y)
        roots = [bytes(32) if source is None else source.tree.root for source in (x, y)]
        shown = show(data, position, x, y).values()
        return self.machine.call("compute", data.layer.values(), position, *roots, shown)[0]

    def timeout(self, order: bytes) -> tuple[str, int]:
        """Let the time of the next move run out and say so."""
        self.connection.advance(self.disputes.call("MOVE_TIME") + 1)
        return "timeout", self.disputes.send(self.challenger, "timeout", order).gas_used
