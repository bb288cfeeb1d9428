"""What the parties of an order do next, well or badly."""

from typing import Any

from hpu.chain_integration.fuzz.ground import CYCLES, EDGE, HAI, ROWS, Ground, Placed
from hpu.chain_integration.fuzz.traces import Variant, variants
from hpu.chain_integration.proofs.bisect import Accused, Challenger, Move, next_move
from hpu.chain_integration.roles.availability import show

__all__ = ["next_step", "prove_step", "renew"]

#: Of one order; a lost one leaves it as it was, so that more would only repeat the same game.
_CHALLENGES = 3


def next_step(ground: Ground, placed: Placed, choice: int) -> None:
    """Make a call that may be right in the order's state; ``choice`` says which, and by whom."""
    step = _STEPS.get(ground.state(placed))
    if step is not None:
        step(ground, placed, choice)


def prove_step(ground: Ground, node: str, choice: int) -> None:
    """Make a call that may be right in the state of the node's resource proof."""
    attempt = ground.ask("resources", "attempts", node)
    other = _one(ground.accounts[:-1], choice // 8)
    if attempt["deadline"] == 0:
        ground.do(node, "resources", "challenge", EDGE)
        ground.connection.mine(1 + choice % 3)
    elif attempt["root"] == bytes(32):
        _commit_rows(ground, node)
    elif choice % 8 == 0:
        row, column = choice // 8 % EDGE, choice % EDGE
        shown = (bytes(5 * EDGE), ROWS.prove(row))
        ground.do(other, "resources", "refute", node, row, column, *shown)
    elif choice % 8 < 6:
        ground.do(other, "resources", "accept", node, ROWS.root)
    if choice % 8 > 5:
        ground.do(other, "resources", "finish", node)


def _commit_rows(ground: Ground, node: str) -> None:
    ground.do(node, "resources", "commit", ROWS.root, bytes(32), CYCLES, 10**8)


def renew(ground: Ground, node: str, others: list[str]) -> None:
    """A whole resource proof, which stands when enough others accept it."""
    ground.do(node, "resources", "challenge", EDGE)
    ground.connection.mine(2)
    _commit_rows(ground, node)
    for other in others:
        ground.do(other, "resources", "accept", node, ROWS.root)
    ground.connection.advance(3601)
    ground.do(node, "resources", "finish", node)


def _commit(ground: Ground, placed: Placed, choice: int) -> None:
    supplier = _one(placed.suppliers, choice)
    if choice % 43 == 7:
        ground.do(supplier, "market", "give_up", placed.id)
        return
    if supplier not in placed.chosen:
        # Half of the results are right, and half of the suppliers claim as much work.
        variant = variants()[max(0, choice // 3 % 7 - 3)]
        placed.chosen[supplier] = (variant, HAI * (1 + choice // 24 % 2 * (choice % 7)))
    ground.do(supplier, "market", "commit", placed.id, placed.commitment(supplier))


def _reveal(ground: Ground, placed: Placed, choice: int) -> None:
    supplier = _one(placed.suppliers, choice)
    if choice % 43 == 7:
        ground.do(supplier, "market", "give_up", placed.id)
    elif supplier in placed.chosen:
        shown = (placed.result(supplier), placed.salt(supplier))
        ground.do(supplier, "market", "reveal", placed.id, *shown)


def _judge(ground: Ground, placed: Placed, choice: int) -> None:
    buyer, other = placed.order.buyer, _one(ground.accounts, choice // 8)
    supplier = _one(placed.suppliers, choice // 80)
    kind = choice % 8
    if kind == 1:
        ground.do(buyer, "market", "confirm", placed.id)
    elif kind == 2:
        ground.do(other, "market", "settle", [placed.id])
    elif kind == 3:
        wanted = (choice // 80 % 3, choice // 240 % 12, 1 + choice // 9 % 3)
        ground.do(buyer, "market", "demand", placed.id, supplier, wanted)
    elif kind == 4:
        ground.do(other, "sampling", "draw", placed.id)
    elif kind in (5, 6):
        _agree(ground, placed, choice)
    elif supplier in placed.chosen and placed.challenges < _CHALLENGES:
        given = placed.chosen[supplier][0]
        claimed = _one([each for each in variants() if each is not given], choice // 5)
        claimed = variants()[0] if given is not variants()[0] and choice % 5 else claimed
        _challenge(ground, placed, other, supplier, given, claimed)


def _agree(ground: Ground, placed: Placed, choice: int) -> None:
    drawn = ground.ask("sampling", "verifiers", placed.id)
    if not drawn:
        ground.do(ground.accounts[0], "sampling", "draw", placed.id)
        drawn = ground.ask("sampling", "verifiers", placed.id)
    if not drawn:
        return
    verifier = _one(drawn, choice)
    if ground.ask("market", "job", placed.id)["agreed"] == 0:
        placed.agreed.clear()
    if ground.do(verifier, "market", "agree", placed.id):
        placed.agreed.add(verifier)


def _challenge(
    ground: Ground, placed: Placed, who: str, accused: str, given: Variant, claimed: Variant
) -> None:
    content = (placed.order.model, placed.order.input)
    outcomes = (given.outcome, claimed.outcome)
    arguments = (placed.id, *content, accused, *outcomes)
    if ground.do(who, "market", "challenge", *arguments):
        ground.seen["challenges"] += 1
        placed.challenges += 1
        placed.claims = claimed


def _contest(ground: Ground, placed: Placed, choice: int) -> None:
    content = (placed.order.model, placed.order.input)
    accused, challenger = _one(placed.suppliers, choice), _one(placed.suppliers, choice // 3)
    given, claimed = placed.chosen[accused][0], placed.chosen[challenger][0]
    parties = (accused, given.outcome, challenger, claimed.outcome)
    if ground.do(_one(ground.accounts, choice), "market", "contest", placed.id, *content, *parties):
        ground.seen["contests"] += 1
        placed.claims = claimed


def _dispute(ground: Ground, placed: Placed, choice: int) -> None:
    """Play on as both sides would, up to eight moves; now and then let it lie."""
    for turn in range(9 - choice % 9):
        game = ground.ask("disputes", "games", placed.id)
        move = _move(ground, placed, game)
        if move is None:
            return
        mover = game["accused"] if game["turn"] in (1, 3, 5) else game["challenger"]
        if choice // 9 % 17 == turn + 4:
            mover = _one(ground.accounts, choice)
        made = ground.do(mover, "disputes", move.name, placed.id, *move.arguments)
        if made is None:
            if choice % 3 != 1:  # who cannot go on lets its time run out
                ground.connection.advance(2 * 3600 + 1)
                ground.do(_one(ground.accounts, choice), "disputes", "timeout", placed.id)
            return
        if move.name.startswith("prove"):
            ground.seen["convictions"] += 1


def _move(ground: Ground, placed: Placed, game: dict[str, Any]) -> Move | None:
    events = ground.contracts["disputes"].events()
    mine = [event for event in events if event["order"] == placed.id]
    given, claimed = placed.chosen.get(game["accused"], (None, 0))[0], placed.claims
    if given is None or given.trace is None or claimed is None or claimed.trace is None:
        return None
    for party in (Accused(given.trace), Challenger(claimed.trace)):
        if move := next_move(party, game, mine):
            return move
    return None


def _answer(ground: Ground, placed: Placed, choice: int) -> None:
    demanded = ground.contracts["market"].events("Demanded", id=placed.id)[-1].fields
    supplier, wanted = demanded["supplier"], demanded["wanted"]
    given = placed.chosen[supplier][0]
    if choice % 3 == 0 or given.trace is None:
        ground.do(_one(ground.accounts, choice), "market", "expire", placed.id)
        return
    shown = show(given.trace, *(wanted[name] for name in ("tensor", "first", "leaves")))
    ground.do(supplier, "market", "answer", placed.id, given.outcome, shown)


def _one(values: list[Any], choice: int) -> Any:
    return values[choice % len(values)]


_STEPS = {
    "MATCHED": _commit,
    "COMMITTED": _reveal,
    "REVEALED": _judge,
    "CONTESTED": _contest,
    "DISPUTED": _dispute,
    "DEMANDED": _answer,
}
