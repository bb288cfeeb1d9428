"""The netlist's cells beside plain Verilog, and the machine of a netlist beside the functional."""

import random
import re
import subprocess
from pathlib import Path

import numpy as np
import pytest
from tests.sim.test_rtl import compare

from hpu.hw.config import by_name
from hpu.hw.fpga_tools import run
from hpu.runtime.devices import FunctionalDevice, RtlDevice
from hpu.runtime.execution import Executor
from hpu.runtime.source import compile_package, only_program
from hpu.sim import netlist, rtl, verilator
from hpu.sim.functional import Machine

PRODUCTS = Path(netlist.__file__).parents[1] / "hw" / "boards" / "multiply_ecp5.v"
SMALL = by_name("tang-primer-20k")
SEED = random.SystemRandom().randrange(1 << 31)
MAIN = """
#include "Vtop.h"
#include <cstdio>
#include <cstdlib>
int main(int, char** arguments) {
    Vtop top;
    top.seed = std::strtoul(arguments[2], nullptr, 10);
    for (long cycle = 2 * std::strtol(arguments[1], nullptr, 10); cycle; --cycle) {
        top.clk = cycle & 1;
        top.eval();
    }
    std::printf("%u", top.wrong);
}
"""
PRODUCT_TOP = """
module top (input clk, input [31:0] seed, output reg [31:0] wrong);
    reg [15:0] n = 0;
    initial wrong = 0;
    wire signed [7:0] a = n[15:8], b = n[7:0];
    wire signed [15:0] right = a * b;
    wire [15:0] exact;
    wire [19:0] wide;
    soft_multiply #(.Y_WIDTH(16)) narrow (.A(a), .B(b), .Y(exact));
    soft_multiply #(.A_WIDTH(9), .B_WIDTH(10), .Y_WIDTH(20)) extended
        (.A({a[7], a}), .B({{2{b[7]}}, b}), .Y(wide));
    always @(posedge clk) begin
        n <= n + 1;
        if (exact !== right || wide !== {{4{right[15]}}, right}) wrong <= wrong + 1;
    end
endmodule
"""


