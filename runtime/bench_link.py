"""Figures of the serial link: its throughput, its faults, and networks on a simulated board."""

import random
from collections.abc import Mapping

import numpy as np

from hpu.hw import csr
from hpu.hw.boards import BOARDS
from hpu.hw.boards.board import Board
from hpu.runtime.bench_figures import Found, Row, figure
from hpu.runtime.bench_inputs import SHARED
from hpu.runtime.board_server import open_board, serving
from hpu.runtime.channel_faults import FaultyChannel, SimulatedChannel
from hpu.runtime.execution import Executor
from hpu.runtime.fpga import FpgaDevice
from hpu.runtime.link import Link
from hpu.runtime.progress import Progress
from hpu.runtime.session import InferenceSession
from hpu.runtime.source import Network, compile_package, only_program
from hpu.sim.board import BoardSimulation, build
from hpu.sim.link_top import CONFIG, LinkTop

__all__ = ["digits", "mnist", "on_simulated_board"]

BOARD = "ulx3s-85f"
CLOCK = 62_500_000
BAUD = 3_000_000
_MEMORY = 1 << CONFIG.addr_bits
_FAULTS = 10_000
#: Faults per byte of the line, in both directions.
_FAULT_RATE = 1 / 600
#: Seconds that a USB adapter takes until bytes of one side have arrived on the other: two frames
#: of full-speed USB.
_USB_SECONDS = 2e-3


def _line(baud: float, *, clock_hz: float = CLOCK) -> SimulatedChannel:
    """The link's hardware at the end of a simulated line."""
    rate = int(baud)
    library = build(lambda: LinkTop(clock_hz=CLOCK, baud=rate), f"link {CLOCK} {rate}")
    board = BoardSimulation(library, cycles_per_bit=CLOCK / rate)
    return SimulatedChannel(board, clock_hz=clock_hz)


@figure(
    "link",
    unit="%",
    bar="payload at least 70 % of the line at 3 Mbaud, both ways; 10,000 faults without harm",
    reached=lambda share: share >= 70,
)
def link() -> Found:
    """Payload as a share of the line's bytes, in the slower direction."""
    shares = _throughput()
    faults, repeated, frames = _disturbed()
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in faults.items())
    return Found(
        100 * min(shares.values()),
        f"at {BAUD / 1e6:g} Mbaud and {CLOCK / 1e6:g} MHz, the device in RTL: "
        + ", ".join(f"{way} {100 * share:.1f} %" for way, share in shares.items())
        + f" of the {BAUD / 10e3:g} kB/s that the line carries; {sum(faults.values()):,} faults "
        f"({kinds}) over {frames:,} frames, {repeated:,} sent again: nothing wrong delivered, "
        "no start repeated",
        rows=[{**{way: share for way, share in shares.items()}, **faults}],
    )


