"""The functional machine against a twin that executes one element at a time."""

import dataclasses

import numpy as np
import pytest

from hpu.hw import csr
from hpu.hw.assembler import assemble
from hpu.hw.config import Config, by_name
from hpu.hw.csr import FaultCause
from hpu.hw.isa import BY_OPCODE, Space
from hpu.sim import numerics, races
from hpu.sim.functional import Machine
from hpu.sim.random_program import random_program

LAB = by_name("lab-16")
WIDE = dataclasses.replace(
    LAB, name="wide", rows=8, cols=24, tile=8, group=4, axi_bytes=8, ub_depth=256, acc_depth=64
)
TALL = dataclasses.replace(
    LAB, name="tall", rows=32, cols=8, tile=4, group=8, axi_bytes=16, ub_depth=384, ub_segments=3
)
CONFIGS = [LAB, WIDE, TALL]


class Naive:
    """docs/machine.md, sentence by sentence, for legal programs, on Python integers."""

    def __init__(self, config: Config, dram: np.ndarray):
        self.c = config
        self.dram = [int(byte) for byte in dram.view(np.int8)]
        self.ub = [[0] * config.lanes for _ in range(config.ub_depth)]
        self.acc = [[0] * config.cols for _ in range(config.acc_depth)]
        self.params = [[0] * config.cols for _ in range(8 * config.param_sets)]
        self.tables = [[0] * config.cols for _ in range(256 * config.tables)]
        self.fifo: list[list[list[int]]] = []
        self.present = [[0] * config.cols for _ in range(config.rows)]
        self.counters = dict.fromkeys(csr.FUNCTIONAL_COUNTERS, 0)

    def run(self, instructions: bytes) -> None:
        """One after another; MATMULs whose tile comes later wait, as their unit's queue does."""
        waiting = []
        for start in range(0, len(instructions), 128):
            data = instructions[start : start + 128]
            waiting.append(BY_OPCODE[data[0]].decode(data))
        tokens = {}
        done = [False] * len(waiting)
        while not all(done):
            index = next(i for i in range(len(waiting)) if self.can_start(i, waiting, done, tokens))
            self.execute(waiting[index], tokens)
            done[index] = True

    def can_start(self, index, program, done, tokens) -> bool:
        v = program[index]
        unit = BY_OPCODE[v["opcode"]].unit
        older = [i for i in range(index) if program[i]["opcode"] == v["opcode"] and not done[i]]
        if done[index] or older:
            return False
        if any(v["wait"] >> u & 1 and not tokens.get((u, unit), 0) for u in range(5)):
            return False
        if v["opcode"] == 2:
            return len(self.fifo) < self.c.weight_tiles + 1
        return not v.get("new_weights") or len(self.fifo) > 0

    def execute(self, v, tokens) -> None:
        unit = BY_OPCODE[v["opcode"]].unit
        getattr(self, BY_OPCODE[v["opcode"]].name.lower())(v)
        self.counters[f"{BY_OPCODE[v['opcode']].name}_COUNT"] += 1
        for u in range(5):
            tokens[u, unit] = tokens.get((u, unit), 0) - (v["wait"] >> u & 1)
            tokens[unit, u] = tokens.get((unit, u), 0) + (v["signal"] >> u & 1)

    def elements(self, v):
        for n in range(v["n_count"]):
            for y in range(v["y_count"]):
                for x in range(v["x_count"]):
                    yield n, y, x

    def row(self, v, n, y, x) -> int:
        pitch = self.c.pitch_chunks(v["width"]) * self.c.group
        return v["dram"] + n * v["dram_n"] + y * v["dram_y"] + x * pitch

    def word(self, v, prefix, n, y, x) -> int:
        address = v[f"{prefix}_base"] + n * v[f"{prefix}_n"] + y * v[f"{prefix}_y"]
        return (address + x * v[f"{prefix}_x"]) % 2**24

    def load(self, v) -> None:
        memory = {Space.UB: self.ub, Space.PARAM: self.params, Space.TABLE: self.tables}
        group = self.c.group
        for n, y, x in self.elements(v):
            self.counters["LOAD_ROWS"] += 1
            target = memory[v["space"]][self.word(v, "d", n, y, x)]
            for copy in range(v["copies"]):
                for i in range(v["width"] * group):
                    lane = (v["group"] + copy * v["width"]) * group + i
                    if lane < len(target):
                        target[lane] = self.dram[self.row(v, n, y, x) + i]

    def weights(self, v) -> None:
        self.counters["WEIGHTS_ROWS"] += v["rows"]
        tile = [[0] * self.c.cols for _ in range(self.c.rows)]
        pitch = self.c.pitch_chunks(v["width"]) * self.c.group
        for r in range(v["rows"]):
            for i in range(v["width"] * self.c.group):
                buffered = v["source"] == 1
                tile[r][i] = (
                    self.ub[v["a_base"] + r][i]
                    if buffered
                    else self.dram[v["dram"] + r * pitch + i]
                )
        self.fifo.append(tile)

    def matmul(self, v) -> None:
        if v["new_weights"]:
            self.present = self.fifo.pop(0)
        for i, (n, y, x) in enumerate(self.elements(v)):
            row, useful = self.activations(v, n, y, x)
            self.counters["MATRIX_USEFUL" if useful else "MATRIX_PADDING"] += 1
            for c in range(self.c.cols):
                total = sum(row[r] * self.present[r][c] for r in range(self.c.rows) if row[r])
                if v["accumulate"]:
                    total += self.acc[v["acc"] + i][c]
                self.acc[v["acc"] + i][c] = wrap(total)

    def activations(self, v, n, y, x):
        row, useful = [], False
        for g in range(self.c.row_groups):
            t = g // v["tap_groups"]
            if t >= v["taps"]:
                row += [0] * self.c.group
                continue
            dy, dx = v[f"dy{t}"], v[f"dx{t}"]
            iy = v["y0"] + y * v["y_step"] + dy
            ix = v["x0"] + x * v["x_step"] + dx
            offset = dy * v["tap_y"] + dx * v["tap_x"]
            if 0 <= iy < v["image_rows"] and 0 <= ix < v["image_cols"]:
                word = self.ub[(self.word(v, "a", n, y, x) + offset) % 2**24]
                row += word[g * self.c.group : (g + 1) * self.c.group]
                useful = True
            else:
                row += [v["pad"]] * self.c.group
        return row, useful

    def vector(self, v) -> None:
        results = []
        for i, (n, y, x) in enumerate(self.elements(v)):  # legal: no element reads an earlier one's
            results.append([self.result(v, i, n, y, x, c) for c in range(self.c.cols)])
        for result, (n, y, x) in zip(results, self.elements(v), strict=True):
            self.counters["VECTOR_WORDS"] += 1
            target = self.ub[self.word(v, "d", n, y, x)]
            for j in range(v["d_width"] * v["d_copies"]):
                source = (v["s_group"] + j % v["d_width"]) * self.c.group
                for k in range(self.c.group):
                    target[(v["d_group"] + j) * self.c.group + k] = result[source + k]

    def result(self, v, i, n, y, x, c) -> int:
        wide = self.acc[v["a_base"] + i][c] if v["source"] == 0 else self.window(v, n, y, x, c)
        s = min(max(wide, -128), 127)
        if v["requantise"]:
            p = [self.params[8 * v["params"] + k][c] & 255 for k in range(8)]
            bias = p[0] | p[1] << 8 | p[2] << 16 | p[3] << 24
            mantissa = p[4] | p[5] << 8 | p[6] << 16
            s = numerics.requantise_integer(wrap(wide + bias), mantissa, p[7], v["zero"])
        if v["operand"]:
            b = self.ub[self.word(v, "b", n, y, x)][c]
            s, b = s - v["s_zero"], b - v["b_zero"]
            total = s * v["s_mult"] + b * v["b_mult"]
            total = s * b * v["s_mult"] if v["operand"] == 2 else total
            s = min(max(nearest_even(total, v["shift"]) + v["out_zero"], -128), 127)
        s = min(max(s, v["low"]), v["high"])
        return self.tables[256 * v["table"] + (s & 255)][c] if v["use_table"] else s

    def window(self, v, n, y, x, c) -> int:
        found = []
        for ky in range(v["ky_count"]):
            for kx in range(v["kx_count"]):
                iy = v["y0"] + y * v["y_step"] + ky * v["y_dilation"]
                ix = v["x0"] + x * v["x_step"] + kx * v["x_dilation"]
                if 0 <= iy < v["image_rows"] and 0 <= ix < v["image_cols"]:
                    address = self.word(v, "a", n, y, x) + ky * v["a_ky"] + kx * v["a_kx"]
                    tap = self.ub[address % 2**24][c] - v["a_zero"]
                    row = 8 * v["weights"] + ky * v["kx_count"] + kx
                    weight = wrap(int(self.params[row][c]) << 24) >> 24 if v["reduce"] == 3 else 1
                    found.append(tap * weight)
        return max(found, default=-255) if v["reduce"] == 1 else sum(found)

    def store(self, v) -> None:
        for n, y, x in self.elements(v):
            self.counters["STORE_ROWS"] += 1
            word = self.ub[self.word(v, "a", n, y, x)]
            for i in range(v["width"] * self.c.group):
                self.dram[self.row(v, n, y, x) + i] = word[v["group"] * self.c.group + i]


