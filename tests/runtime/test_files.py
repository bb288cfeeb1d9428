"""Files are written whole or not at all."""

import pytest

from hpu.runtime.files import replacing, write_atomically


def test_the_old_file_stays_when_writing_fails(tmp_path):
    target = tmp_path / "f"
    write_atomically(target, b"old")
    with pytest.raises(ZeroDivisionError), replacing(target) as file:
        file.write(b"new")
        raise ZeroDivisionError
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_the_new_file_replaces_the_old(tmp_path):
    target = tmp_path / "f"
    write_atomically(target, b"old")
    write_atomically(target, b"new")
    assert target.read_bytes() == b"new"
    assert target.stat().st_mode & 0o444
