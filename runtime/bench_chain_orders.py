"""The figure of orders through suppliers that fail."""

import tempfile
from pathlib import Path

from hpu.runtime.bench_figures import Found, figure
from hpu.runtime.progress import Progress

__all__: list[str] = []

_ORDERS = 1000
#: Journals are flushed to the disk at every step; in memory that costs nothing.
_MEMORY = Path("/dev/shm")


@figure(
    "faulty_orders",
    unit="orders",
    bar="1,000 orders through 10 suppliers with 10 % faults: all settle or refund, "
    "the sum of balances is exact",
    reached=lambda ended: ended == _ORDERS,
)
def faulty_orders() -> Found:
    """Orders that ended, of 1,000 with faults, with every HAI-wei accounted for."""
    from hpu.chain_integration.faults import Experiment, Fault

    place = _MEMORY if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=place) as folder, Progress() as progress:
        experiment = Experiment(
            Path(folder),
            orders=_ORDERS,
            progress=lambda done, total: progress("orders", done, total),
        )
        outcome = experiment.run()
    assert outcome.missing == 0, f"{outcome.missing} HAI-wei are missing"
    assert outcome.locked == 0, f"{outcome.locked} HAI-wei are locked for good"
    ends = ", ".join(f"{count} {state}" for state, count in outcome.ends.most_common())
    faults = "; ".join(
        f"{fault.value}: "
        + (", ".join(f"{n} {end}" for end, n in outcome.by_fault[fault].most_common()) or "none")
        for fault in Fault
    )
    return Found(
        outcome.orders - outcome.stuck,
        f"{ends} in {outcome.seconds / 3600:.0f} hours of the chain's clock; {faults}; "
        "the balances add up to the supply, and nothing is locked",
    )