def wrap(value: int) -> int:
    """Modulo 2**32, signed."""
    return (value + 2**31) % 2**32 - 2**31


def nearest_even(value: int, shift: int) -> int:
    """value / 2**shift; Python's round of a quotient of this size is exact and ties to even."""
    return round(value / 2**shift)


def run_both(config: Config, seed: int, length: int = 25) -> tuple[Machine, Naive, object]:
    program = random_program(config, seed, length)
    machine = Machine(config, program.dram.size)
    machine.dram[:] = program.dram
    naive = Naive(config, program.dram)
    races.check(program.instructions, config)
    outcome = machine.run(program.program_address, program.count)
    naive.run(program.instructions)
    return machine, naive, outcome


@pytest.mark.parametrize("config", CONFIGS, ids=lambda c: c.name)
@pytest.mark.parametrize("seed", range(12))
def test_random_programs_as_the_twin(config: Config, seed: int):
    machine, naive, outcome = run_both(config, seed)
    print("seed", seed)
    assert outcome.cause == FaultCause.NONE
    for name in ("ub", "acc", "tables"):
        np.testing.assert_array_equal(getattr(machine, name), getattr(naive, name), err_msg=name)
    np.testing.assert_array_equal(machine.params.view(np.int8), naive.params)
    np.testing.assert_array_equal(machine.dram.view(np.int8), naive.dram)
    assert outcome.counters == naive.counters


