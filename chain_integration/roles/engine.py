"""What a node computes with: a network that an order names, and the HPU that runs it."""

import contextlib
import dataclasses
import functools
import hashlib
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from hpu.chain_integration.proofs.layers import Model, commit_model
from hpu.chain_integration.proofs.trace import Trace, io_root
from hpu.chain_integration.proofs.usage import Usage, usage_of
from hpu.chain_integration.proofs.vdf import Stopwatch
from hpu.chain_integration.store.cid import ContentError, decode, encode
from hpu.hw.config import Config
from hpu.runtime.agreement import tensors as device_tensors
from hpu.runtime.errors import InputError
from hpu.runtime.execution import Executor
from hpu.runtime.interface import check_feeds, from_ports
from hpu.runtime.layout import from_device, to_device
from hpu.runtime.measure import with_cycles
from hpu.runtime.profile import Run
from hpu.runtime.program import Port, Program

__all__ = ["Engine", "Network", "Work", "model_document", "read_network"]

Tensors = dict[str, np.ndarray]
#: Images of one order at most; a buyer of more places several.
MAX_BATCH = 512


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
    """A network for one batch and one configuration: its program, and what commits to it.

    The program leaves every layer's result in memory, for the trace.
    """

    config: Config
    program: Program
    model: Model

    @property
    def root(self) -> bytes:
        """What an order names as its model."""
        return self.model.root

    def input_root(self, tensors: Tensors) -> bytes:
        """What an order names as its input."""
        return io_root([tensors[name] for name in self.model.inputs])

    def output_root(self, tensors: Tensors) -> bytes:
        """What a supplier's result names as its output."""
        return io_root([tensors[name] for name in self.model.outputs])

    def quantised(self, feeds: Mapping[str, Any]) -> Tensors:
        """Device tensors (int8, (n, y, x, c)) of a session's feeds.

        Raises
        ------
        InputError
            When a name, shape or type is wrong.
        """
        arrays = check_feeds(feeds, from_ports(self.program.inputs, symbolic=False))
        return {port.tensor: to_device(arrays[port.name], port) for port in self.program.inputs}

    def dequantised(self, tensors: Tensors) -> Tensors:
        """Outputs by name as a session gives them, of device tensors."""
        return {port.name: from_device(tensors[port.tensor], port) for port in self.program.outputs}

    @property
    def output_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the outputs' device tensors, in order."""
        shapes = {port.tensor: port.shape4 for port in self.program.outputs}
        return {name: shapes[name] for name in self.model.outputs}

    def check_inputs(self, tensors: Tensors) -> None:
        """Refuse tensors that are not this network's inputs.

        Raises
        ------
        ContentError
            With the first that is wrong.
        """
        _check_tensors(tensors, self.program.inputs)

    def check_outputs(self, tensors: Tensors) -> None:
        """Refuse tensors that are not this network's outputs; as :meth:`check_inputs`."""
        _check_tensors(tensors, self.program.outputs)


def _check_tensors(tensors: Tensors, ports: tuple[Port, ...]) -> None:
    wanted = {port.tensor: port.shape4 for port in ports}
    if set(tensors) != set(wanted):
        raise ContentError(f"the tensors must be {', '.join(wanted)}, not {', '.join(tensors)}.")
    for name, shape in wanted.items():
        if tensors[name].shape != shape:
            raise ContentError(f"{name!r} must have the shape {shape}, not {tensors[name].shape}.")


def model_document(model: bytes, feeds: Mapping[str, Any]) -> bytes:
    """A model as it is sealed for an order: the ONNX file, and the batch that the feeds have.

    Raises
    ------
    InputError
        When there are no feeds.
    """
    sizes = [np.shape(value)[0] for value in feeds.values() if np.shape(value)]
    if not sizes:
        raise InputError("an order must have an input with a batch; give its arrays by name.")
    return encode({"onnx": model, "batch": int(sizes[0])})


