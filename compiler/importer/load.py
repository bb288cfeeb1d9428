"""Reading and checking a model file, and binding its symbolic dimensions."""

import math
import os
from collections.abc import Iterator, Mapping
from numbers import Integral

import numpy as np
import onnx
import onnx.version_converter
from google.protobuf.message import DecodeError
from onnx import TensorProto

from hpu.compiler.errors import ModelError, UnsupportedError
from hpu.compiler.importer.batch import change_batch
from hpu.compiler.importer.external import array_of, set_aside
from hpu.compiler.importer.sound import check_initializers, check_operators, put_in_order
from hpu.runtime.program_file import is_program

__all__ = [
    "bind_dims",
    "check_batch",
    "check_opset",
    "first_line",
    "is_symbolic",
    "load_model",
    "model_inputs",
    "read_model",
    "symbolic_batch",
]

#: Oldest opset that the HPU's importer reads; the quantisation operators exist from 10 on.
MIN_OPSET = 7
DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")
#: Largest batch of one program; sessions run more in parts.
MAX_BATCH = 65_536
#: Largest size that the tools for ONNX take.
_MAX_SIZE = (1 << 31) - 1
#: Most bytes that bound dimensions may give an input: as many as a tensor in a file of ONNX has.
_MAX_BYTES = 1 << 31


def load_model(
    source: str | os.PathLike[str] | bytes | onnx.ModelProto,
    batch: int | None = None,
    dims: Mapping[str, int] | None = None,
    *,
    any_opset: bool = False,
) -> onnx.ModelProto:
    """A checked copy of the model with every shape known.

    Parameters
    ----------
    source:
        A file or a model.
    batch:
        Size of the first dimension of the inputs; when not given, 1 where that is symbolic. A
        fixed one is changed (:mod:`~hpu.compiler.importer.batch`).
    dims:
        Values of symbolic dimensions by name; they go before ``batch``.
    any_opset:
        Take also a model in an opset that the importer does not read, for the host to run.

    Raises
    ------
    ModelError
        When the file cannot be read, is not a sound ONNX model, or has a dimension that is not
        known.
    """
    check_batch(batch)
    model = read_model(source)
    if not any_opset:
        check_opset(model)
    _check(model)
    _check_scales(model)
    _bind(model, batch, dims or {})
    return _infer(model)


def check_batch(batch: int | None) -> None:
    """Refuse a batch that is none.

    Raises
    ------
    ModelError
        When it is given and not a whole number, or out of range.
    """
    if batch is not None and not (_is_whole(batch) and 1 <= batch <= MAX_BATCH):
        raise ModelError(f"batch must be a whole number from 1 to {MAX_BATCH}, not {batch!r}")


