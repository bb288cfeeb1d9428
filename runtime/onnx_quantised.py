"""ONNX's tests of quantised operators on the HPU itself, their parameters being constants.

In the backend suite weights, scales and zero points are inputs of every run, which no compiled
program takes. Here all but the first input are constants of the test's own numbers, and the node
runs on the HPU with the test's result, or there is a reason why it does not.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.test_case import TestCase
from onnx.backend.test.loader import load_model_tests

from hpu.runtime.session import InferenceSession

__all__ = ["quantised_tests", "run_quantised"]

_PARTS = ("Integer", "QLinear", "uantizeLinear")


def quantised_tests() -> Iterator[TestCase]:
    """The node tests of operators that read or give quantised tensors."""
    for case in load_model_tests(kind="node"):
        types = [node.op_type for node in case.model.graph.node] if case.model else []
        if len(types) == 1 and any(part in types[0] for part in _PARTS):
            yield case


def run_quantised(config: str = "lab-16") -> dict[str, str]:
    """Every test by name, with why the host ran it; nothing for those that the HPU ran.

    Raises
    ------
    AssertionError
        When a result is not the test's.
    """
    return {case.name: _run(case, config) for case in quantised_tests()}


def _run(case: TestCase, config: str) -> str:
    assert case.model is not None and case.data_sets
    arrays, wanted = case.data_sets[0]
    model = _bound(case.model, arrays)
    session = InferenceSession(model, config=config, force_hpu=True)
    reason = next((entry.reason for entry in session.placements if entry.on_host), "")
    if not reason:
        found = session.run(None, {model.graph.input[0].name: arrays[0]})
        for got, want in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(got, want, err_msg=case.name)
    return reason


def _tensor(array: np.ndarray | onnx.TensorProto, name: str) -> onnx.TensorProto:
    """A constant; numbers that numpy has no type for are a tensor already."""
    if isinstance(array, np.ndarray | np.generic):
        return numpy_helper.from_array(np.asarray(array), name)
    tensor = onnx.TensorProto()
    tensor.CopyFrom(array)
    tensor.name = name
    return tensor


def _bound(
    model: onnx.ModelProto, arrays: Sequence[np.ndarray | onnx.TensorProto]
) -> onnx.ModelProto:
    """The model with the numbers of a test for all inputs but the first."""
    bound = onnx.ModelProto()
    bound.CopyFrom(model)
    for value, array in list(zip(model.graph.input, arrays, strict=True))[1:]:
        bound.graph.initializer.append(_tensor(array, value.name))
    del bound.graph.input[1:]
    return bound
