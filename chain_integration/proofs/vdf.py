"""Time that has passed, shown by a verifiable delay function (Wesolowski's, of ``chiavdf``).

Squarings in a class group of unknown order cannot be done side by side, so their number bounds the
time from below on the fastest known machine. The group follows from a seed that nobody knows
before the order is matched; a proof is a chain of segments, each twice as long as the last, so
that it may stop at any time and stays short. It proves time, not work.
"""

import dataclasses
import threading
from types import TracebackType
from typing import Any

import chiavdf

from hpu.chain_integration.proofs.crh import HASH_BYTES
from hpu.runtime.errors import HpuError

__all__ = ["FASTEST", "Elapsed", "Segment", "Stopwatch", "evaluate", "verify"]

#: Squarings per second of the fastest machine that is known (dedicated hardware).
FASTEST = 1_000_000
_BITS = 1024
_ELEMENT_BYTES = 100
_START = b"\x08" + bytes(_ELEMENT_BYTES - 1)
_SHORTEST, _LONGEST = 4_000, 1 << 22
_MOST_SEGMENTS = 4096


@dataclasses.dataclass(frozen=True)
class Segment:
    """``squarings`` from where the segment before ended; ``proof`` begins with the result."""

    squarings: int
    proof: bytes


@dataclasses.dataclass(frozen=True)
class Elapsed:
    """A proof that time has passed since ``seed`` (32 bytes) became known."""

    seed: bytes
    segments: tuple[Segment, ...]

    @property
    def squarings(self) -> int:
        """Of all segments."""
        return sum(segment.squarings for segment in self.segments)

    @property
    def seconds(self) -> float:
        """The least time that it can have taken."""
        return self.squarings / FASTEST

    def entry(self) -> dict[str, Any]:
        """As a document holds it."""
        parts = [[segment.squarings, segment.proof] for segment in self.segments]
        return {"seed": self.seed, "segments": parts}

    @classmethod
    def of_entry(cls, entry: Any) -> "Elapsed":
        """From a document.

        Raises
        ------
        HpuError
            When the entry has another form.
        """
        try:
            parts = tuple(Segment(int(count), bytes(proof)) for count, proof in entry["segments"])
            return cls(bytes(entry["seed"]), parts)
        except (KeyError, TypeError, ValueError) as error:
            raise HpuError(f"the proof of elapsed time cannot be read: {error}.") from None


def evaluate(seed: bytes, squarings: int, start: bytes = _START) -> Segment:
    """Do ``squarings`` and prove them; takes their time, on another core where there is one.

    Raises
    ------
    ValueError
        When the seed is not 32 bytes long.
    """
    if len(seed) != HASH_BYTES:
        raise ValueError(f"seed must be {HASH_BYTES} bytes, not {len(seed)}")
    return Segment(squarings, chiavdf.prove(seed, start, _BITS, squarings, ""))


def verify(elapsed: Elapsed) -> bool:
    """Whether every segment follows from the one before; milliseconds for each."""
    if len(elapsed.seed) != HASH_BYTES or len(elapsed.segments) > _MOST_SEGMENTS:
        return False
    group = chiavdf.create_discriminant(elapsed.seed, _BITS)
    start = _START
    for segment in elapsed.segments:
        sane = 0 < segment.squarings <= _LONGEST and len(segment.proof) == 2 * _ELEMENT_BYTES
        if not (sane and _follows(group, start, segment)):
            return False
        start = segment.proof[:_ELEMENT_BYTES]
    return True


def _follows(group: str, start: bytes, segment: Segment) -> bool:
    try:
        return chiavdf.verify_n_wesolowski(group, start, segment.proof, segment.squarings, _BITS, 0)
    except RuntimeError:  # bytes that are no element of the group
        return False


class Stopwatch:
    """Proves the time that its block takes; ``elapsed`` is there when the block is left.

    At least the first segment is done, however short the block is.
    """

    def __init__(self, seed: bytes):
        self.seed = seed
        self.elapsed = Elapsed(seed, ())
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Stopwatch":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        start, squarings = _START, _SHORTEST
        while True:
            segment = evaluate(self.seed, squarings, start)
            self.elapsed = Elapsed(self.seed, (*self.elapsed.segments, segment))
            if self._stop.is_set():
                return
            start = segment.proof[:_ELEMENT_BYTES]
            squarings = min(2 * squarings, _LONGEST)