def read_network(document: bytes, config: Config) -> Network:
    """The network of a model document for ``config``; the last few are remembered.

    Raises
    ------
    ContentError
        When the document is none.
    HpuError
        When the model cannot be compiled for the configuration.
    """
    return _read(hashlib.sha256(document).digest(), _Document(document), config)


@dataclasses.dataclass(frozen=True)
class _Document:
    """Bytes that are told apart by the hash beside them."""

    data: bytes = dataclasses.field(compare=False)


@functools.lru_cache(maxsize=32)
def _read(_digest: bytes, document: _Document, config: Config) -> Network:
    from hpu.compiler.backend import compile_graph
    from hpu.runtime.source import import_graph, read_quantised

    fields = decode(document.data)
    if not isinstance(fields, dict) or not isinstance(fields.get("onnx"), bytes):
        raise ContentError("a model's document must hold an ONNX file and a batch.")
    batch = fields.get("batch")
    if not isinstance(batch, int) or not 1 <= batch <= MAX_BATCH:
        raise ContentError(f"the batch must be 1 to {MAX_BATCH}, not {batch!r}.")
    proto = read_quantised(fields["onnx"])
    model = commit_model(import_graph(proto, batch))
    graph = import_graph(proto, batch)  # the compiler changes it
    program = compile_graph(graph, config, keep=True)
    return Network(config, program, model)


@dataclasses.dataclass(frozen=True)
class Work:
    """What a node computed for an order.

    ``trace`` holds what every layer gave, ``run`` what the device measured, ``seconds`` by this
    computer's stopwatch.
    """

    network: Network
    trace: Trace
    usage: Usage
    run: Run
    seconds: float

    @property
    def outputs(self) -> Tensors:
        """Device tensors by name."""
        return {name: self.trace.values[name] for name in self.network.model.outputs}

    @property
    def outcome(self) -> tuple[bytes, bytes]:
        """Roots of output and trace."""
        return self.trace.output_tree.root, self.trace.root


class Engine:
    """Computes orders on one HPU.

    Parameters
    ----------
    config:
        Its configuration.
    device, port:
        As of :class:`hpu.InferenceSession`.
    """

    def __init__(self, config: Config, device: str = "functional", port: str | None = None):
        self.config, self.device = config, device
        self.executor = Executor(config, device, port=port)

    def roots(self, document: bytes, tensors: Tensors) -> tuple[bytes, bytes]:
        """Roots of model and input, which an order names.

        Raises
        ------
        HpuError
            When the model cannot be compiled, or the tensors are not its inputs.
        """
        network = read_network(document, self.config)
        network.check_inputs(tensors)
        return network.root, network.input_root(tensors)

    def run(self, document: bytes, tensors: Tensors, seed: bytes | None = None) -> Work:
        """Compute the network on the device, with the trace of every layer's result.

        Parameters
        ----------
        seed:
            With it, 32 bytes, the time that the computation takes is proven alongside.

        Raises
        ------
        HpuError
            As of :meth:`roots`, and when the device stops with a fault.
        """
        network = read_network(document, self.config)
        network.check_inputs(tensors)
        started = time.perf_counter()
        with contextlib.nullcontext() if seed is None else Stopwatch(seed) as stopwatch:
            trace, run = self._run(network, tensors)
        seconds = time.perf_counter() - started
        elapsed = None if stopwatch is None else stopwatch.elapsed
        usage = usage_of(self.config, run, seconds=seconds, elapsed=elapsed)
        return Work(network, trace, usage, run, seconds)

    def _run(self, network: Network, tensors: Tensors) -> tuple[Trace, Run]:
        program = network.program
        feeds = {port.name: from_device(tensors[port.tensor], port) for port in program.inputs}
        _values, run = self.executor.measure(program, feeds)
        trace = Trace(network.model, device_tensors(self.executor, program))
        return trace, with_cycles(program, self.config, run)

    def close(self) -> None:
        """Free the device."""
        self.executor.close()
