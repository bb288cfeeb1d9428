"""Content identifiers."""

import hashlib

import pytest

from hpu.chain_integration.store.cid import (
    ContentError,
    check_content,
    cid_of,
    cid_text,
    decode,
    encode,
    parse_cid,
)


def test_known_identifiers():
    # The identifiers that IPFS gives to these contents (`ipfs add --cid-version 1 --raw-leaves`).
    assert str(cid_of(b"")) == "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
    assert cid_of(b"abc").raw_digest == hashlib.sha256(b"abc").digest()
    assert str(cid_of(encode({}), "dag-cbor")).startswith("bafyrei")


@pytest.mark.parametrize("codec", ["raw", "dag-cbor"])
def test_text_and_back(codec):
    cid = cid_of(b"some bytes", codec)
    assert parse_cid(str(cid)) == cid and cid_text(cid) == str(cid)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "../../etc/passwd",
        "bafkrei",
        "QmYwAPJzv5CZsnA625s3Xf2nemtYgPpHdWEz79ojWnPbdG",
        "b" * 500,
    ],
)
def test_what_is_no_identifier_is_refused(text):
    with pytest.raises(ContentError, match="a content identifier must be"):
        parse_cid(text)


def test_changed_content_is_refused():
    cid = cid_of(b"right")
    assert check_content(cid, b"right") == b"right"
    for wrong in (b"wrong", b"righ", b"right\0"):
        with pytest.raises(ContentError, match=f"given for {cid} has another hash"):
            check_content(cid, wrong)


def test_documents():
    document = {"a": [1, b"\0", None], "b": "x"}
    assert decode(encode(document)) == document
    for damaged in (encode(document)[:-1], b"\xff", b""):
        with pytest.raises(ContentError, match="is no DAG-CBOR"):
            decode(damaged)
