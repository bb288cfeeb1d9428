"""What goes wrong between a program and a chain; each message is one sentence."""

from hpu.runtime.errors import HpuError

__all__ = ["ChainError", "RevertedError", "RpcError", "UnreachableError"]


class ChainError(HpuError):
    """A chain that cannot be used as asked."""


class UnreachableError(ChainError):
    """A node that did not answer, or not with what was waited for, within the time given to it."""


class RpcError(ChainError):
    """A request that the node refused: JSON-RPC's code, and the data of a revert."""

    def __init__(self, message: str, *, code: int = 0, data: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.data = data


class RevertedError(ChainError):
    """A contract that reverted; ``reason`` holds its own words."""

    def __init__(self, contract: str, function: str, reason: str) -> None:
        super().__init__(f"The {contract} contract refused {function}: {reason}.")
        self.contract = contract
        self.function = function
        self.reason = reason