def load(machine: Machine, text: str, address: int = 0) -> int:
    """Put a program into DRAM; the number of its instructions."""
    data = assemble(text, machine.config)
    machine.dram[address : address + len(data)] = np.frombuffer(data, np.uint8)
    return len(data) // 128


ONE = "n_count=1 y_count=1 x_count=1"
WINDOW = "ky_count=1 kx_count=1 image_rows=1 image_cols=1"


def test_empty_window_of_maximum_is_minus_255():
    machine = Machine(LAB, 8192)
    record = np.zeros((8, 16), np.uint8)
    record[4:7] = np.frombuffer((1 << 23).to_bytes(3, "little"), np.uint8)[:, None]
    record[7] = 25  # a quarter
    machine.dram[4096 : 4096 + 128] = record.ravel()
    count = load(
        machine,
        "LOAD n_count=1 y_count=1 x_count=8 dram=4096 space=PARAM width=4 copies=1 d_x=1\n"
        f"VECTOR {ONE} {WINDOW} source=UB reduce=MAX requantise=1 y0=5 low=-128 high=127 "
        "d_width=4 d_copies=1 d_base=3\n",
    )
    assert machine.run(0, count).cause == FaultCause.NONE
    assert (machine.ub[3] == -64).all()


def test_a_program_runs_again_on_other_data_and_memories_stay():
    machine = Machine(LAB, 8192)
    count = load(
        machine,
        f"LOAD signal=store {ONE} dram=4096 width=4 copies=1 d_base=9\n"
        f"STORE wait=load {ONE} dram=4224 width=4 a_base=9\n",
    )
    for value in (3, 7):
        machine.dram[4096:4112] = value
        assert machine.run(0, count).counters["LOAD_ROWS"] == 1
        assert (machine.dram[4224:4240] == value).all()
    machine.run(0, 0)
    assert (machine.ub[9] == 7).all()


def test_tile_of_the_last_program_stays_and_the_fifo_empties():
    machine = Machine(LAB, 8192)
    machine.dram[4096:4112] = 2
    matmul = f"MATMUL {ONE} image_rows=1 image_cols=1 taps=1 tap_groups=4 y0=-1 pad=1"
    weights = "WEIGHTS dram=4096 rows=1 width=4\n"
    machine.run(0, load(machine, f"{weights}{weights}{matmul} new_weights=1"))
    machine.run(0, load(machine, f"{matmul} acc=5"))
    assert (machine.acc[5] == 2).all()
    outcome = machine.run(0, load(machine, f"{matmul} new_weights=1"))
    assert (outcome.cause, outcome.pc) == (FaultCause.DEADLOCK, 0)
    machine.run(0, load(machine, weights))
    machine.dram[4096:4112] = 3
    machine.run(0, load(machine, f"{weights}{matmul} new_weights=1 acc=6"))
    assert (machine.acc[6] == 3).all()


def test_plans_of_old_programs_are_forgotten():
    machine = Machine(LAB, 8192)
    for base in range(40):
        machine.dram[4096:4112] = base
        count = load(machine, f"LOAD {ONE} dram=4096 width=4 copies=1 d_base={base}")
        machine.run(0, count)
    assert machine.ub[:40, 0].tolist() == list(range(40))
    assert len(machine._plans) == 8
