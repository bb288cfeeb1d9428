"""Networks in cells: whatever the cells, every tensor's bytes are the naive interpreter's."""

import dataclasses

import numpy as np
import pytest

from hpu.compiler.backend import compile_graph
from hpu.compiler.cells import with_cells
from hpu.compiler.choose import candidates
from hpu.hw.config import by_name
from hpu.runtime.cell import PLAIN, Cell
from hpu.runtime.devices import RtlDevice
from hpu.runtime.driver import Driver
from hpu.runtime.layout import pack, unpack

LAB = by_name("lab-16")
WIDE = dataclasses.replace(LAB, name="wide", rows=8, cols=24, param_sets=4, acc_depth=32)
TALL = dataclasses.replace(LAB, name="tall", rows=24, cols=8, weight_tiles=2)
SMALL = dataclasses.replace(LAB, name="small", ub_depth=128, ub_segments=2)
CONFIGS = {config.name: config for config in (LAB, WIDE, TALL, SMALL)}


def random_cells(graph, config, rng):
    """Cells for as many tensors as can have some, tried one after another."""
    cells = {}
    for name in rng.permutation(list(graph.tensors)):
        tensor = graph.tensors[name]
        found = candidates(tensor.shape, config)[1:]
        for number in rng.permutation(len(found)):
            if possible(graph, cells | {name: found[number]}, config):
                cells[name] = found[number]
                break
    return cells


def possible(graph, cells, config):
    try:
        with_cells(graph, cells, config)
    except ValueError:
        return False
    return True


def chain(random_graphs, seed):
    """Convolutions, pools and additions of few channels on a batch of four."""
    b = random_graphs.Builder(seed)
    rng = b.rng
    width = int(rng.integers(1, 5))
    x = b.input(4, 8, 8, width)
    for _ in range(4):
        kind = rng.choice(["conv", "conv", "residual", "pool", "unary", "wide", "strided"])
        channels = x.shape[3]
        if kind == "residual":
            x = b.conv(b.unary(x), channels, (3, 3), pads=(1, 1, 1, 1), residual=x)
        elif kind == "pool":
            x = b.pool(x, "max", (3, 3), pads=(1, 1, 1, 1))
        elif kind == "unary":
            x = b.unary(x)
        elif kind == "wide":
            x = b.conv(x, int(rng.integers(16, 40)), (1, 1))
        elif kind == "strided" and x.shape[1] == 8:
            x = b.conv(x, 4, (3, 3), strides=(2, 2), pads=(1, 1, 1, 1))
        else:
            x = b.conv(x, int(rng.integers(1, 9)), (3, 2), pads=(1, 0, 1, 1))
    return b.graph(x)


def case(random_graphs, seed, config):
    graph = chain(random_graphs, seed)
    rng = np.random.default_rng(seed)
    cells = random_cells(graph, config, rng)
    shape = graph.tensors[graph.inputs[0].tensor].shape
    inputs = {graph.inputs[0].tensor: rng.integers(-128, 128, shape).astype(np.int8)}
    return graph, cells, inputs


SEEDS = [pytest.param(s, marks=[pytest.mark.slow] if s > 0 else []) for s in range(40)]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("seed", SEEDS)
def test_any_cells(random_graphs, naive, execute, seed, config):
    machine = CONFIGS[config]
    graph, cells, inputs = case(random_graphs, seed, machine)
    expected = naive.interpret(graph, inputs)
    for keep in (False, True):
        program = compile_graph(graph, machine, keep=keep, cells=cells)
        for name, value in execute(program, machine, inputs).items():
            wrong = np.argwhere(value != expected[name])
            assert not len(wrong), f"{name} {cells.get(name)}, seed {seed}: {wrong[:3]}"


@pytest.fixture(scope="module")
def device():
    device = RtlDevice(LAB, dram_bytes=16 << 20)
    yield device
    device.close()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_any_cells_on_rtl(random_graphs, naive, device, seed):
    graph, cells, inputs = case(random_graphs, seed, LAB)
    program = compile_graph(graph, LAB, keep=True, cells=cells)
    driver = Driver(device)
    driver.load(program)
    for port in program.inputs:
        device.write_memory(port.address, pack(inputs[port.tensor], LAB, port.cell))
    driver.run(watchdog_cycles=1 << 20)
    expected = naive.interpret(graph, inputs)
    for port in (*program.outputs, *program.kept):
        data = device.read_memory(port.address, program.dram_bytes - port.address)
        found = unpack(np.frombuffer(data, np.uint8), port.shape4, LAB, port.cell)
        assert (found == expected[port.tensor]).all(), f"{port.tensor}, seed {seed}"


def test_ports_tell_their_cells(random_graphs):
    b = random_graphs.Builder(1)
    x = b.input(2, 4, 4, 2)
    y = b.unary(x)
    cell = Cell(1, 2, 2, LAB.group)
    program = compile_graph(b.graph(y), LAB, cells={x.name: cell, y.name: cell})
    assert [port.cell for port in (*program.inputs, *program.outputs)] == [cell, cell]
    plain = compile_graph(b.graph(y), LAB, cells={})
    assert [port.cell for port in plain.inputs] == [PLAIN]


def test_mapping_in_words(random_graphs):
    b = random_graphs.Builder(1)
    x = b.input(1, 8, 8, 4)
    y = b.conv(x, 4, (3, 3), pads=(1, 1, 1, 1))
    cell = Cell(1, 2, 2, LAB.group)
    packed = compile_graph(b.graph(y), LAB, cells={x.name: cell, y.name: cell})
    assert packed.nodes[0].mapping == (
        "2×2 pixels in the rows, 2×2 pixels in the columns; 4 passes for 4 pixels: "
        "64 cycles instead of 192"
    )
    b = random_graphs.Builder(1)
    plain = compile_graph(b.graph(b.conv(b.input(1, 8, 8, 16), 16, (1, 1))), LAB, cells={})
    assert plain.nodes[0].mapping == "1 pass for a pixel"


def test_cells_must_go_together(random_graphs):
    b = random_graphs.Builder(1)
    x = b.input(2, 4, 4, 2)
    y = b.unary(x)
    with pytest.raises(ValueError) as caught:
        with_cells(b.graph(y), {x.name: Cell(2, 1, 1, 4)}, LAB)
    assert str(caught.value) == (
        "the cells of unary0 must go together, not be 1×1 pixels, 2 images"
    )
    z = b.conv(x, 2, (1, 1))
    with pytest.raises(ValueError) as caught:
        with_cells(b.graph(z), {z.name: Cell(1, 3, 1, 4)}, LAB)
    assert str(caught.value) == (
        "the cells of conv1 must be ones that it can go between, not 1×1 pixels and 3×1 pixels"
    )
