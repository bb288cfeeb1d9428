"""The state of a chain: accounts, code and storage, changed by messages that pyrevm executes.

pyrevm keeps what a message loaded "warm" for the next one, so that it would charge later ones
too little. So each message runs between a checkpoint and its revert, and what it changed is taken
from the journal and written to the database beneath: gas is then that of a cold start.
"""

import contextlib
import dataclasses
import functools
import re
from collections.abc import Iterator

import pyrevm
from eth_utils import keccak, to_checksum_address

__all__ = ["Log", "Message", "Outcome", "World"]

_checksummed = functools.lru_cache(maxsize=4096)(to_checksum_address)
_STORED = re.compile(r"StorageChange \{ address: (0x[0-9a-f]{40}), key: (\d+)")
_ACCOUNTS = re.compile(r"(?:NonceChange|AccountCreated|CodeChange) \{ address: (0x[0-9a-f]{40})")
_REVERTED = re.compile(r"^Revert \{ gas_used: (\d+), output: 0x([0-9a-f]*)")
_HALTED = re.compile(r"^Halt \{ reason: (.*), gas_used: (\d+)")
_PADDING = 33  # zero bytes that the EVM appends to the code it analysed


@dataclasses.dataclass(frozen=True)
class Log:
    """An event as the contract emitted it."""

    address: str
    topics: tuple[str, ...]
    data: bytes


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a message did; ``output`` holds the revert data when ``success`` is false.

    ``halt`` names why the machine stopped (out of gas, invalid opcode), or is empty.
    """

    success: bool
    output: bytes
    gas_used: int
    logs: tuple[Log, ...] = ()
    created: str | None = None
    halt: str = ""


@dataclasses.dataclass(frozen=True)
class _Slot:
    address: str
    key: int
    value: int


@dataclasses.dataclass(frozen=True)
class _Account:
    address: str
    nonce: int
    code: bytes


_Change = _Slot | _Account


@dataclasses.dataclass(frozen=True)
class Message:
    """A call (``to`` an address) or a creation (``to`` is ``None``, ``data`` the creation code)."""

    sender: str
    to: str | None
    data: bytes
    gas: int


class World:
    """Contracts' code and storage, and the numbers of their creations.

    Native coin is no part of it: contracts here take none.
    """

    def __init__(self, *, chain_id: int) -> None:
        self._evm = pyrevm.EVM(env=pyrevm.Env(cfg=pyrevm.CfgEnv(chain_id=chain_id)))
        self._undo: list[list[_Change]] = []

    def set_block(self, *, number: int, timestamp: int, gas_limit: int) -> None:
        """The block that the next messages see."""
        self._evm.set_block_env(
            pyrevm.BlockEnv(
                number=number,
                timestamp=timestamp,
                gas_limit=gas_limit,
                prevrandao=self._evm.block_hash(number),
            )
        )

    def block_hash(self, number: int) -> bytes:
        """The hash that a contract reads with ``blockhash``: 32 bytes."""
        return self._evm.block_hash(number)

    def call(self, message: Message, *, nonce: int) -> Outcome:
        """What ``message`` would do now; nothing is changed. ``nonce`` as for :meth:`execute`."""
        self._number(message, nonce)
        with self._discarded():
            return self._run(message)

    def execute(self, message: Message, *, nonce: int) -> Outcome:
        """Do ``message``, of a sender whose earlier transactions number ``nonce``."""
        changes: list[_Change] = []
        self._number(message, nonce)
        with self._discarded():
            outcome = self._run(message)
            if outcome.success:
                changes = self._changes(message.sender)
        self._undo.append(self._replace(changes))
        return outcome

    def _number(self, message: Message, nonce: int) -> None:
        """The address of a creation follows from its sender's nonce."""
        if message.to is None:
            self._store([_Account(message.sender, nonce, b"")])

    def height(self) -> int:
        """How many messages were executed."""
        return len(self._undo)

    def rewind(self, height: int) -> None:
        """Undo every message after the first ``height``."""
        while len(self._undo) > height:
            self._store(self._undo.pop())

    def code(self, address: str) -> bytes:
        """The code of a contract, empty for any other account."""
        with self._discarded():
            return self._code(address)

    def storage(self, address: str, key: int) -> int:
        """One storage slot."""
        with self._discarded():
            return self._evm.storage(address, key)

    @contextlib.contextmanager
    def _discarded(self) -> Iterator[None]:
        """Whatever the block loads or changes is taken back; the database beneath keeps its own."""
        checkpoint = self._evm.snapshot()
        try:
            yield
        finally:
            self._evm.revert(checkpoint)
            self._evm.reset_transient_storage()

    def _run(self, message: Message) -> Outcome:
        evm, created, output = self._evm, None, b""
        try:
            if message.to is None:
                created = evm.deploy(message.sender, message.data, gas=message.gas)
            else:
                output = evm.message_call(
                    message.sender, message.to, calldata=message.data, gas=message.gas
                )
        except RuntimeError as error:
            return _failure(str(error))
        result = evm.result
        assert result is not None
        logs = tuple(_log(entry) for entry in result.logs)
        address = None if created is None else to_checksum_address(created)
        return Outcome(True, bytes(output), result.gas_used, logs, address)

    def _changes(self, sender: str) -> list[_Change]:
        """The values that the journal's entries have now."""
        text = self._evm.journal_str
        journal = text[text.rindex(", journal: [") :]
        accounts = set(_ACCOUNTS.findall(journal)) - {sender.lower()}
        slots = {(address, int(key)) for address, key in _STORED.findall(journal)}
        return [
            *(self._account(address) for address in sorted(accounts)),
            *(_Slot(*slot, self._evm.storage(*slot)) for slot in sorted(slots)),
        ]

    def _account(self, address: str) -> _Account:
        return _Account(address, self._evm.basic(address).nonce, self._code(address))

    def _code(self, address: str) -> bytes:
        code = bytes(self._evm.get_code(address) or b"")
        exact = code[: max(0, len(code) - _PADDING)]
        return exact if keccak(exact) == self._evm.basic(address).code_hash else code

    def _replace(self, changes: list[_Change]) -> list[_Change]:
        """Store ``changes``; returns those that put back what was there."""
        with self._discarded():
            before = [
                _Slot(each.address, each.key, self._evm.storage(each.address, each.key))
                if isinstance(each, _Slot)
                else self._account(each.address)
                for each in changes
            ]
        self._store(changes)
        return before

    def _store(self, changes: list[_Change]) -> None:
        for each in changes:
            with self._discarded():  # what is loaded gets the value instead of the database
                if isinstance(each, _Slot):
                    self._evm.insert_account_storage(each.address, each.key, each.value)
                else:
                    info = pyrevm.AccountInfo(nonce=each.nonce, code=each.code or None)
                    self._evm.insert_account_info(each.address, info)


def _failure(text: str) -> Outcome:
    if found := _REVERTED.match(text):
        return Outcome(False, bytes.fromhex(found[2]), int(found[1]))
    if found := _HALTED.match(text):
        return Outcome(False, b"", int(found[2]), halt=found[1])
    return Outcome(False, b"", 0, halt=text)


def _log(entry: pyrevm.Log) -> Log:
    return Log(_checksummed(entry.address), tuple(entry.topics), bytes(entry.data[1]))
