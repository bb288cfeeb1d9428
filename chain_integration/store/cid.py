"""Content identifiers: CIDv1 with SHA-256, of raw bytes or of a DAG-CBOR document."""

import base64
import functools
import hashlib
from typing import Any

import dag_cbor
from multiformats import CID

from hpu.runtime.errors import HpuError

__all__ = [
    "Content",
    "ContentError",
    "check_content",
    "cid_of",
    "cid_text",
    "decode",
    "encode",
    "parse_cid",
]

#: What DAG-CBOR encodes: None, bool, int, float, str, bytes, CID, lists and string-keyed dicts.
Content = Any
_CODECS = ("raw", "dag-cbor")


class ContentError(HpuError):
    """Content that is not what its identifier, its size or its format says."""


def cid_of(data: bytes, codec: str = "raw") -> CID:
    """The identifier of ``data``: CIDv1, base32, SHA-256."""
    return CID("base32", 1, codec, ("sha2-256", hashlib.sha256(data).digest()))


def cid_text(cid: CID) -> str:
    """The identifier as text; ``str(cid)`` is the same, a hundred times slower."""
    return "b" + base64.b32encode(bytes(cid)).decode().rstrip("=").lower()


@functools.lru_cache(maxsize=4096)
def parse_cid(text: str) -> CID:
    """The identifier that ``text`` spells.

    Raises
    ------
    ContentError
        When it is no CIDv1 in base32 with SHA-256 and a codec that is used here.
    """
    try:
        cid = CID.decode(text)
    except Exception as error:  # multiformats raises KeyError, ValueError and others of its own
        raise ContentError(f"a content identifier must be a CIDv1, not {text[:80]!r}.") from error
    if (cid.version, cid.hashfun.name) != (1, "sha2-256") or cid.codec.name not in _CODECS:
        raise ContentError(
            f"a content identifier must be a CIDv1 of {' or '.join(_CODECS)} with SHA-256, "
            f"not {text[:80]!r}."
        )
    if cid_text(cid) != text:
        raise ContentError(f"a content identifier must be in base32, not {text[:80]!r}.")
    return cid


def check_content(cid: CID, data: bytes) -> bytes:
    """``data``, when it has the hash that ``cid`` says.

    Raises
    ------
    ContentError
        When it has another.
    """
    if hashlib.sha256(data).digest() != cid.raw_digest:
        raise ContentError(
            f"what was given for {cid} has another hash ({len(data):,} bytes); "
            "it was changed or cut short on its way."
        )
    return data


def encode(document: Content) -> bytes:
    """DAG-CBOR of a document."""
    return dag_cbor.encode(document)


def decode(data: bytes) -> Content:
    """The document that ``data`` encodes.

    Raises
    ------
    ContentError
        When it is no DAG-CBOR.
    """
    try:
        return dag_cbor.decode(data)
    except Exception as error:  # dag-cbor's errors have no common base
        raise ContentError(f"a document of {len(data):,} bytes is no DAG-CBOR.") from error
