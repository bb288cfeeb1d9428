"""Make the input file of an MNIST network from raw digits.

    python -m examples.mnist.prepare mnist_t10k_first1000.npz x.npz --count 1000
    hpu run mnist_conv_qdq_int8.onnx --input x.npz --output y.npz

The source holds ``images`` (n, 28, 28) uint8 and ``labels``. The quantised network of the qonnx
test models takes pixels from 0 to 255 as float32 [1, 1, 28, 28] under the name ``Input3``.
"""

from pathlib import Path

import click
import numpy as np

from hpu.runtime.arrays import read_arrays, write_arrays

__all__ = ["main", "network_input"]

INPUT = "Input3"


def network_input(images: np.ndarray) -> np.ndarray:
    """float32 [n, 1, 28, 28] from uint8 (n, 28, 28)."""
    return images[:, None].astype(np.float32)


@click.command()
@click.argument("source", type=click.Path(path_type=Path))
@click.argument("target", type=click.Path(path_type=Path))
@click.option("--count", type=click.IntRange(min=1), default=1000, show_default=True)
def main(source: Path, target: Path, count: int) -> None:
    """Write the first COUNT digits of SOURCE to TARGET as the network takes them."""
    write_arrays(target, {INPUT: network_input(read_arrays(source)["images"][:count])})


if __name__ == "__main__":
    main()
