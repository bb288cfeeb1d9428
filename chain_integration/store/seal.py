"""Encryption for one order: a key of its own, given to each reader, and content sealed with it.

Content: AES-256-GCM with a random nonce of 12 bytes before it; what the content is for stands in
the associated data, so that sealed content cannot be given out as something else. Wrapping for a
reader: an X25519 key of one use, HKDF-SHA-256 over the shared secret and both public keys,
AES-256-GCM.
"""

import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from hpu.runtime.errors import HpuError

__all__ = ["Reader", "SealError", "new_key", "open_sealed", "seal", "wrap"]

KEY_BYTES, _NONCE_BYTES, _PUBLIC_BYTES = 32, 12, 32


class SealError(HpuError):
    """Sealed content that the key at hand does not open."""


def new_key() -> bytes:
    """A random key for one order."""
    return os.urandom(KEY_BYTES)


def seal(key: bytes, data: bytes, purpose: str) -> bytes:
    """``data`` encrypted and authenticated: nonce, ciphertext, tag."""
    nonce = os.urandom(_NONCE_BYTES)
    return nonce + AESGCM(key).encrypt(nonce, data, purpose.encode())


def open_sealed(key: bytes, sealed: bytes, purpose: str) -> bytes:
    """What :func:`seal` was given.

    Raises
    ------
    SealError
        When the key is another, the content was changed or cut short, or is for another purpose.
    """
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], purpose.encode())
    except (InvalidTag, ValueError):
        raise SealError(
            f"the sealed {purpose} does not open: it was changed, or the key is another."
        ) from None


class Reader:
    """Who may be given keys of orders: an X25519 pair derived from an account's private key.

    Parameters
    ----------
    secret:
        The account's 32 bytes.
    """

    def __init__(self, secret: bytes):
        self._private = X25519PrivateKey.from_private_bytes(_derive(secret, b"HAI reader v1"))
        self.public = self._private.public_key().public_bytes_raw()

    def unwrap(self, wrapped: bytes) -> bytes:
        """The key of an order that was wrapped for this reader.

        Raises
        ------
        SealError
            When it was wrapped for another one, or changed.
        """
        once, sealed = wrapped[:_PUBLIC_BYTES], wrapped[_PUBLIC_BYTES:]
        try:
            shared = self._private.exchange(X25519PublicKey.from_public_bytes(once))
        except ValueError:
            raise SealError("the wrapped key is cut short or no key at all.") from None
        return open_sealed(_derive(shared, b"HAI wrap v1" + once + self.public), sealed, "key")


def wrap(key: bytes, public: bytes) -> bytes:
    """``key`` for the reader with this public key: 32 bytes of a one-use key, then sealed.

    Raises
    ------
    SealError
        When ``public`` is no X25519 key.
    """
    private = X25519PrivateKey.generate()
    once = private.public_key().public_bytes_raw()
    try:
        shared = private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise SealError(f"a reader's key must be {_PUBLIC_BYTES} bytes of X25519.") from None
    return once + seal(_derive(shared, b"HAI wrap v1" + once + public), key, "key")


def _derive(secret: bytes, info: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=info).derive(secret)
