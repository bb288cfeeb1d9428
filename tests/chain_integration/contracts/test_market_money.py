"""Many orders at once, with every kind of end, against the market's money kept naively."""

import random
from collections import Counter

import pytest
from tests.chain_integration.contracts.marketplace import (
    BALANCE,
    COMMITTED,
    CONTESTED,
    DEMANDED,
    DISPUTED,
    HAI,
    INPUT,
    MATCHED,
    MODEL,
    POWER,
    REVEALED,
    Marketplace,
    result,
)
from tests.chain_integration.contracts.twin import Deal, Part, Rated, Twin

DEEP = 10**5 * HAI


class Players:
    """Random moves in the market and in its twin."""

    def __init__(self, place: Marketplace, rng: random.Random) -> None:
        self.place, self.rng = place, rng
        self.twin = Twin(place.treasury)
        self.given: dict[bytes, dict[str, tuple]] = {}
        self.quarrels: dict[bytes, tuple[str, str]] = {}
        self.demands: dict[bytes, str] = {}
        self.ended: Counter[str] = Counter()
        self.orders: list[bytes] = []
        self.begin()

    def begin(self) -> None:
        place = self.place
        for k, node in enumerate(place.nodes):
            place.register(node, stake=DEEP + k)
            place.prove(node, POWER * (1 + k % 3), seconds=100 * 365 * 86400)
            self.twin.stakes[node] = DEEP + k
            row = place.registry.call("node", node)
            self.twin.nodes[node] = Rated(row["since"], row["power"])
        for account in (place.buyer, place.nodes[0]):
            place.do(place.market, account, "deposit", BALANCE)
            self.twin.balances[account] = BALANCE
        place.do(place.court, place.buyer, "ask", MODEL, place.deployer, HAI // 7)

    def step(self) -> None:
        """One move of somebody in some order, or a new order."""
        live = list(self.twin.deals)
        if len(live) < 4 or self.rng.random() < 0.1:
            self.match()
            return
        id = self.rng.choice(live)
        moves = {
            MATCHED: self.commit,
            COMMITTED: self.reveal,
            REVEALED: self.judge,
            CONTESTED: self.contest,
            DISPUTED: self.verdict,
            DEMANDED: self.unanswered,
        }
        moves[self.place.state(id)](id)

    def match(self) -> None:
        place, rng = self.place, self.rng
        size = rng.randint(1, 3)
        suppliers = rng.sample(place.nodes, size)
        buyer = rng.choice([place.buyer, place.buyer, place.nodes[0]])
        order = place.order(
            buyer=buyer,
            redundancy=size,
            quote=rng.randint(1, 20 * HAI),
            fees=HAI,
            salt=len(self.orders),
            deadline=rng.choice([60, 3600]),
        )
        prices = [rng.randint(0, 3 * HAI) for _ in suppliers]
        id = place.match(order, suppliers, prices)
        parts = [
            Part(name, price, self.twin.nodes[name].power)
            for name, price in zip(suppliers, prices, strict=True)
        ]
        royalties = [(place.deployer, HAI // 7)]
        deal = Deal(buyer, place.retriever, order.quote, order.deadline, parts, size, royalties)
        self.twin.match(id, deal)
        self.orders.append(id)
        right = rng.random() < 0.7
        self.given[id] = {
            name: result(1 if right else rng.randint(1, 3), work=rng.randint(1, 8 * HAI))
            for name in suppliers
        }

    def commit(self, id: bytes) -> None:
        deal, chance = self.twin.deals[id], self.rng.random()
        waiting = [part for part in deal.parts if not part.took]
        if chance < 0.04:
            self.give_up(id, deal)
        elif chance < 0.08 or self.late(id):
            self.expire(id, [part.supplier for part in waiting])
        else:
            part = self.rng.choice(waiting)
            self.place.commit(id, part.supplier, self.given[id][part.supplier])
            share = self.place.market.call("share", id, part.supplier)
            part.took = share["committed"]

    def reveal(self, id: bytes) -> None:
        deal, chance = self.twin.deals[id], self.rng.random()
        waiting = [part for part in deal.parts if not part.work]
        if chance < 0.04:
            self.give_up(id, deal)
        elif chance < 0.08 or self.late(id):
            self.expire(id, [part.supplier for part in waiting])
        else:
            part = self.rng.choice(waiting)
            shown = self.given[id][part.supplier]
            self.place.reveal(id, part.supplier, shown)
            part.work, part.outcome = shown[5], shown[2][0][0]

    def give_up(self, id: bytes, deal: Deal) -> None:
        supplier = self.rng.choice(deal.parts).supplier
        self.place.do(self.place.market, supplier, "give_up", id)
        self.twin.fail(id, [supplier], self.place.now, days=3)
        self.ended["given up"] += 1

    def expire(self, id: bytes, late: list[str]) -> None:
        self.wait(id)
        self.place.do(self.place.market, self.place.deployer, "expire", id)
        self.twin.fail(id, late, self.place.now, days=10)
        self.ended["expired"] += 1

    def wait(self, id: bytes) -> None:
        place = self.place
        place.at(max(place.job(id)["ends"], place.now) + 1)

    def late(self, id: bytes) -> bool:
        return self.place.now + 5 > self.place.job(id)["ends"]

    def judge(self, id: bytes) -> None:
        deal, chance, place = self.twin.deals[id], self.rng.random(), self.place
        if chance < 0.3:
            place.do(place.market, deal.buyer, "confirm", id)
            self.twin.settle(id, place.now, confirmed=True)
            self.ended["confirmed"] += 1
        elif chance < 0.4 or self.late(id):
            self.wait(id)
            place.do(place.market, place.deployer, "settle", [id])
            self.twin.settle(id, place.now, confirmed=False)
            self.ended["settled"] += 1
        elif chance < 0.6:
            self.verify(id, deal)
        elif chance < 0.85:
            self.challenge(id, deal)
        else:
            self.demand(id, deal)

    def verify(self, id: bytes, deal: Deal) -> None:
        place = self.place
        if place.sampling.call("seeds", id) == b"\0" * 32:
            place.do(place.sampling, place.deployer, "draw", id)
        drawn = [v for v in place.sampling.call("verifiers", id) if v not in deal.agreed]
        if drawn and len(deal.agreed) < 2:
            place.do(place.market, drawn[0], "agree", id)
            self.twin.agree(id, drawn[0])
            self.ended["agreed"] += 1

    def challenge(self, id: bytes, deal: Deal) -> None:
        place, part = self.place, self.rng.choice(deal.parts)
        if any(part.supplier == place.buyer for part in deal.parts):
            return
        claimed = (b"\x77" * 32, b"\x78" * 32)
        given = self.given[id][part.supplier][2]
        arguments = (id, MODEL, INPUT, part.supplier, given, claimed)
        place.do(place.market, place.buyer, "challenge", *arguments)
        self.twin.hold(id, place.buyer, deal.stake)
        self.quarrels[id] = (part.supplier, place.buyer)

    def contest(self, id: bytes) -> None:
        deal, place = self.twin.deals[id], self.place
        if self.rng.random() < 0.1:
            self.wait(id)
            place.do(place.market, place.deployer, "expire", id)
            self.twin.refund(id)
            self.ended["uncontested"] += 1
            return
        first = deal.parts[0]
        other = next(part for part in deal.parts if part.outcome != first.outcome)
        sides = [first.supplier, other.supplier]
        self.rng.shuffle(sides)
        outcomes = [self.given[id][name][2] for name in sides]
        arguments = (id, MODEL, INPUT, sides[0], outcomes[0], sides[1], outcomes[1])
        place.do(place.market, place.deployer, "contest", *arguments)
        self.quarrels[id] = (sides[0], sides[1])

    def verdict(self, id: bytes) -> None:
        place = self.place
        accused, challenger = self.quarrels.pop(id)
        if self.rng.random() < 0.1:
            self.wait(id)
            place.do(place.market, place.deployer, "expire", id)
            self.twin.release(id, challenger)
            self.twin.refund(id)
            self.ended["endless"] += 1
            return
        guilty, winner = self.rng.choice([(accused, challenger), (challenger, accused)])
        proven = guilty == accused and self.rng.random() < 0.7
        place.do(place.court, place.buyer, "verdict", place.market.address, id, guilty, proven)
        self.twin.resolve(id, guilty, winner, challenger, place.now, proven=proven)
        self.ended["proven" if proven else "silent"] += 1

    def demand(self, id: bytes, deal: Deal) -> None:
        place, part = self.place, self.rng.choice(deal.parts)
        place.do(place.market, deal.buyer, "demand", id, part.supplier, (0, 0, 1))
        self.twin.hold(id, deal.buyer, deal.quote // 20)
        self.demands[id] = part.supplier

    def unanswered(self, id: bytes) -> None:
        self.wait(id)
        self.place.do(self.place.market, self.place.deployer, "expire", id)
        self.twin.unanswered(id, self.demands.pop(id), self.place.now)
        self.ended["unanswered"] += 1

    def check(self) -> None:
        place = self.place
        for account in place.accounts:
            assert place.balance(account) == self.twin.balances[account]
            assert place.stake(account) == (
                self.twin.stakes[account],
                self.twin.locked[account],
            )
        for id in self.orders[-12:]:
            deal = self.twin.deals.get(id)
            assert place.market.call("held", id) == (deal.held if deal else 0)
        held = [place.token.call("balanceOf", c.address) for c in (place.market, place.registry)]
        assert sum(held) == self.twin.total


def play(place: Marketplace, seed: int, moves: int) -> Counter[str]:
    players = Players(place, random.Random(seed))
    for move in range(moves):
        try:
            players.step()
            players.check()
        except Exception as error:
            raise AssertionError(f"{seed=}, {move=}") from error
    return players.ended


@pytest.mark.parametrize("seed", range(3))
def test_every_token_is_where_the_rules_put_it(place, seed):
    assert len(play(place, seed, 120)) >= 5


@pytest.mark.slow
def test_every_token_is_where_the_rules_put_it_in_every_kind_of_end(tmp_path):
    ended: Counter[str] = Counter()
    for seed in range(100, 112):
        ended += play(Marketplace(tmp_path), seed, 400)
    kinds = ["confirmed", "settled", "expired", "given up", "agreed", "uncontested"]
    kinds += ["endless", "proven", "silent", "unanswered"]
    assert sorted(ended) == sorted(kinds), ended
