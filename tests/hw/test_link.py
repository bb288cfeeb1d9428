"""The serial link's blocks: UART, frames, requests."""

import random

import pytest
from amaranth.sim import Simulator
from tests.link_twin import LinkTwin, frame, request, uncobs

from hpu.hw.config import by_name
from hpu.hw.link import Link
from hpu.hw.link_frames import FrameReceiver, FrameSender
from hpu.hw.link_protocol import IDENTITY, Command, Identity
from hpu.hw.link_requests import RESET_CYCLES, Requests
from hpu.hw.uart import UartReceiver, UartTransmitter
from hpu.runtime.devices import FunctionalDevice

LAB = by_name("lab-16")
CLOCK = 60_000_000
#: Amaranth's simulator leaves background processes as they are when it ends.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


def run(top, *processes, limit: int = 400_000) -> None:
    """Simulate until every process has ended; none may last longer than ``limit`` cycles."""
    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    for process in processes:
        simulator.add_testbench(process)
    simulator.add_testbench(_watchdog(limit), background=True)
    simulator.run()


def _watchdog(limit: int):
    async def watch(ctx):
        await ctx.tick().repeat(limit)
        raise AssertionError(f"not done after {limit} cycles")

    return watch


def source(stream, items, rng, idle: float, set_item):
    """Offer every item, and nothing in a share ``idle`` of the cycles."""

    async def offer(ctx):
        for item in items:
            while rng.random() < idle:
                await ctx.tick()
            set_item(ctx, item)
            ctx.set(stream.valid, 1)
            await ctx.tick().until(stream.ready)
            ctx.set(stream.valid, 0)

    return offer


def sink(stream, count: int, into: list, rng, backpressure: float, get_item):
    """Take ``count`` items, not ready in a share ``backpressure`` of the cycles."""

    async def take(ctx):
        while len(into) < count:
            ctx.set(stream.ready, int(rng.random() >= backpressure))
            _, _, valid, ready, item = await ctx.tick().sample(
                stream.valid, stream.ready, get_item(stream)
            )
            if valid and ready:
                into.append(item)
        ctx.set(stream.ready, 0)

    return take


def levels(data: bytes, bit: float, gap: int = 0) -> list[int]:
    """The line's level in every cycle, for a bit of that many cycles."""
    line = []
    for byte in data:
        for level in [0, *(byte >> k & 1 for k in range(8)), 1]:
            line.append(level)
    out, at = [], 0.0
    for k, level in enumerate(line):
        end = (k + 1) * bit
        out += [level] * (round(end) - round(at))
        at = end
    return out + [1] * gap


def bytes_of(line: list[int], bit: float) -> bytes:
    """What a line says whose first start bit is anywhere."""
    out, at = b"", 0
    while 0 in line[at:]:
        at = line.index(0, at)
        value = [line[round(at + (k + 0.5) * bit)] for k in range(10)]
        assert (value[0], value[9]) == (0, 1)
        out += bytes([sum(level << k for k, level in enumerate(value[1:9]))])
        at = round(at + 9.5 * bit)
    return out


#: Cycles of a bit: the fewest, odd parts, and the boards' own.
BITS = [4, 4.17, 7.5, 20, 62.5e6 / 3e6]


@pytest.mark.parametrize("bit", BITS)
@pytest.mark.parametrize("drift", [0.99, 1.0, 1.01])
def test_uart_receives(bit, drift):
    data = random.Random(1).randbytes(30)
    top = UartReceiver(clock_hz=CLOCK, baud=int(CLOCK / bit))
    got = []

    async def line(ctx):
        for level in levels(data, bit * (drift if bit > 5 else 1), gap=30):
            ctx.set(top.rx, level)
            _, _, valid, byte = await ctx.tick().sample(top.valid, top.data)
            if valid:
                got.append(byte)

    run(top, line)
    assert bytes(got) == data


