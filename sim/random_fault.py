"""Random programs with one fault, and the cause and place that every device must report.

Each is a few sound instructions around one that is wrong in one way; it gives and takes no tokens,
so the rest runs as without it.
"""

import dataclasses
import random
import re
from collections.abc import Callable, Iterator
from itertools import compress

from hpu.hw.config import Config
from hpu.hw.csr import FaultCause
from hpu.hw.isa import (
    ADDRESS_MASK,
    BY_NAME,
    BY_OPCODE,
    INSTRUCTION_BYTES,
    INSTRUCTIONS,
    Field,
    Instruction,
    Opcode,
    Operand,
    Reduce,
    Rule,
    Source,
    Space,
    TileSource,
    Unit,
)
from hpu.sim.access import Box, count_of, loop, matmul_taps, tile_words, window_taps
from hpu.sim.random_instruction import Drawer, Values
from hpu.sim.random_program import RandomProgram, add_tokens, encode, place
from hpu.sim.schedule import MAX_TOKENS

__all__ = ["FaultyProgram", "faulty_programs"]


@dataclasses.dataclass(frozen=True)
class FaultyProgram:
    """A program that stops with ``cause`` at instruction ``pc``; ``what`` says what is wrong."""

    what: str
    program: RandomProgram
    cause: FaultCause
    pc: int


def faulty_programs(config: Config, seed: int) -> Iterator[FaultyProgram]:
    """One program for every way of being wrong; all of them differ with the seed."""
    yield from _illegal(config, seed)
    yield from _addresses(config, seed)
    yield from _beyond_dram(config, seed)
    yield _deadlock(config, seed)
    yield _dispatch_deadlock(config, seed)
    yield _starved(config, seed)
    yield _no_place(config, seed)
    yield _overflow(config, seed)


class _Setting:
    """Sound instructions before and after the wrong one."""

    def __init__(self, config: Config, seed: int, what: str):
        self.config, self.seed, self.what = config, seed, what
        self.rng = random.Random(f"{seed} {what}")
        self.drawer = Drawer(config, self.rng)
        self.body = [self.drawer.draw() for _ in range(self.rng.randint(2, 8))]
        add_tokens(self.body, self.drawer)
        self.pc = self.rng.randint(0, len(self.body))

    def draw(self, opcode: Opcode, fits: Callable[[Values], bool] = lambda _: True) -> Values:
        """A sound instruction for which ``fits`` holds; one that takes no weight tile."""
        self.drawer.tiles = 0
        while not fits(values := self.drawer.draw(opcode)):
            self.drawer.tiles = 0
        return values

    def with_values(self, values: Values, cause: FaultCause) -> FaultyProgram:
        """The program with the wrong instruction put in."""
        return self.with_bytes(BY_OPCODE[values["opcode"]].encode(values), cause)

    def with_bytes(self, data: bytes, cause: FaultCause) -> FaultyProgram:
        """The program with the wrong instruction's bytes put in."""
        before, after = encode(self.body[: self.pc]), encode(self.body[self.pc :])
        program = place(before + data + after, self.drawer, self.seed)
        return FaultyProgram(self.what, program, cause, self.pc)


# Illegal instructions


def _illegal(config: Config, seed: int) -> Iterator[FaultyProgram]:
    for opcode in (0, max(Opcode) + 1, 255):
        setting = _Setting(config, seed, f"opcode {opcode}")
        data = bytes([opcode]) + bytes(INSTRUCTION_BYTES - 1)
        yield setting.with_bytes(data, FaultCause.ILLEGAL_INSTRUCTION)
    for entry in INSTRUCTIONS:
        yield _stray_byte(config, seed, entry)
        for field in entry.fields[1:]:
            yield from _out_of_domain(config, seed, entry, field)
        for rule in entry.rules:
            yield from _broken_rule(config, seed, entry, rule)


def _stray_byte(config: Config, seed: int, entry: Instruction) -> FaultyProgram:
    setting = _Setting(config, seed, f"{entry.name} with a byte outside its fields")
    data = bytearray(entry.encode(setting.draw(entry.opcode)))
    used = {byte for f in entry.fields for byte in range(f.offset, f.offset + f.size)}
    stray = setting.rng.choice([byte for byte in range(INSTRUCTION_BYTES) if byte not in used])
    data[stray] = setting.rng.randint(1, 255)
    return setting.with_bytes(bytes(data), FaultCause.ILLEGAL_INSTRUCTION)