def read_model(source: str | os.PathLike[str] | bytes | onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model, or the model in a file or in its bytes, its nodes in order.

    Nothing else is checked yet.

    Raises
    ------
    ModelError
        When the file cannot be read or is no ONNX model, or its nodes have no order.
    """
    if isinstance(source, onnx.ModelProto):
        model = onnx.ModelProto()
        model.CopyFrom(source)
    else:
        model = _read(source)
    put_in_order(model.graph)
    return model


def _read(source: str | os.PathLike[str] | bytes) -> onnx.ModelProto:
    if not isinstance(source, str | os.PathLike | bytes):
        raise ModelError(
            f"the model must be a path, bytes or a ModelProto, not {type(source).__name__}"
        )
    name = "the model" if isinstance(source, bytes) else source
    try:
        model = onnx.load_from_string(source) if isinstance(source, bytes) else onnx.load(source)
    except FileNotFoundError as error:
        raise ModelError(f"{error.filename or name} does not exist") from None
    except (DecodeError, UnicodeDecodeError):
        raise _no_model(name) from None
    except OSError as error:
        raise ModelError(f"{name} cannot be read: {error.strerror or first_line(error)}") from None
    except onnx.checker.ValidationError as error:
        raise ModelError(f"{name} cannot be read: {first_line(error)}") from None
    if not (model.graph.node or model.graph.output) or not _all_text(model):
        raise _no_model(name)
    return model


def _no_model(name: str | os.PathLike[str]) -> ModelError:
    if is_program(name):
        return ModelError(f"{name} is a program; give the ONNX model that it was made of")
    if os.fspath(name).endswith(".hpu"):
        return ModelError(f"{name} is not an ONNX file, and no undamaged program file to run")
    return ModelError(f"{name} is not an ONNX file, or is damaged or cut short")


def _all_text(model: onnx.ModelProto) -> bool:
    """Whether every name is text; protobuf gives damaged ones as bytes."""
    graph = model.graph
    names = [entry.name for entry in (*graph.input, *graph.output, *graph.initializer)]
    for node in graph.node:
        names += (node.name, node.op_type, node.domain, *node.input, *node.output)
        names += (attribute.name for attribute in node.attribute)
    return all(isinstance(name, str) for name in names)


def _check_scales(model: onnx.ModelProto) -> None:
    """Refuse constant scales with which no device can quantise."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        for name in _scales(node):
            if name not in constants or constants[name].data_type != TensorProto.FLOAT:
                continue
            scale = _array(constants[name])
            wrong = scale[~(np.isfinite(scale) & (scale > 0))]
            if wrong.size:
                raise ModelError(
                    f"{node.op_type} node {node.name!r} has the scale {wrong[0]:g} in {name!r}; "
                    "scales must be positive and finite"
                )


def _array(tensor: onnx.TensorProto) -> np.ndarray:
    try:
        return array_of(tensor)
    except ValueError as error:
        raise ModelError(f"the constant {tensor.name!r} is damaged: {first_line(error)}") from None


def _scales(node: onnx.NodeProto) -> Iterator[str]:
    """The names of the scales that a quantisation operator reads."""
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        yield from node.input[1:2]


def _check(model: onnx.ModelProto) -> None:
    versions = {entry.domain or "": entry.version for entry in model.opset_import}
    opset = versions.get("", versions.get("ai.onnx"))
    if opset is None and any(node.domain in ("", "ai.onnx") for node in model.graph.node):
        raise ModelError("the model names no opset of the domain ai.onnx; export it again with one")
    opset = MIN_OPSET if opset is None else opset  # no operator means it
    if opset > onnx.defs.onnx_opset_version():
        newest = onnx.defs.onnx_opset_version()
        raise ModelError(f"the model's opset is {opset}; export it with opset {newest} or earlier")
    for node in model.graph.node:
        if node.domain not in DOMAINS:
            raise UnsupportedError(
                node.op_type, node.name, f"the domain {node.domain!r} is unknown"
            )
    check_operators(model)
    check_initializers(model.graph)
    for value in model.graph.output:
        if value.type.WhichOneof("value") in (None, "tensor_type"):
            value.type.tensor_type.shape.SetInParent()  # wanted by the checker
    try:
        with set_aside(model):
            onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise ModelError(f"the model is not sound ONNX: {first_line(error)}") from None


def check_opset(model: onnx.ModelProto) -> None:
    """Refuse a model in an opset in which operators meant something else.

    Raises
    ------
    ModelError
        When it is so old.
    """
    opset = max((e.version for e in model.opset_import if e.domain in ("", "ai.onnx")), default=99)
    if opset < MIN_OPSET:
        raise ModelError(f"the model's opset is {opset}; convert it to opset {MIN_OPSET} or later")


def first_line(error: Exception) -> str:
    """The first line of an error's text, without a full stop at its end."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__


def model_inputs(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    """The inputs that a run is fed: not the initializers that old exporters list there too."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [value for value in model.graph.input if value.name not in constants]


def is_symbolic(dim: onnx.TensorShapeProto.Dimension) -> bool:
    """Whether a dimension has no size; 0 is one, and what is negative stands for none."""
    return not (dim.HasField("dim_value") and dim.dim_value >= 0)


def symbolic_batch(model: onnx.ModelProto) -> bool:
    """Whether an input's first dimension has no size."""
    firsts = [value.type.tensor_type.shape.dim[:1] for value in model_inputs(model)]
    return any(is_symbolic(dim) for (dim,) in filter(len, firsts))


def _bind(model: onnx.ModelProto, batch: int | None, dims: Mapping[str, int]) -> None:
    inputs = model_inputs(model)
    _check_dims(inputs, dims)
    fixed = not symbolic_batch(model)
    sizes = {name: 1 if batch is None else batch for name in _batch_names(inputs)} | dict(dims)
    for value in inputs:
        _bind_input(value, batch, sizes)
    for value in model.graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")  # inferred again from the inputs
    del model.graph.value_info[:]
    if fixed and batch is not None:
        change_batch(model, batch)


def bind_dims(model: onnx.ModelProto, dims: Mapping[str, int]) -> onnx.ModelProto:
    """``model`` itself, with the inputs' symbolic dimensions of these names bound.

    Raises
    ------
    ModelError
        When there is no dimension of a name.
    """
    inputs = model_inputs(model)
    _check_dims(inputs, dims)
    for value in inputs:
        for dim in value.type.tensor_type.shape.dim:
            if is_symbolic(dim) and dim.dim_param in dims:
                dim.dim_value = dims[dim.dim_param]
    return model


def _check_dims(inputs: list[onnx.ValueInfoProto], dims: Mapping[str, int]) -> None:
    """Refuse names that are no dimension, and sizes that are no size."""
    known = {dim.dim_param for value in inputs for dim in value.type.tensor_type.shape.dim}
    known.discard("")
    for name, size in dims.items():
        if name not in known:
            listed = ", ".join(map(repr, sorted(known))) or "none"
            raise ModelError(
                f"no input has a symbolic dimension {name!r}; the symbolic dimensions are: {listed}"
            )
        if not (_is_whole(size) and 1 <= size <= _MAX_SIZE):
            raise ModelError(
                f"dimension {name!r} must be a whole number from 1 to {_MAX_SIZE}, not {size!r}"
            )
    for value in inputs:
        _check_bytes(value, dims)


def _check_bytes(value: onnx.ValueInfoProto, dims: Mapping[str, int]) -> None:
    """Refuse sizes with which an input is larger than ONNX's tensors are."""
    shape = value.type.tensor_type.shape.dim
    given = {d.dim_param: int(dims[d.dim_param]) for d in shape if d.dim_param in dims}
    sizes = [given.get(d.dim_param, 1 if is_symbolic(d) else d.dim_value) for d in shape]
    total = math.prod(sizes) * _item_bytes(value)
    if given and total > _MAX_BYTES:
        named = " and ".join(f"{name!r} = {size}" for name, size in given.items())
        raise ModelError(
            f"with {named} the input {value.name!r} has {total} bytes, and a tensor has at most "
            f"{_MAX_BYTES}; give a smaller size"
        )


def _item_bytes(value: onnx.ValueInfoProto) -> int:
    kind = value.type.tensor_type.elem_type
    known = set(onnx.helper.get_all_tensor_dtypes()) - {onnx.TensorProto.UNDEFINED}
    if kind not in known:  # refused later, by its name
        return 1
    return onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _batch_names(inputs: list[onnx.ValueInfoProto]) -> set[str]:
    firsts = [value.type.tensor_type.shape.dim[:1] for value in inputs]
    return {dim.dim_param for (dim,) in filter(len, firsts) if is_symbolic(dim)} - {""}


def _bind_input(value: onnx.ValueInfoProto, batch: int | None, sizes: Mapping[str, int]) -> None:
    if value.type.WhichOneof("value") not in (None, "tensor_type"):
        return  # sequences and the like, which only the host takes
    if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
        raise ModelError(f"input {value.name!r} has no shape; export the model with one")
    dims = value.type.tensor_type.shape.dim
    for k, dim in enumerate(dims):
        if is_symbolic(dim):
            dim.dim_value = _size(value.name, k, dim.dim_param, batch, sizes)


def _size(name: str, k: int, param: str, batch: int | None, sizes: Mapping[str, int]) -> int:
    if param in sizes:
        return sizes[param]
    if k == 0:
        return 1 if batch is None else batch
    way_out = f"give its size, as --dim {param}=NUMBER" if param else "export the model with a size"
    raise ModelError(
        f"input {name!r} has the symbolic dimension {param or '?'!r} at place {k}; {way_out}"
    )


def _infer(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        with set_aside(model) as put_back:
            inferred = onnx.shape_inference.infer_shapes(
                model, check_type=True, strict_mode=True, data_prop=True
            )
            put_back(inferred.graph)
            return inferred
    except (onnx.shape_inference.InferenceError, ValueError) as error:
        raise ModelError(f"the model's shapes or types do not fit: {shape_reason(error)}") from None


def shape_reason(error: Exception) -> str:
    """The sentence of a shape inference error that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__
