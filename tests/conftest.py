"""A small network and a hand-made program that several tests share."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.product import make_product

from hpu.compiler.quantise import quantise

BATCH = "n"


def small_model(batch: str | int = BATCH) -> onnx.ModelProto:
    """Float convolution, relu, max pooling, dense layer over [batch, 3, 6, 6]."""
    generator = np.random.default_rng(3)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(generator.normal(size=shape).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="relu"),
        helper.make_node("MaxPool", ["r"], ["p"], name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"], name="flatten"),
        helper.make_node("Gemm", ["f", "v", "d"], ["y"], name="dense"),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 4])],
        [weight("w", 5, 3, 3, 3), weight("b", 5), weight("v", 45, 4), weight("d", 4)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def samples(count: int, seed: int = 0) -> np.ndarray:
    """Inputs of the small network."""
    return np.random.default_rng(seed).normal(size=(count, 3, 6, 6)).astype(np.float32)


@pytest.fixture(scope="session")
def quantised() -> onnx.ModelProto:
    """The small network in QDQ form with a symbolic batch."""
    return quantise(small_model(), {"x": samples(16)})


@pytest.fixture(scope="session")
def fixed() -> onnx.ModelProto:
    """The small network in QDQ form with batch 2."""
    return quantise(small_model(2), {"x": samples(16)})


@pytest.fixture(scope="session")
def inputs() -> np.ndarray:
    """Five inputs of the small network."""
    return samples(5, seed=1)


@pytest.fixture(scope="session")
def float_model() -> onnx.ModelProto:
    """The small network before quantisation."""
    return small_model()


@pytest.fixture(scope="session")
def calibration() -> np.ndarray:
    """The samples that the small network was quantised with."""
    return samples(16)


@pytest.fixture
def product():
    """Makes a hand-made program: ``product(config, rows=…, seed=…)``."""
    return make_product