def _out_of_domain(
    config: Config, seed: int, entry: Instruction, field: Field
) -> Iterator[FaultyProgram]:
    low, high = field.bounds(config)
    for value in (low - 1, high + 1):
        try:
            field.encode(value)
        except ValueError:
            continue  # the type does not hold such a value
        setting = _Setting(config, seed, f"{entry.name} with {field.name}={value}")
        values = setting.draw(entry.opcode) | {field.name: value}
        yield setting.with_values(values, FaultCause.ILLEGAL_INSTRUCTION)


def _broken_rule(
    config: Config, seed: int, entry: Instruction, rule: Rule
) -> Iterator[FaultyProgram]:
    """Nothing when the configuration's bounds alone imply the rule."""
    setting = _Setting(config, seed, f"{entry.name} against: {rule.doc}")
    named = [field for field in entry.own if field.name in re.findall(r"\w+", rule.doc)]
    pool = named or entry.own
    for _ in range(4000):
        values = setting.draw(entry.opcode)
        for field in setting.rng.sample(pool, setting.rng.randint(1, min(2, len(pool)))):
            low, high = field.bounds(config)
            values[field.name] = setting.rng.choice([high, setting.rng.randint(low, high)])
        if [bool(other.broken(values, config)) for other in entry.rules] == [
            other is rule for other in entry.rules
        ]:
            yield setting.with_values(values, FaultCause.ILLEGAL_INSTRUCTION)
            return


# Addresses


def _addresses(config: Config, seed: int) -> Iterator[FaultyProgram]:
    """Every operand once with an address beyond its memory."""
    depths = {
        Space.UB: config.ub_depth,
        Space.PARAM: 8 * config.param_sets,
        Space.TABLE: 256 * config.tables,
    }
    for space, depth in depths.items():
        operand = _Operand(Opcode.LOAD, "d", depth, _loads(space))
        yield operand.fault(config, seed, f"LOAD to {space.name}")
    for opcode, prefix, used in _UB_OPERANDS:
        operand = _Operand(opcode, prefix, config.ub_depth, used)
        yield operand.fault(config, seed, f"{opcode.name} {prefix}")
    yield _beyond_accumulators(config, seed, Opcode.MATMUL, "acc")
    yield _beyond_accumulators(config, seed, Opcode.VECTOR, "a_base")


def _loads(space: Space) -> Callable[[Values], bool]:
    return lambda values: values["space"] == space


_UB_OPERANDS: tuple[tuple[Opcode, str, Callable[[Values], bool]], ...] = (
    (Opcode.WEIGHTS, "a", lambda v: v["source"] == TileSource.UB),
    (Opcode.MATMUL, "a", lambda v: any(matmul_taps(v))),
    (Opcode.STORE, "a", lambda v: True),
    (Opcode.VECTOR, "a", lambda v: v["source"] == Source.UB and any(window_taps(v))),
    (Opcode.VECTOR, "b", lambda v: v["operand"] != Operand.NONE),
    (Opcode.VECTOR, "d", lambda v: v["reduce"] != Reduce.MAX),
)


@dataclasses.dataclass(frozen=True)
class _Operand:
    """An operand of an instruction that addresses a memory of ``depth`` words."""

    opcode: Opcode
    prefix: str
    depth: int
    used: Callable[[Values], bool]

    def fault(self, config: Config, seed: int, what: str) -> FaultyProgram:
        """A program in which the operand's highest address is beyond the memory."""
        setting = _Setting(config, seed, f"{what} beyond its memory")
        values = setting.draw(self.opcode, self.used)
        values[f"{self.prefix}_base"] = 0
        highest = max(box.extent()[1] for box in self._boxes(values))
        beyond = self.depth + setting.rng.choice([0, 0, 1, 5])
        values[f"{self.prefix}_base"] = (beyond - highest) & ADDRESS_MASK
        return setting.with_values(values, FaultCause.ADDRESS)

    def _boxes(self, values: Values) -> list[Box]:
        if self.opcode == Opcode.WEIGHTS:
            return [tile_words(values)]
        if self.prefix == "a" and self.opcode == Opcode.MATMUL:
            return [tap.box for tap in matmul_taps(values)]
        if self.prefix == "a" and self.opcode == Opcode.VECTOR:
            return [tap.box for tap in window_taps(values)]
        return [loop(values, self.prefix)]


