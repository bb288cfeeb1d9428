"""Calibration data: samples of a float model's inputs, checked, batch by batch."""

import dataclasses
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

import numpy as np
import onnx
from onnx import helper

from hpu.compiler.calibration_files import Scaling, read_samples
from hpu.compiler.errors import ModelError
from hpu.compiler.importer.load import model_inputs
from hpu.runtime.errors import HpuWarning

__all__ = [
    "METHODS",
    "QUANTISED",
    "CalibrationData",
    "CalibrationSet",
    "Samples",
    "as_set",
    "warn",
    "warn_unused",
]

#: How the range of an activation comes from the values seen.
METHODS = ("minmax", "entropy", "percentile")
#: Why a model does not need calibration data.
QUANTISED = "the model is quantised already, and keeps its scales"
#: Fewer samples than this hardly show the range of an activation.
FEW = 16

#: A file or folder; samples by input name; or feeds, each with samples along the first axis.
Given: TypeAlias = (
    str | os.PathLike[str] | Mapping[str, np.ndarray] | Iterable[Mapping[str, np.ndarray]]
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CalibrationSet:
    """Calibration data, and what is made of them.

    Parameters
    ----------
    data:
        Arrays by input name with samples along the first axis; an iterable of such feeds, read
        once; an ``.npz``, ``.npy`` or image file; or a folder of them.
    method:
        How an activation's range is chosen: ``"minmax"``, the least and greatest value seen;
        ``"entropy"``, the range whose 8-bit histogram is nearest to the float one by
        Kullback-Leibler divergence; ``"percentile"``, all but the outermost values.
    percentile:
        For that method: the share of the values in the range, in percent.
    image_mean, image_std:
        Images become ``(pixel / 255 - mean) / std``; one number, or one for each channel.
    """

    data: Given
    method: str = "minmax"
    percentile: float = 99.999
    image_mean: Sequence[float] = ()
    image_std: Sequence[float] = ()

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ModelError(
                f"the calibration method must be one of {', '.join(METHODS)}, not {self.method!r}"
            )
        if not 50 < self.percentile <= 100:
            raise ModelError(
                f"the calibration percentile must be over 50 and at most 100, not {self.percentile}"
            )
        Scaling(self.image_mean, self.image_std)

    def feeds(self, inputs: Sequence[onnx.ValueInfoProto]) -> Iterator[Mapping[str, np.ndarray]]:
        """The samples as they are given, for a model with these inputs."""
        if isinstance(self.data, str | os.PathLike):
            yield from read_samples(self.data, inputs, Scaling(self.image_mean, self.image_std))
        elif isinstance(self.data, Mapping):
            yield self.data
        else:
            yield from self.data


CalibrationData: TypeAlias = Given | CalibrationSet


def as_set(calibration: CalibrationData) -> CalibrationSet:
    """Calibration data with everything that goes with them."""
    if isinstance(calibration, CalibrationSet):
        return calibration
    if not isinstance(calibration, str | os.PathLike | Iterable):
        kind = type(calibration).__name__
        raise ModelError(
            f"calibration data must be a path, arrays by input name or an iterable of them, "
            f"not {kind}"
        )
    return CalibrationSet(data=calibration)


def warn(text: str) -> None:
    """Tell the user something that is no error."""
    warnings.warn(text, HpuWarning, stacklevel=2)


def warn_unused(calibration: object, why: str) -> None:
    """Say that calibration data, where there are any, are not used."""
    if calibration is not None:
        warn(f"the calibration data are not used: {why}")


class Samples:
    """Calibration data as feeds of a model, and what there is to say about them.

    Parameters
    ----------
    model:
        A float model; where its batch is symbolic, feeds are of one sample.
    data:
        What is given.
    """

    def __init__(self, model: onnx.ModelProto, data: CalibrationSet):
        self._data = data
        self._values = model_inputs(model)
        self._inputs = {value.name: _Input(value) for value in self._values}
        read = {name for node in model.graph.node for name in node.input}
        self._idle = [name for name in self._inputs if name not in read]
        self._unknown: dict[str, None] = {}
        self.count = 0

    def feeds(self) -> Iterator[dict[str, np.ndarray]]:
        """Feeds of the model's batch.

        Raises
        ------
        ModelError
            When there are none, or samples do not fit the model's inputs.
        """
        for given in self._data.feeds(self._values):
            self._take(given)
            while all(entry.ready for entry in self._inputs.values()):
                self.count += 1
                yield {name: entry.next() for name, entry in self._inputs.items()}
        if not self.count:
            raise ModelError(self._too_few())

    def _too_few(self) -> str:
        first = next(iter(self._inputs.values()))
        if not first.waiting:
            return "there are no calibration samples; give some"
        return (
            f"there are {first.waiting} calibration samples of {first.name!r}, fewer than the "
            f"batch of {first.batch} that the model takes; give more"
        )

    def _take(self, given: Mapping[str, np.ndarray]) -> None:
        if not isinstance(given, Mapping):
            kind = type(given).__name__
            raise ModelError(f"a calibration feed must hold arrays by input name, not be a {kind}")
        self._unknown |= dict.fromkeys(name for name in given if name not in self._inputs)
        steps = {}
        for name, entry in self._inputs.items():
            if name not in given:
                held = ", ".join(map(repr, given)) or "nothing"
                raise ModelError(
                    f"the calibration data has no samples of the input {name!r}; it holds {held}"
                )
            steps[name] = entry.take(given[name])
        if len(set(steps.values())) > 1:
            listed = ", ".join(f"{count:g} of {name!r}" for name, count in steps.items())
            raise ModelError(f"the inputs must have as many calibration samples each, not {listed}")

    def remarks(self) -> Iterator[str]:
        """What looks wrong with the samples that were fed."""
        for name in self._unknown:
            yield f"the calibration data hold {name!r}, which is no input of the model; not used"
        for name in self._idle:
            yield f"no node reads the input {name!r}; its calibration samples change nothing"
        entries = list(self._inputs.values())
        samples = self.count * max((entry.batch for entry in entries), default=1)
        if samples < FEW:
            yield (
                f"the ranges come from only {samples} calibration samples; give {FEW} or more, "
                "typical of what the network will be fed"
            )
        for entry in entries:
            yield from entry.remarks(samples)
            if entry.waiting:
                yield (
                    f"the last {entry.waiting} calibration samples of {entry.name!r} are not used, "
                    f"since the model takes {entry.batch} at a time"
                )


class _Input:
    """One input: samples that wait for a batch, and what was seen of it."""

    def __init__(self, value: onnx.ValueInfoProto):
        kind = value.type.tensor_type
        self.name = value.name
        self._dims = list(kind.shape.dim)
        self._sizes = [dim.dim_value for dim in self._dims]
        self.batch = max(1, self._sizes[0]) if self._sizes else 1
        self._dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type))
        self._waiting: list[np.ndarray] = []
        self.waiting = 0
        self._first: np.ndarray | None = None
        self._all_same = True
        self._least, self._greatest = np.inf, -np.inf
        self._integers: np.dtype | None = None

    @property
    def ready(self) -> bool:
        """Whether a batch waits."""
        return self.waiting >= self.batch

    def take(self, given: np.ndarray) -> float:
        """Add samples; gives the number of batches that they are."""
        array = self._fitting(np.asarray(given))
        self._watch(array)
        self._waiting.append(array)
        self.waiting += len(array) if array.ndim else 1
        return (len(array) if array.ndim else 1) / self.batch

    def next(self) -> np.ndarray:
        """The next batch."""
        if not self._sizes:
            self.waiting -= 1
            return self._waiting.pop(0)
        joined = self._waiting[0] if len(self._waiting) == 1 else np.concatenate(self._waiting)
        self._waiting = [joined[self.batch :]] if len(joined) > self.batch else []
        self.waiting -= self.batch
        return joined[: self.batch]

    def _fitting(self, array: np.ndarray) -> np.ndarray:
        if array.ndim == len(self._sizes) - 1 and self._matches(array.shape):
            array = array[None]
        fits = array.ndim == len(self._sizes) and self._matches(array.shape[1:])
        if not fits or not array.size or array.dtype.kind not in "biuf":
            wanted = ", ".join(str(dim.dim_value or dim.dim_param or "?") for dim in self._dims)
            raise ModelError(
                f"the calibration samples of {self.name!r} have the shape {list(array.shape)}"
                f"{'' if array.dtype.kind in 'biuf' else f' and the type {array.dtype}'}; the "
                f"model takes [{wanted}], with samples along the first axis"
            )
        if self._dtype.kind == "f" and array.dtype.kind != "f":
            self._integers = array.dtype
        array = array.astype(self._dtype)
        if self._dtype.kind == "f" and not np.isfinite(array).all():
            raise ModelError(f"the calibration samples of {self.name!r} hold NaN or infinity")
        return array

    def _matches(self, sizes: Sequence[int]) -> bool:
        """Whether a sample's sizes are the input's; a size that is not known takes any."""
        wanted = self._sizes[1:]
        return len(sizes) == len(wanted) and all(
            size == given or not size for size, given in zip(wanted, sizes, strict=True)
        )

    def _watch(self, array: np.ndarray) -> None:
        first = array[:1] if array.ndim else array
        self._first = first if self._first is None else self._first
        same = self._first.shape == first.shape and bool((array == self._first).all())
        self._all_same = self._all_same and same
        self._least = min(self._least, float(array.min()))
        self._greatest = max(self._greatest, float(array.max()))

    def remarks(self, samples: int) -> Iterator[str]:
        """What looks wrong with the samples of this input."""
        if self._least == self._greatest:
            yield f"every number in the calibration samples of {self.name!r} is {self._least:g}"
        elif self._all_same and samples > 1:
            yield f"all {samples} calibration samples of {self.name!r} are the same"
        if self._integers is not None:
            yield (
                f"the calibration samples of {self.name!r} are {self._integers} from "
                f"{self._least:g} to {self._greatest:g}, and are taken as these numbers for an "
                f"input of {self._dtype}; scale them if the network was trained on scaled ones"
            )
