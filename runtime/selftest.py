"""A board's test of itself: everything on it, compared with the functional machine."""

import collections
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from hpu.hw import csr
from hpu.hw.boards.board import Board
from hpu.hw.isa import BY_OPCODE, INSTRUCTION_BYTES
from hpu.runtime.channel import Channel, RecordingChannel
from hpu.runtime.cycle_check import Network
from hpu.runtime.devices import FunctionalDevice
from hpu.runtime.driver import DeviceFault, Driver
from hpu.runtime.errors import DeviceError
from hpu.runtime.execution import Stage
from hpu.runtime.fpga import FpgaDevice, config_of, connect
from hpu.runtime.layout import port_bytes
from hpu.runtime.link import Link
from hpu.runtime.program import Program, Segment
from hpu.runtime.selftest_programs import cleared, of_random, requantised
from hpu.sim.random_program import random_program

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Failure", "Result", "Selftest", "open_board", "results_table"]

_LINK_BYTES = 16_384
_BLOCK = 256
_MARCH_BLOCKS = 48
_PROGRAM_INSTRUCTIONS = 40
#: Registers that keep what is written, and patterns for them.
_KEEPING = ("PROGRAM_LOW", "PROGRAM_HIGH", "PROGRAM_COUNT", "WATCHDOG")
_PATTERNS = (0, 0xFFFFFFFF, 0x55555555, 0xAAAAAAAA, *(1 << bit for bit in range(0, 32, 5)))


class Failure(Exception):  # noqa: N818 (a test that fails, no error of the program)
    """What a test found wrong."""


@dataclasses.dataclass(frozen=True)
class Result:
    """One test: what was done, or what was wrong; ``seconds`` on the link's clock."""

    name: str
    passed: bool
    detail: str
    seconds: float


def open_board(port: str | None, *, board: Board | None, record: Path | None) -> Link:
    """A session with the board on ``port``, which must be ``board`` if that is given.

    Raises
    ------
    DeviceError
        When no HPU answers, or it is on another board.
    """

    def recorded(channel: Channel) -> Channel:
        return channel if record is None else RecordingChannel(channel, record)

    link = connect(port, recorded)
    if board is not None and link.identity.board != board.name:
        link.close()
        raise DeviceError(
            f"the board on {link.name} is {link.identity.board}, not {board.name}: check --board "
            "and --port."
        )
    return link


