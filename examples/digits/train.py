"""Train the demo network on scikit-learn's digits and write ``digits.onnx`` (float32).

    pip install hai-hpu[dev,train]
    python -m examples.digits.train

The same 360 images are held out as in ``data.py``. Seeded: the same accuracy on the same machine.
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from examples.digits.data import split

HERE = Path(__file__).parent
CONVOLUTIONS = {"conv1": (1, 16), "conv2": (16, 32), "conv3": (32, 32), "conv4": (32, 32)}


class Network(nn.Module):
    """Two convolutions, max pooling, a residual block, global average pooling and a dense layer."""

    def __init__(self) -> None:
        super().__init__()
        for name, (inputs, outputs) in CONVOLUTIONS.items():
            setattr(self, name, nn.Conv2d(inputs, outputs, 3, padding=1))
        self.dense = nn.Linear(32, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits [n, 10] of images [n, 1, 8, 8]."""
        x = self.conv1(x).relu()
        x = self.conv2(x).relu()
        x = nn.functional.max_pool2d(x, 2)
        x = (x + self.conv4(self.conv3(x).relu())).relu()
        return self.dense(x.mean((2, 3)))


def jitter(x: torch.Tensor) -> torch.Tensor:
    """Images moved by up to one pixel and made a little lighter or darker."""
    shift = torch.randint(-1, 2, (2,)).tolist()
    moved = torch.roll(nn.functional.pad(x, (1, 1, 1, 1)), shift, (2, 3))[:, :, 1:-1, 1:-1]
    return moved * (0.9 + 0.2 * torch.rand(len(x), 1, 1, 1))


def train(epochs: int, seed: int) -> Network:
    """A trained network."""
    torch.manual_seed(seed)
    (images, labels), _held_out = split()
    x, y = torch.from_numpy(images), torch.from_numpy(labels)
    network = Network()
    optimiser = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-3)
    batches = -(-len(x) // 64)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 6e-3, total_steps=epochs * batches)
    for _epoch in range(epochs):
        for chosen in torch.randperm(len(x)).split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(jitter(x[chosen])), y[chosen]).backward()
            optimiser.step()
            schedule.step()
    return network.eval()


def accuracy(network: Network) -> float:
    """Share of the held-out images classified rightly."""
    _training, (images, labels) = split()
    with torch.no_grad():
        return float(np.mean(network(torch.from_numpy(images)).argmax(1).numpy() == labels))


def export(network: Network) -> onnx.ModelProto:
    """The network as ONNX, with a symbolic batch."""
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    conv = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}

    def layer(op_type: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
        return helper.make_node(op_type, inputs.split(), [output], name=output, **attributes)

    nodes = [
        layer("Conv", "image conv1.weight conv1.bias", "conv1", **conv),
        layer("Relu", "conv1", "relu1"),
        layer("Conv", "relu1 conv2.weight conv2.bias", "conv2", **conv),
        layer("Relu", "conv2", "relu2"),
        layer("MaxPool", "relu2", "pool", kernel_shape=[2, 2], strides=[2, 2]),
        layer("Conv", "pool conv3.weight conv3.bias", "conv3", **conv),
        layer("Relu", "conv3", "relu3"),
        layer("Conv", "relu3 conv4.weight conv4.bias", "conv4", **conv),
        layer("Add", "pool conv4", "add"),
        layer("Relu", "add", "relu4"),
        layer("GlobalAveragePool", "relu4", "average"),
        layer("Flatten", "average", "flat"),
        layer("Gemm", "flat dense.weight dense.bias", "logits", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 8, 8])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 10])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    """Train, report the accuracy and write the model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=HERE / "digits.onnx")
    arguments = parser.parse_args()
    network = train(arguments.epochs, arguments.seed)
    print(f"accuracy on the held-out images: {accuracy(network):.2%}")
    onnx.save(export(network), arguments.output)


if __name__ == "__main__":
    main()
