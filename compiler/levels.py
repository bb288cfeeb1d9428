"""Which nodes run together: levels, one higher at every crossing, and no crossing that need not be.

A node stands at the highest level of those it reads, and one higher where it crosses from the host
to the HPU or back. Then nodes that hang together move up, as far as they may, to the level of a
reader on their own side: a branch that only a later part reads becomes a piece of that part.
"""

from collections.abc import Mapping
from typing import TypeAlias

from hpu.compiler.net import Groups, Net
from hpu.compiler.roles import Roles

__all__ = ["HOST", "HPU", "Key", "levels"]

#: Side of a part, as it sorts.
HOST, HPU = 0, 1
#: Level and side.
Key: TypeAlias = tuple[int, int]


def levels(net: Net, roles: Roles, reasons: Mapping[int, str]) -> dict[int, Key]:
    """Level and side of every node that is a member of one part; those of ``reasons`` are HOST."""
    keys = _lowest(net, roles, reasons)
    _lift(keys, _member_readers(net, roles, keys))
    return keys


def _lowest(net: Net, roles: Roles, reasons: Mapping[int, str]) -> dict[int, Key]:
    keys: dict[int, Key] = {}
    seen: dict[str, Key | None] = {}
    for rank in sorted(net.needed):
        before = [seen[name] for name in net.reads[rank] if seen.get(name)]
        if rank in roles.copied:
            key = max((k for k in before if k), default=None)
        else:
            side = HOST if rank in reasons else HPU
            level = max((k[0] + (k[1] != side) for k in before if k), default=0)
            key = keys[rank] = (level, side)
        seen |= dict.fromkeys(net.nodes[rank].output, key)
    for name in net.outputs:
        rank = net.maker.get(name, -1)
        if rank in roles.copied:
            keys[rank] = seen[name] or (0, HOST)
    return keys


def _member_readers(net: Net, roles: Roles, keys: Mapping[int, Key]) -> dict[int, set[int]]:
    """For every member the members that read it, also through nodes that are copied."""
    found: dict[int, set[int]] = {rank: set() for rank in keys}
    for rank, readers in found.items():
        open_ = [rank]
        while open_:
            for name in net.nodes[open_.pop()].output:
                for reader in net.readers.get(name, ()):
                    if reader in keys:
                        readers.add(reader)
                    if reader in roles.copied:
                        open_.append(reader)
    return found


def _lift(keys: dict[int, Key], readers: Mapping[int, set[int]]) -> None:
    """Move sets of nodes that hang together up to their first reader on the same side."""
    group = Groups()
    for rank, key in keys.items():
        for reader in readers[rank]:
            if keys[reader] == key:
                group.join(rank, reader)
    sets: dict[int, list[int]] = {}
    for rank in keys:
        sets.setdefault(group.of(rank), []).append(rank)
    for own in sorted(sets.values(), key=lambda ranks: keys[ranks[0]], reverse=True):
        level, side = keys[own[0]]
        outside = {keys[reader] for rank in own for reader in readers[rank]} - {(level, side)}
        latest = min((above - (other != side) for above, other in outside), default=level)
        if (latest, side) in outside:
            keys |= dict.fromkeys(own, (latest, side))
