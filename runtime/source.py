"""Where a session's packages come from: one that is given, or a model compiled on demand."""

import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Protocol, TypeAlias, Union

import numpy as np

from hpu.compiler.placement import SLOWER, Placement, refuse_fallback
from hpu.hw.config import Config, by_name
from hpu.runtime import program_file as files
from hpu.runtime.errors import HpuError
from hpu.runtime.interface import NodeArg, tensor_text
from hpu.runtime.package import HostModel, Package, Value, load_any
from hpu.runtime.program import Port, Program

if TYPE_CHECKING:
    import onnx

    from hpu.compiler import ir
    from hpu.compiler.calibration import CalibrationSet

__all__ = [
    "Calibration",
    "Model",
    "Network",
    "Source",
    "compile_model",
    "compile_network",
    "compile_package",
    "configuration",
    "import_graph",
    "only_program",
    "open_source",
    "read_quantised",
]

# Union because `onnx` is only imported when a model is read, and `|` takes no quoted name.
Network: TypeAlias = Union[str, os.PathLike[str], bytes, "onnx.ModelProto"]
Model: TypeAlias = Union[Network, Program, Package]  # noqa: UP007
Calibration: TypeAlias = Union[
    str,
    os.PathLike[str],
    Mapping[str, np.ndarray],
    Iterable[Mapping[str, np.ndarray]],
    "CalibrationSet",
]

#: Configuration of a model that is compiled without naming one.
DEFAULT_CONFIG = "hai-v1"


class Source(Protocol):
    """Gives a package for a batch. ``fixed`` is the only batch there is, or ``None``."""

    inputs: list[NodeArg]
    outputs: list[NodeArg]
    fixed: int | None

    def package(self, batch: int) -> Package:
        """The package for ``batch``."""
        ...

    def whole(self, batch: int) -> HostModel | None:
        """All of the (quantised) model for onnxruntime; None where there is none beside."""
        ...

    @property
    def placements(self) -> tuple[Placement, ...]:
        """Where every node runs, as far as it is known before a batch is; empty for a program."""
        ...


def only_program(package: Package) -> Program:
    """The program of a package that is nothing else.

    Raises
    ------
    HpuError
        When the host runs a part.
    """
    if package.alone is None:
        raise HpuError("a part of the network runs on the host; give one that runs on the HPU.")
    return package.alone


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
        For a float model: arrays by input name, samples along the first axis; an iterable of such
        feeds; a file or folder; or a :class:`hpu.CalibrationSet`.
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
    from hpu.compiler.calibration import QUANTISED, warn_unused
    from hpu.compiler.importer.load import load_model, read_model
    from hpu.compiler.quantise import is_float, quantise

    proto = read_model(model)
    if not is_float(proto):
        warn_unused(calibration, QUANTISED)
        return proto
    load_model(proto)  # what is wrong with the model itself is said before anything else
    return quantise(proto, calibration)


def import_graph(model: "onnx.ModelProto", batch: int | None = None) -> "ir.Graph":
    """The graph of a quantised model.

    Raises
    ------
    HpuError
        When the model is damaged or not supported; the message says what and where.
    """
    from hpu.compiler.frontend import import_model

    return import_model(model, batch=batch)


def compile_network(
    model: Network,
    *,
    config: str | Config = DEFAULT_CONFIG,
    batch: int | None = None,
    dims: Mapping[str, int] | None = None,
    calibration: Calibration | None = None,
    no_fallback: bool = False,
    force_hpu: bool = False,
    keep: bool = False,
) -> Program | Package:
    """Compile an ONNX model; what the HPU does not run becomes parts for onnxruntime.

    Parameters
    ----------
    batch, dims:
        Values of symbolic dimensions: the first one of the inputs (1 when not given), and by name.
    calibration:
        For a float model: arrays by input name, samples along the first axis; an iterable of such
        feeds; a file or folder; or a :class:`hpu.CalibrationSet`.
    no_fallback:
        Refuse a model of which the host would run a part.
    force_hpu:
        Let the HPU also run what the cycle model says the host would run faster.
    keep:
        As of :func:`compile_model`; the host must run no part then.

    Returns
    -------
    Program or Package
        A program when the HPU runs everything. Both have ``save``.

    Raises
    ------
    HpuError
        When the model is damaged, or the HPU runs nothing of it; the message says what and where.
    """
    if keep:
        from hpu.compiler.importer.load import bind_dims, read_model

        bound = bind_dims(read_model(model), dims or {})
        return compile_model(bound, config=config, batch=batch, calibration=calibration, keep=True)
    package = compile_package(
        model,
        config=config,
        batch=batch,
        dims=dims,
        calibration=calibration,
        no_fallback=no_fallback,
        force_hpu=force_hpu,
    )
    return package.alone or package


