"""The space-time proof: what an order used of a device, and what that costs.

The unit is the T·H: one TOPS for one hour. A machine of ``rows × cols`` processing elements does
``2·rows·cols`` operations in a cycle, whether they are of use or not, so what an order used
follows from the cycles of its run alone. The document behind the root that a supplier commits to
also holds every counter of the device, the bytes moved and a proof of the time that passed.
"""

import dataclasses
from typing import Any

from hpu.chain_integration.proofs import vdf
from hpu.chain_integration.proofs.crh import crh
from hpu.chain_integration.store.cid import decode, encode
from hpu.hw.config import Config
from hpu.hw.csr import MATRIX_CAUSES
from hpu.runtime.errors import HpuError
from hpu.runtime.profile import Run

__all__ = ["TH", "TOLERANCE", "Usage", "check_usage", "price_of", "read_usage", "usage_of", "work"]

#: One T·H, in the unit of amounts of work.
TH = 10**18
_OPERATIONS = 3600 * 10**12
#: Part by which cycles may differ from what the cycle model predicts.
TOLERANCE = 0.03


def work(config: Config, cycles: int) -> int:
    """What ``cycles`` of a machine are, in 1e-18 T·H, rounded up."""
    return -(-2 * config.rows * config.cols * cycles * TH // _OPERATIONS)


def price_of(work: int, price: int, quote: int) -> int:
    """HAI-wei for ``work`` at ``price`` per T·H, at most the quote; the rest is refunded."""
    return min(quote, work * price // TH)


@dataclasses.dataclass(frozen=True)
class Usage:
    """What one run used.

    ``counters`` are the device's own, and ``predicted`` tells that those of time are the cycle
    model's, for a device without a clock. ``seconds`` are by the supplier's stopwatch, and
    ``elapsed`` proves a part of them.
    """

    config: str
    digest: bytes
    clock_hz: int
    cycles: int
    counters: dict[str, int]
    predicted: bool
    read_bytes: int
    written_bytes: int
    work: int
    seconds: float = 0.0
    elapsed: vdf.Elapsed | None = None

    @property
    def causes(self) -> dict[str, int]:
        """Cycles of the matrix unit by what they were used for or lost to."""
        return {cause.name: self.counters.get(cause.name, 0) for cause in MATRIX_CAUSES}

    @property
    def document(self) -> bytes:
        """The canonical form (dag-cbor)."""
        fields = dataclasses.asdict(self) | {
            "elapsed": None if self.elapsed is None else self.elapsed.entry()
        }
        return encode(fields)

    @property
    def root(self) -> bytes:
        """What a supplier's result names: CRH of the document."""
        return crh(self.document)

    def price(self, price: int, quote: int) -> int:
        """As :func:`price_of`."""
        return price_of(self.work, price, quote)


def usage_of(
    config: Config, run: Run, *, seconds: float = 0.0, elapsed: vdf.Elapsed | None = None
) -> Usage:
    """What ``run`` used; a run without cycles must have been given the cycle model's before.

    Raises
    ------
    HpuError
        When the run has no cycles.
    """
    if run.cycles is None:
        raise HpuError("a run must have cycles to be priced; add the cycle model's prediction.")
    beats = config.axi_bytes
    return Usage(
        config=config.name,
        digest=config.digest(),
        clock_hz=config.clock_hz,
        cycles=int(run.cycles),
        counters={name: int(count) for name, count in run.counters.items()},
        predicted=run.predicted,
        read_bytes=int(run.counters.get("READ_BEATS", 0)) * beats,
        written_bytes=int(run.counters.get("WRITE_BEATS", 0)) * beats,
        work=work(config, int(run.cycles)),
        seconds=float(seconds),
        elapsed=elapsed,
    )


def read_usage(document: bytes) -> Usage:
    """The usage that a document holds.

    Raises
    ------
    HpuError
        When it is no such document.
    """
    fields: Any = decode(document)
    try:
        elapsed = fields.pop("elapsed")
        known = {field.name for field in dataclasses.fields(Usage)}
        if set(fields) != known - {"elapsed"}:
            raise ValueError(f"its fields are {', '.join(sorted(fields))}")
        proof = None if elapsed is None else vdf.Elapsed.of_entry(elapsed)
        return Usage(**fields, elapsed=proof)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise HpuError(f"the usage document cannot be read: {error}.") from None


def check_usage(
    usage: Usage, root: bytes, config: Config, predicted_cycles: int, seed: bytes | None = None
) -> str:
    """What is wrong with a usage that a supplier claims; empty when nothing is.

    Parameters
    ----------
    root:
        What the supplier committed to.
    predicted_cycles:
        Cycles of the same program by the cycle model.
    seed:
        What the proof of elapsed time must start from; ``None`` when none is asked for.
    """
    if usage.root != root:
        return "the document is not what was committed to"
    if usage.digest != config.digest():
        return f"it is of configuration {usage.config!r}, not of {config.name!r}"
    if abs(usage.cycles - predicted_cycles) > TOLERANCE * predicted_cycles:
        return f"{usage.cycles:,} cycles are not within 3 % of the {predicted_cycles:,} predicted"
    if usage.work != work(config, usage.cycles):
        return f"{usage.work:,} is not the work of {usage.cycles:,} cycles"
    counted = sum(usage.causes.values()) - usage.causes["MATRIX_HOST"]
    if counted != usage.cycles:
        return f"the device's counters give {counted:,} cycles, not the {usage.cycles:,} claimed"
    return _check_time(usage, seed)


def _check_time(usage: Usage, seed: bytes | None) -> str:
    if seed is None:
        return ""
    if usage.elapsed is None or usage.elapsed.seed != seed:
        return "it has no proof of elapsed time of this order"
    if not vdf.verify(usage.elapsed):
        return "the proof of elapsed time is wrong"
    if usage.elapsed.seconds > usage.seconds:
        return f"more time is proven than the {usage.seconds:.3f} s claimed"
    return ""
