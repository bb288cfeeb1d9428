"""What the verbs of the command line share: options, arguments and how results are printed."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from hpu.compiler.calibration import CalibrationSet
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
    "port_option",
    "print_fallbacks",
    "session_options",
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
        + (
            " [default: the program's; for a model the board's, or hai-v1]"
            if default is None
            else ""
        ),
        show_default=default is not None,
    )


def batch_option() -> Decorator:
    """``--batch``."""
    return click.option(
        "--batch",
        type=click.IntRange(min=1),
        help="Batch to compile for, also of a model with a fixed one.  "
        "[default: the model's; 1 where it is symbolic; for run, the input's]",
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


def print_fallbacks(placed: "Sequence[Placement]", device: str = "functional") -> None:
    """Print where every node runs, when the host runs a part or would run one faster.

    Next to a board any host is faster, and nobody asked for it: only its own part counts there.
    """
    from hpu.runtime.cli_tables import placement_table

    host = sum(entry.on_host for entry in placed)
    slow = sum(bool(entry.note) for entry in placed) if device != "fpga" else 0
    if not host and not slow:
        return
    console().print(placement_table(placed))
    text = f"{host} of {len(placed)} nodes run on the host"
    text += "; nothing runs on the HPU" if host == len(placed) else ""
    text += f"; {slow} on the HPU would run faster on the host" if slow else ""
    console().print(text + "\n")


def session_options(verb: Callable[..., Any]) -> Callable[..., Any]:
    """The options that are the arguments of :class:`hpu.InferenceSession`, by the same names."""
    options = (
        device_option(board=True),
        port_option(),
        config_option(None),
        batch_option(),
        dim_option(),
        calibrate_option(),
        fallback_option(),
        force_option(),
    )
    for option in reversed(options):
        verb = option(verb)
    return verb


def calibrate_option() -> Decorator:
    """``--calibrate`` and what goes with it; the verb gets a CalibrationSet, or None."""
    options = (
        click.option(
            "--calibrate",
            "calibration",
            type=FILE,
            metavar="DATA",
            help="For a float model: samples of its inputs, from which it is quantised; an .npz or "
            ".npy file, an image, or a folder of them.",
        ),
        click.option(
            "--calibration-method",
            "method",
            type=click.Choice(["minmax", "entropy", "percentile"]),
            help="How the range of an activation is chosen.  [default: minmax]",
        ),
        click.option(
            "--percentile",
            type=float,
            metavar="PERCENT",
            help="For the method percentile: share of the values in the range.  [default: 99.999]",
        ),
        _numbers_option("--image-mean", "Images become (pixel / 255 - MEAN) / STD; one or three."),
        _numbers_option("--image-std", "See --image-mean.  [default: 0 and 1]"),
    )

    def decorate(verb: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(verb)
        def run(**given: Any) -> Any:
            names = ("method", "percentile", "image_mean", "image_std")
            choices = {name: given.pop(name) for name in names}
            given["calibration"] = _calibration(given["calibration"], choices)
            return verb(**given)

        made: Callable[..., Any] = run
        for option in reversed(options):
            made = option(made)
        return made

    return decorate


def _calibration(data: Path | None, choices: dict[str, Any]) -> "CalibrationSet | None":
    chosen = {name: value for name, value in choices.items() if value is not None}
    if data is None:
        if chosen:
            option = "calibration-method" if "method" in chosen else next(iter(chosen))
            raise click.UsageError(f"--{option.replace('_', '-')} needs --calibrate.")
        return None
    if "percentile" in chosen and chosen.get("method") != "percentile":
        raise click.UsageError("--percentile needs --calibration-method percentile.")
    from hpu.compiler.calibration import CalibrationSet

    return CalibrationSet(data=data, **chosen)


def _numbers_option(name: str, text: str) -> Decorator:
    return click.option(name, metavar="NUMBERS", callback=_numbers, help=text)


def _numbers(
    _context: click.Context, _option: click.Parameter, given: str | None
) -> tuple[float, ...] | None:
    try:
        return None if given is None else tuple(map(float, given.split(",")))
    except ValueError:
        raise click.BadParameter(f"{given!r} must be numbers with commas between.") from None


def device_option(*, board: bool = False) -> Decorator:
    """``--device``, with or without the FPGA."""
    text = "functional: numpy, byte for byte as the RTL; rtl: the simulated machine"
    return click.option(
        "--device",
        type=click.Choice(["functional", "rtl", *(["fpga"] if board else [])]),
        default="functional",
        show_default=True,
        help=text + ("; fpga: a board, on --port." if board else "."),
    )


def port_option() -> Decorator:
    """``--port``."""
    return click.option(
        "--port", metavar="PORT", help="Serial port of the FPGA board, such as /dev/ttyUSB0."
    )


def console(*, stderr: bool = False) -> Any:
    """A rich console; progress and remarks go to stderr, results to stdout."""
    from rich.console import Console

    made = Console(stderr=stderr, highlight=False)
    if not made.is_terminal:
        made.width = _FILE_WIDTH
    return made
