"""A dispute as its parties play it: from the contract's state and events to the next move."""

from collections.abc import Callable

from hpu.chain_integration.chain.contract import Event
from hpu.chain_integration.proofs.bisect import Accused, Challenger, Turn, next_move
from hpu.chain_integration.proofs.trace import Trace
from hpu.chain_integration.roles.ledger import Ledger

__all__ = ["call_time", "play"]


def call_time(ledger: Ledger, order: bytes, now: int) -> None:
    """End a dispute in which who is to move did not do so in time."""
    game = ledger.contracts["disputes"].call("games", order)
    if game["turn"] != Turn.OVER and now > game["deadline"]:
        ledger.try_market("timeout", order, contract="disputes")


def play(ledger: Ledger, order: bytes, trace: Callable[[], Trace | None]) -> None:
    """Make this account's move in the dispute over ``order``, when it is its turn.

    Parameters
    ----------
    trace:
        Gives this account's own trace, or None while that is being computed.
    """
    disputes, me = ledger.contracts["disputes"], ledger.address
    game = disputes.call("games", order)
    turn = Turn(game["turn"])
    if turn is Turn.OVER or (game["accused"] if turn.accused else game["challenger"]) != me:
        call_time(ledger, order, ledger.now())
        return
    own = trace()
    if own is None:
        return
    party = Accused(own) if turn.accused else Challenger(own)
    move = next_move(party, game, _events(ledger, order))
    if move is not None:
        disputes.send(ledger.account, move.name, order, *move.arguments)


def _events(ledger: Ledger, order: bytes) -> list[Event]:
    contract = ledger.contracts["disputes"]
    found = contract.events(first=ledger.contracts.block)
    return [event for event in found if event.fields.get("order") == order]
