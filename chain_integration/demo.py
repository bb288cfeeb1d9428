"""A market in a few processes on this computer: ``make chain-demo``.

Three honest suppliers, one of them with the simulated RTL of lab-16; one that returns a wrong
byte; one that is killed in mid-order; a retriever; a buyer who orders the digits network. Every
process talks over loopback to a chain in a process of its own. Waiting times of the protocol
(hours) pass by moving the chain's clock, which a development chain allows.
"""

import dataclasses
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from eth_account.signers.local import LocalAccount
from rich.console import Console
from rich.table import Table

import hpu
from hpu.chain_integration.chain.connect import Connection, connect
from hpu.chain_integration.chain.deploy import Deployment, load
from hpu.chain_integration.chain.errors import RevertedError
from hpu.chain_integration.client import HAI, Client
from hpu.chain_integration.demo_processes import Processes, fund
from hpu.chain_integration.roles.dashboard import hai
from hpu.chain_integration.roles.history import History
from hpu.chain_integration.roles.ledger import Ledger, State
from hpu.chain_integration.roles.telling import Telling
from hpu.runtime.errors import HpuError

__all__ = ["Demo", "main"]

_CONFIG = "lab-16"
_IMAGES = 4
_PRICE = 10**8
_HOUR = 3600
_SUPPLY = 10**10 * HAI
#: Name, region, price in HAI per T·H, and more options of ``hpu node start``.
_NODES = {
    "rtl": ("north", 3 * _PRICE, ["--device", "rtl"]),
    "honest-1": ("north", 2 * _PRICE, []),
    "honest-2": ("north", 2 * _PRICE + 1, []),
    "liar": ("east", _PRICE, []),
    "killed": ("west", _PRICE, []),
}
_TERMS: dict[str, Any] = {"price": 4 * _PRICE, "quote": 5, "config": _CONFIG, "deadline": 300}


@dataclasses.dataclass
class Demo:
    """The chain, the accounts and the processes."""

    console: Console
    processes: Processes
    addresses: Path
    rpc: str = ""

    def __post_init__(self) -> None:
        chain = ("chain", "start", "--port", "0", "--addresses", str(self.addresses))
        self.processes.start("chain", *chain, "--aged", "2600")
        self.rpc = self.processes.url("chain")
        self.connection: Connection = connect(self.rpc)
        self.contracts: Deployment = load(self.connection, self.addresses)
        self.names = [*_NODES, "retriever", "buyer"]
        self.accounts: dict[str, LocalAccount] = {}

    def ledger(self, name: str) -> Ledger:
        """The chain as an account of the demo sees it."""
        return Ledger(self.contracts, self.accounts[name])

    def say(self, text: str) -> None:
        """A line of what happens."""
        self.console.print(f"[dim]{time.strftime('%H:%M:%S')}[/] {text}")

    def fund(self) -> None:
        """Release what is due of the token's allocations, and give every account 10,000 HAI."""
        funder = self.connection.accounts(1)[0]
        for name, contract in self.contracts.contracts.items():
            if name.startswith("release"):
                try:
                    contract.send(funder, "release")
                except RevertedError:
                    continue  # nothing of this allocation is due
        self.accounts = {name: self.processes.account(name) for name in self.names}
        fund(self.connection, list(self.accounts.values()))
        for account in self.accounts.values():
            self.contracts["token"].send(funder, "transfer", account.address, 10_000 * HAI)

    def start(self) -> str:
        """Start the retriever and all nodes; the retriever's URL."""
        place: dict[str, Any] = {"addresses": self.addresses, "rpc": self.rpc}
        self.processes.role("retriever", "retriever", "start", **place)
        for name, (region, price, options) in _NODES.items():
            module = "hpu.chain_integration.demo_liar" if name == "liar" else "hpu"
            options = ["--config", _CONFIG, "--region", region, "--price", str(price), *options]
            options += ["--stake", "1000", "--bonds", "100"]
            self.processes.role(name, "node", "start", *options, module=module, **place)
        for name, (region, *_rest) in _NODES.items():
            self.processes.url(name)
            self.say(f"node {name} is registered with a stake of 1,000 HAI in region {region}")
        return self.processes.url("retriever")

    def wait(self, what: str, until: Callable[[], bool], seconds: float = 300) -> None:
        """Wait for something, with a line on the terminal.

        Raises
        ------
        HpuError
            When it does not come.
        """
        end = time.monotonic() + seconds
        with self.console.status(what):
            while not until():
                self.processes.check()
                if time.monotonic() > end:
                    raise HpuError(f"{what} took longer than {seconds:.0f} seconds.")
                time.sleep(0.2)
        self.say(what)

    def pass_time(self, seconds: int) -> None:
        """Move the chain's clock."""
        self.connection.advance(seconds)
        self.say(f"[dim]the chain's clock is moved on by {seconds / _HOUR:.2g} h[/]")

    def prove(self) -> None:
        """Let every node prove its resources."""
        resources, addresses = self.contracts["resources"], self._nodes()

        def accepted() -> bool:
            return all(len(resources.call("verifiers", each)) >= 2 for each in addresses)

        self.wait("resource proofs are committed, and two other nodes stand by each", accepted)
        self.pass_time(_HOUR + 60)
        ledger = self.ledger("buyer")
        proven = lambda: all(ledger.node(each).power for each in addresses)  # noqa: E731
        self.wait("the resource table has every node's measured power", proven)

    def _nodes(self) -> list[str]:
        return [self.accounts[name].address for name in _NODES]

    def state(self, order: str) -> int:
        """An order's state on the chain."""
        return self.ledger("buyer").job(bytes.fromhex(order)).state

    def told(self) -> History:
        """What happened so far, from the chain's events."""
        return Telling(self.ledger("buyer")).update()


