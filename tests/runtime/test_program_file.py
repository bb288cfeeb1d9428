"""Program files: written whole, read back equal, and refused when anything is wrong."""

import dataclasses
import hashlib
import struct

import msgspec
import pytest

from hpu.hw.config import CONFIGS
from hpu.runtime import program_file as files
from hpu.runtime.errors import HpuError, ProgramError
from hpu.runtime.program import NodeRange, Port, Program, Segment
from hpu.runtime.residence import Residence

LAB = CONFIGS["lab-16"]


def port(**changes) -> Port:
    fields = {
        "name": "x",
        "dtype": "float32",
        "shape": (2, 3, 4, 4),
        "view": (2, 3, 4, 4),
        "perm": (0, 2, 3, 1),
        "quantised": "uint8",
        "scale": 0.5,
        "zero": 128,
        "tensor": "x",
        "address": 0,
        "shape4": (2, 4, 4, 3),
    }
    return Port(**{**fields, **changes})


def held(**changes) -> Residence:
    fields = {"space": "ub", "kind": "tensor", "name": "x", "base": 3, "size": 9}
    return Residence(**{**fields, "first": 0, "last": 0, **changes})


def program(**changes) -> Program:
    fields = {
        "config_name": "lab-16",
        "config_digest": LAB.digest(),
        "instructions": bytes(range(256)),
        "program_address": 512,
        "image": (Segment(256, b"abc"), Segment(300, b"defg")),
        "dram_bytes": 4096,
        "inputs": (port(),),
        "outputs": (port(name="y", address=128),),
        "nodes": (NodeRange(0, 2, "conv", "Conv", 5, "two taps side by side"),),
        "memory": (held(),),
    }
    return Program(**{**fields, **changes})


def write(path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


@pytest.fixture
def path(tmp_path):
    target = tmp_path / "p.hpu"
    program().save(target)
    return target


def test_reads_back_what_was_written(path):
    assert Program.load(path) == program()
    assert Program.load(path, LAB).macs == 5
    assert files.is_program(path)
    assert not files.is_program(path.parent / "none")


def test_every_truncation_is_refused(path, tmp_path):
    data = path.read_bytes()
    for length in range(len(data)):
        name = write(tmp_path / "short.hpu", data[:length])
        with pytest.raises(ProgramError, match=r"(is truncated|not an HPU program)"):
            files.load(name)


def test_every_flipped_bit_is_refused(path, tmp_path):
    data = path.read_bytes()
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1 << (place % 8)
        name = write(tmp_path / "damaged.hpu", bytes(changed))
        with pytest.raises(ProgramError):
            files.load(name)


def test_more_bytes_are_refused(path, tmp_path):
    name = write(tmp_path / "long.hpu", path.read_bytes() + b"!")
    with pytest.raises(ProgramError, match="it has 1 bytes too many"):
        files.load(name)


def test_another_version_is_named(path, tmp_path):
    data = bytearray(path.read_bytes())
    data[8:12] = struct.pack("<I", 7)
    name = write(tmp_path / "new.hpu", bytes(data))
    with pytest.raises(
        ProgramError, match="has format version 7, and this release reads versions 5 and 6"
    ):
        files.load(name)


def test_another_configuration_is_named(path):
    with pytest.raises(ProgramError, match=r"is for configuration 'lab-16' .* not for 'hai-v1'"):
        files.load(path, CONFIGS["hai-v1"])


def test_a_configuration_of_the_same_name_but_other_numbers_is_refused(path):
    other = dataclasses.replace(LAB, acc_depth=64)
    with pytest.raises(ProgramError, match="compile it again for 'lab-16'"):
        files.load(path, other)


def test_an_unknown_configuration_is_named(tmp_path):
    target = tmp_path / "p.hpu"
    program(config_name="mine").save(target)
    with pytest.raises(ProgramError, match="'mine', which is not one of hai-v1, lab-16"):
        files.load(target)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"instructions": bytes(100)}, "instructions take 128 bytes each"),
        ({"instructions": b""}, "it has 0 instructions"),
        ({"program_address": 4000}, "bytes at 0xfa0 are outside its memory"),
        ({"image": (Segment(-1, b"abc"),)}, "bytes at -0x1 are outside its memory"),
        ({"nodes": (NodeRange(1, 2, "conv", "Conv", 5),)}, "'conv' has instructions outside"),
        ({"inputs": (port(address=4096),)}, "'x' has no place"),
        ({"inputs": (port(shape=(2, 3, 4, 5)),)}, "'x' has shapes that do not agree"),
        ({"inputs": (port(perm=(0, 1, 2, 3)),)}, "'x' has shapes that do not agree"),
        ({"inputs": (port(dtype="float64"),)}, "'x' has an unknown type"),
        ({"memory": (held(last=1),)}, "the place of 'x' makes no sense"),
        ({"memory": (held(space="disk"),)}, "the place of 'x' makes no sense"),
    ],
)
def test_nonsense_with_a_right_checksum_is_refused(changes, reason, tmp_path):
    target = tmp_path / "p.hpu"
    program(**changes).save(target)
    with pytest.raises(ProgramError, match=reason):
        files.load(target)


def test_a_header_of_wrong_fields_is_refused(tmp_path):
    header = msgspec.msgpack.encode({"config_name": 3})
    body = struct.pack("<8sII", files.MAGIC, files.FORMAT_VERSION, len(header)) + header
    name = write(tmp_path / "p.hpu", body + hashlib.sha256(body).digest())
    with pytest.raises(ProgramError, match="its header cannot be read"):
        files.load(name)


def test_a_huge_header_is_refused_before_it_is_read(tmp_path):
    prefix = struct.pack("<8sII", files.MAGIC, files.FORMAT_VERSION, 1 << 31)
    with pytest.raises(ProgramError, match="its header is too long"):
        files.load(write(tmp_path / "p.hpu", prefix))


def test_a_missing_file_and_another_kind_of_file(tmp_path):
    with pytest.raises(ProgramError, match=r"none\.hpu cannot be read: No such file"):
        files.load(tmp_path / "none.hpu")
    with pytest.raises(ProgramError, match="is not an HPU program file"):
        files.load(write(tmp_path / "p.hpu", b"ONNX" * 100))


def test_a_failing_write_leaves_nothing(tmp_path):
    with pytest.raises(HpuError, match="cannot be written"):
        program().save(tmp_path / "none" / "p.hpu")
    (tmp_path / "folder").mkdir()
    with pytest.raises(HpuError, match="cannot be written"):
        program().save(tmp_path / "folder")
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]
