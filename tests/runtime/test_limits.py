"""What limits a layer, and work over time."""

import dataclasses

import numpy as np
import pytest

import hpu
from hpu.hw.config import CONFIGS
from hpu.hw.isa import Unit
from hpu.runtime.limits import RESOURCES, array_use, limit_of, load_of, shares, work
from hpu.runtime.measure import with_cycles
from hpu.runtime.profile import Run, profile_of
from hpu.runtime.program import NodeRange
from hpu.runtime.timeline import Timeline, done_by, layers, served, timeline, windows

LAB = CONFIGS["lab-16"]
NONE = dict.fromkeys(RESOURCES, 0.0)


@pytest.mark.parametrize(
    ("worked", "limit"),
    [
        ({"matrix": 0.9, "vector": 0.8}, "matrix"),
        ({"matrix": 0.3, "fill": 0.6}, "fill"),
        ({"vector": 0.7, "input": 0.6, "dram": 0.65}, "vector"),
        ({"weights": 0.4, "input": 0.3, "output": 0.1, "dram": 0.8, "matrix": 0.7}, "weights"),
        ({"input": 0.9, "dram": 0.2, "matrix": 0.5}, "input"),
        ({"output": 0.5, "dram": 0.5, "matrix": 0.4}, "output"),
        ({"fetch": 0.4, "weights": 0.2, "dram": 0.6}, "fetch"),
        ({"matrix": 0.4, "dram": 0.49, "weights": 0.49}, "latency"),
    ],
)
def test_the_busiest_resource_is_the_limit(worked, limit):
    assert limit_of(NONE | worked, 100) == limit
    assert limit_of(NONE | worked, 0) == "hidden"


def test_the_load_of_a_limit():
    share = NONE | {"weights": 0.3, "dram": 0.8, "matrix": 0.2}
    assert load_of("weights", share) == 0.8
    assert load_of("matrix", share) == 0.2
    assert load_of("latency", share) is None


def spans(*rows) -> Timeline:
    columns = np.array(rows, np.int64).reshape(-1, 4).T
    return Timeline(*columns)


def test_work_is_spread_over_its_span():
    rng = np.random.default_rng(5)
    starts = rng.integers(0, 50, 20)
    ends = starts + rng.integers(1, 30, 20)
    amounts = rng.uniform(0, 9, 20)
    found = spans(*((0, k, a, b) for k, (a, b) in enumerate(zip(starts, ends, strict=True))))
    at = np.arange(90)
    done = np.clip((at[:, None] - starts) / (ends - starts), 0, 1) @ amounts
    np.testing.assert_allclose(done_by(found, amounts, at), done, atol=1e-9)
    assert not done_by(found, np.zeros(20), at).any()


def test_a_unit_does_its_work_in_order():
    found = served(spans((0, 0, 0, 10), (2, 1, 3, 9), (0, 2, 4, 15), (0, 3, 5, 15)))
    assert list(found.start) == [0, 3, 10, 15]
    assert list(found.end) == [10, 9, 15, 15]


def test_slices_of_a_layer_are_one():
    nodes = (
        NodeRange(0, 2, "a", "Conv", 10, "plain"),
        NodeRange(2, 1, "b", "Pool", 0),
        NodeRange(3, 2, "a", "Conv", 5, "plain"),
    )
    found, index = layers(nodes)
    assert list(index) == [0, 1, 0]
    assert found == [NodeRange(0, 4, "a", "Conv", 15, "plain"), nodes[1]]
    assert layers(())[0] == []


def test_shares_of_two_layers_by_hand():
    unit = Unit.VECTOR
    found = spans((unit, 0, 0, 10), (unit, 1, 10, 20), (unit, 2, 25, 30))
    amounts = {name: np.zeros(3) for name in RESOURCES}
    amounts["vector"] = np.array([10.0, 10.0, 5.0])
    amounts["dram"] = np.array([0.0, 4.0, 0.0])
    amounts["fetch"] = np.array([9.0, 2.0, 2.0])  # from -9 to 0, 8 to 10, 23 to 25
    parts = np.array([[0, 10], [10, 20], [20, 30]])
    first, second = shares(found, amounts, parts, np.array([0, 1, 0]))
    assert first == pytest.approx(NONE | {"vector": 0.75, "fetch": 0.2, "dram": 0.2})
    assert second == pytest.approx(NONE | {"vector": 1.0, "dram": 0.4})


def test_work_of_a_network_is_what_its_layers_show(quantised):
    program = hpu.compile(quantised, config="lab-16", batch=3)
    run = with_cycles(program, LAB, Run({}))
    found = timeline(run.events)
    amounts = work(program, LAB, found)
    parts = windows(found, program.nodes)
    assert amounts["matrix"].sum() == (
        run.counters["MATRIX_USEFUL"] + run.counters["MATRIX_PADDING"]
    )
    assert amounts["vector"].sum() >= run.counters["VECTOR_BUSY"]
    beats = run.counters["READ_BEATS"] + run.counters["WRITE_BEATS"]
    moved = (amounts["dram"] + amounts["fetch"]).sum() * LAB.dram_bytes_per_cycle
    assert moved == pytest.approx(beats * LAB.axi_bytes, rel=0.02)
    for name in RESOURCES:
        if name == "fetch":
            continue  # some of it is before the first start
        done = done_by(served(found), amounts[name], parts)
        assert (done[:, 1] - done[:, 0]).sum() == pytest.approx(amounts[name].sum(), rel=1e-6)


def test_the_array_is_never_used_more_than_whole(quantised):
    program = hpu.compile(quantised, config="lab-16", batch=3)
    run = with_cycles(program, LAB, Run({}))
    profile = profile_of(program, LAB, "functional", run)
    spans = timeline(run.events)
    parts = windows(spans, program.nodes)
    use = array_use(program, LAB, spans, parts)
    assert (use * (parts[:, 1] - parts[:, 0])).sum() * 256 == pytest.approx(profile.macs)
    assert all(0 <= node.utilisation <= 1 for node in profile.nodes) and use.max() <= 1


def test_with_little_bandwidth_instructions_are_waited_for(quantised):
    slow = dataclasses.replace(LAB, name="slow", dram_bandwidth=LAB.dram_bandwidth // 10)
    program = hpu.compile(quantised, config=slow, batch=1)
    profile = profile_of(program, slow, "functional", with_cycles(program, slow, Run({})))
    most = max(profile.nodes, key=lambda node: node.cycles)
    assert most.limit == "fetch" and most.causes["MATRIX_FETCH"] > most.cycles / 2
    assert sum(profile.limits.values()) == profile.cycles
