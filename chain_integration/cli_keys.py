"""``hpu keys``: accounts in encrypted key files."""

import os
from pathlib import Path

import click

from hpu.chain_integration.keys import (
    PASSWORD_VARIABLE,
    KeyFileError,
    address_of,
    load_key,
    new_key_file,
)
from hpu.chain_integration.store.seal import Reader
from hpu.runtime.cli_common import FILE

__all__ = ["keys", "password_option", "read_password"]


def password_option(function):  # type: ignore[no-untyped-def]
    """``--password-file``."""
    return click.option(
        "--password-file",
        type=FILE,
        help=f"File whose first line is the key file's password.  [default: ${PASSWORD_VARIABLE}, "
        "or asked for]",
    )(function)


def read_password(path: Path | None, *, confirm: bool = False) -> str:
    """The password from a file, from the environment, or from who sits at the terminal.

    Raises
    ------
    KeyFileError
        When the file cannot be read.
    """
    if path is not None:
        try:
            return path.read_text().split("\n", 1)[0]
        except (OSError, UnicodeDecodeError) as error:
            raise KeyFileError(f"the password file {path} cannot be read: {error}.") from None
    if PASSWORD_VARIABLE in os.environ:
        return os.environ[PASSWORD_VARIABLE]
    return click.prompt("Password", hide_input=True, confirmation_prompt=confirm, err=True)


@click.group()
def keys() -> None:
    """Make and show accounts. Key files are standard keystore JSON, encrypted.

    \b
    Examples:
      hpu keys new node.json
      hpu keys show node.json --password-file secret.txt
    """


@keys.command("new")
@click.argument("path", type=FILE)
@password_option
def new(path: Path, password_file: Path | None) -> None:
    """Make an account and write its key file; an existing file is never overwritten."""
    if path.exists():
        raise KeyFileError(f"{path} is there already; a key file is never overwritten.")
    account = new_key_file(path, read_password(password_file, confirm=True))
    click.echo(f"{path}: account {account.address}")


@keys.command("show")
@click.argument("path", type=FILE)
@click.option("--reader", is_flag=True, help="Also the key that orders are sealed to.")
@password_option
def show(path: Path, reader: bool, password_file: Path | None) -> None:
    """Show a key file's address; no private key is ever shown."""
    click.echo(f"account {address_of(path)}")
    if reader:
        account = load_key(path, read_password(password_file))
        click.echo(f"reader  0x{Reader(bytes(account.key)).public.hex()}")
