"""Times of the blocks in cycles, from the blocks' own constants wherever they have one."""

import dataclasses

from hpu.hw import control, dispatch, load, store, vector, weights, write_port
from hpu.hw.activations import ACTIVATION_STAGES
from hpu.hw.config import Config
from hpu.hw.isa import INSTRUCTION_BYTES
from hpu.hw.matrix_control import ADDRESS_STAGES
from hpu.hw.ports import UB_READ_LATENCY
from hpu.hw.read_port import read_depth
from hpu.hw.vector_lanes import RECORD_LEAD, RECORD_ROWS
from hpu.hw.vector_window import WINDOW_STAGES
from hpu.hw.weight_fifo import ARRAY_LATENCY

__all__ = ["Times"]

#: From an entry's way into an empty ``MemoryQueue`` to its standing at the head.
QUEUE = 2
#: From a beat on the bus to its being taken from an empty beat queue: port register and queue.
BEAT = 1 + QUEUE
#: From the last beat of an instruction to its offer: looked at, judged, offered.
DECODE = 3
#: From the start of a program to the first burst that is asked for.
BEGIN = control._STOP_CYCLES + 1
#: From the last ``done`` to the first cycle that is the host's again.
END = 2
IN_FLIGHT = dispatch._IN_FLIGHT
LOAD_AHEAD = load._AHEAD
WEIGHTS_AHEAD = weights._AHEAD
STORE_AHEAD = store._AHEAD
STORE_ROWS = store._ROWS
WRITE_BURSTS = write_port._BURSTS
#: Of the memory model (``sim/harness.cpp``): bursts outstanding, and beats of unused bandwidth.
OUTSTANDING = 32
BUDGET = 2.0
#: From an accepted UB read of STORE to its first beat on the bus: buffer, alignment, row queue,
#: scatter, write port.
STORE_PATH = UB_READ_LATENCY + 1 + QUEUE + 1 + 1


@dataclasses.dataclass(frozen=True)
class Times:
    """What depends on the configuration."""

    #: Beats of one instruction, and beats that the program fetch holds or has asked for.
    instruction_beats: int
    fetch_depth: int
    read_depth: int
    #: From a planner's acceptance of a LOAD to its plan.
    plan: int
    #: From a MATMUL row's issue to the cycle in which it can be read.
    drain: int
    #: From a start of the weight loader to the earliest swap, and from a swap to a start.
    before_swap: int
    before_start: int
    #: From a loader's start to its place's being free.
    place: int
    #: From VECTOR's acceptance to its first read, and from its last step to ``done``.
    vector_first: int
    vector_write: int
    #: From VECTOR's taking over from the one before to its first accumulator; of its record's rows.
    vector_switch: int
    record: int
    #: The same of weighted and of streamed windows.
    window_first: int
    window_write: int

    @classmethod
    def of(cls, config: Config) -> "Times":
        """The times of ``config``."""
        tile, row_tiles = config.tile, config.rows // config.tile
        stages = ADDRESS_STAGES + UB_READ_LATENCY + ACTIVATION_STAGES
        bank = max(config.group, 4)
        beats = INSTRUCTION_BYTES // config.axi_bytes
        write = vector.write_latency(config)
        first = 1 + max(RECORD_LEAD - UB_READ_LATENCY, config.groups + 3 - write)
        late = max(0, config.cols - tile - config.rows + 1)
        through = config.rows + config.multiply_cycles
        return cls(
            instruction_beats=beats,
            fetch_depth=max(4 * config.burst_beats, 4 * beats),
            read_depth=read_depth(config),
            plan=config.groups + 1,
            drain=stages + through + config.cols - config.group + bank + 2,
            before_swap=max(1, ARRAY_LATENCY + tile + row_tiles - 1 - stages),
            before_start=max(1, stages + 2 * tile - 2 - ARRAY_LATENCY),
            place=config.rows + 2 + late,
            vector_first=first,
            vector_write=write,
            vector_switch=4,
            record=RECORD_ROWS,
            window_first=max(first, 1 + vector._WINDOW_READ),
            window_write=write + WINDOW_STAGES,
        )
