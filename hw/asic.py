"""What blocks of the machine come to in generic gates: cells, flip-flops, levels of logic.

Yosys maps a block to simple gates without a library. What repeats inside a block is measured on
small ones: a tile of PEs is a quadratic polynomial of its edge, a lane group grows by equal lanes.
Memories stay memories: they are shrunk here, and counted from the configuration.
"""

import dataclasses
import hashlib
import json
import operator
import re
import tempfile
from collections.abc import Callable
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from amaranth.lib import wiring

from hpu.hw import emit
from hpu.hw.accumulators import AccBank
from hpu.hw.buffer_bank import BufferBank
from hpu.hw.config import Config, by_name
from hpu.hw.fpga_tools import run, version
from hpu.hw.skew import Skew
from hpu.hw.tile import Tile
from hpu.hw.vector_lanes import VectorLanes
from hpu.hw.weight_fifo import WeightBank

__all__ = ["FOLDER", "GATE_EQUIVALENTS", "Block", "Machine", "measure", "read_block", "synthesise"]

#: Where results are kept, below the working directory.
FOLDER = Path("build") / "asic"
Progress = Callable[[str, int, int], None]

#: Two-input NANDs of every gate: its transistors in static CMOS over four.
GATE_EQUIVALENTS = {
    "NOT": 0.5,
    "NAND": 1.0,
    "NOR": 1.0,
    "AND": 1.5,
    "OR": 1.5,
    "ANDNOT": 1.5,
    "ORNOT": 1.5,
    "AOI3": 1.5,
    "OAI3": 1.5,
    "AOI4": 2.0,
    "OAI4": 2.0,
    "XOR": 2.5,
    "XNOR": 2.5,
    "MUX": 2.5,
}
_FLIP_FLOPS = ("DFF_P", "DFFE_PP")
_SCRIPT = """\
read_verilog block.v
hierarchy -top block
proc
flatten
opt -full
wreduce
alumacc
memory -nomap
opt_clean
techmap
opt -fast
dfflegalize -cell $_DFF_P_ 01 -cell $_DFFE_PP_ 01
abc -g {gates}
opt_clean
tee -q -o cells.json stat -json
tee -q -o depth.txt ltp -noff
"""


@dataclasses.dataclass(frozen=True)
class Block:
    """A block in generic gates.

    Attributes
    ----------
    cells
        Gates, flip-flops not among them.
    gates
        The same in gate equivalents (two-input NANDs).
    flip_flops
        Flip-flops, with or without an enable.
    depth
        Gates in the longest path between flip-flops, memories and ports.
    """

    cells: float
    gates: float
    flip_flops: float
    depth: int

    def times(self, count: float) -> "Block":
        """``count`` of them side by side."""
        sizes = (self.cells * count, self.gates * count, self.flip_flops * count)
        return Block(*sizes, self.depth)

    def plus(self, other: "Block") -> "Block":
        """Both side by side; a negative count of one is its absence."""
        cells, gates = self.cells + other.cells, self.gates + other.gates
        return Block(cells, gates, self.flip_flops + other.flip_flops, max(self.depth, other.depth))


@dataclasses.dataclass(frozen=True)
class Machine:
    """The blocks of one configuration, each once.

    Attributes
    ----------
    pe, tile
        One element as a tile of them grows, and one tile of the configuration's edge.
    lane, lane_group
        One lane of the vector unit with its requantiser, and a group with what its lanes share.
    buffer_bank, acc_bank, weight_bank, skew
        What stands around the memories of a group, or staggers its lanes.
    control
        All else: sequencer, queues, address generators, DMA, registers.
    control_config
        The configuration that ``control`` was measured on.
    """

    pe: Block
    tile: Block
    lane: Block
    lane_group: Block
    buffer_bank: Block
    acc_bank: Block
    weight_bank: Block
    skew: Block
    control: Block
    control_config: str


def measure(config: Config, *, folder: Path = FOLDER, progress: Progress | None = None) -> Machine:
    """Synthesise the blocks of ``config``, or take the results of before from ``folder``.

    Raises
    ------
    FpgaBuildError
        When Yosys is missing or fails.
    """
    control = config if config.groups <= _OWN_CONTROL_GROUPS else by_name("lab-16")
    plans = _plans(config, control)
    found, tools = {}, version("yosys")
    for place, (name, make) in enumerate(plans.items()):
        if progress is not None:
            progress(f"synthesis of {name}", place, len(plans))
        found[name] = _cached(folder, name, (config, control, tools), make)
    pair = found["lanes, few"], found["lanes, twice as many"]
    lane, shared = _line(*pair, _few_lanes(config))
    pe, tile = _tile([found[f"tile {size}"] for size in _TILE_SIZES], config.tile)
    rest = ("buffer_bank", "acc_bank", "weight_bank", "skew", "control")
    blocks = {name: found[name] for name in rest}
    lanes = shared.plus(lane.times(config.group))
    return Machine(pe, tile, lane, lanes, **blocks, control_config=control.name)


#: Lane groups up to which a machine's own control is quick to synthesise.
_OWN_CONTROL_GROUPS = 4
_TILE_SIZES = (1, 2, 4)
_Plan = Callable[[], tuple[wiring.Component, bool]]


