"""Ordering computations from Python.

from hpu.chain_integration.client import Client

with Client(rpc="http://127.0.0.1:8545", addresses="chain.json", account=account,
            retrievers=["http://127.0.0.1:9000"], folder="orders") as client:
    client.deposit(100)
    order = client.submit("model.onnx", {"x": x}, price=1_000_000, quote=5)
    outputs = client.fetch(order)
"""

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from eth_account.signers.local import LocalAccount

from hpu.chain_integration.chain.connect import connect
from hpu.chain_integration.chain.deploy import load
from hpu.chain_integration.roles.buyer import Buyer, BuyerError, Wish
from hpu.chain_integration.roles.daemon import run, state_of
from hpu.chain_integration.roles.ledger import Ledger
from hpu.chain_integration.store.http import HttpWire
from hpu.runtime.errors import HpuError

__all__ = ["HAI", "Client"]

#: HAI-wei in one HAI.
HAI = 10**18


class Client:
    """A buyer's side of the market; amounts are in HAI.

    Parameters
    ----------
    rpc, addresses:
        The chain's node, and the file with the contracts' addresses.
    account:
        Who orders and pays.
    retrievers:
        URLs of retrievers, the preferred one first.
    folder:
        Keeps orders, their keys (sealed) and results; the same folder goes on after a restart.
    confirmations:
        Blocks that must follow a block before it counts.

    Raises
    ------
    HpuError
        When the chain cannot be reached or the folder cannot be used.
    """

    def __init__(
        self,
        *,
        rpc: str,
        addresses: str | Path,
        account: LocalAccount,
        retrievers: Sequence[str],
        folder: str | Path,
        confirmations: int = 0,
    ):
        store, journal = state_of(Path(folder))
        connection = connect(rpc, confirmations=confirmations)
        ledger = Ledger(load(connection, Path(addresses)), account)
        self.buyer = Buyer(
            ledger=ledger, wire=HttpWire(), store=store, journal=journal, retrievers=retrievers
        )

    def __enter__(self) -> "Client":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the journal."""
        self.buyer.journal.close()

    @property
    def balance(self) -> float:
        """HAI in the market, not held for an order."""
        return self.buyer.ledger.balance() / HAI

    def deposit(self, amount: float) -> None:
        """Move HAI into the market, from which orders are paid."""
        self.buyer.ledger.deposit(int(amount * HAI))

    def withdraw(self, amount: float) -> None:
        """Take HAI out of the market."""
        self.buyer.ledger.market("withdraw", int(amount * HAI))

    def submit(
        self,
        model: str | os.PathLike[str] | bytes,
        feeds: Mapping[str, Any],
        *,
        price: float,
        quote: float,
        **terms: Any,
    ) -> str:
        """Order a quantised ONNX model on ``feeds``; the order's number.

        Parameters
        ----------
        price, quote:
            Most HAI per T·H, and per supplier.
        terms:
            Others of :class:`~hpu.chain_integration.roles.buyer.Wish`.

        Raises
        ------
        HpuError
            When the model, the feeds or the balance do not do.
        """
        wish = Wish(price=int(price * HAI), quote=int(quote * HAI), **terms)
        order = self.buyer.submit(_bytes_of(model), feeds, wish)
        self.buyer.step()
        return order.hex()

    def status(self, order: str) -> dict[str, Any]:
        """Where an order stands, after a step."""
        self.buyer.step()
        return self.buyer.status(number_of(order))

    def fetch(
        self,
        order: str,
        *,
        timeout: float = 600.0,
        progress: Callable[[str], None] = lambda _state: None,
    ) -> dict[str, np.ndarray]:
        """The outputs by name, once the order is computed, fetched and confirmed.

        Raises
        ------
        BuyerError
            When there is none within ``timeout`` seconds, or will be none.
        """
        number, end = number_of(order), time.monotonic() + timeout

        def is_over() -> bool:
            status = self.buyer.status(number)
            progress(status["chain"] if status["chain"] != "none" else status["state"])
            return status["state"] in ("done", "over") or time.monotonic() > end

        run(self.buyer, threading.Event(), until=is_over)
        return self.buyer.fetch(number)


def number_of(order: str) -> bytes:
    """An order's number from text.

    Raises
    ------
    BuyerError
        When it is none.
    """
    try:
        number = bytes.fromhex(order.removeprefix("0x"))
    except ValueError:
        number = b""
    if len(number) != 32:
        raise BuyerError(f"an order's number must be 64 hexadecimal digits, not {order!r}.")
    return number


def _bytes_of(model: str | os.PathLike[str] | bytes) -> bytes:
    if isinstance(model, bytes):
        return model
    try:
        return Path(model).read_bytes()
    except OSError as error:
        raise HpuError(f"{model} cannot be read: {error.strerror}.") from None
