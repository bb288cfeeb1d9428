"""Writing an ONNX model node by node."""

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from hpu.compiler import ir

__all__ = ["Writer", "value_name"]

#: Opset of the models written.
OPSET = 21
CUSTOM = {"QGemm", "QLinearAdd", "QLinearAveragePool", "QLinearMul", "QLinearGlobalAveragePool"}
TYPES = {
    "float32": onnx.TensorProto.FLOAT,
    "int8": onnx.TensorProto.INT8,
    "uint8": onnx.TensorProto.UINT8,
}


def value_name(tensor: ir.Tensor) -> str:
    """Name of a device tensor in the written model, where its axes are (n, c, y, x)."""
    return f"{tensor.name}::nchw"


class Writer:
    """Nodes and constants of a model under construction.

    Parameters
    ----------
    dtype:
        Type of every device tensor: int8, or uint8 for the same bytes with their top bit flipped.
    """

    def __init__(self, dtype: str) -> None:
        self.dtype = dtype
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, np.ndarray] = {}
        self.count = 0

    def fresh(self, hint: str) -> str:
        """A new name."""
        self.count += 1
        return f"{hint}::{self.count}"

    def constant(self, array: object) -> str:
        """The name of a new constant."""
        name = self.fresh("constant")
        self.constants[name] = np.asarray(array)
        return name

    def shape(self, sizes: tuple[int, ...]) -> str:
        """The name of a new constant for Reshape."""
        return self.constant(np.array(sizes, np.int64))

    def node(self, op: str, inputs: list[str], out: str | None = None, **attributes: Any) -> str:
        """One more node; gives its output's name."""
        out = out or self.fresh(op)
        domain = "com.microsoft" if op in CUSTOM else ""
        made = helper.make_node(op, inputs, [out], name=f"make {out}", domain=domain, **attributes)
        self.nodes.append(made)
        return out

    def byte(self, value: int) -> np.ndarray:
        """A device byte in the model's type."""
        return (
            np.asarray(value, np.int8)
            if self.dtype == "int8"
            else np.asarray(value + 128, np.uint8)
        )

    def quant(self, quant: ir.Quant) -> list[str]:
        """Scale and zero point as two constants."""
        return [self.constant(np.float32(quant.scale)), self.constant(self.byte(quant.zero))]

    def retype(self, name: str, source: str, target: str, out: str | None = None) -> str:
        """A value of one byte type as the other, its top bit flipped."""
        if source == target:
            return self.node("Identity", [name], out) if out else name
        zeros = {"int8": np.int8(0), "uint8": np.uint8(128)}
        one = self.constant(np.float32(1))
        real = self.node("DequantizeLinear", [name, one, self.constant(zeros[source])])
        return self.node("QuantizeLinear", [real, one, self.constant(zeros[target])], out)

    def model(self, inputs: list[ir.HostTensor], outputs: list[ir.HostTensor]) -> onnx.ModelProto:
        """The finished model."""
        ends = [
            [helper.make_tensor_value_info(h.name, TYPES[h.dtype], h.shape) for h in hosts]
            for hosts in (inputs, outputs)
        ]
        constants = [numpy_helper.from_array(array, name) for name, array in self.constants.items()]
        graph = helper.make_graph(self.nodes, "qoperator", ends[0], ends[1], constants)
        domains = [helper.make_opsetid("", OPSET), helper.make_opsetid("com.microsoft", 1)]
        return helper.make_model(
            graph, opset_imports=domains, ir_version=10, producer_name="hai-hpu"
        )
