"""``python -m hpu.runtime.bench``: measure the project's figures and write ``build/bench.json``.

A figure is a function in one of the ``bench_*`` modules, put in the registry with :func:`figure`.
"""

import importlib
from pathlib import Path

import click
import msgspec

from hpu.runtime.bench_figures import FIGURES, Figure, Measurement
from hpu.runtime.cli_common import console
from hpu.runtime.errors import HpuError
from hpu.runtime.files import write_atomically

__all__ = ["main", "measure", "merged"]

_MODULES = (
    "bench_numbers",
    "bench_machine",
    "bench_models",
    "bench_cycles",
    "bench_networks",
    "bench_whole",
    "bench_onnx",
    "bench_link",
    "bench_fpga",
    "bench_chain_gas",
    "bench_chain_proofs",
    "bench_chain_fuzz",
    "bench_chain_orders",
)


class _File(msgspec.Struct):
    figures: list[Measurement]


def _load_figures() -> None:
    for name in _MODULES:
        importlib.import_module(f"hpu.runtime.{name}")


def measure(figure: Figure) -> Measurement:
    """Measure one figure and judge it; a figure that cannot be measured is not reached."""
    try:
        found = figure.function()
    except (HpuError, AssertionError) as error:
        return Measurement(
            figure.id, None, figure.unit, figure.bar, False, f"not measured: {error}"
        )
    value = float(found.value)  # whatever number type it was measured with
    return Measurement(
        figure.id,
        value,
        figure.unit,
        figure.bar,
        figure.reached(value),
        found.detail,
        found.peer,
        list(found.rows),
    )


def merged(path: Path, measured: list[Measurement]) -> list[Measurement]:
    """What the file holds, with the figures of ``measured`` replaced or added.

    Raises
    ------
    HpuError
        When the file is there but is not one that this program wrote.
    """
    if not path.exists():
        return measured
    try:
        old = msgspec.json.decode(path.read_bytes(), type=_File).figures
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HpuError(f"{path} is damaged ({error}); delete it.") from None
    new = {entry.id: entry for entry in measured}
    kept = [new.pop(entry.id, entry) for entry in old]
    return kept + list(new.values())


def _print(entry: Measurement) -> None:
    mark = "[green]reached[/]" if entry.reached else "[red]not reached[/]"
    value = "-" if entry.value is None else f"{entry.value:,.6g}"
    out = console()
    out.print(f"[bold]{entry.id}[/]  {value} {entry.unit}  (bar: {entry.bar})  {mark}")
    out.print(f"    {entry.detail}", soft_wrap=True)
    if entry.peer:
        out.print(f"    peer: {entry.peer}", soft_wrap=True)


@click.command()
@click.option("--only", metavar="ID", help="Measure this figure alone.")
@click.option(
    "--output", type=click.Path(path_type=Path), default=Path("build/bench.json"), show_default=True
)
def main(only: str | None, output: Path) -> None:
    """Measure every figure, print it, and write it to a file; exit status 1 when one is missed."""
    _load_figures()
    if only is not None and only not in FIGURES:
        raise click.UsageError(f"--only must be one of {', '.join(FIGURES)}, not {only!r}")
    results = []
    for name in [only] if only else list(FIGURES):
        results.append(measure(FIGURES[name]))
        _print(results[-1])
        output.parent.mkdir(parents=True, exist_ok=True)
        whole = _File(merged(output, results))
        write_atomically(output, msgspec.json.format(msgspec.json.encode(whole), indent=2) + b"\n")
    raise SystemExit(0 if all(entry.reached for entry in results) else 1)


if __name__ == "__main__":
    main()
