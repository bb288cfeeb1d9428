"""``hpu asm`` and ``hpu disasm``."""

from pathlib import Path

import click

from hpu.runtime.cli_common import FILE, config_option

__all__ = ["asm", "disasm"]


@click.command()
@click.argument("text", type=FILE)
@click.option("-o", "--output", type=FILE, required=True, help="Binary instructions to write.")
@config_option("hai-v1")
def asm(text: Path, output: Path, config: str) -> None:
    """Assemble TEXT into binary instructions of 128 bytes each.

    \b
    Example:
      hpu asm program.s -o program.bin --config lab-16
    """
    from hpu.hw.assembler import assemble
    from hpu.runtime.errors import HpuError
    from hpu.runtime.files import write_atomically
    from hpu.runtime.source import configuration

    try:
        data = assemble(_read(text).decode(), configuration(config))
    except UnicodeDecodeError:
        raise HpuError(f"{text} is not text.") from None
    except ValueError as error:
        raise HpuError(f"{text}: {error}") from None
    if not data:
        raise HpuError(f"{text} holds no instructions.")
    write_atomically(output, data)


@click.command()
@click.argument("program", type=FILE)
def disasm(program: Path) -> None:
    """Print the instructions of PROGRAM (a .hpu file, or binary instructions) as text.

    \b
    Examples:
      hpu disasm model.hpu
      hpu disasm program.bin > program.s
    """
    from hpu.hw.assembler import disassemble
    from hpu.runtime.errors import HpuError

    for instructions in _instructions(program):
        try:
            text = disassemble(instructions)
        except ValueError as error:
            raise HpuError(f"{program}: {error}") from None
        click.echo(text.rstrip("\n"))


def _instructions(path: Path) -> list[bytes]:
    """The instructions of every program in a file."""
    from hpu.hw.isa import INSTRUCTION_BYTES
    from hpu.runtime import program_file as files
    from hpu.runtime.errors import HpuError
    from hpu.runtime.package import load_any

    if files.is_program(path):
        loaded = load_any(path)
        programs = (loaded,) if isinstance(loaded, files.Program) else loaded.programs
        return [program.instructions for program in programs]
    data = _read(path)
    if not data or len(data) % INSTRUCTION_BYTES:
        raise HpuError(
            f"{path} is neither a program file nor whole instructions of {INSTRUCTION_BYTES} bytes."
        )
    return [data]


def _read(path: Path) -> bytes:
    from hpu.runtime.errors import HpuError

    try:
        return path.read_bytes()
    except OSError as error:
        raise HpuError(f"{path} cannot be read: {error.strerror}.") from None
