"""The machine as synthesis left it: a netlist of an FPGA's cells under Verilator."""

import json
import re
from pathlib import Path

from hpu.hw.config import Config
from hpu.hw.fpga_tools import run, share, version
from hpu.sim import rtl, verilator
from hpu.sim.model import Options, Progress, build_model, default_jobs

__all__ = ["build", "cells", "synthesise"]

_HERE = Path(__file__).resolve().parent
#: Models of what Yosys has only black boxes for.
_MODELS = _HERE / "ecp5_cells.v"
_PRODUCTS = _HERE.parent / "hw" / "boards" / "multiply_ecp5.v"


def synthesise(config: Config, *, lut_products: int = 0, progress: Progress | None = None) -> str:
    """Verilog of ``top``, the machine of ``config`` in cells of the ECP5; kept by content.

    ``lut_products`` is that of :class:`hpu.hw.boards.board.Board`.

    Raises
    ------
    hpu.hw.fpga_tools.FpgaBuildError
        When Yosys is missing or fails.
    """
    source = "\n".join(rtl.texts(config, progress).values())
    script = _script(lut_products)
    key = verilator.key_of([source, script, _PRODUCTS.read_bytes(), version("yosys")])

    def make(work: Path) -> None:
        if progress is not None:
            progress("synthesis", 0, 1)
        (work / "machine.v").write_text(source)
        (work / _PRODUCTS.name).write_text(_PRODUCTS.read_text())
        (work / "machine.ys").write_text(script)
        run("yosys", ["-q", "machine.ys"], cwd=work, log="yosys.log")

    return (verilator.cached("netlist", key, make) / "netlist.v").read_text()


def _script(lut_products: int) -> str:
    lines = ["read_verilog machine.v", "hierarchy -top top"]
    if lut_products:
        lines.append(f"select -set products tile/t:$mul %R{lut_products}")
        lines.append(f"techmap -map {_PRODUCTS.name} @products")
    lines += ["synth_ecp5 -top top", "write_verilog -noattr netlist.v"]
    return "\n".join(lines) + "\n"


def cells() -> str:
    """Models of every cell of a netlist: Yosys's own, and ours of its black boxes."""
    text = share("ecp5/cells_sim.v").read_text()
    for _ in range(2):
        text = re.sub(r'^`include "(\w+\.vh)"', _included, text, flags=re.MULTILINE)
    box = re.compile(r"\(\* blackbox \*\)\s*module DP16KD\(.*?endmodule", re.DOTALL)
    return box.sub("", text) + _MODELS.read_text()


def _included(found: re.Match) -> str:
    if found[1] in ("cells_ff.vh", "cells_io.vh"):
        return ""  # other spellings of the same cells
    return share(f"ecp5/{found[1]}").read_text()


def build(
    config: Config,
    *,
    lut_products: int = 0,
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Path:
    """Library of the netlist, which runs wherever that of the RTL does.

    Raises
    ------
    hpu.hw.fpga_tools.FpgaBuildError, hpu.sim.verilator.BuildError
        When a tool is missing or a build fails.
    """
    top = synthesise(config, lut_products=lut_products, progress=progress)
    texts = {"top": top, "cells": cells()}
    options = Options(flat=True, optimise="-O1")
    key = verilator.key_of([json.dumps(texts), rtl.HARNESS.read_bytes(), str(options.key)])

    def make(work: Path) -> None:
        model = build_model(texts, options, jobs=jobs or default_jobs(), progress=progress)
        rtl.link(work, model, rtl.ports(config, top), options)

    return verilator.cached("netlist-machine", key, make) / "libhpu.so"
