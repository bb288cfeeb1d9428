"""What the verbs of the command line share: options, arguments and how results are printed."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from hpu.compiler.placement import Placement

__all__ = [
    "FILE",
    "batch_option",
    "calibrate_option",
    "config_option",
    "console",
    "device_option",
    "dim_option",
    "fallback_option",
    "force_option",
    "print_fallbacks",
]

#: A file that the verb reads; a missing one is refused by the verb's own sentence.
FILE = click.Path(path_type=Path)
#: Columns of what is printed into a file or a pipe: a line stays one.
_FILE_WIDTH = 1000
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def config_option(default: str | None) -> Decorator:
    """``--config``; without a default, a program's own configuration or hai-v1."""
    return click.option(
        "--config",
        default=default,
        metavar="NAME",
        help="Configuration: hai-v1 (256×256) or lab-16."
        + (" [default: the program's, hai-v1 for a model]" if default is None else ""),
        show_default=default is not None,
    )


def batch_option() -> Decorator:
    """``--batch``."""
    return click.option(
        "--batch",
        type=click.IntRange(min=1),
        help="Value of a symbolic batch.  [default: 1; for run, the input's]",
    )


def dim_option() -> Decorator:
    """``--dim``, any number of times."""
    return click.option(
        "--dim",
        "dims",
        multiple=True,
        metavar="NAME=VALUE",
        callback=_sizes,
        help="Value of a symbolic dimension of the inputs; for each one.",
    )


def _sizes(_context: click.Context, _option: click.Parameter, given: tuple[str, ...]) -> dict:
    sizes = {}
    for text in given:
        name, equals, value = text.rpartition("=")
        if not (equals and name and value.isdecimal() and int(value)):
            raise click.BadParameter(f"{text!r} must be NAME=VALUE with a positive whole number.")
        sizes[name] = int(value)
    return sizes


def fallback_option() -> Decorator:
    """``--no-fallback``."""
    return click.option(
        "--no-fallback",
        is_flag=True,
        help="Refuse a network of which the host would run a part.",
    )


def force_option() -> Decorator:
    """``--force-hpu``."""
    return click.option(
        "--force-hpu",
        is_flag=True,
        help="Let the HPU also run what the host would run faster.",
    )


def print_fallbacks(placed: "Sequence[Placement]") -> None:
    """Print where every node runs, when the host runs a part or would run one faster."""
    from hpu.runtime.cli_tables import placement_table

    host = sum(entry.on_host for entry in placed)
    slow = sum(bool(entry.note) for entry in placed)
    if not host and not slow:
        return
    console().print(placement_table(placed))
    text = f"{host} of {len(placed)} nodes run on the host"
    text += "; nothing runs on the HPU" if host == len(placed) else ""
    text += f"; {slow} on the HPU would run faster on the host" if slow else ""
    console().print(text + "\n")


def calibrate_option() -> Decorator:
    """``--calibrate``."""
    return click.option(
        "--calibrate",
        "calibration",
        type=FILE,
        metavar="DATA.npz",
        help="For a float model: sample inputs by name, from which it is quantised.",
    )


def device_option() -> Decorator:
    """``--device``."""
    return click.option(
        "--device",
        type=click.Choice(["functional", "rtl"]),
        default="functional",
        show_default=True,
        help="functional: numpy, byte for byte as the RTL; rtl: the simulated machine.",
    )


def console(*, stderr: bool = False) -> Any:
    """A rich console; progress and remarks go to stderr, results to stdout."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False)
    if not made.is_terminal:
        made.width = _FILE_WIDTH
    return made
