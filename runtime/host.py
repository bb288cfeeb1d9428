"""Running a package: programs on the device, the other parts by onnxruntime."""

import contextlib
import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from hpu.compiler.importer.external import is_external
from hpu.compiler.submodel import stamped_down
from hpu.runtime.errors import HpuError
from hpu.runtime.execution import Executor
from hpu.runtime.ort_values import run_session
from hpu.runtime.package import HostModel, Package
from hpu.runtime.profile import Run
from hpu.runtime.program import Program

if TYPE_CHECKING:
    import onnx
    import onnxruntime

__all__ = ["PackageRunner", "host_session"]


def host_session(model: HostModel) -> "onnxruntime.InferenceSession":
    """onnxruntime's session of a part, with its default optimisation on the processor.

    Raises
    ------
    HpuError
        When onnxruntime cannot run the part.
    """
    try:
        return _open(model)
    except Exception as error:  # onnxruntime's errors have no common base
        with contextlib.suppress(Exception):  # the first error is the one that says why
            return _open(model, optimise=False)
        for change in () if model.path else _OLDER:
            with contextlib.suppress(Exception):
                changed = _changed(model.model, change)
                return _open(msgspec.structs.replace(model, model=changed))
        raise HpuError(f"onnxruntime cannot run the host's part: {_first(error)}.") from None


def _open(model: HostModel, optimise: bool = True) -> "onnxruntime.InferenceSession":
    """A session; onnxruntime's optimiser breaks a few sound models, which run without it."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    if not optimise:
        level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.graph_optimization_level = level
    options.log_severity_level = 4
    options.use_deterministic_compute = True
    source: str | bytes = model.path or model.model
    if model.external:
        folder, source = _beside(model.model)
        options.add_session_config_entry(_FOLDER, folder)
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


#: onnxruntime's name of the folder of constants in other files; it maps them, and reads no more.
_FOLDER = "session.model_external_initializers_file_folder_path"


def _beside(model: bytes) -> tuple[str, bytes]:
    """The folder of the files that hold a part's constants, and the part with names in it."""
    import onnx

    proto = onnx.load_from_string(model)
    entries = [
        entry
        for tensor in proto.graph.initializer
        if is_external(tensor)
        for entry in tensor.external_data
        if entry.key == "location"
    ]
    folder = os.path.commonpath([os.path.dirname(entry.value) for entry in entries])
    for entry in entries:
        entry.value = os.path.relpath(entry.value, folder)
    return folder, proto.SerializeToString()


def _converted(model: "onnx.ModelProto") -> "onnx.ModelProto":
    from onnx import version_converter

    converted = version_converter.convert_version(model, _OPSET)
    converted.ir_version = min(converted.ir_version, _IR_VERSION)
    return converted


#: An opset and an IR version that onnxruntime 1.31 takes.
_OPSET, _IR_VERSION = 24, 13
#: Ways to bring a model to an older opset without another meaning, tried in order.
_OLDER: tuple[Callable[["onnx.ModelProto"], "onnx.ModelProto"], ...] = (stamped_down, _converted)


def _changed(model: bytes, change: "Callable[[onnx.ModelProto], onnx.ModelProto]") -> bytes:
    import onnx

    return change(onnx.load_from_string(model)).SerializeToString()


def _first(error: Exception) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0].split(" : ")[-1].rstrip(". ")


#: Runs of a host part that is timed at most, and milliseconds after which there are no more.
_TURNS, _ENOUGH = 5, 200.0


class PackageRunner:
    """Runs packages on one device.

    Parameters
    ----------
    executor:
        The device.
    """

    def __init__(self, executor: Executor):
        self._executor = executor
        # By identity; the models are kept so that none gets another's place.
        self._sessions: dict[int, tuple[HostModel, onnxruntime.InferenceSession]] = {}

    def run(self, package: Package, arrays: Mapping[str, Any]) -> dict[str, Any]:
        """The outputs of ``package`` on ``arrays``, by name.

        Raises
        ------
        HpuError
            When a device or onnxruntime cannot run a part.
        """
        known = dict(arrays)
        for part in package.parts:
            known |= self._part(part, known)
        return {value.name: known[value.name] for value in package.outputs}

    def measure(
        self, package: Package, arrays: Mapping[str, Any]
    ) -> tuple[dict[str, Any], list[Run | float]]:
        """As :meth:`run`, and of each part what the device measured or the host's milliseconds.

        The host's time is the least of a few runs, onnxruntime's session made before.
        """
        known = dict(arrays)
        runs: list[Run | float] = []
        for part in package.parts:
            if isinstance(part, Program):
                outputs, run = self._executor.measure(part, known)
                runs.append(run)
                known |= outputs
            else:
                runs.append(self.milliseconds(part, known))
                known |= self._part(part, known)
        return {value.name: known[value.name] for value in package.outputs}, runs

    def milliseconds(self, part: HostModel, known: Mapping[str, Any]) -> float:
        """What onnxruntime takes for a part on this computer: the least of a few runs."""
        self._part(part, known)  # makes the session, and warms up
        best = total = 0.0
        for _turn in range(_TURNS):
            started = time.perf_counter()
            self._part(part, known)
            took = 1e3 * (time.perf_counter() - started)
            best, total = min(best or took, took), total + took
            if total > _ENOUGH:
                break
        return best

    def _part(self, part: Program | HostModel, known: Mapping[str, Any]) -> dict[str, Any]:
        if isinstance(part, Program):
            return self._executor.run(part, known)
        feeds = {name: _contiguous(known[name]) for name in part.inputs}
        try:
            values = run_session(self._session(part), part.outputs, feeds)
        except HpuError:
            raise
        except Exception as error:  # onnxruntime's errors have no common base
            raise HpuError(f"onnxruntime stopped in the host's part: {_first(error)}.") from None
        return dict(zip(part.outputs, values, strict=True))

    def _session(self, part: HostModel) -> "onnxruntime.InferenceSession":
        if id(part) not in self._sessions:
            self._sessions[id(part)] = (part, host_session(part))
        return self._sessions[id(part)][1]


def _contiguous(value: Any) -> Any:
    return np.ascontiguousarray(value) if isinstance(value, np.ndarray) and value.ndim else value
