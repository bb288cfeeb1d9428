"""Verilog texts to a compiled C++ model, block by block.

Every block that ``hw.emit`` wrote as a module of its own is translated and compiled once, as a
library with a thin wrapper that its parents instantiate. Blocks are cached separately, so that a
change of one does not rebuild the others, and independent ones are built side by side.
"""

import dataclasses
import os
import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from hpu.sim import verilator

__all__ = ["Model", "Options", "Progress", "build_model", "default_jobs"]

#: Called with a stage in words, the steps done and the steps in all.
Progress = Callable[[str, int, int], None]

_VERILATOR_FLAGS = (
    "--cc",
    "--no-timing",
    "-Wno-fatal",
    "-Wno-lint",
    "-O3",
    "--x-assign",
    "fast",
    "--x-initial",
    "fast",
    "--output-split",
    "8000",
    "--output-split-cfuncs",
    "500",
)
#: Hidden symbols let the compiler inline although the code is position independent.
_CXX_FLAGS = ("-std=gnu++17", "-fPIC", "-fvisibility=hidden", "-fno-semantic-interposition")


def default_jobs() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How to build: ``optimise`` is the C++ compiler's level, ``trace`` adds FST waveforms.

    ``flat`` translates all blocks as one design: slower to build, but waveforms see everything.
    """

    optimise: str = "-O2"
    trace: bool = False
    flat: bool = False

    @property
    def verilator_flags(self) -> list[str]:
        """Flags of every translation."""
        return [*_VERILATOR_FLAGS, *(["--trace-fst"] if self.trace else [])]

    @property
    def cxx_flags(self) -> list[str]:
        """Flags of every compilation but the level of optimisation."""
        return list(_CXX_FLAGS)

    @property
    def key(self) -> list[str]:
        """What a build depends on besides its sources."""
        return [self.optimise, *self.verilator_flags, *self.cxx_flags]


@dataclasses.dataclass(frozen=True)
class Model:
    """A compiled model: the folder with ``Vtop.h``, and the archives to link, in order."""

    include: Path
    archives: tuple[Path, ...]


class _Steps:
    """Counts finished steps and reports them, from any thread."""

    def __init__(self, total: int, progress: Progress | None):
        self._done, self._total, self._progress = 0, total, progress
        self._lock = threading.Lock()

    def finish(self, stage: str) -> None:
        with self._lock:
            self._done += 1
            if self._progress is not None:
                self._progress(stage, self._done, self._total)


def build_model(
    texts: Mapping[str, str],
    options: Options,
    *,
    jobs: int,
    progress: Progress | None = None,
) -> Model:
    """Model of the module ``top`` of ``texts`` (module name → Verilog text).

    Raises
    ------
    hpu.sim.verilator.BuildError
        When a tool is missing or fails.
    """
    if options.flat:
        texts = {"top": "\n".join(texts.values())}
    return _Builder(texts, options, jobs, _Steps(2 * len(texts), progress)).build()


class _Builder:
    def __init__(self, texts: Mapping[str, str], options: Options, jobs: int, steps: _Steps):
        self._texts, self._options, self._jobs, self._steps = texts, options, jobs, steps
        self._children = {name: _children(name, texts) for name in texts}
        self._keys: dict[str, str] = {}
        for name in reversed(_topological(self._children)):
            self._keys[name] = self._key(name)

    def _key(self, name: str) -> str:
        below = [self._keys[child] for child in self._children[name]]
        source = Path(__file__).read_bytes()
        return verilator.key_of([name, self._texts[name], source, *self._options.key, *below])

    def build(self) -> Model:
        futures: dict[str, Future[Path]] = {}
        # Children are submitted before their parents, so a waiting parent never starves them.
        with ThreadPoolExecutor(self._jobs) as pool:
            for name in reversed(_topological(self._children)):
                below = [futures[child] for child in self._children[name]]
                futures[name] = pool.submit(self._block, name, below)
            folders = {name: future.result() for name, future in futures.items()}
        order = [folders[name] / "obj" / _archive(name) for name in _topological(self._children)]
        return Model(folders["top"] / "obj", tuple(order))

    def _block(self, name: str, below: list[Future[Path]]) -> Path:
        folders = [future.result() for future in below]
        wrappers = [
            folder / "obj" / f"{child}.sv"
            for child, folder in zip(self._children[name], folders, strict=True)
        ]
        folder = verilator.cached(
            "block", self._keys[name], lambda work: self._translate(work, name, wrappers)
        )
        self._steps.finish(f"compiled {name}")
        return folder

    def _translate(self, work: Path, name: str, wrappers: list[Path]) -> None:
        source = work / f"{name}.v"
        source.write_text(self._texts[name])
        arguments = [*self._options.verilator_flags, "--top-module", name, "--prefix", f"V{name}"]
        arguments += ["-Mdir", str(work / "obj"), "-CFLAGS", " ".join(self._options.cxx_flags)]
        if name != "top":
            arguments += ["--lib-create", name]
        verilator.run_verilator([*arguments, *wrappers, source], cwd=work)
        self._steps.finish(f"translated {name}")
        verilator.run_make(
            f"V{name}.mk",
            cwd=work / "obj",
            jobs=self._jobs,
            targets=[_archive(name)],
            VK_GLOBAL_OBJS="",
            OPT_FAST=self._options.optimise,
            OPT_SLOW="-O0",
        )
        _remove_objects(work / "obj")


def _remove_objects(folder: Path) -> None:
    for pattern in ("*.o", "*.gch", "*.d"):
        for path in folder.glob(pattern):
            path.unlink()


def _archive(name: str) -> str:
    return "Vtop__ALL.a" if name == "top" else f"lib{name}.a"


def _children(name: str, texts: Mapping[str, str]) -> list[str]:
    """Blocks that the text of ``name`` instantiates: lines ``  block label (``."""
    used = set(re.findall(r"^\s+(\w+) \S+\s+\($", texts[name], re.MULTILINE))
    return [other for other in texts if other in used and other != name]


def _topological(children: Mapping[str, list[str]]) -> list[str]:
    """Every block before the blocks that it instantiates."""
    order: list[str] = []

    def visit(name: str) -> None:
        if name not in order:
            for child in children[name]:
                visit(child)
            order.append(name)

    for name in children:
        visit(name)
    return order[::-1]
