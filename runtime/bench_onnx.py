"""The figure of ONNX's own tests."""

from hpu.runtime.bench_figures import Found, figure

__all__: list[str] = []


@figure(
    "onnx_suite",
    unit="tests",
    bar="at least 1,557 pass, and every other one has a reason on the list",
    reached=lambda passed: passed >= 1557,
)
def onnx_suite() -> Found:
    """Tests of ONNX's backend suite that ``hpu.backend`` passes."""
    from hpu.runtime.onnx_quantised import run_quantised
    from hpu.runtime.onnx_suite import excluded, run_suite

    outcome = run_suite()
    unexplained = sorted(set(outcome.failed) - set(excluded()))
    assert not unexplained, f"{', '.join(unexplained[:5])} failed and are not on the list"
    quantised = run_quantised()
    own = sum(not reason for reason in quantised.values())
    return Found(
        len(outcome.passed),
        f"{len(outcome.passed):,} of {outcome.total:,}; "
        "the others are on a list with a reason each; of the quantised operators' tests the HPU "
        f"itself runs {own} of {len(quantised)}, and says why not the others",
    )
