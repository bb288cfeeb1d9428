"""Figures of synthesis: a board's build, its clock, and networks on a netlist."""

import dataclasses
import functools

from hpu.hw.boards import BOARDS
from hpu.hw.config import Config, by_name
from hpu.hw.fpga_build import Build, build
from hpu.runtime.bench_figures import Found, Row, figure
from hpu.runtime.bench_link import BOARD, digits, mnist, on_simulated_board
from hpu.runtime.devices import Device, FunctionalDevice, RtlDevice
from hpu.runtime.execution import Executor
from hpu.runtime.program import Program
from hpu.runtime.progress import Progress
from hpu.runtime.source import compile_package, only_program
from hpu.sim import netlist

__all__ = ["on_netlist"]

_BAR_MHZ = 60
_BAR_SECONDS = 30 * 60
#: The machine whose netlist is simulated: the smallest board's, which is quick to synthesise, with
#: addresses for networks that do not fit its block RAM.
_NETLIST = dataclasses.replace(by_name("tang-primer-20k"), name="netlist-4", addr_bits=20)


@functools.cache
def _built() -> Build:
    with Progress() as progress:
        return build(BOARDS[BOARD], progress=progress)


def _cells() -> str:
    cells = _built().report.cells
    names = ("TRELLIS_COMB", "TRELLIS_FF", "MULT18X18D", "DP16KD")
    return ", ".join(f"{cells[name].used:,} of {cells[name].available:,} {name}" for name in names)


@figure(
    "ulx3s_array",
    unit="MACs",
    bar="at least 16x16 on the ULX3S-85F, the whole HPU around it, placed and routed",
    reached=lambda macs: macs >= 256,
)
def ulx3s_array() -> Found:
    """PEs of the array in the bitstream."""
    config, report = BOARDS[BOARD].config, _built().report
    assert not report.different, "; ".join(report.different)
    bitstream = ", ".join(f"{count} {name}" for name, count in report.bitstream.items())
    return Found(
        config.peak_macs,
        f"{config.rows}x{config.cols} in {BOARD}: {_cells()}; the bitstream, unpacked, "
        f"configures {bitstream}",
    )


@figure(
    "ulx3s_clock",
    unit="MHz",
    bar=f"at least {_BAR_MHZ} MHz closed by nextpnr on the ULX3S-85F",
    reached=lambda mhz: mhz >= _BAR_MHZ,
)
def ulx3s_clock() -> Found:
    """The clock that every path keeps up with."""
    report = _built().report
    path = "; ".join(report.critical_path)
    return Found(
        report.closed_mhz,
        f"{BOARD}, constrained to {report.clock_mhz:g} MHz; slowest path, in ns: {path}",
    )


@figure(
    "fpga_build_time",
    unit="s",
    bar=f"at most {_BAR_SECONDS // 60} min from source to bitstream on 2 cores",
    reached=lambda seconds: seconds <= _BAR_SECONDS,
)
def fpga_build_time() -> Found:
    """Seconds of the build's steps, as measured when each of them ran."""
    seconds = _built().report.seconds
    assert seconds, f"the build in {_built().folder} has no times; delete it and build again"
    steps = ", ".join(f"{step} {took:.0f} s" for step, took in seconds.items())
    return Found(sum(seconds.values()), f"{BOARD}: {steps}", rows=[dict(seconds)])


def on_netlist(config: Config, images: int = 2) -> list[Row]:
    """Both networks on the machine as synthesis left it, compared with functional.

    One row for each, with the bytes that its outputs have and how many of them are the same.

    Raises
    ------
    HpuError
        When the netlist cannot be made or simulated.
    """
    rows: list[Row] = []
    with Progress() as progress:
        library = netlist.build(config, progress=progress)
        for name, (model, feeds) in {"digits": digits(images), "mnist": mnist(images)}.items():
            progress(f"{name} on the netlist", len(rows), 2)
            program = only_program(compile_package(model, config=config, force_hpu=True))
            cases = [{key: value[k : k + 1] for key, value in feeds.items()} for k in range(images)]
            found, cycles = _outputs(RtlDevice(config, library=library), program, cases)
            expected, _ = _outputs(FunctionalDevice(config), program, cases)
            same = sum(a == b for a, b in zip(found, expected, strict=True))
            rows.append({"network": name, "bytes": len(expected), "same": same, "cycles": cycles})
    return rows


def _outputs(device: Device, program: Program, cases: list) -> tuple[bytes, int]:
    """The bytes of all outputs, and the cycles that they took."""
    executor = Executor(device.config, device)
    runs = [executor.measure(program, case) for case in cases]
    executor.close()
    values = [value.tobytes() for outputs, _ in runs for value in outputs.values()]
    return b"".join(values), sum(run.cycles or 0 for _, run in runs)


@figure(
    "netlist_equal",
    unit="%",
    bar="digits and MNIST on a post-synthesis netlist and on the simulated board over a "
    "pseudo-terminal: every byte as functional",
    reached=lambda share: share == 100,
)
def netlist_equal() -> Found:
    """Share of the outputs' bytes that are those of the functional device."""
    ways = {
        f"the {_NETLIST.rows}x{_NETLIST.cols} machine in cells of the ECP5": on_netlist(_NETLIST),
        f"{BOARD} simulated, over a pseudo-terminal": on_simulated_board(BOARDS[BOARD]),
    }
    rows = [{"on": way, **row} for way, found in ways.items() for row in found]
    total, same = (sum(int(row[key]) for row in rows) for key in ("bytes", "same"))
    text = "; ".join(
        f"{row['network']} on {row['on']}: {row['same']} of {row['bytes']} bytes, "
        f"{row['cycles']:,} cycles"
        for row in rows
    )
    return Found(100 * same / total, text, rows=rows)
