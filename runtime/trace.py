"""Perfetto traces: the five units as tracks, every instruction as a slice with its node's name."""

import os
from collections.abc import Sequence

import numpy as np
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import TracePacket, TrackEvent
from perfetto.trace_builder.proto_builder import StreamingTraceProtoBuilder

from hpu.hw.config import Config
from hpu.hw.isa import Unit
from hpu.runtime.files import replacing
from hpu.runtime.profile import HostProfile
from hpu.runtime.program import NodeRange, Program
from hpu.runtime.timeline import Timeline, node_of, windows

__all__ = ["write_trace"]

_SEQUENCE = 1
_MACHINE = 100  # track of the machine; a unit's track is this plus one plus its number
_NODES = 200
_HOST = 300


def write_trace(
    path: str | os.PathLike[str],
    config: Config,
    parts: Sequence[tuple[Program, Timeline] | HostProfile],
) -> None:
    """Write a trace that ui.perfetto.dev opens. Times are nanoseconds at the clock.

    ``parts`` follow one another in time: programs with their spans, and parts of the host.

    Raises
    ------
    HpuError
        When the file cannot be written.
    """
    with replacing(path) as file:
        writer = _Writer(StreamingTraceProtoBuilder(file), 1e9 / config.clock_hz)
        writer.track(_MACHINE, f"HPU {config.name}", None)
        writer.track(_NODES, "network", _MACHINE)
        for unit in Unit:
            writer.track(_MACHINE + 1 + unit, unit.name.lower(), _MACHINE)
        if any(isinstance(part, HostProfile) for part in parts):
            writer.track(_HOST, "host", None)
        for part in parts:
            _part(writer, part)


def _part(writer: "_Writer", part: tuple[Program, Timeline] | HostProfile) -> None:
    """The slices of a part, and the origin moved to its end."""
    if isinstance(part, HostProfile):
        cycles = round(1e6 * part.milliseconds / writer.nanoseconds)
        more = f" and {len(part.nodes) - 1} more" if len(part.nodes) > 1 else ""
        notes: dict[str, int | str] = {"nodes": ", ".join(part.nodes)}
        writer.slice(_HOST, part.nodes[0] + more, 0, cycles, notes)
    else:
        program, spans = part
        cycles = int(spans.end.max(initial=0))
        _units(writer, program, spans)
        _nodes(writer, program, spans)
    writer.origin += cycles


class _Writer:
    """Puts tracks and slices into a trace; cycles count from ``origin``."""

    def __init__(self, builder: StreamingTraceProtoBuilder, nanoseconds: float):
        self._builder, self.nanoseconds, self.origin = builder, nanoseconds, 0

    def track(self, number: int, name: str, parent: int | None) -> None:
        packet = self._packet(0)
        packet.track_descriptor.uuid = number
        packet.track_descriptor.name = name
        if parent is not None:
            packet.track_descriptor.parent_uuid = parent
        self._builder.write_packet(packet)

    def slice(
        self, track: int, name: str, start: int, end: int, notes: dict[str, int | str]
    ) -> None:
        packet = self._packet(start)
        event = packet.track_event
        event.type, event.track_uuid, event.name = TrackEvent.TYPE_SLICE_BEGIN, track, name
        for key, value in {**notes, "start cycle": start, "cycles": end - start}.items():
            note = event.debug_annotations.add()
            note.name = key
            if isinstance(value, str):
                note.string_value = value
            else:
                note.int_value = value
        self._builder.write_packet(packet)
        packet = self._packet(end)
        packet.track_event.type = TrackEvent.TYPE_SLICE_END
        packet.track_event.track_uuid = track
        self._builder.write_packet(packet)

    def _packet(self, cycle: int) -> TracePacket:
        packet = self._builder.create_packet()
        packet.timestamp = round((self.origin + cycle) * self.nanoseconds)
        packet.trusted_packet_sequence_id = _SEQUENCE
        return packet


def _units(writer: _Writer, program: Program, spans: Timeline) -> None:
    """One slice per instruction. A unit may take one before the last is done: such slices touch."""
    ready = dict.fromkeys(Unit, 0)
    owner = node_of(spans.pc, program.nodes)
    for k in range(len(spans)):
        unit = Unit(int(spans.unit[k]))
        start, end = max(int(spans.start[k]), ready[unit]), int(spans.end[k])
        ready[unit] = max(end, start)
        name = program.nodes[owner[k]].name if owner[k] >= 0 else "program"
        notes: dict[str, int | str] = {"instruction": int(spans.pc[k])}
        if owner[k] >= 0:
            notes["operator"] = program.nodes[owner[k]].op_type
        writer.slice(_MACHINE + 1 + unit, name, start, ready[unit], notes)


def _nodes(writer: _Writer, program: Program, spans: Timeline) -> None:
    """One slice per node on the network's track, from the end of the node that ended before."""
    found = windows(spans, program.nodes)
    for k in np.argsort(found[:, 0], kind="stable"):
        node, (start, end) = program.nodes[k], found[k].tolist()
        if end > start:
            writer.slice(_NODES, node.name, start, end, _notes(node))


def _notes(node: NodeRange) -> dict[str, int | str]:
    notes: dict[str, int | str] = {"operator": node.op_type, "MACs": node.macs}
    return notes | ({"mapping": node.mapping} if node.mapping else {})
