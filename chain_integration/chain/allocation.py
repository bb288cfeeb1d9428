"""The token's allocation: who gets what part of the supply, and when."""

import dataclasses

__all__ = ["ALLOCATIONS", "SUPPLY", "Allocation"]

#: All HAI that there are, in units of 10⁻¹⁸.
SUPPLY = 10_000_000_000 * 10**18
_YEAR = 365 * 86400


@dataclasses.dataclass(frozen=True)
class Allocation:
    """One part of the supply.

    ``percent`` of the supply, held for ``lock`` seconds, then paid by ``rate`` millionths of the
    allocation a day; a rate of zero, and the lock with it, is decided later by the vote.
    ``beneficiary`` is false where the vote decides that too.
    """

    name: str
    purpose: str
    percent: int
    lock: int
    rate: int
    beneficiary: bool = True

    @property
    def amount(self) -> int:
        """Units of 10⁻¹⁸ HAI."""
        return SUPPLY * self.percent // 100

    @property
    def contract(self) -> str:
        """Name of the contract that holds it."""
        return f"release_{self.name}"


ALLOCATIONS = (
    Allocation("miners", "miners' rewards", 90, 0, 0, beneficiary=False),
    Allocation("founders", "founders", 6, 5 * _YEAR, 100),
    Allocation("development", "development and operations", 1, 4 * _YEAR, 100),
    Allocation("foundation", "foundation", 1, 3 * _YEAR, 100),
    Allocation("operations", "operations team", 1, 0, 2),
    Allocation("marketing", "marketing", 1, 0, 0),
)
