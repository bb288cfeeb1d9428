"""Networks in parts: programs of the HPU, and models that onnxruntime runs between them.

A ``.hpu`` file of format version 5 holds one program. Version 6 holds a package: magic, version,
header length, header (msgpack), the parts in the order in which they run (a program is a whole
file of version 5, a host part an ONNX model), SHA-256 of everything before it.
"""

import hashlib
import os
from typing import TypeAlias

import msgspec

from hpu.compiler.placement import Placement
from hpu.hw.config import Config
from hpu.runtime import program_file as files
from hpu.runtime.errors import ProgramError
from hpu.runtime.files import write_atomically
from hpu.runtime.program import Program, check_digest

__all__ = ["HostModel", "Package", "Part", "Value", "load_any"]

FORMAT_VERSION = 6


class Value(msgspec.Struct, frozen=True):
    """An input or output: its name, shape (names for symbolic sizes) and onnxruntime's type."""

    name: str
    shape: tuple[int | str, ...]
    type: str


class HostModel(msgspec.Struct, frozen=True, kw_only=True):
    """A part that onnxruntime runs: an ONNX model, or the file of one too large to hold here."""

    model: bytes
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    path: str = ""
    #: Whether constants of ``model`` are in other files.
    external: bool = False


Part: TypeAlias = Program | HostModel


class Package(msgspec.Struct, frozen=True, kw_only=True):
    """A network: its parts in order, and where every node runs."""

    config_name: str
    config_digest: bytes
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    parts: tuple[Part, ...]
    placements: tuple[Placement, ...]

    @property
    def programs(self) -> tuple[Program, ...]:
        """The parts of the HPU."""
        return tuple(part for part in self.parts if isinstance(part, Program))

    @property
    def alone(self) -> Program | None:
        """The program when it is all there is."""
        only = self.parts[0] if len(self.parts) == 1 else None
        return only if isinstance(only, Program) else None

    @property
    def fallbacks(self) -> list[Placement]:
        """The nodes that run on the host."""
        return [entry for entry in self.placements if entry.on_host]

    def check(self, config: Config) -> None:
        """Refuse a package that ``config`` cannot run.

        Raises
        ------
        ProgramError
            When it is for another configuration.
        """
        check_digest(self.config_name, self.config_digest, config)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the package to ``path``, whole or not at all.

        Raises
        ------
        HpuError
            When the file cannot be written, or a model is too large to stand in it.
        """
        write_atomically(path, _encode(self))


class _PartHeader(msgspec.Struct, frozen=True, kw_only=True):
    """A part without its bytes; ``inputs`` and ``outputs`` are those of a host part."""

    host: bool
    size: int
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


class _Header(msgspec.Struct, frozen=True, kw_only=True):
    config_name: str
    config_digest: bytes
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    placements: tuple[Placement, ...]
    parts: tuple[_PartHeader, ...]


_SHARED = [name for name in _Header.__struct_fields__ if name != "parts"]


def load_any(path: str | os.PathLike[str], config: Config | None = None) -> Program | Package:
    """Read a ``.hpu`` file: a program, or a package.

    Raises
    ------
    ProgramError
        When the file cannot be read, is no program file, is truncated, damaged, of another
        version, or for another configuration.
    """
    name = os.fspath(path)
    data = files.read_bytes(name)
    if files.version_of(data, name) == files.FORMAT_VERSION:
        return files.load(path, config)
    package = _decode(data, name)
    try:
        package.check(config or files.configuration_of(package.config_name, name))
    except ProgramError as error:
        raise ProgramError(f"{name}: {error}") from None
    return package


def _encode(package: Package) -> bytes:
    if any(isinstance(part, HostModel) and (part.path or part.external) for part in package.parts):
        raise ProgramError(
            "the model is larger than a program file can hold (2 GiB); run the ONNX file itself."
        )
    sections = [
        part.model if isinstance(part, HostModel) else files.encode(part) for part in package.parts
    ]
    headers = [
        _PartHeader(host=True, size=len(data), inputs=part.inputs, outputs=part.outputs)
        if isinstance(part, HostModel)
        else _PartHeader(host=False, size=len(data))
        for part, data in zip(package.parts, sections, strict=True)
    ]
    fields = {name: getattr(package, name) for name in _SHARED}
    header = msgspec.msgpack.encode(_Header(**fields, parts=tuple(headers)))
    body = b"".join([files.prefix(FORMAT_VERSION, header), header, *sections])
    return body + hashlib.sha256(body).digest()


def _decode(data: bytes, name: str) -> Package:
    raw, start = files.cut_header(data, name)
    try:
        header = msgspec.msgpack.decode(raw, type=_Header)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise files.damaged(name, "its header cannot be read") from error
    sizes = [part.size for part in header.parts]
    if min(sizes, default=0) < 0:
        raise files.damaged(name, "a section has a negative size")
    files.check_whole(data, start + sum(sizes), name)
    parts: list[Part] = []
    for part in header.parts:
        parts.append(_part(part, data[start : start + part.size], name))
        start += part.size
    package = Package(**{key: getattr(header, key) for key in _SHARED}, parts=tuple(parts))
    _check_parts(package, name)
    return package


def _part(header: _PartHeader, section: bytes, name: str) -> Part:
    if header.host:
        return HostModel(model=section, inputs=header.inputs, outputs=header.outputs)
    return files.decode(section, name)


def _check_parts(package: Package, name: str) -> None:
    """Every part must find what it reads, and be for the package's configuration."""
    known = {value.name for value in package.inputs}
    for part in package.parts:
        reads, gives = _names(part)
        for missing in reads - known:
            raise files.damaged(name, f"nothing gives {missing!r}")
        known |= gives
        if isinstance(part, Program) and part.config_digest != package.config_digest:
            raise files.damaged(name, "its parts are for different configurations")
    for value in package.outputs:
        if value.name not in known:
            raise files.damaged(name, f"nothing gives {value.name!r}")


def _names(part: Part) -> tuple[set[str], set[str]]:
    if isinstance(part, HostModel):
        return set(part.inputs), set(part.outputs)
    return {port.name for port in part.inputs}, {port.name for port in part.outputs}
