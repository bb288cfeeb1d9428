"""``hpu chain``: a development chain, and the contracts on any chain."""

from pathlib import Path

import click
from eth_utils import is_address

from hpu.chain_integration.chain.allocation import ALLOCATIONS
from hpu.chain_integration.chain.connect import Connection, connect
from hpu.chain_integration.chain.deploy import Deployment, deploy
from hpu.chain_integration.chain.errors import ChainError
from hpu.chain_integration.chain.rpc import development_accounts
from hpu.chain_integration.chain.server import PORT, serve
from hpu.chain_integration.cli_keys import password_option, read_password
from hpu.chain_integration.keys import load_key
from hpu.runtime.cli_common import FILE

__all__ = ["chain"]

_ADDRESSES = click.option(
    "--addresses",
    type=click.Path(dir_okay=False, path_type=Path),
    help="JSON file to write the contracts' addresses to.",
)


@click.group()
def chain() -> None:
    """Start a development chain; put the contracts on a chain.

    \b
    Examples:
      hpu chain start --addresses chain.json
      hpu chain deploy --rpc http://127.0.0.1:8545 --key me.json --addresses chain.json
    """


@chain.command()
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True)
@_ADDRESSES
@click.option(
    "--aged",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    metavar="DAYS",
    help="Let the token's releases have started so many days ago.",
)
def start(port: int, addresses: Path | None, aged: int) -> None:
    """Run a chain for development at http://127.0.0.1:PORT until it is interrupted.

    Its ten accounts have coin, and keys that everybody knows. It forgets everything when it ends.
    With --addresses the contracts are put on it, and the first account is every beneficiary.
    """

    def ready(url: str) -> None:
        click.echo(f"chain at {url}")
        for account in development_accounts():
            click.echo(f"  account {account.address}  key 0x{bytes(account.key).hex()}")

    serve(port=port, ready=ready, prepare=lambda link: _prepare(link, addresses, aged))


def _prepare(connection: Connection, addresses: Path | None, aged: int) -> None:
    if addresses is None:
        return
    begun = connection.time() - aged * 86400
    _save(deploy(connection, connection.accounts(1)[0], start=begun), addresses)


@chain.command("deploy")
@click.option("--rpc", required=True, metavar="URL", help="Node of the chain.")
@click.option("--key", required=True, type=FILE, help="Key file of the account that pays the gas.")
@password_option
@click.option(
    "--beneficiary",
    "beneficiaries",
    multiple=True,
    metavar="NAME=ADDRESS",
    help="Who gets an allocation: founders, development, foundation, operations or marketing. "
    "Once for each.",
)
@_ADDRESSES
def deploy_command(
    rpc: str,
    key: Path,
    password_file: Path | None,
    beneficiaries: tuple[str, ...],
    addresses: Path | None,
) -> None:
    """Put the contracts on a chain, for good: nobody can change them afterwards."""
    paid = _paid(beneficiaries)
    account = load_key(key, read_password(password_file))
    if addresses is None:
        addresses = Path("chain.json")
    _save(deploy(connect(rpc), account, beneficiaries=paid), addresses)


def _paid(beneficiaries: tuple[str, ...]) -> dict[str, str]:
    paid = dict(each.partition("=")[::2] for each in beneficiaries)
    names = [allocation.name for allocation in ALLOCATIONS if allocation.beneficiary]
    for name in names:
        if name not in paid:
            raise ChainError(f"give the beneficiary of each allocation: {name} has none.")
    for name, address in paid.items():
        if name not in names:
            raise ChainError(f"a beneficiary's allocation must be one of {names}, not {name!r}.")
        if not is_address(address):
            raise ChainError(f"the beneficiary of {name} must be an address, not {address!r}.")
    return paid


def _save(deployment: Deployment, addresses: Path) -> None:
    deployment.save(addresses)
    click.echo(f"{addresses}: {len(deployment.contracts)} contracts")
