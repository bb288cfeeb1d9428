"""What a comparison says of every layer: noise against float, differences between devices."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from hpu.compiler import ir
from hpu.compiler.errors import UnsupportedError
from hpu.compiler.reference import compare as compare_operators
from hpu.runtime.layout import dequantise, from_device
from hpu.runtime.program import Port

__all__ = [
    "Comparison",
    "Layer",
    "Noise",
    "add_host",
    "add_input",
    "add_operation",
    "add_values",
]


@dataclasses.dataclass
class Noise:
    """Power of a float signal and of what differs from it, summed over samples."""

    signal: float = 0.0
    noise: float = 0.0
    seen: bool = False

    def add(self, real: np.ndarray, value: np.ndarray) -> None:
        """One more piece of the signal, and what it became."""
        real, value = real.astype(np.float64), value.astype(np.float64)
        self.signal += float(np.square(real).sum())
        self.noise += float(np.square(value - real).sum())
        self.seen = True

    @property
    def sqnr(self) -> float | None:
        """10·log10(signal / noise) in dB; infinite without noise, None where nothing was seen."""
        if not self.seen or not (math.isfinite(self.signal) and math.isfinite(self.noise)):
            return None
        if not self.noise:
            return math.inf
        return 10 * math.log10(self.signal / self.noise) if self.signal else -math.inf


@dataclasses.dataclass
class Layer:
    """One operation of the HPU, a quantised input or a result of the host, over all samples.

    ``name`` is the ONNX value; ``operation`` the HPU's, ``input`` or ``host``. ``onnxruntime``,
    ``functional`` and ``rtl`` are noise against float. ``lsb`` is the largest difference of the
    functional device from onnxruntime, each running the network from its inputs; ``lsb_alone`` that
    of this operation alone, fed the device's own input bytes, and ``wrong_alone`` counts the bytes
    that differ by more than is promised (``exact``: not at all; else 1 LSB). ``rtl_different``
    counts bytes that differ between RTL and the functional device, ``outside`` an input's numbers
    that its quantisation does not reach.
    """

    name: str
    nodes: tuple[str, ...]
    operation: str
    elements: int = 0
    onnxruntime: Noise = dataclasses.field(default_factory=Noise)
    functional: Noise = dataclasses.field(default_factory=Noise)
    rtl: Noise = dataclasses.field(default_factory=Noise)
    lsb: int | None = None
    lsb_alone: int | None = None
    wrong_alone: int = 0
    exact: bool = False
    rtl_different: int | None = None
    outside: int = 0

    def wrong(self, threshold: float) -> str:
        """Why the layer is wrong; empty when it is not."""
        if self.rtl_different:
            return (
                f"{self.rtl_different:,} of {self.elements:,} bytes differ between RTL and "
                "functional"
            )
        if self.wrong_alone:
            limit = "0" if self.exact else "1"
            return (
                f"{self.wrong_alone:,} of {self.elements:,} bytes are more than {limit} LSB from "
                f"onnxruntime's operator on the same inputs, up to {self.lsb_alone}"
            )
        sqnr = self.functional.sqnr
        if sqnr is not None and sqnr < threshold:
            share = self.outside / max(self.elements, 1)
            return f"its SQNR of {sqnr:.1f} dB is below {threshold:g} dB" + (
                f"; {share:.1%} of its numbers are outside the range that it is quantised to"
                if self.outside
                else ""
            )
        return ""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Every layer in order, and what they were compared with.

    ``reference`` says what the float values are, or why there are none.
    """

    layers: list[Layer]
    samples: int
    device: str
    config: str
    threshold: float
    reference: str

    @property
    def first_wrong(self) -> tuple[Layer, str] | None:
        """The first layer that is wrong, and why."""
        found = ((layer, layer.wrong(self.threshold)) for layer in self.layers)
        return next((entry for entry in found if entry[1]), None)


def add_input(
    layer: Layer, port: Port, real: np.ndarray, bytes_of: Mapping[str, Mapping[str, np.ndarray]]
) -> None:
    """An input as the devices have it, against what was fed."""
    layer.elements += real.size
    for key, found in bytes_of.items():
        getattr(layer, key).add(real, from_device(found[port.tensor], port))
    limits = np.iinfo(port.quantised)
    steps = np.rint(real.astype(np.float64) / port.scale) + port.zero
    layer.outside += int(((steps < limits.min) | (steps > limits.max)).sum())
    _add_rtl(layer, port.tensor, bytes_of)


def _add_rtl(layer: Layer, tensor: str, bytes_of: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    if "rtl" in bytes_of:
        different = int((bytes_of["functional"][tensor] != bytes_of["rtl"][tensor]).sum())
        layer.rtl_different = (layer.rtl_different or 0) + different


def add_host(
    layer: Layer,
    name: str,
    value: Any,
    real: Mapping[str, np.ndarray],
    theirs: Mapping[str, np.ndarray],
) -> None:
    """A result of the host, which is compared where it is float."""
    if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
        return
    layer.elements += value.size
    expected = real.get(name)
    if expected is not None and expected.shape == value.shape:
        layer.functional.add(expected, value)
        if name in theirs:
            layer.onnxruntime.add(expected, theirs[name])


def add_operation(
    layer: Layer, op: ir.Op, bytes_of: Mapping[str, Mapping[str, np.ndarray]]
) -> None:
    """The operation alone, and RTL against functional, byte by byte."""
    ours = bytes_of["functional"]
    layer.elements += ours[op.out.name].size
    _add_rtl(layer, op.out.name, bytes_of)
    try:
        (found,) = compare_operators(ir.Graph([op], [], [], {}), ours)
    except UnsupportedError:  # onnxruntime has no operator for it
        return
    layer.exact = found.exact
    layer.lsb_alone = max(layer.lsb_alone or 0, found.largest)
    layer.wrong_alone += found.wrong


def add_values(
    layer: Layer,
    port: Port,
    name: str,
    bytes_of: Mapping[str, Mapping[str, np.ndarray]],
    real: Mapping[str, np.ndarray],
    theirs: Mapping[str, np.ndarray],
) -> None:
    """The value as the ONNX model has it, against onnxruntime and float."""
    values = {key: from_device(found[name], port) for key, found in bytes_of.items()}
    given = theirs.get(name)
    if given is not None and given.shape == values["functional"].shape:
        values["onnxruntime"] = given
        apart = np.abs(given.astype(np.int32) - values["functional"].astype(np.int32))
        layer.lsb = max(layer.lsb or 0, int(apart.max(initial=0)))
    expected = real.get(name)
    for key, value in values.items():
        if expected is not None and expected.shape == value.shape:
            getattr(layer, key).add(expected, dequantise(value, port.scale, port.zero))