def order_right(demo: Demo, client: Client, model: bytes, images: np.ndarray) -> bool:
    """Three suppliers compute the same order; whether the result is the session's."""
    order = client.submit(model, {"image": images}, redundancy=3, region="north", **_TERMS)
    demo.say(f"order {order[:10]} for three suppliers in the north")
    with demo.console.status("computing, one of the three in RTL") as status:
        outputs = client.fetch(order, progress=lambda state: status.update(f"order: {state}"))
    (name,) = outputs
    (expected,) = hpu.InferenceSession(model, config=_CONFIG).run(None, {"image": images})
    same = np.array_equal(outputs[name], expected)
    classes = ", ".join(map(str, outputs[name].argmax(1)))
    demo.say(f"result fetched: digits {classes}; {'equal to' if same else 'NOT'} a session's bytes")
    return same and demo.state(order) == State.SETTLED


def order_wrong(demo: Demo, client: Client, model: bytes, images: np.ndarray) -> bool:
    """The only supplier of a region gives a wrong byte; whether it is found and slashed."""
    order = client.submit(model, {"image": images}, region="east", **_TERMS)
    demo.say(f"order {order[:10]} for the supplier in the east, which returns one wrong byte")

    def over() -> bool:
        client.status(order)
        return demo.state(order) in State.ENDS

    demo.wait("a drawn verifier computed it again, disputed it and won", over)
    return demo.state(order) == State.REFUNDED


def order_killed(demo: Demo, client: Client, model: bytes, images: np.ndarray) -> bool:
    """The supplier is killed in mid-order; whether the buyer gets the money back."""
    before = client.balance
    order = client.submit(model, {"image": images}, region="west", **_TERMS)
    demo.say(f"order {order[:10]} for the supplier in the west")

    def matched() -> bool:
        client.status(order)
        return demo.state(order) != 0

    demo.wait("the order is matched", matched)
    demo.processes.kill("killed")
    demo.say("[bold]its process is killed[/]")
    while demo.state(order) not in State.ENDS:
        demo.pass_time(_HOUR + 60)
        demo.wait("its time is over", lambda: demo.state(order) in (*State.ENDS, State.COMMITTED))
    client.status(order)
    demo.say(f"the buyer's balance is again {client.balance:,.2f} HAI")
    return demo.state(order) == State.EXPIRED and client.balance == before


def show(demo: Demo) -> None:
    """Print every proof, every payment and every account."""
    history = demo.told()
    names: dict[str, str] = {each.address: name for name, each in demo.accounts.items()}
    names[demo.contracts["release_foundation"].address] = "treasury"
    proofs = _table("Proofs", "proof", "by", "order", "what it says")
    for proof in history.proofs:
        proofs.add_row(proof.kind, names.get(proof.who, proof.who), proof.what[:10], proof.text)
    payments = _table("Payments, in HAI", "order", "account", "amount", "for")
    for payment in history.payments:
        colour = "red" if payment.amount < 0 else "green"
        amount = f"[{colour}]{payment.amount / HAI:+,.6f}[/]"
        who = names.get(payment.account, payment.account)
        payments.add_row(payment.order.hex()[:10], who, amount, payment.reason)
    for table in (proofs, payments, _ledger(demo)):
        demo.console.print(table)


