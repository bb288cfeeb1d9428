"""One ONNX node with its attributes and the values that it reads."""

from typing import Any, NoReturn

import numpy as np
import onnx

from hpu.compiler.errors import ModelError, UnsupportedError
from hpu.compiler.importer.values import Constant, QuantConstant, Value

__all__ = ["Node"]


class Node:
    """A node as the operators' importers see it.

    Parameters
    ----------
    proto:
        The node.
    inputs:
        What is known of each input; None for an input left out.
    rank:
        Its place in the graph, for a name when it has none.
    opset:
        Version of ai.onnx that it means.
    """

    def __init__(
        self, proto: onnx.NodeProto, inputs: list[Value | None], rank: int, opset: int
    ) -> None:
        self.proto = proto
        self.opset = opset
        self.inputs = inputs
        self.op_type = proto.op_type
        self.name = proto.name or f"{proto.op_type}_{rank}"
        self.attributes: dict[str, Any] = {
            entry.name: onnx.helper.get_attribute_value(entry) for entry in proto.attribute
        }

    @property
    def output(self) -> str:
        """Name of the first output."""
        return self.proto.output[0]

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute's value, or ``default``."""
        return self.attributes.get(name, default)

    def text(self, name: str, default: str) -> str:
        """A string attribute."""
        value = self.attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else value

    def input(self, k: int) -> Value | None:
        """Input ``k``, or None where it is left out."""
        return self.inputs[k] if k < len(self.inputs) else None

    def constant(self, k: int, what: str) -> np.ndarray:
        """Input ``k`` as an array.

        Raises
        ------
        UnsupportedError
            When it is not a constant; ``what`` names it.
        """
        value = self.input(k)
        if isinstance(value, Constant):
            return value.array
        if isinstance(value, QuantConstant):
            return value.real
        self.refuse(f"its {what} must be a constant")

    def given(self, k: int) -> Value:
        """Input ``k``, which must be there."""
        value = self.input(k)
        if value is None:
            raise ModelError(f"{self.op_type} node {self.name!r} lacks its input {k}")
        return value

    def refuse(self, reason: str) -> NoReturn:
        """Raise the UnsupportedError of this node."""
        raise UnsupportedError(self.op_type, self.name, reason)
