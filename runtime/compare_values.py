"""Values inside a model: every one that is asked for, by onnxruntime, and in the HPU's memory."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime

from hpu.compiler import ir
from hpu.compiler.errors import UnsupportedError
from hpu.compiler.importer.load import first_line
from hpu.compiler.importer.walk import import_graph
from hpu.compiler.submodel import stamped_down
from hpu.runtime.errors import HpuError
from hpu.runtime.program import Port

__all__ = ["Tapped", "aliases", "views"]


class Tapped:
    """A model in onnxruntime, operator by operator without optimisation, with inner values given.

    Parameters
    ----------
    model:
        The model.
    names:
        Values to give; those that the model does not have are left out.

    Raises
    ------
    HpuError
        When onnxruntime cannot run the model.
    """

    def __init__(self, model: onnx.ModelProto, names: Iterable[str]):
        made = {name for node in model.graph.node for name in node.output}
        self.names = [name for name in dict.fromkeys(names) if name in made]
        tapped = onnx.ModelProto()
        tapped.CopyFrom(model)
        del tapped.graph.output[:]
        tapped.graph.output.extend(onnx.ValueInfoProto(name=name) for name in self.names)
        self._session = _session(tapped)

    def run(self, feeds: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """The values by name; of ``feeds`` those that the model takes are used."""
        if not self.names:
            return {}
        own = {entry.name: feeds[entry.name] for entry in self._session.get_inputs()}
        try:
            return dict(zip(self.names, self._session.run(self.names, own), strict=True))
        except Exception as error:  # onnxruntime's errors have no common base
            raise HpuError(f"onnxruntime stopped: {first_line(error)}") from None


def _session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    error: Exception | None = None
    for change in (lambda made: made, stamped_down):
        try:
            return onnxruntime.InferenceSession(
                change(model).SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as raised:  # onnxruntime's errors have no common base
            error = error or raised
    assert error is not None
    raise HpuError(f"onnxruntime cannot run it: {first_line(error)}") from None


def views(model: onnx.ModelProto, graph: ir.Graph, names: Sequence[str]) -> dict[str, Port]:
    """For every device tensor of ``names`` that is a value of ``model``: how the value lies in it.

    Parameters
    ----------
    model:
        The model that ``graph`` was imported from.
    """
    made = {name for node in model.graph.node for name in node.output}
    wanted = [name for name in names if name in made]
    while wanted:
        try:
            hosts = import_graph(model, wanted).outputs
        except UnsupportedError as error:
            if error.value not in wanted:
                return {}
            wanted.remove(error.value)
            continue
        return {
            host.name: Port.of(host, 0, graph.tensors[host.tensor].shape)
            for host in hosts
            if host.tensor == host.name and host.dtype != "float32"
        }
    return {}


def aliases(model: onnx.ModelProto) -> dict[str, set[str]]:
    """For every value the names that it has before and after quantising and dequantising."""
    groups: dict[str, set[str]] = {}
    for node in model.graph.node:
        if node.op_type in ("QuantizeLinear", "DequantizeLinear", "Identity"):
            one, other = (
                groups.setdefault(name, {name}) for name in (node.input[0], node.output[0])
            )
            one |= other
            for name in other:
                groups[name] = one
    return groups
