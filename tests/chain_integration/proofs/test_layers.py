"""Networks as layers: what is committed, what is refused, and real networks on a device."""

import dataclasses

import numpy as np
import onnx
import pytest
from tests.chain_integration.proofs.bench import Bench
from tests.chain_integration.proofs.networks import HARD, moves, random_network
from tests.compiler.naive import interpret
from tests.compiler.random_graph import Builder
from tests.compiler.test_shared_models import LOGITS, SHARED, before

from examples.digits.network import INPUT as IMAGE
from examples.digits.network import held_out, quantised
from hpu.chain_integration.chain.compile import compiled
from hpu.chain_integration.chain.connect import connect
from hpu.chain_integration.chain.contract import create
from hpu.chain_integration.proofs.layers import INPUT, Kind, Layer, commit_model
from hpu.chain_integration.proofs.trace import Trace, io_root, run_traced
from hpu.compiler.backend import compile_graph
from hpu.compiler.frontend import import_model
from hpu.hw.config import by_name
from hpu.runtime.errors import HpuError
from hpu.runtime.execution import Executor
from hpu.runtime.source import import_graph


@pytest.fixture(scope="module")
def contract():
    connection = connect()
    return create(connection, connection.accounts(1)[0], compiled("elements"))


def test_the_contract_has_the_same_fields():
    entry = next(e for e in compiled("elements").abi if e.get("name") == "compute")
    names = [field["name"] for field in entry["inputs"][0]["components"]]
    assert names == [field.name for field in dataclasses.fields(Layer)]


def test_a_layer_is_words():
    layer = Layer(kind=Kind.COPY, inputs=2, x_zero=-3, weights=b"w" * 32)
    words = layer.encoded()
    assert len(words) % 32 == 0
    assert words[:64] == bytes(63 - 32) + b"\x03" + bytes(31) + b"\x02"
    assert words.count(b"\xff" * 31 + b"\xfd") == 1
    assert words.count(b"w" * 32) == 1


def test_any_change_of_a_network_changes_its_root():
    b = Builder(4)
    op = (b.conv(b.input(1, 5, 5, 3), 4, (3, 3)), b.ops[0])[1]
    weight, bias = op.weight.copy(), op.bias.copy()
    weight[3, 2, 2, 2] ^= 1
    bias[1] += 1
    changes = [{}, {"weight": weight}, {"bias": bias}, {"low": -99}, {"scale": op.scale * 2}]
    changes += [{"table": np.arange(256).astype(np.uint8).view(np.int8)}, {"strides": (2, 2)}]
    roots = set()
    for change in changes:
        other = Builder(4)
        out = other.conv(other.input(1, 5, 5, 3), 4, (3, 3))
        other.ops[0] = dataclasses.replace(other.ops[0], **change)
        roots.add(commit_model(other.graph(out)).root)
    assert len(roots) == len(changes)


def test_tensors_have_numbers():
    model = commit_model(random_network(3))
    assert model.references[model.inputs[0]] == INPUT
    assert [model.references[data.name] for data in model.layers[:-1]] == list(
        range(len(model.layers) - 1)
    )


def _conv(shape, cout, kernel, **more):
    b = Builder(1)
    return b.graph(b.conv(b.input(*shape), cout, kernel, **more))


@pytest.mark.parametrize(
    "graph,reason",
    [
        (lambda: _conv((1, 70, 1, 1), 1, (70, 1)), "the edge of its window must be at most 64"),
        (lambda: _conv((1, 1, 1, 40_000), 1, (1, 1)), "the bytes that it needs of one tensor"),
        (
            lambda: _conv((1, 12, 12, 512), 512, (12, 12), groups=512),
            "the bytes that it needs of one tensor must be at most 32,768, not 36,864",
        ),
        (lambda: _through(), "output 't0' must be computed; it is an input"),
        (lambda: _wide(), "weights of an output channel must be within 256 steps"),
    ],
)
def test_what_no_contract_can_decide_is_refused(graph, reason):
    with pytest.raises(HpuError, match=reason):
        commit_model(graph())


def _through():
    b = Builder(1)
    x = b.input(1, 2, 2, 2)
    return b.graph(b.unary(x), x)


