"""``python -m hpu.runtime.bench_page``: ``docs/benchmarks.md`` and its plots, from figures."""

from pathlib import Path
from typing import Any

import click
import jinja2

from hpu.hw.config import by_name
from hpu.runtime.bench import merged
from hpu.runtime.bench_figures import Measurement, Row
from hpu.runtime.errors import HpuError
from hpu.runtime.files import write_atomically

__all__ = ["main", "page", "plots"]

_DOCS = Path(__file__).resolve().parent.parent / "docs"
_CLOCK_MHZ = by_name("hai-v1").clock_hz // 1_000_000
#: Colours of the bars: ours, what must be reached, others.
_OURS, _BAR, _OTHER = "#2f6f9f", "#9aa5b1", "#d9a441"


def page(figures: list[Measurement]) -> str:
    """The page's Markdown; parts whose figures were not measured are left out."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.ChainableUndefined,
        trim_blocks=True,
    )
    environment.filters |= {"number": _number, "short": _short, "mega": _mega}
    text = environment.get_template("bench_page.md.j2").render(
        figures=figures,
        missed=[entry for entry in figures if not entry.reached],
        clock=_CLOCK_MHZ,
        **_tables(figures),
    )
    return text.rstrip() + "\n"


def _tables(figures: list[Measurement]) -> dict[str, Any]:
    """The numbers of the page's tables by their names."""
    rows = {entry.id: entry.rows for entry in figures}
    networks = rows.get("resnet50_b16", []) + rows.get("mobilenetv2_b8", [])
    ratios = {row["model"]: row for row in rows.get("functional_ratio_models", [])}
    return {
        "workloads": [row for row in rows.get("roofline_share", []) if row["cycles"]],
        "networks": [row for row in networks if "cycles" in row],
        "scale_sim": next((r["scale_sim_cycles"] for r in networks if "scale_sim_cycles" in r), 0),
        "scaling": rows.get("array_scaling", []),
        "models": [row | ratios.get(row["model"], {}) for row in rows.get("models_run", [])],
    }


def _number(value: float | None) -> str:
    if value is None:
        return "not measured"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _short(value: Any) -> str:
    """An integer, another number with one digit behind the point, or nothing for none."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.1f}" if isinstance(value, float) else ""


def _mega(value: float) -> str:
    return f"{value / 1e6:,.1f}M"


def plots(figures: list[Measurement], folder: Path) -> list[Path]:
    """Write the plots that the figures have numbers for, as SVG; gives their paths.

    The files do not depend on the time or on the computer.
    """
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams |= {"svg.hashsalt": "hpu", "font.size": 9, "svg.fonttype": "none"}
    tables = _tables(figures)
    made = []
    if tables["workloads"]:
        made.append(_roofline_plot(tables["workloads"], folder / "roofline_share.svg"))
    if tables["scale_sim"]:
        made.append(_resnet_plot(tables, folder / "resnet50_cycles.svg"))
    return made


def _roofline_plot(rows: list[Row], path: Path) -> Path:
    figure, axes = _axes()
    series = (("TPU v1", "tpu_v1", _OTHER), ("to reach", "bar", _BAR), ("HPU", "share", _OURS))
    for index, (label, key, colour) in enumerate(series):
        places = [k + 0.27 * (index - 1) for k in range(len(rows))]
        axes.bar(places, [row[key] for row in rows], 0.25, label=label, color=colour)
    axes.set_xticks(range(len(rows)), [str(row["workload"]) for row in rows])
    axes.set_ylabel("share of the roofline, %")
    axes.set_ylim(0, 100)
    figure.legend(loc="outside upper center", ncols=len(series), frameon=False)
    return _saved(figure, path)


def _resnet_plot(tables: dict[str, Any], path: Path) -> Path:
    ours = next(row for row in tables["networks"] if row["network"] == "resnet50")
    images = ours["batch"]
    bars = [
        ("SCALE-Sim 3.0.0,\nbatch 1", tables["scale_sim"], _OTHER),
        ("to reach", 105_000, _BAR),
        (f"HPU, batch {images}", ours["cycles"] / images, _OURS),
        ("the array's peak", ours["macs"] / by_name("hai-v1").peak_macs / images, _BAR),
    ]
    figure, axes = _axes()
    labels, heights, colours = zip(*bars, strict=True)
    drawn = axes.bar(labels, heights, 0.6, color=colours)
    axes.bar_label(drawn, [f"{height:,.0f}" for height in heights])
    axes.set_ylabel("cycles per image of ResNet-50")
    return _saved(figure, path)


def _axes() -> tuple[Any, Any]:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 3.2), layout="constrained")
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _saved(figure: Any, path: Path) -> Path:
    from matplotlib import pyplot

    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path


@click.command()
@click.option(
    "--figures",
    type=click.Path(path_type=Path),
    default=Path("build/bench.json"),
    show_default=True,
)
@click.option("--docs", type=click.Path(path_type=Path), default=_DOCS, help="Folder of the pages.")
def main(figures: Path, docs: Path) -> None:
    """Write the page of the benchmarks and its plots from the figures that were measured."""
    try:
        measured = merged(figures, [])
        if not measured:
            raise HpuError(f"{figures} is not there; run make bench first.")
        (docs / "images").mkdir(parents=True, exist_ok=True)
        made = plots(measured, docs / "images")
        write_atomically(docs / "benchmarks.md", page(measured).encode())
    except HpuError as error:
        raise click.UsageError(str(error)) from None
    for path in (*made, docs / "benchmarks.md"):
        print(f"wrote {path}")


if __name__ == "__main__":
    main()
