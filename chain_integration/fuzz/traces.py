"""What suppliers of fuzzed orders reveal: the right result of a small network, and wrong ones."""

import dataclasses
import functools

import numpy as np

from hpu.chain_integration.proofs.layers import Model, commit_model
from hpu.chain_integration.proofs.trace import Trace, io_root
from hpu.compiler import ir

__all__ = ["SHAPE", "Variant", "model", "variants"]

#: Of the network's input: its result has nine leaves of 256 bytes.
SHAPE = (1, 4, 4, 513)


@dataclasses.dataclass(frozen=True)
class Variant:
    """One result: roots of output and trace, and the trace that they are of, where there is one."""

    name: str
    output: bytes
    root: bytes
    trace: Trace | None

    @property
    def outcome(self) -> tuple[bytes, bytes]:
        """The struct ``Outcome`` of the market."""
        return self.output, self.root


@functools.cache
def model() -> Model:
    """A maximum over windows of two by two."""
    quant = ir.Quant(np.float32(0.1), 0)
    n, height, width, channels = SHAPE
    x = ir.Tensor("x", SHAPE, quant)
    y = ir.Tensor("y", (n, height // 2, width // 2, channels), quant)
    op = ir.Pool(nodes=("pool",), x=x, out=y, kind="max", kernel=(2, 2), strides=(2, 2))
    return commit_model(ir.Graph([op], [_host(x)], [_host(y)], {"x": x, "y": y}))


@functools.cache
def variants() -> tuple[Variant, ...]:
    """The right result first; then one with a wrong byte, one whose output is not its trace's,
    and one that nothing stands behind."""
    x = np.random.default_rng(5).integers(-128, 128, SHAPE).astype(np.int8)
    y = np.maximum.reduce([x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)])
    right, wrong = _trace(x, y), _trace(x, _changed(y))
    return (
        Variant("right", right.output_tree.root, right.root, right),
        Variant("wrong", wrong.output_tree.root, wrong.root, wrong),
        Variant("torn", wrong.output_tree.root, right.root, right),
        Variant("void", b"\x01" * 32, b"\x02" * 32, None),
    )


@functools.cache
def input_root() -> bytes:
    """Root of the network's input."""
    trace = variants()[0].trace
    assert trace is not None
    return io_root([trace.values["x"]])


def _trace(x: np.ndarray, y: np.ndarray) -> Trace:
    return Trace(model(), {"x": x, "y": y})


def _changed(values: np.ndarray) -> np.ndarray:
    changed = values.copy()
    changed[0, 1, 0, 77] ^= 1
    return changed


def _host(tensor: ir.Tensor) -> ir.HostTensor:
    return ir.HostTensor(
        name=f"host_{tensor.name}",
        dtype="int8",
        shape=tensor.shape,
        view=tensor.shape,
        perm=(0, 1, 2, 3),
        quantised="int8",
        scale=float(tensor.quant.scale),
        zero=tensor.quant.zero,
        tensor=tensor.name,
    )
