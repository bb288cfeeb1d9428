"""Errors about the user's model; each message is one sentence: thing, reason, way out."""

from hpu.runtime.errors import HpuError

__all__ = ["ModelError", "UnsupportedError"]


class ModelError(HpuError):
    """A model that is damaged or contradicts itself."""


class UnsupportedError(ModelError):
    """A sound model with an operator, type or shape that the HPU does not run.

    Attributes
    ----------
    op_type, node:
        The ONNX operator and the node's name; empty when the reason concerns the whole model.
    reason:
        Why, without the operator's name.
    value:
        The model's input or output that the reason concerns, where it is one.
    """

    def __init__(self, op_type: str, node: str, reason: str, value: str = "") -> None:
        self.op_type, self.node, self.reason, self.value = op_type, node, reason, value
        super().__init__(f"{op_type} node {node!r}: {reason}" if op_type else reason)
