"""The decision for every node of a model: the HPU or the host, with the reason."""

from collections.abc import Iterable

import msgspec

from hpu.compiler.errors import UnsupportedError

__all__ = ["SLOWER", "Placement", "refuse_fallback"]

#: How the reason of nodes begins that the HPU could run, and the host runs faster.
SLOWER = "slower on the HPU than on the host"


class Placement(msgspec.Struct, frozen=True):
    """Where a node runs.

    ``operation`` names the HPU's operation that the node is part of; it is empty for a node that
    costs nothing there. ``reason`` says why the node runs on the host; it is empty for a node of
    the HPU. ``follows``: the node is on the host only because its neighbours are. ``note`` says of
    a node of the HPU that its region would be faster on the host.
    """

    node: str
    op_type: str
    operation: str = ""
    reason: str = ""
    follows: bool = False
    note: str = ""

    @property
    def on_host(self) -> bool:
        """Whether the host runs the node."""
        return bool(self.reason)


def refuse_fallback(placements: Iterable[Placement]) -> None:
    """Refuse a network of which the host would run a node.

    Raises
    ------
    UnsupportedError
        Names the first such node that does not just follow its neighbours, and the reason.
    """
    entries = [entry for entry in placements if entry.on_host]
    if entries:
        first = next((entry for entry in entries if not entry.follows), entries[0])
        way_out = "; give --force-hpu (force_hpu=True) to run it there all the same"
        reason = first.reason + (way_out if first.reason.startswith(SLOWER) else "")
        raise UnsupportedError(first.op_type, first.node, reason)
