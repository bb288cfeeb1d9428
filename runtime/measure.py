"""One measured run of a session: its outputs, its profile, and the files made of them."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from hpu.hw.config import Config
from hpu.runtime.files import write_atomically
from hpu.runtime.interface import NodeArg
from hpu.runtime.profile import Profile, Run, profile_of, to_json
from hpu.runtime.program import Program
from hpu.runtime.report import html_report
from hpu.runtime.session import InferenceSession
from hpu.runtime.timeline import Timeline, timeline

__all__ = ["Measured", "measure", "random_feeds"]


@dataclasses.dataclass(frozen=True)
class Measured:
    """A program, what one run of it gave, and how long it took."""

    program: Program
    config: Config
    outputs: dict[str, np.ndarray]
    run: Run
    profile: Profile

    @property
    def spans(self) -> Timeline | None:
        """When every instruction ran, on a device with a clock."""
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
    """Run ``feeds`` once and measure.

    Raises
    ------
    HpuError
        As of ``session.measure``.
    """
    program, outputs, run = session.measure(feeds)
    profile = profile_of(program, session.config, session.device, run)
    return Measured(program, session.config, outputs, run, profile)


def random_feeds(inputs: Sequence[NodeArg], batch: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Inputs that mean nothing, for measuring time: it does not depend on the numbers."""
    generator = np.random.default_rng(seed)
    return {arg.name: _random(arg, batch, generator) for arg in inputs}


def _random(arg: NodeArg, batch: int, generator: np.random.Generator) -> np.ndarray:
    shape = [batch if isinstance(size, str) else size for size in arg.shape]
    if arg.dtype == "float32":
        return generator.normal(size=shape).astype(np.float32)
    limits = np.iinfo(arg.dtype)
    return generator.integers(limits.min, limits.max + 1, shape).astype(arg.dtype)
