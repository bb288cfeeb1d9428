"""``hpu fpga`` and the device fpga: what they say when something is wrong, and when nothing is."""

import os
import pty
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from tests.link_twin import LinkTwin, TwinPort

import hpu
from hpu.cli import cli
from hpu.hw.boards import BOARDS
from hpu.hw.config import CONFIGS, by_name
from hpu.runtime.bitstream import part_of
from hpu.runtime.devices import FunctionalDevice
from hpu.runtime.fpga import connect
from hpu.runtime.selftest_programs import cleared, requantised
from hpu.sim import races

LAB = by_name("lab-16")
MEMORY = 1 << 18


def run(*arguments: object):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def refused(*arguments: object) -> str:
    """The one sentence with which a command is refused."""
    begin = time.monotonic()
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert time.monotonic() - begin < 12
    lines = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert len(lines) == 1 and result.stderr.strip().endswith(lines[0]), result.stderr
    return lines[0].removeprefix("Error: ")


def twin(config=LAB, **options) -> LinkTwin:
    return LinkTwin(FunctionalDevice(config, dram_bytes=MEMORY), **options)


@pytest.fixture
def port():
    with TwinPort(twin()) as made:
        yield made


@pytest.fixture
def source(tmp_path, inputs) -> Path:
    path = tmp_path / "x.npz"
    np.savez(path, x=inputs[:2])
    return path


@pytest.fixture
def model(tmp_path, quantised) -> Path:
    path = tmp_path / "m.onnx"
    path.write_bytes(quantised.SerializeToString())
    return path


@pytest.fixture
def program(tmp_path, model) -> Path:
    path = tmp_path / "m.hpu"
    arguments = ["--config", "lab-16", "--batch", 2, "--force-hpu", "-o", path]
    assert run("compile", model, *arguments).exit_code == 0
    return path


def on(port: TwinPort) -> list[str]:
    """Options for the board on a port."""
    return ["--device", "fpga", "--port", port.path]


def test_a_network_on_the_board(port, tmp_path, program, model, source):
    """The same bytes as functional, and again on the port; a model takes the board's config."""
    for what in (program, model):
        target = tmp_path / "y.npz"
        done = run(
            "run",
            what,
            "--input",
            source,
            "--output",
            target,
            "--device",
            "fpga",
            "--port",
            port.path,
        )
        assert done.exit_code == 0, done.output
        assert "fpga device, lab-16" in done.output
        session = hpu.InferenceSession(str(program))
        wanted = session.run(None, {"x": np.load(source)["x"]})[0]
        np.testing.assert_array_equal(np.load(target)["y"], wanted)
    assert port.twin.resets >= 2


def test_a_profile_on_the_board(port, program, source, tmp_path):
    html = tmp_path / "p.html"
    done = run(
        "profile",
        program,
        "--input",
        source,
        "--device",
        "fpga",
        "--port",
        port.path,
        "--html",
        html,
    )
    assert done.exit_code == 0, done.output
    assert html.exists()


def test_no_port(program, source):
    arguments = ["run", program, "--input", source, "--device", "fpga"]
    assert refused(*arguments) == "the device fpga needs a serial port: give --port."
    expected = "port must be given for the device fpga only, not for functional."
    assert refused("run", program, "--input", source, "--port", "/dev/x") == expected


def test_no_cable(program, source):
    for arguments in (
        ["run", program, "--input", source, "--device", "fpga"],
        ["fpga", "selftest"],
    ):
        said = refused(*arguments, "--port", "/dev/ttyUSB77")
        assert said.startswith("the port /dev/ttyUSB77 does not exist (serial ports here: ")
        assert said.endswith("): check the USB cable and --port.")


def test_no_serial_port(tmp_path):
    path = tmp_path / "plain"
    path.touch()
    expected = f"the port {path} is no serial port that can be used: check --port."
    assert refused("fpga", "selftest", "--port", path) == expected


def test_a_port_in_use(port):
    link = connect(port.path)
    said = refused("fpga", "selftest", "--port", port.path)
    assert said == f"the port {port.path} is in use by another program: close that one."
    link.close()
    connect(port.path).close()


def test_a_port_of_somebody_else(monkeypatch, port):
    def denied(path, *_flags):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "open", denied)
    said = refused("fpga", "selftest", "--port", port.path)
    assert (
        said == f"the port {port.path} may not be opened by this user: add the user to its group."
    )


def test_something_else_on_the_port():
    host, terminal = pty.openpty()
    path = os.ttyname(terminal)
    said = refused("fpga", "selftest", "--port", path)
    assert said.startswith(f"the device on {path} has not answered for 5 s: check that")
    os.close(host)
    os.close(terminal)


def test_another_board(port):
    said = refused("fpga", "selftest", "--port", port.path, "--board", "ulx3s-85f")
    assert said == f"the board on {port.path} is twin, not ulx3s-85f: check --board and --port."


def test_a_board_of_another_configuration(program, source):
    with TwinPort(twin(CONFIGS["ulx3s-85f"])) as port:
        said = refused("run", program, "--input", source, "--device", "fpga", "--port", port.path)
    assert said == (
        f"the board on {port.path} (twin) has configuration 'ulx3s-85f', not 'lab-16': compile for "
        "the board's, or flash the other bitstream."
    )


@pytest.mark.parametrize("after", [50, 3000])
def test_a_cut_link(program, source, after, tmp_path):
    """Nothing is written; the next run, on a new cable, works."""
    target = tmp_path / "y.npz"
    arguments = ["run", program, "--input", source, "--output", target]
    with TwinPort(twin()) as port:
        port.cut(after)
        said = refused(*arguments, *on(port))
        assert said == f"the port {port.path} went away: check the USB cable and run again."
        assert not target.exists()
    with TwinPort(port.twin) as port:
        assert run(*arguments, *on(port)).exit_code == 0


