"""Contracts on a chain: calls, transactions that arrive once, receipts and events."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from eth_account.signers.local import LocalAccount
from eth_utils import to_checksum_address

from hpu.chain_integration.chain.abi import Function, Interface
from hpu.chain_integration.chain.blocks import reason_of
from hpu.chain_integration.chain.compile import Artifact
from hpu.chain_integration.chain.connect import Connection
from hpu.chain_integration.chain.errors import ChainError, RevertedError, RpcError
from hpu.chain_integration.chain.send import sender_of

__all__ = ["Contract", "Event", "Receipt", "create"]


_WINDOW = 10_000  # blocks that one search for events covers: public nodes refuse many more


@dataclasses.dataclass(frozen=True)
class Event:
    """An event with its fields by name, and where it stands on the chain."""

    name: str
    fields: dict[str, Any]
    address: str
    block: int
    place: int
    transaction: str

    def __getitem__(self, field: str) -> Any:
        return self.fields[field]


@dataclasses.dataclass(frozen=True)
class Receipt:
    """A transaction that succeeded; ``events`` are those of the contract it was sent to."""

    transaction: str
    block: int
    gas_used: int
    events: tuple[Event, ...]
    raw: dict[str, Any]

    def event(self, name: str) -> Event:
        """The first event ``name``.

        Raises
        ------
        ChainError
            When there is none.
        """
        for event in self.events:
            if event.name == name:
                return event
        raise ChainError(f"the transaction {self.transaction} has no event {name}.")


class Contract:
    """A contract at an address.

    ``call`` asks it without a transaction; ``send`` sends one and waits for its receipt.
    """

    def __init__(self, connection: Connection, artifact: Artifact, address: str) -> None:
        self.connection = connection
        self.address = to_checksum_address(address)
        self.interface = Interface(artifact.title, artifact.abi)
        self.title = artifact.title

    def call(self, name: str, *arguments: Any, caller: str | None = None) -> Any:
        """What function ``name`` returns at the latest block.

        Raises
        ------
        RevertedError
            When the contract reverts.
        """
        function = self.interface.function(name, len(arguments))
        fields = {"to": self.address, "data": "0x" + function.encode(arguments).hex()}
        if caller is not None:
            fields["from"] = caller
        self.connection.catch_up()
        try:
            output = self.connection.request("eth_call", fields, "latest")
        except RpcError as error:
            raise self.refusal(name, error) from error
        if function.outputs and output == "0x":
            raise ChainError(
                f"there is no {self.title} contract at {self.address} on {self.connection.name}."
            )
        return function.decode(bytes.fromhex(output[2:]))

    def send(
        self, account: LocalAccount | str, name: str, *arguments: Any, gas: int | None = None
    ) -> Receipt:
        """Send a transaction and wait for it.

        Parameters
        ----------
        account:
            A key that signs, or the address of an account that a development chain unlocks.
        gas:
            Limit; estimated when not given.

        Raises
        ------
        RevertedError
            When the contract reverts.
        UnreachableError
            When the transaction is not in a block within the connection's patience.
        """
        function = self.interface.function(name, len(arguments))
        sender = sender_of(self.connection, account)
        try:
            raw = sender.send(self.address, function.encode(arguments), gas)
        except RpcError as error:
            raise self.refusal(name, error) from error
        return self.receipt(raw)

    def receipt(self, raw: dict[str, Any]) -> Receipt:
        """A node's receipt, with this contract's events."""
        return Receipt(
            raw["transactionHash"],
            int(raw["blockNumber"], 16),
            int(raw["gasUsed"], 16),
            tuple(self._events(raw["logs"])),
            raw,
        )

    def events(
        self, name: str | None = None, *, first: int = 0, last: int | None = None, **fields: Any
    ) -> list[Event]:
        """Events of the blocks ``first`` to ``last``: all, or of kind ``name`` with these fields.

        Without ``last``, up to the latest block. Only indexed fields can be asked for.
        """
        wanted: dict[str, Any] = {"address": self.address}
        if name is not None:
            wanted["topics"] = self.interface.event(name).topics(fields)
        self.connection.catch_up()
        end = self.connection.height() if last is None else last
        found: list[Event] = []
        for start in range(first, end + 1, _WINDOW):
            blocks = {"fromBlock": hex(start), "toBlock": hex(min(end, start + _WINDOW - 1))}
            found += self._events(self.connection.request("eth_getLogs", {**wanted, **blocks}))
        return found

    def refusal(self, name: str, error: RpcError) -> ChainError:
        """What a node's error of a call to ``name`` means."""
        text = str(error)
        if error.data is None and error.code != 3 and "revert" not in text:
            return ChainError(f"{self.connection.name} refused {name}: {text}.")
        reason = reason_of(bytes.fromhex((error.data or "0x")[2:]))
        reason = reason or text.partition("execution reverted: ")[2]
        return RevertedError(self.title, name, reason or "it gives no reason")

    def _events(self, logs: Sequence[dict[str, Any]]) -> list[Event]:
        kinds = self.interface.by_topic
        return [
            Event(
                kinds[log["topics"][0]].name,
                kinds[log["topics"][0]].decode(log["topics"], bytes.fromhex(log["data"][2:])),
                self.address,
                int(log["blockNumber"], 16),
                int(log["logIndex"], 16),
                log["transactionHash"],
            )
            for log in logs
            if log["address"].lower() == self.address.lower() and log["topics"][0] in kinds
        ]


def create(
    connection: Connection, account: LocalAccount | str, artifact: Artifact, *arguments: Any
) -> Contract:
    """Create a contract and wait for it.

    Raises
    ------
    RevertedError
        When its constructor reverts.
    """
    constructor: Function = Interface(artifact.title, artifact.abi).constructor
    code = artifact.bytecode + constructor.encode(arguments)
    sender = sender_of(connection, account)
    try:
        raw = sender.send(None, code, None)
    except RpcError as error:
        nowhere = Contract(connection, artifact, "0x" + "00" * 20)
        raise nowhere.refusal("its creation", error) from error
    return Contract(connection, artifact, raw["contractAddress"])
