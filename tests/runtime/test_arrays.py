"""Arrays in files."""

import numpy as np
import pytest

from hpu.runtime.arrays import read_arrays, read_feeds, write_arrays
from hpu.runtime.errors import InputError


def test_arrays_come_back(tmp_path):
    arrays = {"a": np.arange(6).reshape(2, 3), "b/c": np.float32([1.5])}
    write_arrays(tmp_path / "x.npz", arrays)
    found = read_arrays(tmp_path / "x.npz")
    assert list(found) == list(arrays)
    for name, value in arrays.items():
        np.testing.assert_array_equal(found[name], value)


def test_one_array_goes_to_one_input(tmp_path):
    np.save(tmp_path / "x.npy", np.ones(3))
    assert list(read_feeds(tmp_path / "x.npy", ["image"])) == ["image"]
    with pytest.raises(InputError, match="holds one array, and the inputs are a, b"):
        read_feeds(tmp_path / "x.npy", ["a", "b"])
    with pytest.raises(InputError, match="holds one array without a name"):
        read_arrays(tmp_path / "x.npy")


@pytest.mark.parametrize("content", [b"", b"text", b"\x93NUMPY\x01\x00", b"PK\x03\x04garbage"])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(InputError, match=r"is not an \.npz or \.npy file"):
        read_arrays(tmp_path / "x.npz")


def test_damaged_files_are_refused(tmp_path):
    write_arrays(tmp_path / "x.npz", {"a": np.arange(1000)})
    data = bytearray((tmp_path / "x.npz").read_bytes())
    data[500] ^= 0xFF
    (tmp_path / "x.npz").write_bytes(data)
    with pytest.raises(InputError, match="or is damaged"):
        read_arrays(tmp_path / "x.npz")


def test_python_objects_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.array([{}], dtype=object))
    with pytest.raises(InputError, match="file of plain arrays"):
        read_arrays(tmp_path / "x.npz")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.npz cannot be read: No such file"):
        read_arrays(tmp_path / "none.npz")
