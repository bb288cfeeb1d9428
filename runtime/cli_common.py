"""What the verbs of the command line share: options, arguments and how results are printed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

__all__ = ["FILE", "batch_option", "calibrate_option", "config_option", "console", "device_option"]

#: A file that the verb reads; a missing one is refused by the verb's own sentence.
FILE = click.Path(path_type=Path)
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

    return Console(stderr=stderr, highlight=False)
