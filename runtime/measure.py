"""One measured run of a session: its outputs, its profile, and the files made of them."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hpu.compiler.placement import SLOWER, Placement
from hpu.hw.config import Config
from hpu.runtime.errors import HpuError
from hpu.runtime.files import write_atomically
from hpu.runtime.interface import NodeArg
from hpu.runtime.package import HostModel, Part
from hpu.runtime.profile import (
    HostProfile,
    NetworkProfile,
    Profile,
    Run,
    profile_of,
    to_json,
)
from hpu.runtime.program import Program
from hpu.runtime.report import html_report
from hpu.runtime.session import InferenceSession
from hpu.runtime.timeline import Timeline, timeline

if TYPE_CHECKING:
    import onnx

__all__ = [
    "Measured",
    "MeasuredNetwork",
    "measure",
    "measure_network",
    "random_feeds",
    "with_cycles",
]


@dataclasses.dataclass(frozen=True)
class Measured:
    """A program of a network, and how long it took."""

    program: Program
    config: Config
    run: Run
    profile: Profile

    @functools.cached_property
    def spans(self) -> Timeline:
        """When every instruction ran, as measured or predicted."""
        assert self.run.events is not None, "a measured run has a log"
        return timeline(self.run.events)


@dataclasses.dataclass(frozen=True)
class MeasuredNetwork:
    """What a network gave in one run, and its parts in the order in which they ran."""

    outputs: dict[str, np.ndarray]
    parts: list[Measured | HostProfile]
    batch: int
    placements: tuple[Placement, ...] = ()
    #: What onnxruntime takes for all of it on this computer, where it can be told.
    host_milliseconds: float | None = None

    @property
    def programs(self) -> list[Measured]:
        """The parts of the HPU."""
        return [part for part in self.parts if isinstance(part, Measured)]

    def profile(self, title: str) -> NetworkProfile:
        """All numbers."""
        parts = [part.profile if isinstance(part, Measured) else part for part in self.parts]
        return NetworkProfile(
            title=title,
            batch=self.batch,
            parts=parts,
            placements=list(self.placements),
            host_milliseconds=self.host_milliseconds,
        )

    def write(
        self,
        title: str,
        *,
        json_path: Path | None = None,
        html_path: Path | None = None,
        trace_path: Path | None = None,
    ) -> None:
        """Write the files whose paths are given, each whole or not at all.

        Raises
        ------
        HpuError
            When one cannot be written.
        """
        if json_path:
            write_atomically(json_path, to_json(self.profile(title)))
        if html_path:
            runs = [(part.program, part.config, part.spans) for part in self.programs]
            write_atomically(html_path, html_report(self.profile(title), runs).encode())
        if trace_path:
            from hpu.runtime.trace import write_trace

            write_trace(trace_path, self.programs[0].config, [_traced(p) for p in self.parts])


def _traced(part: Measured | HostProfile) -> tuple[Program, Timeline] | HostProfile:
    return (part.program, part.spans) if isinstance(part, Measured) else part


def measure(session: InferenceSession, feeds: Mapping[str, np.ndarray]) -> Measured:
    """Run ``feeds`` once and measure the network's only program.

    Raises
    ------
    HpuError
        As of :func:`measure_network`, and when there are several programs.
    """
    programs = measure_network(session, feeds).programs
    if len(programs) != 1:
        raise HpuError(f"the network has {len(programs)} programs for the HPU where one is wanted.")
    return programs[0]


def measure_network(session: InferenceSession, feeds: Mapping[str, np.ndarray]) -> MeasuredNetwork:
    """Run ``feeds`` once and measure every part of the network, and all of it on the host.

    Raises
    ------
    HpuError
        As of ``session.measure``, and when nothing runs on the HPU.
    """
    found = session.measure(feeds)
    if not found.package.programs:
        raise HpuError(
            "nothing of the network runs on the HPU, so there is nothing to profile"
            + _why(found.package.placements)
        )
    parts = [
        _measured(part, session, run) if isinstance(run, Run) else _host(part, run)
        for part, run in zip(found.package.parts, found.runs, strict=True)
    ]
    on_host = session.host_milliseconds(feeds)
    return MeasuredNetwork(found.outputs, parts, found.batch, found.package.placements, on_host)


def _why(placements: Sequence[Placement]) -> str:
    """The end of the sentence: what to do, where the host was only faster."""
    slower = any(entry.reason.startswith(SLOWER) for entry in placements)
    return "; the host runs it faster: give --force-hpu to profile it all the same." * slower or "."


def _measured(program: Part, session: InferenceSession, run: Run) -> Measured:
    assert isinstance(program, Program)
    config = session.config
    timed = with_cycles(program, config, run)
    return Measured(program, config, timed, profile_of(program, config, session.device, timed))


def _host(part: Part, milliseconds: float) -> HostProfile:
    assert isinstance(part, HostModel)
    nodes = _graph_nodes(part)
    return HostProfile(
        nodes=[node.name for node in nodes],
        operators=[node.op_type for node in nodes],
        milliseconds=milliseconds,
    )


def _graph_nodes(part: HostModel) -> Sequence["onnx.NodeProto"]:
    import onnx

    if part.path:
        return onnx.load(part.path, load_external_data=False).graph.node
    return onnx.load_from_string(part.model).graph.node


def with_cycles(program: Program, config: Config, run: Run) -> Run:
    """``run``, with the cycle model's times where its device has none.

    A device with counters alone keeps these and its cycles; over them the model's times of the
    instructions are spread.
    """
    if run.events is not None:
        return run
    from hpu.sim.cycles import predict  # brings the hardware's constants: slow to import

    times = predict(program.instructions, config, program_address=program.program_address)
    events = times.events()
    if run.cycles:
        events["cycle"] = events["cycle"] * (run.cycles / times.cycles)
        return Run(run.counters, events, run.cycles)
    counters = {**run.counters, **times.counters()}
    return Run(counters, events, times.cycles, predicted=True, charges=times.charges)


def random_feeds(inputs: Sequence[NodeArg], batch: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Inputs that mean nothing, for measuring time: it does not depend on the numbers."""
    generator = np.random.default_rng(seed)
    return {arg.name: _random(arg, batch, generator) for arg in inputs}


def _random(arg: NodeArg, batch: int, generator: np.random.Generator) -> np.ndarray:
    shape = [batch if isinstance(size, str) else size for size in arg.shape]
    if not arg.is_array:
        raise HpuError(f"there are no random values for {arg.name!r}, a {arg.type}; give inputs.")
    if arg.dtype.startswith(("float", "bool")):
        return generator.normal(size=shape).astype(arg.dtype)
    limits = np.iinfo(arg.dtype)
    return generator.integers(limits.min, limits.max + 1, shape).astype(arg.dtype)
