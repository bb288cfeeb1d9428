"""Where the time goes: cycles, utilisation, limits, memory and traffic of a run, node by node."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from hpu.compiler.placement import Placement
from hpu.hw import csr
from hpu.hw.config import Config
from hpu.hw.isa import Unit
from hpu.runtime.limits import LIMITS, limit_of, shares, work
from hpu.runtime.package import Package
from hpu.runtime.program import NodeRange, Program
from hpu.runtime.timeline import Timeline, busy, layers, node_of, timeline, windows
from hpu.runtime.traffic import instruction_units, read_bytes, written_bytes

__all__ = [
    "HostProfile",
    "Memory",
    "NetworkProfile",
    "NodeProfile",
    "Profile",
    "Run",
    "Totals",
    "describe_package",
    "describe_program",
    "memory_of",
    "profile_of",
    "to_json",
]


@dataclasses.dataclass(frozen=True)
class Run:
    """What a device tells of one run: counters by name, and where it has them, events and time.

    ``events``: starts and ends of instructions, of dtype ``hpu.sim.rtl.EVENT``.
    ``cycles``: from the start of the program to its end. ``predicted``: times are those of the
    cycle model, for the device has no clock. ``charges``: int64 [instructions of the matrix unit
    + 1, causes], the cycles of the matrix unit at each of its instructions by
    ``csr.MATRIX_CAUSES``, and after the last; only of a prediction.
    """

    counters: dict[str, int]
    events: np.ndarray | None = None
    cycles: int | None = None
    predicted: bool = False
    charges: np.ndarray | None = None


class NodeProfile(msgspec.Struct, frozen=True, kw_only=True):
    """One ONNX node (or several that were fused). Cycles are ``None`` without a timed device."""

    name: str
    op_type: str
    macs: int
    instructions: int
    read_bytes: int
    written_bytes: int
    #: How the compiler laid the node on the machine, and why; empty: nothing to say.
    mapping: str = ""
    #: Cycles that the node added to the run; they sum to all cycles.
    cycles: int | None = None
    #: First start and last end of its instructions.
    start: int | None = None
    end: int | None = None
    #: Cycles in which the matrix unit ran an instruction of the node.
    matrix_cycles: int | None = None
    #: MACs over what the array could do in ``cycles``, or in ``matrix_cycles`` where these are
    #: more because the node overlapped with others.
    utilisation: float | None = None
    #: What limits it, a key of ``limits.LIMITS``, and each resource's share of its time.
    limit: str | None = None
    work: dict[str, float] | None = None
    #: Cycles of the matrix unit at the node's instructions, by cause; only predicted.
    causes: dict[str, int] | None = None

    @property
    def intensity(self) -> float | None:
        """Useful MACs per byte of DRAM traffic; ``None`` without MACs or without traffic."""
        moved = self.read_bytes + self.written_bytes
        return self.macs / moved if self.macs and moved else None


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes that a program needs."""

    #: Unified buffer: in use at most, and what there is.
    ub_peak: int
    ub_size: int
    #: DRAM in all, and of it: weights, parameters and tables; instructions; tensors by kind.
    dram: int
    weights: int
    instructions: int
    inputs: int
    outputs: int
    #: Tensors that the unified buffer does not hold (or that are kept for inspection).
    spilled: int


class Profile(msgspec.Struct, frozen=True, kw_only=True, tag="hpu", tag_field="runs_on"):
    """A program, and a run of it where there was one."""

    device: str
    config: str
    clock_hz: int
    array: tuple[int, int]
    #: DRAM bytes per cycle.
    bandwidth: float
    macs: int
    instructions: int
    read_bytes: int
    written_bytes: int
    memory: Memory
    nodes: list[NodeProfile]
    counters: dict[str, int]
    #: Whether the cycles are the cycle model's, not measured.
    predicted: bool = False
    cycles: int | None = None
    milliseconds: float | None = None
    utilisation: float | None = None
    #: Every cycle of the matrix unit, by cause.
    attribution: dict[str, int] | None = None
    #: Cycles in which each unit had an instruction.
    units: dict[str, int] | None = None
    #: Cycles of the nodes by what limits them.
    limits: dict[str, int] | None = None

    @property
    def attributed(self) -> float:
        """Share of the run's cycles that the causes account for; 1 when every cycle has one."""
        return sum((self.attribution or {}).values()) / (self.cycles or 1)


class HostProfile(msgspec.Struct, frozen=True, kw_only=True, tag="host", tag_field="runs_on"):
    """A part that onnxruntime ran: its nodes with their operators, and the time on this host."""

    nodes: list[str]
    operators: list[str]
    milliseconds: float


