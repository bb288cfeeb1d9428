"""Models as sources of packages: compiled for every batch that is asked for, once."""

import os
from collections.abc import Mapping
from pathlib import Path

import onnx

from hpu.compiler.calibration import QUANTISED, warn_unused
from hpu.compiler.errors import ModelError
from hpu.compiler.importer.external import open_in_place
from hpu.compiler.importer.load import (
    bind_dims,
    check_opset,
    first_line,
    load_model,
    model_inputs,
    read_model,
    symbolic_batch,
)
from hpu.compiler.partition import partition
from hpu.compiler.placement import Placement, refuse_fallback
from hpu.compiler.quantise import is_float, quantise
from hpu.hw.config import Config
from hpu.runtime.interface import NodeArg, is_batched
from hpu.runtime.package import HostModel, Package, Value
from hpu.runtime.planning import declared, host_model, outputs_of, plan
from hpu.runtime.source import Calibration, Network, Source, first_size, node_args

__all__ = ["open_model"]

#: The constants of models of more bytes stay where they are: ONNX's tools take 2 GiB at a time.
LARGEST = 2_000_000_000
TOO_LARGE = "the model is larger than 2 GiB and not quantised; quantise it first"


def open_model(
    model: Network,
    config: Config,
    batch: int | None,
    dims: Mapping[str, int],
    calibration: Calibration | None,
    no_fallback: bool,
    force_hpu: bool = False,
) -> Source:
    """The source of a model's packages; parameters as of :class:`hpu.InferenceSession`.

    Raises
    ------
    HpuError
        When the model is damaged, or the host would run a part and must not.
    """
    if isinstance(model, str | os.PathLike) and _bytes(Path(model)) > LARGEST:
        return _open_large(Path(model), config, batch, dims, calibration, no_fallback, force_hpu)
    proto = bind_dims(read_model(model), dims)
    held = _too_old(proto)
    if not held and is_float(proto):
        load_model(proto, batch)  # what is wrong with the model is said before anything else
        proto, held = _quantised(proto, calibration)
    else:
        warn_unused(calibration, held or QUANTISED)
    return _Compiled(proto, config, batch, held, no_fallback, force_hpu)


def _open_large(
    path: Path,
    config: Config,
    batch: int | None,
    dims: Mapping[str, int],
    calibration: Calibration | None,
    no_fallback: bool,
    force_hpu: bool,
) -> Source:
    """A model whose constants stay in the files where they are; on the host when it is float."""
    proto = bind_dims(read_model(open_in_place(path)), dims)
    if _too_old(proto) or is_float(proto):
        warn_unused(calibration, TOO_LARGE)
        return _InPlace(path, config, no_fallback)
    warn_unused(calibration, QUANTISED)
    return _Compiled(proto, config, batch, "", no_fallback, force_hpu)


def _too_old(proto: onnx.ModelProto) -> str:
    try:
        check_opset(proto)
    except ModelError as error:
        return str(error)
    return ""


def _quantised(
    proto: onnx.ModelProto, calibration: Calibration | None
) -> tuple[onnx.ModelProto, str]:
    """A float model quantised; without calibration data itself, and why the HPU does not run it."""
    if calibration is not None:
        return quantise(proto, calibration), ""
    try:
        return quantise(proto, None), ""
    except ModelError as error:
        return proto, str(error)


class _Compiled:
    """A model whose batch, where it is symbolic, comes with the feeds."""

    def __init__(
        self,
        model: onnx.ModelProto,
        config: Config,
        batch: int | None,
        held: str,
        no_fallback: bool,
        force_hpu: bool,
    ):
        self._model, self._config, self._held = model, config, held
        self._no_fallback, self._force_hpu = no_fallback, force_hpu
        #: By batch; under None for the only one there is.
        self._packages: dict[int | None, Package] = {}
        self.placements: tuple[Placement, ...] = ()
        self._open = symbolic_batch(model) and batch is None
        bound = load_model(model, batch, any_opset=bool(held))
        if self._open:
            cut = partition(bound, held=held)
            outputs, self.placements = outputs_of(bound, cut), cut.placements
            self._refuse()
        else:
            outputs = self._planned(bound, None).outputs
        inputs = tuple(declared(value) for value in model_inputs(bound))
        self.inputs = _described(inputs, model_inputs(model), self._open)
        self.outputs = _described(outputs, list(model.graph.output), self._open)
        self.fixed = None if self._open else first_size(self.inputs)

    def package(self, batch: int) -> Package:
        key = batch if self._open else None
        if key in self._packages:
            return self._packages[key]
        return self._planned(load_model(self._model, batch, any_opset=bool(self._held)), key)

    def whole(self, batch: int) -> HostModel | None:
        return host_model(load_model(self._model, batch, any_opset=bool(self._held)))

    def _planned(self, bound: onnx.ModelProto, key: int | None) -> Package:
        package = plan(bound, self._config, self._held, self._force_hpu)
        self.placements = package.placements
        self._refuse()
        self._packages[key] = package
        return package

    def _refuse(self) -> None:
        if self._no_fallback:
            refuse_fallback(self.placements)


def _described(
    values: tuple[Value, ...], originals: list[onnx.ValueInfoProto], open_: bool
) -> list[NodeArg]:
    """What a session says of inputs or outputs; an open batch is called ``batch``."""
    args = node_args(values)
    for arg, original in zip(args, originals, strict=True):
        sizes = declared(original).shape
        if open_ and arg.shape and (not sizes or isinstance(sizes[0], str)):
            arg.shape[0] = "batch"
    return args


class _InPlace:
    """A model that onnxruntime runs from its file, all of it on the host."""

    def __init__(self, path: Path, config: Config, no_fallback: bool):
        light = _light(path)
        inputs = tuple(declared(value) for value in model_inputs(light))
        outputs = tuple(declared(value) for value in light.graph.output)
        self.placements = tuple(
            Placement(node.name or f"{node.op_type}_{rank}", node.op_type, "", TOO_LARGE)
            for rank, node in enumerate(light.graph.node)
        )
        if no_fallback:
            refuse_fallback(self.placements)
        self.inputs, self.outputs = node_args(inputs), node_args(outputs)
        open_ = any(map(is_batched, self.inputs))
        self.fixed: int | None = None if open_ else first_size(self.inputs)
        part = HostModel(
            model=b"",
            inputs=tuple(value.name for value in inputs),
            outputs=tuple(value.name for value in outputs),
            path=str(path.absolute()),
        )
        self._package = Package(
            config_name=config.name,
            config_digest=config.digest(),
            inputs=inputs,
            outputs=outputs,
            parts=(part,),
            placements=self.placements,
        )

    def package(self, batch: int) -> Package:
        return self._package

    def whole(self, batch: int) -> HostModel | None:
        return None


def _light(path: Path) -> onnx.ModelProto:
    """The model without the data that lies in other files.

    Raises
    ------
    ModelError
        When it is not sound.
    """
    try:
        onnx.checker.check_model(str(path))
    except (onnx.checker.ValidationError, ValueError, RuntimeError) as error:
        raise ModelError(f"{path} is not sound ONNX: {first_line(error)}") from None
    return onnx.load(path, load_external_data=False)


def _bytes(path: Path) -> int:
    """Bytes of a model's file and of the data that it names in others; 0 when it is no model."""
    try:
        model = onnx.load(path, load_external_data=False)
        return path.stat().st_size + sum(map(_external, model.graph.initializer))
    except Exception:  # what is wrong with the file is said by read_model
        return 0


def _external(tensor: onnx.TensorProto) -> int:
    return sum(int(entry.value) for entry in tensor.external_data if entry.key == "length")
