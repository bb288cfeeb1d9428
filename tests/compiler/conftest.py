"""Helpers of the compiler's tests: naive interpreter, random graphs, running a program."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from hpu.compiler.backend import compile_graph
from hpu.compiler.frontend import import_model
from hpu.compiler.qoperator import export
from hpu.compiler.reference import compare
from hpu.compiler.verify import verify
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


@pytest.fixture
def check(models, naive):
    """``check(model, rng, lsb)``: import, interpret, compare with onnxruntime on the same bytes.

    With ``machine``, a configuration, the fused graph is compiled and run as well.
    """

    def run(model, rng, lsb, optimised=False, lsb_export=None, machine=None):
        for fused in (False, True):
            graph = import_model(model, fused=fused)
            feeds = {host.name: models.random_input(host, rng) for host in graph.inputs}
            device = {h.tensor: models.to_device(h, feeds[h.name]) for h in graph.inputs}
            tensors = naive.interpret(graph, device)
            for host, want in zip(graph.outputs, models.run(model, feeds, optimised), strict=True):
                got = models.from_device(host, tensors[host.tensor])
                step = host.scale if host.dtype == "float32" else 1
                apart = np.abs(got.astype(np.float64) - want.astype(np.float64)) / step
                assert got.shape == want.shape
                assert apart.max() <= lsb + 1e-3, f"{apart.max()} LSB apart"
            wrong = [entry for entry in compare(graph, tensors) if entry.wrong]
            assert not wrong, wrong
            outputs = models.run(export(graph), feeds)
            for host, want in zip(graph.outputs, outputs, strict=True):
                got = models.from_device(host, tensors[host.tensor]).astype(np.float64)
                step = host.scale if host.dtype == "float32" else 1
                assert np.abs(got - want).max() / step <= (lsb_export or lsb) + 1e-3
        if machine is not None:
            for name, value in run_program(compile_graph(graph, machine), machine, device).items():
                np.testing.assert_array_equal(value, tensors[name.split("/copy/")[0]], err_msg=name)
        return graph

    return run


@pytest.fixture
def moves_agree(naive):
    """``moves_agree(graph, config, seed)``: compile, run, compare every tensor."""

    def check(graph, config, seed=0):
        verify(graph)
        rng = np.random.default_rng(seed)
        inputs = {
            h.tensor: rng.integers(-128, 128, graph.tensors[h.tensor].shape).astype(np.int8)
            for h in graph.inputs
        }
        expected = naive.interpret(graph, inputs)
        program = compile_graph(graph, config)
        for name, value in run_program(program, config, inputs).items():
            wrong = np.argwhere(value != expected[name])
            assert not len(wrong), f"seed {seed}: {name} at {wrong[:3]} of {value.shape}"
        return program

    return check


def run_program(program, config, inputs):
    races.check(program.instructions, config)
    machine = Machine(config, program.dram_bytes)
    for segment in program.image:
        put(machine, segment.address, segment.data)
    put(machine, program.program_address, program.instructions)
    for port in program.inputs:
        put(machine, port.address, pack(inputs[port.tensor], config, port.cell).tobytes())
    outcome = machine.run(program.program_address, program.instruction_count)
    assert outcome.cause == FaultCause.NONE, (outcome.cause, outcome.pc)
    return {
        port.tensor: unpack(machine.dram[port.address :], port.shape4, config, port.cell)
        for port in (*program.outputs, *program.kept)
    }


def put(machine, address, data):
    machine.dram[address : address + len(data)] = np.frombuffer(data, np.uint8)