class Totals(msgspec.Struct, frozen=True, kw_only=True):
    """The programs of a network together. They run one after another in the same unified buffer."""

    cycles: int
    macs: int
    utilisation: float
    read_bytes: int
    written_bytes: int
    ub_peak: int
    ub_size: int
    dram: int
    weights: int
    instructions: int
    #: What limits the layers, in words, and its share of the cycles; the largest first.
    limits: list[tuple[str, float]]

    @classmethod
    def of(cls, programs: Sequence[Profile]) -> "Totals":
        """The totals of timed profiles."""
        cycles = sum(program.cycles or 0 for program in programs)
        rows, cols = programs[0].array
        memories = [program.memory for program in programs]
        macs = sum(program.macs for program in programs)
        found: dict[str, int] = {}
        for program in programs:
            for name, count in (program.limits or {}).items():
                found[name] = found.get(name, 0) + count
        order = sorted(found, key=lambda name: -found[name])
        return cls(
            cycles=cycles,
            macs=macs,
            utilisation=macs / (cycles * rows * cols) if cycles else 0.0,
            read_bytes=sum(program.read_bytes for program in programs),
            written_bytes=sum(program.written_bytes for program in programs),
            ub_peak=max(memory.ub_peak for memory in memories),
            ub_size=memories[0].ub_size,
            dram=max(memory.dram for memory in memories),
            weights=sum(memory.weights for memory in memories),
            instructions=sum(memory.instructions for memory in memories),
            limits=[(LIMITS[name], found[name] / (cycles or 1)) for name in order],
        )


class NetworkProfile(msgspec.Struct, frozen=True, kw_only=True):
    """A network: its parts in the order in which they run, and where every node runs."""

    #: Of the JSON file; another number when keys change their meaning or go away.
    format: int = 1
    title: str
    batch: int
    parts: list[Profile | HostProfile]
    placements: list[Placement] = []
    #: What onnxruntime takes for all of the network on this computer, where it can be told.
    host_milliseconds: float | None = None

    @property
    def programs(self) -> list[Profile]:
        """The parts of the HPU."""
        return [part for part in self.parts if isinstance(part, Profile)]

    @property
    def hosts(self) -> list[HostProfile]:
        """The parts of the host."""
        return [part for part in self.parts if isinstance(part, HostProfile)]

    @property
    def totals(self) -> Totals:
        """What the programs take together."""
        return Totals.of(self.programs)

    @property
    def milliseconds(self) -> float:
        """Time of all parts, one after another, without the transfers between them."""
        return sum(part.milliseconds or 0.0 for part in self.parts)

    @property
    def per_second(self) -> float:
        """Inferences per second of one batch after another."""
        return 1e3 * self.batch / self.milliseconds if self.milliseconds else 0.0


def profile_of(program: Program, config: Config, device: str, run: Run) -> Profile:
    """The profile of one run of ``program``."""
    spans = timeline(run.events) if run.events is not None else None
    nodes = _nodes(program, config, run, spans)
    return Profile(
        device=device,
        config=config.name,
        clock_hz=config.clock_hz,
        array=(config.rows, config.cols),
        bandwidth=config.dram_bytes_per_cycle,
        macs=program.macs,
        instructions=program.instruction_count,
        read_bytes=sum(node.read_bytes for node in nodes),
        written_bytes=sum(node.written_bytes for node in nodes),
        memory=memory_of(program, config),
        nodes=nodes,
        counters=run.counters,
        **_timed(program, config, run, spans),
        limits=_limits(nodes),
    )


def memory_of(program: Program, config: Config) -> Memory:
    """The bytes that ``program`` needs."""
    held = [part for part in program.memory if part.space == "ub"]
    steps = range(len(program.nodes))
    words = [sum(p.size for p in held if p.first <= node <= p.last) for node in steps]
    dram = dict.fromkeys(("input", "output", "tensor"), 0)
    for part in program.memory:
        if part.space == "dram":
            dram[part.kind] += part.size
    return Memory(
        ub_peak=config.lanes * max(words, default=0),
        ub_size=config.lanes * config.ub_depth,
        dram=program.dram_bytes,
        weights=sum(len(segment.data) for segment in program.image),
        instructions=len(program.instructions),
        inputs=dram["input"],
        outputs=dram["output"],
        spilled=dram["tensor"],
    )


def _limits(nodes: Sequence[NodeProfile]) -> dict[str, int] | None:
    found: dict[str, int] = {}
    for node in nodes:
        if node.limit is not None and node.cycles:
            found[node.limit] = found.get(node.limit, 0) + node.cycles
    return found or None


