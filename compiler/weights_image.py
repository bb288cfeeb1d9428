"""The read-only part of DRAM: weight tiles, parameter sets, tables. Equal data is stored once."""

import numpy as np

from hpu.hw.config import Config

__all__ = ["Image", "parameter_rows", "row_bytes", "table_rows"]


class Image:
    """Bytes that grow from ``base`` on; every piece starts at a beat."""

    def __init__(self, base: int, config: Config) -> None:
        self.base = base
        self._align = config.axi_bytes
        self._pieces: list[bytes] = []
        self._known: dict[bytes, int] = {}
        self.end = base

    def add(self, data: bytes) -> int:
        """The address of ``data``, which is appended unless it is there already."""
        if data not in self._known:
            self._known[data] = self.end
            padded = data + bytes(-len(data) % self._align)
            self._pieces.append(padded)
            self.end += len(padded)
        return self._known[data]

    def data(self) -> bytes:
        """All bytes from ``base`` on."""
        return b"".join(self._pieces)


def row_bytes(rows: np.ndarray, width: int, config: Config) -> bytes:
    """``rows`` (uint8 or int8, [count, at most width·group]) as DRAM rows of ``width`` chunks."""
    count, lanes = rows.shape
    padded = np.zeros((count, config.pitch_chunks(width) * config.group), np.uint8)
    padded[:, :lanes] = rows.view(np.uint8)
    return padded.tobytes()


def parameter_rows(bias: np.ndarray, mantissa: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """The 8 rows (uint8 [8, columns]) of a parameter set; one value of each per column."""
    columns = np.broadcast_shapes(bias.shape, mantissa.shape, shift.shape)[0]
    record = np.zeros((columns, 8), np.uint8)
    record[:, 0:4] = _little_endian(bias, columns, 4)
    record[:, 4:7] = _little_endian(mantissa, columns, 3)
    record[:, 7] = shift
    return np.ascontiguousarray(record.T)


def _little_endian(values: np.ndarray, columns: int, size: int) -> np.ndarray:
    wide = np.broadcast_to(values.astype("<i4"), (columns,))
    return np.ascontiguousarray(wide).view(np.uint8).reshape(columns, 4)[:, :size]


def table_rows(table: np.ndarray) -> np.ndarray:
    """The 256 rows (uint8 [256, columns]) of a table of int8 results, [256] or [256, columns]."""
    rows = table.astype(np.int8, casting="same_kind").reshape(256, -1)
    return np.ascontiguousarray(rows).view(np.uint8)
