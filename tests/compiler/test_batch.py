"""Models of a fixed batch with another one: the same items, each as the model computes it alone."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import hpu
from hpu.compiler.errors import ModelError
from hpu.compiler.importer.batch import change_batch
from hpu.compiler.importer.load import load_model

RNG = np.random.default_rng(5)
KERNEL = RNG.normal(size=(4, 4, 3, 3)).astype(np.float32)
ROWS = RNG.normal(size=(36, 7)).astype(np.float32)


def model_of(nodes, constants, shape, opset=17):
    graph = helper.make_graph(
        [helper.make_node(op, i, o, name=f"{op}_node", **a) for op, i, o, a in nodes],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def one(op, extra=(), **attributes):
    return [(op, ["x", *extra], ["y"], attributes)]


def ints(*values):
    return np.asarray(values, np.int64)


GOOD = {
    "relu": (one("Relu"), {}),
    "add_constant": (one("Add", ["c"]), {"c": np.ones((1, 4, 3, 3), np.float32)}),
    "add_self": (one("Add", ["x"]), {}),
    "prelu": (one("PRelu", ["c"]), {"c": np.ones((4, 1, 1), np.float32)}),
    "conv": (one("Conv", ["w"], pads=[1, 1, 1, 1]), {"w": KERNEL}),
    "maximum": (one("MaxPool", kernel_shape=[2, 2]), {}),
    "global": (one("GlobalAveragePool"), {}),
    "flatten": (one("Flatten"), {}),
    "reshape_names_it": (one("Reshape", ["c"]), {"c": ints(2, -1)}),
    "reshape_copies_it": (one("Reshape", ["c"]), {"c": ints(0, 12, 3)}),
    "reshape_infers_it": (one("Reshape", ["c"]), {"c": ints(-1, 36)}),
    "transpose": (one("Transpose", perm=[0, 2, 3, 1]), {}),
    "softmax": (one("Softmax", axis=1), {}),
    "concat": ([("Concat", ["x", "x"], ["y"], {"axis": 1})], {}),
    "mean": (one("ReduceMean", axes=[2, 3]), {}),
    "slice": (one("Slice", "abc"), {"a": ints(1), "b": ints(3), "c": ints(2)}),
    "pad": (one("Pad", ["p"]), {"p": ints(0, 0, 1, 1, 0, 0, 2, 0)}),
    "resize": (one("Resize", ["", "s"]), {"s": np.asarray([1, 1, 2, 2], np.float32)}),
    "resize_sizes": (one("Resize", ["", "", "s"]), {"s": ints(2, 4, 6, 5)}),
    "unsqueeze": (one("Unsqueeze", ["a"]), {"a": ints(1)}),
    "gather": (one("Gather", ["i"], axis=1), {"i": ints(2, 0)}),
    "own_shape": (
        [
            ("Shape", ["x"], ["s"], {}),
            ("Slice", ["s", "zero", "one"], ["first"], {}),
            ("Concat", ["first", "rest"], ["t"], {"axis": 0}),
            ("Identity", ["x"], ["same"], {}),
            ("Flatten", ["same"], ["y"], {}),
        ],
        {"zero": ints(0), "one": ints(1), "rest": ints(-1)},
    ),
    "dense": (
        [("Flatten", ["x"], ["f"], {}), ("Gemm", ["f", "w", "b"], ["y"], {})],
        {"w": ROWS, "b": np.ones(7, np.float32)},
    ),
    "product": (
        [("Reshape", ["x", "c"], ["f"], {}), ("MatMul", ["f", "w"], ["y"], {})],
        {"c": ints(2, 36), "w": ROWS},
    ),
    "stack": (
        [("Transpose", ["x"], ["t"], {"perm": [0, 1, 3, 2]}), ("MatMul", ["x", "t"], ["y"], {})],
        {},
    ),
}


@pytest.mark.parametrize("name", GOOD)
def test_every_item_is_computed_alone(name):
    """Five items are those of three batches of two, the last item of which is dropped."""
    model = model_of(*GOOD[name], [2, 4, 3, 3])
    x = np.random.default_rng(1).normal(size=(6, 4, 3, 3)).astype(np.float32)
    pairs = [run(model, x[k : k + 2]) for k in (0, 2, 4)]
    found = run(load_model(model, 5), x[:5])
    np.testing.assert_allclose(found, np.concatenate(pairs)[:5], rtol=1e-5, atol=1e-6)


BAD = {
    "softmax": (one("Softmax", axis=0), {}, "works along the batch"),
    "mean": (one("ReduceMean", axes=[0]), {}, "works along the batch"),
    "all": (one("ReduceSum"), {}, "works along the batch"),
    "concat": ([("Concat", ["x", "x"], ["y"], {"axis": 0})], {}, "works along the batch"),
    "transpose": (one("Transpose"), {}, "moves the batch from the first axis"),
    "reshape": (one("Reshape", ["c"]), {"c": ints(8, 9)}, "mixes the batch with other axes"),
    "values": (
        one("Add", ["c"]),
        {"c": np.ones((2, 4, 3, 3), np.float32)},
        "reads 'c', which has a value for every item",
    ),
    "pad": (one("Pad", ["p"]), {"p": ints(1, 0, 1, 1, 0, 0, 2, 0)}, "pads the batch"),
    "flatten": (one("Flatten", axis=2), {}, "flattens the batch with other axes"),
    "slice": (
        one("Slice", ["a", "b", "a"]),
        {"a": ints(0), "b": ints(1)},
        "works along the batch",
    ),
    "cumulative": (one("CumSum", ["a"]), {"a": ints(1)}, "is not known to treat every item"),
    "resize": (
        one("Resize", ["", "s"]),
        {"s": np.asarray([2, 1, 2, 2], np.float32)},
        "resizes the batch",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_what_mixes_items_is_refused(name):
    nodes, constants, reason = BAD[name]
    model = model_of(nodes, constants, [2, 4, 3, 3])
    op = nodes[-1][0]
    with pytest.raises(ModelError) as caught:
        load_model(model, 5)
    assert str(caught.value).startswith(f"{op} node '{op}_node' {reason}")
    assert str(caught.value).endswith(
        "so the batch stays 2; export the model with a symbolic first dimension"
    )
    assert load_model(model, 2) == load_model(model)


def test_inputs_without_a_common_batch():
    model = model_of([("Add", ["x", "z"], ["y"], {})], {}, [2, 3])
    model.graph.input.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, [1, 3]))
    with pytest.raises(ModelError, match=r"input 'z' of shape \[1, 3\] has no batch in common"):
        load_model(model, 5)


def test_a_program_for_another_batch(fixed, quantised, inputs):
    """The small network with batch 2 as with a symbolic one."""
    want = hpu.compile(quantised, config="lab-16", batch=5)
    assert hpu.compile(fixed, config="lab-16", batch=5) == want
    (y,) = hpu.InferenceSession(fixed, config="lab-16", batch=5).run(None, {"x": inputs})
    assert y.shape == (5, 4)


def test_shared_constants_are_left_alone():
    """The shape's constant is also added to what another node gives."""
    model = model_of(
        [
            ("Reshape", ["x", "c"], ["f"], {}),
            ("Cast", ["c"], ["d"], {"to": TensorProto.FLOAT}),
            ("Add", ["f", "d"], ["y"], {}),
        ],
        {"c": ints(2, 2)},
        [2, 2, 1, 1],
    )
    x = np.zeros((3, 2, 1, 1), np.float32)
    np.testing.assert_array_equal(run(load_model(model, 3), x), np.full((3, 2), 2))


def test_the_model_given_is_not_changed():
    model = model_of(*GOOD["reshape_names_it"], [2, 4, 3, 3])
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    load_model(model, 5)
    assert model == copy
    change_batch(copy, 5)
    assert model != copy


def run(model, x):
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {"x": x})[0]
