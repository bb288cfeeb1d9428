"""Running a network: sessions like onnxruntime's."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from hpu.compiler.placement import Placement
from hpu.hw.config import Config
from hpu.runtime.errors import InputError
from hpu.runtime.execution import DEVICES, Executor, Stage
from hpu.runtime.host import PackageRunner
from hpu.runtime.interface import NodeArg, batch_of, check_feeds, is_batched
from hpu.runtime.package import Package
from hpu.runtime.profile import Run
from hpu.runtime.source import Calibration, Model, open_source

__all__ = ["InferenceSession", "Measurement"]

#: Images of a larger batch go through the machine in several equal parts.
MAX_BATCH = 512


@dataclasses.dataclass(frozen=True)
class Measurement:
    """One run: its outputs by name, and of every part of ``package`` what was measured.

    ``runs`` has what the device tells of a program, and milliseconds of a host's part.
    """

    outputs: dict[str, np.ndarray]
    package: Package
    runs: list[Run | float]
    batch: int


class InferenceSession:
    """A network on a device.

    Parameters
    ----------
    model:
        An ONNX model (path, bytes or ``ModelProto``), a ``.hpu`` file, or what
        :func:`hpu.compile` gave. What of a model the HPU does not run is run by onnxruntime.
    device:
        ``"functional"`` executes the program with numpy; ``"rtl"`` simulates the machine;
        ``"fpga"`` is the board on ``port``.
    config:
        Name of a configuration, or one; by default the program's own, and for a model the board's
        or hai-v1.
    batch:
        Compile for this batch only. Without it a model with a symbolic batch is compiled for the
        batch of each feed.
    dims:
        Values of symbolic dimensions of the inputs, by name.
    calibration:
        For a float model: arrays by input name, samples along the first axis; an iterable of such
        feeds; a file or folder; or a :class:`hpu.CalibrationSet`.
    no_fallback:
        Refuse a network of which the host would run a part.
    force_hpu:
        Let the HPU also run what the cycle model says the host would run faster; always so on
        an FPGA.
    port:
        Serial port of the board, for the device ``"fpga"``.
    progress:
        Called with what is done, the steps done and the steps in all (0: not known).

    Raises
    ------
    HpuError
        When the model or program cannot be used; the message says why.
    """

    def __init__(
        self,
        model: Model,
        *,
        device: str = "functional",
        config: str | Config | None = None,
        batch: int | None = None,
        dims: Mapping[str, int] | None = None,
        calibration: Calibration | None = None,
        no_fallback: bool = False,
        force_hpu: bool = False,
        port: str | None = None,
        progress: Stage | None = None,
    ):
        if device not in DEVICES:
            raise InputError(f"device must be one of {', '.join(DEVICES)}, not {device!r}.")
        self._source, self.config = open_source(
            model,
            config=config,
            board=_board(device, port),
            batch=batch,
            dims=dims,
            calibration=calibration,
            no_fallback=no_fallback,
            force_hpu=force_hpu,
        )
        self.device = device
        self._progress = progress
        self._runner = PackageRunner(Executor(self.config, device, progress, port))

    def get_inputs(self) -> list[NodeArg]:
        """Name, shape and type of every input."""
        return list(self._source.inputs)

    def get_outputs(self) -> list[NodeArg]:
        """Name, shape and type of every output."""
        return list(self._source.outputs)

    @property
    def placements(self) -> tuple[Placement, ...]:
        """Where every ONNX node runs; empty for a program file without a part for the host."""
        return self._source.placements

    def run(self, output_names: Sequence[str] | None, feeds: Mapping[str, Any]) -> list[np.ndarray]:
        """Outputs, in the order of ``output_names`` (all of them if ``None``).

        Raises
        ------
        InputError
            When a name, shape or type is wrong.
        DeviceError
            When the machine stops with a fault.
        """
        chosen = self._chosen(output_names)
        arrays = check_feeds(feeds, self._source.inputs)
        if self._source.fixed is not None:
            results = self._execute(arrays, self._source.fixed)
        else:
            results = self._in_parts(arrays, batch_of(arrays, self._source.inputs))
        return [results[name] for name in chosen]

    def run_batches(
        self, output_names: Sequence[str] | None, feeds: Mapping[str, Any]
    ) -> list[np.ndarray]:
        """As :meth:`run`, but inputs may hold any multiple of a fixed batch, run one by one.

        Raises
        ------
        InputError
            Also when the inputs hold no whole number of batches.
        """
        count = self.batches(feeds)
        if count == 1:
            return self.run(output_names, feeds)
        pieces = [np.split(np.asarray(value), count) for value in feeds.values()]
        parts = []
        for piece in zip(*pieces, strict=True):
            parts.append(self.run(output_names, dict(zip(feeds, piece, strict=True))))
            if self._progress is not None:
                self._progress("running", len(parts), count)
        return [np.concatenate(column) for column in zip(*parts, strict=True)]

    def batches(self, feeds: Mapping[str, Any]) -> int:
        """Batches of a fixed size that ``feeds`` hold; 1 where that is no whole number."""
        if not self._source.fixed:
            return 1
        counts = {_times(np.shape(value), self._source.fixed) for value in feeds.values()}
        return counts.pop() if len(counts) == 1 else 1

    def measure(self, feeds: Mapping[str, Any]) -> Measurement:
        """Run once and measure every part.

        Raises
        ------
        InputError
            Also when the feeds are more than one program takes.
        """
        arrays = check_feeds(feeds, self._source.inputs)
        batch = self._source.fixed or batch_of(arrays, self._source.inputs)
        if batch > MAX_BATCH and self._source.fixed is None:
            raise InputError(f"one run takes at most a batch of {MAX_BATCH}, not {batch}.")
        package = self._source.package(batch)
        outputs, runs = self._runner.measure(package, arrays)
        return Measurement(outputs, package, runs, batch)

    def host_milliseconds(self, feeds: Mapping[str, Any]) -> float | None:
        """What onnxruntime takes for the whole quantised model on this computer.

        None where there is no such model: a program file, or one that is too large.
        """
        arrays = check_feeds(feeds, self._source.inputs)
        batch = self._source.fixed or batch_of(arrays, self._source.inputs)
        whole = self._source.whole(batch)
        return None if whole is None else self._runner.milliseconds(whole, arrays)

    def _chosen(self, names: Sequence[str] | None) -> list[str]:
        known = [arg.name for arg in self._source.outputs]
        for name in names or ():
            if name not in known:
                raise InputError(
                    f"output {name!r} is unknown; the outputs are: {', '.join(known)}."
                )
        return known if names is None else list(names)

    def _in_parts(self, arrays: dict[str, np.ndarray], batch: int) -> dict[str, np.ndarray]:
        parts = -(-batch // MAX_BATCH)
        batched = all(map(is_batched, (*self._source.inputs, *self._source.outputs)))
        if parts == 1 or not batched:
            return self._execute(arrays, batch)
        size = -(-batch // parts)
        results = [
            self._execute(_slice(arrays, start, size), min(size, batch - start))
            for start in range(0, batch, size)
        ]
        return {name: np.concatenate([part[name] for part in results]) for name in results[0]}

    def _execute(self, arrays: dict[str, np.ndarray], batch: int) -> dict[str, np.ndarray]:
        return self._runner.run(self._source.package(batch), arrays)


def _board(device: str, port: str | None) -> Config | None:
    """Configuration of the board that a model is for."""
    if device != "fpga":
        if port is not None:
            raise InputError(f"port must be given for the device fpga only, not for {device}.")
        return None
    from hpu.runtime.fpga import configuration_on  # the boards take a while to import

    return configuration_on(port)


def _times(shape: tuple[int, ...], fixed: int) -> int:
    whole = fixed and shape and shape[0] and shape[0] % fixed == 0
    return shape[0] // fixed if whole else 1


def _slice(arrays: dict[str, np.ndarray], start: int, size: int) -> dict[str, np.ndarray]:
    return {name: value[start : start + size] for name, value in arrays.items()}
