"""Area and power of a machine as a chip, estimated, and the floor plan of one that was built.

Nothing here was placed, routed or simulated with a library: the shares are what the sizes of
:mod:`hpu.hw.asic` and :data:`ASSUMPTIONS` come to.
"""

import dataclasses
import math
from typing import Any

from hpu.hw.asic import Block, Machine
from hpu.hw.config import Config

__all__ = ["ASSUMPTIONS", "NOTE", "PUBLISHED", "Assumption", "Estimate", "Part", "estimate"]

NOTE = (
    "An estimate: synthesis to generic gates and the assumptions listed; "
    "nothing was placed, routed or measured."
)


@dataclasses.dataclass(frozen=True)
class Assumption:
    """A number that no synthesis gives, and where it is from."""

    name: str
    value: float
    unit: str
    what: str
    source: str


_TSMC = "TSMC, Symposium on VLSI Technology 2009"
_HOROWITZ = "Horowitz, ISSCC 2014 (45 nm, 0.9 V), times 28/45"

ASSUMPTIONS = {
    entry.name: entry
    for entry in (
        Assumption("gate_density", 3.9e6, "1/mm²", "raw gates at 28 nm", _TSMC),
        Assumption(
            "utilisation", 0.5, "", "cells' share of placed logic, sized for speed", "assumed"
        ),
        Assumption(
            "flip_flop_gates", 5.0, "gates", "a flip-flop; enables are clock gates", "assumed"
        ),
        Assumption("bit_cell", 0.127, "µm²", "six-transistor SRAM cell at 28 nm", _TSMC),
        Assumption(
            "two_ports", 1.6, "", "cell with one read and one write port, over that", "assumed"
        ),
        Assumption("macro_efficiency", 0.6, "", "cells' share of a memory macro", "assumed"),
        Assumption(
            "gate_energy",
            0.35,
            "fJ",
            "per gate and cycle at work",
            f"{_HOROWITZ}: 0.2 pJ and 282 µm² for an 8-bit product; gates of 0.8 µm²",
        ),
        Assumption("clock_energy", 1.5, "fJ", "per flip-flop clocked, with its tree", "assumed"),
        Assumption(
            "memory_energy",
            97.0,
            "fJ",
            "per bit of an 8 KiB memory; grows as the root of its size",
            f"{_HOROWITZ}: 10, 20 and 100 pJ per 64 bits of 8 KiB, 32 KiB and 1 MiB",
        ),
        Assumption("leakage", 10.0, "mW/mm²", "of logic and memories", "assumed"),
        Assumption("level_delay", 25.0, "ps", "of a gate with its wire", "assumed"),
        Assumption(
            "matrix_activity", 1.0, "", "cycles with a row in the array", "assumed: full load"
        ),
        Assumption("vector_activity", 0.25, "", "cycles with a word in the vector unit", "assumed"),
        Assumption("weight_activity", 0.25, "", "cycles with a weight row", "assumed"),
        Assumption("memory_activity", 0.1, "", "cycles with a word to or from DRAM", "assumed"),
        Assumption("control_activity", 0.25, "", "cycles in which control works", "assumed"),
    )
}

#: TPU v1's floor plan, percent of the die: Jouppi et al., ISCA 2017, figure 2.
PUBLISHED = {
    "unified buffer": 29,
    "matrix multiply unit": 24,
    "accumulators": 6,
    "activation pipeline": 6,
    "control": 2,
    "host interface": 2,
    "PCIe interface": 3,
    "DRAM ports": 6,
    "miscellaneous I/O": 1,
}
_COUNTERPARTS = {
    "array": "matrix multiply unit",
    "unified buffer": "unified buffer",
    "accumulators": "accumulators",
    "vector unit": "activation pipeline",
    "control": "control",
}


@dataclasses.dataclass(frozen=True)
class Part:
    """A part of the machine: gate equivalents, flip-flops, bits of memory, mm² and watts.

    ``published`` is the percentage that TPU v1's counterpart has of its die, ``comparable`` of all
    counterparts together; both None where its floor plan shows none.
    """

    name: str
    gates: float
    flip_flops: float
    memory_bits: int
    area: float
    power: float
    area_share: float
    power_share: float
    published: float | None
    comparable: float | None


@dataclasses.dataclass(frozen=True)
class Estimate:
    """All parts of a machine, and their sums in mm² and W; blocks too slow for its clock."""

    config: str
    clock_hz: int
    machine: Machine
    parts: list[Part]
    area: float
    power: float
    slow: list[str]

    def as_json(self) -> dict[str, Any]:
        """Everything, with the assumptions and the note that it is an estimate."""
        return {
            "estimate": True,
            "note": NOTE,
            **dataclasses.asdict(self),
            "assumptions": [dataclasses.asdict(entry) for entry in ASSUMPTIONS.values()],
            "gate_delay_ns": _delays(self.machine),
            "tpu_v1_percent_of_die": PUBLISHED,
        }


@dataclasses.dataclass(frozen=True)
class _Sizes:
    """What a part has: gates and flip-flops at work in a share of the cycles, and memories.

    ``bits`` of memory stand in ``macros`` equal ones; ``moved`` bits are read or written per cycle.
    """

    gates: float
    flip_flops: float
    activity: float
    bits: int = 0
    macros: int = 1
    moved: float = 0.0


