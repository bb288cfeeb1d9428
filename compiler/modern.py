"""Float models in an opset in which onnxruntime quantises them."""

import onnx

from hpu.compiler.errors import ModelError
from hpu.compiler.importer.load import first_line

__all__ = ["modern"]

#: The first opset with scales per channel, and the last one that onnxruntime takes.
_FIRST, _LAST = 13, 26


def modern(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model in an opset from 13 to 26; itself when it has one.

    Raises
    ------
    ModelError
        When it cannot be brought there.
    """
    opset = _version(model)
    if opset > _LAST:
        return _stamped(model)
    if opset >= _FIRST:
        return model
    try:
        return onnx.version_converter.convert_version(model, _FIRST)
    except (RuntimeError, ValueError) as error:
        raise ModelError(
            f"the model's opset {opset} cannot be converted to {_FIRST}: {first_line(error)}; "
            f"export it again with opset {_FIRST} or later"
        ) from None


def _version(model: onnx.ModelProto) -> int:
    versions = (entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    return max(versions, default=0)


def _stamped(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model as one of the last opset, where its operators were there already.

    What later versions of them add is types, which are no float models.
    """
    for node in model.graph.node:
        own = node.domain in ("", "ai.onnx")
        if own and not onnx.defs.has(node.op_type, max_inclusive_version=_LAST):
            raise ModelError(
                f"{node.op_type} node {node.name or node.output[0]!r} is an operator of an opset "
                f"after {_LAST}, in which models are not quantised; quantise it first"
            )
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for entry in copy.opset_import:
        if entry.domain in ("", "ai.onnx"):
            entry.version = _LAST
    return copy
