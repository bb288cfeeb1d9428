"""ONNX's quantised operators: the HPU gives the tests' numbers, or says why not."""

import dataclasses
import re

import numpy as np
import pytest

from hpu.runtime import onnx_quantised
from hpu.runtime.onnx_quantised import quantised_tests, run_quantised

pytestmark = pytest.mark.slow  # onnx makes all its tests for it

#: Tests that the HPU does not run, by a pattern of their names, and a pattern of the reason.
REASONS = {
    r"test_(convinteger|matmulinteger|dynamicquantizelinear).*": "the model is not quantised",
    r"test_(de)?quantizelinear": "nothing next to it is computed on the HPU",
    r"test_(de)?quantizelinear_axis": "activations are quantised per tensor",
    r"test_(de)?quantizelinear_blocked.*": "its block_size must be 0, not 2",
    r"test_dequantizelinear_.*(e4m3fn|e5m2|e2m1|int2|int4|int16).*": (
        "the HPU holds int8 and uint8"
    ),
    r"test_quantizelinear_.*int16": "must be int8 or uint8, not u?int16; .* cannot make 16",
    r"test_quantizelinear_(e4m3fn|e5m2)": "activations must be int8 or uint8",
    r"test_quantizelinear_(u?int[24]|float4e2m1)": "activations are quantised per tensor",
}


@pytest.fixture(scope="module")
def reasons():
    return run_quantised()


def test_convolutions_and_products_run_on_the_hpu(reasons):
    """With the bytes that the tests want, which the run has compared."""
    names = [name for name in reasons if name.startswith(("test_qlinearconv", "test_qlinearmat"))]
    assert len(names) == 9
    assert not [name for name in names if reasons[name]]


def test_every_other_one_has_its_reason(reasons):
    rest = {name: reason for name, reason in reasons.items() if reason}
    assert len(rest) + 9 == len(reasons) >= 42
    for name, reason in rest.items():
        (known,) = [text for pattern, text in REASONS.items() if re.fullmatch(pattern, name)]
        assert re.search(known, reason), f"{name}: {reason}"


def test_a_wrong_result_is_an_error(monkeypatch):
    (case,) = [case for case in quantised_tests() if case.name == "test_qlinearconv"]
    inputs, outputs = case.data_sets[0]
    case = dataclasses.replace(case, data_sets=[(inputs, [np.asarray(outputs[0]) ^ 1])])
    monkeypatch.setattr(onnx_quantised, "quantised_tests", lambda: [case])
    with pytest.raises(AssertionError, match="test_qlinearconv"):
        run_quantised()
