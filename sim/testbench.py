"""Running a cocotb module against a component's Verilog under Verilator."""

import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import cocotb_tools.config
import find_libpython
from amaranth.lib import wiring
from cocotb_tools.check_results import get_results

from hpu.hw import emit
from hpu.sim import verilator

__all__ = ["parameters", "simulate"]

_PARAMETERS = "HPU_TEST_PARAMETERS"
_LOG_LINES = 80
_DEFINES = ("VERILATOR=1", "VM_COVERAGE=0", "VM_SC=0", "VM_TIMING=0", "VM_TRACE=0")
_CXX = ("-Os", "-std=gnu++17", *(f"-D{define}" for define in _DEFINES))


def simulate(
    component: wiring.Component,
    *,
    test_file: Path | str,
    parameters: Mapping[str, Any] | None = None,
    seed: int | None = None,
) -> None:
    """Run every cocotb test of ``test_file`` against ``component``.

    The toplevel is ``top`` with clock ``clk`` and synchronous reset ``rst``; only its ports are
    visible. ``parameters``, made of what JSON holds, reach the module through :func:`parameters`.
    ``seed`` (also settable as ``COCOTB_RANDOM_SEED``) seeds Python's ``random`` in it; without one
    it is drawn anew.

    Raises
    ------
    AssertionError
        With the seed and the end of the log, when a test fails or there is none.
    hpu.sim.verilator.BuildError
        When the component does not build.
    """
    test_file = Path(test_file).resolve()
    program = build(component) / "simulation"
    chosen = seed if seed is not None else int(os.environ.get("COCOTB_RANDOM_SEED", _draw()))
    with tempfile.TemporaryDirectory(prefix="hpu-cocotb-") as folder:
        results = Path(folder) / "results.xml"
        settings = _settings(test_file, results, chosen, parameters or {})
        _run(program, Path(folder), results, settings, f"{test_file.name}, seed {chosen}")


def parameters() -> dict[str, Any]:
    """What :func:`simulate` was given as ``parameters``; for use inside the cocotb module."""
    return json.loads(os.environ.get(_PARAMETERS, "{}"))


def _draw() -> int:
    return random.SystemRandom().randrange(1 << 31)


def _settings(
    test_file: Path, results: Path, seed: int, values: Mapping[str, Any]
) -> dict[str, str]:
    interpreter = find_libpython.find_libpython()
    if interpreter is None:
        raise verilator.BuildError(
            "libpython must be installed: run apt-get install libpython3-dev"
        )
    return {
        **verilator.environment(),
        "COCOTB_TOPLEVEL": "top",
        "TOPLEVEL_LANG": "verilog",
        "COCOTB_TEST_MODULES": test_file.stem,
        "COCOTB_RESULTS_FILE": str(results),
        "COCOTB_RANDOM_SEED": str(seed),
        "COCOTB_TRUST_INERTIAL_WRITES": "1",
        "GPI_USERS": f"{interpreter};{cocotb_tools.config.pygpi_entry_point()}",
        "PYGPI_PYTHON_BIN": sys.executable,
        "PYTHONPATH": os.pathsep.join([str(test_file.parent), *filter(None, sys.path)]),
        _PARAMETERS: json.dumps(dict(values)),
    }


def _run(program: Path, folder: Path, results: Path, settings: dict[str, str], title: str) -> None:
    done = subprocess.run(
        [program],
        cwd=folder,
        env=settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    tests, failed = get_results(results) if results.exists() else (0, 0)
    if done.returncode or failed or not tests:
        tail = "\n".join(done.stdout.splitlines()[-_LOG_LINES:])
        raise AssertionError(
            f"{title}: {failed} of {tests} cocotb tests failed (exit {done.returncode})\n{tail}"
        )


def build(component: wiring.Component) -> Path:
    """Folder with the program ``simulation``: ``component`` under cocotb, built flat and cached."""
    texts = emit.verilog(component)
    control = _control(component, texts["top"])
    key = verilator.key_of([*_CXX, control, Path(__file__).read_bytes(), *_flatten(texts)])
    return verilator.cached("cocotb", key, lambda folder: _build(folder, texts, control))


def _flatten(texts: Mapping[str, str]) -> list[str]:
    return [word for item in texts.items() for word in item]


def _control(component: wiring.Component, text: str) -> str:
    """Verilator control file that shows cocotb the top's ports and nothing else."""
    ports = [name for name in ("clk", "rst") if f"input {name};" in text]
    ports += ["__".join(map(str, path)) for path, *_ in component.signature.flatten(component)]
    lines = [f'public_flat_rw -module "top" -var "{port}"' for port in ports]
    return "\n".join(["`verilator_config", *lines, ""])


def _build(folder: Path, texts: Mapping[str, str], control: str) -> None:
    (folder / "ports.vlt").write_text(control)
    sources = verilator.write_sources(texts, folder)
    main = cocotb_tools.config.share_dir / "lib" / "verilator" / "verilator.cpp"
    libraries = cocotb_tools.config.libs_dir
    arguments = ["--cc", "--exe", "--vpi", "--no-timing", "-Wno-fatal", "-Wno-lint", "-O3"]
    arguments += ["--x-assign", "fast", "--top-module", "top", "--prefix", "Vtop"]
    arguments += ["-Mdir", str(folder / "obj"), "-o", str(folder / "simulation")]
    arguments += ["-CFLAGS", "-Os -std=gnu++17"]
    arguments += ["-LDFLAGS", f"-Wl,-rpath,{libraries} -L{libraries} -lcocotbvpi_verilator"]
    verilator.run_verilator([*arguments, folder / "ports.vlt", main, *sources], cwd=folder)
    runtime = verilator.library(_CXX)
    verilator.run_make(
        "Vtop.mk",
        cwd=folder / "obj",
        jobs=2,
        VK_GLOBAL_OBJS="",
        USER_LDLIBS=f"{runtime} -lpthread",
        OPT_FAST="-O1",
    )
