"""The instruction builder."""

import pytest

from hpu.compiler.emit import Emitter, Memory, Span
from hpu.hw.config import by_name
from hpu.hw.isa import BY_NAME, Unit


def test_instruction_and_tokens():
    emitter = Emitter(by_name("lab-16"))
    emitter.emit("WEIGHTS", [Span(Memory.DRAM, 0, 4)], dram=64, rows=3, width=2)
    (one,) = emitter.instructions
    assert one.unit == Unit.WEIGHTS
    values = BY_NAME["WEIGHTS"].decode(one.with_tokens(4, 16))
    own = {"dram": 64, "rows": 3, "width": 2, "source": 0, "a_base": 0}
    assert values == {"opcode": 2, "wait": 4, "signal": 16} | own


def test_refuses_a_value_beyond_its_domain():
    emitter = Emitter(by_name("lab-16"))
    with pytest.raises(ValueError, match=r"WEIGHTS.rows must be 1 … 16, not 17"):
        emitter.emit("WEIGHTS", dram=0, rows=17, width=1)