def test_uart_drops_what_is_no_byte():
    """A start bit that is over at once, and a byte without a stop bit."""
    top = UartReceiver(clock_hz=CLOCK, baud=CLOCK // 8)
    got = []

    async def line(ctx):
        broken = levels(b"\x55", 8)[:-8] + [0] * 8
        spike = [0] * 2 + [1] * 100
        for level in [1] * 9 + spike + broken + [1] * 100 + levels(b"A", 8, gap=20):
            ctx.set(top.rx, level)
            _, _, valid, byte = await ctx.tick().sample(top.valid, top.data)
            if valid:
                got.append(byte)

    run(top, line)
    assert bytes(got) == b"A"


@pytest.mark.parametrize("bit", BITS)
@pytest.mark.parametrize("idle", [0.0, 0.9])
def test_uart_sends(bit, idle):
    data, rng, line = random.Random(2).randbytes(20), random.Random(3), []
    top = UartTransmitter(clock_hz=CLOCK, baud=int(CLOCK / bit))

    async def watch(ctx):
        for _ in range(int(len(data) * 10 * bit * (1 if idle == 0 else 2)) + 200):
            _, _, level = await ctx.tick().sample(top.tx)
            line.append(level)

    def set_item(ctx, item):
        ctx.set(top.i.payload, item)

    run(top, source(top.i, data, rng, idle, set_item), watch)
    assert bytes_of(line, bit) == data
    if idle == 0:
        busy = len(line) - line[::-1].index(0) - line.index(0)
        assert busy <= 10 * bit * len(data) + 1  # without a pause


def test_uart_refuses_rates():
    with pytest.raises(ValueError, match="baud must be from 1 to a quarter of 60000000, not 16000"):
        UartReceiver(clock_hz=CLOCK, baud=16_000_000)
    with pytest.raises(ValueError, match="baud must be from 1 to a quarter"):
        Link(config=LAB, board="b", clock_hz=CLOCK, baud=0, memory_bytes=1)


def frames(seed: int) -> list[bytes]:
    """Bodies of frames: around COBS's blocks, with many zeros, some and none."""
    rng = random.Random(seed)
    lengths = [4, 249, 250, 251, *(rng.randrange(5, 60) for _ in range(4))]
    return [
        bytes(0 if rng.random() < zeros else rng.randrange(1, 256) for _ in range(n))
        for n in lengths
        for zeros in (0, 0.3)
    ]


@pytest.mark.parametrize("idle", [0.0, 0.5])
@pytest.mark.parametrize("backpressure", [0.0, 0.5])
def test_frames_are_received(idle, backpressure):
    """Good frames come out whole, with their CRC; damaged ones leave nothing behind."""
    rng, top, line, expected = random.Random(4), FrameReceiver(depth=1024), b"", []
    for body in frames(5):
        text = frame(body)
        if rng.random() < 0.4:
            bad = bytearray(text)
            bad[rng.randrange(len(bad))] ^= rng.randint(1, 255)
            line += bytes(bad) + b"\0"
        line += text
        data = uncobs(text[:-1])
        expected += [(byte, k == len(data) - 1) for k, byte in enumerate(data)]
    got = []

    async def feed(ctx):
        for byte in line:
            # As from a UART: there is time for what waits, or the ring would run over.
            await ctx.tick().repeat(3 if backpressure == 0 else 6)
            while rng.random() < idle:
                await ctx.tick()
            ctx.set(top.data, byte)
            ctx.set(top.valid, 1)
            await ctx.tick()
            ctx.set(top.valid, 0)

    take = sink(
        top.o, len(expected), got, random.Random(6), backpressure, lambda s: s.payload.as_value()
    )
    run(top, feed, take)
    assert [(value & 255, bool(value >> 8)) for value in got] == expected


def test_frames_without_room_are_dropped():
    """One longer than the ring, and one that finds it half full; what follows is received."""
    top, got = FrameReceiver(depth=64), []
    first, second, third = b"a" * 40, b"b" * 40, b"c" * 20

    async def feed(ctx):
        for byte in frame(b"x" * 100) + frame(first) + frame(second):
            ctx.set(top.data, byte)
            ctx.set(top.valid, 1)
            await ctx.tick()
        ctx.set(top.valid, 0)
        ctx.set(top.o.ready, 1)
        await ctx.tick().repeat(200)
        for byte in frame(third):
            ctx.set(top.data, byte)
            ctx.set(top.valid, 1)
            await ctx.tick()
        ctx.set(top.valid, 0)
        await ctx.tick().repeat(200)

    async def watch(ctx):
        async for _, _, valid, ready, value in ctx.tick().sample(
            top.o.valid, top.o.ready, top.o.payload.as_value()
        ):
            if valid and ready:
                got.append(value & 255)

    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    simulator.add_testbench(feed)
    simulator.add_testbench(watch, background=True)
    simulator.run()
    whole = [uncobs(frame(body)[:-1]) for body in (first, third)]
    assert bytes(got) == b"".join(whole)


@pytest.mark.parametrize("idle", [0.0, 0.5])
@pytest.mark.parametrize("backpressure", [0.0, 0.7])
def test_frames_are_sent(idle, backpressure):
    top = FrameSender(depth=1024, longest=256)
    bodies, got = frames(7), []
    items = [(byte, k == len(body) - 1) for body in bodies for k, byte in enumerate(body)]
    length = sum(len(frame(body)) for body in bodies)
    rng = random.Random(8)

    async def offer(ctx):
        for byte, last in items:
            while rng.random() < idle:
                await ctx.tick()
            ctx.set(top.i.valid, 0)
            while not ctx.get(top.room):  # asked for before each byte, so also before each frame
                await ctx.tick()
            ctx.set(top.i.payload, {"data": byte, "last": last})
            ctx.set(top.i.valid, 1)
            await ctx.tick().until(top.i.ready)
            ctx.set(top.i.valid, 0)

    take = sink(top.o, length, got, random.Random(9), backpressure, lambda s: s.payload)
    run(top, offer, take)
    texts = bytes(got).split(b"\0")
    assert [uncobs(text)[:-4] for text in texts[:-1]] == bodies
    assert bytes(got) == b"".join(map(frame, bodies))


class Memory:
    """AXI4 and AXI4-Lite subordinates with random delays on every channel."""

    def __init__(self, top, device, rng, stall: float):
        self.top, self.device, self.rng, self.stall = top, device, rng, stall

    def reads(self, port, read):
        async def serve(ctx):
            while True:
                await self._wait(ctx)
                ctx.set(port.arready, 1)
                (address,) = await ctx.tick().sample(port.araddr).until(port.arvalid)
                ctx.set(port.arready, 0)
                await self._wait(ctx)
                data, response = read(address)
                ctx.set(port.rdata, data)
                ctx.set(port.rresp, response)
                ctx.set(port.rvalid, 1)
                await ctx.tick().until(port.rready)
                ctx.set(port.rvalid, 0)

        return serve

    def writes(self, port, write):
        """Address and data are taken one after the other, in either order."""

        async def serve(ctx):
            while True:
                taken = {}
                order = [("aw", port.awaddr), ("w", port.wdata)]
                self.rng.shuffle(order)
                for channel, value in order:
                    await self._wait(ctx)
                    ready = getattr(port, f"{channel}ready")
                    ctx.set(ready, 1)
                    found = (
                        await ctx.tick()
                        .sample(value, port.wstrb)
                        .until(getattr(port, f"{channel}valid"))
                    )
                    taken[channel] = found[0]
                    if channel == "w":
                        taken["strobe"] = found[1]
                    ctx.set(ready, 0)
                await self._wait(ctx)
                ctx.set(port.bresp, write(taken["aw"], taken["w"], taken["strobe"]))
                ctx.set(port.bvalid, 1)
                await ctx.tick().until(port.bready)
                ctx.set(port.bvalid, 0)

        return serve

    async def _wait(self, ctx):
        while self.rng.random() < self.stall:
            await ctx.tick()


def requests(rng, count: int) -> list[bytes]:
    """What a host may send, also again and after gaps; the first begins a session."""
    out, sent, number = [request(7, 0, Command.HELLO, 1, 0)], {}, 1
    while len(out) < count:
        command = rng.choice([0, 0, 1, 1, 2, 3, 5])
        size = 4 if command in (2, 3) else rng.choice([1, 3, 8, 9, 40])
        address = rng.choice([0x20, 0x24, 0x28, 0x0]) if command in (2, 3) else rng.randrange(500)
        data = rng.randbytes(size) if command in (1, 3) else b""
        ahead = rng.choice([0, 0, 0, 0, -1, -3, 2])
        body = request(7, (number + ahead) % 256, command, size, address, data)
        if ahead < 0:
            body = sent.get(number + ahead, body)
        elif ahead == 0:
            sent[number], number = body, number + 1
        out.append(body)
    return out


@pytest.mark.parametrize("stall", [0.0, 0.6])
@pytest.mark.parametrize("backpressure", [0.0, 0.6])
def test_requests_are_carried_out_as_by_the_twin(stall, backpressure):
    """Every answer, and the memory in the end."""
    rng = random.Random(11)
    device = FunctionalDevice(LAB, dram_bytes=1024)
    own = FunctionalDevice(LAB, dram_bytes=1024)
    twin = LinkTwin(own, board="b")
    top = Requests(config=LAB, identity=twin.identity)
    sent = requests(rng, 60)
    expected = [answer for body in sent if (answer := twin.answer(body)) is not None]
    items = [(byte, k == len(body) + 3) for body in sent for k, byte in enumerate(body + b"CRC!")]
    got: list[int] = []
    width = LAB.axi_bytes

    def read(address):
        return int.from_bytes(device.read_memory(address, width), "little"), 0

    def write(address, data, strobe):
        for k in range(width):
            if strobe >> k & 1:
                device.write_memory(address + k, bytes([data >> 8 * k & 255]))
        return 0

    def read_register(address):
        return device.read_register(address), 0

    def write_register(address, data, strobe):
        assert strobe == 15
        if address == 0:
            return 2
        device.write_register(address, data)
        return 0

    memory = Memory(top, device, random.Random(12), stall)

    def set_item(ctx, item):
        ctx.set(top.i.payload, {"data": item[0], "last": item[1]})

    async def start(ctx):
        ctx.set(top.room, 1)

    length = sum(map(len, expected))
    simulator = Simulator(top)
    simulator.add_clock(1e-6)
    for process in (
        start,
        source(top.i, items, random.Random(13), stall / 2, set_item),
        sink(top.o, length, got, random.Random(14), backpressure, lambda s: s.payload.as_value()),
    ):
        simulator.add_testbench(process)
    for process in (
        memory.reads(top.memory, read),
        memory.writes(top.memory, write),
        memory.reads(top.registers, read_register),
        memory.writes(top.registers, write_register),
        _watchdog(400_000),
    ):
        simulator.add_testbench(process, background=True)
    simulator.run()
    ends = [k for k, value in enumerate(got) if value >> 8]
    answers = [
        bytes(v & 255 for v in got[a + 1 : b + 1])
        for a, b in zip([-1, *ends[:-1]], ends, strict=True)
    ]
    assert answers == expected
    assert device.read_memory(0, 1024) == own.read_memory(0, 1024)


def test_a_reset_lasts_and_waits_for_no_access():
    top = Requests(config=LAB, identity=LinkTwin(FunctionalDevice(LAB, dram_bytes=64)).identity)
    high = []
    sent = [request(7, 0, Command.HELLO, 1, 0), request(7, 1, Command.RESET, 1, 0)]

    async def drive(ctx):
        ctx.set(top.room, 1)
        ctx.set(top.o.ready, 1)
        for body in sent:
            for k, byte in enumerate(body + b"CRC!"):
                ctx.set(top.i.payload, {"data": byte, "last": k == len(body) + 3})
                ctx.set(top.i.valid, 1)
                await ctx.tick().until(top.i.ready)
                ctx.set(top.i.valid, 0)

    async def watch(ctx):
        for _ in range(400):
            _, _, level, *busy = await ctx.tick().sample(
                top.reset, top.memory.arvalid, top.memory.awvalid, top.memory.wvalid
            )
            high.append(level)
            assert not (level and any(busy))

    run(top, drive, watch)
    assert sum(high) == RESET_CYCLES


def test_identity_round_trips_and_refuses():
    values = {"window": 4096, "memory_bytes": 1 << 25, "clock_hz": 62_500_000}
    identity = Identity(**values, digest=bytes(range(8)), board="ulx3s-85f")
    assert len(identity.pack()) == IDENTITY.size
    assert Identity.unpack(identity.pack()) == identity
    with pytest.raises(ValueError, match="it is no HPU"):
        Identity.unpack(b"anything")
    with pytest.raises(ValueError, match="it is no HPU"):
        Identity.unpack(identity.pack()[:-1])
    with pytest.raises(ValueError, match="clock_hz must be from 1 to 4294967295, not 0"):
        Identity(**values | {"clock_hz": 0}, digest=bytes(8), board="b")
    with pytest.raises(ValueError, match="board must be 1 to 24 ASCII characters, not ''"):
        Identity(**values, digest=bytes(8), board="")


def test_wide_addresses_are_refused():
    with pytest.raises(ValueError, match="addr_bits must be at most 32 behind a link, not 40"):
        Link(config=by_name("hai-v1"), board="b", clock_hz=CLOCK, baud=1000, memory_bytes=1)
