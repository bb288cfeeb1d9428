"""Rules by which Hypothesis calls all contracts in any order, and what must hold throughout."""

import functools
from collections import Counter
from typing import Any

from eth_utils import keccak
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from hpu.chain_integration.fuzz.audit import check_books, check_supply, wind_up
from hpu.chain_integration.fuzz.ground import (
    CONFIG,
    DAY,
    HAI,
    REGION,
    Ground,
    Placed,
    offer,
    releases,
)
from hpu.chain_integration.fuzz.traces import input_root, model
from hpu.chain_integration.fuzz.work import next_step, prove_step, renew
from hpu.chain_integration.roles.orders import Acceptance, Order

__all__ = ["ContractMachine", "Tally", "fuzz"]

_CHECKED_EVERY = 8  # steps
_SIZE = 60  # steps of one run at most
_WHO = st.integers(0, 8)  # the tenth account only ends what others left
_CHOICE = st.integers(0, 2**20)
_AMOUNT = st.sampled_from([0, 1, HAI, 37 * HAI + 5, 1000 * HAI, 10**5 * HAI, 10**7 * HAI])
_QUOTE = st.sampled_from([HAI, 37 * HAI + 5, 1000 * HAI, 9000 * HAI, 1, 10**5 * HAI])
_FEES = st.sampled_from([10**7 * HAI, HAI, 0])
_SECONDS = [1, 1, 60, 60, 599, 601, 1201, 3601, 6 * 3600 + 1, 3 * DAY, 14 * DAY + 1]


class Tally:
    """What a fuzzing did, over all its runs."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Count from zero."""
        self.steps = 0
        self.runs = 0
        self.ends: Counter[str] = Counter()

    @property
    def orders(self) -> int:
        """Orders that were matched, all of them ended."""
        return sum(self.ends.values())


TALLY = Tally()


@functools.cache
def ground() -> Ground:
    """One chain for all runs; each starts from the same snapshot of it."""
    return Ground()


