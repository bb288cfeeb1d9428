"""Profiles, their report page and their trace, of a made-up log of a real program."""

import json
import re

import numpy as np
import pytest
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent

import hpu
from hpu.hw import csr
from hpu.hw.config import CONFIGS
from hpu.hw.isa import BY_OPCODE, INSTRUCTION_BYTES
from hpu.runtime.measure import Measured, measure, random_feeds
from hpu.runtime.profile import Run, profile_of, to_json
from hpu.runtime.report import MAX_SPANS, html_report
from hpu.runtime.timeline import timeline
from hpu.runtime.trace import write_trace
from hpu.runtime.traffic import read_bytes, written_bytes
from hpu.sim.rtl import EVENT

LAB = CONFIGS["lab-16"]


@pytest.fixture(scope="module")
def program(quantised):
    return hpu.compile(quantised, config="lab-16", batch=3)


def instructions(program) -> list[tuple]:
    """Entry of the table and values of every instruction."""
    data = program.instructions
    words = [data[k : k + INSTRUCTION_BYTES] for k in range(0, len(data), INSTRUCTION_BYTES)]
    return [(BY_OPCODE[word[0]], BY_OPCODE[word[0]].decode(word)) for word in words]


def made_up_run(program) -> Run:
    """One instruction after another, ten cycles each."""
    events = []
    for pc, (entry, _values) in enumerate(instructions(program)):
        events += [(100 + 10 * pc, pc, entry.unit, 0, 0), (110 + 10 * pc, pc, entry.unit, 1, 0)]
    cycles = 10 * program.instruction_count + 7
    counters = dict.fromkeys((counter.name for counter in csr.COUNTERS), 0)
    counters |= {"MATRIX_USEFUL": cycles - 5, "MATRIX_FETCH": 5}
    return Run(counters, np.array(events, EVENT), cycles)


@pytest.fixture(scope="module")
def measured(program) -> Measured:
    run = made_up_run(program)
    return Measured(program, LAB, {}, run, profile_of(program, LAB, "rtl", run))


def test_traffic_is_that_of_the_instructions(program):
    read = [0] * program.instruction_count
    written = list(read)
    for pc, (entry, values) in enumerate(instructions(program)):
        if entry.name == "WEIGHTS":
            read[pc] = values["rows"] * values["width"] * LAB.group
        elif entry.name in ("LOAD", "STORE"):
            rows = values["n_count"] * values["y_count"] * values["x_count"]
            side = read if entry.name == "LOAD" else written
            side[pc] = rows * values["width"] * LAB.group
    assert list(read_bytes(program, LAB)) == read
    assert list(written_bytes(program, LAB)) == written
    assert sum(read) and sum(written)


def test_cycles_and_traffic_add_up(measured):
    profile = measured.profile
    assert sum(node.cycles for node in profile.nodes) == profile.cycles
    assert sum(node.instructions for node in profile.nodes) == profile.instructions
    assert sum(node.read_bytes for node in profile.nodes) == profile.read_bytes
    assert sum(profile.units.values()) == 10 * profile.instructions
    assert profile.attributed == 1
    assert profile.milliseconds == pytest.approx(1e3 * profile.cycles / 100e6)
    assert profile.utilisation == pytest.approx(profile.macs / (profile.cycles * 256))


def test_cycles_of_the_functional_device_are_predicted(quantised):
    session = hpu.InferenceSession(quantised, config="lab-16")
    feeds = random_feeds(session.get_inputs(), 2)
    measured = measure(session, feeds)
    profile = measured.profile
    assert profile.predicted and profile.attributed == 1
    assert sum(node.cycles for node in profile.nodes) == profile.cycles
    assert len(measured.spans) == profile.instructions
    functional = session.measure(feeds)[1][0][1].counters
    for name in ("MATRIX_USEFUL", "MATRIX_PADDING", "MATMUL_COUNT", "LOAD_ROWS"):
        assert profile.counters[name] == functional[name] > 0, name
    page = html_report(profile, "small", spans=measured.spans, nodes=measured.program.nodes)
    assert "cycles predicted" in page and "predicted time" in page


def test_a_program_that_was_not_run_has_no_cycles(program):
    profile = profile_of(program, LAB, "none", Run({}))
    assert profile.cycles is None and not profile.predicted
    assert "was not run" in html_report(profile, "small")


def test_json_has_every_number(measured):
    found = json.loads(to_json(measured.profile))
    assert found["cycles"] == measured.profile.cycles
    assert [node["name"] for node in found["nodes"]] == [n.name for n in measured.program.nodes]


def test_the_page_stands_alone(measured):
    page = html_report(
        measured.profile, "a <title>", spans=measured.spans, nodes=measured.program.nodes
    )
    assert "a &lt;title&gt;" in page
    assert not re.search(r"(src|href)=", page)
    assert "100.00%" in page
    for node in measured.program.nodes:
        assert node.name in page


def test_a_node_cannot_end_the_script(measured):
    nodes = [
        type(node)(node.first, node.count, "</script>", "Conv", 1)
        for node in measured.program.nodes
    ]
    page = html_report(measured.profile, "t", spans=measured.spans, nodes=nodes)
    assert page.count("</script>") == 2


def test_long_timelines_are_joined(measured):
    count = 3 * MAX_SPANS
    events = np.zeros(2 * count, EVENT)
    events["pc"] = np.repeat(np.arange(count) % measured.program.nodes[0].count, 2)
    events["cycle"] = np.arange(2 * count)
    events["end"] = np.arange(2 * count) % 2
    page = html_report(measured.profile, "t", spans=timeline(events), nodes=measured.program.nodes)
    data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S).group(1))
    assert 0 < len(data["spans"]) <= 4 * MAX_SPANS
    assert data["spans"][-1] == 2 * count - 1


def test_the_trace_holds_every_instruction(measured, tmp_path):
    path = tmp_path / "t.perfetto-trace"
    write_trace(path, measured.program, LAB, measured.spans)
    trace = Trace.FromString(path.read_bytes())
    tracks = {
        packet.track_descriptor.uuid: packet.track_descriptor.name
        for packet in trace.packet
        if packet.HasField("track_descriptor")
    }
    assert set(tracks.values()) > {"load", "weights", "matrix", "vector", "store", "network"}
    begins = [p for p in trace.packet if p.track_event.type == TrackEvent.TYPE_SLICE_BEGIN]
    ends = [p for p in trace.packet if p.track_event.type == TrackEvent.TYPE_SLICE_END]
    assert len(begins) == len(ends) == len(measured.spans) + len(measured.program.nodes)
    names = {packet.track_event.name for packet in begins}
    assert names == {node.name for node in measured.program.nodes}
    loads = [p for p in begins if tracks[p.track_event.track_uuid] == "load"]
    assert loads[0].timestamp == 0
    assert begins[1].timestamp == 100  # ten cycles at 100 MHz, in nanoseconds


def test_files_are_written(measured, tmp_path):
    paths = [tmp_path / name for name in ("p.json", "p.html", "p.perfetto-trace")]
    measured.write("small", json_path=paths[0], html_path=paths[1], trace_path=paths[2])
    assert all(path.stat().st_size > 500 for path in paths)
