"""Weight tiles that a convolution keeps in the unified buffer, as it uses them again and again."""

import dataclasses

import numpy as np
import pytest

from hpu.compiler.backend import compile_graph
from hpu.compiler.weight_tiles import WeightTile, held_tiles
from hpu.hw.config import by_name
from hpu.hw.isa import Space, TileSource, Unit
from hpu.runtime.cell import PLAIN, Cell
from hpu.runtime.devices import RtlDevice
from hpu.runtime.driver import Driver
from hpu.runtime.layout import pack, unpack
from hpu.sim.decode import decode

LAB = by_name("lab-16")
#: Too small for the tensors, with room for four tiles.
SMALL = dataclasses.replace(LAB, name="small", ub_depth=2048, acc_depth=32)
#: Two images in the input's words and two pixels in a row of results, which makes several moves.
PAIRS = Cell(2, 1, 1, LAB.group)


def _network(random_graphs, seed):
    """An image that stays in DRAM, under a kernel of a few passes; then a little more."""
    b = random_graphs.Builder(seed)
    x = b.input(2, 64, 32, 4)
    y = b.conv(x, 8, (2, 3), pads=(1, 1, 0, 1))
    return x, y, b.graph(b.conv(y, 4, (1, 1)))


def _program(graph, cells):
    program = compile_graph(graph, SMALL, cells=cells)
    found = decode(program.instructions, SMALL)
    first = program.nodes[1].first
    own = [one for one in found[:first] if one.entry is not None]
    tiles = [one for one in own if one.entry.unit == Unit.WEIGHTS]
    loads = [one for one in own if one.entry.unit == Unit.LOAD]
    return program, tiles, loads


def _inputs(graph, seed):
    rng = np.random.default_rng(seed)
    name = graph.inputs[0].tensor
    return {name: rng.integers(-128, 128, graph.tensors[name].shape).astype(np.int8)}


@pytest.mark.parametrize("paired", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_tiles_are_loaded_once_and_used_often(random_graphs, naive, execute, seed, paired):
    x, y, graph = _network(random_graphs, seed)
    cells = {x.name: PAIRS, y.name: PAIRS} if paired else {}
    program, tiles, loads = _program(graph, cells)
    assert len(tiles) > 16
    assert {one.values["source"] for one in tiles} == {int(TileSource.UB)}
    places = {(one.values["a_base"], one.values["rows"]) for one in tiles}
    held = [
        (one.values["d_base"], one.values["x_count"])
        for one in loads
        if (one.values["d_base"], one.values["x_count"]) in places
        and one.values["space"] == Space.UB
    ]
    assert sorted(held) == sorted(places), "every tile once"
    inputs = _inputs(graph, seed)
    expected = naive.interpret(graph, inputs)
    for name, value in execute(program, SMALL, inputs).items():
        assert np.array_equal(value, expected[name]), f"seed {seed}: {name}"


def test_tiles_that_find_no_room_come_from_dram():
    tiles = [WeightTile(16, 4, dram) for dram in (0, 64, 0, 128)]
    held = held_tiles(tiles, 100, 40)
    assert [held[tile].word for tile in tiles[:3]] == [100, 116, 100]
    assert tiles[3] not in held
    assert held_tiles([dataclasses.replace(tiles[0], word=7)], 100, 40) == {}


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_held_tiles_on_rtl(random_graphs, naive, seed):
    x, y, graph = _network(random_graphs, seed)
    inputs = _inputs(graph, seed)
    device = RtlDevice(SMALL, dram_bytes=1 << 24)
    try:
        for cells in ({}, {x.name: PAIRS, y.name: PAIRS}):
            program, tiles, _ = _program(graph, cells)
            assert tiles[0].values["source"] == TileSource.UB
            driver = Driver(device)
            driver.load(program)
            (port,) = program.inputs
            data = pack(inputs[port.tensor], SMALL, port.cell or PLAIN)
            device.write_memory(port.address, data)
            driver.run(watchdog_cycles=1 << 20)
            expected = naive.interpret(graph, inputs)
            for out in program.outputs:
                read = device.read_memory(out.address, program.dram_bytes - out.address)
                found = unpack(np.frombuffer(read, np.uint8), out.shape4, SMALL, out.cell)
                assert np.array_equal(found, expected[out.tensor]), f"seed {seed}"
    finally:
        device.close()
