"""Feeding onnxruntime element types that numpy does not have: bfloat16 and the 8-bit floats."""

import ctypes
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import helper

if TYPE_CHECKING:
    import onnxruntime

__all__ = ["run_session"]

#: Beginnings of the names of such types, as onnxruntime writes them.
_SPECIAL = ("tensor(bfloat16", "tensor(float8")


def run_session(
    session: "onnxruntime.InferenceSession", outputs: Sequence[str], feeds: Mapping[str, Any]
) -> list[Any]:
    """The outputs by name, in order; special element types are those of ``ml_dtypes``."""
    ends = (*session.get_inputs(), *session.get_outputs())
    if not any(end.type.startswith(_SPECIAL) for end in ends):
        return session.run(list(outputs), dict(feeds))
    if not all(end.type.startswith("tensor(") and "string" not in end.type for end in ends):
        return session.run(list(outputs), dict(feeds))
    values = {name: _to_value(np.asarray(value)) for name, value in feeds.items()}
    return [_to_array(value) for value in session.run_with_ort_values(list(outputs), values)]


def _to_value(array: np.ndarray) -> "onnxruntime.OrtValue":
    from onnxruntime import OrtValue

    if array.dtype.isbuiltin == 1:
        return OrtValue.ortvalue_from_numpy(array)
    carrier = np.dtype(f"uint{8 * array.dtype.itemsize}")
    kind = helper.np_dtype_to_tensor_dtype(array.dtype)
    return OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(carrier), kind)


def _to_array(value: "onnxruntime.OrtValue") -> np.ndarray:
    if not value.data_type().startswith(_SPECIAL):
        return value.numpy()
    dtype = helper.tensor_dtype_to_np_dtype(value.element_type())
    data = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
    return np.frombuffer(data, dtype).reshape(value.shape())
