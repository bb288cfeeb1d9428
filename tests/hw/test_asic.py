"""Blocks in generic gates, what the chip is estimated at, and the command that prints it."""

import dataclasses
import json
import re
from math import sqrt

import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out
from click.testing import CliRunner

from hpu.cli import cli
from hpu.hw import asic, asic_estimate, emit
from hpu.hw.asic import Block, Machine
from hpu.hw.config import CONFIGS, by_name
from hpu.hw.tile import Tile
from hpu.hw.vector_lanes import VectorLanes

LAB = by_name("lab-16")
LONGEST = "\nLongest topological path in block (length=7):\n    0: a\n"


def statistics(**cells: int) -> str:
    counts = {f"$_{name}_": count for name, count in cells.items()} | {"$mem_v2": 3, "tile": 64}
    return json.dumps({"design": {"num_cells_by_type": counts}})


def machine(control: str = "lab-16") -> Machine:
    """A machine whose blocks are all different."""
    names = ("pe", "tile", "lane", "lane_group", "buffer_bank", "acc_bank", "weight_bank", "skew")
    sizes = [Block(10 * k, 100 * k, 7 * k, k) for k, _ in enumerate((*names, "control"), start=1)]
    return Machine(*sizes, control_config=control)


def test_gates_flip_flops_and_levels_are_read():
    found = asic.read_block(statistics(NAND=4, XOR=2, NOT=1, DFF_P=3, DFFE_PP=5), LONGEST)
    assert found == Block(cells=7, gates=4 * 1 + 2 * 2.5 + 0.5, flip_flops=8, depth=7)


def test_a_gate_without_a_size_is_refused():
    with pytest.raises(ValueError, match=r"gates must be among those .*, not \['DLATCH_P'\]"):
        asic.read_block(statistics(DLATCH_P=1), LONGEST)


def test_no_length_of_a_path_is_refused():
    with pytest.raises(ValueError, match=r"a path's length must stand in what ltp says, not 'x'"):
        asic.read_block(statistics(NAND=1), "x")


def test_a_polynomial_is_found_again():
    sizes = asic._TILE_SIZES
    measured = [
        Block(3 * s * s + 5 * s + 2, 8 * s * s + s, 56 * s * s + 12 * s + 4, s) for s in sizes
    ]
    pe, tile = asic._tile(measured, 32)
    assert pe == Block(3, 8, 56, sizes[0])
    assert tile == Block(3 * 1024 + 5 * 32 + 2, 8 * 1024 + 32, 56 * 1024 + 12 * 32 + 4, sizes[-1])


def test_a_lane_and_what_lanes_share_are_found_again():
    few, many = (Block(9 + 4 * k, 5 + 2 * k, 1 + k, 6) for k in (2, 4))
    assert asic._line(few, many, 2) == (Block(4, 2, 1, 6), Block(9, 5, 1, 6))


class Parity(wiring.Component):
    """Eight bits to one, with a register behind: seven gates, three levels."""

    def __init__(self):
        super().__init__({"i": In(8), "o": Out(1)})

    def elaborate(self, platform):
        m = Module()
        held = Signal(reset_less=True)
        m.d.sync += held.eq(self.i.xor())
        m.d.comb += self.o.eq(held)
        return m


def test_a_parity_tree_is_seven_gates_of_three_levels():
    found = asic.synthesise(Parity())
    assert (found.cells, found.flip_flops) == (7, 1)
    assert found.gates == 7 * asic.GATE_EQUIVALENTS["XOR"]
    assert found.depth == 3


