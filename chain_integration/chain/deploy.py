"""Deploys every contract, with the others' addresses in it, and reads back where they are.

No contract has an owner who could wire it later. Each gets the others' addresses when it is made:
the address of a contract follows from who makes it and in which order.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import rlp
from eth_account.signers.local import LocalAccount
from eth_utils import is_address, keccak, to_checksum_address

from hpu.chain_integration.chain.allocation import ALLOCATIONS
from hpu.chain_integration.chain.compile import compiled
from hpu.chain_integration.chain.connect import Connection
from hpu.chain_integration.chain.contract import Contract, create
from hpu.chain_integration.chain.errors import ChainError
from hpu.runtime.files import write_atomically

__all__ = ["CONTRACTS", "Deployment", "deploy", "load"]

#: Every contract by its name, in the order in which they are made, and the source that it is of.
CONTRACTS: dict[str, str] = {
    "token": "token",
    **{allocation.contract: "release" for allocation in ALLOCATIONS},
    "vote": "vote",
    "assets": "assets",
    "registry": "registry",
    "market": "market",
    "orders": "orders",
    "openings": "openings",
    "sampling": "sampling",
    "elements": "elements",
    "disputes": "disputes",
    "groups": "groups",
    "resources": "resources",
}
#: Names that constructors use for contracts of another name. The foundation's release pays on at
#: once what it gets beyond its allocation, so the platform's fees go there.
_ALIASES = {"machine": "elements", "treasury": "release_foundation"}


class _File(msgspec.Struct, forbid_unknown_fields=True):
    chain_id: int
    block: int
    contracts: dict[str, str]


@dataclasses.dataclass(frozen=True)
class Deployment:
    """The contracts of one deployment, by name; ``block`` is the first that has one of them."""

    connection: Connection
    block: int
    contracts: Mapping[str, Contract]

    def __getitem__(self, name: str) -> Contract:
        return self.contracts[name]

    def save(self, path: Path) -> None:
        """Write the addresses to a JSON file, which :func:`load` reads.

        Raises
        ------
        HpuError
            When the file cannot be written.
        """
        addresses = {name: str(contract.address) for name, contract in self.contracts.items()}
        file = _File(self.connection.chain_id, self.block, addresses)
        write_atomically(path, msgspec.json.format(msgspec.json.encode(file), indent=2) + b"\n")


def deploy(
    connection: Connection,
    account: LocalAccount | str,
    *,
    beneficiaries: Mapping[str, str] | None = None,
    start: int | None = None,
) -> Deployment:
    """Make every contract.

    Parameters
    ----------
    beneficiaries:
        Address for each allocation that has one; ``account`` for those not given.
    start:
        Time from which on the releases' locks run; now when not given.

    Raises
    ------
    RevertedError
        When a constructor reverts.
    ChainError
        When a contract is not where the others expect it: the account was in use elsewhere.
    """
    sender = account if isinstance(account, str) else account.address
    number = int(connection.request("eth_getTransactionCount", sender, "latest"), 16)
    places = {
        name: _created_address(sender, number + index) for index, name in enumerate(CONTRACTS)
    }
    facts = _facts(sender, beneficiaries or {}, places, start or connection.time())
    made: dict[str, Contract] = {}
    block = connection.height() + 1
    for name, source in CONTRACTS.items():
        made[name] = _make(connection, account, source, {**facts[""], **facts.get(name, {})})
        if made[name].address != places[name]:
            raise ChainError(
                f"the contract {name} is at {made[name].address} and not at {places[name]};"
                f" deploy again, and use the account {sender} for nothing else meanwhile."
            )
    return Deployment(connection, block, made)


def load(connection: Connection, path: Path) -> Deployment:
    """The deployment whose addresses are in the file ``path``.

    Raises
    ------
    ChainError
        When the file is missing or damaged, of another chain, or names what is no contract there.
    """
    try:
        file = msgspec.json.decode(path.read_bytes(), type=_File)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ChainError(f"the addresses file {path} cannot be read: {error}.") from error
    if file.chain_id != connection.chain_id:
        raise ChainError(
            f"the addresses file {path} is for chain {file.chain_id},"
            f" but {connection.name} is chain {connection.chain_id}."
        )
    if missing := [name for name in CONTRACTS if not is_address(file.contracts.get(name))]:
        raise ChainError(f"the addresses file {path} has no address of {', '.join(missing)}.")
    made = {name: _existing(connection, name, file.contracts[name]) for name in CONTRACTS}
    return Deployment(connection, file.block, made)


def _existing(connection: Connection, name: str, address: str) -> Contract:
    if connection.request("eth_getCode", address, "latest") == "0x":
        raise ChainError(
            f"there is no contract {name} at {address} on {connection.name}; deploy again."
        )
    return Contract(connection, compiled(CONTRACTS[name]), address)


def _make(
    connection: Connection, account: LocalAccount | str, source: str, known: Mapping[str, Any]
) -> Contract:
    """Make one contract; its constructor's parameters are named as what is ``known``, and a `_`."""
    artifact = compiled(source)
    names = [
        part["name"].removesuffix("_")
        for entry in artifact.abi
        if entry["type"] == "constructor"
        for part in entry["inputs"]
    ]
    return create(connection, account, artifact, *(known[name] for name in names))


def _facts(
    sender: str, beneficiaries: Mapping[str, str], places: Mapping[str, str], start: int
) -> dict[str, dict[str, Any]]:
    """Values of constructors' parameters: for one contract by its name, for all under no name."""
    aliases = {alias: places[name] for alias, name in _ALIASES.items()}
    releases = [places[allocation.contract] for allocation in ALLOCATIONS]
    facts: dict[str, dict[str, Any]] = {"": {**places, **aliases, "releases": releases}}
    facts["token"] = {
        "holders": releases,
        "amounts": [allocation.amount for allocation in ALLOCATIONS],
    }
    for allocation in ALLOCATIONS:
        paid = beneficiaries.get(allocation.name, sender) if allocation.beneficiary else None
        facts[allocation.contract] = {
            "beneficiary": paid or "0x" + "00" * 20,
            "amount": allocation.amount,
            "start": start,
            "lock": allocation.lock,
            "rate": allocation.rate,
        }
    return facts


def _created_address(sender: str, number: int) -> str:
    """Address of the contract that ``sender`` makes with its transaction ``number``."""
    return to_checksum_address(keccak(rlp.encode([bytes.fromhex(sender[2:]), number]))[12:])
