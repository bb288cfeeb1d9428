"""Where the time goes: cycles, utilisation and traffic of a run, node by node."""

import dataclasses
from typing import Any

import msgspec
import numpy as np

from hpu.hw import csr
from hpu.hw.config import Config
from hpu.hw.isa import Unit
from hpu.runtime.package import Package
from hpu.runtime.program import NodeRange, Program
from hpu.runtime.timeline import Timeline, busy, charged, node_of, timeline
from hpu.runtime.traffic import read_bytes, written_bytes

__all__ = [
    "NodeProfile",
    "Profile",
    "Run",
    "describe_package",
    "describe_program",
    "profile_of",
    "to_json",
]


@dataclasses.dataclass(frozen=True)
class Run:
    """What a device tells of one run: counters by name, and where it has them, events and time.

    ``events``: starts and ends of instructions, of dtype ``hpu.sim.rtl.EVENT``.
    ``cycles``: from the start of the program to its end. ``predicted``: times are those of the
    cycle model, for the device has no clock.
    """

    counters: dict[str, int]
    events: np.ndarray | None = None
    cycles: int | None = None
    predicted: bool = False


class NodeProfile(msgspec.Struct, frozen=True, kw_only=True):
    """One ONNX node (or several that were fused). Cycles are ``None`` without a timed device."""

    name: str
    op_type: str
    macs: int
    instructions: int
    read_bytes: int
    written_bytes: int
    #: Cycles that the node added to the run; they sum to all cycles.
    cycles: int | None = None
    #: First start and last end of its instructions.
    start: int | None = None
    end: int | None = None
    #: Cycles in which the matrix unit ran an instruction of the node.
    matrix_cycles: int | None = None
    #: MACs over what the array could do in ``cycles``.
    utilisation: float | None = None


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run."""

    device: str
    config: str
    clock_hz: int
    array: tuple[int, int]
    macs: int
    instructions: int
    read_bytes: int
    written_bytes: int
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

    @property
    def attributed(self) -> float:
        """Share of the run's cycles that the causes account for; 1 when every cycle has one."""
        return sum((self.attribution or {}).values()) / (self.cycles or 1)


def profile_of(program: Program, config: Config, device: str, run: Run) -> Profile:
    """The profile of one run of ``program``."""
    spans = timeline(run.events) if run.events is not None else None
    nodes = _nodes(program, config, spans, run.cycles)
    return Profile(
        device=device,
        config=config.name,
        clock_hz=config.clock_hz,
        array=(config.rows, config.cols),
        macs=program.macs,
        instructions=program.instruction_count,
        read_bytes=sum(node.read_bytes for node in nodes),
        written_bytes=sum(node.written_bytes for node in nodes),
        nodes=nodes,
        counters=run.counters,
        **_timed(program, config, run, spans),
    )


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


def _nodes(
    program: Program, config: Config, spans: Timeline | None, cycles: int | None
) -> list[NodeProfile]:
    read, written = read_bytes(program, config), written_bytes(program, config)
    timed = _node_times(program, config, spans, cycles)
    return [
        NodeProfile(
            name=node.name,
            op_type=node.op_type,
            macs=node.macs,
            instructions=node.count,
            read_bytes=int(read[node.first : node.first + node.count].sum()),
            written_bytes=int(written[node.first : node.first + node.count].sum()),
            **times,
        )
        for node, times in zip(program.nodes, timed, strict=True)
    ]


def _node_times(
    program: Program, config: Config, spans: Timeline | None, cycles: int | None
) -> list[dict]:
    if spans is None or cycles is None:
        return [{} for _node in program.nodes]
    added = charged(spans, program.nodes)
    _spread(added, cycles)
    matrix = busy(spans, Unit.MATRIX, program.nodes)
    owner = node_of(spans.pc, program.nodes)
    return [
        {
            "cycles": int(added[k]),
            "start": int(spans.start[owner == k].min(initial=cycles)),
            "end": int(spans.end[owner == k].max(initial=0)),
            "matrix_cycles": int(matrix[k]),
            "utilisation": _utilisation(node, int(added[k]), config),
        }
        for k, node in enumerate(program.nodes)
    ]


def _spread(added: np.ndarray, cycles: int) -> None:
    """Charge what comes before the first start and after the last end to the first node."""
    if len(added):
        added[0] += cycles - added.sum()


def _utilisation(node: NodeRange, cycles: int, config: Config) -> float:
    return node.macs / (cycles * config.peak_macs) if cycles else 0.0


def describe_program(program: Program, config: Config) -> bytes:
    """What was compiled, as indented JSON: a profile without a run."""
    return to_json(profile_of(program, config, "none", Run({})))


def describe_package(package: Package, config: Config) -> bytes:
    """As :func:`describe_program`, for every program of a package, and where every node runs."""
    programs = [profile_of(program, config, "none", Run({})) for program in package.programs]
    content = {"placements": package.placements, "programs": programs}
    return msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n"


def to_json(profile: Profile) -> bytes:
    """The profile as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(profile), indent=2) + b"\n"
