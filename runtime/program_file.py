"""The ``.hpu`` file that holds a program.

Magic, version, header length, header (msgpack), the sections that the header lists (the
instructions, then the data of every image segment), SHA-256 of everything before it.
"""

import hashlib
import os
import struct
from collections.abc import Sequence
from pathlib import Path

import msgspec

from hpu.hw.config import CONFIGS, Config
from hpu.hw.isa import INSTRUCTION_BYTES
from hpu.runtime.errors import ProgramError
from hpu.runtime.files import write_atomically
from hpu.runtime.program import NodeRange, Port, Program, Segment
from hpu.runtime.residence import SPACES, Residence

__all__ = ["FORMAT_VERSION", "MAGIC", "is_program", "load", "save"]

MAGIC = b"HPUPROG\n"
FORMAT_VERSION = 5
#: Versions that are read: a program alone, and a package (:mod:`hpu.runtime.package`).
VERSIONS = (FORMAT_VERSION, 6)

_PREFIX = struct.Struct("<8sII")  # magic, version, header bytes
_DIGEST_BYTES = 32
_MAX_HEADER = 64 << 20
_MAX_FILE = 64 << 30
_MAX_INSTRUCTIONS = 1 << 31
_MAX_RANK = 16


class _Placed(msgspec.Struct, frozen=True):
    """A segment's place in DRAM and its size; the bytes stand in the file's sections."""

    address: int
    size: int


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    """The header of a ``.hpu`` file: a program without its bytes."""

    config_name: str
    config_digest: bytes
    program_address: int
    instruction_bytes: int
    image: tuple[_Placed, ...]
    dram_bytes: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    nodes: tuple[NodeRange, ...]
    kept: tuple[Port, ...]
    memory: tuple[Residence, ...]


_SHARED = [name for name in _Header.__struct_fields__ if name in Program.__struct_fields__]


def save(program: Program, path: str | os.PathLike[str]) -> None:
    """Write ``program`` to ``path``, whole or not at all.

    Raises
    ------
    HpuError
        When the file cannot be written.
    """
    write_atomically(path, encode(program))


def load(path: str | os.PathLike[str], config: Config | None = None) -> Program:
    """Read the ``.hpu`` file ``path`` for ``config`` (without one: the configuration it names).

    Raises
    ------
    ProgramError
        When the file cannot be read, is no program file, is truncated, damaged, of another
        version, or for another configuration.
    """
    name = os.fspath(path)
    data = read_bytes(name)
    if version_of(data, name) != FORMAT_VERSION:
        raise ProgramError(
            f"{name} holds a network of which the host runs a part, not one program; "
            "open it with hpu.InferenceSession or `hpu run`."
        )
    program = decode(data, name)
    try:
        program.check(config or configuration_of(program.config_name, name))
    except ProgramError as error:
        raise ProgramError(f"{name}: {error}") from None
    return program


def is_program(path: str | os.PathLike[str]) -> bool:
    """Whether the file starts as a program file does."""
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def configuration_of(config_name: str, name: str) -> Config:
    """The configuration that the file ``name`` says it is for.

    Raises
    ------
    ProgramError
        When there is none of that name.
    """
    if config_name not in CONFIGS:
        raise ProgramError(
            f"{name} is for configuration {config_name!r}, which is not one of "
            f"{', '.join(CONFIGS)}; give the configuration."
        )
    return CONFIGS[config_name]


def prefix(version: int, header: bytes) -> bytes:
    """What a file of ``version`` begins with."""
    return _PREFIX.pack(MAGIC, version, len(header))


def encode(program: Program) -> bytes:
    """The bytes of the file that holds ``program``."""
    fields = {name: getattr(program, name) for name in _SHARED if name != "image"}
    header = msgspec.msgpack.encode(
        _Header(
            **fields,
            instruction_bytes=len(program.instructions),
            image=tuple(_Placed(segment.address, len(segment.data)) for segment in program.image),
        )
    )
    parts = [prefix(FORMAT_VERSION, header), header, program.instructions]
    parts += [segment.data for segment in program.image]
    body = b"".join(parts)
    return body + hashlib.sha256(body).digest()


def read_bytes(name: str) -> bytes:
    """The file, when it has a sensible size.

    Raises
    ------
    ProgramError
        When it cannot be read.
    """
    try:
        size = Path(name).stat().st_size
        if size > _MAX_FILE:
            raise ProgramError(f"{name} is larger than a program file may be ({_MAX_FILE} bytes).")
        return Path(name).read_bytes()
    except OSError as error:
        raise ProgramError(f"{name} cannot be read: {error.strerror}.") from error


def decode(data: bytes, name: str) -> Program:
    """The program in the bytes of a file; ``name`` is for messages.

    Raises
    ------
    ProgramError
        When they are truncated, damaged or of another version.
    """
    if version_of(data, name) != FORMAT_VERSION:
        raise damaged(name, "a part of it is no program")
    header, start = _header(data, name)
    sizes = [header.instruction_bytes, *(placed.size for placed in header.image)]
    check_whole(data, start + sum(sizes), name)
    _check_header(header, name)
    sections = _cut(data, start, sizes)
    image = tuple(
        Segment(placed.address, section)
        for placed, section in zip(header.image, sections[1:], strict=True)
    )
    fields = {key: getattr(header, key) for key in _SHARED if key != "image"}
    return Program(**fields, instructions=sections[0], image=image)


