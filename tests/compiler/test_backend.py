"""Programs against the naive interpreter: every byte of every tensor, and no race."""

import dataclasses

import numpy as np
import pytest

from hpu.compiler.backend import compile_graph, macs
from hpu.compiler.errors import UnsupportedError
from hpu.hw.config import by_name

LAB = by_name("lab-16")
TALL = dataclasses.replace(LAB, name="tall", rows=24, cols=8, tile=8, weight_tiles=2)
WIDE = dataclasses.replace(
    LAB, name="wide", rows=8, cols=24, axi_bytes=8, param_sets=2, tables=1, acc_depth=32
)
TIGHT = dataclasses.replace(LAB, name="tight", ub_depth=512, ub_segments=2, queue_depth=2)
FULL = by_name("hai-v1")
CONFIGS = {config.name: config for config in (LAB, TALL, WIDE, TIGHT, FULL)}
#: The first few quickly, the rest in the full run.
SEEDS = [pytest.param(s, marks=[pytest.mark.slow] if s > 3 else []) for s in range(25)]


@pytest.fixture
def agrees(naive, execute):
    """``agrees(graph, config)``: compile, run, and compare every tensor."""

    def check(graph, config, seed=0):
        rng = np.random.default_rng(seed)
        inputs = {
            h.tensor: rng.integers(-128, 128, graph.tensors[h.tensor].shape).astype(np.int8)
            for h in graph.inputs
        }
        expected = naive.interpret(graph, inputs)
        for keep in (False, True):
            program = compile_graph(graph, config, keep=keep)
            for name, value in execute(program, config, inputs).items():
                wrong = np.argwhere(value != expected[name.split("/copy/")[0]])
                assert not len(wrong), f"{name} differs at {wrong[:3]} of {value.shape}"
        return program

    return check


@pytest.mark.parametrize("config", ["lab-16", "tall", "wide", "tight"])
@pytest.mark.parametrize("seed", SEEDS)
def test_random_graphs(random_graphs, agrees, config, seed):
    graph = random_graphs.random_graph(seed, size=9, channels=40, length=6, batch=3)
    agrees(graph, CONFIGS[config], seed)


@pytest.mark.parametrize("seed", SEEDS[:7])
def test_random_graphs_that_spill(random_graphs, agrees, seed):
    graph = random_graphs.random_graph(seed, size=40, channels=20, length=4, batch=2)
    agrees(graph, LAB, seed)


@pytest.mark.parametrize("seed", SEEDS[:6])
def test_random_graphs_at_full_size(random_graphs, agrees, seed):
    graph = random_graphs.random_graph(seed, size=16, channels=300, length=4, batch=4)
    agrees(graph, FULL, seed)


def test_image_of_224_at_full_size(random_graphs, agrees):
    b = random_graphs.Builder(7)
    x = b.input(1, 224, 224, 3)
    x = b.conv(x, 64, (7, 7), strides=(2, 2), pads=(3, 3, 3, 3))
    x = b.pool(x, "max", (3, 3), strides=(2, 2), pads=(1, 1, 1, 1))
    y = b.conv(x, 64, (3, 3), pads=(1, 1, 1, 1), residual=x)
    program = agrees(b.graph(y), FULL)
    assert program.macs == 112 * 112 * 64 * 147 + 56 * 56 * 64 * 576


@pytest.mark.slow
def test_image_that_the_full_size_buffer_does_not_hold(random_graphs, agrees):
    b = random_graphs.Builder(8)
    x = b.input(3, 224, 224, 3)
    y = b.pool(b.conv(x, 8, (3, 3)), "average", (2, 2), strides=(2, 2))
    agrees(b.graph(y), FULL)


def test_dense_layer_larger_than_the_buffer(random_graphs, agrees):
    b = random_graphs.Builder(3)
    x = b.input(1, 7, 7, 400)
    agrees(b.graph(b.conv(x, 6, (7, 7))), LAB)


def test_global_average_and_dense(random_graphs, agrees):
    b = random_graphs.Builder(4)
    x = b.conv(b.input(5, 8, 8, 1), 16, (3, 3), pads=(1, 1, 1, 1))
    x = b.pool(x, "average", (8, 8))
    agrees(b.graph(b.conv(x, 10, (1, 1))), LAB)


def test_an_output_that_is_an_input(random_graphs, agrees):
    b = random_graphs.Builder(5)
    x = b.input(1, 4, 4, 20)
    agrees(b.graph(x, x), LAB)


def test_kernel_row_longer_than_a_field(random_graphs, agrees):
    b = random_graphs.Builder(6)
    agrees(b.graph(b.conv(b.input(1, 2, 300, 1), 3, (2, 280))), LAB)


def test_weights_of_255_take_three_passes(random_graphs, agrees):
    b = random_graphs.Builder(9)
    y = b.conv(b.input(1, 3, 3, 2), 2, (1, 1), wide=True)
    b.ops[0].weight[...] = 255
    program = agrees(b.graph(y), LAB)
    assert program.instructions[::128].count(3) == 3


def test_the_same_graph_gives_the_same_bytes(random_graphs):
    first, second = (
        compile_graph(random_graphs.random_graph(1, size=9, channels=40, length=6, batch=3), LAB)
        for _ in range(2)
    )
    assert first == second


def test_every_instruction_belongs_to_one_node(random_graphs):
    graph = random_graphs.random_graph(2, size=9, channels=40, length=6, batch=3)
    program = compile_graph(graph, LAB)
    covered = [i for node in program.nodes for i in range(node.first, node.first + node.count)]
    assert covered == list(range(program.instruction_count))
    names = dict.fromkeys(node.name for node in program.nodes)
    assert list(names) == [op.nodes[0] for op in graph.ops]
    assert program.macs == sum(macs(op) for op in graph.ops)


def refusal(graph, config):
    with pytest.raises(UnsupportedError) as caught:
        compile_graph(graph, config)
    return str(caught.value)


def test_refuses_a_window_that_does_not_fit(random_graphs):
    b = random_graphs.Builder(1)
    y = b.pool(b.input(1, 40, 40, 1), "average", (40, 40))
    assert refusal(b.graph(y), LAB) == (
        "Pool node 'pool0': it does not fit the unified buffer of 1024 words however it is tiled; "
        "use a larger configuration or a smaller kernel or image"
    )


def test_refuses_numbers_beyond_a_field(random_graphs):
    b = random_graphs.Builder(1)
    y = b.conv(b.input(1, 601, 1, 1), 1, (1, 1), strides=(300, 1))
    assert refusal(b.graph(y), LAB) == ("Conv node 'conv0': MATMUL.y_step must be 0 … 255, not 300")


def test_refuses_sums_beyond_32_bits(random_graphs):
    b = random_graphs.Builder(1)
    y = b.conv(b.input(1, 1, 1, 1), 1, (1, 1))
    b.ops[0].bias[...] = (1 << 31) - 1
    assert "'conv0': the sum of output channel 0 could leave int32" in refusal(b.graph(y), LAB)


def test_refuses_more_memory_than_addresses_reach(random_graphs):
    b = random_graphs.Builder(1)
    y = b.unary(b.input(40, 40, 40, 1))
    small = dataclasses.replace(LAB, addr_bits=16)
    assert refusal(b.graph(y), small) == (
        "the network needs 131072 bytes of DRAM or more, and 16-bit addresses do not reach that "
        "far; use a smaller batch"
    )
