"""Control and status registers: one table for the RTL, the driver and ``docs/registers.md``.

Registers are 32 bits wide on AXI4-Lite. A 64-bit quantity is two registers, low word first; a
counter's two words read the snapshot taken by ``CONTROL.snapshot``.
"""

import dataclasses
import enum

__all__ = [
    "COUNTERS",
    "FUNCTIONAL_COUNTERS",
    "MAGIC",
    "MATRIX_CAUSES",
    "REGISTERS",
    "SPACE_BYTES",
    "VERSION",
    "Access",
    "Bit",
    "Counter",
    "FaultCause",
    "Register",
    "address",
    "bits",
    "counter_address",
    "pack",
]

MAGIC = 0x48505531  # "HPU1"
#: Version of the instruction set and register map.
VERSION = 2
#: Bytes of the register space.
SPACE_BYTES = 0x400
_COUNTER_BASE = 0x100


class Access(enum.Enum):
    """What the driver may do with a register."""

    READ = "read"
    WRITE = "write"
    READ_WRITE = "read/write"


class FaultCause(enum.IntEnum):
    """Why the machine stopped."""

    NONE = 0
    #: Unknown opcode, a field outside its domain, a broken rule, or bytes set outside the fields.
    ILLEGAL_INSTRUCTION = 1
    #: A unified-buffer, accumulator, parameter or table address beyond its memory.
    ADDRESS = 2
    #: SLVERR or DECERR on the AXI4 port.
    AXI = 3
    #: Every unit that has work waits for a token that nobody can give, or for a weight tile that
    #: nobody brings.
    DEADLOCK = 4
    #: More than 255 tokens of one channel were given and not taken.
    TOKEN_OVERFLOW = 5
    #: The program ran longer than WATCHDOG cycles.
    WATCHDOG = 6


@dataclasses.dataclass(frozen=True)
class Bit:
    """A field of a register."""

    name: str
    low: int
    width: int
    doc: str


@dataclasses.dataclass(frozen=True)
class Register:
    """A 32-bit register."""

    name: str
    address: int
    access: Access
    doc: str
    bits: tuple[Bit, ...] = ()


_R, _W, _RW = Access.READ, Access.WRITE, Access.READ_WRITE

REGISTERS: tuple[Register, ...] = (
    Register("MAGIC", 0x00, _R, "0x48505531, ASCII HPU1"),
    Register("VERSION", 0x04, _R, "version of the instruction set and register map"),
    Register("DIGEST_LOW", 0x08, _R, "bytes 0 … 3 of the configuration's SHA-256, little endian"),
    Register("DIGEST_HIGH", 0x0C, _R, "bytes 4 … 7 of the configuration's SHA-256, little endian"),
    Register(
        "CONTROL",
        0x10,
        _W,
        "commands; each bit acts when written as 1",
        (
            Bit("start", 0, 1, "run the program at PROGRAM; ignored while busy"),
            Bit("snapshot", 1, 1, "copy every counter into the counter registers at once"),
            Bit("clear_irq", 2, 1, "lower the interrupt"),
        ),
    ),
    Register(
        "STATUS",
        0x14,
        _R,
        "state of the machine",
        (
            Bit("busy", 0, 1, "a program is running"),
            Bit("done", 1, 1, "the last program ended without a fault"),
            Bit("fault", 2, 1, "the last program stopped with FAULT_CAUSE"),
            Bit("irq", 3, 1, "the interrupt is raised"),
        ),
    ),
    Register(
        "IRQ_ENABLE",
        0x18,
        _RW,
        "1: raise the interrupt when a program ends",
        (Bit("end", 0, 1, "enable"),),
    ),
    Register("PROGRAM_LOW", 0x20, _RW, "program's DRAM byte address, a multiple of 128: low word"),
    Register("PROGRAM_HIGH", 0x24, _RW, "program's DRAM byte address: high word"),
    Register("PROGRAM_COUNT", 0x28, _RW, "instructions in the program"),
    Register("WATCHDOG", 0x2C, _RW, "cycles a program may run, in units of 1024; 0: no limit"),
    Register("FAULT_CAUSE", 0x30, _R, "FaultCause of the first fault since start"),
    Register(
        "FAULT_PC",
        0x34,
        _R,
        "index of the instruction at fault; the next to dispatch for WATCHDOG, and of the oldest "
        "waiting one for DEADLOCK",
    ),
)