def version_of(data: bytes, name: str) -> int:
    """The format version, one that this release reads.

    Raises
    ------
    ProgramError
        When it is another one, or this is no program file.
    """
    if len(data) < _PREFIX.size or not data.startswith(MAGIC):
        if data and MAGIC.startswith(data[: len(MAGIC)]):
            raise _truncated(name)
        raise ProgramError(f"{name} is not an HPU program file; make one with `hpu compile`.")
    version = _PREFIX.unpack_from(data)[1]
    if version not in VERSIONS:
        raise ProgramError(
            f"{name} has format version {version}, and this release reads versions "
            f"{' and '.join(map(str, VERSIONS))}; compile the model again."
        )
    return version


def cut_header(data: bytes, name: str) -> tuple[bytes, int]:
    """The header's bytes, and where the sections start.

    Raises
    ------
    ProgramError
        When they are not there.
    """
    length = _PREFIX.unpack_from(data)[2]
    if length > _MAX_HEADER:
        raise damaged(name, "its header is too long")
    end = _PREFIX.size + length
    if end > len(data):
        raise _truncated(name)
    return data[_PREFIX.size : end], end


def _header(data: bytes, name: str) -> tuple[_Header, int]:
    """The header, and where the sections start. Its bytes are not yet known to be undamaged."""
    raw, end = cut_header(data, name)
    try:
        header = msgspec.msgpack.decode(raw, type=_Header)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise damaged(name, "its header cannot be read") from error
    if min(header.instruction_bytes, *(placed.size for placed in header.image), 0) < 0:
        raise damaged(name, "a section has a negative size")
    return header, end


def check_whole(data: bytes, end: int, name: str) -> None:
    """Refuse a file whose sections do not end at ``end``, or whose checksum does not agree.

    Raises
    ------
    ProgramError
        When it is so.
    """
    _check_size(data, end + _DIGEST_BYTES, name)
    _check_digest(data, name)


def _check_size(data: bytes, expected: int, name: str) -> None:
    if len(data) < expected:
        raise _truncated(name)
    if len(data) > expected:
        raise damaged(name, f"it has {len(data) - expected} bytes too many")


def _check_digest(data: bytes, name: str) -> None:
    if hashlib.sha256(data[:-_DIGEST_BYTES]).digest() != data[-_DIGEST_BYTES:]:
        raise damaged(name, "its checksum does not agree")


def _check_header(header: _Header, name: str) -> None:
    """Numbers that agree with each other; a correct checksum does not make a program sensible."""
    count, rest = divmod(header.instruction_bytes, INSTRUCTION_BYTES)
    _require(not rest, name, f"instructions take {INSTRUCTION_BYTES} bytes each")
    _require(0 < count < _MAX_INSTRUCTIONS, name, f"it has {count} instructions")
    _require(0 <= header.dram_bytes <= 1 << 48, name, f"dram_bytes is {header.dram_bytes}")
    _check_extent(header.program_address, header.instruction_bytes, header, name)
    for placed in header.image:
        _check_extent(placed.address, placed.size, header, name)
    for port in (*header.inputs, *header.outputs, *header.kept):
        _check_port(port, header, name)
    for node in header.nodes:
        inside = node.first >= 0 and node.count >= 0 and node.first + node.count <= count
        _require(inside, name, f"node {node.name!r} has instructions outside the program")
    for held in header.memory:
        _check_residence(held, len(header.nodes), name)


def _check_extent(address: int, size: int, header: _Header, name: str) -> None:
    inside = address >= 0 and address + size <= header.dram_bytes
    _require(inside, name, f"bytes at {address:#x} are outside its memory")


def _check_port(port: Port, header: _Header, name: str) -> None:
    _require(0 <= port.address < max(header.dram_bytes, 1), name, f"{port.name!r} has no place")
    sizes = {_product(port.shape), _product(port.view), _product(port.shape4)}
    good = len(sizes) == 1 and len(port.shape) <= _MAX_RANK and min(*port.shape4, *port.view) > 0
    good = good and sorted(port.perm) == [0, 1, 2, 3]
    good = good and tuple(port.view[axis] for axis in port.perm) == port.shape4
    cell = port.cell
    good = good and min(*cell.size, cell.group) > 0 and cell.divides(port.shape4)
    _require(good, name, f"{port.name!r} has shapes that do not agree")
    _require(
        _product(port.shape) <= header.dram_bytes, name, f"{port.name!r} is larger than its memory"
    )
    types = port.dtype in ("float32", "int8", "uint8") and port.quantised in ("int8", "uint8")
    _require(types, name, f"{port.name!r} has an unknown type")


def _check_residence(held: Residence, nodes: int, name: str) -> None:
    good = held.space in SPACES and held.base >= 0 and held.size >= 0
    good = good and 0 <= held.first <= held.last < nodes
    _require(good, name, f"the place of {held.name!r} makes no sense")


def _product(shape: Sequence[int]) -> int:
    result = 1
    for size in shape:
        result *= size
    return result


def _cut(data: bytes, start: int, sizes: Sequence[int]) -> list[bytes]:
    sections = []
    for size in sizes:
        sections.append(data[start : start + size])
        start += size
    return sections


def _require(condition: bool, name: str, reason: str) -> None:
    if not condition:
        raise damaged(name, reason)


def _truncated(name: str) -> ProgramError:
    return ProgramError(f"{name} is truncated; compile the model again.")


def damaged(name: str, reason: str) -> ProgramError:
    """The error that the file ``name`` is damaged."""
    return ProgramError(f"{name} is damaged ({reason}); compile the model again.")
