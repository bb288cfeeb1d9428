"""A simulated board behind a pseudo-terminal: the real driver talks to it through a real port."""

import threading
import time

import pytest

from hpu.hw import csr
from hpu.hw.boards import BOARDS
from hpu.runtime.board_server import BoardServer, open_board, serving
from hpu.runtime.errors import DeviceError, HpuError
from hpu.runtime.fpga import connect
from hpu.sim.board import BoardSimulation, build
from hpu.sim.link_top import LinkTop

CLOCK = 60_000_000


def board() -> BoardSimulation:
    """The link alone, as a board."""
    baud = CLOCK // 4
    library = build(lambda: LinkTop(clock_hz=CLOCK, baud=baud), f"link {CLOCK} {baud}")
    return BoardSimulation(library, cycles_per_bit=4)


def test_the_driver_talks_through_the_terminal():
    data = bytes(range(256)) * 10
    with serving(board()) as port:
        for _ in range(2):  # and once more after the first has closed it
            link = connect(port)
            link.write_memory(7, data)
            assert link.read_memory(7, len(data)) == data
            assert link.read_registers(0, 1) == [csr.MAGIC]
            link.close()


def test_the_clock_stops_while_nothing_comes():
    server = BoardServer(simulation := board())
    thread = threading.Thread(target=server.serve)
    thread.start()
    time.sleep(1.0)
    before = simulation.cycle
    time.sleep(0.6)
    passed = simulation.cycle - before
    link = connect(server.port)
    assert link.identity.board == "link"
    server.stop()
    thread.join()
    assert passed < 100_000
    server.close()
    with pytest.raises(DeviceError, match=f"the port {server.port} went away: check the USB cable"):
        link.read_memory(0, 10)


def test_a_link_to_the_terminal(tmp_path):
    path, server = tmp_path / "hpu", BoardServer(board())
    path.symlink_to("/nowhere")  # left by one that was killed
    server.stop()
    server.serve_until_interrupted(path)
    assert not path.is_symlink()
    with pytest.raises(HpuError, match="cannot be made: No such file or directory"):
        server.serve_until_interrupted(tmp_path / "no" / "folder")
    server.close()


def test_line_rates_are_checked():
    with pytest.raises(HpuError, match=r"--baud must be at most a quarter of the clock \(\d+\)"):
        open_board(BOARDS["ulx3s-85f"], baud=20_000_000)


@pytest.mark.slow
def test_networks_on_the_whole_board():
    from hpu.runtime.bench_link import on_simulated_board

    for row in on_simulated_board(BOARDS["ulx3s-85f"], images=1):
        assert row["same"] == row["bytes"], row
