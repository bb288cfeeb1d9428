"""Weight tiles of widths that fill their rows in DRAM.

A row of a tile takes whole beats, or a power of two of chunks (`Config.pitch_chunks`): 94 columns
take the room of 128. Where a layer waits for its weights the rest is time lost, so its last,
narrow channel block is cut into tiles that leave nothing unused, as 64 and 32 columns. The array
has time for the additional passes.
"""

import dataclasses
import functools
from collections.abc import Iterator

from hpu.compiler.sweep import Move, Sweep, Target
from hpu.hw.config import Config

__all__ = ["narrowed"]

#: Most of the time of the weights that the passes of the array may take.
_BUSY = 0.9


def narrowed(sweep: Sweep, config: Config) -> Sweep:
    """``sweep`` with tiles that fill their rows, where it is the weights that take the time."""
    targets = [part for target in sweep.targets for part in _parts(target, config)]
    passes = len(targets) * max(sweep.units, config.rows)
    widths = tuple(-(-target.columns // config.group) for target in targets)
    fetch = _cycles(widths, config) * config.rows
    if len(targets) == len(sweep.targets) or passes > _BUSY * fetch:
        return sweep
    return dataclasses.replace(sweep, targets=tuple(targets))


def _parts(target: Target, config: Config) -> Iterator[Target]:
    """``target``, or parts of one that is a single block of one pixel."""
    widths = _widths(-(-target.columns // config.group), config)
    if len(widths) == 1 or len(target.placed) > 1 or len(target.moves) > 1:
        yield target
        return
    (placed,), (move,) = target.placed, target.moves
    group = 0
    for width in widths:
        first = group * config.group
        channels = min(width * config.group, placed.channels - first)
        yield Target(
            (dataclasses.replace(placed, first=placed.first + first, channels=channels),),
            tuple(_copies(move, group, width)),
            channels,
        )
        group += width


@functools.lru_cache(maxsize=1024)
def _widths(width: int, config: Config) -> tuple[int, ...]:
    """Chunks of the tiles, ``width`` together, that come in the least time; few rather than many.

    The first are the widest. A row of less than a beat takes a cycle all the same.
    """
    best: tuple[int, ...] = (width,)
    for first in range(-(-width // 2), width):
        rest = _widths(width - first, config)
        if rest[0] <= first and _cycles((first, *rest), config) < _cycles(best, config):
            best = (first, *rest)
    return best


def _cycles(widths: tuple[int, ...], config: Config) -> float:
    """Cycles in which a row of every tile comes."""
    chunk = config.group / config.dram_bytes_per_cycle
    return sum(max(config.pitch_chunks(width) * chunk, 1.0) for width in widths)


def _copies(move: Move, group: int, width: int) -> Iterator[Move]:
    """Moves of a part, which stands ``group`` lane groups into each copy of its block."""
    for copy in range(move.copies):
        place = move.d_group + copy * move.width + group
        yield dataclasses.replace(move, width=width, copies=1, s_group=0, d_group=place)