def simulate(folder: Path, text: str, cycles: int, seed: int = 0) -> int:
    """Wrong results that module ``top`` of ``text`` counts in so many cycles."""
    (folder / "top.v").write_text(text)
    (folder / "main.cpp").write_text(MAIN)
    flags = ["--cc", "--exe", "--no-timing", "-Wno-fatal", "-Wno-lint", "--top-module", "top"]
    verilator.run_verilator([*flags, "-Mdir", "obj", "top.v", "main.cpp"], cwd=folder)
    verilator.run_make("Vtop.mk", cwd=folder / "obj", jobs=2, OPT_FAST="-O1")
    words = [folder / "obj" / "Vtop", str(cycles), str(seed)]
    return int(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def test_every_product_in_luts(tmp_path):
    text = PRODUCTS.read_text() + netlist.cells() + PRODUCT_TOP
    assert simulate(tmp_path, text, 1 << 16) == 0
    broken = text.replace("wire inverse = ~(", "wire inverse = (")
    assert simulate(tmp_path, broken, 1 << 16) > 1000


#: Width, words and bits for each write enable of a memory.
MEMORIES = ((1, 16384, 1), (2, 8192, 2), (4, 4096, 4), (9, 2048, 9), (18, 1024, 9), (36, 512, 9))
#: Width and sign of both factors.
PRODUCTS_OF = ((18, 18, True), (9, 9, True), (17, 12, True), (18, 18, False), (32, 18, True))


def memory_of(width: int, words: int, part: int) -> str:
    """A memory with a port to read and one to write, each bit where ``initial`` puts it."""
    bits, parts = (words - 1).bit_length(), width // part
    writes = "\n".join(
        f"        if (we[{k}]) mem[wa][{part * k} +: {part}] <= wd[{part * k} +: {part}];"
        for k in range(parts)
    )
    return f"""
module memory_{width} (input clk, input re, input [{parts - 1}:0] we, input [{bits - 1}:0] ra, wa,
                       input [{width - 1}:0] wd, output reg [{width - 1}:0] rd);
    (* ram_style = "block" *) reg [{width - 1}:0] mem [0:{words - 1}];
    integer k;
    initial begin
        rd = 0;
        for (k = 0; k < {words}; k = k + 1) mem[k] = k * 40503 + (k >> 3);
    end
    always @(posedge clk) begin
{writes}
        if (re) rd <= mem[ra];
    end
endmodule
"""


def parts_of() -> tuple[str, int]:
    """Module ``parts``, of all memories and products, and the bits of its output."""
    lines, outputs, total = [], [], 0
    for width, words, part in MEMORIES:
        bits = (words - 1).bit_length()
        lines += [
            f"    wire [{width - 1}:0] rd_{width};",
            f"    memory_{width} m_{width} (.clk(clk), .re(x[0]), .we(x[{width // part}:1]),",
            # Few addresses, so that words are read that have been written, in the same cycle too.
            f"        .ra({{x[15:12], {{{bits - 8}{{x[16]}}}}, x[20:17]}}),",
            f"        .wa({{x[24:21], {{{bits - 8}{{x[16]}}}}, x[28:25]}}),",
            f"        .wd(x[{31 + width}:32]), .rd(rd_{width}));",
        ]
        outputs.append(f"rd_{width}")
        total += width
    for number, (left, right, signed) in enumerate(PRODUCTS_OF):
        kind = "signed " if signed else ""
        lines += [
            f"    wire {kind}[{left - 1}:0] a_{number} = x[{left - 1}:0];",
            f"    wire {kind}[{right - 1}:0] b_{number} = x[{left + right - 1}:{left}];",
            f"    wire {kind}[{left + right - 1}:0] p_{number} = a_{number} * b_{number};",
        ]
        outputs.append(f"p_{number}")
        total += left + right
    ports = f"module parts (input clk, input [95:0] x, output [{total - 1}:0] y);"
    memories = "".join(memory_of(*shape) for shape in MEMORIES)
    body = [*lines, f"    assign y = {{{', '.join(outputs)}}};"]
    return memories + "\n".join([ports, *body, "endmodule\n"]), total


CELLS_TOP = """
module top (input clk, input [31:0] seed, output reg [31:0] wrong);
    reg [95:0] x = 0;
    reg started = 0;
    initial wrong = 0;
    wire [TOTAL-1:0] plain, cells;
    parts of_verilog (.clk(clk), .x(x), .y(plain));
    parts_net of_cells (.clk(clk), .x(x), .y(cells));
    function [95:0] next(input [95:0] state);
        integer k;
        begin  // a shift register of 96 bits, many steps on
            next = state;
            for (k = 0; k < 61; k = k + 1)
                next = {next[94:0], next[95] ^ next[93] ^ next[48] ^ next[46]};
        end
    endfunction
    always @(posedge clk) begin
        started <= 1;
        x <= started ? next(x) : {~seed, seed, seed ^ 32'h5a5a5a5a};
        if (started && plain !== cells) wrong <= wrong + 1;
    end
endmodule
"""


@pytest.mark.slow
def test_block_ram_and_multipliers(tmp_path):
    """What yosys makes of memories of every width, and of products, beside the plain Verilog."""
    plain, total = parts_of()
    (tmp_path / "parts.v").write_text(plain)
    script = "read_verilog parts.v; synth_ecp5 -top parts; rename parts parts_net; "
    script += "write_verilog -noattr net.v"
    run("yosys", ["-q", "-p", script], cwd=tmp_path, log="yosys.log")
    net = (tmp_path / "net.v").read_text()
    assert len(re.findall(r"^  DP16KD ", net, re.M)) == len(MEMORIES)
    assert len(re.findall(r"^  MULT18X18D ", net, re.M)) >= len(PRODUCTS_OF)
    text = plain + net + netlist.cells() + CELLS_TOP.replace("TOTAL", str(total))
    assert simulate(tmp_path, text, 100_000, SEED) == 0, f"seed {SEED}"
    broken = text.replace("SIGNEDA & a[17]", "SIGNEDB & a[17]").replace(
        "out_b <= old_b", "out_b <= 0"
    )
    assert simulate(tmp_path, broken, 1000, SEED) > 100, f"seed {SEED}"


@pytest.fixture(scope="module")
def library() -> Path:
    """The machine of the least board, in cells of the ECP5."""
    return netlist.build(SMALL)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_random_programs_on_the_netlist(library):
    size = 1 << SMALL.addr_bits
    device = rtl.Simulation(
        library,
        dram_bytes=size,
        bytes_per_cycle=SMALL.dram_bytes_per_cycle,
        latency=SMALL.dram_latency,
    )
    device.dram_bytes = size
    machine = Machine(SMALL, size)
    for index in range(6):
        compare(device, machine, SEED + index, (10, 40, 80)[index % 3])
    device.close()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_network_on_the_netlist(library, quantised, inputs):
    program = only_program(compile_package(quantised, config=SMALL, force_hpu=True, batch=1))
    devices = RtlDevice(SMALL, library=library), FunctionalDevice(SMALL)
    results = []
    for device in devices:
        executor = Executor(SMALL, device)
        results.append([executor.run(program, {"x": inputs[k : k + 1]})["y"] for k in range(2)])
        executor.close()
    assert np.array_equal(*results)
    assert not np.array_equal(results[0][0], results[0][1])
