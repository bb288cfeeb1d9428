"""Options that the commands of the market's roles share."""

import decimal
import functools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
from eth_account.signers.local import LocalAccount

from hpu.chain_integration.chain.connect import connect
from hpu.chain_integration.chain.deploy import load
from hpu.chain_integration.cli_keys import password_option, read_password
from hpu.chain_integration.keys import load_key
from hpu.chain_integration.roles.ledger import Ledger
from hpu.runtime.cli_common import FILE

__all__ = ["HAI", "chain_options", "ledger_of", "log_to_stderr", "server_options"]

RPC = "http://127.0.0.1:8545"


class _Hai(click.ParamType):
    """An amount in HAI, in HAI-wei."""

    name = "HAI"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            amount = decimal.Decimal(value) * 10**18
        except decimal.InvalidOperation:
            amount = decimal.Decimal(-1)
        if not amount.is_finite() or amount < 0 or amount != amount.to_integral_value():
            self.fail(f"must be an amount of HAI with at most 18 decimals, not {value!r}.")
        return int(amount)


HAI = _Hai()


def chain_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """``--rpc``, ``--addresses``, ``--key`` and ``--password-file``; gives a ``ledger``."""

    @click.option("--rpc", default=RPC, metavar="URL", show_default=True, help="Node of the chain.")
    @click.option(
        "--addresses",
        type=FILE,
        default=Path("chain.json"),
        show_default=True,
        help="File with the contracts' addresses, which `hpu chain` writes.",
    )
    @click.option(
        "--confirmations",
        type=click.IntRange(0),
        default=0,
        show_default=True,
        help="Blocks that must follow a block before it counts.",
    )
    @click.option("--key", required=True, type=FILE, help="Key file of the account.")
    @password_option
    @functools.wraps(function)
    def wrapped(
        *arguments: Any,
        rpc: str,
        addresses: Path,
        confirmations: int,
        key: Path,
        password_file: Path | None,
        **options: Any,
    ) -> Any:
        account = load_key(key, read_password(password_file))
        return function(
            *arguments, ledger=ledger_of(rpc, addresses, account, confirmations), **options
        )

    return wrapped


def ledger_of(rpc: str, addresses: Path, account: LocalAccount, confirmations: int = 0) -> Ledger:
    """The chain as an account sees it.

    Raises
    ------
    ChainError
        When the node does not answer, or the contracts are not there.
    """
    return Ledger(load(connect(rpc, confirmations=confirmations), addresses), account)


def server_options(folder: str, port: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``--folder``, ``--host``, ``--port``, ``--url`` and ``--verbose``."""
    options = [
        click.option(
            "--folder",
            type=click.Path(file_okay=False, path_type=Path),
            default=Path(folder),
            show_default=True,
            help="Keeps what the program must not forget.",
        ),
        click.option(
            "--host",
            default="127.0.0.1",
            show_default=True,
            help="Address to answer at; any but loopback opens the port to others.",
        ),
        click.option(
            "--port",
            type=click.IntRange(0, 65535),
            default=port,
            show_default=True,
            help="Port; 0 for a free one.",
        ),
        click.option(
            "--url", metavar="URL", help="Where others reach it.  [default: host and port]"
        ),
        click.option("--verbose", is_flag=True, help="Say more of what is done."),
    ]
    return lambda function: functools.reduce(lambda inner, add: add(inner), options, function)


def log_to_stderr(verbose: bool) -> None:
    """Show what roles tell."""
    logging.basicConfig(format="%(asctime)s %(name)s: %(message)s", level=logging.WARNING)
    logging.getLogger("hpu").setLevel(logging.INFO if verbose else logging.WARNING)
