"""From a board to a bitstream: synthesis, placing and routing, packing, and what came of it."""

import dataclasses
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path

from hpu.hw import emit
from hpu.hw.boards.board import Board
from hpu.hw.boards.pads import TOP, Pads
from hpu.hw.fpga_report import SECONDS, Report, read_report
from hpu.hw.fpga_tools import FpgaBuildError, run, version

__all__ = ["FOLDER", "Build", "build", "prepare"]

#: Where builds stand, below the working directory.
FOLDER = Path("build") / "fpga"
_PRODUCTS = Path(__file__).resolve().parent / "boards" / "multiply_ecp5.v"

Progress = Callable[[str, int, int], None]


@dataclasses.dataclass(frozen=True)
class Build:
    """A finished build.

    Attributes
    ----------
    folder
        Has ``top.bit`` (ECP5) or ``top.fs`` (Gowin), ``report.json``, ``configuration.json`` and
        all logs.
    report
        Utilisation and timing.
    cached
        Whether it was there already.
    """

    folder: Path
    report: Report
    cached: bool


def prepare(board: Board) -> dict[str, str]:
    """The tools' input files by name: design, pins, scripts."""
    pads = Pads(board=board)
    plan = board.platform().prepare(pads, name="top")  # type: ignore[attr-defined]
    design = emit.verilog(pads.top, TOP)
    files = {name: _text(plan.files[name]) for name in plan.files if _is_input(name)}
    files |= {f"{TOP}.v": "\n".join(design.values()), "top.ys": _script(board)}
    if board.lut_products:
        files[_PRODUCTS.name] = _PRODUCTS.read_text()
    files["configuration.json"] = json.dumps(dataclasses.asdict(board.config), indent=2) + "\n"
    return files


def _is_input(name: str) -> bool:
    return name in ("top.il", "top.lpf", "top.cst")


def _text(content: str | bytes) -> str:
    return content if isinstance(content, str) else content.decode()


def _script(board: Board) -> str:
    lines = [f"read_verilog {TOP}.v", "read_rtlil top.il", "hierarchy -top top"]
    if board.lut_products:
        lines.append(f"select -set products tile/t:$mul %R{board.lut_products}")
        lines.append(f"techmap -map {_PRODUCTS.name} @products")
    synth = {"ecp5": "synth_ecp5", "gowin": "synth_gowin"}[board.family]
    lines.append(f"{synth} -top top -json top.json")
    lines += ["tee -q -o cells.json stat -json", "write_verilog -noattr netlist.v"]
    return "\n".join(lines) + "\n"


def build(board: Board, *, folder: Path = FOLDER, progress: Progress | None = None) -> Build:
    """Bitstream of ``board``, or the one made before from the same files with the same tools.

    A build that was interrupted goes on behind the last step it had finished.

    Raises
    ------
    FpgaBuildError
        When a tool is missing or fails, or the design does not fit or is too slow.
    """
    tell = progress or (lambda _text, _done, _total: None)
    steps = {"ecp5": _ECP5_STEPS, "gowin": _GOWIN_STEPS}[board.family]
    tell("writing Verilog", 0, len(steps) + 1)
    files = prepare(board)
    programs = [program for program, *_ in steps]
    work = folder / f"{board.name}-{_key(files, programs)}"
    done = (work / "report.json").exists()
    if not done:
        work.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (work / name).write_text(text)
        for place, step in enumerate(steps):
            tell(step[1], place + 1, len(steps) + 1)
            _step(board, work.resolve(), *step)
    report = read_report(board, work)
    (work / "report.json").write_text(report.to_json())
    return Build(work, report, done)


def _key(files: dict[str, str], programs: list[str]) -> str:
    """Of the files' contents and the tools' versions."""
    contents = sorted(files.items()), [version(program) for program in programs]
    return hashlib.sha256(json.dumps(contents).encode()).hexdigest()[:12]


def _step(board: Board, work: Path, program: str, what: str, output: str, arguments) -> None:
    """Run a step unless its output is there, and note how long it took."""
    if (work / output).exists():
        return
    begin = time.monotonic()
    run(program, arguments(board), cwd=work, log=f"{program}.log")
    if not (work / output).exists():
        raise FpgaBuildError(f"{program} gave no {output} in {work}")
    notes = work / SECONDS
    seconds = json.loads(notes.read_text()) if notes.exists() else {}
    seconds[what] = round(time.monotonic() - begin, 1)
    notes.write_text(json.dumps(seconds, indent=2) + "\n")


def _synthesis(_board: Board) -> list[str]:
    return ["-q", "-l", "synthesis.log", "top.ys"]


def _ecp5_place(board: Board) -> list[str]:
    platform = board.platform()
    size = platform._nextpnr_device_options[platform.device]  # type: ignore[attr-defined]
    package = platform._nextpnr_package_options[platform.package]  # type: ignore[attr-defined]
    speed = ["--speed", platform.speed]  # type: ignore[attr-defined]
    files = ["--json", "top.json", "--lpf", "top.lpf", "--textcfg", "top.config"]
    return [size, "--package", package.upper(), *speed, *files, *_REPORT]


def _ecp5_pack(_board: Board) -> list[str]:
    return ["--input", "top.config", "--bit", "top.bit"]


def _ecp5_unpack(_board: Board) -> list[str]:
    return ["--input", "top.bit", "--textcfg", "unpacked.config"]


def _gowin_place(board: Board) -> list[str]:
    platform = board.platform()
    device = ["--device", platform.part]  # type: ignore[attr-defined]
    options = ["--vopt", f"family={platform.family}", "--vopt", "cst=top.cst"]  # type: ignore[attr-defined]
    files = ["--json", "top.json", "--write", "placed.json"]
    frequency = ["--freq", str(board.config.clock_hz / 1e6)]
    return [*device, *options, *files, *frequency, *_REPORT]


def _gowin_pack(board: Board) -> list[str]:
    family = board.platform().family  # type: ignore[attr-defined]
    return ["-d", family, "-o", "top.fs", "placed.json"]


_REPORT = ["--report", "timing.json", "--log", "placing.log", "--timing-allow-fail", "--quiet"]
#: Program, what it does, the file it gives, and its arguments.
_ECP5_STEPS = (
    ("yosys", "synthesis", "top.json", _synthesis),
    ("nextpnr-ecp5", "placing and routing", "top.config", _ecp5_place),
    ("ecppack", "packing", "top.bit", _ecp5_pack),
    ("ecpunpack", "unpacking", "unpacked.config", _ecp5_unpack),
)
_GOWIN_STEPS = (
    ("yosys", "synthesis", "top.json", _synthesis),
    ("nextpnr-himbaechel-gowin", "placing and routing", "placed.json", _gowin_place),
    ("gowin_pack", "packing", "top.fs", _gowin_pack),
)
