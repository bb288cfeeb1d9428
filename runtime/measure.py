"""One measured run of a session: its outputs, its profile, and the files made of them."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hpu.hw.config import Config
from hpu.runtime.errors import HpuError
from hpu.runtime.files import write_atomically
from hpu.runtime.interface import NodeArg
from hpu.runtime.profile import Profile, Run, profile_of, to_json
from hpu.runtime.program import Program
from hpu.runtime.report import html_report
from hpu.runtime.session import InferenceSession
from hpu.runtime.timeline import Timeline, timeline

__all__ = ["Measured", "measure", "measure_all", "random_feeds", "with_cycles"]


@dataclasses.dataclass(frozen=True)
class Measured:
    """A program, what the network gave in one run, and how long the program took."""

    program: Program
    config: Config
    outputs: dict[str, np.ndarray]
    run: Run
    profile: Profile

    @property
    def spans(self) -> Timeline | None:
        """When every instruction ran, as measured or predicted."""
        return None if self.run.events is None else timeline(self.run.events)

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
            write_atomically(json_path, to_json(self.profile))
        if html_path:
            page = html_report(self.profile, title, spans=self.spans, nodes=self.program.nodes)
            write_atomically(html_path, page.encode())
        spans = self.spans
        if trace_path and spans is not None:
            from hpu.runtime.trace import write_trace

            write_trace(trace_path, self.program, self.config, spans)


def measure(session: InferenceSession, feeds: Mapping[str, np.ndarray]) -> Measured:
    """Run ``feeds`` once and measure the network's only program.

    Raises
    ------
    HpuError
        As of ``session.measure``, and when there are several programs or none.
    """
    programs = measure_all(session, feeds)
    if len(programs) != 1:
        raise HpuError(f"the network has {len(programs)} programs for the HPU where one is wanted.")
    return programs[0]


def measure_all(session: InferenceSession, feeds: Mapping[str, np.ndarray]) -> list[Measured]:
    """Run ``feeds`` once and measure every program of the network, in the order they run.

    Raises
    ------
    HpuError
        As of ``session.measure``.
    """
    outputs, runs = session.measure(feeds)
    config = session.config
    found = []
    for program, run in runs:
        timed = with_cycles(program, config, run)
        profile = profile_of(program, config, session.device, timed)
        found.append(Measured(program, config, outputs, timed, profile))
    return found


def with_cycles(program: Program, config: Config, run: Run) -> Run:
    """``run``, with the cycle model's times when its device has no clock."""
    if run.cycles is not None:
        return run
    from hpu.sim.cycles import predict  # brings the hardware's constants: slow to import

    times = predict(program.instructions, config, program_address=program.program_address)
    counters = {**run.counters, **times.counters()}
    return Run(counters, times.events(), times.cycles, predicted=True, charges=times.charges)


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