def _timed(program: Program, config: Config, run: Run, spans: Timeline | None) -> dict[str, Any]:
    if run.cycles is None:
        return {}
    return {
        "predicted": run.predicted,
        "cycles": run.cycles,
        "milliseconds": 1e3 * run.cycles / config.clock_hz,
        "utilisation": program.macs / (run.cycles * config.peak_macs),
        "attribution": {
            cause.name: run.counters[cause.name]
            for cause in csr.MATRIX_CAUSES
            if cause.name != "MATRIX_HOST"
        },
        "units": _units(program, run, spans),
    }


def _units(program: Program, run: Run, spans: Timeline | None) -> dict[str, int]:
    if spans is None:
        names = {unit.name.lower(): f"{unit.name}_BUSY" for unit in Unit}
        return {name: run.counters[key] for name, key in names.items() if key in run.counters}
    return {unit.name.lower(): int(busy(spans, unit, program.nodes).sum()) for unit in Unit}


def _nodes(program: Program, config: Config, run: Run, spans: Timeline | None) -> list[NodeProfile]:
    found, index = layers(program.nodes)
    owner = _owner(np.arange(program.instruction_count), program, index)
    read = _by_layer(read_bytes(program, config), owner, len(found))
    written = _by_layer(written_bytes(program, config), owner, len(found))
    timed = _layer_times(program, config, run, spans)
    return [
        NodeProfile(
            name=layer.name,
            op_type=layer.op_type,
            macs=layer.macs,
            mapping=layer.mapping,
            instructions=layer.count,
            read_bytes=int(read[k]),
            written_bytes=int(written[k]),
            **timed[k],
        )
        for k, layer in enumerate(found)
    ]


def _owner(pcs: np.ndarray, program: Program, index: np.ndarray) -> np.ndarray:
    """The layer of each instruction; -1 of one that belongs to none."""
    return np.append(index, -1)[node_of(pcs, program.nodes)]


def _by_layer(values: np.ndarray, owner: np.ndarray, count: int) -> np.ndarray:
    """Sum over the instructions of every layer."""
    total = np.zeros((count + 1, *values.shape[1:]), np.int64)
    np.add.at(total, owner, values)  # what belongs to none lands in the last
    return total[:-1]


def _layer_times(
    program: Program, config: Config, run: Run, spans: Timeline | None
) -> list[dict[str, Any]]:
    found, index = layers(program.nodes)
    if spans is None or run.cycles is None:
        return [{} for _layer in found]
    parts = windows(spans, program.nodes)
    worked = shares(spans, work(program, config, spans), parts, index)
    added = _by_layer(parts[:, 1] - parts[:, 0], index, len(found))
    limits = [limit_of(share, int(cycles)) for share, cycles in zip(worked, added, strict=True)]
    _spread(added, run.cycles)
    matrix = _by_layer(busy(spans, Unit.MATRIX, program.nodes), index, len(found))
    owner = _owner(spans.pc, program, index)
    causes = _causes(program, run, index, len(found))
    return [
        {
            "cycles": int(added[k]),
            "start": int(spans.start[owner == k].min(initial=run.cycles)),
            "end": int(spans.end[owner == k].max(initial=0)),
            "matrix_cycles": int(matrix[k]),
            "utilisation": _utilisation(layer, max(int(added[k]), int(matrix[k])), config),
            "limit": limits[k],
            "work": worked[k],
            "causes": causes[k] if causes else None,
        }
        for k, layer in enumerate(found)
    ]


def _causes(
    program: Program, run: Run, index: np.ndarray, count: int
) -> list[dict[str, int]] | None:
    """Cycles of the matrix unit by layer and cause."""
    if run.charges is None:
        return None
    own = np.flatnonzero(instruction_units(program) == Unit.MATRIX)
    total = _by_layer(run.charges[:-1], _owner(own, program, index), count)
    names = [cause.name for cause in csr.MATRIX_CAUSES]
    return [{name: int(n) for name, n in zip(names, row, strict=True) if n} for row in total]


def _spread(added: np.ndarray, cycles: int) -> None:
    """Charge what comes before the first start and after the last end to the first node."""
    if len(added):
        added[0] += cycles - added.sum()


def _utilisation(layer: NodeRange, cycles: int, config: Config) -> float:
    return layer.macs / (cycles * config.peak_macs) if cycles else 0.0


def describe_program(program: Program, config: Config) -> bytes:
    """What was compiled, as indented JSON: a profile without a run."""
    return to_json(profile_of(program, config, "none", Run({})))


def describe_package(package: Package, config: Config) -> bytes:
    """As :func:`describe_program`, for every program of a package, and where every node runs."""
    programs = [profile_of(program, config, "none", Run({})) for program in package.programs]
    return to_json({"placements": package.placements, "programs": programs})


def to_json(content: object) -> bytes:
    """Profiles as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"
