"""Accounts in encrypted key files: standard keystore JSON (version 3)."""

import json
import os
from pathlib import Path

from eth_account import Account
from eth_account.signers.local import LocalAccount

from hpu.runtime.errors import HpuError
from hpu.runtime.files import write_atomically

__all__ = ["PASSWORD_VARIABLE", "KeyFileError", "address_of", "load_key", "new_key_file"]

#: Environment variable that holds the password of a program's key file.
PASSWORD_VARIABLE = "HPU_KEY_PASSWORD"
_LEAST_PASSWORD = 8


class KeyFileError(HpuError):
    """A key file that cannot be written, read or opened."""


def new_key_file(path: Path, password: str, *, rounds: int | None = None) -> LocalAccount:
    """Make an account and write it to ``path``, encrypted, readable by its owner alone.

    Parameters
    ----------
    rounds:
        Cost of scrypt, 2¹⁸ when not given.

    Raises
    ------
    KeyFileError
        When the file is there already, cannot be written, or the password is too short.
    """
    if path.exists():
        raise KeyFileError(f"{path} is there already; a key file is never overwritten.")
    if len(password) < _LEAST_PASSWORD:
        raise KeyFileError(f"a password must have at least {_LEAST_PASSWORD} characters.")
    account = Account.create()
    data = Account.encrypt(account.key, password, iterations=rounds)
    _write_private(path, json.dumps(data).encode())
    return account


def _write_private(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = os.umask(0o077)
    try:
        write_atomically(path, data)
    finally:
        os.umask(mask)


def address_of(path: Path) -> str:
    """The address in a key file, without its password.

    Raises
    ------
    KeyFileError
        When the file is no key file.
    """
    from eth_utils.address import to_checksum_address

    try:
        return to_checksum_address("0x" + _read(path)["address"].removeprefix("0x"))
    except (KeyError, TypeError, ValueError, AttributeError):
        raise KeyFileError(f"{path} is no keystore file: it names no address.") from None


def load_key(path: Path, password: str) -> LocalAccount:
    """The account in a key file.

    Raises
    ------
    KeyFileError
        When the file is no key file, or the password is wrong.
    """
    data = _read(path)
    try:
        return Account.from_key(Account.decrypt(data, password))
    except (ValueError, KeyError, TypeError, NotImplementedError):
        raise KeyFileError(
            f"{path} does not open: the password is wrong, or it is damaged."
        ) from None


def _read(path: Path) -> dict:
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}.") from None
    except ValueError:
        raise KeyFileError(f"{path} is no keystore file.") from None
