"""Sessions on the machine in RTL (lab-16): the same bytes, and every cycle accounted for."""

import numpy as np
import pytest
from click.testing import CliRunner

import hpu
from hpu.cli import cli
from hpu.hw.config import CONFIGS
from hpu.runtime.agreement import same_bytes, tensors
from hpu.runtime.execution import Executor
from hpu.runtime.measure import measure_network

LAB = CONFIGS["lab-16"]


def test_every_tensor_is_the_functional_devices(quantised, inputs):
    program = hpu.compile(quantised, config=LAB, batch=5, keep=True)
    found = {}
    for device in ("functional", "rtl"):
        executor = Executor(LAB, device)
        executor.run(program, {"x": inputs})
        found[device] = tensors(executor, program)
        executor.close()
    compared = same_bytes(found["rtl"], found["functional"])
    assert compared.equal == compared.total, compared


def test_measured_cycles_are_accounted_for(quantised, inputs):
    stages = []
    session = hpu.InferenceSession(
        quantised, device="rtl", config=LAB, progress=lambda *stage: stages.append(stage)
    )
    network = measure_network(session, {"x": inputs})
    (measured,) = network.programs
    profile = measured.profile
    assert profile.attributed == 1
    assert sum(node.cycles for node in profile.nodes) == profile.cycles
    assert len(measured.spans) == profile.instructions
    assert measured.spans.end.max() <= profile.cycles
    for unit, cycles in profile.units.items():
        counter = f"{unit.upper()}_BUSY"
        if counter in profile.counters:
            assert cycles == pytest.approx(profile.counters[counter], rel=0.02, abs=64), unit
    assert stages[-1][0] == "simulating cycles"
    functional = hpu.InferenceSession(quantised, config=LAB).run(None, {"x": inputs})[0]
    np.testing.assert_array_equal(network.outputs["y"], functional)


def test_profile_by_the_command_line(quantised, tmp_path):
    program = tmp_path / "m.hpu"
    hpu.compile(quantised, config=LAB, batch=2).save(program)
    files = [tmp_path / name for name in ("p.html", "p.perfetto-trace")]
    arguments = ["profile", program, "--device", "rtl", "--html", files[0], "--trace", files[1]]
    result = CliRunner().invoke(cli, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    assert "100.00%" in result.stdout and "useful" in result.stdout
    assert all(path.stat().st_size > 1000 for path in files)