def _ledger(demo: Demo) -> Table:
    rows = _table("Ledger, in HAI; everybody began with 10,000", "account", "own", "in the market")
    for column in ("staked", "together"):
        rows.add_column(column, justify="right")
    for name in demo.names:
        ledger = demo.ledger(name)
        parts = [ledger.tokens(), ledger.balance(), ledger.node().stake]
        rows.add_row(name, *map(hai, [*parts, sum(parts)]))
    return rows


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold")
    for column in columns:
        table.add_column(column, justify="right" if "HAI" in column else "left")
    return table


def sound(demo: Demo) -> list[str]:
    """What is not as it must be in the end."""
    history, problems = demo.told(), []
    slashed = {n: history.nodes[demo.accounts[n].address].slashed for n in _NODES}
    for name, amount in slashed.items():
        if bool(amount) != (name in ("liar", "killed")):
            problems.append(f"{name} was slashed by {hai(amount)} HAI")
    for name in ("rtl", "honest-1", "honest-2"):
        if not history.nodes[demo.accounts[name].address].earned:
            problems.append(f"{name} was not paid")
    kinds = {proof.kind for proof in history.proofs}
    if kinds != {"resource", "transaction", "space-time", "result"}:
        problems.append(f"the proofs are only {', '.join(sorted(kinds))}")
    total = sum(demo.ledger("buyer").tokens(holder) for holder in _holders(demo))
    if total != _SUPPLY:
        problems.append(f"all accounts together hold {hai(total)} HAI")
    open_ports = [where for where in demo.processes.ports() if not where.startswith("127.")]
    return problems + [f"the port {where} is open" for where in open_ports]


def _holders(demo: Demo) -> set[str]:
    contracts = {contract.address for contract in demo.contracts.contracts.values()}
    return contracts | {each.address for each in demo.accounts.values()} | {
        demo.connection.accounts(1)[0].address
    }  # fmt: skip


def build(console: Console) -> None:
    """Build the simulated machine, when it is not in the cache."""
    from hpu.hw.config import by_name
    from hpu.sim import rtl

    with console.status("building the RTL of lab-16"):
        rtl.build(by_name(_CONFIG))


def main() -> None:
    """Run the demo; exit status 1 when something is not as it must be."""
    from examples.digits.network import held_out, quantised

    console = Console(highlight=False)
    folder = Path("build/chain-demo")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    started = time.monotonic()
    build(console)
    model, images = quantised().SerializeToString(), held_out()[0][:_IMAGES]
    with Processes(folder) as processes:
        demo = Demo(console, processes, folder / "chain.json")
        demo.say(f"{len(demo.contracts.contracts)} contracts on a chain at {demo.rpc}")
        demo.fund()
        retriever = demo.start()
        demo.prove()
        with Client(
            rpc=demo.rpc,
            addresses=demo.addresses,
            account=demo.accounts["buyer"],
            retrievers=[retriever],
            folder=folder / "buyer",
        ) as client:
            client.deposit(100)
            steps = (order_right, order_wrong, order_killed)
            right = [step(demo, client, model, images) for step in steps]
        show(demo)
        (folder / "dashboard.html").write_text(_dashboard(demo))
        problems = sound(demo)
        problems += [
            f"{step.__name__} failed" for step, ok in zip(steps, right, strict=True) if not ok
        ]
        console.print(f"ports: {', '.join(processes.ports())}")
    console.print(f"dashboard: [bold]{folder}/dashboard.html[/]")
    seconds = time.monotonic() - started
    console.print(
        f"[red]{'; '.join(problems)}[/]" if problems else f"all as it must be, {seconds:.0f} s"
    )
    sys.exit(1 if problems else 0)


def _dashboard(demo: Demo) -> str:
    from hpu.chain_integration.roles.dashboard import dashboard

    return dashboard(demo.told(), "HAI network: the demo")


if __name__ == "__main__":
    main()
