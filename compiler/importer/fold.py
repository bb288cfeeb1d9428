"""Nodes that read only constants are run once, by onnxruntime."""

import itertools
from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

from hpu.compiler.errors import ModelError
from hpu.compiler.importer.load import first_line
from hpu.compiler.importer.node import Node
from hpu.compiler.importer.values import Constant, QuantConstant

__all__ = ["OPSET", "fold", "run_model", "small_model"]

#: Opset of the small models made here.
OPSET = 21


def fold(node: Node) -> tuple[Constant, ...]:
    """The outputs of a node whose inputs are all constants, up to the first one left out.

    Raises
    ------
    ModelError
        When onnxruntime cannot run it.
    """
    arrays = {}
    for name, value in zip(node.proto.input, node.inputs, strict=True):
        if isinstance(value, QuantConstant):
            arrays[name] = value.real
        elif isinstance(value, Constant):
            arrays[name] = value.array
    outputs = list(itertools.takewhile(bool, node.proto.output))
    model = small_model([node.proto], {}, arrays, outputs, node.opset)
    try:
        return tuple(Constant(array) for array in run_model(model, {}))
    except Exception as error:  # onnxruntime's errors have no common base
        text = first_line(error)
        raise ModelError(f"{node.op_type} node {node.name!r} cannot be run: {text}") from None


def small_model(
    nodes: list[onnx.NodeProto],
    inputs: Mapping[str, np.ndarray],
    constants: Mapping[str, np.ndarray],
    outputs: list[str],
    opset: int = OPSET,
) -> onnx.ModelProto:
    """A model of a few nodes; ``inputs`` gives an example (type and shape) of each input."""
    graph = helper.make_graph(
        nodes,
        "small",
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(value.dtype), value.shape
            )
            for name, value in inputs.items()
        ],
        [onnx.ValueInfoProto(name=name) for name in outputs],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    domains = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=domains, ir_version=10)


def run_model(model: onnx.ModelProto, feeds: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Every output, by onnxruntime's CPU kernels without graph optimisation."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return session.run(None, dict(feeds))
