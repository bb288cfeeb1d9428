"""The demo network, quantised: what the demo and the benchmarks run."""

import functools
from pathlib import Path

import numpy as np
import onnx

from examples.digits.data import split
from hpu.runtime.source import read_quantised

__all__ = ["INPUT", "MODEL", "accuracy", "held_out", "quantised"]

MODEL = Path(__file__).with_name("digits.onnx")
#: Name of the network's input.
INPUT = "image"


@functools.cache
def quantised() -> onnx.ModelProto:
    """The network in QDQ form, its ranges taken from the training images."""
    (images, _labels), _held_out = split()
    return read_quantised(MODEL, {INPUT: images})


def held_out() -> tuple[np.ndarray, np.ndarray]:
    """The held-out images, float32 [360, 1, 8, 8], and their labels."""
    return split()[1]


def accuracy(logits: np.ndarray, labels: np.ndarray) -> float:
    """Share of the rows whose largest value stands at the label."""
    return float((logits.argmax(1) == labels).mean())
