"""The host's end of the serial link, against the device in RTL and against its twin."""

import json
import random
import re
from pathlib import Path

import pytest
from tests.link_twin import LinkTwin, TwinChannel, cobs, frame, request, uncobs

from hpu.hw import csr
from hpu.hw.config import by_name
from hpu.hw.link_protocol import IDENTITY, Command, Status
from hpu.runtime.channel import RecordingChannel, ReplayChannel
from hpu.runtime.channel_faults import FaultyChannel, SimulatedChannel
from hpu.runtime.devices import FunctionalDevice
from hpu.runtime.driver import Driver
from hpu.runtime.errors import DeviceError
from hpu.runtime.fpga import FpgaDevice
from hpu.runtime.link import Link
from hpu.runtime.link_window import LinkError, decode_frame, encode_frame
from hpu.sim.board import BoardSimulation, build
from hpu.sim.link_top import CONFIG, LinkTop

LAB = by_name("lab-16")
CLOCK = 60_000_000
CYCLES_PER_BIT = 4
MEMORY = 1 << CONFIG.addr_bits
PROGRAM_LOW, FAULT_PC = csr.address("PROGRAM_LOW"), csr.address("FAULT_PC")
START = csr.pack("CONTROL", start=1)


def twin(**options) -> LinkTwin:
    return LinkTwin(FunctionalDevice(LAB, dram_bytes=MEMORY), **options)


def simulated(clock_hz: float = CLOCK) -> SimulatedChannel:
    """The link in RTL, in a time of its own."""
    baud = CLOCK // CYCLES_PER_BIT
    library = build(lambda: LinkTop(clock_hz=CLOCK, baud=baud), f"link {CLOCK} {baud}")
    return SimulatedChannel(
        BoardSimulation(library, cycles_per_bit=CYCLES_PER_BIT), clock_hz=clock_hz
    )


@pytest.fixture(params=["twin", "rtl"])
def link(request):
    made = Link(TwinChannel(twin()) if request.param == "twin" else simulated())
    yield made
    made.close()


def bodies(seed: int) -> list[bytes]:
    """Of every length around COBS's blocks, with many zeros, some and none."""
    rng = random.Random(seed)
    lengths = [1, 2, *range(245, 258), *range(500, 515), *(rng.randrange(3, 300) for _ in range(9))]
    return [
        bytes(rng.choice([0, rng.randrange(256)]) if rng.random() < zeros else 7 for _ in range(n))
        for n in lengths
        for zeros in (0, 0.05, 0.9)
    ]


def test_frames_are_those_of_the_twin():
    for body in bodies(1):
        assert decode_frame(frame(body)[:-1]) == body
        assert uncobs(encode_frame(body)[:-1])[:-4] == body
        assert uncobs(cobs(body)) == body
        assert 0 not in encode_frame(body)[:-1]


def test_damaged_frames_are_refused():
    rng = random.Random(2)
    for body in bodies(2):
        text = bytearray(encode_frame(body)[:-1])
        text[rng.randrange(len(text))] ^= rng.randint(1, 255)
        assert decode_frame(bytes(text)) is None
    assert decode_frame(b"") is None
    assert decode_frame(b"\x01") is None


def test_memory_and_registers(link):
    rng = random.Random(3)
    memory = bytearray(MEMORY)
    link.write_memory(0, bytes(memory))
    for size in (1, 3, 8, 255, 256, 257, 5000):
        address = rng.randrange(MEMORY - size)
        memory[address : address + size] = data = rng.randbytes(size)
        link.write_memory(address, data)
    assert link.read_memory(0, MEMORY) == memory
    assert link.read_memory(77, 1001) == memory[77 : 77 + 1001]
    assert link.read_memory(5, 0) == b""
    link.write_register(PROGRAM_LOW, 0x12345678)
    assert link.read_registers(PROGRAM_LOW, 2) == [0x12345678, 0]
    assert link.read_registers(0, 2) == [csr.MAGIC, csr.VERSION]
    with pytest.raises(DeviceError, match=r"answered register 0x0 with SLVERR\."):
        link.write_register(0, 1)
    with pytest.raises(DeviceError, match=r"answered register 0x3fc with SLVERR\."):
        link.read_registers(0x3FC, 1)
    link.reset()
    assert link.identity.memory_bytes == MEMORY


def test_memory_port_addresses_are_in_order(link):
    """Bytes at every address line stay where they are."""
    places = [0, *(1 << bit for bit in range(CONFIG.addr_bits))]
    for k, at in enumerate(places):
        link.write_memory(at, bytes([k + 1]))
    assert [link.read_memory(at, 1)[0] for at in places] == [k + 1 for k in range(len(places))]


