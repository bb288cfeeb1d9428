"""The serial link alone, with registers and a memory: what its tests and its figure run."""

import dataclasses

from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hpu.hw.block_memory import BlockMemory
from hpu.hw.config import Config, by_name
from hpu.hw.link import Link
from hpu.hw.memory_port import MemoryPort
from hpu.hw.registers import Registers

__all__ = ["CONFIG", "LinkTop"]

#: The laboratory's configuration with 64 KiB of memory.
CONFIG: Config = dataclasses.replace(by_name("lab-16"), name="link", addr_bits=16)


class LinkTop(wiring.Component):
    """A board's top without a machine; FAULT_PC counts how often a program was started."""

    def __init__(self, *, clock_hz: int, baud: int):
        self._clock_hz, self._baud = clock_hz, baud
        super().__init__({"rx": In(1, init=1), "tx": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.link = link = Link(
            config=CONFIG,
            board="link",
            clock_hz=self._clock_hz,
            baud=self._baud,
            memory_bytes=1 << CONFIG.addr_bits,
        )
        m.submodules.port = port = MemoryPort(config=CONFIG, managers=1)
        m.submodules.memory = memory = BlockMemory(config=CONFIG, managers=1)
        m.submodules.registers = registers = Registers(config=CONFIG)
        wiring.connect(m, link.memory, port.managers[0])
        wiring.connect(m, port.memory, memory.streams)
        wiring.connect(m, link.registers, registers.bus)
        starts = Signal(32)
        with m.If(link.reset):
            m.d.sync += starts.eq(0)
        with m.Elif(registers.control_start):
            m.d.sync += starts.eq(starts + 1)
        m.d.comb += [
            registers.fault_pc.eq(starts),
            link.rx.eq(self.rx),
            self.tx.eq(link.tx),
        ]
        return m
