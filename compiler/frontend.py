"""ONNX in, :class:`hpu.compiler.ir.Graph` out."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import onnx

from hpu.compiler import ir
from hpu.compiler.calibration import QUANTISED, CalibrationData, warn_unused
from hpu.compiler.fuse import fuse, prune
from hpu.compiler.importer.load import load_model
from hpu.compiler.importer.walk import import_graph
from hpu.compiler.overflow import check_overflow
from hpu.compiler.quantise import is_float, quantise
from hpu.compiler.verify import verify

__all__ = ["import_model", "import_quantised"]


def import_model(
    source: str | Path | onnx.ModelProto,
    *,
    batch: int | None = None,
    dims: Mapping[str, int] | None = None,
    calibration: CalibrationData | None = None,
    outputs: Sequence[str] | None = None,
    fused: bool = True,
) -> ir.Graph:
    """The graph of a quantised model, or of a float model quantised with ``calibration``.

    Parameters
    ----------
    source:
        An ONNX file or model.
    batch:
        Value of a symbolic batch dimension; 1 when not given.
    dims:
        Values of other symbolic dimensions, by name.
    calibration:
        For a float model: samples of its inputs, see
        :class:`~hpu.compiler.calibration.CalibrationSet`.
    outputs:
        Values at which to end, instead of the model's outputs; what follows them is left out.
    fused:
        False leaves every operator as an operation of its own.

    Raises
    ------
    ModelError
        When the model is damaged, contradicts itself or cannot be bound, or is a float model and
        there is no calibration data.
    UnsupportedError
        When the HPU does not run it; names the operator, the node and the reason.
    """
    model = load_model(source, batch, dims)
    if is_float(model):
        model = load_model(quantise(model, calibration))
    else:
        warn_unused(calibration, QUANTISED)
    return _finished(import_graph(model, outputs), fused)


def import_quantised(model: onnx.ModelProto) -> ir.Graph:
    """The graph of a part of a checked, quantised model whose shapes are known.

    Raises
    ------
    UnsupportedError
        When the HPU does not run it.
    """
    return _finished(import_graph(model))


def _finished(graph: ir.Graph, fused: bool = True) -> ir.Graph:
    graph = verify(prune(graph))
    check_overflow(graph)
    return fuse(graph) if fused else graph
