"""When every instruction of a program runs, without running it: the machine's timing in events."""

from hpu.sim.cycles.model import predict
from hpu.sim.cycles.timeline import Timeline

__all__ = ["Timeline", "predict"]
