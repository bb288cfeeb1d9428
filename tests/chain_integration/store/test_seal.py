"""Content sealed for one order, and keys wrapped for one reader."""

import pytest

from hpu.chain_integration.store.seal import Reader, SealError, new_key, open_sealed, seal, wrap


def test_only_the_key_and_the_purpose_open():
    key = new_key()
    sealed = seal(key, b"secret", "input")
    assert b"secret" not in sealed and sealed != seal(key, b"secret", "input")
    assert open_sealed(key, sealed, "input") == b"secret"
    for wrong, purpose in ((new_key(), "input"), (key, "output")):
        with pytest.raises(SealError, match=f"the sealed {purpose} does not open"):
            open_sealed(wrong, sealed, purpose)


def test_every_changed_byte_and_every_cut_is_seen():
    key = new_key()
    sealed = seal(key, b"secret", "input")
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        for bad in (bytes(changed), sealed[:place]):
            with pytest.raises(SealError, match="does not open"):
                open_sealed(key, bad, "input")


def test_a_wrapped_key_is_for_its_reader_alone():
    key, reader, other = new_key(), Reader(b"\1" * 32), Reader(b"\2" * 32)
    wrapped = wrap(key, reader.public)
    assert reader.unwrap(wrapped) == key
    assert Reader(b"\1" * 32).unwrap(wrapped) == key
    with pytest.raises(SealError, match="the sealed key does not open"):
        other.unwrap(wrapped)
    for cut in (0, 5, 31, 32, 50):
        with pytest.raises(SealError):
            reader.unwrap(wrapped[:cut])
    with pytest.raises(SealError, match="a reader's key must be 32 bytes"):
        wrap(key, b"short")
