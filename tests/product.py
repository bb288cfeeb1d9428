"""A hand-made program that the tests of simulator and runtime run."""

import dataclasses

import numpy as np

from hpu.hw.config import Config
from hpu.hw.isa import BY_NAME, Unit
from hpu.runtime.program import Program, Segment


@dataclasses.dataclass(frozen=True)
class Product:
    """A hand-made program for ``result = clip(x @ w, -128, 127)``; ``address`` is the result's."""

    program: Program
    result: np.ndarray
    address: int


def make_product(config: Config, *, rows: int, seed: int) -> Product:
    rng = np.random.default_rng(seed)
    x = rng.integers(-8, 8, (rows, config.rows), dtype=np.int8)
    w = rng.integers(-3, 4, (config.rows, config.cols), dtype=np.int8)
    image, end = [], 4096
    for values in (x, w):
        image.append(Segment(end, values.tobytes()))
        end += -(-values.nbytes // 4096) * 4096
    instructions = _instructions(config, rows, image[0].address, image[1].address, end)
    program = Program(
        config_name=config.name,
        config_digest=config.digest(),
        instructions=b"".join(instructions),
        program_address=0,
        image=tuple(image),
        dram_bytes=end + rows * config.cols,
        inputs=(),
        outputs=(),
        nodes=(),
    )
    product = x.astype(np.int64) @ w.astype(np.int64)
    return Product(program, np.clip(product, -128, 127).astype(np.int8), end)


def _bit(*units: Unit) -> int:
    return sum(1 << unit for unit in units)


def _instructions(config: Config, rows: int, x: int, w: int, out: int) -> list[bytes]:
    loop = {"n_count": 1, "y_count": 1, "x_count": rows}
    image = {"image_rows": 1, "image_cols": rows, "x_step": 1}
    return [
        BY_NAME["LOAD"].encode(
            {**loop, "signal": _bit(Unit.MATRIX), "dram": x, "width": config.row_groups}
            | {"copies": 1, "d_x": 1}
        ),
        BY_NAME["WEIGHTS"].encode({"dram": w, "rows": config.rows, "width": config.col_groups}),
        BY_NAME["MATMUL"].encode(
            {**loop, **image, "wait": _bit(Unit.LOAD), "signal": _bit(Unit.VECTOR), "a_x": 1}
            | {"taps": 1, "tap_groups": config.row_groups, "new_weights": 1}
        ),
        BY_NAME["VECTOR"].encode(
            {**loop, **image, "wait": _bit(Unit.MATRIX), "signal": _bit(Unit.STORE)}
            | {"ky_count": 1, "kx_count": 1, "d_base": rows, "d_x": 1, "d_copies": 1}
            | {"d_width": config.col_groups, "low": -128, "high": 127}
        ),
        BY_NAME["STORE"].encode(
            {**loop, "wait": _bit(Unit.VECTOR), "dram": out, "width": config.col_groups}
            | {"a_base": rows, "a_x": 1}
        ),
    ]
