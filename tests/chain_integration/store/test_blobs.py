"""Content on disk: checked, limited, whole or not there."""

import errno
import os

import pytest

from hpu.chain_integration.store.blobs import BlobStore, StoreError
from hpu.chain_integration.store.cid import ContentError, cid_of


def test_content_outlives_the_program(tmp_path):
    cid = BlobStore(tmp_path / "s").put(b"data")
    store = BlobStore(tmp_path / "s")
    assert store.get(cid) == store.get(str(cid)) == b"data"
    assert list(store) == [cid] and cid in store and store.size == 4
    store.delete(cid)
    assert cid not in store and store.size == 0
    with pytest.raises(StoreError, match=f"{cid} is not in the store"):
        store.get(cid)


def test_the_same_content_is_kept_once(tmp_path):
    store = BlobStore(tmp_path)
    assert store.put(b"data") == store.put(b"data")
    assert store.size == 4


def test_a_damaged_file_is_not_given_out_and_may_be_fetched_again(tmp_path):
    store = BlobStore(tmp_path)
    cid = store.put(b"data")
    (tmp_path / str(cid)).write_bytes(b"dat")
    with pytest.raises(ContentError, match="has another hash"):
        store.get(cid)
    assert cid not in store
    assert store.put_as(cid, b"data") == cid and store.get(cid) == b"data"


def test_content_that_is_not_what_it_should_be_is_not_kept(tmp_path):
    store = BlobStore(tmp_path)
    with pytest.raises(ContentError, match="has another hash"):
        store.put_as(cid_of(b"right"), b"wrong")
    assert list(tmp_path.iterdir()) == []


def test_limits(tmp_path):
    store = BlobStore(tmp_path, max_blob=4, capacity=6)
    store.put(b"1234")
    with pytest.raises(StoreError, match="must be at most 4 bytes for this store, not 5"):
        store.put(b"12345")
    with pytest.raises(StoreError, match="is full: 4 of 6 bytes are taken and 3 more do not fit"):
        store.put(b"123")
    store.put(b"12")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch, call):
    store = BlobStore(tmp_path)

    def full(*_arguments):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(StoreError, match="is full; free some room and try again"):
        store.put(b"data")
    assert list(tmp_path.iterdir()) == [] and store.size == 0


def test_what_a_killed_process_left_is_deleted(tmp_path):
    cid = BlobStore(tmp_path).put(b"data")
    (tmp_path / ".part-xyz").write_bytes(b"da")
    assert list(BlobStore(tmp_path)) == [cid]
    assert [path.name for path in tmp_path.iterdir()] == [str(cid)]


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "f").write_text("")
    with pytest.raises(StoreError, match="cannot be a store"):
        BlobStore(tmp_path / "f" / "s")
