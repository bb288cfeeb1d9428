"""``hpu node``, ``hpu retriever`` and ``hpu verifier``: the market's roles as programs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from hpu.chain_integration.cli_options import HAI, chain_options, log_to_stderr, server_options
from hpu.chain_integration.roles.base import Role
from hpu.chain_integration.roles.daemon import Door, run, state_of, stopping
from hpu.chain_integration.roles.dashboard import hai
from hpu.chain_integration.roles.engine import Engine
from hpu.chain_integration.roles.jobs import Background
from hpu.chain_integration.roles.ledger import Ledger
from hpu.chain_integration.roles.registration import Offer, enter
from hpu.chain_integration.roles.retriever import Retriever
from hpu.chain_integration.roles.supplier import Supplier, Terms
from hpu.chain_integration.roles.verifier import Verifier
from hpu.chain_integration.store.http import HttpWire
from hpu.runtime.cli_common import config_option, device_option
from hpu.runtime.source import configuration

__all__ = ["node", "retriever", "verifier"]

_Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def offer_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What a node offers, and its stake."""
    options: list[_Decorator] = [
        config_option("hai-v1"),
        click.option("--region", default="", help="Where the node is, in a word."),
        click.option(
            "--stake", type=HAI, default="1000", show_default=True, help="Stake; it is topped up."
        ),
    ]
    for add in options:
        function = add(function)
    return function


def _serve(
    make: Callable[..., Role], ledger: Ledger, folder: Path, host: str, port: int, url: str | None
) -> None:
    """Answer and take steps until the program is told to stop."""
    store, journal = state_of(folder)
    door = Door(host, port)
    role = make(url or door.url, ledger=ledger, wire=HttpWire(), store=store, journal=journal)
    door.open_to(role)
    click.echo(f"{role.name} {ledger.address} at {url or door.url}")
    with stopping() as stop:
        run(role, stop)
    door.close()
    journal.close()


def have_bonds(ledger: Ledger, amount: int) -> None:
    """Have at least so many HAI-wei in the market."""
    if ledger.balance() < amount:
        ledger.deposit(amount - ledger.balance())


@click.group()
def node() -> None:
    """Sell computation of an HPU.

    \b
    Examples:
      hpu node start --key node.json --config lab-16 --price 2000000 --stake 1000
      hpu node status --key node.json
    """


@node.command("start")
@chain_options
@offer_options
@device_option(board=True)
@click.option("--serial", metavar="PORT", help="Serial port of an FPGA board.")
@click.option("--price", type=HAI, required=True, help="HAI per T·H asked.")
@click.option("--bonds", type=HAI, default="0", help="HAI to have in the market for challenges.")
@click.option("--orders", type=click.IntRange(1), default=8, show_default=True, help="At a time.")
@click.option(
    "--withdraw", type=HAI, default="0", help="Withdraw earnings from so many HAI on; 0: never."
)
@server_options("node", 9100)
def node_start(
    ledger: Ledger,
    config: str,
    device: str,
    serial: str | None,
    region: str,
    stake: int,
    price: int,
    bonds: int,
    orders: int,
    withdraw: int,
    verbose: bool,
    **place: Any,
) -> None:
    """Register, prove what the device can do, take orders and be paid, until interrupted."""
    log_to_stderr(verbose)
    machine = configuration(config)
    terms = Terms(most_orders=orders, withdraw=withdraw)

    def make(url: str, **common: Any) -> Role:
        enter(ledger, Offer(machine, price, region, url), stake)
        have_bonds(ledger, bonds)
        engine = Engine(machine, device, serial)
        return Supplier(engine=engine, terms=terms, jobs=Background(), **common)

    _serve(make, ledger, **place)


@node.command("register")
@chain_options
@offer_options
@click.option("--price", type=HAI, required=True, help="HAI per T·H asked.")
@click.option("--url", metavar="URL", required=True, help="Where the node will answer.")
def node_register(
    ledger: Ledger, config: str, region: str, stake: int, price: int, url: str
) -> None:
    """Enter the account in the resource table, or bring its row up to date."""
    changed = enter(ledger, Offer(configuration(config), price, region, url), stake)
    click.echo(f"{ledger.address}: {'registered' if changed else 'nothing to change'}")


@node.command("status")
@chain_options
def node_status(ledger: Ledger) -> None:
    """Show the account's row of the resource table and its money."""
    row = ledger.node()
    if not row.capability:
        click.echo(f"{ledger.address} is not registered")
        return
    lines = {
        "account": ledger.address,
        "endpoint": row.endpoint,
        "region": row.region.rstrip(b"\0").decode(),
        "price": f"{hai(row.price)} HAI per T·H",
        "stake": f"{hai(row.stake)} HAI, {hai(row.locked)} of it locked",
        "proven": f"{row.power / 1e12:.4g} TOPS" if row.power else "no valid resource proof",
        "rating": f"{row.rating / 100:.2f} %",
        "in the market": f"{hai(ledger.balance())} HAI",
        "own": f"{hai(ledger.tokens())} HAI",
    }
    width = max(map(len, lines))
    for name, value in lines.items():
        click.echo(f"{name:<{width}}  {value}")


@click.group()
def verifier() -> None:
    """Check other nodes' proofs and results for a share of the fees.

    \b
    Example:
      hpu verifier start --key verifier.json --stake 500 --bonds 200
    """


@verifier.command("start")
@chain_options
@offer_options
@click.option("--bonds", type=HAI, default="0", help="HAI to have in the market for challenges.")
@server_options("verifier", 9300)
def verifier_start(
    ledger: Ledger, config: str, region: str, stake: int, bonds: int, verbose: bool, **place: Any
) -> None:
    """Register as a node that takes no orders, and check what it is drawn for."""
    log_to_stderr(verbose)
    machine = configuration(config)

    def make(url: str, **common: Any) -> Role:
        enter(ledger, Offer(machine, 2**96 - 1, region, url), stake)
        have_bonds(ledger, bonds)
        return Verifier(engine=Engine(machine), jobs=Background(), **common)

    _serve(make, ledger, **place)


@click.group()
def retriever() -> None:
    """Match orders to nodes for a share of the fees, and serve the dashboard.

    \b
    Example:
      hpu retriever start --key retriever.json        dashboard at http://127.0.0.1:9000
    """


@retriever.command("start")
@chain_options
@server_options("retriever", 9000)
def retriever_start(ledger: Ledger, verbose: bool, **place: Any) -> None:
    """Take orders, ask suppliers, match, and see to it that every order ends."""
    log_to_stderr(verbose)

    def make(url: str, **common: Any) -> Role:
        return Retriever(url=url, **common)

    _serve(make, ledger, **place)