def _throughput() -> dict[str, float]:
    channel = _line(BAUD)
    made, data = Link(channel), random.Random(1).randbytes(_MEMORY // 2)
    begin = channel.now()
    made.write_memory(0, data)
    half = channel.now()
    found = made.read_memory(0, len(data))
    end = channel.now()
    made.close()
    assert found == data, "the bytes read are not those written"
    ideal = len(data) * 10 / BAUD
    return {"there": ideal / (half - begin), "back": ideal / (end - half)}


def _disturbed() -> tuple[dict[str, int], int, int]:
    """Random work over a faulty line, every result checked: faults, frames repeated, frames."""
    # In a time of its own, so that a wait for an answer is not long to simulate.
    channel = FaultyChannel(_line(CLOCK // 4, clock_hz=1e6), rate=_FAULT_RATE, seed=1)
    made = Link(channel, timeout=60)
    rng, memory, starts = random.Random(1), bytearray(_MEMORY), 0
    made.write_memory(0, bytes(memory))
    with Progress() as progress:
        while (count := sum(channel.faults.values())) < _FAULTS:
            progress("faults on the line", count, _FAULTS)
            address = rng.randrange(_MEMORY)
            size = min(_MEMORY - address, rng.choice([1, 7, 300, 3000]))
            data = rng.randbytes(size)
            made.write_memory(address, data)
            memory[address : address + size] = data
            made.write_register(csr.address("CONTROL"), csr.pack("CONTROL", start=1))
            starts += 1
            address = rng.randrange(_MEMORY - 2000)
            found = made.read_memory(address, 2000)
            assert found == memory[address : address + 2000], "wrong bytes were delivered"
            counted = made.read_registers(csr.address("FAULT_PC"), 1)[0]
            assert counted == starts, f"{counted} starts instead of {starts}"
    assert made.read_memory(0, _MEMORY) == memory, "wrong bytes were delivered"
    made.close()
    return channel.faults, made.traffic.repeated, made.traffic.sent + made.traffic.repeated


@figure(
    "mnist_rate",
    unit="images/s",
    bar="printed",
    reached=lambda rate: rate > 0,
)
def mnist_rate() -> Found:
    """Images a second that the board would reach, each sent and fetched over the link."""
    board = BOARDS[BOARD]
    clock = board.config.clock_hz
    model, feeds = mnist(2)
    program = only_program(compile_package(model, config=board.config, force_hpu=True))
    with Progress() as progress:
        simulation = open_board(board, baud=board.baud, progress=progress)
        channel = SimulatedChannel(simulation, clock_hz=clock)
        made = Link(channel)
        executor = Executor(board.config, FpgaDevice(board.config, made))
        images = [{name: value[k : k + 1] for name, value in feeds.items()} for k in range(2)]
        progress("loading MNIST over the line", 0, 0)
        executor.run(program, images[0])
        begin, turns = channel.now(), made.turns
        _, run = executor.measure(program, images[1])
        line, turns = channel.now() - begin, made.turns - turns
        executor.close()
    assert run.cycles is not None
    seconds = line + turns * _USB_SECONDS
    return Found(
        1 / seconds,
        f"{board.name} at {clock / 1e6:g} MHz and {board.baud / 1e6:g} Mbaud, one image at a time: "
        f"{run.cycles:,} cycles are {1e3 * run.cycles / clock:.2f} ms, with the line "
        f"{1e3 * line:.2f} ms, and {turns} times {1e3 * _USB_SECONDS:g} ms that the USB adapter is "
        f"assumed to take; the machine alone would do {clock / run.cycles:,.0f} images/s",
        rows=[{"cycles": run.cycles, "line_seconds": line, "turns": turns}],
    )


def mnist(count: int) -> tuple[Network, Mapping[str, np.ndarray]]:
    """``mnist_conv_qdq_int8.onnx`` and ``count`` images for it."""
    from examples.mnist.prepare import INPUT, network_input

    with np.load(SHARED / "data" / "mnist_t10k_first1000.npz") as data:
        images = network_input(data["images"][:count])
    return str(SHARED / "models" / "mnist_conv_qdq_int8.onnx"), {INPUT: images}


def digits(count: int) -> tuple[Network, Mapping[str, np.ndarray]]:
    """The digits network in QDQ form, and ``count`` images for it."""
    from examples.digits.network import INPUT, held_out, quantised

    return quantised(), {INPUT: held_out()[0][:count]}


def on_simulated_board(board: Board, images: int = 2) -> list[Row]:
    """Both networks over a pseudo-terminal on the simulated board, compared with functional.

    One row for each, with the bytes that its outputs have and how many of them are the same.

    Raises
    ------
    HpuError
        When the board cannot be simulated.
    """
    rows: list[Row] = []
    with Progress() as progress:
        simulation = open_board(board, progress=progress)
        with serving(simulation) as port:
            for name, (model, feeds) in {
                "digits": digits(images),
                "mnist": mnist(images),
            }.items():
                progress(f"{name} on {board.name}", len(rows), 2)
                start = simulation.cycle
                found, expected = _both(model, feeds, port, board)
                same = sum(a == b for a, b in zip(found, expected, strict=True))
                row: Row = {"network": name, "bytes": len(expected), "same": same}
                row["cycles"] = simulation.cycle - start
                rows.append(row)
    return rows


def _both(
    model: Network, feeds: Mapping[str, np.ndarray], port: str, board: Board
) -> tuple[bytes, bytes]:
    """The outputs' bytes from the board on ``port``, and from the functional device."""
    fpga = InferenceSession(model, device="fpga", port=port)
    functional = InferenceSession(model, config=board.config, force_hpu=True)
    outputs = [session.run_batches(None, feeds) for session in (fpga, functional)]
    found, expected = (b"".join(value.tobytes() for value in values) for values in outputs)
    return found, expected


@figure(
    "board_equal",
    unit="%",
    bar="digits and MNIST over a pseudo-terminal on the simulated board: every byte as functional",
    reached=lambda share: share == 100,
)
def board_equal() -> Found:
    """Share of the outputs' bytes that are those of the functional device."""
    rows = on_simulated_board(BOARDS[BOARD])
    total, same = (sum(int(row[key]) for row in rows) for key in ("bytes", "same"))
    text = "; ".join(
        f"{row['network']}: {row['same']} of {row['bytes']} bytes, {row['cycles']:,} cycles of the "
        "board simulated"
        for row in rows
    )
    return Found(
        100 * same / total,
        f"{BOARD} in Verilator, its UART on a pseudo-terminal: {text}",
        rows=rows,
    )