def _value(name: str) -> float:
    return ASSUMPTIONS[name].value


def estimate(config: Config, machine: Machine) -> Estimate:
    """Area and power of ``config`` from its blocks."""
    sizes = _sizes(config, machine)
    areas = {name: _area(part) for name, part in sizes.items()}
    powers = {name: _power(part, areas[name], config.clock_hz) for name, part in sizes.items()}
    area, power = sum(areas.values()), sum(powers.values())
    parts = [
        Part(
            name,
            part.gates,
            part.flip_flops,
            part.bits,
            areas[name],
            powers[name],
            areas[name] / area,
            powers[name] / power,
            *_counterpart(name),
        )
        for name, part in sizes.items()
    ]
    delays = _delays(machine).items()
    slow = [name for name, nanoseconds in delays if nanoseconds * config.clock_hz > 1e9]
    return Estimate(config.name, config.clock_hz, machine, parts, area, power, slow)


def _delays(machine: Machine) -> dict[str, float]:
    """Nanoseconds of every block's longest path, by the block."""
    blocks = {field.name: getattr(machine, field.name) for field in dataclasses.fields(machine)}
    level = _value("level_delay") / 1000
    return {name: block.depth * level for name, block in blocks.items() if isinstance(block, Block)}


def _counterpart(name: str) -> tuple[float | None, float | None]:
    if name not in _COUNTERPARTS:
        return None, None
    share = PUBLISHED[_COUNTERPARTS[name]]
    return share, 100 * share / sum(PUBLISHED[other] for other in _COUNTERPARTS.values())


def _sizes(config: Config, machine: Machine) -> dict[str, _Sizes]:
    matrix, vector = _value("matrix_activity"), _value("vector_activity")
    weight, dram = _value("weight_activity"), _value("memory_activity")
    word, sums = 8 * config.lanes, 32 * config.cols
    tiles = config.rows * config.cols // config.tile**2
    array = machine.tile.times(tiles).plus(machine.skew.times(config.row_groups))
    buffer = machine.buffer_bank.times(config.groups)
    acc = machine.acc_bank.times(config.col_groups)
    fifo = machine.weight_bank.times(config.cols // config.tile)
    lanes = machine.lane_group.times(config.col_groups)
    control = machine.control.times(_control_scale(config, machine))
    return {
        "array": _Sizes(array.gates, array.flip_flops, matrix),
        "unified buffer": _Sizes(
            buffer.gates,
            buffer.flip_flops,
            matrix,
            bits=config.ub_depth * word,
            macros=config.ub_segments * config.groups,
            moved=matrix * 8 * config.rows + (vector + dram) * word,
        ),
        "accumulators": _Sizes(
            acc.gates,
            acc.flip_flops,
            matrix,
            bits=config.acc_depth * sums,
            macros=_ACC_WAYS * config.col_groups,
            moved=(2 * matrix + vector) * sums,
        ),
        "weight FIFO": _Sizes(
            fifo.gates,
            fifo.flip_flops,
            weight,
            bits=config.weight_tiles * config.rows * config.cols * 8,
            macros=config.cols // config.tile,
            moved=2 * weight * 8 * config.cols,
        ),
        "vector unit": _Sizes(
            lanes.gates,
            lanes.flip_flops,
            vector,
            bits=_lane_bits(config) * config.cols,
            macros=config.cols,
            moved=vector * 8 * config.cols,
        ),
        "control": _Sizes(control.gates, control.flip_flops, _value("control_activity")),
    }


#: Memories of an accumulator bank.
_ACC_WAYS = 4
#: Bytes of a lane's parameter record, and of a table.
_RECORD, _TABLE = 8, 256


def _lane_bits(config: Config) -> int:
    """Bits of a lane's parameters, tables, and the two lines of its windows.

    Left out: the short queue of second operands, some 2 percent of it.
    """
    return 8 * (_RECORD * config.param_sets + _TABLE * config.tables + 2 * config.window_cols)


def _control_scale(config: Config, machine: Machine) -> float:
    """Control has an address generator and a part of every data mover for each lane group."""
    from hpu.hw.config import by_name

    if machine.control_config == config.name:
        return 1.0
    return config.groups / by_name(machine.control_config).groups


def _area(part: _Sizes) -> float:
    """mm²."""
    gates = part.gates + part.flip_flops * _value("flip_flop_gates")
    logic = gates / (_value("gate_density") * _value("utilisation"))
    cell = _value("bit_cell") * 1e-6 * _value("two_ports")
    return logic + part.bits * cell / _value("macro_efficiency")


def _power(part: _Sizes, area: float, clock_hz: int) -> float:
    """W: what works and is clocked, words moved, leakage."""
    logic = part.gates * _value("gate_energy") + part.flip_flops * _value("clock_energy")
    size = part.bits / 8 / part.macros
    memory = part.moved * _value("memory_energy") * math.sqrt(size / 8192)
    moving = (logic * part.activity + memory) * 1e-15 * clock_hz
    return moving + area * _value("leakage") / 1000
