"""Places in the unified buffer: first fit over lifetimes, else those that the solver finds.

What does not fit stays in DRAM.
"""

import bisect
import dataclasses
from collections.abc import Callable, Mapping, Sequence

from hpu.compiler.arrange import arrange
from hpu.compiler.errors import UnsupportedError
from hpu.compiler.ir import Binary, Conv, Depthwise, Fetch, Graph, Op, Pool, Stage, Tensor, Unary
from hpu.hw.config import Config
from hpu.runtime.layout import block_widths

__all__ = [
    "Planner",
    "Scratch",
    "Space",
    "allocate",
    "describe",
    "followers",
    "home",
    "lifetimes",
    "refusal",
    "tensor_words",
    "words_before",
]


#: How often the solver is asked for one network.
_ARRANGEMENTS = 2


class Space:
    """Free words of a memory, first fit."""

    def __init__(self, words: int) -> None:
        self._free = [(0, words)]

    def take(self, words: int) -> int | None:
        """The first of ``words`` words in a row, or ``None`` when there is no such run."""
        for index, (low, high) in enumerate(self._free):
            if high - low >= words:
                self._free[index : index + 1] = [(low + words, high)] if high - low > words else []
                return low
        return None

    def take_at(self, base: int, words: int) -> int | None:
        """``base``, or ``None`` when some of the ``words`` words from there on are taken."""
        for index, (low, high) in enumerate(self._free):
            if low <= base and base + words <= high:
                rest = ((low, base), (base + words, high))
                self._free[index : index + 1] = [run for run in rest if run[0] < run[1]]
                return base
        return None

    def give(self, base: int, words: int) -> None:
        """Free words that were taken."""
        bisect.insort(self._free, (base, base + words))
        joined = [self._free[0]]
        for low, high in self._free[1:]:
            if low == joined[-1][1]:
                joined[-1] = (joined[-1][0], high)
            else:
                joined.append((low, high))
        self._free = joined

    def take_all(self, sizes: Sequence[int]) -> list[int] | None:
        """A base for every size, or ``None`` and nothing taken."""
        bases: list[int] = []
        for words in sizes:
            base = self.take(words)
            if base is None:
                for taken, size in zip(bases, sizes, strict=False):
                    self.give(taken, size)
                return None
            bases.append(base)
        return bases

    def fits(self, sizes: Sequence[int]) -> bool:
        """Whether :meth:`take_all` would find room."""
        bases = self.take_all(sizes)
        for base, words in zip(bases or [], sizes, strict=False):
            self.give(base, words)
        return bases is not None


@dataclasses.dataclass(frozen=True)
class Scratch:
    """Working memory of one operation: the plan it follows; base and words of its buffers."""

    plan: object
    bases: tuple[int, ...]
    sizes: tuple[int, ...]


#: Given an operation, the tensors that are in DRAM, and the free space: plan and buffer sizes.
Planner = Callable[[Op, set[str], Space], "tuple[object, list[int]] | None"]


def tensor_words(tensor: Tensor, config: Config) -> int:
    """Unified-buffer words of a tensor."""
    n, y, x, lanes = tensor.stored
    return n * y * x * len(block_widths(lanes, config))


def allocate(
    graph: Graph, config: Config, planner: Planner
) -> tuple[dict[str, int], list[Scratch]]:
    """Bases of the tensors that live in the unified buffer, and every operation's scratch.

    Tensors without a base are in DRAM. As long as some operation finds no room, the tensor that
    is most in its way moves there. Images of another tensor are where it is. Where there is room,
    the result of a vector operation lies apart from what the convolution before it uses, so that
    the two may go on side by side.

    Raises
    ------
    UnsupportedError
        When an operation does not fit with all its tensors in DRAM.
    """
    in_dram, arrangements = _fetched(graph), _ARRANGEMENTS
    while True:
        for early in (followers(graph), {}):
            attempt = _Attempt(graph, config, planner, in_dram, early=early)
            failed = attempt.run()
            if failed is None:
                return attempt.bases, attempt.scratch
        assert failed is not None
        for early in (followers(graph), {}) if arrangements else ():
            places = _arranged(graph, config, in_dram, early)
            if places is not None:
                arrangements -= 1
                attempt = _Attempt(graph, config, planner, in_dram, places, early=early)
                if attempt.run() is None:
                    return attempt.bases, attempt.scratch
        in_dram |= _family(graph, _victim(graph, failed, attempt, config))


def followers(graph: Graph) -> dict[int, Tensor]:
    """Results of vector operations that follow a convolution, by that one's number."""
    found: dict[int, Tensor] = {}
    product = None
    for index, op in enumerate(graph.ops):
        if isinstance(op, Conv):
            product = index
        elif not isinstance(op, (Fetch, Stage)):
            if product is not None and isinstance(op, (Pool, Depthwise, Binary, Unary)):
                found[product] = op.out
            product = None
    return found