def disturbed(seed: int, faults: int) -> FaultyChannel:
    """Random work over a line with that many faults; nothing may be wrong, or done twice."""
    channel = FaultyChannel(simulated(1e6), rate=1 / 600, seed=seed)
    link = Link(channel, timeout=60.0, session=seed)
    rng, memory, starts = random.Random(seed), bytearray(MEMORY), 0
    link.write_memory(0, bytes(MEMORY // 8))
    while sum(channel.faults.values()) < faults:
        address = rng.randrange(MEMORY // 8)
        size = min(MEMORY // 8 - address, rng.choice([1, 7, 300, 3000]))
        action = rng.choice(["write", "write", "read", "read", "start", "count"])
        if action == "write":
            memory[address : address + size] = data = rng.randbytes(size)
            link.write_memory(address, data)
        elif action == "read":
            assert link.read_memory(address, size) == memory[address : address + size]
        elif action == "start":
            link.write_register(csr.address("CONTROL"), START)
            starts += 1
        else:
            assert link.read_registers(FAULT_PC, 1) == [starts]
    assert link.traffic.repeated > faults / 10  # the faults were felt
    link.close()
    return channel


def test_faults_on_the_line():
    print("seed", 5)
    channel = disturbed(5, 150)
    assert all(count > 10 for count in channel.faults.values())


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_many_faults_on_the_line(seed):
    disturbed(10 + seed, 2500)


def test_a_start_is_rung_once_when_its_answer_is_lost():
    class Deaf(TwinChannel):
        lost = 3

        def read(self, timeout):
            data = super().read(timeout)
            if data and self.lost and self.ringing:
                self.lost -= 1
                return b""
            return data

        ringing = False

    device = twin()
    starts = []
    device.device.write_register = lambda address, value: starts.append(value)
    channel = Deaf(device)
    link = Link(channel)
    channel.ringing = True
    link.write_register(csr.address("CONTROL"), START)
    assert starts == [START]
    assert channel.lost == 0
    assert link.traffic.repeated >= 3


def test_silence_ends_after_the_timeout():
    class Dead(TwinChannel):
        def write(self, data):
            pass

    channel = Dead(twin())
    expected = "the device on the twin's line has not answered for 5 s: check"
    with pytest.raises(LinkError, match=expected):
        Link(channel)
    assert 5 <= channel.now() < 6.1


def test_babble_ends_after_the_timeout():
    class Babble(TwinChannel):
        def read(self, timeout):
            self._now += 0.0007
            return b"Hello, world.\r\n\0"

    channel = Babble(twin())
    with pytest.raises(LinkError, match="has not answered for 5 s"):
        Link(channel)
    assert channel.now() < 7


def test_a_reset_device_is_told():
    device = twin()
    link = Link(TwinChannel(device))
    device.power_on()
    with pytest.raises(LinkError, match="was reset in the meantime: run again"):
        link.read_memory(0, 1000)
    assert Link(TwinChannel(device)).read_memory(0, 4) == bytes(4)


def test_a_session_in_its_midst_is_not_taken_up():
    channel = TwinChannel(twin())
    old = Link(channel, session=9)
    old.write_memory(0, bytes(1000))
    new = Link(channel, session=9)
    new.write_memory(0, b"x")
    with pytest.raises(LinkError, match="was reset"):
        old.read_memory(0, 1)


def test_another_version_is_refused():
    device = twin()
    payload = bytearray(device.identity.pack())
    payload[4] = 9

    class Newer(LinkTwin):
        def answer(self, body):
            return bytes([body[0], body[1]]) + bytes(payload) + bytes([Status.OKAY])

    with pytest.raises(LinkError, match="for its link is of version 9, not 1: check --port"):
        Link(TwinChannel(Newer(device.device)))


def test_unknown_commands_and_short_requests_are_answered():
    """What the host never sends: the device in RTL answers it and goes on."""
    channel = simulated()
    channel.write(frame(request(1, 0, Command.HELLO, 1, 0)))
    channel.write(frame(request(1, 1, 77, 1, 0)))
    channel.write(frame(request(1, 2, Command.WRITE_MEMORY, 200, 0, b"abc")))
    channel.write(frame(b"\1\3") + b"\0\0\0" + frame(b"") + frame(bytes(5000)))
    channel.write(frame(request(1, 3, Command.READ_MEMORY, 3, 0)))
    text = b""
    while data := channel.read(0.01):
        text += data
    answers = [decode_frame(part) for part in text.split(b"\0")[:-1]]
    assert len(answers[0]) == IDENTITY.size + 3
    assert answers[1:] == [
        bytes([1, 1, Status.MALFORMED]),
        bytes([1, 2, Status.MALFORMED]),
        bytes([1, 3, 0, 0, 0, Status.OKAY]),
    ]
    channel.close()


def test_the_device_answers_as_its_twin():
    """Requests of all kinds: next, old, after a gap, of no session."""
    rng, channel, device = random.Random(7), simulated(), twin(window=4096)
    expected, sent = 1, {}
    for turn in range(250):
        number = expected + rng.choice([0, 0, 0, -1, -9, 2])
        session = rng.choice([4] * 12 + [5])
        command = rng.choice([0, 0, 1, 1, 2, 3, 5, 6])
        if turn == 0:
            session, number, command = 4, 0, Command.HELLO
        address = csr.address(rng.choice(["PROGRAM_LOW", "PROGRAM_HIGH", "WATCHDOG", "MAGIC"]))
        count = 4 if command in (2, 3) else rng.choice([1, 2, 9, 256])
        address = address if command in (2, 3) else rng.randrange(4096)
        data = rng.randbytes(count) if command in (1, 3) else b""
        body = request(session, number % 256, command, count, address, data)
        if number < expected:
            body = sent.get(number, body)  # a host repeats what it sent
        elif session == 4 and number == expected and turn:
            sent[number], expected = body, expected + 1
        channel.write(frame(body))
        text = b""
        while more := channel.read(0.0005):
            text += more
        found = decode_frame(text.rstrip(b"\0")) if text else None
        answer = device.answer(body)
        if command == Command.HELLO:
            continue  # they identify themselves as what they are
        assert found == answer, f"turn {turn}: {body[:8].hex()}"
    channel.close()


def transcript(link: Link) -> list:
    """Some traffic, and what came of it."""
    link.write_memory(100, bytes(range(256)) * 20)
    first = link.read_memory(99, 3000)
    link.write_register(PROGRAM_LOW, 0xC0FFEE)
    return [link.identity, first, link.read_registers(0, 4), link.read_registers(PROGRAM_LOW, 1)]


def test_recordings_replay(tmp_path):
    path = tmp_path / "link.jsonl"
    recorded = Link(
        RecordingChannel(FaultyChannel(simulated(1e6), rate=1e-3, seed=3), path), session=8
    )
    expected = transcript(recorded)
    assert recorded.traffic.repeated
    recorded.close()
    channel = ReplayChannel(path)
    assert transcript(Link(channel, session=8)) == expected
    assert channel.done
    with pytest.raises(DeviceError, match=re.escape(f"{path} was sent something else at line 1")):
        Link(ReplayChannel(path), session=7)


def short_work(link: Link) -> list:
    """What is in the transcript that is kept."""
    link.write_memory(3, bytes(range(256)) * 8)
    found = [link.read_memory(0, 2000), link.read_registers(0, 2)]
    link.write_register(PROGRAM_LOW, 0xC0FFEE)
    return [*found, link.read_registers(PROGRAM_LOW, 1)]


def test_a_transcript_of_a_faulty_line_replays():
    """Recorded at the device in RTL, with frames damaged, lost and repeated."""
    channel = ReplayChannel(Path(__file__).parent / "transcripts" / "faulty_line.jsonl")
    link = Link(channel, session=8)
    memory, constants, written = short_work(link)
    assert memory == bytes(3) + (bytes(range(256)) * 8)[:1997]
    assert constants == [csr.MAGIC, 2]
    assert written == [0xC0FFEE]
    assert link.traffic.repeated and link.traffic.damaged
    assert channel.done


def test_a_replay_that_ends_is_told(tmp_path):
    path = tmp_path / "short.jsonl"
    path.write_text(json.dumps({"t": 0.0, "sent": "00"}) + "\n")
    channel = ReplayChannel(path)
    channel.write(b"\0")
    with pytest.raises(DeviceError, match="has something else at line 2"):
        channel.read(1.0)


def test_the_driver_runs_programs_over_the_link(product):
    made = product(LAB, rows=8, seed=3)
    link = Link(TwinChannel(LinkTwin(FunctionalDevice(LAB, dram_bytes=1 << 20))))
    driver = Driver(FpgaDevice(LAB, link))
    driver.load(made.program)
    result = driver.run()
    assert driver.read(made.address, made.result.size).tobytes() == made.result.tobytes()
    assert result.counters["MATMUL_COUNT"] == 1


def test_another_configuration_is_refused():
    link = Link(TwinChannel(twin()))
    expected = "the board on the twin's line (twin) has configuration 'lab-16', not 'hai-v1'"
    with pytest.raises(DeviceError, match=re.escape(expected)):
        FpgaDevice(by_name("hai-v1"), link)
    link = Link(TwinChannel(LinkTwin(FunctionalDevice(CONFIG, dram_bytes=MEMORY))))
    with pytest.raises(DeviceError, match="has a configuration unknown here, of digest"):
        FpgaDevice(LAB, link)


def test_memory_beyond_the_board_is_refused():
    device = FpgaDevice(LAB, Link(TwinChannel(twin())))
    with pytest.raises(Exception, match=f"must be inside the device's memory of {MEMORY} bytes"):
        device.read_memory(MEMORY - 1, 2)
