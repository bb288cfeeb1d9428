"""The read-only image: layout and sharing."""

import numpy as np

from hpu.compiler.weights_image import Image, parameter_rows, row_bytes, table_rows
from hpu.hw.config import by_name

LAB = by_name("lab-16")


def test_equal_data_is_stored_once():
    image = Image(4096, LAB)
    first, second = image.add(b"abc"), image.add(b"defg")
    assert (first, second) == (4096, 4096 + LAB.axi_bytes)
    assert image.add(b"abc") == first
    assert image.data() == b"abc".ljust(8, b"\0") + b"defg".ljust(8, b"\0")
    assert image.end == 4096 + 16


def test_rows_stand_at_the_pitch():
    rows = np.arange(-12, 12).reshape(2, 12).astype(np.int8)
    data = np.frombuffer(row_bytes(rows, 3, LAB), np.int8).reshape(2, -1)
    assert data.shape[1] == LAB.pitch_chunks(3) * LAB.group
    assert (data[:, :12] == rows).all()
    assert not data[:, 12:].any()


def test_parameter_record():
    rows = parameter_rows(np.array([-2, 5]), np.array([0xABCDEF, 1 << 23]), np.array([63, 0]))
    assert rows.T.tolist() == [
        [0xFE, 0xFF, 0xFF, 0xFF, 0xEF, 0xCD, 0xAB, 63],
        [5, 0, 0, 0, 0, 0, 0x80, 0],
    ]


def test_one_scale_for_every_column():
    rows = parameter_rows(np.array([1, 2, 3]), np.array([1 << 23]), np.array([7]))
    assert rows.shape == (8, 3)
    assert rows[7].tolist() == [7, 7, 7]


def test_tables():
    table = np.arange(256).astype(np.uint8).view(np.int8)
    assert table_rows(table).shape == (256, 1)
    both = table_rows(np.stack([table, table[::-1]], axis=1))
    assert both[3].tolist() == [3, 252]
