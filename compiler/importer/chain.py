"""Functions of one tensor: nodes between a DequantizeLinear and a QuantizeLinear, and their table.

The table is what onnxruntime gives for every byte, running the user's own nodes once on all 256.
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import helper

from hpu.compiler import ir
from hpu.compiler.importer.fold import run_model, small_model
from hpu.compiler.importer.values import OnnxQuant

__all__ = ["Chain", "clip_bounds", "evaluate"]


@dataclasses.dataclass(frozen=True)
class Chain:
    """Nodes that compute a function of ``x``, quantised as ``quant``; ``last`` is its result.

    Each node's result is named after the value of the model that it is, so that chains of the
    same tensor can be joined: what both have is there once.
    """

    x: ir.Tensor
    quant: OnnxQuant
    nodes: tuple[onnx.NodeProto, ...] = ()
    constants: tuple[tuple[str, np.ndarray], ...] = ()
    last: str = "real"

    def then(self, node: onnx.NodeProto, inputs: Mapping[int, "Chain | np.ndarray"]) -> "Chain":
        """``node`` on chains of the same tensor and constants, by their places among its inputs."""
        proto = onnx.NodeProto()
        proto.CopyFrom(node)
        out = f"v {node.output[0]}"
        del proto.output[1:]
        proto.output[0] = out
        nodes, constants = list(self.nodes), dict(self.constants)
        for k, value in inputs.items():
            if isinstance(value, Chain):
                made = {each.output[0] for each in nodes}
                nodes += [each for each in value.nodes if each.output[0] not in made]
                constants |= dict(value.constants)
                proto.input[k] = value.last
            else:
                proto.input[k] = f"{out}/{k}"
                constants[f"{out}/{k}"] = value
        if out not in {each.output[0] for each in nodes}:
            nodes.append(proto)
        return Chain(self.x, self.quant, tuple(nodes), tuple(constants.items()), out)

    def clipped(self, low: float, high: float) -> "Chain":
        """The chain with a clip to real bounds."""
        proto = helper.make_node("Clip", ["x", "low", "high"], [f"{self.last}/clipped"])
        return self.then(
            proto, {0: self, 1: np.asarray(low, np.float32), 2: np.asarray(high, np.float32)}
        )

    def model(self, quant: OnnxQuant) -> onnx.ModelProto:
        """A model from device bytes [n, 1 or channels] to device bytes of ``quant``.

        A uint8 tensor's top bit is flipped at either end, by its zero point.
        """
        before, after = self.quant.device(), quant.device()
        nodes = [
            helper.make_node("DequantizeLinear", ["bytes", "x_scale", "x_zero"], ["real"]),
            *self.nodes,
            helper.make_node("QuantizeLinear", [self.last, "y_scale", "y_zero"], ["result"]),
        ]
        constants: dict[str, np.ndarray] = {
            "x_scale": np.asarray(before.scale, np.float32),
            "x_zero": np.asarray(before.zero, np.int8),
            "y_scale": np.asarray(after.scale, np.float32),
            "y_zero": np.asarray(after.zero, np.int8),
            **dict(self.constants),
        }
        inputs = {"bytes": np.zeros((256, self.channels), np.int8)}
        return small_model(nodes, inputs, constants, ["result"])

    @property
    def channels(self) -> int:
        """Columns of the table: the channels when a constant differs between them, else 1."""
        vectors = [array.size for _, array in self.constants if array.ndim]
        return max(vectors, default=1)


def evaluate(model: onnx.ModelProto) -> np.ndarray:
    """The table of a chain's model: int8 [256] or [256, channels], indexed by the byte."""
    columns = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    column = np.arange(256, dtype=np.uint8).view(np.int8)
    feed = np.repeat(column[:, None], columns, axis=1)
    table = run_model(model, {"bytes": feed})[0]
    return table[:, 0] if columns == 1 else table


def clip_bounds(table: np.ndarray) -> tuple[int, int] | None:
    """The bounds when ``table`` is nothing but a clip."""
    if table.ndim != 1:
        return None
    low, high = int(table.min()), int(table.max())
    bytes_ = np.arange(256, dtype=np.uint8).view(np.int8)
    return (low, high) if np.array_equal(table, np.clip(bytes_, low, high)) else None
