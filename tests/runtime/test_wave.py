import struct

import numpy as np
import pytest

from hpu.runtime.errors import HpuError
from hpu.runtime.wave import record
from hpu.sim import rtl
from hpu.sim.verilator import BuildError


def has_headers():
    try:
        rtl._check_trace_headers()
    except BuildError:
        return False
    return True


@pytest.fixture
def case(product, tmp_path, quantised, inputs):
    """A model, its input and the file to write."""
    model, feeds = tmp_path / "m.onnx", tmp_path / "x.npz"
    model.write_bytes(quantised.SerializeToString())
    np.savez(feeds, x=inputs[:1])
    return model, feeds, tmp_path / "out.fst"


def run(case, **values):
    model, feeds, output = case
    window = {"first": 100, "cycles": 50, "config": "lab-16", "output": output, **values}
    return record(model, feeds, **window)


@pytest.mark.slow
@pytest.mark.skipif(not has_headers(), reason="liblz4-dev is not installed")
def test_window(case, tmp_path):
    assert run(case) == 50
    data = case[2].read_bytes()
    first, last = struct.unpack(">QQ", data[9:25])
    # A header block, and two points of time per cycle.
    assert data[0] == 0 and last - first == 2 * 50 - 1
    with pytest.raises(HpuError, match=r"the program ends before cycle 1000000; give an earlier"):
        run(case, first=1_000_000, output=tmp_path / "late.fst")
    assert not (tmp_path / "late.fst").exists()


@pytest.mark.skipif(has_headers(), reason="liblz4-dev is installed")
def test_missing_package_is_named(case):
    with pytest.raises(HpuError, match=r"lz4\.h must be installed .*apt-get install liblz4-dev"):
        run(case)
    assert not case[2].exists()


def test_folder_that_does_not_exist(case, tmp_path):
    with pytest.raises(HpuError, match="cannot be written: its folder does not exist"):
        run(case, output=tmp_path / "no" / "out.fst")