def _wide():
    graph = _conv((1, 5, 5, 3), 4, (3, 3))
    weight = graph.ops[0].weight
    weight[:, 0, 0, 0], weight[:, 0, 0, 1] = -255, 255
    return graph


def test_a_trace_must_have_every_layer():
    graph = random_network(1)
    bench = Bench(graph, 1)
    name = bench.model.layers[2].name
    values = {key: value for key, value in bench.values.items() if key != name}
    with pytest.raises(HpuError, match=f"the trace must have '{name}'"):
        Trace(bench.model, values)
    with pytest.raises(HpuError, match=f"the trace must have '{name}'"):
        Trace(bench.model, bench.values | {name: bench.values[name][:, :-1]})


def test_what_no_piece_writes_does_not_matter():
    graph = moves(4)
    op = graph.ops[0]
    graph.ops[0] = dataclasses.replace(op, pieces=op.pieces[1:])
    bench = Bench(graph, 4)
    other = bench.values[op.out.name].copy()
    entries = np.frombuffer(bench.model.layers[0].weights, ">u8").reshape(other.shape)
    traces = [Trace(bench.model, bench.values)]
    other[entries == 0] = 77
    traces.append(Trace(bench.model, bench.values | {op.out.name: other}))
    assert traces[0].root == traces[1].root


def digits(config: str, device: str) -> Trace:
    """The trace of the demo network that a device gives of the first held-out image."""
    model = commit_model(import_graph(quantised(), 1))
    executor = Executor(by_name(config), device)
    program = compile_graph(import_graph(quantised(), 1), executor.config, keep=True)
    outputs, trace = run_traced(executor, program, model, {IMAGE: held_out()[0][:1]})
    executor.close()
    assert len(outputs) == 1
    return trace


@pytest.mark.parametrize("config", ["lab-16", "hai-v1"])
def test_the_digits_network_has_the_same_trace_on_every_machine(contract, config):
    graph, trace = import_graph(quantised(), 1), digits(config, "functional")
    bench = Bench(graph, 1)
    expected = interpret(graph, {name: trace.values[name] for name in trace.model.inputs})
    assert Trace(trace.model, expected).root == trace.root
    assert io_root([expected[name] for name in trace.model.outputs]) == trace.output_tree.root
    bench.values = trace.values
    bench.check_some(contract, 3)


@pytest.mark.slow
def test_the_simulated_hardware_gives_the_same_trace():
    assert digits("lab-16", "rtl").root == digits("hai-v1", "functional").root


@pytest.mark.slow
@pytest.mark.skipif(
    not (SHARED / "models").is_dir(), reason="the folder ../shared with real models is not there"
)
@pytest.mark.parametrize("name,tail", LOGITS.items())
def test_real_networks_can_be_decided(contract, name, tail):
    """Every layer's elements, recomputed by the contract from what a device gave."""
    model = onnx.load(SHARED / "models" / f"{name}.onnx")
    graph = import_model(model, batch=1, outputs=[before(model, tail)] if tail else None)
    committed = commit_model(graph)
    executor = Executor(by_name("hai-v1"), "functional")
    program = compile_graph(graph, executor.config, keep=True)
    rng = np.random.default_rng(0)
    feeds = {port.name: _random(rng, port) for port in program.inputs}
    _, trace = run_traced(executor, program, committed, feeds)
    executor.close()
    bench = Bench.__new__(Bench)
    bench.rng, bench.model, bench.values = rng, committed, trace.values
    bench.names = {number: name for name, number in committed.references.items()}
    bench.check_some(contract, 3)


def _random(rng, port):
    if port.dtype == "float32":
        return rng.normal(size=port.shape).astype(np.float32)
    limits = np.iinfo(port.dtype)
    return rng.integers(limits.min, limits.max + 1, port.shape).astype(port.dtype)


def test_every_kind_of_layer_is_tried():
    made = [commit_model(HARD[name]()) for name in HARD] + [commit_model(moves(1))]
    kinds = {data.layer.kind for model in made for data in model.layers}
    assert kinds == set(Kind)