def _arranged(
    graph: Graph, config: Config, in_dram: set[str], early: Mapping[int, Tensor]
) -> dict[str, int] | None:
    """Bases for all tensors that are not in DRAM, by the solver."""
    lives = {name: life for name, life in lifetimes(graph).items() if name not in in_dram}
    for index, tensor in early.items():
        if home(tensor).name in lives:
            first, last = lives[home(tensor).name]
            lives[home(tensor).name] = min(first, index), last
    words = {name: tensor_words(graph.tensors[name], config) for name in lives}
    if max(words.values(), default=0) > config.ub_depth:
        return None
    return arrange(lives, words, config.ub_depth)


def lifetimes(graph: Graph) -> dict[str, tuple[int, int]]:
    """First and last operation that touches each tensor, or images of it."""
    lives: dict[str, tuple[int, int]] = {}
    for index, op in enumerate(graph.ops):
        for tensor in (*op.inputs, op.out):
            name = home(tensor).name
            lives[name] = (lives.get(name, (index, index))[0], index)
    return lives


def _fetched(graph: Graph) -> set[str]:
    """What fetches read: inputs of the graph, of which only copies are in the unified buffer."""
    homes = {home(op.x).name for op in graph.ops if isinstance(op, Fetch)}
    return {name for whole in homes for name in _family(graph, whole)}


def _family(graph: Graph, whole: str) -> set[str]:
    """A tensor's name and those of the tensors that are images of it."""
    return {name for name, tensor in graph.tensors.items() if home(tensor).name == whole}


def home(tensor: Tensor) -> Tensor:
    """The tensor in whose memory this one lies: itself, or the one whose images it is."""
    if tensor.inset:
        return tensor.inset.parent
    return tensor.whole or tensor


def words_before(tensor: Tensor) -> int:
    """Words of a channel block of the whole that come before those of ``tensor``."""
    _, rows, cols, _ = tensor.stored
    return tensor.first // tensor.cell.images * rows * cols


def _victim(graph: Graph, failed: int, attempt: "_Attempt", config: Config) -> str:
    """The live tensor to move to DRAM: a large one, rather one that the operation does not use.

    Weights that wait are moved first: they are in DRAM anyway.
    """
    op = graph.ops[failed]
    used = {home(tensor).name for tensor in (*op.inputs, op.out)}
    live = (set(attempt.live) | used) - attempt.in_dram
    live = live & {op.out.name for op in graph.ops if isinstance(op, Stage)} or live
    if not live:
        reason = (
            f"it does not fit the unified buffer of {config.ub_depth} words however it is tiled"
        )
        raise refusal(op, f"{reason}; use a larger configuration or a smaller kernel or image")

    def weight(name: str) -> tuple[int, str]:
        words = tensor_words(graph.tensors[name], config)
        return words * (1 if name in used else 2), name

    return max(live, key=weight)


class _Attempt:
    """One walk over the operations with ``in_dram`` given."""

    def __init__(
        self,
        graph: Graph,
        config: Config,
        planner: Planner,
        in_dram: set[str],
        places: Mapping[str, int] | None = None,
        *,
        early: Mapping[int, Tensor] | None = None,
    ) -> None:
        self.graph, self.config, self.planner, self.in_dram = graph, config, planner, in_dram
        self.bases: dict[str, int] = {}
        self.live: dict[str, int] = {}
        self.scratch: list[Scratch] = []
        self._space = Space(config.ub_depth)
        self._lives = lifetimes(graph)
        self._places, self._early = places or {}, early or {}

    def run(self) -> int | None:
        """Place everything; the index of the operation that finds no room, or ``None``."""
        for index, op in enumerate(self.graph.ops):
            if not all(self._place(tensor) for tensor in (*op.inputs, op.out)):
                return index
            if index in self._early and not self._place(self._early[index]):
                return index
            if not self._plan(op):
                return index
            self._release(index)
        return None

    def _place(self, tensor: Tensor) -> bool:
        whole = home(tensor)
        if whole.name in self.in_dram:
            return True
        if whole.name not in self.live:
            base = self._take(whole)
            if base is None:
                return False
            self.live[whole.name] = self.bases[whole.name] = base
        self.bases[tensor.name] = self.live[whole.name] + words_before(tensor)
        return True

    def _take(self, tensor: Tensor) -> int | None:
        """Words for a tensor: where it was arranged to be, or the first that are free."""
        words = tensor_words(tensor, self.config)
        if tensor.name in self._places:
            return self._space.take_at(self._places[tensor.name], words)
        return self._space.take(words)

    def _plan(self, op: Op) -> bool:
        found = self.planner(op, self.in_dram, self._space)
        if found is None:
            return False
        plan, sizes = found
        bases = self._space.take_all(sizes)
        assert bases is not None, "a planner's sizes must fit"
        self.scratch.append(Scratch(plan, tuple(bases), tuple(sizes)))
        for base, words in zip(bases, sizes, strict=True):
            self._space.give(base, words)
        return True

    def _release(self, index: int) -> None:
        for name in [n for n in self.live if self._lives[n][1] <= index]:
            self._space.give(
                self.live.pop(name), tensor_words(self.graph.tensors[name], self.config)
            )


def describe(op: Op) -> str:
    """The ONNX nodes that an operation stands for, joined."""
    return "+".join(op.nodes)


def refusal(op: Op, reason: str) -> UnsupportedError:
    """The error that ``op`` cannot be compiled, and why."""
    return UnsupportedError(type(op).__name__, describe(op), reason)
