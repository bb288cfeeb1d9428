"""Waveforms of some cycles of a program."""

import os
import tempfile
from pathlib import Path

from hpu.runtime.arrays import read_feeds
from hpu.runtime.devices import RtlDevice
from hpu.runtime.driver import Driver
from hpu.runtime.errors import InputError
from hpu.runtime.interface import batch_of, check_feeds
from hpu.runtime.layout import pack, to_device
from hpu.runtime.source import only_program, open_source
from hpu.sim.model import Progress

__all__ = ["record"]


def record(
    model: Path,
    feeds: Path,
    *,
    first: int,
    cycles: int,
    output: Path,
    config: str | None = None,
    progress: Progress | None = None,
) -> int:
    """Run ``model`` on the arrays of the file ``feeds`` and write an FST file of some cycles.

    Parameters
    ----------
    model, config
        As of :class:`hpu.InferenceSession`.
    first, cycles
        The cycles to write, counted from the program's start; the run ends with them.
    output
        The file, written whole or not at all.
    progress
        Called while the machine is built.

    Returns
    -------
    int
        Cycles written, fewer than ``cycles`` when the program ended earlier.

    Raises
    ------
    HpuError
        When the model, the arrays or the file are wrong, or the program ends before ``first``.
    """
    if not output.absolute().parent.is_dir():
        raise InputError(f"{output} cannot be written: its folder does not exist.")
    source, machine = open_source(model, config=config, force_hpu=True)
    arrays = check_feeds(read_feeds(feeds, [arg.name for arg in source.inputs]), source.inputs)
    program = only_program(source.package(source.fixed or batch_of(arrays, source.inputs)))
    size = max(1 << 20, program.dram_bytes)
    device = RtlDevice(machine, dram_bytes=size, trace=True, progress=progress)
    try:
        driver = Driver(device)
        driver.load(program)
        for port in program.inputs:
            data = pack(to_device(arrays[port.name], port), machine, port.cell)
            device.write_memory(port.address, data)
        driver.start()
        return _trace(device, output, first, cycles)
    finally:
        device.close()


def _trace(device: RtlDevice, output: Path, first: int, cycles: int) -> int:
    with tempfile.TemporaryDirectory(prefix=".wave-", dir=output.absolute().parent) as folder:
        path = Path(folder) / "wave.fst"
        written = device.trace_window(path, first, cycles)
        if not written:
            raise InputError(f"the program ends before cycle {first}; give an earlier --from.")
        os.replace(path, output)
    return written
