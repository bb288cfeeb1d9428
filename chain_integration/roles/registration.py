"""A node's row of the resource table: entered once, changed when what it offers changes."""

import dataclasses
from typing import Any

from hpu.chain_integration.roles.ledger import Ledger
from hpu.chain_integration.store.seal import Reader
from hpu.hw.config import Config
from hpu.runtime.errors import HpuError

__all__ = ["Offer", "RegistrationError", "capability", "enter"]

_REGION_BYTES, _ENDPOINT_LENGTH = 32, 96


class RegistrationError(HpuError):
    """What a node offers that the resource table does not take."""


def capability(config: Config) -> int:
    """Operations per second of a configuration at its clock: two for each multiplier."""
    return int(2 * config.rows * config.cols * config.clock_hz)


@dataclasses.dataclass(frozen=True)
class Offer:
    """What a node offers: ``price`` in HAI-wei per T·H, where it is and where it answers.

    Raises
    ------
    RegistrationError
        When a text is too long.
    """

    config: Config
    price: int
    region: str
    endpoint: str

    def __post_init__(self) -> None:
        if len(self.region.encode()) > _REGION_BYTES:
            raise RegistrationError(f"a region must be at most {_REGION_BYTES} bytes of UTF-8.")
        if len(self.endpoint) > _ENDPOINT_LENGTH:
            raise RegistrationError(f"an endpoint must be at most {_ENDPOINT_LENGTH} characters.")

    def fields(self, reader: Reader) -> dict[str, Any]:
        """As the registry's struct."""
        return {
            "config": self.config.digest(),
            "key": reader.public,
            "region": self.region.encode().ljust(_REGION_BYTES, b"\0"),
            "capability": capability(self.config),
            "price": self.price,
            "endpoint": self.endpoint,
        }


def enter(ledger: Ledger, offer: Offer, stake: int) -> bool:
    """Register the account, or bring its row up to date; its stake is topped up to ``stake``.

    Returns whether anything was sent.

    Raises
    ------
    RevertedError
        When the registry refuses: the stake is below the minimum, or tokens are missing.
    """
    fields = offer.fields(Reader(bytes(ledger.account.key)))
    registry, node = ledger.contracts["registry"], ledger.node()
    if node.stake < stake:
        ledger.approve(registry, stake - node.stake)
    if not node.capability:
        registry.send(ledger.account, "register", fields, stake)
        return True
    if node.stake < stake:
        registry.send(ledger.account, "top_up", stake - node.stake)
    known = dataclasses.asdict(node)
    changed = any(known[name] != value for name, value in fields.items())
    if changed:
        registry.send(ledger.account, "update", fields)
    return changed or node.stake < stake
