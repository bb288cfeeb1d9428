"""Where a session's programs come from: a program that is given, or a model compiled on demand."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol, TypeAlias, Union

import numpy as np

from hpu.hw.config import Config, by_name
from hpu.runtime import program as files
from hpu.runtime.arrays import read_arrays
from hpu.runtime.errors import HpuError
from hpu.runtime.interface import NodeArg, from_ports
from hpu.runtime.program import Program

if TYPE_CHECKING:
    import onnx

    from hpu.compiler import ir

__all__ = [
    "Calibration",
    "Model",
    "Network",
    "Source",
    "compile_model",
    "configuration",
    "import_graph",
    "open_source",
    "read_quantised",
]

# Union because `onnx` is only imported when a model is read, and `|` takes no quoted name.
Network: TypeAlias = Union[str, os.PathLike[str], bytes, "onnx.ModelProto"]
Model: TypeAlias = Union[Network, Program]  # noqa: UP007
Calibration: TypeAlias = Mapping[str, np.ndarray] | str | os.PathLike[str]

#: Configuration of a model that is compiled without naming one.
DEFAULT_CONFIG = "hai-v1"


class Source(Protocol):
    """Gives a program for a batch. ``fixed`` is the only batch there is, or ``None``."""

    inputs: list[NodeArg]
    outputs: list[NodeArg]
    fixed: int | None

    def program(self, batch: int) -> Program:
        """The program for ``batch``."""
        ...


def configuration(config: str | Config) -> Config:
    """The configuration of that name, or as given.

    Raises
    ------
    HpuError
        When there is none of that name.
    """
    try:
        return config if isinstance(config, Config) else by_name(config)
    except ValueError as error:
        raise HpuError(f"{error}.") from None


def compile_model(
    model: Network,
    *,
    config: str | Config = DEFAULT_CONFIG,
    batch: int | None = None,
    calibration: Calibration | None = None,
    keep: bool = False,
) -> Program:
    """Compile an ONNX model (a path, its bytes, or a ``ModelProto``) for a configuration.

    Parameters
    ----------
    batch:
        Value of a symbolic first size of the inputs; 1 when not given.
    calibration:
        For a float model: arrays by input name, samples along the first axis, or an ``.npz`` file.
    keep:
        Also leave every intermediate tensor in memory, for comparing layer by layer.

    Raises
    ------
    HpuError
        When the model is damaged, not supported, or does not fit; the message says what and where.
    """
    from hpu.compiler.backend import compile_graph

    graph = import_graph(read_quantised(model, calibration), batch)
    return compile_graph(graph, configuration(config), keep=keep)


def read_quantised(model: Network, calibration: Calibration | None = None) -> "onnx.ModelProto":
    """The model, read; a float model is quantised, with its symbolic batch left as it is.

    Raises
    ------
    HpuError
        When the model is damaged, or is a float model and there is no calibration data for it.
    """
    from hpu.compiler.importer.load import load_model, read_model
    from hpu.compiler.quantise import is_float, quantise

    proto = read_model(model)
    if not is_float(proto):
        return proto
    load_model(proto)  # what is wrong with the model itself is said before anything else
    return quantise(proto, _samples(calibration))


def import_graph(model: "onnx.ModelProto", batch: int | None = None) -> "ir.Graph":
    """The graph of a quantised model.

    Raises
    ------
    HpuError
        When the model is damaged or not supported; the message says what and where.
    """
    from hpu.compiler.frontend import import_model

    if batch is not None and batch < 1:
        raise HpuError(f"batch must be at least 1, not {batch}.")
    return import_model(model, batch=batch)


def open_source(
    model: Model,
    *,
    config: str | Config | None = None,
    batch: int | None = None,
    calibration: Calibration | None = None,
) -> tuple[Source, Config]:
    """The source of ``model``'s programs, and their configuration (for a model: hai-v1 by default).

    Raises
    ------
    HpuError
        When the file is neither a program nor a sound model, or is for another configuration.
    """
    machine = configuration(config) if config is not None else None
    if isinstance(model, str | os.PathLike) and files.is_program(model):
        model = files.load(model, machine)
    if isinstance(model, Program):
        machine = machine or configuration(model.config_name)
        model.check(machine)
        return _Given(model, batch), machine
    machine = machine or configuration(DEFAULT_CONFIG)
    return _Compiled(read_quantised(model, calibration), machine, batch), machine


class _Given:
    """One program, as it is."""

    def __init__(self, program: Program, batch: int | None):
        self.inputs = from_ports(program.inputs, symbolic=False)
        self.outputs = from_ports(program.outputs, symbolic=False)
        self.fixed: int | None = program.inputs[0].shape[0] if program.inputs else 1
        if batch not in (None, self.fixed):
            raise HpuError(
                f"the program is for batch {self.fixed}, not {batch}; compile the model again."
            )
        self._program = program

    def program(self, batch: int) -> Program:
        return self._program


class _Compiled:
    """A model, compiled once for every batch that is asked for."""

    def __init__(self, model: "onnx.ModelProto", config: Config, batch: int | None):
        self._model, self._config = model, config
        self._programs: dict[int, Program] = {}
        self._binds = _has_symbolic_batch(model)
        graph = import_graph(model, batch)
        self.fixed = None if self._binds and batch is None else graph.inputs[0].shape[0]
        self.inputs = from_ports(graph.inputs, symbolic=self.fixed is None)
        self.outputs = from_ports(graph.outputs, symbolic=self.fixed is None)

    def program(self, batch: int) -> Program:
        if batch not in self._programs:
            bound = batch if self._binds else None
            self._programs[batch] = compile_model(self._model, config=self._config, batch=bound)
        return self._programs[batch]


def _has_symbolic_batch(model: "onnx.ModelProto") -> bool:
    constants = {tensor.name for tensor in model.graph.initializer}
    shapes = [
        value.type.tensor_type.shape.dim
        for value in model.graph.input
        if value.name not in constants
    ]
    return any(len(dims) > 0 and dims[0].dim_value <= 0 for dims in shapes)


def _samples(calibration: Calibration | None) -> dict[str, np.ndarray] | None:
    if calibration is None or isinstance(calibration, Mapping):
        return dict(calibration) if calibration is not None else None
    return read_arrays(calibration)
