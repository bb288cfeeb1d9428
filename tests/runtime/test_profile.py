"""Profiles, their report page and their trace, of a made-up log of a real program."""

import json

import numpy as np
import pytest
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent

import hpu
from hpu.hw import csr
from hpu.hw.config import CONFIGS
from hpu.hw.isa import BY_OPCODE, INSTRUCTION_BYTES
from hpu.runtime.measure import Measured, MeasuredNetwork, measure, random_feeds
from hpu.runtime.profile import HostProfile, Run, profile_of, to_json
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
    return Measured(program, LAB, run, profile_of(program, LAB, "rtl", run))


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
    functional = session.measure(feeds).runs[0].counters
    for name in ("MATRIX_USEFUL", "MATRIX_PADDING", "MATMUL_COUNT", "LOAD_ROWS"):
        assert profile.counters[name] == functional[name] > 0, name


def test_a_program_that_was_not_run_has_no_cycles(program):
    profile = profile_of(program, LAB, "none", Run({}))
    assert profile.cycles is None and not profile.predicted
    assert profile.limits is None and profile.memory.ub_peak


def test_json_has_every_number(measured):
    found = json.loads(to_json(measured.profile))
    assert found["cycles"] == measured.profile.cycles
    assert [node["name"] for node in found["nodes"]] == [n.name for n in measured.program.nodes]


def test_the_trace_holds_every_instruction(measured, tmp_path):
    path = tmp_path / "t.perfetto-trace"
    write_trace(path, LAB, [(measured.program, measured.spans)])
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


def test_parts_follow_one_another_in_the_trace(measured, tmp_path):
    path = tmp_path / "t.perfetto-trace"
    program = (measured.program, measured.spans)
    host = HostProfile(nodes=["soft", "max"], operators=["Softmax", "Max"], milliseconds=0.5)
    write_trace(path, LAB, [program, host, program])
    trace = Trace.FromString(path.read_bytes())
    begins = [p for p in trace.packet if p.track_event.type == TrackEvent.TYPE_SLICE_BEGIN]
    (times,) = ([p.timestamp for p in begins if p.track_event.name == "soft and 1 more"],)
    run = 10 * int(measured.spans.end.max())  # nanoseconds at 100 MHz
    assert times == [run]
    second = begins[len(begins) // 2 + 1 :]
    assert min(packet.timestamp for packet in second) == run + 500_000


def test_files_are_written(measured, tmp_path):
    paths = [tmp_path / name for name in ("p.json", "p.html", "p.perfetto-trace")]
    network = MeasuredNetwork({}, [measured], 3)
    network.write("small", json_path=paths[0], html_path=paths[1], trace_path=paths[2])
    assert all(path.stat().st_size > 500 for path in paths)
    found = json.loads(paths[0].read_bytes())
    assert (found["format"], found["title"], found["batch"]) == (1, "small", 3)
    (part,) = found["parts"]
    assert part["runs_on"] == "hpu" and part["cycles"] == measured.profile.cycles
    assert part["memory"]["ub_peak"] > 0 and part["nodes"][0]["limit"]
