"""Compiled programs on the Verilated machine: every tensor, byte for byte."""

import numpy as np
import pytest

from hpu.compiler import ir
from hpu.compiler.backend import compile_graph
from hpu.compiler.frontend import import_model
from hpu.hw.config import by_name
from hpu.runtime.devices import RtlDevice
from hpu.runtime.driver import Driver
from hpu.runtime.layout import pack, unpack

LAB = by_name("lab-16")


@pytest.fixture(scope="module")
def device():
    device = RtlDevice(LAB, dram_bytes=16 << 20)
    yield device
    device.close()


@pytest.fixture
def same_bytes(naive, device):
    """``same_bytes(graph, seed)``: run on the machine, compare every tensor."""

    def check(graph, seed, *, keep=True):
        program = compile_graph(graph, LAB, keep=keep)
        rng = np.random.default_rng(seed)
        inputs = {
            h.tensor: rng.integers(-128, 128, graph.tensors[h.tensor].shape).astype(np.int8)
            for h in graph.inputs
        }
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

    return check


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_random_graphs(random_graphs, same_bytes, seed):
    same_bytes(random_graphs.random_graph(seed, size=9, channels=40, length=6, batch=3), seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(8))
def test_random_movements(random_graphs, same_bytes, seed):
    b = random_graphs.Builder(seed)
    same_bytes(b.graph(random_graphs.random_move(b, 40, 4)), seed, keep=bool(seed % 2))


RESIZES = [
    # half-way positions, borders that are repeated, an axis that stays, channels of two blocks
    ((2, 20, 4, 6), (8, 12), "half_pixel"),
    ((1, 5, 4, 6), (7, 5), "align_corners"),
    ((1, 3, 4, 5), (4, 11), "asymmetric"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "size", "coordinate"), RESIZES)
def test_linear_resize(models, same_bytes, shape, size, coordinate):
    m = models.Maker(np.random.default_rng(size[0]))
    quant, last = m.quant("int8", 0.1), m.quant("uint8", 0.08)
    sizes = m.constant(np.array([*shape[:2], *size], np.int64))
    real = m.dq(m.q(m.input(shape), quant), quant)
    mode = {"mode": "linear", "coordinate_transformation_mode": coordinate}
    real = m.node("Relu", m.node("Resize", real, "", "", sizes, **mode))
    m.output(m.dq(m.q(real, last), last))
    graph = import_model(m.model())
    assert {type(op) for op in graph.ops} == {ir.Blend}
    same_bytes(graph, size[0])
