"""VECTOR element by element in plain Python, and random instructions for it."""

import random

import numpy as np

from hpu.hw import isa
from hpu.sim.numerics import requantise_integer

ENTRY = isa.BY_OPCODE[isa.Opcode.VECTOR]


class AddressError(Exception):
    """An access beyond a memory."""


class Twin:
    """Every memory that VECTOR touches, as integer arrays [word, lane or column]."""

    def __init__(self, config):
        self.config = config
        self.ub = np.zeros((config.ub_depth, config.lanes), np.int64)
        self.acc = np.zeros((config.acc_depth, config.cols), np.int64)
        self.params = np.zeros((8 * config.param_sets, config.cols), np.int64)
        self.tables = np.zeros((256 * config.tables, config.cols), np.int64)

    def run(self, v):
        """Execute the instruction with the field values ``v``."""
        index = 0
        for n in range(v["n_count"]):
            for y in range(v["y_count"]):
                for x in range(v["x_count"]):
                    first = self._first(v, n, y, x, index)
                    other = self._second(v, n, y, x)
                    self._write(v, n, y, x, self._result(v, first, other))
                    index += 1

    def _word(self, address):
        address %= 1 << 24
        if address >= self.config.ub_depth:
            raise AddressError
        return address

    def _place(self, v, prefix, n, y, x):
        strides = (v[f"{prefix}_{loop}"] for loop in "nyx")
        return v[f"{prefix}_base"] + sum(i * s for i, s in zip((n, y, x), strides, strict=True))

    def _first(self, v, n, y, x, index):
        if v["source"] == isa.Source.ACC:
            if v["a_base"] + index >= self.config.acc_depth:
                raise AddressError
            return list(self.acc[v["a_base"] + index])
        taps = []
        weights = self.params[8 * v["weights"] :]
        for ky in range(v["ky_count"]):
            for kx in range(v["kx_count"]):
                iy = v["y0"] + y * v["y_step"] + ky * v["y_dilation"]
                ix = v["x0"] + x * v["x_step"] + kx * v["x_dilation"]
                if 0 <= iy < v["image_rows"] and 0 <= ix < v["image_cols"]:
                    place = self._place(v, "a", n, y, x) + ky * v["a_ky"] + kx * v["a_kx"]
                    tap = self.ub[self._word(place), : self.config.cols] - v["a_zero"]
                    if v["reduce"] == isa.Reduce.DOT:
                        tap = tap * weights[ky * v["kx_count"] + kx].astype(np.int8)
                    taps.append(tap)
        if v["reduce"] == isa.Reduce.MAX:
            return [max((tap[c] for tap in taps), default=-255) for c in range(self.config.cols)]
        return [sum(tap[c] for tap in taps) for c in range(self.config.cols)]

    def _second(self, v, n, y, x):
        if v["operand"] == isa.Operand.NONE:
            return [0] * self.config.cols
        return self.ub[self._word(self._place(v, "b", n, y, x))]

    def _result(self, v, first, other):
        return [self._lane(v, c, int(first[c]), int(other[c])) for c in range(self.config.cols)]

    def _lane(self, v, c, value, other):
        s = min(max(value, -128), 127)
        if v["requantise"]:
            record = bytes(int(b) for b in self.params[8 * v["params"] : 8 * v["params"] + 8, c])
            bias = int.from_bytes(record[:4], "little")
            wrapped = (value + bias + (1 << 31)) % (1 << 32) - (1 << 31)
            mantissa = int.from_bytes(record[4:7], "little")
            s = requantise_integer(wrapped, mantissa, record[7], v["zero"])
        if v["operand"] == isa.Operand.ADD:
            total = (s - v["s_zero"]) * v["s_mult"] + (other - v["b_zero"]) * v["b_mult"]
            s = round_half_even(total, v["shift"]) + v["out_zero"]
            s = min(max(s, -128), 127)
        if v["operand"] == isa.Operand.MUL:
            total = (s - v["s_zero"]) * (other - v["b_zero"]) * v["s_mult"]
            s = round_half_even(total, v["shift"]) + v["out_zero"]
            s = min(max(s, -128), 127)
        s = min(max(s, v["low"]), v["high"])
        if v["use_table"]:
            byte = int(self.tables[256 * v["table"] + s % 256, c])
            s = byte - 256 if byte > 127 else byte
        return s

    def _write(self, v, n, y, x, result):
        word = self.ub[self._word(self._place(v, "d", n, y, x))]
        group = self.config.group
        for j in range(v["d_width"] * v["d_copies"]):
            to, of = v["d_group"] + j, v["s_group"] + j % v["d_width"]
            word[to * group : to * group + group] = result[of * group : of * group + group]


def round_half_even(value, shift):
    """``value`` / 2^``shift`` to the nearest integer."""
    whole, rest = divmod(2 * value, 2 << shift)
    return whole + (rest > 1 << shift or (rest == 1 << shift and whole % 2))


