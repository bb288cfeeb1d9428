"""What a region costs: on the HPU by the cycle model, and on the host that it is attached to.

The host is the one of the configuration, not the one that compiles, so that the same model gives
the same bytes anywhere. ``hpu profile`` measures the real one.
"""

import dataclasses
import math

import numpy as np

from hpu.compiler.backend import macs
from hpu.compiler.ir import Graph, Op
from hpu.hw import isa
from hpu.hw.config import Config
from hpu.runtime.program import Program
from hpu.sim.cycles import predict
from hpu.sim.decode import field_arrays

__all__ = ["Cost", "cost_of", "host_seconds", "most_cycles", "transfer_seconds"]


@dataclasses.dataclass(frozen=True)
class Cost:
    """Seconds of a region on the HPU, with the transfer of its inputs and outputs, and on the host.

    ``exact``: ``hpu`` is the cycle model's; otherwise a bound from above that is less than the
    host's time already.
    """

    hpu: float
    host: float
    exact: bool = True

    @property
    def pays(self) -> bool:
        """Whether the HPU is the faster one."""
        return self.hpu < self.host

    def __str__(self) -> str:
        most = "" if self.exact else "at most "
        return f"{most}{_microseconds(self.hpu)} against {_microseconds(self.host)}"


def _microseconds(seconds: float) -> str:
    value = 1e6 * seconds
    return f"{value:,.0f} µs" if value >= 1000 else f"{value:.1f} µs"


def cost_of(graph: Graph, program: Program, config: Config) -> Cost:
    """The cost of a region that was compiled to ``program``.

    The cycle model runs only when a bound from above does not decide.
    """
    host, transfer = host_seconds(graph, config), transfer_seconds(graph, config)
    most = transfer + most_cycles(program.instructions, config) / config.clock_hz
    if most < host:
        return Cost(most, host, exact=False)
    times = predict(program.instructions, config, program_address=program.program_address)
    return Cost(transfer + times.cycles / config.clock_hz, host)


def transfer_seconds(graph: Graph, config: Config) -> float:
    """Starting the machine, and bringing the region's inputs and outputs over the link."""
    ends = [*graph.inputs, *graph.outputs]
    transfers = (len(ends) + 1) * config.link_latency_ns * 1e-9
    return transfers + sum(math.prod(end.shape) for end in ends) / config.link_bandwidth


def host_seconds(graph: Graph, config: Config) -> float:
    """The region on the configuration's host: products, bytes, and a constant per operator."""
    operators = {name for op in graph.ops for name in op.nodes}
    products = sum(map(macs, graph.ops)) / config.host_macs
    moved = sum(map(_moved_bytes, graph.ops)) / config.host_bandwidth
    return len(operators) * config.host_op_ns * 1e-9 + products + moved


def _moved_bytes(op: Op) -> int:
    """Bytes of an operation's operands and result, int8."""
    weight = getattr(op, "weight", None)
    tensors = sum(math.prod(tensor.shape) for tensor in (*op.inputs, op.out))
    return tensors + (0 if weight is None else weight.size)


def most_cycles(instructions: bytes, config: Config) -> float:
    """A bound of a program's cycles from above: its instructions one after another.

    Each takes two cycles per step, the time of its bytes on a slow day, and the machine's length.
    """
    words = np.frombuffer(instructions, np.uint8).reshape(-1, isa.INSTRUCTION_BYTES)
    length = config.rows + config.cols + config.dram_latency + _INSTRUCTION
    total = float(len(words) * length)
    for entry in isa.INSTRUCTIONS:
        own = words[words[:, 0] == int(entry.opcode)]
        if len(own):
            total += _steps(field_arrays(own, entry), config)
    return total


#: Cycles that fetch, decode and tokens of an instruction take at most.
_INSTRUCTION = 100


def _steps(fields: dict[str, np.ndarray], config: Config) -> float:
    counts = [values for name, values in fields.items() if name.endswith("_count")]
    steps = np.ones(1)
    for values in (*counts, fields.get("rows", 1)):
        steps = steps * values
    if "dram" not in fields:
        return float(2 * steps.sum())
    beats = -(-fields["width"] * config.group // config.axi_bytes)
    per_beat = max(config.axi_bytes / config.dram_bytes_per_cycle, 1)
    return float((steps * (2 + 2 * per_beat * beats)).sum())
