"""Reading and checking a model file, and binding its batch dimension."""

import os

import onnx
from google.protobuf.message import DecodeError

from hpu.compiler.errors import ModelError, UnsupportedError

__all__ = ["first_line", "load_model", "read_model"]

#: Oldest opset whose quantisation operators have today's meaning.
MIN_OPSET = 10
DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft")


def load_model(
    source: str | os.PathLike[str] | bytes | onnx.ModelProto, batch: int | None = None
) -> onnx.ModelProto:
    """A checked copy of the model with every shape known.

    Parameters
    ----------
    source:
        A file or a model.
    batch:
        Value of a symbolic first dimension of the inputs; 1 when not given.

    Raises
    ------
    ModelError
        When the file cannot be read, is not a sound ONNX model, or has a dimension that is not
        known.
    """
    if batch is not None and batch < 1:
        raise ModelError(f"batch must be 1 or more, not {batch}")
    model = read_model(source)
    _check(model)
    _bind_batch(model, batch)
    return _infer(model)


def read_model(source: str | os.PathLike[str] | bytes | onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model, or the model in a file or in its bytes; not yet checked.

    Raises
    ------
    ModelError
        When the file cannot be read or is no ONNX model.
    """
    if isinstance(source, onnx.ModelProto):
        copy = onnx.ModelProto()
        copy.CopyFrom(source)
        return copy
    name = "the model" if isinstance(source, bytes) else source
    try:
        model = onnx.load_from_string(source) if isinstance(source, bytes) else onnx.load(source)
    except FileNotFoundError as error:
        raise ModelError(f"{error.filename or name} does not exist") from None
    except (DecodeError, UnicodeDecodeError):
        raise ModelError(f"{name} is not an ONNX file, or is damaged or cut short") from None
    except (OSError, onnx.checker.ValidationError) as error:
        raise ModelError(f"{name} cannot be read: {first_line(error)}") from None
    if not model.graph.node and not model.graph.output:
        raise ModelError(f"{name} is not an ONNX file, or is damaged or cut short")
    return model


def _check(model: onnx.ModelProto) -> None:
    versions = {entry.domain or "": entry.version for entry in model.opset_import}
    opset = versions.get("", versions.get("ai.onnx"))
    if opset is None:
        raise ModelError("the model names no opset of the domain ai.onnx; export it again with one")
    if opset < MIN_OPSET:
        raise ModelError(f"the model's opset is {opset}; convert it to opset {MIN_OPSET} or later")
    if opset > onnx.defs.onnx_opset_version():
        newest = onnx.defs.onnx_opset_version()
        raise ModelError(f"the model's opset is {opset}; export it with opset {newest} or earlier")
    for node in model.graph.node:
        if node.domain not in DOMAINS:
            raise UnsupportedError(
                node.op_type, node.name, f"the domain {node.domain!r} is unknown"
            )
    for value in model.graph.output:
        value.type.tensor_type.shape.SetInParent()  # wanted by the checker; inferred again later
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise ModelError(f"the model is not sound ONNX: {first_line(error)}") from None


def first_line(error: Exception) -> str:
    """The first line of an error's text, without a full stop at its end."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0].rstrip(".") if lines else type(error).__name__


def _bind_batch(model: onnx.ModelProto, batch: int | None) -> None:
    constants = {tensor.name for tensor in model.graph.initializer}
    for value in model.graph.input:
        if value.name not in constants:
            _bind_input(value, batch)
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")  # inferred again from the inputs
    del model.graph.value_info[:]


def _bind_input(value: onnx.ValueInfoProto, batch: int | None) -> None:
    if not value.type.HasField("tensor_type") or not value.type.tensor_type.HasField("shape"):
        raise ModelError(f"input {value.name!r} has no shape; export the model with one")
    dims = value.type.tensor_type.shape.dim
    for k, dim in enumerate(dims):
        if dim.HasField("dim_value") and dim.dim_value > 0:
            continue
        if k > 0:
            name = dim.dim_param or "?"
            raise ModelError(
                f"input {value.name!r} has the symbolic dimension {name!r} at place {k}; "
                "export the model with a number there (only the first, the batch, can be bound)"
            )
        dim.dim_value = 1 if batch is None else batch
        return
    if batch is not None and dims and dims[0].dim_value != batch:
        raise ModelError(
            f"input {value.name!r} has the fixed batch {dims[0].dim_value}, so batch must be that, "
            f"not {batch}; export the model with a symbolic first dimension"
        )


def _infer(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return onnx.shape_inference.infer_shapes(
            model, check_type=True, strict_mode=True, data_prop=True
        )
    except (onnx.shape_inference.InferenceError, ValueError) as error:
        raise ModelError(f"the model's shapes or types do not fit: {shape_reason(error)}") from None


def shape_reason(error: Exception) -> str:
    """The sentence of a shape inference error that says what is wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__
