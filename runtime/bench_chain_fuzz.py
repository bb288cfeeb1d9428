"""The figure of the contracts' stateful fuzzing."""

from hpu.runtime.bench_figures import Found, Row, figure

__all__ = ["contract_fuzz"]

_STEPS = 20_000
_SEED = 4


@figure(
    "contract_fuzz",
    unit="steps",
    bar=f"at least {_STEPS:,} steps, no violation",
    reached=lambda steps: steps >= _STEPS,
)
def contract_fuzz() -> Found:
    """Random calls of all contracts by nine accounts; a violation is an AssertionError."""
    # Hypothesis, web3 and the EVM are loaded only when this figure is asked for.
    from hpu.chain_integration.fuzz.machine import fuzz, ground

    tally = fuzz(steps=_STEPS, seed_=_SEED)
    known = ground()
    taken, refused = sum(known.done.values()), sum(known.refused.values())
    ends = ", ".join(f"{count:,} {name.lower()}" for name, count in sorted(tally.ends.items()))
    detail = (
        f"{tally.runs} runs from seed {_SEED}: {taken:,} transactions taken, {refused:,} refused; "
        f"{tally.orders:,} orders ended ({ends}), {known.seen['convictions']} by a proven lie; the "
        "supply exact, no order stuck, all stakes taken out at each run's end"
    )
    rows: list[Row] = [{"call": name, "taken": count} for name, count in sorted(known.done.items())]
    return Found(tally.steps, detail, rows=rows)
