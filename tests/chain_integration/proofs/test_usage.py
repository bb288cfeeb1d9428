"""What an order used: counters, T·H, price and elapsed time."""

import dataclasses
import time

import numpy as np
import pytest
from tests.compiler.naive import interpret
from tests.compiler.random_graph import Builder

from hpu.chain_integration.proofs import usage, vdf
from hpu.chain_integration.proofs.layers import commit_model
from hpu.chain_integration.proofs.trace import Trace
from hpu.compiler.backend import compile_graph
from hpu.hw.config import by_name
from hpu.runtime.agreement import tensors
from hpu.runtime.errors import HpuError
from hpu.runtime.execution import Executor
from hpu.runtime.measure import with_cycles

LAB = by_name("lab-16")
SEED = b"s" * 32


def network():
    b = Builder(3)
    return b.graph(b.conv(b.input(1, 8, 8, 20), 24, (3, 3), pads=(1, 1, 1, 1)))


@pytest.fixture(scope="module")
def measured():
    graph = network()
    program = compile_graph(graph, LAB, keep=True)
    executor = Executor(LAB, "functional")
    shape = graph.inputs[0].view
    feeds = {graph.inputs[0].name: np.ones(shape, np.int8)}
    with vdf.Stopwatch(SEED) as watch:
        before = time.perf_counter()
        _, run = executor.measure(program, feeds)
        time.sleep(0.3)
        seconds = time.perf_counter() - before
    found = tensors(executor, program)
    executor.close()
    timed = with_cycles(program, LAB, run)
    return usage.usage_of(LAB, timed, seconds=seconds, elapsed=watch.elapsed), timed, found


def test_one_tops_for_an_hour_is_one_th():
    tops = 2 * LAB.rows * LAB.cols * LAB.clock_hz / 1e12
    assert usage.work(LAB, LAB.clock_hz * 3600) == pytest.approx(tops * usage.TH, rel=1e-12)
    assert usage.work(LAB, 1) == -(-512 * 10**18 // (3600 * 10**12))


def test_price_is_capped_by_the_quote():
    assert usage.price_of(2 * usage.TH, 7, 100) == 14
    assert usage.price_of(2 * usage.TH, 70, 100) == 100
    assert usage.price_of(0, 70, 100) == 0


def test_document_comes_back_and_its_root_is_its_content_address(measured):
    from hpu.chain_integration.store.cid import cid_of

    found, _, _ = measured
    assert usage.read_usage(found.document) == found
    assert cid_of(found.document, "dag-cbor").raw_digest == found.root
    with pytest.raises(HpuError, match="usage document cannot be read"):
        usage.read_usage(b"\xa1aaax")
    with pytest.raises(HpuError, match="no DAG-CBOR"):
        usage.read_usage(found.document[:-1])


def test_a_true_claim_passes(measured):
    found, timed, _ = measured
    assert usage.check_usage(found, found.root, LAB, timed.cycles, SEED) == ""
    assert sum(found.causes.values()) - found.causes["MATRIX_HOST"] == found.cycles
    assert found.elapsed.squarings > 0


@pytest.mark.parametrize(
    "change,reason",
    [
        (lambda u: {"cycles": u.cycles * 2}, "are not within 3 %"),
        (lambda u: {"cycles": u.cycles + 1, "work": u.work}, "is not the work of"),
        (lambda u: {"work": u.work + 1}, "is not the work of"),
        (lambda u: {"cycles": u.cycles + 1, "work": usage.work(LAB, u.cycles + 1)}, "counters"),
        (lambda u: {"digest": bytes(32)}, "it is of configuration"),
        (lambda u: {"elapsed": None}, "no proof of elapsed time"),
        (lambda u: {"seconds": 1e-9}, "more time is proven"),
        (lambda u: {"elapsed": dataclasses.replace(u.elapsed, seed=b"t" * 32)}, "no proof of"),
        (lambda u: {"elapsed": _longer(u.elapsed)}, "elapsed time is wrong"),
    ],
)
def test_a_false_claim_is_named(measured, change, reason):
    found, timed, _ = measured
    wrong = dataclasses.replace(found, **change(found))
    assert reason in usage.check_usage(wrong, wrong.root, LAB, timed.cycles, SEED)


def _longer(elapsed):
    first, *rest = elapsed.segments
    return vdf.Elapsed(elapsed.seed, (vdf.Segment(first.squarings + 1, first.proof), *rest))


def test_another_document_than_committed(measured):
    found, timed, _ = measured
    assert "not what was committed" in usage.check_usage(found, bytes(32), LAB, timed.cycles)


def test_segments_must_follow_each_other():
    one = vdf.evaluate(SEED, 1000)
    two = vdf.evaluate(SEED, 2000, one.proof[:100])
    assert vdf.verify(vdf.Elapsed(SEED, (one, two)))
    assert not vdf.verify(vdf.Elapsed(SEED, (two, one)))
    assert not vdf.verify(vdf.Elapsed(SEED, (one, one)))
    assert not vdf.verify(vdf.Elapsed(SEED, (vdf.Segment(1000, one.proof[:-1]),)))
    assert not vdf.verify(vdf.Elapsed(SEED, (vdf.Segment(0, one.proof),)))
    assert not vdf.verify(vdf.Elapsed(b"x" * 32, (one,)))
    with pytest.raises(ValueError, match="seed must be 32 bytes, not 3"):
        vdf.evaluate(b"abc", 10)


def test_the_stopwatch_proves_a_part_of_the_time():
    before = time.perf_counter()
    with vdf.Stopwatch(SEED) as watch:
        time.sleep(0.1)
    taken = time.perf_counter() - before
    assert 0 < watch.elapsed.seconds < taken
    assert vdf.verify(watch.elapsed)


def test_a_trace_of_a_device_is_that_of_the_graph(measured):
    _, _, found = measured
    graph = network()
    model = commit_model(graph)
    feeds = {graph.inputs[0].tensor: np.ones(graph.inputs[0].view, np.int8)}
    expected = Trace(model, interpret(graph, feeds))
    assert Trace(model, found).root == expected.root
