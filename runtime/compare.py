"""A network layer by layer: float, quantised in onnxruntime, on the functional device, in RTL."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx

from hpu.compiler.backend import compile_graph
from hpu.compiler.calibration import QUANTISED, warn_unused
from hpu.compiler.importer.load import (
    bind_dims,
    load_model,
    model_inputs,
    read_model,
    symbolic_batch,
)
from hpu.compiler.partition import HostPart, HpuPart, Partition, partition
from hpu.compiler.quantise import is_float, quantise
from hpu.compiler.recurrent import unroll
from hpu.hw.config import Config
from hpu.runtime.agreement import tensors
from hpu.runtime.compare_float import float_twin
from hpu.runtime.compare_layers import (
    Comparison,
    Layer,
    add_host,
    add_input,
    add_operation,
    add_values,
)
from hpu.runtime.compare_values import Tapped, aliases, views
from hpu.runtime.errors import HpuError, InputError
from hpu.runtime.execution import Executor, Stage
from hpu.runtime.interface import batch_of, check_feeds
from hpu.runtime.planning import declared
from hpu.runtime.program import Port, Program
from hpu.runtime.source import Calibration, Network, configuration, node_args

__all__ = ["THRESHOLD", "compare"]

#: dB below which a layer counts as wrong: the noise has a tenth of the signal's power.
THRESHOLD = 10.0
#: Samples that go through the network at a time where its batch is symbolic.
_AT_A_TIME = 64
#: Devices that can be looked into layer by layer.
_DEVICES = ("functional", "rtl")


def compare(
    model: Network,
    feeds: Mapping[str, np.ndarray],
    *,
    device: str = "functional",
    config: str | Config = "hai-v1",
    batch: int | None = None,
    dims: Mapping[str, int] | None = None,
    calibration: Calibration | None = None,
    float_model: Network | None = None,
    threshold: float = THRESHOLD,
    progress: Stage | None = None,
) -> Comparison:
    """Run a model in all ways, and compare every layer.

    Parameters
    ----------
    model:
        A quantised model, or a float one with ``calibration``.
    feeds:
        Inputs by name, any number of samples along the first axis.
    device:
        ``"rtl"`` also simulates the machine.
    batch:
        Samples at a time; it changes a fixed batch too.
    float_model:
        What a quantised model was quantised from. Without it, float means the quantised model
        without rounding, see :func:`~hpu.runtime.compare_float.float_twin`.
    threshold:
        A layer whose SQNR is below it, in dB, counts as wrong.

    Raises
    ------
    HpuError
        When the model cannot be read, is float and without calibration data, or nothing of it runs
        on the HPU; or when the feeds do not fit.
    """
    if device not in _DEVICES:
        raise InputError(f"device must be one of {', '.join(_DEVICES)}, not {device!r}.")
    machine = configuration(config)
    proto = bind_dims(read_model(model), dims or {})
    original = bind_dims(read_model(float_model), {}) if float_model is not None else None
    if is_float(proto):
        if original is not None:
            raise InputError("the model is float itself; another float model cannot be compared.")
        load_model(proto)
        original, proto = proto, quantise(proto, calibration)
    else:
        warn_unused(calibration, QUANTISED)
    if batch is not None and not symbolic_batch(proto):
        proto = load_model(proto, batch)
    network = _Network(proto, original, machine, device, progress)
    pieces = list(_pieces(proto, feeds, batch))
    try:
        for done, (size, arrays) in enumerate(pieces):
            network.run(size, arrays)
            if progress is not None:
                progress("comparing", done + 1, len(pieces))
    finally:
        network.close()
    samples = sum(size for size, _arrays in pieces)
    return Comparison(network.layers, samples, device, machine.name, threshold, network.reference)


def _pieces(
    proto: onnx.ModelProto, feeds: Mapping[str, np.ndarray], batch: int | None
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """The feeds in pieces of the batch, each with its number of samples."""
    args = node_args(tuple(declared(value) for value in model_inputs(proto)))
    if symbolic_batch(proto):
        arrays = check_feeds(feeds, args)
        total, size = batch_of(arrays, args), batch or _AT_A_TIME
        for start in range(0, total, size):
            piece = {name: value[start : start + size] for name, value in arrays.items()}
            yield min(size, total - start), piece
        return
    sizes = {arg.name: arg.shape[0] for arg in args if arg.shape}
    counts = {
        len(feeds[name]) // int(size)
        for name, size in sizes.items()
        if name in feeds and np.ndim(feeds[name]) and size and len(feeds[name]) % int(size) == 0
    }
    count = counts.pop() if len(counts) == 1 else 1
    for k in range(max(count, 1)):
        piece = {name: _turn(value, k, count) for name, value in feeds.items()}
        yield int(next(iter(sizes.values()), 1)), check_feeds(piece, args)


def _turn(value: np.ndarray, k: int, count: int) -> np.ndarray:
    array = np.asarray(value)
    return np.split(array, count)[k] if count > 1 and array.ndim else array


class _Network:
    """A quantised model, compiled for each batch, and what its layers came to so far."""

    def __init__(
        self,
        proto: onnx.ModelProto,
        original: onnx.ModelProto | None,
        config: Config,
        device: str,
        progress: Stage | None,
    ):
        self._proto, self._original, self._config = proto, original, config
        self._functional = Executor(config, "functional", progress)
        self._rtl = Executor(config, "rtl", progress) if device == "rtl" else None
        self._bound: dict[int, _Bound] = {}
        self.layers: list[Layer] = []
        self.reference = ""

    def run(self, size: int, arrays: Mapping[str, np.ndarray]) -> None:
        """Add what the layers come to with one more piece."""
        if size not in self._bound:
            self._bound[size] = _Bound(self._proto, self._original, self._config, size)
        bound = self._bound[size]
        self.reference = bound.reference
        self.layers = self.layers or bound.fresh()
        real, theirs, known = bound.real(arrays), bound.quantised.run(arrays), dict(arrays)
        layers = iter(self.layers)
        for part in bound.cut.parts:
            if isinstance(part, HostPart):
                known |= bound.hosts[id(part)].run(known)
                for name in _given(part):
                    add_host(next(layers), name, known[name], real, theirs)
            else:
                self._run_part(part, bound.views[id(part)], known, layers, real, theirs)

    def close(self) -> None:
        """Free the devices."""
        self._functional.close()
        if self._rtl is not None:
            self._rtl.close()

    def _run_part(
        self,
        part: HpuPart,
        ports: Mapping[str, Port],
        known: dict[str, Any],
        layers: Iterator[Layer],
        real: Mapping[str, np.ndarray],
        theirs: Mapping[str, np.ndarray],
    ) -> None:
        assert isinstance(part.compiled, Program)
        outputs = self._functional.run(part.compiled, known)
        bytes_of = {"functional": tensors(self._functional, part.compiled)}
        if self._rtl is not None:
            self._rtl.run(part.compiled, known)
            bytes_of["rtl"] = tensors(self._rtl, part.compiled)
        for port in _real_inputs(part, self._proto):
            add_input(next(layers), port, known[port.name], bytes_of)
        known |= outputs
        for op in part.graph.ops:
            layer = next(layers)
            add_operation(layer, op, bytes_of)
            if op.out.name in ports:
                add_values(layer, ports[op.out.name], op.out.name, bytes_of, real, theirs)


class _Bound:
    """A model whose batch is known: its parts, and its values in onnxruntime."""

    def __init__(
        self,
        proto: onnx.ModelProto,
        original: onnx.ModelProto | None,
        config: Config,
        size: int,
    ):
        self._proto = proto
        model = load_model(proto, size if symbolic_batch(proto) else None)
        self.cut: Partition = partition(
            model, compile=lambda graph: compile_graph(graph, config, keep=True)
        )
        parts = [part for part in self.cut.parts if isinstance(part, HpuPart)]
        if not parts:
            first = next((entry for entry in self.cut.placements if not entry.follows), None)
            raise HpuError(
                "nothing of the model runs on the HPU, so there is nothing to compare"
                + (f": {first.reason}" if first else "")
            )
        self.hosts = {
            id(part): Tapped(part.model, _given(part))
            for part in self.cut.parts
            if isinstance(part, HostPart)
        }
        self.views = {
            id(part): views(part.model, part.graph, [op.out.name for op in part.graph.ops])
            for part in parts
        }
        names = [layer.name for layer in self.fresh()]
        self.quantised = Tapped(model, names)
        self._names: dict[str, str] = {}
        self._real: Tapped | None = None
        self.reference = self._open_reference(model, original, names, size)

    def fresh(self) -> list[Layer]:
        """The layers, with nothing seen of them."""
        layers = []
        for part in self.cut.parts:
            if isinstance(part, HostPart):
                layers += [
                    Layer(name, (_maker(part.model, name),), "host") for name in _given(part)
                ]
            else:
                inputs = _real_inputs(part, self._proto)
                layers += [Layer(port.name, (), "input") for port in inputs]
                layers += [Layer(op.out.name, op.nodes, type(op).__name__) for op in part.graph.ops]
        return layers

    def _open_reference(
        self,
        model: onnx.ModelProto,
        original: onnx.ModelProto | None,
        names: Sequence[str],
        size: int,
    ) -> str:
        """Open the float model; gives what it is, or why there is none."""
        if original is not None:
            bound = load_model(original, size if symbolic_batch(original) else None)
            if _batch(bound) != _batch(model):
                bound = load_model(original, size)
            unroll(bound)  # so that its steps have the names that they have in the quantised model
            self._names = _found(aliases(model), names, bound)
            self._real = Tapped(bound, self._names.values())
            return "the float model"
        try:
            self._real = Tapped(float_twin(model), names)
        except HpuError as error:
            return f"none: {error}"
        self._names = {name: name for name in self._real.names}
        return "the quantised model without rounding"

    def real(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Float values of the layers, by the quantised model's names."""
        if self._real is None:
            return {}
        values = self._real.run(arrays)
        return {name: values[other] for name, other in self._names.items() if other in values}


def _found(
    groups: Mapping[str, set[str]], names: Sequence[str], original: onnx.ModelProto
) -> dict[str, str]:
    """For each name the float model's name of the value, where it has it."""
    made = {name for node in original.graph.node for name in node.output}
    same = {name: made & groups.get(name, {name}) for name in names}
    return {name: min(found) for name, found in same.items() if found}


def _real_inputs(part: HpuPart, proto: onnx.ModelProto) -> list[Port]:
    """The model's float inputs that are quantised for the part."""
    assert isinstance(part.compiled, Program)
    names = {value.name for value in model_inputs(proto)}
    return [p for p in part.compiled.inputs if p.name in names and p.dtype == "float32"]


def _given(part: HostPart) -> list[str]:
    """Names of the values that a part of the host gives."""
    return [value.name for value in part.model.graph.output]


def _batch(model: onnx.ModelProto) -> list[int]:
    """First sizes of the inputs."""
    dims = (value.type.tensor_type.shape.dim[:1] for value in model_inputs(model))
    return [dim.dim_value for first in dims for dim in first]


def _maker(model: onnx.ModelProto, name: str) -> str:
    return next(node.name for node in model.graph.node if name in node.output)
