"""Damaged, contradictory and unsupported models: one clear sentence each."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import hpu
from hpu.compiler.errors import ModelError, UnsupportedError
from hpu.compiler.frontend import import_model
from hpu.compiler.importer.load import bind_dims
from hpu.runtime.errors import HpuError


@pytest.fixture
def maker(models):
    return models.Maker(np.random.default_rng(0))


def relu_model(m, shape=(1, 3, 4, 4), scale=0.1, zero=None):
    """Quantise, Relu, quantise: the smallest whole model."""
    zero = np.int8(3) if zero is None else zero
    quant = [m.constant(np.asarray(scale, np.float32)), m.constant(zero)]
    value = m.node("Relu", m.dq(m.q(m.input(list(shape)), quant), quant))
    m.output(m.dq(m.q(value, quant), quant))
    return m.model()


def refused(model, text, kind=ModelError, **options):
    with pytest.raises(kind, match=text) as caught:
        import_model(model, **options)
    message = str(caught.value)
    assert "\n" not in message and isinstance(caught.value, HpuError)
    return message


def test_the_smallest_model_is_taken(maker):
    assert len(import_model(relu_model(maker)).ops) == 1


def test_missing_file(tmp_path):
    refused(tmp_path / "no.onnx", r"no\.onnx does not exist")


@pytest.mark.parametrize("cut", [0, 1, 20, 0.3, 0.9, 0.999])
def test_truncated_file(maker, models, tmp_path, cut):
    path = models.save(relu_model(maker), tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: int(cut if cut >= 1 else cut * len(data))])
    refused(path, r"is not an ONNX file|not sound ONNX")


@pytest.mark.parametrize("seed", range(40))
def test_damaged_file_never_gives_anything_but_a_sentence(maker, models, tmp_path, seed):
    """A flipped byte is noticed, or the model is sound still."""
    rng = np.random.default_rng(seed)
    path = models.save(relu_model(maker), tmp_path)
    data = bytearray(path.read_bytes())
    data[rng.integers(len(data))] ^= int(rng.integers(1, 256))
    path.write_bytes(data)
    try:
        import_model(path)
    except HpuError as error:
        assert "\n" not in str(error)


def test_a_text_is_not_a_model(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_text("this is not a model")
    refused(path, "is not an ONNX file, or is damaged or cut short")


def test_a_folder_is_not_a_model(tmp_path):
    refused(tmp_path, "cannot be read: Is a directory$")


@pytest.mark.parametrize("model", [None, 3, ["m.onnx"]])
def test_what_is_no_model_at_all(model):
    text = f"the model must be a path, bytes or a ModelProto, not {type(model).__name__}"
    refused(model, text)
    with pytest.raises(ModelError, match=text):
        hpu.InferenceSession(model)


def test_a_name_that_is_no_text(maker, models, tmp_path):
    model = relu_model(maker)
    model.graph.node[1].name = "damaged_here"
    path = models.save(model, tmp_path)
    path.write_bytes(path.read_bytes().replace(b"damaged_here", b"dam\xffged_here"))
    refused(path, "is not an ONNX file, or is damaged")


def test_missing_external_data(maker, tmp_path):
    model = relu_model(maker)
    tensor = model.graph.initializer.add()
    tensor.CopyFrom(numpy_helper.from_array(np.zeros((300, 10), np.float32), "big"))
    model.graph.node.append(helper.make_node("Identity", ["big"], ["unused"]))
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, location="data.bin", size_threshold=100)
    (tmp_path / "data.bin").unlink()
    refused(path, r"data\.bin")


def test_no_opset(maker):
    model = relu_model(maker)
    del model.opset_import[:]
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    refused(model, r"names no opset of the domain ai\.onnx")


@pytest.mark.parametrize("opset,text", [(6, "opset is 6; convert it"), (999, "opset is 999")])
def test_opset_out_of_range(maker, opset, text):
    model = relu_model(maker)
    model.opset_import[0].version = opset
    refused(model, text)


def test_unknown_domain(maker):
    model = relu_model(maker)
    model.graph.node[2].domain = "org.example"
    refused(model, "Relu node 'relu2': the domain 'org.example' is unknown", UnsupportedError)


def test_unknown_operator_of_onnx(maker):
    model = relu_model(maker)
    model.graph.node[2].op_type = "Rleu"
    refused(model, r"Rleu node 'relu2' is no operator of ONNX up to opset \d+; export the")


def test_an_operator_newer_than_the_opset(maker):
    model = relu_model(maker)
    model.graph.node[2].op_type = "HardSwish"
    model.opset_import[0].version = 13
    text = (
        "HardSwish node 'relu2' is an operator of opset 14, and the model's opset is 13; export it"
    )
    refused(model, text)


def test_unsupported_operator_names_node_and_reason(maker):
    model = relu_model(maker)
    model.graph.node[2].op_type = "Hardmax"
    text = r"Hardmax node 'relu2': the HPU does not run this operator; .* ended before it, at 'v0'"
    refused(model, text, UnsupportedError)


def test_cycle(maker):
    model = relu_model(maker)
    model.graph.node[0].input[0] = model.graph.node[-1].output[0]
    text = (
        "DequantizeLinear node 'd.*' depends on QuantizeLinear node 'q.*', which depends on it: the"
    )
    refused(model, text)


def test_a_node_that_reads_itself(maker):
    model = relu_model(maker)
    model.graph.node[2].input[0] = model.graph.node[2].output[0]
    refused(model, "Relu node 'relu2' depends on itself: the model has a cycle; export the")


def test_nodes_out_of_order_are_put_in_order(maker):
    model = relu_model(maker)
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    assert len(import_model(model).ops) == 1
    assert [node.name for node in model.graph.node] == [node.name for node in nodes]


def test_values_given_twice(maker):
    model = relu_model(maker)
    model.graph.node[3].output[0] = model.graph.node[0].output[0]
    refused(
        model, "'quantizelinear.*' gives 'v0', and so does QuantizeLinear node 'quantizelinear0'"
    )
    model.graph.node[3].output[0] = "x"
    refused(
        model, "gives 'x', and so does an input or constant; give every value a name of its own"
    )


@pytest.mark.parametrize("kind", ["input", "initializer"])
def test_names_that_stand_twice(maker, kind):
    model = relu_model(maker)
    entries = getattr(model.graph, kind)
    entries.append(entries[0])
    refused(model, f"two {kind}s of the model have the name '{entries[0].name}'; export the model")


def test_nodes_of_one_name_get_others(maker):
    model = relu_model(maker)
    for node in model.graph.node:
        node.name = "same"
    session = hpu.InferenceSession(model, config="lab-16")
    assert len({entry.node for entry in session.placements}) == len(model.graph.node)


@pytest.mark.parametrize("batch", [2.5, "3", True])
def test_a_batch_that_is_no_whole_number(maker, batch):
    model = relu_model(maker, ["n", 3, 4, 4])
    text = f"batch must be a whole number from 1 to 65536, not {batch!r}"
    refused(model, text, batch=batch)
    with pytest.raises(HpuError, match=text):
        hpu.compile(model, batch=batch)
    with pytest.raises(HpuError, match=text):
        hpu.InferenceSession(model, batch=batch)


def test_missing_value(maker):
    model = relu_model(maker)
    model.graph.node[2].input[0] = "nowhere"
    refused(model, "Relu node 'relu2' reads 'nowhere', which nothing gives; export the model again")


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf, -np.inf])
def test_bad_scale(maker, scale):
    refused(
        relu_model(maker, scale=scale), "QuantizeLinear node '.*' has the scale .*; scales must"
    )


@pytest.mark.parametrize("scale", [0.0, np.nan, np.inf])
def test_bad_scale_is_refused_also_where_the_host_would_run_it(maker, scale):
    with pytest.raises(ModelError, match=r"QuantizeLinear node '.*' has the scale"):
        hpu.compile(relu_model(maker, scale=scale))


@pytest.mark.filterwarnings("error")
def test_a_refusal_names_its_node_once(maker):
    """A bias that leaves int32 in steps of 0, told by the survey of a whole model."""
    m = maker
    tiny = [m.constant(np.asarray(1e-45, np.float32)), m.constant(np.int8(0))]
    weights = m.weights((4, 3, 1, 1), 0, "int8", False)
    bias = m.constant(np.ones(4, np.float32))
    value = m.dq(m.q(m.input([1, 3, 4, 4]), tiny), tiny)
    value = m.node("Conv", value, m.dq(weights[0], weights[1:]), bias)
    quant = m.quant("int8")
    m.output(m.dq(m.q(value, quant), quant))
    with pytest.raises(HpuError, match=r"^Conv node '\w+': has a bias that is not finite, or does"):
        hpu.compile(m.model(), no_fallback=True)


def test_kernel_shape_that_is_not_the_weights(maker):
    m = maker
    quant = m.quant("int8")
    weights = m.weights((4, 3, 1, 1), 0, "int8", True)
    value = m.dq(m.q(m.input([1, 3, 4, 4]), quant), quant)
    value = m.node("Conv", value, m.dq(weights[0], weights[1:], axis=0), kernel_shape=[2, 2])
    m.output(m.dq(m.q(value, quant), quant))
    refused(m.model(), r"its kernel_shape \[2, 2\] is not that of its weights, \[1, 1\]")


def test_bad_weight_scale(maker):
    m = maker
    quant = m.quant("int8")
    weights = m.weights((4, 3, 1, 1), 0, "int8", True)
    m.constants[-2].CopyFrom(
        numpy_helper.from_array(np.array([1, 2, np.nan, 4], np.float32), weights[1])
    )
    value = m.dq(m.q(m.input([1, 3, 4, 4]), quant), quant)
    value = m.node("Conv", value, m.dq(weights[0], weights[1:], axis=0))
    m.output(m.dq(m.q(value, quant), quant))
    refused(m.model(), "DequantizeLinear node '.*' has the scale nan")


def test_activation_type(maker):
    refused(relu_model(maker, zero=np.int16(0)), "activations must be int8 or uint8, not int16")


def test_input_type(maker):
    model = relu_model(maker)
    model.graph.input.append(helper.make_tensor_value_info("y", TensorProto.INT64, [1, 3]))
    refused(model, "input 'y' must be float32, int8 or uint8, not int64")


def test_an_input_that_nobody_reads(maker):
    model = relu_model(maker)
    model.graph.input.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3]))
    refused(model, "input 'y': no operator reads it quantised; put QuantizeLinear after it")


def test_symbolic_dimension(maker):
    text = "input 'x' has the symbolic dimension 'H' at place 2; give its size, as --dim H=NUMBER"
    model = relu_model(maker, (1, 3, "H", 4))
    refused(model, text)
    (host,) = import_model(model, dims={"H": 6}).inputs
    assert host.shape == (1, 3, 6, 4)


def test_symbolic_dimensions_by_name(maker):
    model = relu_model(maker, ("N", "C", "N", 4))
    (host,) = import_model(model, dims={"C": 3}, batch=2).inputs
    assert host.shape == (2, 3, 2, 4)
    (host,) = import_model(model, dims={"C": 3, "N": 5}).inputs
    assert host.shape == (5, 3, 5, 4)
    refused(model, "no input has a symbolic dimension 'H'; .* are: 'C', 'N'", dims={"H": 3})
    refused(model, "dimension 'C' must be a whole number from 1 to", dims={"C": 0})


def test_dimensions_that_make_an_input_huge(maker):
    model = relu_model(maker, ("N", "C", "N", 4))
    text = (
        "with 'N' = 8000 and 'C' = 3 the input 'x' has 3072000000 bytes, and a tensor has at most"
    )
    refused(model, text, dims={"N": 8000, "C": 3})
    refused(model, "with 'C' = 2147483647 the", dims={"C": 2**31 - 1})
    bind_dims(model, {"N": 6000, "C": 3})  # 1.7 GB


def test_a_float_model_of_an_old_opset_is_converted(maker):
    m = maker
    weights = m.constant(np.ones((3, 3, 1, 1), np.float32))
    m.output(m.node("Relu", m.node("Conv", m.input([1, 3, 4, 4]), weights)))
    samples = {"x": np.random.default_rng(0).normal(size=(4, 3, 4, 4)).astype(np.float32)}
    assert len(import_model(m.model(opset=8), calibration=samples).ops) == 1


def test_batch_of_a_fixed_model(maker):
    assert import_model(relu_model(maker), batch=4).inputs[0].shape == (4, 3, 4, 4)


@pytest.mark.parametrize("batch", [0, -3, 65_537])
def test_batch_out_of_range(maker, batch):
    text = f"batch must be a whole number from 1 to 65536, not {batch}"
    refused(relu_model(maker, ("N", 3, 4, 4)), text, batch=batch)


@pytest.mark.parametrize("size", [0, 1 << 31, 10**20])
def test_dimension_out_of_range(maker, size):
    model = relu_model(maker, (1, 3, "h", 4))
    with pytest.raises(
        ModelError, match=f"dimension 'h' must be a whole number from 1 to .*, not {size}"
    ):
        bind_dims(model, {"h": size})


def test_shapes_that_do_not_fit(maker):
    m = maker
    quant = m.quant("int8")
    weights = m.weights((4, 5, 3, 3), 0, "int8", False)
    value = m.dq(m.q(m.input([1, 3, 4, 4]), quant), quant)
    value = m.node("Conv", value, m.dq(weights[0], weights[1:]))
    m.output(m.dq(m.q(value, quant), quant))
    refused(m.model(), "Conv node '.*': 1 groups of 5 input channels .* the input's 3 channels")


def test_kernel_larger_than_the_image(maker):
    m = maker
    quant = m.quant("int8")
    weights = m.weights((4, 3, 7, 7), 0, "int8", False)
    value = m.dq(m.q(m.input([1, 3, 4, 4]), quant), quant)
    value = m.node("Conv", value, m.dq(weights[0], weights[1:]))
    m.output(m.dq(m.q(value, quant), quant))
    refused(m.model(), "does not fit")


def test_float_in_the_middle(maker):
    m = maker
    quant = m.quant("int8")
    weights = m.weights((4, 3, 3, 3), 0, "int8", False)
    value = m.dq(m.q(m.input([1, 3, 4, 4]), quant), quant)
    value = m.node("Sigmoid", m.node("Conv", value, m.dq(weights[0], weights[1:])))
    m.output(m.dq(m.q(value, quant), quant))
    refused(
        m.model(),
        "Sigmoid node 'sigmoid4': its input is the float result of Conv; put QuantizeLinear",
        UnsupportedError,
    )


def test_float_output(maker):
    m = maker
    quant = m.quant("int8")
    m.output(m.node("Relu", m.dq(m.q(m.input([1, 3, 4, 4]), quant), quant)))
    refused(m.model(), "output 'v2': it is the float result of Relu; put QuantizeLinear")


def test_a_reader_with_another_scale_than_the_writer(maker):
    m = maker
    one, two = m.quant("int8", 0.1), m.quant("int8", 0.2)
    value = m.node("Relu", m.dq(m.q(m.input([1, 3, 4, 4]), one), two))
    m.output(m.dq(m.q(value, one), one))
    refused(m.model(), "reads 'x' with scale 0.2 .* written with 0.1")


def test_sums_that_could_leave_int32(maker):
    m = maker
    quant = m.quant("int8", 0.1)
    weights = m.weights((4, 3, 1, 1), 0, "int8", False)
    b = m.constant(np.full(4, 2**31 - 5, np.int32))
    scale = m.constant(m.value(quant[0]) * m.value(weights[1]))
    value = m.dq(m.q(m.input([1, 3, 4, 4]), quant), quant)
    bias = m.dq(b, [scale, m.constant(np.int32(0))])
    value = m.node("Conv", value, m.dq(weights[0], weights[1:]), bias)
    m.output(m.dq(m.q(value, quant), quant))
    refused(m.model(), "output channel 0 could leave int32")


def test_integers_as_such(maker):
    m = maker
    quant = m.quant("int8")
    value = m.q(m.input([1, 3, 4, 4]), quant)
    m.output(m.dq(m.node("Add", value, value), quant))
    refused(m.model(), "Add node 'add1': its input 'v0' are integers as such; put Dequantize")


def test_damaged_constant(maker):
    model = relu_model(maker)
    model.graph.initializer[0].raw_data = b"12345"
    text = (
        r"the constant 'c0' of QuantizeLinear node 'quantizelinear0' has 5 bytes, and float \[\] "
    )
    refused(model, text + "takes 4; export the model again")


@pytest.mark.parametrize("change", [-1, 1])
def test_a_constant_of_a_wrong_size(maker, change):
    """Too many bytes as well as too few, in bytes and in typed numbers."""
    m = maker
    quant = m.quant("int8")
    weights = m.weights((4, 3, 3, 3), 0, "int8", False)
    value = m.node("Conv", m.dq(m.q(m.input([1, 3, 6, 6]), quant), quant), m.dq(*split(weights)))
    m.output(m.dq(m.q(value, quant), quant))
    model = m.model()
    tensor = next(t for t in model.graph.initializer if t.name == weights[0])
    sound = tensor.raw_data
    tensor.raw_data = sound[:change] if change < 0 else sound + b"0"
    count = len(sound) + change
    refused(model, f"'{weights[0]}' of DequantizeLinear node '.*' has {count} bytes, and int8")
    tensor.int32_data.extend([0] * count)
    tensor.ClearField("raw_data")
    refused(model, weights[0])


def split(weights):
    return weights[0], weights[1:]


def test_a_constant_of_chance_is_not_folded(maker):
    m = maker
    quant = m.quant("int8")
    value = m.dq(m.q(m.input([1, 3, 4, 4]), quant), quant)
    noise = m.node("RandomNormal", shape=[1, 3, 1, 1])
    m.output(m.dq(m.q(m.node("Add", value, noise), quant), quant))
    refused(m.model(), "RandomNormal node 'randomnormal2': the HPU does not run", UnsupportedError)


def test_control_flow(maker):
    m = maker
    quant = m.quant("int8")
    value = m.dq(m.q(m.input([1, 3, 4, 4]), quant), quant)
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["k"], value_float=1.0)],
        "branch",
        [],
        [helper.make_tensor_value_info("k", TensorProto.FLOAT, [])],
    )
    chosen = m.node("If", m.constant(np.array(True)), then_branch=branch, else_branch=branch)
    m.output(m.dq(m.q(m.node("Add", value, chosen), quant), quant))
    refused(m.model(), "If node 'if2': the HPU does not run this operator", UnsupportedError)


def test_unknown_end(maker):
    refused(relu_model(maker), "the model has no value 'zz' to end at", outputs=["zz"])


def test_ending_early(maker):
    graph = import_model(relu_model(maker), outputs=["v0"])
    assert graph.outputs[0].dtype == "int8" and graph.outputs[0].name == "v0"
