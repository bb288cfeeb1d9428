"""Random instructions.

Each field is drawn over its whole domain, unless it decides how long the instruction runs or which
words it touches; those are drawn small and moved into range.
"""

import random
from collections.abc import Callable

from hpu.hw.config import TAPS, Config
from hpu.hw.isa import (
    ADDRESS_MASK,
    BY_NAME,
    STREAM_WINDOW,
    Opcode,
    Operand,
    Reduce,
    Source,
    Space,
    TileSource,
    tap_fields,
)
from hpu.sim.access import (
    Box,
    count_of,
    dram_rows,
    loop,
    matmul_taps,
    tile_words,
    weight_rows,
    window_taps,
)
from hpu.sim.races import own_race

__all__ = ["Drawer", "Values"]

Values = dict[str, int]

_SMALL = {
    "n_count": (1, 3),
    "y_count": (1, 4),
    "x_count": (1, 6),
    "ky_count": (1, 3),
    "kx_count": (1, 4),
    "y0": (-2, 3),
    "x0": (-2, 3),
    "y_step": (0, 2),
    "x_step": (0, 2),
    "y_dilation": (0, 3),
    "x_dilation": (0, 3),
    "image_rows": (1, 9),
    "image_cols": (1, 9),
}
_STRIDES = frozenset(
    [f"{operand}_{axis}" for operand in "abd" for axis in ("n", "y", "x")]
    + ["a_ky", "a_kx", "tap_x", "tap_y"]
)
#: How often each unit's instruction is drawn.
_OFTEN = {
    Opcode.LOAD: 5,
    Opcode.WEIGHTS: 3,
    Opcode.MATMUL: 5,
    Opcode.VECTOR: 5,
    Opcode.STORE: 2,
}
_SPAN = 2048


