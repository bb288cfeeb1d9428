"""Seeded random programs that are legal, in range and free of races."""

import dataclasses
import random

import numpy as np

from hpu.hw.config import Config
from hpu.hw.isa import BY_OPCODE, INSTRUCTION_BYTES, Opcode, Operand, Source, Unit
from hpu.sim.decode import decode
from hpu.sim.footprint import Footprint, footprint
from hpu.sim.numerics import encode_scale
from hpu.sim.random_instruction import Drawer, Values
from hpu.sim.schedule import Schedule

__all__ = ["RandomProgram", "add_tokens", "encode", "place", "random_program"]


@dataclasses.dataclass(frozen=True)
class RandomProgram:
    """Instructions and the memory that they start with, which holds them too."""

    config: Config
    seed: int
    instructions: bytes
    program_address: int
    dram: np.ndarray

    @property
    def count(self) -> int:
        """Instructions in the program."""
        return len(self.instructions) // INSTRUCTION_BYTES


def random_program(config: Config, seed: int, length: int = 40) -> RandomProgram:
    """``length`` random instructions, then some that bring buffer and accumulators out to DRAM.

    The same configuration, seed and length give the same program.
    """
    rng = random.Random(f"{seed} {length}")
    drawer = Drawer(config, rng)
    body = [drawer.draw() for _ in range(length)]
    body += _dump(drawer)
    add_tokens(body, drawer)
    return place(encode(_shuffled(body, drawer)), drawer, seed)


def encode(body: list[Values]) -> bytes:
    """The instructions' bytes."""
    return b"".join(BY_OPCODE[values["opcode"]].encode(values) for values in body)


def place(instructions: bytes, drawer: Drawer, seed: int) -> RandomProgram:
    """The program behind its data, in a memory of random bytes and usual parameter records."""
    config = drawer.config
    address = drawer.data + _dump_bytes(drawer)
    size = -(-(address + len(instructions)) // 4096) * 4096
    rng = np.random.default_rng(seed)
    dram = rng.integers(0, 256, size, dtype=np.uint8)
    records = _records(config, rng)
    dram[: records.size] = records.ravel()
    dram[address : address + len(instructions)] = np.frombuffer(instructions, np.uint8)
    return RandomProgram(config, seed, instructions, address, dram)


def _records(config: Config, rng: np.random.Generator) -> np.ndarray:
    """Rows of every parameter set (uint8 [8·sets, pitch]) with scales from 10⁻⁵ to 1."""
    sets, cols = config.param_sets, config.cols
    mantissa, shift = encode_scale(10.0 ** rng.uniform(-5, 0, (sets, cols)))
    words = np.empty((sets, cols, 2), "<u4")
    words[..., 0] = rng.integers(-(1 << 15), 1 << 15, (sets, cols)).astype(np.uint32)
    words[..., 1] = mantissa | shift << 24
    rows = words.view(np.uint8).transpose(0, 2, 1).reshape(8 * sets, cols)
    pitch = config.pitch_chunks(config.col_groups) * config.group
    return np.pad(rows, ((0, 0), (0, pitch - cols)))


def _dump_bytes(drawer: Drawer) -> int:
    config = drawer.config
    words = drawer.ub_words + 2 * drawer.acc_words
    return -(-words * config.pitch_chunks(config.groups) * config.group // 4096) * 4096


def _dump(drawer: Drawer) -> list[Values]:
    """Every unified-buffer word, then every accumulator word saturated, then requantised."""
    row = drawer.config.pitch_chunks(drawer.config.groups) * drawer.config.group
    address = drawer.data
    body = [_store_words(drawer, address, drawer.ub_words), drawer.load_records(0)]
    address += drawer.ub_words * row
    for requantise in (0, 1):
        body.append(_drain(drawer, requantise))
        body.append(_store_words(drawer, address, drawer.acc_words))
        address += drawer.acc_words * row
    return body


def _store_words(drawer: Drawer, address: int, words: int) -> Values:
    values = drawer.fields(Opcode.STORE)
    values |= {"n_count": 1, "y_count": 1, "x_count": words, "dram": address}
    values |= {"dram_n": 0, "dram_y": 0, "width": drawer.config.groups, "group": 0}
    return values | {"a_base": drawer.ub_first, "a_x": 1}


def _drain(drawer: Drawer, requantise: int) -> Values:
    values = drawer.fields(Opcode.VECTOR)
    values |= {"n_count": 1, "y_count": 1, "x_count": drawer.acc_words}
    values |= {"source": int(Source.ACC), "reduce": 0, "ky_count": 1, "kx_count": 1}
    values |= {"operand": int(Operand.NONE), "use_table": 0, "stream": 0}
    values["requantise"] = requantise
    values |= {"a_base": drawer.acc_first, "d_base": drawer.ub_first, "d_x": 1, "s_group": 0}
    values |= {"d_group": 0, "d_width": drawer.config.col_groups, "d_copies": 1, "params": 0}
    return values | {"low": -128, "high": 127}


def add_tokens(body: list[Values], drawer: Drawer) -> None:
    """Set ``wait`` and ``signal`` so that every two conflicting instructions are ordered.

    A channel takes its tokens in the order in which they are given, so a pair is only added when
    both its ends come after the ends of the channel's pair before. Some pairs that nothing needs
    are added as well, and some tokens that nobody takes.
    """
    units = [BY_OPCODE[values["opcode"]].unit for values in body]
    marks = [footprint(values, drawer.config) for values in body]
    given = {(giver, taker): -1 for giver in Unit for taker in Unit}
    for taken in range(len(body)):
        for giver in Unit:
            before = [i for i in range(taken) if units[i] == giver]
            needed = [i for i in before if _conflict(marks[i], marks[taken])]
            needed = [] if giver == units[taken] else needed
            if before and drawer.chance(0.08):
                needed.append(before[-1])
            if needed and max(needed) > given[giver, units[taken]]:
                given[giver, units[taken]] = max(needed)
                body[max(needed)]["signal"] |= 1 << units[taken]
                body[taken]["wait"] |= 1 << giver
    for (giver, taker), last in given.items():
        for index in range(last + 1, len(body)):
            if units[index] == giver and drawer.chance(0.1):
                body[index]["signal"] |= 1 << taker


def _conflict(first: Footprint, second: Footprint) -> bool:
    pairs = [(first.writes, second.writes), (first.writes, second.reads)]
    pairs.append((first.reads, second.writes))
    return any(
        np.intersect1d(one[memory], other[memory], assume_unique=True).size > 0
        for one, other in pairs
        for memory in one.keys() & other.keys()
    )


def _shuffled(body: list[Values], drawer: Drawer) -> list[Values]:
    """``body`` with neighbours of different units exchanged here and there.

    Each unit's own order stays, so only dispatch changes: some instructions come before the one
    whose token they wait for.
    """
    mixed = list(body)
    for _ in range(len(body) // 2):
        place = drawer.rng.randrange(len(mixed) - 1)
        if mixed[place]["opcode"] != mixed[place + 1]["opcode"]:
            mixed[place : place + 2] = reversed(mixed[place : place + 2])
    ends = not Schedule(decode(encode(mixed), drawer.config), drawer.config).cause
    return mixed if ends else body
