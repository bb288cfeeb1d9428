"""Helpers of the compiler's tests: naive interpreter, random graphs, running a program."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from hpu.hw.csr import FaultCause
from hpu.runtime.layout import pack, unpack
from hpu.sim import races
from hpu.sim.functional import Machine


def _module(name: str):
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).parent / f"{name}.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture(scope="session")
def naive():
    """The naive interpreter of graphs."""
    return _module("naive")


@pytest.fixture(scope="session")
def random_graphs():
    """The builder of random graphs."""
    return _module("random_graph")


@pytest.fixture(scope="session")
def models():
    """The maker of small ONNX models."""
    return _module("onnx_models")


@pytest.fixture(scope="session")
def execute():
    """``execute(program, config, inputs)``: device tensors by name; refuses races."""
    return run_program


def run_program(program, config, inputs):
    races.check(program.instructions, config)
    machine = Machine(config, program.dram_bytes)
    for segment in program.image:
        put(machine, segment.address, segment.data)
    put(machine, program.program_address, program.instructions)
    for port in program.inputs:
        put(machine, port.address, pack(inputs[port.tensor], config).tobytes())
    outcome = machine.run(program.program_address, program.instruction_count)
    assert outcome.cause == FaultCause.NONE, (outcome.cause, outcome.pc)
    return {
        port.tensor: unpack(machine.dram[port.address :], port.shape4, config)
        for port in (*program.outputs, *program.kept)
    }


def put(machine, address, data):
    machine.dram[address : address + len(data)] = np.frombuffer(data, np.uint8)
