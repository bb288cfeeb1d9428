"""Programs of a board's test of itself."""

import numpy as np

from hpu.hw.assembler import assemble
from hpu.hw.config import Config
from hpu.runtime.program import Program, Segment
from hpu.sim.random_program import RandomProgram, random_program

__all__ = ["cleared", "of_random", "requantised"]

#: Loop counts have 16 bits.
_LONGEST_LOOP = 1 << 15
#: Rows of accumulators that go through every parameter set.
_ROWS = 8


def _program(config: Config, text: str, address: int, image: list[Segment], end: int) -> Program:
    instructions = assemble(text, config)
    return Program(
        config_name=config.name,
        config_digest=config.digest(),
        instructions=instructions,
        program_address=address,
        image=tuple(image),
        dram_bytes=max(end, address + len(instructions)),
        inputs=(),
        outputs=(),
        nodes=(),
    )


def _pitch(config: Config, width: int) -> int:
    return config.pitch_chunks(width) * config.group


def _loop(count: int, dest: bool) -> str:
    """Loop of ``count`` elements over n and y, from one DRAM row."""
    rows = min(count, _LONGEST_LOOP)
    text = f"n_count={-(-count // rows)} y_count={rows} x_count=1"
    return text + f" d_n={rows} d_y=1" * dest


def cleared(config: Config) -> Program:
    """Sets every memory of the machine, and the array's weights, to zero."""
    zeros = Segment(0, bytes(config.rows * _pitch(config, config.groups)))
    columns = f"dram=0 width={config.col_groups} copies=1"
    text = f"""
    LOAD signal=matrix space=UB {_loop(config.ub_depth, True)} dram=0 width={config.groups} copies=1
    LOAD space=PARAM {_loop(8 * config.param_sets, True)} {columns}
    LOAD space=TABLE {_loop(256 * config.tables, True)} {columns}
    WEIGHTS rows={config.rows} width={config.col_groups} source=DRAM dram=0
    MATMUL wait=load new_weights=1 n_count=1 y_count=1 x_count={config.acc_depth} image_rows=1 \
image_cols=1 taps=1 tap_groups={config.row_groups}
    WEIGHTS rows={config.rows} width={config.col_groups} source=DRAM dram=0
    MATMUL new_weights=1 n_count=1 y_count=1 x_count=1 image_rows=1 image_cols=1 taps=1 \
tap_groups={config.row_groups}
    """.replace("\\\n", "")
    address = -(-len(zeros.data) // 4096) * 4096
    return _program(config, text, address, [zeros], 0)


def of_random(program: RandomProgram) -> Program:
    """A random program with its memory."""
    return Program(
        config_name=program.config.name,
        config_digest=program.config.digest(),
        instructions=program.instructions,
        program_address=program.program_address,
        image=(Segment(0, program.dram.tobytes()),),
        dram_bytes=program.dram.size,
        inputs=(),
        outputs=(),
        nodes=(),
    )


def requantised(config: Config, seed: int) -> tuple[Program, int]:
    """Random sums through every parameter set, and the number of values that it makes.

    They stand in DRAM from address 0 on, where the parameters stood before.
    """
    records = 8 * config.param_sets * _pitch(config, config.col_groups)
    row = _pitch(config, config.groups)
    source = random_program(config, seed, 1).dram[:records]
    data = np.random.default_rng(seed).integers(0, 256, (_ROWS + config.rows) * row, np.uint8)
    sets = min(config.param_sets, (config.ub_depth - _ROWS) // _ROWS)
    words, at = sets * _ROWS, -(-records // 4096) * 4096
    matrix = f"n_count=1 y_count=1 x_count={_ROWS} image_rows=1 image_cols={_ROWS}"
    lines = [
        f"LOAD space=PARAM {_loop(8 * sets, True)} dram=0 width={config.col_groups} copies=1"
        f" dram_y={_pitch(config, config.col_groups)}",
        f"LOAD signal=matrix+vector n_count=1 y_count=1 x_count={_ROWS} space=UB dram={at} d_x=1"
        f" width={config.groups} copies=1",
        f"WEIGHTS rows={config.rows} width={config.col_groups} source=DRAM dram={at + _ROWS * row}",
        f"MATMUL wait=load signal=vector {matrix} a_x=1 x_step=1 taps=1"
        f" tap_groups={config.row_groups} new_weights=1",
    ]
    for k in range(sets):
        tokens = ("wait=load+matrix " * (k == 0)) + ("signal=store" * (k == sets - 1))
        lines.append(
            f"VECTOR {tokens} source=ACC requantise=1 n_count=1 y_count=1 x_count={_ROWS}"
            f" ky_count=1 kx_count=1 image_rows=1 image_cols=1 d_base={_ROWS * (k + 1)} d_x=1"
            f" d_copies=1 d_width={config.col_groups} params={k} low=-128 high=127 zero={k % 7 - 3}"
        )
    lines.append(
        f"STORE wait=vector n_count=1 y_count=1 x_count={words} dram=0 width={config.col_groups}"
        f" a_base={_ROWS} a_x=1"
    )
    image = [Segment(0, source.tobytes()), Segment(at, data.tobytes())]
    address = -(-(at + data.size) // 4096) * 4096
    end = words * _pitch(config, config.col_groups)
    return _program(config, "\n".join(lines), address, image, end), words * config.cols
