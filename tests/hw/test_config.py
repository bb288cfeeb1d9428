"""Configurations: the named ones, and a refusal for every number that does not fit."""

import dataclasses

import pytest

from hpu.hw.config import CONFIGS, by_name

LAB = by_name("lab-16")


def test_named_configurations():
    assert list(CONFIGS) == [config.name for config in CONFIGS.values()]
    hai = by_name("hai-v1")
    assert (hai.rows, hai.cols, hai.ub_depth * hai.lanes) == (256, 256, 24 << 20)
    assert (hai.groups, hai.row_groups, hai.col_groups, hai.beat_chunks) == (16, 16, 16, 4)
    assert hai.peak_macs * hai.clock_hz == pytest.approx(45.9e12, rel=1e-3)


def test_unknown_name():
    with pytest.raises(ValueError, match=r"^configuration must be one of hai-v1, lab-16.*not 'x'$"):
        by_name("x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 0}, "rows must be a positive integer, not 0"),
        ({"rows": 16.0}, "rows must be a positive integer, not 16.0"),
        ({"rows": 20}, "rows must be a multiple of tile (8), not 20"),
        (
            {"cols": 24, "group": 16, "axi_bytes": 16},
            "cols must be a multiple of group (16), not 24",
        ),
        ({"rows": 264}, "rows must be at most 256, not 264"),
        ({"rows": 72}, "rows must be at most 16 groups of 4 lanes, not 72"),
        ({"cols": 512}, "cols must be at most 256, not 512"),
        ({"tile": 4, "group": 12, "rows": 12, "cols": 12}, "group must be a power of two, not 12"),
        ({"ub_depth": 1000}, "ub_depth must be ub_segments (4) times a power of two, not 1000"),
        ({"ub_depth": 4}, "ub_depth must be at least 2 words in each of 4 segments, not 4"),
        ({"ub_depth": 1 << 23}, "ub_depth must be at most 4194304, not 8388608"),
        ({"acc_depth": 100}, "acc_depth must be a power of two from 8 to 65536, not 100"),
        ({"acc_depth": 4}, "acc_depth must be a power of two from 8 to 65536, not 4"),
        ({"param_sets": 257}, "param_sets must be at most 256, not 257"),
        ({"tables": 257}, "tables must be at most 256, not 257"),
        ({"weight_tiles": 1}, "weight_tiles must be at least 2, not 1"),
        ({"window_cols": 1}, "window_cols must be from 2 to 65536, not 1"),
        ({"queue_depth": 1}, "queue_depth must be at least 2, not 1"),
        ({"axi_bytes": 12}, "axi_bytes must be a power of two from 4 to 128, not 12"),
        ({"group": 8, "axi_bytes": 4}, "axi_bytes must be a multiple of group (8), not 4"),
        ({"axi_bytes": 32}, "axi_bytes must be a divisor of the lanes, not 32"),
        ({"addr_bits": 8}, "addr_bits must be from 16 to 64, not 8"),
        (
            {"burst_beats": 3},
            "burst_beats must be a power of two, at most 256 beats and 4 KiB, not 3",
        ),
    ],
)
def test_refusals(change: dict, message: str):
    with pytest.raises(ValueError) as error:
        dataclasses.replace(LAB, **change)
    assert str(error.value) == message


def test_pitch():
    assert [LAB.pitch_chunks(width) for width in (1, 2, 3, 4)] == [1, 2, 4, 4]
    hai = by_name("hai-v1")
    assert [hai.pitch_chunks(width) for width in (1, 2, 3, 4, 5, 8, 9, 16)] == [
        1, 2, 4, 4, 8, 8, 12, 16,
    ]  # fmt: skip


def test_digest_is_of_the_numbers_only():
    assert dataclasses.replace(LAB, name="other").digest() == LAB.digest()
    digests = {LAB.digest()}
    for field in dataclasses.fields(LAB):
        if field.name in ("param_sets", "tables", "queue_depth", "clock_hz", "dram_latency"):
            changed = dataclasses.replace(LAB, **{field.name: getattr(LAB, field.name) + 1})
            digests.add(changed.digest())
    assert len(digests) == 6


def test_link_and_host_are_not_part_of_the_machine():
    attached = dataclasses.replace(LAB, link_bandwidth=1, host_op_ns=1)
    assert attached.digest() == LAB.digest()
    assert dataclasses.replace(LAB, dram_latency=21).digest() != LAB.digest()
