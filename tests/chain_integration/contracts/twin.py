"""The market's money, naively: dictionaries of whole numbers and the rules as they are written."""

import dataclasses
from collections import defaultdict


@dataclasses.dataclass
class Rated:
    """A node's past."""

    since: int
    power: int
    done: int = 0
    confirmed: int = 0
    lost: int = 0
    work: int = 0
    punished_until: int = 0

    def rating(self, now: int) -> int:
        """Basis points."""
        total = 7000
        total += 1500 * self.done // (self.done + 10)
        total += 1000 * self.confirmed // (self.done + 10)
        offered = self.power * (now - self.since)
        if offered:
            total += 500 * min(10000, self.work * 3600 // 10**6 * 10000 // offered) // 10000
        total = max(0, total - 2000 * self.lost)
        return total // 2 if now < self.punished_until else total


@dataclasses.dataclass
class Part:
    """One supplier's part of an order."""

    supplier: str
    price: int
    power: int
    took: int = 0  # seconds to the commitment
    work: int = 0
    outcome: int = 0


@dataclasses.dataclass
class Deal:
    """An order from its match on."""

    buyer: str
    retriever: str
    quote: int
    deadline: int
    parts: list[Part]  # of those that were not removed
    suppliers: int
    royalties: list[tuple[str, int]]
    agreed: list[str] = dataclasses.field(default_factory=list)
    extra: int = 0  # a bond or a fee that it holds for the moment

    @property
    def bond(self) -> int:
        return self.quote * self.suppliers * 500 // 10000

    @property
    def stake(self) -> int:
        return 2 * self.quote

    @property
    def held(self) -> int:
        fees = sum(fee for _, fee in self.royalties)
        return self.quote * self.suppliers + self.bond + fees + self.extra


class Twin:
    """What everybody has: in the market, staked, locked."""

    def __init__(self, treasury: str) -> None:
        self.treasury = treasury
        self.balances: dict[str, int] = defaultdict(int)
        self.stakes: dict[str, int] = defaultdict(int)
        self.locked: dict[str, int] = defaultdict(int)
        self.nodes: dict[str, Rated] = {}
        self.deals: dict[bytes, Deal] = {}

    @property
    def total(self) -> int:
        """All tokens in market and registry."""
        held = sum(deal.held for deal in self.deals.values())
        return sum(self.balances.values()) + sum(self.stakes.values()) + held

    def match(self, id: bytes, deal: Deal) -> None:
        self.balances[deal.buyer] -= deal.held
        self.deals[id] = deal
        for part in deal.parts:
            self.locked[part.supplier] += deal.stake

    def agree(self, id: bytes, verifier: str) -> None:
        self.deals[id].agreed.append(verifier)
        self.locked[verifier] += self.deals[id].stake

    def settle(self, id: bytes, now: int, *, confirmed: bool) -> None:
        deal = self.deals.pop(id)
        works = sorted(part.work for part in deal.parts)
        most = works[(len(works) - 1) // 2] * 103 // 100
        pot = sum(part.price * min(part.work, most) // 10**18 for part in deal.parts)
        powers = sum(part.power for part in deal.parts)
        left, fees = deal.held, 0
        for part in deal.parts:
            self.locked[part.supplier] -= deal.stake
            due = pot * part.power // powers
            early = max(0, deal.deadline - part.took)
            due = due * (10000 + 1000 * early // deal.deadline) // 10000
            due = due * self.nodes[part.supplier].rating(now) // 10000
            due = min(due, deal.quote * len(deal.parts) * part.power // powers)
            fee = due * 500 // 10000
            self.balances[part.supplier] += due - fee
            left, fees = left - due, fees + fee
            if pot and part.supplier not in (deal.buyer, deal.retriever):
                self._credit(part.supplier, min(part.work, most), confirmed)
        if not confirmed:
            for part in deal.parts:
                self.balances[part.supplier] += deal.bond // len(deal.parts)
            left -= deal.bond
            fees += deal.bond % len(deal.parts)
        for owner, fee in deal.royalties:
            self.balances[owner] += fee
            left -= fee
        self.balances[deal.buyer] += left
        self._platform(deal, fees)

    def _credit(self, supplier: str, work: int, confirmed: bool) -> None:
        node = self.nodes[supplier]
        node.done, node.work = node.done + 1, node.work + work
        node.confirmed += confirmed

    def _platform(self, deal: Deal, fees: int) -> None:
        left = fees
        own = [deal.buyer, *(part.supplier for part in deal.parts)]
        if deal.retriever not in own:
            self.balances[deal.retriever] += fees * 40 // 100
            left -= fees * 40 // 100
        for verifier in deal.agreed:
            self.locked[verifier] -= deal.stake
            self.balances[verifier] += fees * 40 // 100 // len(deal.agreed)
            left -= fees * 40 // 100 // len(deal.agreed)
        self.balances[self.treasury] += left

    def fail(self, id: bytes, culprits: list[str], now: int, *, days: int) -> None:
        """Suppliers did not deliver: the order ends."""
        deal = self.deals.pop(id)
        pool = sum(self._forfeit(deal, name, now, days=days) for name in culprits)
        others = [part.supplier for part in deal.parts if part.supplier not in culprits]
        for supplier in others:
            self.locked[supplier] -= deal.stake
        self._compensate(deal, others, pool)
        self.balances[deal.buyer] += deal.held

    def _forfeit(self, deal: Deal, node: str, now: int, *, days: int, lied: bool = False) -> int:
        self.locked[node] -= deal.stake
        self.stakes[node] -= deal.stake
        rated = self.nodes[node]
        rated.punished_until = max(rated.punished_until, now + days * 86400)
        rated.lost += lied
        return deal.stake

    def _compensate(self, deal: Deal, harmed: list[str], pool: int) -> None:
        left = pool
        for account in harmed:
            self.balances[account] += min(deal.quote, pool // len(harmed))
            left -= min(deal.quote, pool // len(harmed))
        self.balances[self.treasury] += left

    def refund(self, id: bytes) -> None:
        """The order ends without blame."""
        deal = self.deals.pop(id)
        for name in [*(part.supplier for part in deal.parts), *deal.agreed]:
            self.locked[name] -= deal.stake
        self.balances[deal.buyer] += deal.held

    def hold(self, id: bytes, account: str, amount: int) -> None:
        """A challenger's bond, or the fee of a demand."""
        self.balances[account] -= amount
        self.deals[id].extra += amount

    def release(self, id: bytes, account: str) -> None:
        self.balances[account] += self.deals[id].extra
        self.deals[id].extra = 0

    def unanswered(self, id: bytes, supplier: str, now: int) -> None:
        deal = self.deals[id]
        self.release(id, deal.buyer)
        self.balances[self.treasury] += self._forfeit(deal, supplier, now, days=10)
        deal.parts = [part for part in deal.parts if part.supplier != supplier]
        if not deal.parts:
            self.refund(id)

    def resolve(
        self, id: bytes, guilty: str, winner: str, challenger: str, now: int, *, proven: bool
    ) -> None:
        deal = self.deals[id]
        wrong = [part for part in deal.parts if part.supplier == guilty]
        if not wrong:  # a challenger from outside
            pool, deal.extra = deal.extra, 0
        else:
            self.release(id, challenger)
            removed = [
                part
                for part in deal.parts
                if part is wrong[0] or (proven and part.outcome == wrong[0].outcome)
            ]
            names = [part.supplier for part in removed] + (deal.agreed if proven else [])
            days = 3 if proven else 10
            pool = sum(self._forfeit(deal, name, now, days=days, lied=proven) for name in names)
            deal.parts = [part for part in deal.parts if part not in removed]
            deal.agreed = [] if proven else deal.agreed
        self.balances[winner] += pool // 2
        others = [part.supplier for part in deal.parts if part.supplier != winner]
        self._compensate(deal, others, pool - pool // 2)
        if not deal.parts:
            self.refund(id)
