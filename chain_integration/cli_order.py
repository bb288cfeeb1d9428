"""``hpu order``: buy a computation."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np

from hpu.chain_integration.cli_options import HAI, chain_options, log_to_stderr
from hpu.chain_integration.client import number_of
from hpu.chain_integration.roles.buyer import Buyer, Wish
from hpu.chain_integration.roles.daemon import run, state_of, stopping
from hpu.chain_integration.roles.dashboard import hai
from hpu.chain_integration.roles.ledger import Ledger
from hpu.chain_integration.store.http import HttpWire
from hpu.runtime.cli_common import FILE, config_option

__all__ = ["order"]


@click.group()
def order() -> None:
    """Order an inference and get its result with proof, or the money back.

    \b
    Examples:
      hpu order submit model.onnx x.npz --key me.json --price 2000000 --quote 5 --deposit 20
      hpu order status 4f1c… --key me.json
      hpu order fetch 4f1c… --key me.json --output y.npz
    """


def buyer_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Where the buyer's orders are kept, and which retrievers are asked."""
    function = click.option(
        "--retriever",
        "retrievers",
        multiple=True,
        default=("http://127.0.0.1:9000",),
        show_default=True,
        metavar="URL",
        help="Once for each, the preferred one first.",
    )(function)
    return click.option(
        "--folder",
        type=click.Path(file_okay=False, path_type=Path),
        default=Path("orders"),
        show_default=True,
        help="Keeps orders, their keys (sealed) and results.",
    )(function)


def _buyer(ledger: Ledger, folder: Path, retrievers: tuple[str, ...]) -> Buyer:
    log_to_stderr(False)
    store, journal = state_of(folder)
    return Buyer(
        ledger=ledger, wire=HttpWire(), store=store, journal=journal, retrievers=retrievers
    )


def _feeds(path: Path, model: Path) -> dict[str, np.ndarray]:
    from hpu.runtime.arrays import read_feeds
    from hpu.runtime.source import import_graph, read_quantised

    names = [host.name for host in import_graph(read_quantised(model)).inputs]
    return read_feeds(path, names)


@order.command("submit")
@click.argument("model", type=FILE)
@click.argument("input_file", metavar="INPUT", type=FILE)
@chain_options
@buyer_options
@config_option("hai-v1")
@click.option("--price", type=HAI, required=True, help="Most HAI per T·H.")
@click.option("--quote", type=HAI, required=True, help="Most HAI per supplier.")
@click.option("--fees", type=HAI, default="0", help="Most HAI for the owners of model and input.")
@click.option(
    "--redundancy", type=click.IntRange(1, 3), default=1, show_default=True, help="Suppliers."
)
@click.option("--region", default="", help="Only suppliers of this region.")
@click.option("--deadline", type=click.IntRange(1), default=600, show_default=True, help="Seconds.")
@click.option("--deposit", type=HAI, default="0", help="HAI to move into the market before.")
def submit(
    model: Path,
    input_file: Path,
    ledger: Ledger,
    folder: Path,
    retrievers: tuple[str, ...],
    deposit: int,
    **terms: Any,
) -> None:
    """Order MODEL (quantised ONNX) on INPUT (.npz, or .npy for one input); prints its number."""
    feeds = _feeds(input_file, model)
    if deposit:
        ledger.deposit(deposit)
    buyer = _buyer(ledger, folder, retrievers)
    number = buyer.submit(model.read_bytes(), feeds, Wish(**terms))
    buyer.step()
    click.echo(number.hex())


@order.command("status")
@click.argument("number", metavar="ORDER")
@chain_options
@buyer_options
def status(number: str, ledger: Ledger, folder: Path, retrievers: tuple[str, ...]) -> None:
    """Take a step for ORDER and show where it stands."""
    buyer = _buyer(ledger, folder, retrievers)
    buyer.step()
    found = buyer.status(number_of(number))
    click.echo(f"order   {found['id']}")
    click.echo(f"here    {found['state']}" + (f" ({found['reason']})" if found["reason"] else ""))
    click.echo(f"chain   {found['chain']}")
    click.echo(f"market  {hai(ledger.balance())} HAI free")


@order.command("fetch")
@click.argument("number", metavar="ORDER")
@chain_options
@buyer_options
@click.option("--output", type=FILE, required=True, help="File for the outputs, .npz.")
def fetch(
    number: str, ledger: Ledger, folder: Path, retrievers: tuple[str, ...], output: Path
) -> None:
    """Wait for the result of ORDER, confirm it and write it."""
    from hpu.runtime.arrays import write_arrays

    buyer, wanted = _buyer(ledger, folder, retrievers), number_of(number)
    buyer.status(wanted)

    def is_over() -> bool:
        return buyer.status(wanted)["state"] in ("done", "over")

    with stopping() as stop:
        run(buyer, stop, until=is_over)
    outputs = buyer.fetch(wanted)
    write_arrays(output, outputs)
    click.echo(f"wrote {output}: {', '.join(outputs)}")