class Selftest:
    """The tests of a board.

    Parameters
    ----------
    link
        To the board; the caller closes it.
    seed
        Of all random numbers.
    programs
        Random programs to run.

    Raises
    ------
    DeviceError
        When the board's configuration is unknown, or the link is lost.
    """

    def __init__(self, link: Link, *, seed: int = 1, programs: int = 6):
        self.config = config_of(link.identity)
        self._link, self._seed, self._programs = link, seed, programs
        self._device = FpgaDevice(self.config, link)
        self._rng = np.random.default_rng(seed)
        self._driver = Driver(self._device)
        self._twin = Driver(FunctionalDevice(self.config, dram_bytes=self._device.dram_bytes))
        self._tests: dict[str, Callable[[], str]] = {
            "link": self._test_link,
            "memory": self._test_memory,
            "registers": self._test_registers,
            "instructions": self._test_instructions,
            "requantiser": self._test_requantiser,
            "network": self._test_network,
        }

    def run(self, progress: Stage | None = None) -> list[Result]:
        """Every test, also after one that failed.

        Raises
        ------
        LinkError
            When the link is lost.
        """
        results = []
        for index, (name, test) in enumerate(self._tests.items()):
            if progress is not None:
                progress(f"testing {name}", index, len(self._tests))
            results.append(self._one(name, test))
        return results

    def _one(self, name: str, test: Callable[[], str]) -> Result:
        begin, passed = self._link.now(), True
        try:
            detail = test()
        except (Failure, DeviceFault) as found:
            detail, passed = str(found), False
        return Result(name, passed, detail, self._link.now() - begin)

    def _test_link(self) -> str:
        """Random bytes there and back, from and to uneven addresses."""
        data = self._rng.bytes(_LINK_BYTES - 3)
        begin = self._link.now()
        self._link.write_memory(1, data)
        half = self._link.now()
        if self._link.read_memory(1, len(data)) != data:
            raise Failure("bytes read are not those written")
        rates = [len(data) / seconds / 1e3 for seconds in (half - begin, self._link.now() - half)]
        traffic = self._link.traffic
        return (
            f"{rates[0]:.0f} kB/s there, {rates[1]:.0f} kB/s back; {traffic.sent} frames, "
            f"{traffic.repeated} repeated, {traffic.damaged} damaged"
        )

    def _test_memory(self) -> str:
        """March C- over blocks at every address line, and some others."""
        blocks = self._blocks()
        pattern = {at: self._rng.bytes(_BLOCK) for at in blocks}
        inverse = {at: bytes(255 - byte for byte in data) for at, data in pattern.items()}
        upwards = blocks, [(None, pattern), (pattern, inverse), (inverse, pattern)]
        downwards = blocks[::-1], [(pattern, inverse), (inverse, pattern), (pattern, None)]
        for order, elements in (upwards, downwards):
            for expected, written in elements:
                for at in order:
                    self._march(at, expected, written)
        size = self._device.dram_bytes
        return f"march C- over {len(blocks)} blocks of {_BLOCK} bytes out of {size:,} bytes"

    def _blocks(self) -> list[int]:
        """First, last, and one at every power of two; the rest at random."""
        size = self._device.dram_bytes
        lines = [1 << bit for bit in range(_BLOCK.bit_length() - 1, size.bit_length() - 1)]
        others = self._rng.integers(0, size // _BLOCK, _MARCH_BLOCKS) * _BLOCK
        some = [0, size - _BLOCK, *lines, *map(int, others)]
        return sorted(dict.fromkeys(some[:_MARCH_BLOCKS]))

    def _march(
        self, at: int, expected: dict[int, bytes] | None, written: dict[int, bytes] | None
    ) -> None:
        if expected is not None and self._link.read_memory(at, _BLOCK) != expected[at]:
            raise Failure(f"block {at:#x} does not hold what was written")
        if written is not None:
            self._link.write_memory(at, written[at])

    def _test_registers(self) -> str:
        for name in _KEEPING:
            for value in _PATTERNS:
                self._device.write_register(csr.address(name), value)
                if (found := self._device.read_register(csr.address(name))) != value:
                    raise Failure(f"{name} is {found:#x}, not {value:#x}")
        try:
            self._device.write_register(csr.address("MAGIC"), 0)
        except DeviceError:
            return f"{len(_PATTERNS)} patterns in each of {len(_KEEPING)}; MAGIC refuses a write"
        raise Failure("MAGIC takes a write")

    def _test_instructions(self) -> str:
        """Random programs, from memories that are all zero."""
        self._same(cleared(self.config))
        counts: collections.Counter[str] = collections.Counter()
        for seed in range(self._seed, self._seed + self._programs):
            program = random_program(self.config, seed, _PROGRAM_INSTRUCTIONS)
            self._same(of_random(program), f"random program {seed}: ")
            opcodes = program.instructions[::INSTRUCTION_BYTES]
            counts.update(BY_OPCODE[opcode].name for opcode in opcodes)
        missing = {entry.name for entry in BY_OPCODE.values()} - counts.keys()
        if missing:
            raise Failure(f"no {', '.join(sorted(missing))} was drawn: give another seed")
        what = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
        return f"{self._programs} random programs: {what}"

    def _test_requantiser(self) -> str:
        program, values = requantised(self.config, self._seed)
        self._same(program)
        return f"{values:,} values, {self.config.param_sets} parameter sets"

    def _test_network(self) -> str:
        """Convolutions, a residual one, pooling and a dense layer, of random weights."""
        network = Network(self._seed, 1, 8, 8, 3).conv(8, 3, pad=1)
        network.conv(8, 3, pad=1, residual=network.x).pool("max", 2, stride=2).conv(10, 4)
        program = network.program(self.config)
        self._load(program)
        for port in program.inputs:
            data = self._rng.bytes(port_bytes(port, self.config))
            for driver in (self._driver, self._twin):
                driver.device.write_memory(port.address, data)
        cycles = self._compare(program, "")
        return f"{program.instruction_count} instructions, {program.macs:,} MACs, {cycles:,} cycles"

    def _load(self, program: Program) -> None:
        """The program, and zeros in what it uses besides, so that the memories are the same."""
        memory = bytearray(program.dram_bytes)
        for segment in program.image:
            memory[segment.address : segment.address + len(segment.data)] = segment.data
        whole = msgspec.structs.replace(program, image=(Segment(0, bytes(memory)),))
        for driver in (self._driver, self._twin):
            driver.load(whole)

    def _same(self, program: Program, name: str = "") -> None:
        self._load(program)
        self._compare(program, name)

    def _compare(self, program: Program, name: str) -> int:
        """Run the loaded program on both, compare every byte and counter; the board's cycles."""
        found, expected = self._driver.run(), self._twin.run()
        for counter in csr.FUNCTIONAL_COUNTERS:
            counts = [result.counters[counter] for result in (found, expected)]
            if counts[0] != counts[1]:
                raise Failure(f"{name}{counter} is {counts[0]}, not {counts[1]}")
        memory = [driver.read(0, program.dram_bytes) for driver in (self._driver, self._twin)]
        different = np.flatnonzero(memory[0] != memory[1])
        if different.size:
            raise Failure(f"{name}{different.size} bytes differ, the first at {different[0]:#x}")
        return found.cycles


def results_table(results: list[Result]) -> "Table":
    """The results as rows."""
    from rich.table import Table

    table = Table("test", "result", "seconds", "what was done, or wrong")
    for result in results:
        verdict = "[green]pass[/]" if result.passed else "[red]FAIL[/]"
        table.add_row(result.name, verdict, f"{result.seconds:.1f}", result.detail)
    return table
