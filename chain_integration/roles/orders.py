"""Orders and acceptances: what buyers and suppliers sign, as EIP-712 typed data.

The types are those of ``contracts/market.vy``, which checks the same signatures.
"""

import dataclasses
from typing import Any, ClassVar, TypeVar

from eth_account import Account
from eth_account.messages import SignableMessage, encode_typed_data
from eth_account.signers.local import LocalAccount
from eth_utils import keccak, to_checksum_address

from hpu.runtime.errors import HpuError

__all__ = ["Acceptance", "Domain", "KeyRequest", "Order", "OrderError", "Signed"]

Self = TypeVar("Self", bound="Signed")


class OrderError(HpuError):
    """An order or acceptance that is not what it should be."""


@dataclasses.dataclass(frozen=True)
class Domain:
    """The market that a signature is for; it is worth nothing in another one."""

    chain_id: int
    market: str

    @property
    def data(self) -> dict[str, Any]:
        """The domain as EIP-712 has it."""
        return {
            "name": "HAI market",
            "version": "1",
            "chainId": self.chain_id,
            "verifyingContract": self.market,
        }


class Signed:
    """A message with a type of its own. Subclasses are frozen dataclasses."""

    TYPES: ClassVar[dict[str, str]]

    @classmethod
    def type_text(cls) -> str:
        """The type as EIP-712 spells it."""
        fields = ",".join(f"{kind} {name}" for name, kind in cls.TYPES.items())
        return f"{cls.__name__}({fields})"

    @property
    def values(self) -> tuple[Any, ...]:
        """The fields in order, as a contract's struct takes them."""
        return tuple(getattr(self, name) for name in self.TYPES)

    def message(self, domain: Domain) -> SignableMessage:
        """What is signed."""
        fields = [{"name": name, "type": kind} for name, kind in self.TYPES.items()]
        data = {name: getattr(self, name) for name in self.TYPES}
        return encode_typed_data(domain.data, {type(self).__name__: fields}, data)

    def digest(self, domain: Domain) -> bytes:
        """The hash that is signed: 32 bytes, of this message in this market."""
        message = self.message(domain)
        return keccak(b"\x19" + message.version + message.header + message.body)

    def sign(self, domain: Domain, account: LocalAccount) -> bytes:
        """The signature of ``account``: r, s, v; 65 bytes."""
        return bytes(account.sign_message(self.message(domain)).signature)

    def signer(self, domain: Domain, signature: bytes) -> str:
        """Who signed.

        Raises
        ------
        OrderError
            When it is no signature.
        """
        try:
            return Account.recover_message(self.message(domain), signature=signature)
        except Exception as error:  # eth-keys' errors have no common base with ValueError
            raise OrderError("the signature must be 65 bytes of secp256k1 (r, s, v).") from error

    def to_json(self) -> dict[str, Any]:
        """The fields; bytes as hexadecimal text, numbers as decimal text."""
        return {name: _text(value) for name, value in zip(self.TYPES, self.values, strict=True)}

    @classmethod
    def from_json(cls: type[Self], data: Any) -> Self:
        """The message that :meth:`to_json` gave.

        Raises
        ------
        OrderError
            When a field is missing, unknown, or not of its type.
        """
        name = cls.__name__.lower()
        if not isinstance(data, dict) or set(data) != set(cls.TYPES):
            raise OrderError(f"the fields of an {name} must be {', '.join(cls.TYPES)}.")
        values = {}
        for field, kind in cls.TYPES.items():
            try:
                values[field] = _value(kind, data[field])
            except (ValueError, TypeError, AttributeError, OverflowError):
                raise OrderError(f"{field} of an {name} must be {kind}.") from None
        return cls(**values)


def _text(value: Any) -> str:
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)


def _value(kind: str, text: Any) -> Any:
    if kind == "address":
        return to_checksum_address(text)
    if kind == "bytes32":
        return _bytes32(text)
    number = int(text)
    number.to_bytes(int(kind.removeprefix("uint")) // 8, "big")  # raises what does not fit
    return number


def _bytes32(text: str) -> bytes:
    value = bytes.fromhex(text.removeprefix("0x"))
    if len(value) != 32:
        raise ValueError("not 32 bytes")
    return value


@dataclasses.dataclass(frozen=True)
class Order(Signed):
    """A computation that its buyer pays for.

    ``model`` and ``input`` are roots; ``config`` and ``region`` may be zero for any. ``price`` is
    the most HAI-wei per T·H, ``quote`` the most per supplier, ``fees`` the most for the owners of
    model and input. ``deadline`` is in seconds from the match to the suppliers' commitments, and
    ``expiry`` the chain's time after which the order must not be matched.
    """

    buyer: str
    model: bytes
    config: bytes
    input: bytes
    region: bytes
    redundancy: int
    price: int
    quote: int
    fees: int
    deadline: int
    expiry: int
    salt: int

    TYPES: ClassVar[dict[str, str]] = {
        "buyer": "address",
        "model": "bytes32",
        "config": "bytes32",
        "input": "bytes32",
        "region": "bytes32",
        "redundancy": "uint8",
        "price": "uint256",
        "quote": "uint256",
        "fees": "uint256",
        "deadline": "uint64",
        "expiry": "uint64",
        "salt": "uint256",
    }


@dataclasses.dataclass(frozen=True)
class Acceptance(Signed):
    """A supplier's word that it computes an order that ``retriever`` matches before ``expiry``."""

    order: bytes
    supplier: str
    retriever: str
    price: int
    expiry: int

    TYPES: ClassVar[dict[str, str]] = {
        "order": "bytes32",
        "supplier": "address",
        "retriever": "address",
        "price": "uint256",
        "expiry": "uint64",
    }


@dataclasses.dataclass(frozen=True)
class KeyRequest(Signed):
    """A verifier's request for the key of an order that it was drawn for. Off chain only."""

    order: bytes
    verifier: str

    TYPES: ClassVar[dict[str, str]] = {"order": "bytes32", "verifier": "address"}