def _plans(config: Config, control: Config) -> dict[str, _Plan]:
    """How each block is made, and whether what it has inside is left out."""
    few = _few_lanes(config)
    segments = config.ub_segments
    tiles, cycles = config.rows // config.tile, config.multiply_cycles
    plans: dict[str, _Plan] = {
        f"tile {size}": lambda size=size: (  # type: ignore[misc]
            Tile(size=size, row_tiles=tiles, multiply_cycles=cycles),
            False,
        )
        for size in _TILE_SIZES
    }
    small = dataclasses.replace(config, ub_depth=2 * segments, acc_depth=8, weight_tiles=2)
    return plans | {
        "lanes, few": lambda: (VectorLanes(config=_lanes(config, few)), False),
        "lanes, twice as many": lambda: (VectorLanes(config=_lanes(config, 2 * few)), False),
        "buffer_bank": lambda: (BufferBank(config=small), False),
        "acc_bank": lambda: (AccBank(config=small), False),
        "weight_bank": lambda: (WeightBank(config=small), False),
        "skew": lambda: (Skew(group=config.group), False),
        "control": lambda: (_machine(control), True),
    }


def _machine(config: Config) -> wiring.Component:
    from hpu.hw.top import Hpu  # the whole machine: only who builds it pays for importing it

    return Hpu(config=config)


def _few_lanes(config: Config) -> int:
    return max(2, config.vector_cycles)


def _lanes(config: Config, group: int) -> Config:
    """``config`` with one lane group of ``group`` lanes."""
    edge = max(4, group)
    return dataclasses.replace(config, rows=edge, cols=edge, tile=edge, group=group, axi_bytes=edge)


def _line(few: Block, many: Block, count: int) -> tuple[Block, Block]:
    """One of a block of ``count`` and of one of twice as many, and what either has once."""
    one = many.plus(few.times(-1)).times(1 / count)
    return one, few.plus(one.times(-count))


def _tile(measured: list[Block], edge: int) -> tuple[Block, Block]:
    """The element, and the tile of ``edge``, from the polynomial through three tiles."""
    cells = _parabola([block.cells for block in measured])
    gates = _parabola([block.gates for block in measured])
    flip_flops = _parabola([block.flip_flops for block in measured])
    pe = Block(cells[0], gates[0], flip_flops[0], measured[0].depth)
    powers = (edge**2, edge, 1)
    sizes = [sum(map(operator.mul, terms, powers)) for terms in (cells, gates, flip_flops)]
    tile = Block(sizes[0], sizes[1], sizes[2], measured[-1].depth)
    return pe, tile


def _parabola(values: list[float]) -> tuple[float, float, float]:
    """Coefficients of the parabola through ``values`` at ``_TILE_SIZES``, the square's first."""
    (x, y, z), (f, g, h) = _TILE_SIZES, values
    first, second = (g - f) / (y - x), (h - g) / (z - y)
    square = (second - first) / (z - x)
    line = first - square * (x + y)
    return square, line, f - square * x**2 - line * x


def _cached(folder: Path, name: str, what: tuple[Any, ...], make: _Plan) -> Block:
    contents = (name, repr(what), _sources(), _SCRIPT)
    key = hashlib.sha256(repr(contents).encode()).hexdigest()[:24]
    path = folder / f"{key}.json"
    if not path.exists():
        block = synthesise(*make())
        folder.mkdir(parents=True, exist_ok=True)
        whole = path.with_suffix(f".{name}")
        whole.write_text(json.dumps(dataclasses.asdict(block)))
        whole.rename(path)
    return Block(**json.loads(path.read_text()))


def _sources() -> str:
    """Of all that Verilog is made from."""
    total = hashlib.sha256(installed("amaranth").encode())
    for path in sorted(Path(__file__).resolve().parent.glob("*.py")):
        if not path.name.startswith(("asic", "fpga")):
            total.update(path.name.encode() + path.read_bytes())
    return total.hexdigest()


def synthesise(component: wiring.Component, hollow: bool = False) -> Block:
    """``component`` in generic gates; ``hollow`` leaves out the blocks that it has instances of.

    Raises
    ------
    FpgaBuildError
        When Yosys is missing or fails.
    """
    version("yosys")  # missing is told before anything is written
    texts = emit.verilog(component, "block")
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch)
        (work / "block.v").write_text(texts["block"] if hollow else "\n".join(texts.values()))
        gates = ",".join(name for name in GATE_EQUIVALENTS if name != "NOT")
        (work / "block.ys").write_text(_SCRIPT.format(gates=gates))
        run("yosys", ["-q", "block.ys"], cwd=work, log="yosys.log")
        return read_block((work / "cells.json").read_text(), (work / "depth.txt").read_text())


def read_block(statistics: str, longest: str) -> Block:
    """The block of which Yosys's ``stat -json`` and ``ltp -noff`` say this.

    Raises
    ------
    ValueError
        When there is a gate that has no size, or no length of a path.
    """
    kinds = json.loads(statistics)["design"]["num_cells_by_type"]
    found = {name[2:-1]: count for name, count in kinds.items() if name.startswith("$_")}
    flip_flops = sum(found.pop(name, 0) for name in _FLIP_FLOPS)
    strange = sorted(set(found) - set(GATE_EQUIVALENTS))
    if strange:
        raise ValueError(f"gates must be among those with a size, not {strange}")
    length = re.search(r"Longest topological path in \S+ \(length=(\d+)\)", longest)
    if length is None:
        raise ValueError(f"a path's length must stand in what ltp says, not {longest[:80]!r}")
    gates = sum(GATE_EQUIVALENTS[name] * count for name, count in found.items())
    return Block(sum(found.values()), gates, flip_flops, int(length[1]))
