"""Ranges of a float model's activations, by onnxruntime's calibrators."""

import contextlib
import io
import itertools
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
from onnxruntime.quantization.calibrate import (
    TensorsData,
    create_calibrator,
    save_tensors_data,
)

from hpu.compiler.calibration import CalibrationSet, Samples
from hpu.compiler.errors import ModelError
from hpu.compiler.support import quantised_operators

__all__ = ["METHODS", "measure_ranges", "quiet"]

METHODS = {
    "minmax": CalibrationMethod.MinMax,
    "entropy": CalibrationMethod.Entropy,
    "percentile": CalibrationMethod.Percentile,
}
#: Bins of the histograms; onnxruntime's own default for entropy, 128 bins for 128 levels, leaves
#: it nothing to choose.
_BINS, _LEVELS = 2048, 256
#: Bytes of activations that are held at a time for histograms.
_HELD_BYTES = 1 << 29
#: A method that leaves out a larger share of an activation's values is reported.
_LARGEST_SHARE = 0.01
#: Names in a remark.
_NAMED = 3


def measure_ranges(
    model: Path, samples: Samples, given: CalibrationSet, folder: Path
) -> tuple[Path, list[str]]:
    """Run ``model`` on all samples; a file of ranges for onnxruntime's quantiser, and remarks.

    Raises
    ------
    ModelError
        When the samples do not fit, or an activation leaves float32 with them.
    """
    with quiet():
        calibrator = create_calibrator(
            model,
            quantised_operators(),
            augmented_model_path=str(folder / "augmented.onnx"),
            calibrate_method=METHODS[given.method],
            extra_options=_options(given),
        )
    for feeds in _portions(samples.feeds(), _feed_bytes(model)):
        with quiet():
            calibrator.collect_data(_Reader(feeds))
    with quiet():
        ranges = calibrator.compute_data()
        target = folder / "ranges.json"
        save_tensors_data(ranges, target)
    histograms = getattr(getattr(calibrator, "collector", None), "histogram_dict", {})
    _check_finite(ranges)
    inputs = {value.name for value in onnx.load(model, load_external_data=False).graph.input}
    return target, [*_constant(ranges, inputs), *_outside(ranges, histograms, given)]


def _options(given: CalibrationSet) -> dict[str, Any]:
    if given.method == "entropy":
        return {"num_bins": _BINS, "num_quantized_bins": _LEVELS}
    if given.method == "percentile":
        return {"percentile": given.percentile, "symmetric": False}
    return {}


def _portions(
    feeds: Iterator[dict[str, np.ndarray]], feed_bytes: int
) -> Iterator[list[dict[str, np.ndarray]]]:
    """Several feeds at a time: histograms get their bins from the first of them."""
    size = max(8, _HELD_BYTES // max(feed_bytes, 1))
    while portion := list(itertools.islice(feeds, size)):
        yield portion


def _feed_bytes(model: Path) -> int:
    """About the bytes of all activations of one feed; sizes that are not known count as 1."""
    graph = onnx.load(model, load_external_data=False).graph
    total = 0
    for value in (*graph.value_info, *graph.input, *graph.output):
        sizes = (max(dim.dim_value, 1) for dim in value.type.tensor_type.shape.dim)
        total += 4 * int(np.prod(list(sizes), dtype=np.int64))
    return total


class _Reader(CalibrationDataReader):
    """Feeds, as onnxruntime wants them."""

    def __init__(self, feeds: Iterable[dict[str, np.ndarray]]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next feed, or None after the last."""
        return next(self._feeds, None)


def _ends(ranges: TensorsData) -> Iterator[tuple[str, float, float]]:
    for name, data in ranges.items():
        low, high = data.range_value
        yield name, float(np.min(low)), float(np.max(high))


def _check_finite(ranges: TensorsData) -> None:
    for name, low, high in _ends(ranges):
        if not np.isfinite((low, high)).all():
            raise ModelError(
                f"the activation {name!r} becomes infinite or not a number with the calibration "
                "data; check the model and how the data are scaled"
            )


def _constant(ranges: TensorsData, inputs: set[str]) -> Iterator[str]:
    """Activations that no sample changes; inputs are reported elsewhere."""
    names = [name for name, low, high in _ends(ranges) if low == high and name not in inputs]
    if names:
        yield (
            f"{len(names)} of {len(ranges.data)} activations hold one number only with the "
            f"calibration data ({_listed(names)}); what else they hold later is lost"
        )


def _outside(
    ranges: TensorsData, histograms: dict[str, Any], given: CalibrationSet
) -> Iterator[str]:
    """Activations of which a method leaves out many values."""
    shares = {}
    for name, low, high in _ends(ranges):
        if name in histograms:
            counts, edges = histograms[name][:2]
            middles, step = (edges[:-1] + edges[1:]) / 2, (high - low) / 255
            lost = counts[(middles < low - step) | (middles > high + step)].sum()
            shares[name] = float(lost) / max(float(counts.sum()), 1)
    asked = 1 - given.percentile / 100 if given.method == "percentile" else 0.0
    limit = max(_LARGEST_SHARE, 2 * asked)
    wide = sorted((n for n in shares if shares[n] > limit), key=lambda n: -shares[n])
    if wide:
        yield (
            f"with the method {given.method}, {len(wide)} of {len(shares)} activations have more "
            f"than {limit:.0%} of their values outside the range, up to "
            f"{shares[wide[0]]:.1%} ({_listed(wide)}); compare with minmax"
        )


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(map(repr, names[:_NAMED])) + more


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the tools' advice on the root logger and on stdout."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(before)
