"""The HPU as an ONNX backend (``onnx.backend.base``): what it does not run, the host runs.

>>> import hpu.backend
>>> hpu.backend.run_model(model, [x])
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper
from onnx.backend.base import Backend, BackendRep

from hpu.compiler.importer.load import is_symbolic, model_inputs
from hpu.compiler.placement import Placement
from hpu.runtime.errors import InputError
from hpu.runtime.session import InferenceSession

__all__ = [
    "HpuBackend",
    "HpuBackendRep",
    "is_compatible",
    "prepare",
    "run_model",
    "run_node",
    "supports_device",
]


class HpuBackendRep(BackendRep):
    """A prepared model; symbolic dimensions take the sizes of the inputs of each run."""

    def __init__(self, model: onnx.ModelProto, options: dict[str, Any]):
        self._model, self._options = model, options
        self._names = [value.name for value in model_inputs(model)]
        self._sessions: dict[tuple[tuple[int, ...], ...], InferenceSession] = {}
        if not any(is_symbolic(dim) for value in model_inputs(model) for dim in _dims(value)):
            self._open({})

    @property
    def placements(self) -> tuple[Placement, ...]:
        """Where every node runs; known before the first run when no dimension is symbolic."""
        return next((session.placements for session in self._sessions.values()), ())

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The outputs for inputs in the model's order, by name, or for the only one alone.

        Raises
        ------
        InputError
            When there are too many, or one is wrong.
        """
        if isinstance(inputs, np.ndarray):
            inputs = [inputs]
        if not isinstance(inputs, Mapping):
            if len(inputs) > len(self._names):
                raise InputError(f"the model takes {len(self._names)} inputs, not {len(inputs)}.")
            inputs = dict(zip(self._names, inputs, strict=False))
        return tuple(self._open(inputs).run(None, inputs))

    def _open(self, inputs: Mapping[str, Any]) -> InferenceSession:
        bound = onnx.ModelProto()
        bound.CopyFrom(self._model)
        shapes = [_bind(value, inputs) for value in model_inputs(bound)]
        key = tuple(shapes)
        if key not in self._sessions:
            self._sessions[key] = InferenceSession(bound, **self._options)
        return self._sessions[key]


def _dims(value: onnx.ValueInfoProto) -> Sequence[onnx.TensorShapeProto.Dimension]:
    return value.type.tensor_type.shape.dim


def _bind(value: onnx.ValueInfoProto, inputs: Mapping[str, Any]) -> tuple[int, ...]:
    """Give symbolic dimensions the sizes of the input."""
    for k, dim in enumerate(_dims(value)):
        if is_symbolic(dim) and np.ndim(inputs.get(value.name, 0)) > k:
            dim.dim_value = np.shape(inputs[value.name])[k]
    return tuple(dim.dim_value for dim in _dims(value))


class HpuBackend(Backend):
    """``device`` is ``"CPU"``, the machine on which the HPU is simulated.

    Keywords go to :class:`hpu.InferenceSession`: ``config``, ``device="rtl"`` as ``simulator``.
    """

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Every model is run, in part or all of it on the host."""
        return cls.supports_device(device)

    @classmethod
    def prepare(
        cls,
        model: onnx.ModelProto,
        device: str = "CPU",
        *,
        simulator: str = "functional",
        **kwargs: Any,
    ) -> HpuBackendRep:
        """A model ready to run.

        Raises
        ------
        HpuError
            When the model is damaged, or there is no such device.
        """
        if not cls.supports_device(device):
            raise InputError(f"device must be 'CPU', not {device!r}.")
        return HpuBackendRep(model, {"device": simulator, **kwargs})

    @classmethod
    def run_node(
        cls,
        node: onnx.NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[tuple[Any, tuple[int, ...]]] | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """The outputs of one node for its inputs, in order; ``opset_version`` may be given."""
        opset = kwargs.pop("opset_version", onnx.defs.onnx_opset_version())
        model = _model_of(node, [np.asarray(value) for value in inputs], opset, outputs_info)
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether ``device`` is ``"CPU"``."""
        return device.partition(":")[0] == "CPU"


def _model_of(
    node: onnx.NodeProto,
    inputs: Sequence[np.ndarray],
    opset: int,
    outputs_info: Sequence[tuple[Any, tuple[int, ...]]] | None,
) -> onnx.ModelProto:
    graph = helper.make_graph([node], "node", [], [], [])
    names = [name for name in node.input if name]
    for name, value in zip(names, inputs, strict=True):
        dtype = helper.np_dtype_to_tensor_dtype(value.dtype)
        graph.input.append(helper.make_tensor_value_info(name, dtype, value.shape))
    for k, name in enumerate(filter(None, node.output)):
        info = onnx.ValueInfoProto(name=name)
        if outputs_info is not None:
            dtype = helper.np_dtype_to_tensor_dtype(np.dtype(outputs_info[k][0]))
            info = helper.make_tensor_value_info(name, dtype, outputs_info[k][1])
        graph.output.append(info)
    return _inferred(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)]))


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    return onnx.shape_inference.infer_shapes(model)


is_compatible = HpuBackend.is_compatible
prepare = HpuBackend.prepare
run_model = HpuBackend.run_model
run_node = HpuBackend.run_node
supports_device = HpuBackend.supports_device