class ContractMachine(RuleBasedStateMachine):
    """Everything that anybody may call, by nine accounts, with time passing in between."""

    def __init__(self) -> None:
        super().__init__()
        self.ground = ground()
        self.ground.forget()
        self.snapshot = self.ground.connection.request("evm_snapshot")
        self.steps = 0
        TALLY.runs += 1

    def teardown(self) -> None:
        try:
            wind_up(self.ground)
            TALLY.ends.update(self.ground.state(placed) for placed in self.ground.placed)
        finally:
            self.ground.connection.request("evm_revert", self.snapshot)
            self.ground.connection.seen = 0

    def step(self) -> Ground:
        """Count a step, and check the books now and then."""
        TALLY.steps += 1
        self.steps += 1
        if self.steps % _CHECKED_EVERY == 0:
            check_supply(self.ground)
            check_books(self.ground)
        return self.ground

    @initialize(buyer=_WHO, retriever=_WHO, choice=_CHOICE)
    def begin(self, buyer: int, retriever: int, choice: int) -> None:
        """Most runs have an order from the start."""
        self.match(buyer, retriever, choice, 1000 * HAI, 10**7 * HAI)

    def who(self, number: int) -> str:
        return self.ground.accounts[number]

    # Time.

    @rule(seconds=st.sampled_from(_SECONDS))
    def wait(self, seconds: int) -> None:
        self.step().connection.advance(seconds)

    # Token, releases and vote.

    @rule(giver=_WHO, taker=_CHOICE, amount=_AMOUNT)
    def transfer(self, giver: int, taker: int, amount: int) -> None:
        known = self.step()
        places = [*known.accounts, *known.accounts, *known.places]
        place = places[taker % len(places)]
        if known.do(self.who(giver), "token", "transfer", place, amount):
            known.gifts[place] += amount

    @rule(owner=_WHO, spender=_WHO, taker=_WHO, allowed=_AMOUNT, amount=_AMOUNT)
    def spend(self, owner: int, spender: int, taker: int, allowed: int, amount: int) -> None:
        known = self.step()
        known.do(self.who(owner), "token", "approve", self.who(spender), allowed)
        ends = (self.who(owner), self.who(taker))
        known.do(self.who(spender), "token", "transferFrom", *ends, amount)

    @rule(who=_WHO, name=st.sampled_from(releases()), takes=st.booleans())
    def release(self, who: int, name: str, takes: bool) -> None:
        self.step().do(self.who(who), name, "collect" if takes else "release")

    @rule(who=_WHO, choice=_CHOICE, rate=st.sampled_from([0, 1, 100, 10**6, 2 * 10**6]))
    def propose(self, who: int, choice: int, rate: int) -> None:
        known = self.step()
        names = ["release_miners", "release_marketing", *releases()]
        place = known.contracts[names[choice % len(names)]].address
        paid = known.accounts[choice // 8 % 10]
        known.do(self.who(who), "vote", "propose", place, paid, choice % 9 * DAY, rate)

    @rule(who=_WHO, number=st.integers(0, 3), support=st.booleans(), amount=_AMOUNT)
    def vote(self, who: int, number: int, support: bool, amount: int) -> None:
        self.step().do(self.who(who), "vote", "vote", number, support, amount)

    @rule(who=_WHO, number=st.integers(0, 3), voter=_WHO, executes=st.booleans())
    def end_vote(self, who: int, number: int, voter: int, executes: bool) -> None:
        known = self.step()
        if executes:
            known.connection.advance(14 * DAY)
            known.do(self.who(who), "vote", "execute", number)
        known.do(self.who(who), "vote", "withdraw", number, self.who(voter))

    @rule(beneficiary=_WHO, against=_AMOUNT, which=st.booleans(), patient=st.booleans())
    def decide(self, beneficiary: int, against: int, which: bool, patient: bool) -> None:
        """A whole vote; the first account alone has enough tokens for a quorum."""
        known, name = self.step(), "release_miners" if which else "release_marketing"
        paid = known.accounts[beneficiary if which else 0]
        proposal = (known.contracts[name].address, paid, 0, 1000)
        if known.do(paid, "vote", "propose", *proposal):
            number = known.ask("vote", "count") - 1
            known.do(self.who(0), "vote", "vote", number, True, 30_000_000 * HAI)
            known.do(self.who(1), "vote", "vote", number, False, against)
            known.connection.advance(14 * DAY if patient else DAY)
            known.do(paid, "vote", "execute", number)
            known.do(self.who(1), "vote", "withdraw", number, self.who(0))

    # Models and data sets.

    @rule(who=_WHO, which=st.integers(0, 2), fee=_AMOUNT)
    def own(self, who: int, which: int, fee: int) -> None:
        known, owner = self.step(), self.who(who)
        content = (model().root, input_root(), b"\x77" * 32)[which]
        salt = keccak(bytes([who, which, self.steps]))
        promise = keccak(content + bytes(12) + bytes.fromhex(owner[2:]) + salt)
        known.do(owner, "assets", "promise", promise)
        known.connection.advance(60)
        known.do(owner, "assets", "register", content, fee, "ipfs://x", salt)

    @rule(who=_WHO, taker=_WHO, which=st.booleans(), fee=_AMOUNT)
    def hand_over(self, who: int, taker: int, which: bool, fee: int) -> None:
        known = self.step()
        token = int.from_bytes(model().root if which else input_root(), "big")
        known.do(self.who(who), "assets", "set_fee", token, fee)
        ends = (self.who(who), self.who(taker))
        known.do(self.who(who), "assets", "safeTransferFrom", *ends, token)

    # Nodes and groups.

    @rule(who=_WHO, amount=_AMOUNT, price=_AMOUNT)
    def enrol(self, who: int, amount: int, price: int) -> None:
        known, node = self.step(), self.who(who)
        if known.do(node, "registry", "register", offer(price), amount) is None:
            known.do(node, "registry", "update", offer(price))
            known.do(node, "registry", "top_up", amount)

    @rule(who=_WHO, choice=_CHOICE)
    def prove(self, who: int, choice: int) -> None:
        prove_step(self.step(), self.who(who), choice)

    @rule(who=st.integers(4, 8), others=st.lists(st.integers(3, 8), min_size=2, max_size=4))
    def renew(self, who: int, others: list[int]) -> None:
        renew(self.step(), self.who(who), [self.who(other) for other in others])

    @rule(who=_WHO, amount=_AMOUNT)
    def unbond(self, who: int, amount: int) -> None:
        known = self.step()
        known.do(self.who(who), "registry", "unbond", amount)
        known.do(self.who(who), "registry", "withdraw")

    @rule(who=_WHO, node=_WHO, choice=_CHOICE)
    def gather(self, who: int, node: int, choice: int) -> None:
        known, caller = self.step(), self.who(who if choice % 5 == 0 else 4 + who % 5)
        name, arguments = [
            ("join", (REGION,)),
            ("leave", ()),
            ("drop", (self.who(node),)),
            ("report", (self.who(node), choice % 500)),
            ("beat", (CONFIG,)),
            ("take_over", ()),
        ][choice // 5 % 6]
        known.do(caller, "groups", name, *arguments)

    @rule(who=_WHO, amount=_AMOUNT, takes=st.booleans())
    def bank(self, who: int, amount: int, takes: bool) -> None:
        name = "withdraw" if takes else "deposit"
        self.step().do(self.who(who), "market", name, amount)

    # Orders.

    @rule(buyer=_WHO, retriever=_WHO, choice=_CHOICE, quote=_QUOTE, fees=_FEES)
    def match(self, buyer: int, retriever: int, choice: int, quote: int, fees: int) -> None:
        known = self.step()
        suppliers = [known.accounts[4 + (choice + 2 * k) % 5] for k in range(1 + choice // 5 % 3)]
        order = self._order(buyer, choice, quote, fees, len(suppliers))
        known.do(order.buyer, "market", "deposit", min(quote * 4, 10**4 * HAI))
        acceptances = [
            Acceptance(order.digest(known.domain), supplier, self.who(retriever), 2 * HAI, 2**40)
            for supplier in suppliers
        ]
        arguments = known.sign(order, acceptances)
        if known.do(self.who(retriever), "market", "match_order", *arguments):
            known.placed.append(Placed(order.digest(known.domain), order, suppliers))

    def _order(self, buyer: int, choice: int, quote: int, fees: int, redundancy: int) -> Order:
        return Order(
            buyer=self.who(buyer),
            model=model().root,
            config=bytes(32) if choice % 2 else CONFIG,
            input=input_root(),
            region=bytes(32) if choice % 3 else REGION,
            redundancy=redundancy,
            price=3 * HAI,
            quote=quote,
            fees=fees,
            deadline=60 if choice % 7 == 0 else DAY,
            expiry=self.ground.now() + 3600,
            salt=choice % 7 * 1000 + self.steps,
        )

    @rule(who=_WHO, choice=_CHOICE, quote=_AMOUNT)
    def cancel(self, who: int, choice: int, quote: int) -> None:
        order = self._order(who, choice, quote, 0, 1)
        if self.ground.placed and choice % 2:
            order = self.ground.placed[choice % len(self.ground.placed)].order
        self.step().do(self.who(who), "market", "cancel", order.values)

    @rule(order=_CHOICE, choices=st.lists(_CHOICE, min_size=1, max_size=6))
    def work(self, order: int, choices: list[int]) -> None:
        """What the parties of an order may do next, several calls of it."""
        known = self.step()
        for choice in choices if known.placed else []:
            next_step(known, known.placed[order % len(known.placed)], choice)

    # The same for the youngest orders, so that many get beyond their first states.

    @rule(age=st.integers(0, 2), choices=st.lists(_CHOICE, min_size=3, max_size=9))
    def work_on(self, age: int, choices: list[int]) -> None:
        self.work(len(self.ground.placed) - 1 - age, choices)

    @rule(choices=st.lists(_CHOICE, min_size=6, max_size=16))
    def hurry(self, choices: list[int]) -> None:
        self.work(len(self.ground.placed) - 1, choices)

    @rule(who=_WHO, order=_CHOICE, choice=_CHOICE)
    def meddle(self, who: int, order: int, choice: int) -> None:
        """A call that is wrong in most states, or by the wrong account."""
        known = self.step()
        if known.placed:
            id = known.placed[order % len(known.placed)].id
            contract, name, arguments = _meddling(id, self.who(choice % 9))[choice % 9]
            known.do(self.who(who), contract, name, *arguments)


def _meddling(id: bytes, account: str) -> list[tuple[str, str, tuple[Any, ...]]]:
    return [
        ("market", "expire", (id,)),
        ("market", "settle", ([id, id],)),
        ("market", "confirm", (id,)),
        ("market", "give_up", (id,)),
        ("market", "resolve", (id, account, True)),
        ("disputes", "timeout", (id,)),
        ("registry", "slash", (account, HAI, 1)),
        ("registry", "lock", (account, HAI)),
        ("sampling", "draw", (id,)),
    ]


def fuzz(*, steps: int, seed_: int, shrink: bool = True) -> Tally:
    """Take at least ``steps`` steps.

    ``shrink`` makes Hypothesis look for the shortest calls that show what it found.

    Raises
    ------
    AssertionError
        When something did not hold; Hypothesis prints the shortest calls that show it.
    """
    TALLY.clear()
    ground().done.clear()
    ground().refused.clear()
    ground().seen.clear()
    for round_ in range(1000):
        if TALLY.steps >= steps:
            break
        runs = max(1, min(100, (steps - TALLY.steps) // _SIZE))
        _run(runs, seed_ + round_, shrink)
    return TALLY


def _run(runs: int, seed_: int, shrink: bool) -> None:
    chosen = settings(
        max_examples=runs,
        stateful_step_count=_SIZE,
        database=None,
        deadline=None,
        print_blob=True,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(seed(seed_)(_machine()), settings=chosen)


def _machine() -> type[ContractMachine]:
    """A class of its own for each run: Hypothesis keeps the seed on the class."""
    return type("ContractMachine", (ContractMachine,), {})
