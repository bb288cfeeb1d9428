"""The cycle model against the machine in RTL: seeded programs, and both their times."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from hpu.compiler.backend import compile_graph
from hpu.compiler.ir import Add, Conv, Graph, HostTensor, Op, Pool, Quant, Residual, Tensor
from hpu.hw.config import Config
from hpu.runtime.devices import RtlDevice
from hpu.runtime.driver import Driver
from hpu.runtime.program import Program
from hpu.sim.cycles import predict

__all__ = ["Comparison", "Network", "compare", "layers", "small_networks"]

_DRAM_BYTES = 1 << 28


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Cycles of one program, from its start to its end: by RTL and by the model."""

    name: str
    instructions: int
    measured: int
    predicted: int

    @property
    def error(self) -> float:
        """Of the prediction, as a signed share of what was measured."""
        return self.predicted / self.measured - 1


def compare(programs: Iterable[tuple[str, Program]], config: Config) -> list[Comparison]:
    """Run every program on one machine in RTL, and predict it.

    Raises
    ------
    HpuError
        When the machine cannot be built or a program faults.
    """
    device = RtlDevice(config, dram_bytes=_DRAM_BYTES)
    driver, found = Driver(device), []
    for name, program in programs:
        driver.load(program)
        cycles = driver.run().cycles
        times = predict(program.instructions, config, program_address=program.program_address)
        found.append(Comparison(name, program.instruction_count, cycles, times.cycles))
    device.close()
    return found


class Network:
    """A network of random weights under construction, from ``first`` to ``x``."""

    def __init__(self, seed: int, *shape: int):
        self._rng = np.random.default_rng(seed)
        self._ops: list[Op] = []
        self._tensors: dict[str, Tensor] = {}
        self.first = self.x = self._tensor(shape)

    def _tensor(self, shape: tuple[int, ...]) -> Tensor:
        n, y, x, c = shape
        tensor = Tensor(f"t{len(self._tensors)}", (n, y, x, c), Quant(np.float32(0.05), 3))
        self._tensors[tensor.name] = tensor
        return tensor

    def conv(
        self,
        cout: int,
        kernel: int,
        *,
        stride: int = 1,
        pad: int = 0,
        groups: int = 1,
        residual: Tensor | None = None,
    ) -> "Network":
        """A convolution, added to ``residual`` when there is one; a dense layer on 1×1 images."""
        weight = self._rng.integers(-127, 128, (cout, kernel, kernel, self.x.shape[3] // groups))
        op = Conv(
            nodes=(f"conv{len(self._ops)}",),
            x=self.x,
            out=self._windowed(cout, kernel, stride, pad),
            weight=weight.astype(np.int16),
            bias=self._rng.integers(-999, 1000, cout).astype(np.int32),
            scale=np.full(cout, 0.001, np.float32),
            strides=(stride, stride),
            pads=(pad,) * 4,
            groups=groups,
            residual=Residual(residual, Quant(np.float32(0.04), -5)) if residual else None,
        )
        return self._then(op)

    def pool(self, kind: str, kernel: int, *, stride: int = 1, pad: int = 0) -> "Network":
        """Max or average pooling."""
        op = Pool(
            nodes=(f"pool{len(self._ops)}",),
            x=self.x,
            out=self._windowed(self.x.shape[3], kernel, stride, pad),
            kind=kind,
            kernel=(kernel, kernel),
            strides=(stride, stride),
            pads=(pad,) * 4,
        )
        return self._then(op)

    def add(self, other: Tensor) -> "Network":
        """Element-wise addition."""
        name = f"add{len(self._ops)}"
        return self._then(Add(nodes=(name,), x=self.x, y=other, out=self._tensor(self.x.shape)))

    def _windowed(self, channels: int, kernel: int, stride: int, pad: int) -> Tensor:
        n, y, x, _ = self.x.shape
        edges = [(edge + 2 * pad - kernel) // stride + 1 for edge in (y, x)]
        return self._tensor((n, *edges, channels))

    def _then(self, op: Op) -> "Network":
        self._ops.append(op)
        self.x = op.out
        return self

    def program(self, config: Config) -> Program:
        """The network, compiled."""
        hosts = [_host(self.first)], [_host(self.x)]
        return compile_graph(Graph(self._ops, *hosts, self._tensors), config)


def _host(tensor: Tensor) -> HostTensor:
    shape = tensor.shape
    own = (float(tensor.quant.scale), tensor.quant.zero, tensor.name)
    return HostTensor(f"host_{tensor.name}", "int8", shape, shape, (0, 1, 2, 3), "int8", *own)


def layers(
    config: Config, count: int, *, seed: int, edge: int, channels: int
) -> Iterator[tuple[str, Program]]:
    """``count`` random single layers of every kind, with images of ``edge`` at most."""
    for index in range(seed, seed + count):
        rng = np.random.default_rng(index)
        size, cin, cout = (int(rng.integers(1, limit + 1)) for limit in (edge, channels, channels))
        kernel = min(size, int(rng.choice([1, 1, 3, 3, 5])))
        window: dict[str, Any] = {
            "stride": int(rng.integers(1, 3)),
            "pad": int(rng.integers(0, kernel // 2 + 1)),
        }
        kind = ("conv", "dense", "depthwise", "max", "average", "add")[index % 6]
        batch = int(rng.integers(1, 5)) * (16 if kind == "dense" else 1)
        net = Network(index, batch, *((1, 1) if kind == "dense" else (size, size)), cin)
        if kind == "dense":
            net.conv(cout, 1)
        elif kind == "conv":
            net.conv(cout, kernel, **window)
        elif kind == "depthwise":
            net.conv(cin, kernel, groups=cin, **window)
        elif kind == "add":
            net.conv(cin, 1).add(net.first)
        else:
            net.pool(kind, kernel, **window)
        yield f"{kind} {index}", net.program(config)


def small_networks(config: Config, *, edge: int, channels: int) -> Iterator[tuple[str, Program]]:
    """Networks of several layers: a chain, residual blocks, depthwise and pointwise in turn."""
    chain = Network(1, 2, edge, edge, 3).conv(channels, 3, pad=1).pool("max", 2, stride=2)
    chain.conv(2 * channels, 3, pad=1).pool("average", edge // 2).conv(10, 1)
    yield "chain", chain.program(config)
    blocks = Network(2, 2, edge, edge, channels)
    for _ in range(2):
        skip = blocks.x
        blocks.conv(channels, 3, pad=1).conv(channels, 3, pad=1, residual=skip)
    yield "residual", blocks.program(config)
    mobile = Network(3, 1, edge, edge, channels)
    for stride in (1, 2):
        mobile.conv(channels, 3, stride=stride, pad=1, groups=channels).conv(channels, 1)
    yield "mobile", mobile.program(config)
    dense = Network(4, 8, 1, 1, 4 * channels)
    for width in (6 * channels, 3 * channels, 10):
        dense.conv(width, 1)
    yield "dense", dense.program(config)