@pytest.mark.parametrize("cycles", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_element_has_the_registers_it_should(cycles):
    found = asic.synthesise(Tile(size=1, row_tiles=8, multiply_cycles=cycles))
    element = 8 + 32 + 8 + 8 + (16 if cycles == 2 else 0)
    # Besides: a weight row under way, its hops and two flags, and the stages of live and swap.
    assert found.flip_flops == element + 8 + 3 + 2 + 1 + (1 + cycles)
    assert 400 < found.gates < 2500
    assert 10 < found.depth < 80


@pytest.mark.slow
def test_a_larger_tile_is_what_the_polynomial_says():
    measured = [asic.synthesise(Tile(size=size, row_tiles=8)) for size in asic._TILE_SIZES]
    _, said = asic._tile(measured, 8)
    found = asic.synthesise(Tile(size=8, row_tiles=8))
    assert said.flip_flops == found.flip_flops
    assert abs(said.gates - found.gates) < 0.03 * found.gates


def test_every_configuration_has_its_blocks():
    for config in CONFIGS.values():
        plans = asic._plans(config, LAB)
        for name in plans:
            if name != "control":
                plans[name]()


def test_bits_of_a_lane_are_those_of_its_memories():
    config = by_name("hai-v1")
    text = "".join(emit.verilog(VectorLanes(config=asic._lanes(config, 2)), "block").values())
    memories = re.findall(r"reg \[(\d+):0\] \S+ ?\[(\d+):0\];", text)
    bits = sum((int(high) + 1) * (int(last) + 1) for high, last in memories)
    table = 8 * 256 * config.tables  # a module of its own that stands in every lane, here once
    assert text.count(" vector_table_ram ") == 2
    assert 0.95 < 2 * asic_estimate._lane_bits(config) / (bits + table) <= 1


def test_areas_and_powers_are_those_of_a_naive_twin():
    config, blocks = by_name("hai-v1"), machine()
    made = asic_estimate.estimate(config, blocks)
    a = {name: entry.value for name, entry in asic_estimate.ASSUMPTIONS.items()}
    # gates, flip-flops, bits, bits moved per cycle, bits of one memory, activity; per part
    twin = {
        "array": (64 * 200 + 16 * 800, 64 * 14 + 16 * 56, 0, 0, 0, 1),
        "unified buffer": (16 * 500, 16 * 35, 24 * 2**23, 2048 * 1.35, 8192 * 128, 1),
        "accumulators": (16 * 600, 16 * 42, 4 * 2**23, 8192 * 2.25, 1024 * 512, 1),
        "weight FIFO": (8 * 700, 8 * 49, 2**21, 2048 * 0.5, 2**18, 0.25),
        "vector unit": (16 * 400, 16 * 28, 256 * 14336, 2048 * 0.25, 14336, 0.25),
        "control": (4 * 900, 4 * 63, 0, 0, 0, 0.25),
    }
    assert [part.name for part in made.parts] == list(twin)
    for part in made.parts:
        gates, flip_flops, bits, moved, memory, activity = twin[part.name]
        cells = (gates + 5 * flip_flops) / (a["gate_density"] * a["utilisation"])
        area = cells + bits * a["bit_cell"] * 1e-6 * a["two_ports"] / a["macro_efficiency"]
        work = activity * (gates * a["gate_energy"] + flip_flops * a["clock_energy"])
        reads = moved * a["memory_energy"] * sqrt(memory / 65536)
        power = (work + reads) * 1e-15 * 700e6 + area * a["leakage"] / 1000
        assert (part.gates, part.flip_flops, part.memory_bits) == (gates, flip_flops, bits)
        assert part.area == pytest.approx(area), part.name
        assert part.power == pytest.approx(power), part.name
    assert sum(part.area_share for part in made.parts) == pytest.approx(1)
    assert sum(part.power_share for part in made.parts) == pytest.approx(1)


def test_the_published_plan_is_beside():
    made = asic_estimate.estimate(by_name("hai-v1"), machine())
    beside = {part.name: part.published for part in made.parts}
    assert beside["unified buffer"] == 29 and beside["array"] == 24
    assert beside["weight FIFO"] is None
    assert sum(part.comparable or 0 for part in made.parts) == pytest.approx(100)
    # 67 % of the die are data path (with the host interface), 10 % I/O, 2 % control.
    assert sum(asic_estimate.PUBLISHED.values()) == 67 + 10 + 2


def test_blocks_too_slow_for_the_clock_are_named():
    config = by_name("hai-v1")
    blocks = dataclasses.replace(machine(), skew=Block(1, 1, 1, 57), tile=Block(1, 1, 1, 58))
    assert asic_estimate.estimate(config, blocks).slow == ["tile"]  # 57 levels are 1.425 ns


def test_a_machine_of_its_own_control_is_not_scaled():
    own = asic_estimate.estimate(LAB, machine())
    assert next(part for part in own.parts if part.name == "control").gates == 900


def test_results_are_kept(tmp_path, monkeypatch):
    asic._cached(tmp_path, "parity", ("a",), lambda: (Parity(), False))
    monkeypatch.setattr(asic, "synthesise", lambda *_: pytest.fail("synthesised again"))
    assert asic._cached(tmp_path, "parity", ("a",), lambda: (Parity(), False)).flip_flops == 1
    with pytest.raises(pytest.fail.Exception):
        asic._cached(tmp_path, "parity", ("b",), lambda: (Parity(), False))


def test_the_command_prints_and_writes_an_estimate(tmp_path, monkeypatch):
    monkeypatch.setattr(asic, "measure", lambda config, **_: machine())
    target = tmp_path / "r.json"
    result = CliRunner().invoke(cli, ["hw", "report", "--json", str(target)])
    assert result.exit_code == 0, result.output
    for text in ("An estimate:", "vector lane", "assumed", "29 %", "Control is measured on lab-16"):
        assert text in result.stdout
    written = json.loads(target.read_text())
    assert written["estimate"] is True and written["note"] == asic_estimate.NOTE
    assert {entry["source"] != "" for entry in written["assumptions"]} == {True}
    assert written["gate_delay_ns"]["control"] == pytest.approx(9 * 0.025)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--config", "hai-v9"], "configuration must be one of hai-v1, "),
        (["--json", "nowhere/r.json"], "the folder of nowhere/r.json does not exist: make it"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, text):
    result = CliRunner().invoke(cli, ["hw", "report", *arguments])
    assert result.exit_code == 2 and text in result.stderr


def test_without_yosys_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("YOSYS", raising=False)
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    result = CliRunner().invoke(cli, ["hw", "report"])
    assert result.exit_code == 2
    assert "yosys must be installed: run pip install 'hai-hpu[fpga]'" in result.stderr
    assert not list(tmp_path.iterdir())