class Drawer:
    """Draws instructions for one program.

    DRAM holds, from address 0: records of every parameter set (``records`` bytes, only read), then
    data that is read and written (up to ``data``). Unified-buffer and accumulator words are those
    of a window of the memory: all of a small one, so that a program can bring every word out.
    """

    def __init__(self, config: Config, rng: random.Random):
        self.config, self.rng = config, rng
        self.records = _align(8 * config.param_sets * self._pitch(config.col_groups))
        rows = 2 * max(config.rows, 64)
        self.data = self.records + _align(rows * self._pitch(config.groups) + 4096)
        self.ub_words = min(config.ub_depth, _SPAN)
        self.ub_first = rng.randint(0, config.ub_depth - self.ub_words)
        self.acc_words = min(config.acc_depth, self.ub_words // 2, _SPAN // 8)
        self.acc_first = rng.randint(0, config.acc_depth - self.acc_words)
        self.tiles = 0
        self._attempts: dict[Opcode, Callable[[], Values | None]] = {
            Opcode.LOAD: self._load,
            Opcode.WEIGHTS: self._weights,
            Opcode.MATMUL: self._matmul,
            Opcode.VECTOR: self._vector,
            Opcode.STORE: self._store,
        }

    def _pitch(self, width: int) -> int:
        return self.config.pitch_chunks(width) * self.config.group

    def chance(self, probability: float) -> bool:
        """True with ``probability``."""
        return self.rng.random() < probability

    def draw(self, opcode: Opcode | None = None) -> Values:
        """A legal instruction in range, without tokens, that reads nothing its own loop wrote.

        WEIGHTS and MATMUL are drawn so that the weight FIFO neither runs over nor dry.
        """
        chosen = self._opcode() if opcode is None else opcode
        if chosen == Opcode.WEIGHTS and self.tiles == self.config.weight_tiles:
            chosen = Opcode.MATMUL
        while True:
            values = self._attempts[chosen]()
            if values is not None and self._sound(values):
                break
        self.tiles += (chosen == Opcode.WEIGHTS) - values.get("new_weights", 0)
        return values

    def _opcode(self) -> Opcode:
        return self.rng.choices(list(_OFTEN), list(_OFTEN.values()))[0]

    def _sound(self, values: Values) -> bool:
        entry = BY_NAME[Opcode(values["opcode"]).name]
        if any(rule.broken(values, self.config) for rule in entry.rules):
            return False
        return entry.opcode != Opcode.VECTOR or own_race(values) is None

    def fields(self, opcode: Opcode) -> Values:
        """Every field over its domain, loops and windows small, strides mostly small."""
        values = {"opcode": int(opcode), "wait": 0, "signal": 0}
        for field in BY_NAME[opcode.name].own:
            values[field.name] = self.rng.randint(*field.bounds(self.config))
            if field.name in _SMALL:
                values[field.name] = self.rng.randint(*_SMALL[field.name])
            elif field.name in _STRIDES:
                reach = self.ub_words // 8 if self.chance(0.15) else 6
                values[field.name] = self.rng.randint(-reach, reach)
        return values

    def _fit(self, boxes: list[Box], first: int, words: int) -> int | None:
        """A base that moves ``boxes`` (drawn with base 0) into ``words`` words from ``first``."""
        if not boxes:
            return self.rng.randint(0, ADDRESS_MASK)
        low = min(box.extent()[0] for box in boxes)
        high = max(box.extent()[1] for box in boxes)
        if high - low >= words:
            return None
        return self.rng.randint(first - low, first + words - 1 - high) & ADDRESS_MASK

    def _place(self, values: Values, prefix: str, boxes: list[Box] | None = None) -> bool:
        """Move a unified-buffer operand into range; whether it fits."""
        values[f"{prefix}_base"] = 0
        if boxes is None:
            boxes = [loop(values, prefix)]
        base = self._fit(boxes, self.ub_first, self.ub_words)
        values[f"{prefix}_base"] = base or 0
        return base is not None

    def _place_rows(self, values: Values, low: int, high: int) -> bool:
        """Draw DRAM strides and an address so that every row is in ``low`` … ``high`` - 1."""
        config, width = self.config, values["width"]
        step = min(config.pitch_chunks(width), config.beat_chunks) * config.group
        values["dram"] = 0
        for name in ("dram_n", "dram_y"):
            reach = 2 if self.chance(0.3) else 8
            values[name] = step * self.rng.randint(0, reach * values["x_count"])
        end = dram_rows(values, config).extent()[1] + width * config.group
        if low + end > high:
            return False
        values["dram"] = low + step * self.rng.randint(0, (high - low - end) // step)
        return True

    def _lane_groups(self, values: Values, prefix: str, widest: int) -> None:
        """Draw the width, the copies and the first lane group of a row that is written."""
        groups = self.config.groups
        width = self.rng.randint(1, widest)
        copies = self.rng.randint(1, groups // width)
        values[f"{prefix}width"], values[f"{prefix}copies"] = width, copies
        values[f"{prefix}group"] = self.rng.randint(0, groups - width * copies)

    def _load(self) -> Values | None:
        values = self.fields(Opcode.LOAD)
        values["space"] = self.rng.choice([Space.UB] * 4 + [Space.PARAM, Space.TABLE])
        if values["space"] == Space.PARAM and self.chance(0.7):
            return self.load_records(self.rng.randrange(self.config.param_sets))
        self._lane_groups(values, "", self.config.groups)
        if not self._place_rows(values, 0, self.data):
            return None
        if values["space"] == Space.UB:
            return values if self._place(values, "d") else None
        rows = {Space.PARAM: 8 * self.config.param_sets, Space.TABLE: 256 * self.config.tables}
        base = self._fit([loop(values | {"d_base": 0}, "d")], 0, rows[Space(values["space"])])
        return None if base is None else values | {"d_base": base}

    def load_records(self, first: int) -> Values:
        """LOAD of the records of up to three whole parameter sets from ``first``."""
        pitch = self._pitch(self.config.col_groups)
        values = self.fields(Opcode.LOAD)
        count = self.rng.randint(1, min(3, self.config.param_sets - first))
        values |= {"space": int(Space.PARAM), "group": 0, "copies": 1, "n_count": count}
        values |= {"width": self.config.col_groups, "y_count": 1, "x_count": 8}
        values |= {"dram": first * 8 * pitch, "dram_n": 8 * pitch, "dram_y": 0}
        return values | {"d_base": 8 * first, "d_n": 8, "d_x": 1}

    def _weights(self) -> Values | None:
        values = self.fields(Opcode.WEIGHTS) | {"dram": 0}
        values["source"] = int(TileSource.UB if self.chance(0.3) else TileSource.DRAM)
        if self.chance(0.4):
            values |= {"rows": self.config.rows, "width": self.config.col_groups}
        if values["source"] == TileSource.UB:
            boxes = [tile_words(values | {"a_base": 0})]
            return values if self._place(values, "a", boxes) else None
        end = weight_rows(values, self.config).extent()[1] + values["width"] * self.config.group
        beats = (self.data - end) // self.config.axi_bytes
        return values | {"dram": self.config.axi_bytes * self.rng.randint(0, beats)}

    def _matmul(self) -> Values | None:
        values = self.fields(Opcode.MATMUL)
        values["tap_groups"] = self.rng.randint(1, self.config.row_groups)
        values["taps"] = self.rng.randint(1, self.config.row_groups // values["tap_groups"])
        self._tap_table(values)
        values["new_weights"] = int(self.tiles > 0 and self.chance(0.75))
        room = self.acc_words - count_of(values)
        if room < 0:
            return None
        values["acc"] = self.acc_first + self.rng.randint(0, room)
        boxes = [tap.box for tap in matmul_taps(values | {"a_base": 0})]
        return values if self._place(values, "a", boxes) else None

    def _tap_table(self, values: Values) -> None:
        """Draw taps near the position, or near a place as far from it as a tap can be."""
        y, x = (self.rng.randint(-32000, 32000) if self.chance(0.1) else 0 for _ in "yx")
        values["y0"] -= y
        values["x0"] -= x
        near = [(self.rng.randint(-2, 4), self.rng.randint(-2, 4)) for _ in range(values["taps"])]
        values |= {f"{name}{tap}": 0 for name in ("dy", "dx") for tap in range(TAPS)}
        values |= tap_fields((y + dy, x + dx) for dy, dx in near)

    def _vector(self) -> Values | None:
        values = self.fields(Opcode.VECTOR)
        if values["source"] == Source.ACC or values["reduce"] == Reduce.NONE:
            values["stream"] = 0
        if values["stream"]:  # decides the counts, and so comes before every operand
            values["operand"] = int(Operand.NONE)
            self._stream(values)
        self._lane_groups(values, "d_", self.config.col_groups)
        values["s_group"] = self.rng.randint(0, self.config.col_groups - values["d_width"])
        if self.chance(0.6):
            values |= {"low": -128, "high": 127}
        if self.chance(0.7):  # sums and products that are not all saturated
            values["shift"] = self.rng.randint(17, 24)
        fits = self._place(values, "d")
        if values["operand"] == Operand.MUL:
            values["s_mult"] >>= 7  # a product's has seven bits less than a sum's
        if values["operand"] != Operand.NONE:
            fits = self._place(values, "b") and fits
        return values if fits and self._vector_source(values) else None

    def _vector_source(self, values: Values) -> bool:
        if values["source"] == Source.ACC:
            values |= {"reduce": int(Reduce.NONE), "ky_count": 1, "kx_count": 1}
            room = self.acc_words - count_of(values)
            values["a_base"] = self.acc_first + self.rng.randint(0, max(0, room))
            return room >= 0
        if values["reduce"] == Reduce.NONE:
            values |= {"ky_count": 1, "kx_count": 1}
        sets = -(-values["ky_count"] * values["kx_count"] // 8)
        values["weights"] = self.rng.randint(0, max(0, self.config.param_sets - sets))
        boxes = [tap.box for tap in window_taps(values | {"a_base": 0})]
        return self._place(values, "a", boxes)

    def _stream(self, values: Values) -> None:
        """Make the window one that may be streamed."""
        for axis, size in (("y", "image_rows"), ("x", "image_cols")):
            kernel = values[f"k{axis}_count"] = self.rng.randint(1, STREAM_WINDOW)
            step = values[f"{axis}_step"] = self.rng.randint(1, min(2, kernel))
            place = values[f"{axis}0"] = self.rng.randint(1 - kernel, min(values[size], 3) - 1)
            most = (values[size] - 1 - max(0, place)) // step + 1
            values[f"{axis}_count"] = self.rng.choice([most, self.rng.randint(1, most)])
            values[f"{axis}_dilation"] = 1
            values[f"a_{axis}"] = step * values[f"a_k{axis}"]

    def _store(self) -> Values | None:
        values = self.fields(Opcode.STORE)
        values["width"] = self.rng.randint(1, self.config.groups)
        values["group"] = self.rng.randint(0, self.config.groups - values["width"])
        fits = self._place_rows(values, self.records, self.data)
        return values if self._place(values, "a") and fits else None


def _align(size: int) -> int:
    """``size`` rounded up to 4 KiB."""
    return -(-size // 4096) * 4096
