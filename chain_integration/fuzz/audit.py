"""What must hold whatever is called: no token made or lost, nothing held for good."""

from hpu.chain_integration.chain.allocation import SUPPLY
from hpu.chain_integration.fuzz.ground import DAY, Ground, Placed, releases

__all__ = ["check_books", "check_supply", "wind_up"]

_OPEN = {"MATCHED", "COMMITTED", "REVEALED", "CONTESTED", "DISPUTED", "DEMANDED"}
_ROUNDS = 40


def check_supply(ground: Ground) -> None:
    """All tokens together are the supply."""
    holders = {*ground.accounts, *ground.places}
    held = sum(ground.ask("token", "balanceOf", holder) for holder in holders)
    assert held == SUPPLY, f"the supply is {SUPPLY}, but {held} are held"


def check_books(ground: Ground) -> None:
    """Each contract holds just what it owes, and what was sent to it without being asked for."""
    owed = {
        "market": _balances(ground) + sum(_held(ground, placed) for placed in ground.placed),
        "registry": sum(_staked(ground, account) for account in ground.accounts),
        "vote": _voted(ground),
        "resources": 0,
    }
    for name, amount in owed.items():
        place = ground.contracts[name].address
        held = ground.ask("token", "balanceOf", place)
        expected = amount + ground.gifts[place]
        assert held == expected, f"{name} holds {held}, but owes {expected}"
    for name in releases():
        held = ground.ask("token", "balanceOf", ground.contracts[name].address)
        locked = ground.ask(name, "locked")
        assert held >= locked, f"{name} holds {held}, but must hold {locked}"
    _check_locks(ground)


def wind_up(ground: Ground) -> None:
    """Whatever the state, a stranger's calls end it: all is paid out, nothing stays locked."""
    _end_orders(ground)
    _end_attempts(ground)
    check_books(ground)
    for account in ground.accounts:
        _take_out(ground, account)
    _end_votes(ground)
    check_books(ground)
    treasury = ground.ask("market", "treasury")
    left = ground.ask("market", "balances", treasury)
    if left:
        ground.must(_stranger(ground), "release_foundation", "collect")
    for name in ("market", "registry", "vote"):
        place = ground.contracts[name].address
        held = ground.ask("token", "balanceOf", place)
        assert held == ground.gifts[place], f"{held - ground.gifts[place]} stay in {name} for good"
    check_supply(ground)


def _end_orders(ground: Ground) -> None:
    """Let time pass and call every timeout, as an account that has no part in any order."""
    stranger = _stranger(ground)
    for _ in range(_ROUNDS):
        waiting = [placed for placed in ground.placed if ground.state(placed) in _OPEN]
        if not waiting:
            return
        ground.connection.advance(DAY // 2)
        for placed in waiting:
            _push(ground, stranger, placed)
    stuck = [ground.state(placed) for placed in ground.placed if ground.state(placed) in _OPEN]
    assert not stuck, f"orders are stuck: {stuck}"


def _end_attempts(ground: Ground) -> None:
    """End the resource proofs that nobody finished."""
    ground.connection.advance(DAY)
    for node in ground.accounts:
        if ground.ask("resources", "attempts", node)["deadline"]:
            ground.must(_stranger(ground), "resources", "finish", node)


def _push(ground: Ground, stranger: str, placed: Placed) -> None:
    state = ground.state(placed)
    if state == "REVEALED":
        ground.must(stranger, "market", "settle", [placed.id])
    elif state == "DISPUTED":
        ground.must(stranger, "disputes", "timeout", placed.id)
    elif ground.now() > ground.ask("market", "job", placed.id)["ends"]:
        ground.must(stranger, "market", "expire", placed.id)


def _stranger(ground: Ground) -> str:
    """The last account is given no part in orders."""
    return ground.accounts[-1]


def _take_out(ground: Ground, account: str) -> None:
    """An account takes out its balance and its whole stake."""
    balance = ground.ask("market", "balances", account)
    ground.must(account, "market", "withdraw", balance)
    node = ground.ask("registry", "node", account)
    assert node["locked"] == 0, f"a stake of {node['locked']} stays locked for good"
    if node["stake"]:
        ground.must(account, "registry", "unbond", node["stake"])
    amount, ready = ground.ask("registry", "unbonding", account)
    if amount:
        ground.connection.advance(max(0, ready - ground.now()))
        ground.must(account, "registry", "withdraw")


def _end_votes(ground: Ground) -> None:
    ground.connection.advance(15 * DAY)
    for number in range(ground.ask("vote", "count")):
        for account in ground.accounts:
            if ground.ask("vote", "held", number, account):
                ground.must(_stranger(ground), "vote", "withdraw", number, account)


def _check_locks(ground: Ground) -> None:
    """Stake is locked for open orders and nothing else."""
    locks = dict.fromkeys(ground.accounts, 0)
    for placed in ground.placed:
        job = ground.ask("market", "job", placed.id)
        if ground.state(placed) not in _OPEN:
            continue
        stake = job["quote"] * 2
        for supplier in placed.suppliers:
            if not ground.ask("market", "share", placed.id, supplier)["removed"]:
                locks[supplier] += stake
        if job["agreed"]:
            for verifier in placed.agreed:
                locks[verifier] += stake
    for node in ground.accounts:
        if ground.ask("resources", "attempts", node)["deadline"]:
            locks[node] += ground.ask("resources", "STAKE")
        for verifier in ground.ask("resources", "verifiers", node):
            locks[verifier] += ground.ask("resources", "VERIFIER_STAKE")
    for account, expected in locks.items():
        locked = ground.ask("registry", "node", account)["locked"]
        assert locked == expected, f"{locked} of a stake are locked, but {expected} are needed"


def _balances(ground: Ground) -> int:
    owners = {*ground.accounts, *ground.places}
    return sum(ground.ask("market", "balances", owner) for owner in owners)


def _held(ground: Ground, placed: Placed) -> int:
    return ground.ask("market", "held", placed.id)


def _staked(ground: Ground, account: str) -> int:
    amount, _ = ground.ask("registry", "unbonding", account)
    return ground.ask("registry", "node", account)["stake"] + amount


def _voted(ground: Ground) -> int:
    return sum(
        ground.ask("vote", "held", number, account)
        for number in range(ground.ask("vote", "count"))
        for account in ground.accounts
    )
