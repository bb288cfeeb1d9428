"""ONNX in, :class:`hpu.compiler.ir.Graph` out."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx

from hpu.compiler import ir
from hpu.compiler.importer.load import load_model
from hpu.compiler.importer.walk import import_graph

__all__ = ["import_model"]


def import_model(
    source: str | Path | onnx.ModelProto,
    *,
    batch: int | None = None,
    calibration: Mapping[str, np.ndarray] | None = None,
    fuse: bool = True,
) -> ir.Graph:
    """The graph of a quantised model, or of a float model quantised with ``calibration``.

    Parameters
    ----------
    source:
        An ONNX file or model.
    batch:
        Value of a symbolic batch dimension; 1 when not given.
    calibration:
        For a float model: for each input, samples of its shape with any batch.
    fuse:
        False leaves every operator of its own.

    Raises
    ------
    ModelError
        When the model is damaged, contradicts itself or cannot be bound.
    UnsupportedError
        When the HPU does not run it; names the operator, the node and the reason.
    """
    return import_graph(load_model(source, batch))
