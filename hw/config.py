"""Configurations: every number that shapes a machine, named, complete and validated.

A configuration is a frozen value. Hardware, simulators, compiler and runtime take the numbers they
need from the one they are given; nothing reads a global.
"""

import dataclasses
import hashlib
import json

__all__ = ["CONFIGS", "TAPS", "Config", "by_name"]

#: Most taps of one MATMUL, and so most lane groups that feed the rows.
TAPS = 16


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """Numbers of one HPU.

    Raises
    ------
    ValueError
        When a number is outside its domain or two numbers do not fit together.
    """

    name: str
    #: Rows of the array: int8 activations taken per cycle.
    rows: int
    #: Columns of the array: int32 partial sums given per cycle; also the lanes of the vector unit.
    cols: int
    #: Edge of a PE tile (the array is built of square tiles).
    tile: int
    #: Cycles from a PE's operands to its partial sum: with 2 the product has a register.
    multiply_cycles: int
    #: Lanes of a lane group; also the bytes of a chunk, the unit of DRAM layout.
    group: int
    #: Words of the unified buffer; a word holds one byte per lane.
    ub_depth: int
    #: Segments of the unified buffer by high address bits; each has one read and one write port.
    ub_segments: int
    #: Words of the accumulators; a word holds one int32 per column.
    acc_depth: int
    #: Tiles that the weight FIFO holds.
    weight_tiles: int
    #: Parameter sets (bias and scale of every column) that the vector unit holds.
    param_sets: int
    #: 256-entry tables that the vector unit holds.
    tables: int
    #: Cycles between two words of the vector unit, and lanes that share their arithmetic.
    vector_cycles: int
    #: Words of a line of the vector unit's windows: the widest image part that is streamed.
    window_cols: int
    #: Instructions that wait in front of each unit.
    queue_depth: int
    #: Bytes of one AXI4 data beat.
    axi_bytes: int
    #: Bits of a DRAM address.
    addr_bits: int
    #: Beats of the longest burst.
    burst_beats: int
    #: Clock in Hz.
    clock_hz: int
    #: DRAM bandwidth in bytes per second, read and write together.
    dram_bandwidth: int
    #: Cycles from an accepted AXI4 read address to its first data beat.
    dram_latency: int
    #: Bytes per second between the host's memory and the DRAM.
    link_bandwidth: int
    #: Nanoseconds until a transfer over the link, or a start of the machine, takes effect.
    link_latency_ns: int
    #: Multiply-accumulates per second of the host that would run a network instead (int8).
    host_macs: int
    #: Bytes per second of operands and results of the host.
    host_bandwidth: int
    #: Nanoseconds that the host spends on every operator beside.
    host_op_ns: int

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.name != "name" and not (isinstance(value, int) and value > 0):
                raise ValueError(f"{field.name} must be a positive integer, not {value!r}")
        self._check_shape()
        self._check_memories()
        self._check_axi()

    def _check_shape(self) -> None:
        for name in ("rows", "cols"):
            value = getattr(self, name)
            _require(value % self.tile == 0, name, f"a multiple of tile ({self.tile})", value)
            _require(value % self.group == 0, name, f"a multiple of group ({self.group})", value)
        _require(self.rows <= 256, "rows", "at most 256", self.rows)
        fits = self.row_groups <= TAPS
        _require(fits, "rows", f"at most {TAPS} groups of {self.group} lanes", self.rows)
        _require(self.cols <= 256, "cols", "at most 256", self.cols)
        _require(_is_power(self.group), "group", "a power of two", self.group)
        _require(self.group <= 64, "group", "at most 64", self.group)
        stages = self.multiply_cycles
        _require(stages <= 2, "multiply_cycles", "1 or 2", stages)
        shared = self.vector_cycles
        _require(
            self.group % shared == 0, "vector_cycles", f"a divisor of group ({self.group})", shared
        )

    def _check_memories(self) -> None:
        _require(
            self.ub_depth % self.ub_segments == 0 and _is_power(self.ub_depth // self.ub_segments),
            "ub_depth",
            f"ub_segments ({self.ub_segments}) times a power of two",
            self.ub_depth,
        )
        # A segment of one word has no address, and its memory block no pin for it.
        two = self.ub_depth >= 2 * self.ub_segments
        _require(
            two,
            "ub_depth",
            f"at least 2 words in each of {self.ub_segments} segments",
            self.ub_depth,
        )
        _require(self.ub_depth <= 1 << 22, "ub_depth", "at most 4194304", self.ub_depth)
        power = _is_power(self.acc_depth) and 8 <= self.acc_depth <= 1 << 16
        _require(power, "acc_depth", "a power of two from 8 to 65536", self.acc_depth)
        _require(self.param_sets <= 256, "param_sets", "at most 256", self.param_sets)
        _require(self.tables <= 256, "tables", "at most 256", self.tables)
        line = 2 <= self.window_cols <= 1 << 16
        _require(line, "window_cols", "from 2 to 65536", self.window_cols)
        _require(self.weight_tiles >= 2, "weight_tiles", "at least 2", self.weight_tiles)
        _require(self.queue_depth >= 2, "queue_depth", "at least 2", self.queue_depth)

    def _check_axi(self) -> None:
        power = _is_power(self.axi_bytes) and 4 <= self.axi_bytes <= 128
        _require(power, "axi_bytes", "a power of two from 4 to 128", self.axi_bytes)
        fits = self.axi_bytes % self.group == 0
        _require(fits, "axi_bytes", f"a multiple of group ({self.group})", self.axi_bytes)
        _require(
            self.lanes % self.axi_bytes == 0, "axi_bytes", "a divisor of the lanes", self.axi_bytes
        )
        _require(16 <= self.addr_bits <= 64, "addr_bits", "from 16 to 64", self.addr_bits)
        short = _is_power(self.burst_beats) and self.burst_beats * self.axi_bytes <= 4096
        short = short and self.burst_beats <= 256
        _require(
            short, "burst_beats", "a power of two, at most 256 beats and 4 KiB", self.burst_beats
        )

    @property
    def lanes(self) -> int:
        """Bytes of a unified-buffer word: the larger edge of the array."""
        return max(self.rows, self.cols)

    @property
    def groups(self) -> int:
        """Lane groups of the unified buffer."""
        return self.lanes // self.group

    @property
    def row_groups(self) -> int:
        """Lane groups that feed the array's rows."""
        return self.rows // self.group

    @property
    def col_groups(self) -> int:
        """Lane groups of the vector unit."""
        return self.cols // self.group

    @property
    def beat_chunks(self) -> int:
        """Chunks (group bytes) in one AXI4 data beat."""
        return self.axi_bytes // self.group

    @property
    def peak_macs(self) -> int:
        """Multiply-accumulates per cycle."""
        return self.rows * self.cols

    @property
    def dram_bytes_per_cycle(self) -> float:
        """DRAM bytes per clock cycle."""
        return self.dram_bandwidth / self.clock_hz

    def pitch_chunks(self, width: int) -> int:
        """Chunks that a row of ``width`` chunks takes in DRAM, so that rows fit beats.

        Rows narrower than a beat take the next power of two; others take whole beats.
        """
        if width >= self.beat_chunks:
            return -(-width // self.beat_chunks) * self.beat_chunks
        return 1 << (width - 1).bit_length()

    def digest(self) -> bytes:
        """SHA-256 over every number of the machine: equal ones run the same programs.

        Neither the name nor what the machine is attached to (link and host) is part of it.
        """
        numbers = dataclasses.asdict(self)
        for name in ("name", *_SURROUNDINGS):
            del numbers[name]
        return hashlib.sha256(json.dumps(numbers, sort_keys=True).encode()).digest()


#: Numbers that say what a machine is attached to.
_SURROUNDINGS = ("link_bandwidth", "link_latency_ns", "host_macs", "host_bandwidth", "host_op_ns")


def _is_power(value: int) -> bool:
    return value & (value - 1) == 0


def _require(condition: bool, name: str, rule: str, value: int) -> None:
    if not condition:
        raise ValueError(f"{name} must be {rule}, not {value!r}")


CONFIGS: dict[str, Config] = {
    config.name: config
    for config in (
        Config(
            name="hai-v1",
            rows=256,
            cols=256,
            tile=32,
            multiply_cycles=1,
            group=16,
            ub_depth=98304,  # 24 MiB, as TPU v1
            ub_segments=12,
            acc_depth=4096,
            weight_tiles=4,
            param_sets=64,
            tables=4,
            vector_cycles=1,
            window_cols=128,
            queue_depth=16,
            axi_bytes=64,
            addr_bits=40,
            burst_beats=16,
            clock_hz=700_000_000,
            dram_bandwidth=34_000_000_000,
            dram_latency=70,
            link_bandwidth=14_000_000_000,  # PCIe 3.0 x16, as TPU v1
            link_latency_ns=1_000,
            host_macs=100_000_000_000,  # one core of a server with 512-bit int8 products
            host_bandwidth=10_000_000_000,
            host_op_ns=2_000,
        ),
        Config(
            name="lab-16",
            rows=16,
            cols=16,
            tile=8,
            multiply_cycles=1,
            group=4,
            ub_depth=1024,
            ub_segments=4,
            acc_depth=128,
            weight_tiles=4,
            param_sets=16,
            tables=2,
            vector_cycles=1,
            window_cols=32,
            queue_depth=8,
            axi_bytes=8,
            addr_bits=32,
            burst_beats=16,
            clock_hz=100_000_000,
            dram_bandwidth=800_000_000,
            dram_latency=20,
            link_bandwidth=100_000_000,
            link_latency_ns=1_000,
            host_macs=50_000_000,  # an embedded core at the machine's clock
            host_bandwidth=100_000_000,
            host_op_ns=50_000,
        ),
        Config(
            name="ulx3s-85f",
            rows=16,
            cols=16,
            tile=8,
            multiply_cycles=2,
            group=4,
            ub_depth=4096,
            ub_segments=2,
            acc_depth=1024,
            weight_tiles=4,
            param_sets=64,
            tables=4,
            vector_cycles=4,
            window_cols=64,
            queue_depth=8,
            axi_bytes=8,
            addr_bits=17,  # 128 KiB of block RAM
            burst_beats=16,
            clock_hz=62_500_000,
            dram_bandwidth=500_000_000,
            dram_latency=6,
            link_bandwidth=250_000,  # 3 Mbaud
            link_latency_ns=2_000_000,
            host_macs=10_000_000_000,  # one core of a laptop
            host_bandwidth=10_000_000_000,
            host_op_ns=20_000,
        ),
        Config(
            name="ulx3s-85f-sdram",
            rows=16,
            cols=16,
            tile=8,
            multiply_cycles=2,
            group=4,
            ub_depth=8192,
            ub_segments=2,
            acc_depth=1024,
            weight_tiles=4,
            param_sets=64,
            tables=4,
            vector_cycles=4,
            window_cols=64,
            queue_depth=8,
            axi_bytes=8,
            addr_bits=25,  # 32 MB of SDRAM
            burst_beats=16,
            clock_hz=62_500_000,
            dram_bandwidth=100_000_000,
            dram_latency=16,
            link_bandwidth=250_000,  # 3 Mbaud
            link_latency_ns=2_000_000,
            host_macs=10_000_000_000,  # one core of a laptop
            host_bandwidth=10_000_000_000,
            host_op_ns=20_000,
        ),
        Config(
            name="ecpix5-85",
            rows=16,
            cols=16,
            tile=8,
            multiply_cycles=2,
            group=4,
            ub_depth=4096,
            ub_segments=2,
            acc_depth=1024,
            weight_tiles=4,
            param_sets=64,
            tables=4,
            vector_cycles=4,
            window_cols=64,
            queue_depth=8,
            axi_bytes=8,
            addr_bits=17,  # 128 KiB of block RAM
            burst_beats=16,
            clock_hz=62_500_000,
            dram_bandwidth=500_000_000,
            dram_latency=6,
            link_bandwidth=250_000,  # 3 Mbaud
            link_latency_ns=2_000_000,
            host_macs=10_000_000_000,  # one core of a laptop
            host_bandwidth=10_000_000_000,
            host_op_ns=20_000,
        ),
        Config(
            name="orangecrab-85",
            rows=16,
            cols=16,
            tile=8,
            multiply_cycles=2,
            group=4,
            ub_depth=4096,
            ub_segments=2,
            acc_depth=1024,
            weight_tiles=4,
            param_sets=64,
            tables=4,
            vector_cycles=4,
            window_cols=64,
            queue_depth=8,
            axi_bytes=8,
            addr_bits=17,  # 128 KiB of block RAM
            burst_beats=16,
            clock_hz=64_000_000,
            dram_bandwidth=512_000_000,
            dram_latency=6,
            link_bandwidth=250_000,  # 3 Mbaud
            link_latency_ns=2_000_000,
            host_macs=10_000_000_000,  # one core of a laptop
            host_bandwidth=10_000_000_000,
            host_op_ns=20_000,
        ),
        Config(
            name="tang-primer-20k",
            rows=4,
            cols=4,
            tile=4,
            multiply_cycles=2,
            group=4,
            ub_depth=4096,
            ub_segments=2,
            acc_depth=512,
            weight_tiles=4,
            param_sets=16,
            tables=1,
            vector_cycles=4,
            window_cols=64,
            queue_depth=4,
            axi_bytes=4,
            addr_bits=16,  # 64 KiB of block RAM
            burst_beats=16,
            clock_hz=27_000_000,
            dram_bandwidth=108_000_000,
            dram_latency=6,
            link_bandwidth=250_000,  # 3 Mbaud
            link_latency_ns=2_000_000,
            host_macs=10_000_000_000,  # one core of a laptop
            host_bandwidth=10_000_000_000,
            host_op_ns=20_000,
        ),
    )
}


def by_name(name: str) -> Config:
    """The named configuration.

    Raises
    ------
    ValueError
        When there is none of that name; the message lists the names there are.
    """
    if name not in CONFIGS:
        raise ValueError(f"configuration must be one of {', '.join(CONFIGS)}, not {name!r}")
    return CONFIGS[name]
