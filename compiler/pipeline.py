"""Items of work whose input is loaded while the item before is computed."""

import dataclasses
from collections.abc import Callable, Sequence

from hpu.compiler.tiling import View

__all__ = ["Item", "run"]


@dataclasses.dataclass(frozen=True)
class Item:
    """``load(buffer)`` emits the loads into a buffer and gives the views that ``compute`` needs."""

    load: Callable[[int], dict[int, View]]
    compute: Callable[[dict[int, View]], None]


def run(items: Sequence[Item], buffers: int) -> None:
    """Emit ``items`` in order, each one's loads as early as ``buffers`` input buffers allow."""
    loaded: list[dict[int, View]] = []
    for index, item in enumerate(items):
        while len(loaded) < min(index + buffers, len(items)):
            loaded.append(items[len(loaded)].load(len(loaded) % buffers))
        item.compute(loaded[index])
