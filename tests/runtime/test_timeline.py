"""Event logs become spans, and cycles are charged to nodes."""

import numpy as np
import pytest

from hpu.hw.isa import Unit
from hpu.runtime.program import NodeRange
from hpu.runtime.timeline import busy, charged, node_of, timeline
from hpu.sim.rtl import EVENT

NODES = (NodeRange(0, 2, "a", "Conv", 10), NodeRange(2, 2, "b", "Conv", 10))
#: unit, pc, start, end; the second MATMUL is accepted before the first is done.
SPANS = [
    (Unit.LOAD, 0, 10, 20),
    (Unit.MATRIX, 1, 22, 40),
    (Unit.MATRIX, 3, 30, 52),
    (Unit.LOAD, 2, 21, 25),
]


def log(spans) -> np.ndarray:
    events = [(start, pc, unit, 0, 0) for unit, pc, start, _end in spans]
    events += [(end, pc, unit, 1, 0) for unit, pc, _start, end in spans]
    return np.array(sorted(events), EVENT)


def test_spans_are_found_and_counted_from_the_first():
    spans = timeline(log(SPANS))
    rows = zip(spans.unit, spans.pc, spans.start, spans.end, strict=True)
    expected = sorted(((u, pc, s - 10, e - 10) for u, pc, s, e in SPANS), key=lambda row: row[2])
    assert list(rows) == expected
    assert len(timeline(np.empty(0, EVENT))) == 0


def test_an_end_without_a_start_is_an_error():
    with pytest.raises(ValueError, match="unit MATRIX has starts and ends that do not match"):
        timeline(log(SPANS)[:-1])


def test_instructions_belong_to_nodes():
    assert list(node_of(np.array([0, 1, 2, 3, 4]), NODES)) == [0, 0, 1, 1, -1]


def test_charged_cycles_add_up():
    cycles = charged(timeline(log(SPANS)), NODES)
    assert list(cycles) == [30, 12]


def test_busy_counts_overlaps_once():
    spans = timeline(log(SPANS))
    assert list(busy(spans, Unit.MATRIX, NODES)) == [18, 12]
    assert list(busy(spans, Unit.LOAD, NODES)) == [10, 4]
    assert list(busy(spans, Unit.STORE, NODES)) == [0, 0]