class RandomVector:
    """Legal instructions without races; reads and writes in opposite halves of the buffer."""

    def __init__(self, config, rng: random.Random):
        self.config, self.rng = config, rng

    def instruction(self):
        """Field values of one instruction with few elements."""
        rng, config = self.rng, self.config
        v = {field.name: self._any(field) for field in ENTRY.own}
        v |= {name: rng.choice([1, 1, 2, 3]) for name in ("n_count", "y_count", "x_count")}
        v["source"] = rng.choice(list(isa.Source))
        v["reduce"] = rng.choice(list(isa.Reduce))
        if v["operand"] == isa.Operand.MUL:
            v["s_mult"] = rng.choice([-32768, 32767, rng.randint(-32768, 32767)])
        v["low"], v["high"] = rng.choice([(-128, 127), (-128, 127), (v["low"], v["high"])])
        v["shift"] = rng.choice([0, 8, 14, 18, 20, 23, 31])
        v["d_width"] = rng.randint(1, config.col_groups)
        v["s_group"] = rng.randint(0, config.col_groups - v["d_width"])
        v["d_copies"] = rng.randint(1, config.groups // v["d_width"])
        v["d_group"] = rng.randint(0, config.groups - v["d_width"] * v["d_copies"])
        if v["source"] == isa.Source.ACC:
            v["reduce"] = isa.Reduce.NONE
        window = v["reduce"] != isa.Reduce.NONE
        v["ky_count"], v["kx_count"] = (rng.randint(1, 3), rng.randint(1, 3)) if window else (1, 1)
        sets = -(-v["ky_count"] * v["kx_count"] // 8)
        v["weights"] = rng.randint(0, config.param_sets - sets)
        v["stream"] = int(window and rng.random() < 0.7)
        halves = [0, config.ub_depth // 2]
        rng.shuffle(halves)
        v |= self._stream(v) if v["stream"] else self._image()
        elements = v["n_count"] * v["y_count"] * v["x_count"]
        v |= self._loop("b", v, halves[0]) | self._loop("d", v, halves[1])
        targets = list(self._places(v, "d"))
        distinct = len(set(targets)) == len(targets)
        if distinct and rng.random() < 0.3 and v["source"] == isa.Source.ACC:  # in place
            v |= {f"b_{key}": v[f"d_{key}"] for key in ("base", "n", "y", "x")}
        v |= self._window(v, halves[0])
        if v["source"] == isa.Source.ACC:
            v["a_base"] = rng.randint(0, config.acc_depth - elements)
        v = {name: int(value) for name, value in v.items()}
        assert not [rule.doc for rule in ENTRY.rules if rule.broken(v, config)], v
        return v

    def faulty(self):
        """An instruction that reaches beyond a memory at some element."""
        v = self.instruction()
        if v["stream"]:
            v["d_base"] = self.config.ub_depth - self.rng.choice([0, v["x_count"] - 1])
            v["d_x"] = 1
            if self.rng.random() < 0.5:
                v["a_base"] += self.config.ub_depth
            return v
        v |= {"operand": 1, "reduce": 2 * v["source"], "image_rows": 65535, "image_cols": 65535}
        v |= {"y0": 0, "x0": 0}
        which = self.rng.choice("abd")
        limit = self.config.acc_depth if (which, v["source"]) == ("a", 0) else self.config.ub_depth
        last = self.rng.choice([0, v["x_count"] - 1])
        v[f"{which}_base"] = limit - last
        if v["source"] or which != "a":
            v[f"{which}_x"] = 1
        return v

    def _any(self, field):
        low, high = field.bounds(self.config)
        return self.rng.choice(
            [low, high, self.rng.randint(low, high), self.rng.randint(low, high)]
        )

    def _loop(self, prefix, v, start):
        """Base and strides that stay in the half of the buffer at ``start``."""
        rng, half = self.rng, self.config.ub_depth // 2
        step = half // 16
        strides = {f"{prefix}_{loop}": rng.randint(-step, step) for loop in "nyx"}
        reach = [(v[f"{loop}_count"] - 1) * strides[f"{prefix}_{loop}"] for loop in "nyx"]
        low = sum(min(0, r) for r in reach)
        high = sum(max(0, r) for r in reach)
        base = rng.randint(start - low, start + half - 1 - high)
        return strides | {f"{prefix}_base": base}

    def _image(self):
        """An image of some rows by some columns of words, with windows that leave it."""
        rng = self.rng
        rows, cols = rng.randint(1, 6), rng.randint(1, 6)
        w = {"image_rows": rows, "image_cols": cols}
        w |= {"y0": rng.randint(-3, rows), "x0": rng.randint(-3, cols)}
        for name in ("y_step", "x_step", "y_dilation", "x_dilation"):
            w[name] = rng.choice([0, 1, 1, 2, 3, 255])
        return w

    def _stream(self, v):
        """An image and windows that may be streamed; without second operand."""
        rng, w = self.rng, {"operand": 0}
        for axis, size in (("y", "image_rows"), ("x", "image_cols")):
            kernel = v[f"k{axis}_count"]
            w[size] = rng.choice([1, 2, rng.randint(1, 9)])
            w[f"{axis}0"] = rng.randint(1 - kernel, min(w[size], 3) - 1)
            w[f"{axis}_step"] = rng.randint(1, min(2, kernel))
            most = (w[size] - 1 - max(0, w[f"{axis}0"])) // w[f"{axis}_step"] + 1
            w[f"{axis}_count"] = rng.choice([most, rng.randint(1, most)])
            w[f"{axis}_dilation"] = 1
        return w

    def _window(self, v, start):
        """Places of the image's words."""
        rows, cols, w = v["image_rows"], v["image_cols"], {}
        room = self.config.ub_depth // 2 // (rows * cols)  # images that fit the half
        w["a_n"] = self.rng.randint(0, max(0, (room - 1) // 2)) * rows * cols
        w["a_y"], w["a_x"] = v["y_step"] * cols, v["x_step"]
        w["a_ky"], w["a_kx"] = v["y_dilation"] * cols, v["x_dilation"]
        w["a_base"] = (start + v["y0"] * cols + v["x0"]) % (1 << 24)
        return w

    def _places(self, v, prefix):
        """Addresses of a loop over the elements."""
        for n in range(v["n_count"]):
            for y in range(v["y_count"]):
                for x in range(v["x_count"]):
                    steps = n * v[f"{prefix}_n"] + y * v[f"{prefix}_y"] + x * v[f"{prefix}_x"]
                    yield v[f"{prefix}_base"] + steps