def test_a_reset_under_way(port, program, source):
    arguments = ["run", program, "--input", source, "--device", "fpga", "--port", port.path]
    port.reset_after = 3000
    said = refused(*arguments)
    assert said == f"the device on {port.path} was reset in the meantime: run again."
    assert run(*arguments).exit_code == 0


def test_a_program_larger_than_the_board(program, source):
    with TwinPort(LinkTwin(FunctionalDevice(LAB, dram_bytes=4096))) as port:
        said = refused("run", program, "--input", source, "--device", "fpga", "--port", port.path)
    assert "bytes of memory and the device has 4096" in said


def test_selftest_passes_and_fails(port, tmp_path):
    """All tests on the twin; and one byte that sticks is found by whoever reads it."""
    record = tmp_path / "link.jsonl"
    done = run("fpga", "selftest", "--port", port.path, "--programs", 3, "--record", record)
    assert done.exit_code == 0, done.output
    names = ["link", "memory", "registers", "instructions", "requantiser", "network"]
    assert [line.split()[1] for line in done.output.splitlines()[3:9]] == names
    assert done.output.count(" pass ") == len(names)
    assert "twin on" in done.output and "no tests failed" in done.output
    assert len(record.read_text().splitlines()) > 100
    machine = port.twin.device
    read = machine.read_memory

    def sticking(address, size):
        data = bytearray(read(address, size))
        if address <= 0x300 < address + size:
            data[0x300 - address] = 7
        return bytes(data)

    machine.read_memory = sticking
    done = run("fpga", "selftest", "--port", port.path, "--programs", 3)
    assert done.exit_code == 1, done.output
    assert "FAIL" in done.output
    assert "differ, the first at 0x300" in done.output


@pytest.mark.parametrize(
    "config", [c for c in CONFIGS.values() if c.rows <= 16], ids=lambda c: c.name
)
def test_programs_of_the_selftest(config):
    """They have no race, and the requantised values are of all sizes."""
    program, count = requantised(config, 1)
    for one in (cleared(config), program):
        races.check(one.instructions, config)
    from hpu.runtime.driver import Driver

    driver = Driver(FunctionalDevice(config, dram_bytes=1 << 20))
    driver.load(program)
    driver.run()
    values = driver.read(0, count).view(np.int8)
    assert len(np.unique(values)) > 100


def test_flash_refuses(tmp_path, monkeypatch):
    bitstream = tmp_path / "top.bit"
    flash = ["fpga", "flash", "--board", "ulx3s-85f", bitstream]
    assert refused(*flash) == f"{bitstream} cannot be read: No such file or directory."
    bitstream.write_bytes(b"anything")
    assert refused(*flash) == f"{bitstream} is no bitstream: build one with hpu fpga build."
    bitstream.write_bytes(lattice(0x41111043))
    assert refused(*flash).startswith(
        f"{bitstream} is for the FPGA LFE5U-25F, not for the LFE5U-85F"
    )
    bitstream.write_bytes(lattice(0x41113043))
    monkeypatch.setenv("PATH", str(tmp_path))
    expected = "openFPGALoader must be installed: run apt-get install openfpgaloader"
    assert refused(*flash) == expected


def test_flash_runs_the_loader(tmp_path, monkeypatch):
    bitstream, loader = tmp_path / "top.bit", tmp_path / "openFPGALoader"
    bitstream.write_bytes(lattice(0x41113043))
    loader.write_text('#!/bin/sh\necho "$@" > "$0.said"\n')
    loader.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    flash = ["fpga", "flash", "--board", "ulx3s-85f", bitstream]
    done = run(*flash, "--spi")
    assert done.exit_code == 0, done.output
    assert "is in the flash memory of ulx3s-85f" in done.output
    said = Path(f"{loader}.said").read_text()
    assert said == f"--board ulx3s --write-flash {bitstream}\n"
    loader.write_text("#!/bin/sh\necho unable to open ftdi device: -3 >&2\nexit 1\n")
    assert refused(*flash) == (
        "ulx3s-85f was not flashed (openFPGALoader: unable to open ftdi device: -3): check that "
        "its USB cable is plugged in and that this user may use it."
    )


def lattice(code: int) -> bytes:
    """The head of an ECP5's bitstream."""
    head = b"\xff\x00Part: x\x00\xff\xff\xff\xbd\xb3\xff\xff\xff\xff\x3b\x00\x00\x00"
    return head + b"\xe2\x00\x00\x00" + code.to_bytes(4, "big") + bytes(100)


def test_parts_of_bitstreams():
    assert part_of(lattice(0x81113043)) == "LFE5UM5G-85F"
    assert part_of(lattice(0x12345678)) is None
    gowin = b"// a comment\n" + b"1" * 64 + b"\n0000011000000000" + b"0" * 16
    assert part_of(gowin + f"{0x81B:032b}\n".encode()) == "GW2A-18C"
    assert part_of(b"") is None


def test_boards_are_checked():
    known = ", ".join(BOARDS)
    for verb in (["sim"], ["flash", "x.bit"]):
        result = run("fpga", *verb, "--board", "none")
        assert result.exit_code == 2
        assert f"board must be one of {known}, not 'none'." in " ".join(result.output.split())
    result = run("fpga", "sim", "--board", "ulx3s-85f", "--baud", 16_000_000)
    assert result.exit_code == 2
    assert "--baud must be at most a quarter of the clock" in result.output
