"""The decision for every node of a model: the HPU or the host, with the reason."""

import msgspec

__all__ = ["Placement", "fallbacks"]


class Placement(msgspec.Struct, frozen=True):
    """Where a node runs.

    ``operation`` names the HPU's operation that the node is part of; it is empty for a node that
    costs nothing there. ``reason`` says why the node runs on the host; it is empty for a node of
    the HPU.
    """

    node: str
    op_type: str
    operation: str = ""
    reason: str = ""

    @property
    def on_host(self) -> bool:
        """Whether the host runs the node."""
        return bool(self.reason)


def fallbacks(placed: tuple[Placement, ...]) -> list[Placement]:
    """The nodes that run on the host."""
    return [entry for entry in placed if entry.on_host]
