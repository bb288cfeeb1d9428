"""A whole market in one process: a chain with a virtual clock, and roles without threads.

To try things, to test and to measure. Every role is the one that runs as a program, its state in
files; only the sockets are missing.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from eth_account import Account
from eth_account.signers.local import LocalAccount

from hpu.chain_integration.chain.connect import connect
from hpu.chain_integration.chain.deploy import deploy
from hpu.chain_integration.chain.errors import RevertedError
from hpu.chain_integration.roles.base import Role
from hpu.chain_integration.roles.buyer import Buyer
from hpu.chain_integration.roles.engine import Engine
from hpu.chain_integration.roles.journal import Journal
from hpu.chain_integration.roles.ledger import Clock, Ledger
from hpu.chain_integration.roles.registration import Offer, enter
from hpu.chain_integration.roles.retriever import Retriever
from hpu.chain_integration.roles.supplier import Supplier, Terms
from hpu.chain_integration.roles.verifier import Verifier
from hpu.chain_integration.store.blobs import BlobStore
from hpu.chain_integration.store.http import LocalWire

__all__ = ["HAI", "LocalMarket"]

#: HAI-wei in one HAI.
HAI = 10**18
_YEAR = 365 * 86400


class LocalMarket:
    """See the module.

    Parameters
    ----------
    folder:
        For the roles' journals and stores.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.connection = connect()
        self._funder = self.connection.accounts(1)[0]
        begun = self.connection.time() - 4 * _YEAR - 3 * _YEAR
        self.contracts = deploy(self.connection, self._funder, start=begun)
        self.clock = Clock(self.connection, lambda: 0.0)
        self.wire = LocalWire()
        self.roles: dict[str, Role] = {}
        self._made: dict[str, Callable[[], Role]] = {}
        self._accounts: list[str] = []
        self._watch = Ledger(self.contracts, self._funder, self.clock)
        self._release()

    def _release(self) -> None:
        for name, contract in self.contracts.contracts.items():
            if name.startswith("release"):
                try:
                    contract.send(self._funder, "release")
                except RevertedError:
                    continue  # nothing of this allocation is due

    def account(self, hai: int = 0) -> LocalAccount:
        """A new account with coin for gas and so many HAI."""
        account = Account.from_key(os.urandom(32))
        self.connection.fund(account.address)
        self._accounts.append(account.address)
        if hai:
            self.contracts["token"].send(self._funder, "transfer", account.address, hai * HAI)
        return account

    def ledger(self, hai: int = 0) -> Ledger:
        """The chain as a new account sees it."""
        return Ledger(self.contracts, self.account(hai), self.clock)

    def add(self, name: str, make: Callable[[], Role]) -> Any:
        """Start a role that answers at ``local:<name>``; ``make`` makes it again for a restart."""
        self._made[name] = make
        return self.start(name)

    def start(self, name: str) -> Any:
        """Start a role, again when it was stopped: from its journal and its store."""
        role = self._made[name]()
        self.roles[name], self.wire.handlers[f"local:{name}"] = role, role.handle
        return role

    def stop(self, name: str) -> None:
        """Kill a role: it takes no step and gives no answer any more."""
        self.roles.pop(name).journal.close()
        del self.wire.handlers[f"local:{name}"]

    def _common(self, name: str, ledger: Ledger) -> dict[str, Any]:
        return {
            "ledger": ledger,
            "wire": self.wire,
            "store": BlobStore(self.folder / name),
            "journal": Journal(self.folder / f"{name}.db"),
        }

    def supplier(
        self,
        name: str,
        engine: Engine,
        *,
        price: int = HAI,
        stake: int = 1000,
        terms: Terms | None = None,
        kind: Callable[..., Supplier] = Supplier,
        **options: Any,
    ) -> Supplier:
        """A registered supplier with a stake in HAI and a price in HAI-wei per T·H."""
        ledger = self._node(name, engine, price, stake)
        options |= {"engine": engine, "terms": terms}
        return self.add(name, lambda: kind(**options, **self._common(name, ledger)))

    def verifier(self, name: str, engine: Engine, *, stake: int = 1000, bonds: int = 1000) -> Any:
        """A registered node that only verifies, with HAI in the market for its bonds."""
        ledger = self._node(name, engine, HAI, stake)
        ledger.deposit(bonds * HAI)
        return self.add(name, lambda: Verifier(engine=engine, **self._common(name, ledger)))

    def _node(self, name: str, engine: Engine, price: int, stake: int) -> Ledger:
        ledger = self.ledger(stake + 10_000)
        enter(ledger, Offer(engine.config, price, "here", f"local:{name}"), stake * HAI)
        return ledger

    def retriever(self, name: str, *, kind: Callable[..., Retriever] = Retriever) -> Retriever:
        """A retriever."""
        ledger = self.ledger()
        url = f"local:{name}"
        return self.add(name, lambda: kind(url=url, **self._common(name, ledger)))

    def buyer(
        self,
        name: str,
        retrievers: Iterable[str],
        *,
        hai: int = 10_000,
        kind: Callable[..., Buyer] = Buyer,
    ) -> Buyer:
        """A buyer with so many HAI in the market."""
        ledger, urls = self.ledger(hai), [f"local:{each}" for each in retrievers]
        ledger.deposit(hai * HAI)
        return self.add(name, lambda: kind(retrievers=urls, **self._common(name, ledger)))

    def prove(self, *, turns: int = 20) -> None:
        """Let every node prove its resources, an hour of the chain's clock passing.

        Raises
        ------
        RuntimeError
            When one does not come to a valid proof.
        """
        nodes = [role for role in self.roles.values() if isinstance(role, Verifier)]
        proven = lambda: all(node.ledger.node().power for node in nodes)  # noqa: E731
        if not self.run(proven, turns=turns, seconds=400):
            raise RuntimeError("a node has no valid resource proof")
        self.step()

    def step(self, *names: str) -> None:
        """A step of the named roles, of all when none is named."""
        for name in names or list(self.roles):
            self.roles[name].step()

    def run(self, until: Callable[[], bool], *, turns: int = 50, seconds: int = 0) -> bool:
        """Steps of all roles, ``seconds`` passing after each, until something holds."""
        for _turn in range(turns):
            if until():
                return True
            self.step()
            if seconds:
                self.connection.advance(seconds)
        return until()

    def state(self, order: bytes) -> int:
        """An order's state on the chain."""
        return self._watch.job(order).state

    # The money.

    def all_tokens(self) -> int:
        """HAI-wei of all accounts and contracts that were ever made here."""
        holders = {*self._accounts, self._funder.address}
        holders |= {contract.address for contract in self.contracts.contracts.values()}
        return sum(self._watch.tokens(holder) for holder in holders)

    def unaccounted(self) -> int:
        """HAI-wei that market and registry hold and owe nobody, with stakes still locked."""
        contracts = self.contracts
        market, registry = contracts["market"].address, contracts["registry"].address
        owed = sum(self._watch.balance(address) for address in self._accounts)
        owed += self._watch.balance(contracts["release_foundation"].address)
        nodes = self._watch.nodes()
        stakes = sum(node.stake for _address, node in nodes)
        left = self._watch.tokens(market) - owed + self._watch.tokens(registry) - stakes
        return left + sum(node.locked for _address, node in nodes)
