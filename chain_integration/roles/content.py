"""What an order's sealed content holds: tensors as documents, and which content an order has."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from multiformats import CID

from hpu.chain_integration.store.cid import ContentError, cid_text, decode, encode, parse_cid

__all__ = [
    "INPUT",
    "MODEL",
    "OUTPUT",
    "Content",
    "decode_tensors",
    "encode_tensors",
    "sealed_cid",
    "usage_cid",
]

#: What sealed content is for.
MODEL, INPUT, OUTPUT = "model", "input", "output"
_MAX_TENSORS = 64


def encode_tensors(tensors: Mapping[str, np.ndarray]) -> bytes:
    """int8 tensors by name as one document (DAG-CBOR): shape, and bytes in C order."""
    return encode(
        {
            name: {"shape": list(value.shape), "data": np.ascontiguousarray(value).tobytes()}
            for name, value in tensors.items()
        }
    )


def decode_tensors(data: bytes) -> dict[str, np.ndarray]:
    """The tensors that :func:`encode_tensors` was given.

    Raises
    ------
    ContentError
        When the document holds something else.
    """
    document = decode(data)
    if not isinstance(document, dict) or len(document) > _MAX_TENSORS:
        raise ContentError(f"tensors must be a document of at most {_MAX_TENSORS} names.")
    return {name: _tensor(name, value) for name, value in document.items()}


def _tensor(name: str, value: Any) -> np.ndarray:
    try:
        shape, data = [int(size) for size in value["shape"]], value["data"]
        return np.frombuffer(data, np.int8).reshape(shape)
    except (KeyError, TypeError, ValueError):
        raise ContentError(f"tensor {name!r} must have a shape and as many bytes.") from None


def sealed_cid(digest: bytes) -> CID:
    """The identifier of sealed content, whose SHA-256 stands on the chain."""
    return CID("base32", 1, "raw", ("sha2-256", digest))


def usage_cid(root: bytes) -> CID:
    """The identifier of a usage document, whose SHA-256 is the root of the space-time proof."""
    return CID("base32", 1, "dag-cbor", ("sha2-256", root))


@dataclasses.dataclass(frozen=True)
class Content:
    """Identifiers of an order's sealed model and input."""

    model: str
    input: str

    @classmethod
    def from_json(cls, data: Any) -> "Content":
        """What a message names.

        Raises
        ------
        ContentError
            When one is missing or no identifier.
        """
        if not isinstance(data, dict) or set(data) != {MODEL, INPUT}:
            raise ContentError("an order's content must be its model and its input.")
        return cls(**{name: cid_text(parse_cid(str(text))) for name, text in data.items()})

    def to_json(self) -> dict[str, str]:
        """As a message names it."""
        return dataclasses.asdict(self)

    def __contains__(self, cid: str) -> bool:
        return cid in (self.model, self.input)
