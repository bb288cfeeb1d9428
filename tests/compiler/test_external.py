"""Constants in other files: mapped, past 2 GiB too; refused where they are not what they were."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import hpu
from hpu.compiler.errors import ModelError
from hpu.compiler.importer.external import array_of, is_external, open_in_place, set_aside
from hpu.compiler.importer.load import load_model
from hpu.runtime import models as sources

CONFIG = "lab-16"
SMALL_ROWS, WIDTH, SCALE = 50, 16, 0.0625


def tensor(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def outside(name, kind, shape, offset, size):
    """A constant in ``data.bin``."""
    entry = TensorProto(name=name, data_type=kind, dims=shape)
    entry.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "data.bin"), ("offset", offset), ("length", size)):
        entry.external_data.add(key=key, value=str(value))
    return entry


def network(folder, rows):
    """Rows of a table, picked by the host, into a quantised product: both read ``data.bin``.

    The table is zero but for its last three rows, so that a large file takes no room.
    """
    rng = np.random.default_rng(0)
    weights = rng.integers(-9, 9, (WIDTH, 5)).astype(np.int8)
    last = rng.normal(size=(3, WIDTH)).astype(np.float32)
    size = rows * WIDTH * 4
    with (folder / "data.bin").open("wb") as file:
        file.write(weights.tobytes())
        file.truncate(4096 + size)
        file.seek(4096 + size - last.nbytes)
        file.write(last.tobytes())
    nodes = [
        helper.make_node("Gather", ["table", "i"], ["x"], name="pick"),
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"], name="quantise"),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"], name="x_real"),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["wd"], name="w_real"),
        helper.make_node("MatMul", ["xd", "wd"], ["p"], name="product"),
        helper.make_node("QuantizeLinear", ["p", "s", "z"], ["pq"], name="again"),
        helper.make_node("DequantizeLinear", ["pq", "s", "z"], ["y"], name="y_real"),
    ]
    graph = helper.make_graph(
        nodes,
        "large",
        [helper.make_tensor_value_info("i", TensorProto.INT64, [4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 5])],
        [
            outside("table", TensorProto.FLOAT, [rows, WIDTH], 4096, size),
            outside("w", TensorProto.INT8, list(weights.shape), 0, weights.nbytes),
            tensor("s", np.float32(SCALE)),
            tensor("z", np.int8(0)),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = folder / "m.onnx"
    path.write_bytes(model.SerializeToString())
    picked = np.asarray([rows - 1, 0, rows - 3, rows - 2])
    table = np.concatenate([last, np.zeros((1, WIDTH), np.float32)])[[2, 3, 0, 1]]
    steps = np.clip(np.round(table / np.float32(SCALE)), -128, 127)
    sums = np.clip(np.round(steps @ weights * SCALE), -128, 127)
    return path, picked, sums * np.float32(SCALE)


@pytest.mark.parametrize(
    "rows", [SMALL_ROWS, 40_000_000], ids=["small", "2,560 MB in a sparse file"]
)
def test_host_and_hpu_read_the_same_file(tmp_path, monkeypatch, rows):
    path, picked, want = network(tmp_path, rows)
    if rows == SMALL_ROWS:
        monkeypatch.setattr(sources, "LARGEST", 100)
    session = hpu.InferenceSession(path, config=CONFIG)
    on_host = [entry.node for entry in session.placements if entry.on_host]
    assert on_host == ["pick"]
    (y,) = session.run(None, {"i": picked})
    np.testing.assert_allclose(y, want, rtol=0, atol=1e-6)
    with pytest.raises(hpu.HpuError, match="larger than a program file can hold"):
        hpu.compile(path, config=CONFIG).save(tmp_path / "m.hpu")
    assert not (tmp_path / "m.hpu").exists()


def test_onnxruntime_says_the_same(tmp_path):
    path, picked, want = network(tmp_path, SMALL_ROWS)
    (y,) = onnxruntime.InferenceSession(path).run(None, {"i": picked})
    np.testing.assert_allclose(y, want, rtol=0, atol=1e-6)


def test_arrays_are_mapped(tmp_path):
    path, *_ = network(tmp_path, SMALL_ROWS)
    model = open_in_place(path)
    arrays = {entry.name: array_of(entry) for entry in model.graph.initializer}
    assert isinstance(arrays["table"], np.memmap)
    whole = {
        entry.name: numpy_helper.to_array(entry) for entry in onnx.load(path).graph.initializer
    }
    for name, array in whole.items():
        np.testing.assert_array_equal(arrays[name], array)
    bound = load_model(model)
    assert [is_external(t) for t in bound.graph.initializer if t.name == "table"] == [True]


def test_empty_and_packed_numbers(tmp_path):
    (tmp_path / "data.bin").write_bytes(b"\x21\x43")
    packed = outside("p", TensorProto.INT4, [4], 0, 2)
    empty = outside("e", TensorProto.FLOAT, [0, 3], 0, 0)
    for entry in (packed, empty):
        entry.external_data[0].value = str(tmp_path / "data.bin")
    assert array_of(packed).astype(int).tolist() == [1, 2, 3, 4]
    assert array_of(empty).shape == (0, 3)


def test_large_constants_are_set_aside():
    array = np.zeros(1 << 19, np.float32)
    graph = helper.make_graph(
        [helper.make_node("Add", ["c", "x"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1 << 19])],
        [tensor("c", array)],
    )
    model = helper.make_model(graph)
    before = model.SerializeToString()
    with set_aside(model) as put_back:
        assert not model.graph.initializer
        assert [value.name for value in model.graph.input] == ["x", "c"]
        copy = onnx.ModelProto.FromString(model.SerializeToString())
        put_back(copy.graph)
    assert model.SerializeToString() == before == copy.SerializeToString()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"location": "gone.bin"}, r"the constant 'w' is in .*gone\.bin, which does not exist"),
        ({"location": "../data.bin"}, r"'w' is in \.\./data\.bin, outside the model's folder; put"),
        ({"length": "79"}, r"the constant 'w' takes 80 bytes from 0 of .*data\.bin, which has"),
        ({"offset": "7290"}, r"'w' takes 80 bytes from 7,290 of .*, which has 7,296; export the"),
    ],
)
def test_data_that_are_not_there(tmp_path, monkeypatch, change, text):
    monkeypatch.setattr(sources, "LARGEST", 100)
    path, *_ = network(tmp_path, SMALL_ROWS)
    model = onnx.load(path, load_external_data=False)
    for entry in model.graph.initializer[1].external_data:
        entry.value = change.get(entry.key, entry.value)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=text):
        hpu.InferenceSession(path, config=CONFIG)
