"""Content-addressed files in a folder: checked at every read, whole or not there at all."""

import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from multiformats import CID

from hpu.chain_integration.store.cid import ContentError, check_content, cid_of, cid_text, parse_cid
from hpu.runtime.errors import HpuError

__all__ = ["MAX_BLOB", "BlobStore", "StoreError"]

#: Bytes of one piece of content at most.
MAX_BLOB = 256 << 20
#: Bytes of all content in a store at most, unless told otherwise.
_CAPACITY = 16 << 30
_UNFINISHED = ".part-"


class StoreError(HpuError):
    """A store that cannot take or give content."""


class BlobStore:
    """Content in files that are named by its identifier.

    Parameters
    ----------
    folder:
        Made when it is not there. What a killed process left half-written is deleted.
    max_blob, capacity:
        Bytes of one piece of content, and of all together, at most.

    Raises
    ------
    StoreError
        When the folder cannot be made.
    """

    def __init__(
        self, folder: str | os.PathLike[str], *, max_blob: int = MAX_BLOB, capacity: int = _CAPACITY
    ):
        self.folder, self.max_blob, self.capacity = Path(folder), max_blob, capacity
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise StoreError(f"{folder} cannot be a store: {error.strerror}.") from error
        for path in self.folder.glob(f"{_UNFINISHED}*"):
            path.unlink(missing_ok=True)
        self._size = sum(path.stat().st_size for path in self.folder.iterdir())

    @property
    def size(self) -> int:
        """Bytes of all content."""
        return self._size

    def __contains__(self, cid: CID | str) -> bool:
        return self._path(cid).exists()

    def __iter__(self) -> Iterator[CID]:
        return (parse_cid(path.name) for path in sorted(self.folder.iterdir()))

    def put(self, data: bytes, codec: str = "raw") -> CID:
        """Keep ``data``; its identifier.

        Raises
        ------
        StoreError
            When it is too large, the store is full, or the disk is; nothing is kept then.
        """
        cid = cid_of(data, codec)
        path = self._path(cid)
        if not path.exists():
            self._check_room(len(data))
            self._write(path, data)
            self._size += len(data)
        return cid

    def put_as(self, cid: CID | str, data: bytes) -> CID:
        """Keep ``data`` that must be the content of ``cid``.

        Raises
        ------
        ContentError
            When it is not.
        StoreError
            As of :meth:`put`.
        """
        known = _parsed(cid)
        check_content(known, data)
        return self.put(data, known.codec.name)

    def get(self, cid: CID | str) -> bytes:
        """The content of ``cid``, its hash checked.

        Raises
        ------
        StoreError
            When it is not here.
        ContentError
            When the file was damaged; it is deleted, so that the content can be fetched again.
        """
        known, path = _parsed(cid), self._path(cid)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise StoreError(f"{known} is not in the store {self.folder}.") from None
        except OSError as error:
            raise StoreError(f"{path} cannot be read: {error.strerror}.") from error
        try:
            return check_content(known, data)
        except ContentError:
            self.delete(known)
            raise

    def delete(self, cid: CID | str) -> None:
        """Forget the content of ``cid``, if it is here."""
        path = self._path(cid)
        if path.exists():
            self._size -= path.stat().st_size
            path.unlink(missing_ok=True)

    def _path(self, cid: CID | str) -> Path:
        return self.folder / cid_text(_parsed(cid))

    def _check_room(self, size: int) -> None:
        if size > self.max_blob:
            raise StoreError(
                f"content must be at most {self.max_blob:,} bytes for this store, not {size:,}."
            )
        if self._size + size > self.capacity:
            raise StoreError(
                f"the store {self.folder} is full: {self._size:,} of {self.capacity:,} bytes "
                f"are taken and {size:,} more do not fit; delete old orders or raise its limit."
            )

    def _write(self, path: Path, data: bytes) -> None:
        try:
            number, name = tempfile.mkstemp(prefix=_UNFINISHED, dir=self.folder)
        except OSError as error:
            raise _disk(self.folder, error) from error
        try:
            with os.fdopen(number, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
        except OSError as error:
            Path(name).unlink(missing_ok=True)
            raise _disk(self.folder, error) from error


def _disk(folder: Path, error: OSError) -> StoreError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreError(f"the disk of {folder} is full; free some room and try again.")
    return StoreError(f"{folder} cannot be written: {error.strerror}.")


def _parsed(cid: CID | str) -> CID:
    return parse_cid(cid) if isinstance(cid, str) else cid
