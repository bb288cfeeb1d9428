"""What regions cost on the HPU and on the host, and that what does not pay is not offloaded."""

import dataclasses

import numpy as np
import pytest
from click.testing import CliRunner

import hpu
from hpu.cli import cli
from hpu.compiler.cost import Cost, cost_of, host_seconds, most_cycles, transfer_seconds
from hpu.compiler.frontend import import_model
from hpu.hw.config import by_name
from hpu.hw.isa import BY_NAME
from hpu.runtime.cycle_check import layers, small_networks
from hpu.sim.cycles import predict

LAB, HAI = by_name("lab-16"), by_name("hai-v1")
#: A machine like lab-16 beside a fast host.
FAST_HOST = {"host_macs": 10**12, "host_bandwidth": 10**12, "host_op_ns": 1}
SLOWER = "slower on the HPU than on the host"


def programs(config, edge, channels):
    yield from layers(config, 12, seed=7, edge=edge, channels=channels)
    yield from small_networks(config, edge=edge, channels=channels)


@pytest.mark.parametrize(("config", "edge", "channels"), [(LAB, 8, 24), (HAI, 14, 300)])
def test_the_bound_is_above_the_cycle_model(config, edge, channels):
    for name, program in programs(config, edge, channels):
        address = program.program_address
        cycles = predict(program.instructions, config, program_address=address).cycles
        most = most_cycles(program.instructions, config)
        assert cycles < most < 20 * cycles, name


def test_the_bound_counts_steps_and_bytes():
    """Rows take a cycle each, bytes what the bandwidth gives; a count of 1 is the least."""

    def most(name, **given):
        entry = BY_NAME[name]
        counts = {f.name: 1 for f in entry.fields if f.name.endswith("_count")}
        values = dict.fromkeys((f.name for f in entry.fields), 0) | {"opcode": int(entry.opcode)}
        return most_cycles(entry.encode(values | counts | given), LAB)

    rows = most("MATMUL", n_count=2, y_count=5, x_count=12) - most("MATMUL")
    assert 2 * 5 * 12 - 1 <= rows < 4 * 2 * 5 * 12
    loads = most("LOAD", n_count=3, y_count=7, x_count=30, width=4) - most("LOAD", width=1)
    data = 3 * 7 * 30 * 4 * LAB.group / LAB.dram_bytes_per_cycle
    assert data - 10 <= loads < 4 * data
    weights = most("WEIGHTS", rows=16, width=4) - most("WEIGHTS", rows=1, width=1)
    assert weights >= 15 * 4 * LAB.group / LAB.dram_bytes_per_cycle


def test_times_by_hand(fixed):
    """Batch 2: convolution 3→5 on 6×6 with 135 weights, maximum, dense layer 45→4."""
    graph = import_model(fixed)
    config = dataclasses.replace(
        LAB, host_macs=10**9, host_bandwidth=10**8, host_op_ns=700, link_bandwidth=10**6
    )
    products = 2 * 36 * 5 * 27 + 2 * 45 * 4
    moved = 2 * (108 + 180) + 135 + 2 * (180 + 45) + 2 * (45 + 4) + 180
    operators = len({name for op in graph.ops for name in op.nodes})
    want = products / 1e9 + moved / 1e8 + operators * 700e-9
    assert host_seconds(graph, config) == pytest.approx(want)
    assert transfer_seconds(graph, config) == pytest.approx(3e-6 + 2 * (108 + 4) / 1e6)


def test_the_cycle_model_decides_what_the_bound_does_not(fixed):
    graph = import_model(fixed)
    program = hpu.compile(fixed, config="lab-16")
    times = predict(program.instructions, LAB, program_address=program.program_address)
    seconds = transfer_seconds(graph, LAB) + times.cycles / LAB.clock_hz
    rough = cost_of(graph, program, LAB)
    assert rough.pays and not rough.exact and rough.hpu > seconds
    assert str(rough).startswith("at most ")
    close = dataclasses.replace(LAB, **FAST_HOST, name="fast-host")
    exact = cost_of(graph, program, close)
    assert not exact.pays and exact.exact and exact.hpu == pytest.approx(seconds)


def test_texts():
    assert str(Cost(1.25e-5, 3e-2)) == "12.5 µs against 30,000 µs"
    assert str(Cost(1e-6, 2e-6, exact=False)) == "at most 1.0 µs against 2.0 µs"


def test_sessions_leave_to_the_host_what_does_not_pay(fixed, inputs):
    config = dataclasses.replace(LAB, **FAST_HOST)
    session = hpu.InferenceSession(fixed, config=config)
    assert {entry.on_host for entry in session.placements} == {True}
    assert any(entry.reason.startswith(SLOWER) for entry in session.placements)
    forced = hpu.InferenceSession(fixed, config=config, force_hpu=True)
    assert not any(entry.on_host for entry in forced.placements)
    assert any(entry.note.startswith("slower than on the host (") for entry in forced.placements)
    feeds = {"x": inputs[:2]}
    host, device = session.run(None, feeds)[0], forced.run(None, feeds)[0]
    np.testing.assert_allclose(host, device, atol=0.2)


def test_a_region_that_does_not_pay_is_refused_where_the_host_must_not_run(fixed):
    config = dataclasses.replace(LAB, **FAST_HOST)
    with pytest.raises(hpu.UnsupportedError, match=f"{SLOWER} .* against .*; give --force-hpu"):
        hpu.InferenceSession(fixed, config=config, no_fallback=True)
    with pytest.raises(hpu.HpuError, match=r"nothing of the model runs on the HPU .*--force-hpu"):
        hpu.compile(fixed, config=config)
    assert isinstance(hpu.compile(fixed, config=config, force_hpu=True), hpu.Program)


def test_the_same_model_gives_the_same_bytes(quantised):
    config = dataclasses.replace(LAB, host_op_ns=10_000)
    one, other = (hpu.compile(quantised, config=config, batch=3) for _ in range(2))
    assert one == other


def test_the_command_line_says_it(models, tmp_path):
    """A maximum alone is too little for the full-size machine beside a server."""
    m = models.Maker(np.random.default_rng(0))
    quant = m.quant("int8")
    value = m.dq(m.q(m.input([1, 3, 4, 4]), quant), quant)
    m.output(m.dq(m.q(m.node("MaxPool", value, kernel_shape=[2, 2]), quant), quant))
    model = tmp_path / "m.onnx"
    model.write_bytes(m.model().SerializeToString())

    def invoke(*arguments):
        result = CliRunner().invoke(cli, [*map(str, arguments)])
        return result.exit_code, " ".join((result.stdout + result.stderr).split())

    status, text = invoke("check", model)
    assert status == 0
    assert f"{SLOWER} (" in text
    status, text = invoke("compile", model, "-o", tmp_path / "m.hpu")
    assert status == 2 and "give --force-hpu" in text and not (tmp_path / "m.hpu").exists()
    status, text = invoke("compile", model, "-o", tmp_path / "m.hpu", "--force-hpu")
    assert status == 0, text
    assert "(slower than on the host (" in text
    assert "on the HPU would run faster on the host" in text
    assert (tmp_path / "m.hpu").exists()