_BY_NAME = {register.name: register for register in REGISTERS}


@dataclasses.dataclass(frozen=True)
class Counter:
    """A free-running 64-bit counter.

    ``functional`` counters do not depend on time: RTL and functional simulator agree on them.
    """

    name: str
    doc: str
    functional: bool = False


#: Causes to which every cycle of the matrix unit is charged; exactly one a cycle.
MATRIX_CAUSES: tuple[Counter, ...] = (
    Counter("MATRIX_USEFUL", "cycles that issued a row with a tap inside the image", True),
    Counter("MATRIX_PADDING", "cycles that issued a row of padding only", True),
    Counter("MATRIX_WEIGHTS", "cycles waiting for a weight tile"),
    Counter("MATRIX_INPUT", "cycles waiting for a token of the load unit"),
    Counter("MATRIX_ACCUMULATOR", "cycles waiting for a token of the vector unit"),
    Counter("MATRIX_TOKEN", "cycles waiting for a token of the weights or store unit"),
    Counter("MATRIX_SETUP", "cycles preparing an instruction that no streaming hid"),
    Counter("MATRIX_FETCH", "cycles without an instruction while more of the program is to come"),
    Counter("MATRIX_DRAINED", "cycles after the last matrix instruction while other units finish"),
    Counter("MATRIX_HOST", "cycles without a running program"),
)

COUNTERS: tuple[Counter, ...] = (
    Counter("CYCLES", "clock cycles since reset"),
    *MATRIX_CAUSES,
    Counter("LOAD_COUNT", "LOAD instructions done", True),
    Counter("WEIGHTS_COUNT", "WEIGHTS instructions done", True),
    Counter("MATMUL_COUNT", "MATMUL instructions done", True),
    Counter("VECTOR_COUNT", "VECTOR instructions done", True),
    Counter("STORE_COUNT", "STORE instructions done", True),
    Counter("LOAD_ROWS", "rows that LOAD read from DRAM", True),
    Counter("WEIGHTS_ROWS", "rows that WEIGHTS read from DRAM", True),
    Counter("STORE_ROWS", "rows that STORE wrote to DRAM", True),
    Counter("VECTOR_WORDS", "words that VECTOR wrote", True),
    Counter("READ_BEATS", "AXI4 read data beats"),
    Counter("WRITE_BEATS", "AXI4 write data beats"),
    Counter("VECTOR_BUSY", "cycles in which the vector unit had an instruction"),
    Counter("LOAD_BUSY", "cycles in which the load unit had an instruction"),
    Counter("WEIGHTS_BUSY", "cycles in which the weights unit had an instruction"),
    Counter("STORE_BUSY", "cycles in which the store unit had an instruction"),
    Counter(
        "VECTOR_CONFLICTS",
        "cycles the vector unit's read waited for a segment or an accumulator memory",
    ),
    Counter("STORE_CONFLICTS", "cycles the store unit's read waited for a segment"),
    Counter("LOAD_CONFLICTS", "cycles the load unit's write waited for a segment"),
)

_COUNTER_INDEX = {counter.name: index for index, counter in enumerate(COUNTERS)}
FUNCTIONAL_COUNTERS: tuple[str, ...] = tuple(c.name for c in COUNTERS if c.functional)


def address(name: str) -> int:
    """Byte address of the named register."""
    return _BY_NAME[name].address


def counter_address(name: str) -> int:
    """Byte address of the low word of the named counter's snapshot; the high word follows."""
    return _COUNTER_BASE + 8 * _COUNTER_INDEX[name]


def bits(name: str, value: int) -> dict[str, int]:
    """The fields of ``value`` read from the named register."""
    fields = _BY_NAME[name].bits
    return {field.name: value >> field.low & ((1 << field.width) - 1) for field in fields}


def pack(name: str, **values: int) -> int:
    """The named register's value with these fields, and zeros in the others.

    Raises
    ------
    ValueError
        When a field does not exist or a value does not fit.
    """
    fields = {field.name: field for field in _BY_NAME[name].bits}
    total = 0
    for key, value in values.items():
        if key not in fields or not 0 <= value < 1 << fields[key].width:
            raise ValueError(f"{name} has no field {key!r} that holds {value!r}")
        total |= value << fields[key].low
    return total
