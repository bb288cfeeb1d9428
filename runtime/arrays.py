"""Arrays by name in ``.npz`` files, as the command line takes and gives them."""

import os
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from hpu.runtime.errors import InputError
from hpu.runtime.files import replacing

__all__ = ["read_arrays", "read_feeds", "write_arrays"]


def read_arrays(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Every array of an ``.npz`` file.

    Raises
    ------
    InputError
        When the file cannot be read, is no ``.npz`` file, or holds Python objects.
    """
    loaded = _load(path)
    if isinstance(loaded, np.ndarray):
        raise InputError(f"{path} holds one array without a name; save it with np.savez.")
    return loaded


def read_feeds(path: str | os.PathLike[str], names: list[str]) -> dict[str, np.ndarray]:
    """As :func:`read_arrays`, and an ``.npy`` file for a model that has one input.

    Raises
    ------
    InputError
        Also when an ``.npy`` file is given for several inputs.
    """
    loaded = _load(path)
    if isinstance(loaded, dict):
        return loaded
    if len(names) != 1:
        raise InputError(f"{path} holds one array, and the inputs are {', '.join(names)}.")
    return {names[0]: loaded}


def _load(path: str | os.PathLike[str]) -> dict[str, np.ndarray] | np.ndarray:
    try:
        loaded = np.load(Path(path), allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from None
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error):
        raise InputError(
            f"{path} is not an .npz or .npy file of plain arrays, or is damaged."
        ) from None


def write_arrays(path: str | os.PathLike[str], arrays: Mapping[str, np.ndarray]) -> None:
    """Write an ``.npz`` file, whole or not at all."""
    with replacing(path) as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
