"""ONNX's own backend tests through ``hpu.backend``, against a list of tests that do not pass.

``python -m hpu.runtime.onnx_suite`` runs them and prints a summary; status 1 when a test that is
not on the list fails, or one that is on the list passes. Real networks, which would be downloaded,
are left out.
"""

import dataclasses
import fnmatch
import sys
import unittest
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

__all__ = ["EXCLUDED", "Outcome", "excluded", "main", "run_suite"]

#: Lines of a test's name, a tab and the reason why it does not pass.
EXCLUDED = Path(__file__).with_name("onnx_suite_excluded.txt")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Names of the tests that passed, and for the others the last line of what went wrong."""

    passed: tuple[str, ...]
    failed: dict[str, str]

    @property
    def total(self) -> int:
        """Tests run."""
        return len(self.passed) + len(self.failed)


def excluded() -> dict[str, str]:
    """The tests that are known not to pass, with the reason of each."""
    lines = EXCLUDED.read_text(encoding="utf-8").splitlines()
    entries = [line.split("\t") for line in lines if line and not line.startswith("#")]
    return dict((name, reason) for name, reason in entries)


def run_suite(pattern: str = "*") -> Outcome:
    """Run the tests whose names match ``pattern``, as ``test_add`` or ``test_conv*``."""
    result = unittest.TestResult()
    chosen = [test for test in _tests() if fnmatch.fnmatchcase(_name(test), pattern)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for test in chosen:
            test.run(result)
    failed = {_name(test): _last(text) for test, text in (*result.failures, *result.errors)}
    failed |= {_name(test): reason for test, reason in result.skipped}
    return Outcome(
        tuple(_name(test) for test in chosen if _name(test) not in failed),
        dict(sorted(failed.items())),
    )


def _tests() -> list[unittest.TestCase]:
    """Every test for the processor, in the order of their names."""
    from onnx.backend.test import BackendTest

    from hpu.backend import HpuBackend, HpuBackendRep

    class OnHpu(HpuBackend):
        """The tests are single nodes of few bytes, which the host would run faster."""

        @classmethod
        def prepare(cls, model: Any, device: str = "CPU", **kwargs: Any) -> HpuBackendRep:
            return super().prepare(model, device, force_hpu=True, **kwargs)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kinds = BackendTest(OnHpu, __name__).test_cases
    loader = unittest.TestLoader()
    tests = [
        test
        for kind, case in kinds.items()
        if "RealModel" not in kind
        for test in loader.loadTestsFromTestCase(case)
        if isinstance(test, unittest.TestCase) and test.id().endswith("_cpu")
    ]
    return sorted(tests, key=_name)


def _name(test: unittest.TestCase) -> str:
    return test.id().rpartition(".")[2].removesuffix("_cpu")


def _last(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip() if lines else ""


def _is_certain(reason: str) -> bool:
    """Whether the reason holds on every computer."""
    return not reason.startswith("sometimes")


def main(arguments: list[str]) -> int:
    """Run the suite, or the tests that match a pattern, and print the summary."""
    outcome = run_suite(*arguments[:1])
    known = excluded()
    new = {name: text for name, text in outcome.failed.items() if name not in known}
    gone = [name for name in outcome.passed if name in known and _is_certain(known[name])]
    reasons = Counter(known[name] for name in outcome.failed if name in known)
    print(f"{len(outcome.passed)} of {outcome.total} pass")
    for reason, count in reasons.most_common():
        print(f"{count:5}  excluded: {reason}")
    for name, text in new.items():
        print(f"{name} fails: {text}")
    for name in gone:
        print(f"{name} passes but is on the list of those that do not")
    return int(bool(new or gone))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
