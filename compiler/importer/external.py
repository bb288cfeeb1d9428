"""Constants in files beside the model: found, checked and mapped, never copied into the model.

ONNX's tools serialise a model before they look at it, and that ends at 2 GiB. So large constants
are set aside while a model is checked, and those in other files stay there until somebody computes
with them; then the pages that are touched are read.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import ExternalDataInfo

from hpu.compiler.errors import ModelError
from hpu.compiler.importer.sound import wanted_bytes

__all__ = ["array_of", "is_external", "open_in_place", "set_aside"]

#: Constants of more bytes are set aside.
_LARGE = 1 << 20


def is_external(tensor: onnx.TensorProto) -> bool:
    """Whether the data are in another file."""
    return tensor.data_location == TensorProto.EXTERNAL


def open_in_place(path: Path) -> onnx.ModelProto:
    """The model in ``path``; constants in other files stay there, under their absolute names.

    Raises
    ------
    ModelError
        When it is no model, or the data of a constant are not where they should be.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError) as error:
        raise ModelError(f"{path} is not an ONNX file, or is damaged or cut short") from error
    for tensor in filter(is_external, model.graph.initializer):
        _locate(tensor, path.absolute().parent)
    return model


def _locate(tensor: onnx.TensorProto, folder: Path) -> None:
    info = ExternalDataInfo(tensor)
    file = (folder / info.location).resolve()
    if not file.is_relative_to(folder.resolve()):
        raise ModelError(
            f"the constant {tensor.name!r} is in {info.location}, outside the model's folder; "
            "put its data beside the model"
        )
    if not file.is_file():
        raise ModelError(f"the constant {tensor.name!r} is in {file}, which does not exist")
    start, size, wanted = int(info.offset or 0), file.stat().st_size, wanted_bytes(tensor)
    if start + wanted > size or int(info.length or wanted) != wanted:
        raise ModelError(
            f"the constant {tensor.name!r} takes {wanted:,} bytes from {start:,} of {file}, which "
            f"has {size:,}; export the model again"
        )
    for entry in tensor.external_data:
        if entry.key == "location":
            entry.value = str(file)


def array_of(tensor: onnx.TensorProto) -> np.ndarray:
    """The numbers of a constant; those in another file are mapped, not read.

    Raises
    ------
    ValueError
        When they are not those of its shape.
    """
    if not is_external(tensor):
        return numpy_helper.to_array(tensor)
    info, size = ExternalDataInfo(tensor), wanted_bytes(tensor)
    start, shape = int(info.offset or 0), tuple(tensor.dims)
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    if size and size == math.prod(shape) * dtype.itemsize:
        return np.memmap(info.location, dtype, "r", start, shape)
    with open(info.location, "rb") as file:  # empty, or several numbers in a byte
        file.seek(start)
        data = file.read(size)
    return numpy_helper.to_array(
        TensorProto(data_type=tensor.data_type, dims=shape, raw_data=data, name=tensor.name)
    )


@contextlib.contextmanager
def set_aside(model: onnx.ModelProto) -> Iterator[Callable[[onnx.GraphProto], None]]:
    """Large constants of ``model`` as inputs of it, within the context.

    Gives what puts them back into a copy of the graph.
    """
    graph = model.graph
    large = [tensor for tensor in graph.initializer if _is_large(tensor)]
    small = [tensor for tensor in graph.initializer if not _is_large(tensor)]
    listed = {value.name for value in graph.input}
    added = [tensor for tensor in large if tensor.name not in listed]
    count = len(graph.input)

    def put_back(into: onnx.GraphProto) -> None:
        del into.input[count:]
        into.initializer.extend(large)

    if large:
        del graph.initializer[:]
        graph.initializer.extend(small)
        graph.input.extend(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
            for tensor in added
        )
    try:
        yield put_back
    finally:
        put_back(graph)


def _is_large(tensor: onnx.TensorProto) -> bool:
    return is_external(tensor) or len(tensor.raw_data) > _LARGE
