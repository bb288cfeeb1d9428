"""From a model to a package: which parts the HPU runs, compiled, and the rest for the host."""

from collections.abc import Sequence

import onnx
from onnx import TensorProto, helper

from hpu.compiler import ir
from hpu.compiler.backend import compile_graph
from hpu.compiler.cost import Cost, cost_of
from hpu.compiler.importer.external import is_external
from hpu.compiler.importer.load import is_symbolic, model_inputs
from hpu.compiler.partition import HostPart, HpuPart, Partition, partition
from hpu.hw.config import Config
from hpu.runtime.interface import tensor_text
from hpu.runtime.package import HostModel, Package, Part, Value
from hpu.runtime.program import Program

__all__ = ["cut_for", "declared", "host_model", "outputs_of", "plan", "type_text"]


def plan(
    bound: onnx.ModelProto, config: Config, held: str = "", force_hpu: bool = False
) -> Package:
    """The package of a model whose shapes are known; nodes without a name get one.

    ``held``, when not empty, is the reason why all of it runs on the host. With ``force_hpu`` the
    HPU runs also regions that do not pay.
    """
    cut = cut_for(bound, config, held, force_hpu)
    return Package(
        config_name=config.name,
        config_digest=config.digest(),
        inputs=tuple(declared(value) for value in model_inputs(bound)),
        outputs=outputs_of(bound, cut),
        parts=tuple(_part(part) for part in cut.parts),
        placements=cut.placements,
    )


def cut_for(
    bound: onnx.ModelProto, config: Config, held: str = "", force_hpu: bool = False
) -> Partition:
    """The parts of a model for ``config``, compiled; parameters as of :func:`plan`."""

    def cost(graph: ir.Graph, compiled: object) -> Cost:
        assert isinstance(compiled, Program)
        return cost_of(graph, compiled, config)

    return partition(
        bound,
        compile=lambda graph: compile_graph(graph, config),
        cost=cost,
        force=force_hpu,
        held=held,
    )


def _part(part: HostPart | HpuPart) -> Part:
    if isinstance(part, HpuPart):
        assert isinstance(part.compiled, Program)
        return part.compiled
    return host_model(part.model)


def host_model(model: onnx.ModelProto) -> HostModel:
    """A model as a part for onnxruntime."""
    return HostModel(
        model=model.SerializeToString(),
        inputs=tuple(value.name for value in model_inputs(model)),
        outputs=tuple(value.name for value in model.graph.output),
        external=any(map(is_external, model.graph.initializer)),
    )


def outputs_of(bound: onnx.ModelProto, cut: Partition) -> tuple[Value, ...]:
    """The model's outputs; the HPU's graphs know shapes that ONNX's own inference does not."""
    known = {
        host.name: Value(host.name, host.shape, tensor_text(host.dtype))
        for part in cut.parts
        if isinstance(part, HpuPart)
        for host in part.graph.outputs
    }
    return tuple(known.get(value.name) or declared(value) for value in bound.graph.output)


def declared(value: onnx.ValueInfoProto) -> Value:
    """An input or output as the model declares it."""
    return Value(value.name, tuple(_sizes(value.type.tensor_type.shape.dim)), type_text(value.type))


def _sizes(dims: Sequence[onnx.TensorShapeProto.Dimension]) -> list[int | str]:
    return [(dim.dim_param or "?") if is_symbolic(dim) else dim.dim_value for dim in dims]


def type_text(kind: onnx.TypeProto) -> str:
    """onnxruntime's name of a type."""
    which = kind.WhichOneof("value")
    if which == "tensor_type":
        number = kind.tensor_type.elem_type
        if number == TensorProto.STRING or number not in TensorProto.DataType.values():
            return "tensor(string)"
        return tensor_text(helper.tensor_dtype_to_np_dtype(number).name)
    if which == "sequence_type":
        return f"seq({type_text(kind.sequence_type.elem_type)})"
    if which == "optional_type":
        return f"optional({type_text(kind.optional_type.elem_type)})"
    return str(which)
