"""The cycle model against the machine in RTL (lab-16), and its parts against small twins."""

import numpy as np
import pytest

from hpu.hw.config import CONFIGS
from hpu.hw.csr import MATRIX_CAUSES
from hpu.hw.isa import BY_NAME, Unit
from hpu.runtime.bench_cycles import judged
from hpu.runtime.cycle_check import Network, compare, layers, small_networks
from hpu.runtime.devices import RtlDevice
from hpu.runtime.driver import Driver
from hpu.runtime.program import Program, Segment
from hpu.runtime.timeline import timeline
from hpu.sim.cycles import predict
from hpu.sim.cycles.conflicts import walk
from hpu.sim.cycles.memory import Bandwidth
from hpu.sim.decode import decode
from hpu.sim.random_program import random_program

LAB, FULL = CONFIGS["lab-16"], CONFIGS["hai-v1"]


def test_networks_against_rtl():
    programs = [*layers(LAB, 24, seed=100, edge=12, channels=40)]
    programs += small_networks(LAB, edge=8, channels=16)
    found = compare(programs, LAB)
    mean, detail = judged({"lab-16": [100 * abs(one.error) for one in found]})
    assert mean <= 0.3, (detail, found)


def test_random_programs_against_rtl():
    programs = [(f"seed {seed}", packed(random_program(LAB, seed))) for seed in range(8)]
    for one in compare(programs, LAB):
        assert abs(one.error) <= 0.03, one


def packed(found) -> Program:
    data = found.dram[: found.program_address].tobytes()
    return Program(
        config_name=LAB.name,
        config_digest=LAB.digest(),
        instructions=found.instructions,
        program_address=found.program_address,
        image=(Segment(0, data),),
        dram_bytes=found.dram.size,
        inputs=(),
        outputs=(),
        nodes=(),
    )


@pytest.fixture(scope="module")
def both():
    """A network's run in RTL (counters, spans) and its prediction."""
    net = Network(9, 2, 8, 8, 20)
    skip = net.x
    net.conv(20, 3, pad=1).conv(20, 3, pad=1, residual=skip).pool("max", 2, stride=2).conv(40, 1)
    program = net.program(LAB)
    device = RtlDevice(LAB, dram_bytes=1 << 24)
    driver = Driver(device)
    driver.load(program)
    device.record_events(True)
    result = driver.run()
    spans = timeline(device.take_events())
    device.close()
    times = predict(program.instructions, LAB, program_address=program.program_address)
    return result, spans, times


def test_every_span_is_where_it_is_in_rtl(both):
    result, spans, times = both
    predicted = timeline(times.events())
    order, twin = np.argsort(spans.pc), np.argsort(predicted.pc)
    np.testing.assert_array_equal(spans.unit[order], predicted.unit[twin])
    assert len(spans) == len(predicted)
    late = np.abs(spans.start[order] - predicted.start[twin])
    late = np.maximum(late, np.abs(spans.end[order] - predicted.end[twin]))
    assert np.quantile(late, 0.95) <= 0.01 * result.cycles, late
    assert late.max() <= 0.03 * result.cycles, late


def test_causes_and_counters_are_those_of_rtl(both):
    result, _spans, times = both
    assert sum(times.causes.values()) == times.cycles
    assert set(times.causes) == {cause.name for cause in MATRIX_CAUSES}
    for name in ("MATRIX_USEFUL", "MATRIX_PADDING", "READ_BEATS", "WRITE_BEATS"):
        assert times.counters()[name] == result.counters[name], name
    for cause in times.causes:
        if cause != "MATRIX_HOST":
            assert times.causes[cause] == pytest.approx(
                result.counters[cause], abs=0.01 * result.cycles
            ), cause
    for unit in ("load", "weights", "vector", "store"):
        measured = result.counters[f"{unit.upper()}_BUSY"]
        assert times.busy[unit] == pytest.approx(measured, rel=0.05), unit


@pytest.mark.parametrize("seed", range(20))
def test_walk_against_a_loop_over_cycles(seed):
    rng = np.random.default_rng(seed)
    edges = np.sort(rng.choice(60, 6, replace=False)).tolist()
    blocks = list(zip(edges[::2], edges[1::2], strict=True))
    cycle, steps = int(rng.integers(0, 50)), int(rng.integers(1, 20))
    for pace in (1, 3):
        expected, left = cycle, steps
        while left:
            free = not any(first <= expected <= last for first, last in blocks)
            left -= free
            expected += pace if free else 1
        assert walk(cycle, steps, blocks, pace) == expected, (blocks, cycle, steps, pace)


@pytest.mark.parametrize("config", [LAB, FULL], ids=lambda config: config.name)
@pytest.mark.parametrize("seed", range(5))
def test_bandwidth_against_a_loop_over_cycles(config, seed):
    """Bursts one after another with gaps, as the memory of the RTL's harness serves them."""
    rng = np.random.default_rng(seed)
    rate = config.dram_bytes_per_cycle / config.axi_bytes
    bandwidth, budget, cycle, ready = Bandwidth(config), 2.0, 0, 0
    for _ in range(30):
        beats, ready = int(rng.integers(1, 17)), ready + int(rng.integers(0, 8))
        beat_cycles = []
        while len(beat_cycles) < beats:
            budget = min(2.0, budget + rate)
            if cycle >= ready and budget > 0:
                beat_cycles.append(cycle)
                budget -= 1
            cycle += 1
        first, last = bandwidth.claim(ready, beats)
        assert abs(first - beat_cycles[0]) <= 1 and abs(last - beat_cycles[-1]) <= 1, seed
        ready = cycle


def instruction(name: str, **values: int) -> bytes:
    return BY_NAME[name].encode(values)


def test_refuses_what_does_not_run():
    with pytest.raises(ValueError, match="instruction 0 must be legal"):
        predict(bytes(128), LAB)
    store = {"n_count": 1, "y_count": 1, "x_count": 4, "width": 4, "a_x": 1}
    waits = instruction("STORE", wait=1 << Unit.VECTOR, **store)
    assert decode(waits, LAB)[0].entry is not None
    with pytest.raises(ValueError, match="unit STORE waits for ever after 0 of 1"):
        predict(waits, LAB)
    assert predict(instruction("STORE", **store), LAB).write_beats == 8


def test_an_empty_program():
    times = predict(b"", LAB)
    assert len(times.pc) == 0 and sum(times.causes.values()) == times.cycles
