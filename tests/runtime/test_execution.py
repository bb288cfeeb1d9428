"""Programs on a device: races and faults are named, tensors can be read."""

import msgspec
import numpy as np
import pytest

import hpu
from hpu.hw.config import CONFIGS
from hpu.hw.isa import BY_OPCODE, INSTRUCTION_BYTES
from hpu.runtime.agreement import operators, same_bytes, tensors
from hpu.runtime.execution import Executor
from hpu.runtime.layout import to_device
from hpu.runtime.source import import_graph

LAB = CONFIGS["lab-16"]


@pytest.fixture
def program(quantised):
    return hpu.compile(quantised, config="lab-16", batch=5, keep=True)


def changed(program, name: str, **values):
    """The program with fields of its first instruction called ``name`` changed."""
    data = bytearray(program.instructions)
    for start in range(0, len(data), INSTRUCTION_BYTES):
        entry = BY_OPCODE[data[start]]
        if entry.name == name:
            word = data[start : start + INSTRUCTION_BYTES]
            data[start : start + INSTRUCTION_BYTES] = entry.encode(
                {key: value for key, value in entry.decode(word).items() if key != "opcode"}
                | values
            )
            return msgspec.structs.replace(program, instructions=bytes(data))
    raise AssertionError(f"no {name}")


def test_a_missing_token_is_a_race_that_names_both_instructions(program, inputs):
    broken = changed(program, "MATMUL", wait=0)
    with pytest.raises(hpu.ProgramError, match=r"the program has a race: .*MATMUL"):
        Executor(LAB, "functional").run(broken, {"x": inputs})


def test_a_fault_is_named_with_its_instruction(program, inputs):
    broken = changed(program, "VECTOR", d_base=LAB.ub_depth)
    with pytest.raises(hpu.HpuError, match=r"stopped with ADDRESS at instruction \d+: VECTOR"):
        Executor(LAB, "functional").run(broken, {"x": inputs})


def test_a_token_that_nobody_gives_is_a_deadlock(program, inputs):
    broken = changed(program, "STORE", wait=0b11111)
    with pytest.raises(hpu.HpuError, match=r"stopped with DEADLOCK at instruction \d+"):
        Executor(LAB, "functional").run(broken, {"x": inputs})


def test_one_device_runs_several_programs(quantised, program, inputs):
    executor = Executor(LAB, "functional")
    first = executor.run(program, {"x": inputs})["y"]
    small = hpu.compile(quantised, config="lab-16", batch=1)
    np.testing.assert_array_equal(executor.run(small, {"x": inputs[:1]})["y"], first[:1])
    np.testing.assert_array_equal(executor.run(program, {"x": inputs})["y"], first)


def test_kept_tensors_agree_with_onnxruntime_operator_by_operator(quantised, program, inputs):
    executor = Executor(LAB, "functional")
    executor.run(program, {"x": inputs})
    found = tensors(executor, program)
    port = program.inputs[0]
    np.testing.assert_array_equal(found[port.tensor], to_device(inputs, port))
    graph = import_graph(quantised, 5)
    compared = operators(graph, found)
    assert compared.equal == len(compared.exact) == len(graph.ops)
    name = graph.ops[0].out.name
    damaged = found | {name: found[name] ^ np.int8(1)}
    assert operators(graph, damaged).equal < len(compared.exact)


def test_different_bytes_are_counted_and_named():
    one = {"a": np.zeros(4, np.int8), "b": np.zeros(6, np.int8)}
    other = {"a": np.zeros(4, np.int8), "b": np.array([0, 0, 1, 0, 0, 2], np.int8)}
    assert str(same_bytes(one, one)) == "10/10 bytes"
    assert str(same_bytes(one, other)) == "8/10 bytes (first in b)"
