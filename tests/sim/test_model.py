import subprocess

import pytest

from hpu.sim import verilator
from hpu.sim.model import Options, build_model

LEAF = """
module leaf(clk, i, o);
  input clk;
  wire clk;
  input [7:0] i;
  wire [7:0] i;
  output [7:0] o;
  reg [7:0] o;
  always @(posedge clk) o <= i + STEP;
endmodule
"""
MIDDLE = """
module middle(clk, i, o);
  input clk;
  wire clk;
  input [7:0] i;
  wire [7:0] i;
  output [7:0] o;
  wire [7:0] o;
  wire [7:0] between;
  leaf a (
    .clk(clk),
    .i(i),
    .o(between)
  );
  leaf \\b.c  (
    .clk(clk),
    .i(between),
    .o(o)
  );
endmodule
"""
TOP = MIDDLE.replace("module middle", "module top").replace("leaf", "middle")
MAIN = r"""
#include <cstdio>
#include "Vtop.h"
int main() {
    VerilatedContext context;
    Vtop top{&context};
    for (int cycle = 0; cycle < 8; cycle++) {
        top.i = 10 * cycle;
        top.clk = 0; top.eval();
        top.clk = 1; top.eval();
        std::printf("%d ", top.o);
    }
}
"""
DEFINES = ["-DVERILATOR=1", "-DVM_COVERAGE=0", "-DVM_SC=0", "-DVM_TIMING=0", "-DVM_TRACE=0"]


def texts(step):
    return {"top": TOP, "middle": MIDDLE, "leaf": LEAF.replace("STEP", str(step))}


def run(model, folder):
    (folder / "main.cpp").write_text(MAIN)
    include = verilator.root() / "include"
    places = [f"-I{path}" for path in (model.include, include, include / "vltstd")]
    flags = ["-std=gnu++17", *DEFINES]
    command = ["g++", *flags, *places, "main.cpp", *model.archives, verilator.library(flags)]
    verilator.run([*command, "-lpthread", "-o", "main"], cwd=folder)
    done = subprocess.run([folder / "main"], capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


@pytest.mark.parametrize("flat", [False, True])
def test_blocks_within_blocks_delay_and_add(tmp_path, flat):
    values = run(build_model(texts(3), Options(optimise="-O0", flat=flat), jobs=2), tmp_path)
    assert values[3:] == [10 * cycle + 4 * 3 for cycle in range(5)]


@pytest.mark.slow
def test_change_rebuilds_the_block_and_what_contains_it_only(tmp_path, monkeypatch):
    monkeypatch.setenv("HPU_CACHE", str(tmp_path))
    other = LEAF.replace("module leaf", "module other").replace("STEP", "7")
    top = TOP.replace("middle \\b.c ", "other \\b.c ")
    steps = []

    def build(step):
        steps.clear()
        sources = {**texts(step), "top": top, "other": other}
        return build_model(
            sources, Options(optimise="-O0"), jobs=2, progress=lambda *step: steps.append(step)
        )

    build(1)
    assert {stage for stage, *_ in steps} == {
        f"{what} {name}" for what in ("translated", "compiled") for name in texts(1) | {"other": 0}
    }
    assert steps[-1][1:] == (8, 8)
    model = build(2)
    assert "translated leaf" in [stage for stage, *_ in steps]
    assert "translated other" not in [stage for stage, *_ in steps]
    assert run(model, tmp_path)[2:] == [10 * cycle + 2 * 2 + 7 for cycle in range(6)]