def _beyond_accumulators(config: Config, seed: int, opcode: Opcode, field: str) -> FaultyProgram:
    setting = _Setting(config, seed, f"{opcode.name} {field} beyond its memory")
    values = setting.draw(
        opcode, lambda v: v.get("source", Source.ACC) == Source.ACC and count_of(v) > 1
    )
    values[field] = config.acc_depth - setting.rng.randint(1, count_of(values) - 1)
    return setting.with_values(values, FaultCause.ADDRESS)


def _beyond_dram(config: Config, seed: int) -> Iterator[FaultyProgram]:
    """LOAD, WEIGHTS and STORE at addresses that no memory of these programs has."""
    for opcode in (Opcode.LOAD, Opcode.WEIGHTS, Opcode.STORE):
        setting = _Setting(config, seed, f"{opcode.name} beyond the memory")
        address = (1 << config.addr_bits - 1) + 4096 * setting.rng.randrange(8)
        values = setting.draw(opcode, _from_dram) | {"dram": address}
        yield setting.with_values(values, FaultCause.AXI)


def _from_dram(values: Values) -> bool:
    return values["opcode"] != Opcode.WEIGHTS or values["source"] == TileSource.DRAM


# Tokens


def _deadlock(config: Config, seed: int) -> FaultyProgram:
    """An instruction waits on a channel over which the program gives nothing."""
    setting = _Setting(config, seed, "a token that nobody gives")
    taker = setting.rng.choice(INSTRUCTIONS)
    given = [v["signal"] >> taker.unit & 1 for v in setting.body]
    givers = [BY_OPCODE[v["opcode"]].unit for v in compress(setting.body, given)]
    silent = setting.rng.choice([unit for unit in Unit if unit not in givers])
    values = setting.draw(taker.opcode) | {"wait": 1 << silent}
    return setting.with_values(values, FaultCause.DEADLOCK)


def _dispatch_deadlock(config: Config, seed: int) -> FaultyProgram:
    """The token comes from an instruction behind more waiting ones than a queue holds."""
    setting = _Setting(config, seed, "a token behind a full queue")
    setting.body, setting.pc = [], 0
    waiting = [setting.draw(Opcode.STORE) for _ in range(4 * config.queue_depth)]
    waiting[0]["wait"] = 1 << Unit.LOAD
    giver = BY_NAME["LOAD"].encode(setting.draw(Opcode.LOAD) | {"signal": 1 << Unit.STORE})
    return setting.with_bytes(encode(waiting) + giver, FaultCause.DEADLOCK)


def _starved(config: Config, seed: int) -> FaultyProgram:
    """A MATMUL wants a tile more than the program brings."""
    setting = _Setting(config, seed, "a tile that nobody brings")
    tiles = sum((v["opcode"] == Opcode.WEIGHTS) - v.get("new_weights", 0) for v in setting.body)
    taker = setting.draw(Opcode.MATMUL) | {"new_weights": 1}
    setting.body += [taker] * tiles
    setting.pc = len(setting.body)
    return setting.with_values(taker, FaultCause.DEADLOCK)


def _no_place(config: Config, seed: int) -> FaultyProgram:
    """One tile more than the weight FIFO and the array hold, and nobody takes any."""
    setting = _Setting(config, seed, "a tile without a place")
    setting.pc = config.weight_tiles + 1
    setting.body = [setting.draw(Opcode.WEIGHTS) for _ in range(setting.pc)]
    return setting.with_values(setting.draw(Opcode.WEIGHTS), FaultCause.DEADLOCK)


def _overflow(config: Config, seed: int) -> FaultyProgram:
    """One token more than a channel counts, and nobody takes any."""
    setting = _Setting(config, seed, "a token too many")
    taker = setting.rng.choice(list(Unit))
    setting.body = [_quick_store(setting) | {"signal": 1 << taker} for _ in range(MAX_TOKENS + 4)]
    setting.pc = MAX_TOKENS
    return setting.with_bytes(b"", FaultCause.TOKEN_OVERFLOW)


def _quick_store(setting: _Setting) -> Values:
    values = setting.draw(Opcode.STORE)
    return values | {"n_count": 1, "y_count": 1, "x_count": 1}
