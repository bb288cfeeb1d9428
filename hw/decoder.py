"""The instruction decoder, derived from the ISA table."""

from amaranth.hdl import Cat, Module, Signal, Value, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hpu.hw.config import Config
from hpu.hw.isa import HEADER, INSTRUCTION_BYTES, INSTRUCTIONS, Field, Instruction, Unit
from hpu.hw.ports import instruction_layout

__all__ = ["Decoder", "entry_layout"]


def entry_layout(entry: Instruction) -> data.StructLayout:
    """An instruction in its unit's queue: token masks and what the unit gets."""
    return data.StructLayout(
        {
            "wait": unsigned(len(Unit)),
            "signal": unsigned(len(Unit)),
            "instr": instruction_layout(entry),
        }
    )


class Decoder(wiring.Component):
    """Splits an instruction into fields and judges it; combinational.

    ``unit`` has the bit of the instruction's unit, or is zero for an unknown opcode. ``legal``: the
    opcode is known, every field inside its bounds, every rule holds and no other bit is set.
    ``entries``, in the order of ``INSTRUCTIONS``, are the same bits read as each instruction.
    """

    def __init__(self, *, config: Config):
        self._config = config
        entries = {f"entry_{entry.name}": Out(entry_layout(entry)) for entry in INSTRUCTIONS}
        super().__init__(
            {
                "word": In(8 * INSTRUCTION_BYTES),
                "pc": In(32),
                "unit": Out(len(Unit)),
                "legal": Out(1),
                **entries,
            }
        )

    def entry(self, entry: Instruction) -> data.View:
        """The bits read as ``entry``."""
        return getattr(self, f"entry_{entry.name}")

    def elaborate(self, platform):
        m = Module()
        opcode = self._values(HEADER)["opcode"]
        for entry in INSTRUCTIONS:
            self._fields(m, entry)
            legal = Signal(name=f"legal_{entry.name}")
            m.d.comb += legal.eq(~_any(self._faults(entry)))
            with m.If(opcode == int(entry.opcode)):
                m.d.comb += [self.unit.eq(1 << entry.unit), self.legal.eq(legal)]
        return m

    def _values(self, fields: tuple[Field, ...]) -> dict[str, Value]:
        return {field.name: _slice(self.word, field) for field in fields}

    def _fields(self, m, entry):
        out, values = self.entry(entry), self._values(entry.fields)
        m.d.comb += [out.wait.eq(values["wait"]), out.signal.eq(values["signal"])]
        m.d.comb += out.instr.pc.eq(self.pc)
        for field in entry.own:
            m.d.comb += out.instr[field.name].eq(values[field.name])

    def _faults(self, entry: Instruction) -> list[Value]:
        """One bit per reason why the word is no legal ``entry``."""
        values = self._values(entry.fields)
        faults = [Cat(_stray(self.word, entry)).any()]
        for field in entry.fields[1:]:
            faults += _outside(values[field.name], field, self._config)
        faults += [Value.cast(rule.broken(values, self._config)) for rule in entry.rules]
        return faults


def _slice(word: Value, field: Field) -> Value:
    bits = word[8 * field.offset : 8 * (field.offset + field.size)]
    return bits.as_signed() if field.signed else bits


def _stray(word: Value, entry: Instruction) -> list[Value]:
    """The bytes of ``word`` that belong to no field."""
    used = {field.offset + k for field in entry.fields for k in range(field.size)}
    return [word.word_select(k, 8) for k in range(INSTRUCTION_BYTES) if k not in used]


def _outside(value: Value, field: Field, config: Config) -> list[Value]:
    low, high = field.bounds(config)
    bits = 8 * field.size
    least = -(1 << (bits - 1)) if field.signed else 0
    faults = [value < low] if low > least else []
    return faults + ([value > high] if high < least + (1 << bits) - 1 else [])


def _any(bits: list[Value]) -> Value:
    return Cat(bit.bool() for bit in bits).any()