def compile_package(
    model: Network,
    *,
    config: str | Config = DEFAULT_CONFIG,
    batch: int | None = None,
    dims: Mapping[str, int] | None = None,
    calibration: Calibration | None = None,
    no_fallback: bool = False,
    force_hpu: bool = False,
) -> Package:
    """As :func:`compile_network`, always a package: it says where every node runs.

    Raises
    ------
    HpuError
        When the model is damaged, or the HPU runs nothing of it; the message says what and where.
    """
    given = isinstance(model, str | os.PathLike) and files.is_program(model)
    if given or isinstance(model, Program | Package):
        what = os.fspath(model) if isinstance(model, str | os.PathLike) else "what is given"
        raise HpuError(f"{what} is a program already; give the ONNX model that it was made of.")
    source, _machine = open_source(
        model,
        config=config,
        batch=batch,
        dims=dims,
        calibration=calibration,
        no_fallback=no_fallback,
        force_hpu=force_hpu,
    )
    package = source.package(batch or 1)
    if not package.programs:
        raise HpuError(_nothing(package))
    return package


def _nothing(package: Package) -> str:
    first = next((entry for entry in package.placements if not entry.follows), None)
    reason = "it has no nodes"
    if first:
        whole = len({entry.reason for entry in package.placements}) == 1
        reason = first.reason if whole else f"{first.op_type} node {first.node!r}: {first.reason}"
    slow = any(entry.reason.startswith(SLOWER) for entry in package.placements)
    return f"nothing of the model runs on the HPU ({reason}); " + (
        "give --force-hpu (force_hpu=True) to run it there all the same."
        if slow
        else "run the model itself, which is done on the host."
    )


def open_source(
    model: Model,
    *,
    config: str | Config | None = None,
    board: Config | None = None,
    batch: int | None = None,
    dims: Mapping[str, int] | None = None,
    calibration: Calibration | None = None,
    no_fallback: bool = False,
    force_hpu: bool = False,
) -> tuple[Source, Config]:
    """The source of ``model``'s packages, and their configuration (for a model: hai-v1 by default).

    For a ``board`` a model is compiled for the board's configuration by default, and leaves nothing
    to the host that the board can run.

    Raises
    ------
    HpuError
        When the file is neither a program nor a sound model, or is for another configuration.
    """
    machine = configuration(config) if config is not None else None
    if isinstance(model, str | os.PathLike) and files.is_program(model):
        model = load_any(model, machine)
    if isinstance(model, Program | Package):
        _refuse_settings({"--dim": dims, "--force-hpu": force_hpu})
        if calibration is not None:
            from hpu.compiler.calibration import warn_unused

            warn_unused(calibration, "a program is quantised and compiled already")
        machine = machine or configuration(model.config_name)
        model.check(machine)
        package = model if isinstance(model, Package) else packed(model)
        if no_fallback:
            refuse_fallback(package.placements)
        return _Given(package, batch), machine
    machine = machine or board or configuration(DEFAULT_CONFIG)
    from hpu.runtime.models import open_model

    sizes = dims or {}
    force = force_hpu or board is not None
    source = open_model(model, machine, batch, sizes, calibration, no_fallback, force)
    return source, machine


def _refuse_settings(settings: Mapping[str, object]) -> None:
    """Refuse what decides how a model is compiled, for a program that is compiled already."""
    for option, value in settings.items():
        if value:
            raise HpuError(
                f"{option} has no meaning for a program, which is compiled already; "
                f"compile the model again with {option}."
            )


def packed(program: Program) -> Package:
    """A program as a package of one part."""

    def values(ports: tuple[Port, ...]) -> tuple[Value, ...]:
        return tuple(Value(port.name, port.shape, tensor_text(port.dtype)) for port in ports)

    return Package(
        config_name=program.config_name,
        config_digest=program.config_digest,
        inputs=values(program.inputs),
        outputs=values(program.outputs),
        parts=(program,),
        placements=(),
    )


def node_args(values: tuple[Value, ...]) -> list[NodeArg]:
    """Inputs or outputs as a session describes them."""
    return [NodeArg(value.name, list(value.shape), value.type) for value in values]


def first_size(args: list[NodeArg]) -> int:
    """The batch of inputs whose sizes are numbers."""
    sizes = [arg.shape[0] for arg in args if arg.shape]
    return sizes[0] if sizes and isinstance(sizes[0], int) else 1


class _Given:
    """One package, as it is."""

    def __init__(self, package: Package, batch: int | None):
        self.inputs = node_args(package.inputs)
        self.outputs = node_args(package.outputs)
        self.fixed: int | None = first_size(self.inputs)
        if batch not in (None, self.fixed):
            raise HpuError(
                f"the program is for batch {self.fixed}, not {batch}; compile the model again."
            )
        self._package = package
        self.placements = package.placements

    def package(self, batch: int) -> Package:
        return self._package

    def whole(self, batch: int) -> HostModel | None:
        return None
