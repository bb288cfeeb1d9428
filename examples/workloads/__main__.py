"""Write one of the benchmarks' networks as ONNX.

    python -m examples.workloads resnet50 -o resnet50.onnx
    hpu compile resnet50.onnx -o resnet50.hpu --batch 16

With ``--float`` the same network in float32, for comparing.
"""

from pathlib import Path

import click
import onnx

from examples.workloads.networks import WORKLOADS, build

__all__ = ["main"]


@click.command(epilog="Networks: " + ", ".join(WORKLOADS))
@click.argument("name", type=click.Choice(list(WORKLOADS)), metavar="NAME")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True)
@click.option("--seed", type=int, default=0, show_default=True, help="Of the random weights.")
@click.option("--float", "real", is_flag=True, help="Float32 instead of quantised.")
def main(name: str, output: Path, seed: int, real: bool) -> None:
    """Write the network NAME, with random weights and a symbolic batch."""
    onnx.save(build(name, quantised=not real, seed=seed), output)
    print(f"{output}: {name}, {WORKLOADS[name].text}; measured at batch {WORKLOADS[name].batch}")


if __name__ == "__main__":
    main()
