"""Kernel, stride, padding and dilation of convolutions and pools, from ONNX's attributes."""

import dataclasses
import math

from hpu.compiler.importer.node import Node

__all__ = ["Window", "window_of"]


@dataclasses.dataclass(frozen=True)
class Window:
    """A window over an image; ``out`` is the number of its places (y, x)."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    pads: tuple[int, int, int, int]  # top, left, bottom, right
    dilations: tuple[int, int]
    out: tuple[int, int]


def window_of(
    node: Node, image: tuple[int, int], kernel: tuple[int, int], spatial: int = 2
) -> Window:
    """The window of ``node`` over an image of (y, x) pixels; with ``spatial`` 1 a row of them.

    ``ceil_mode`` becomes padding at the bottom and right.

    Raises
    ------
    UnsupportedError
        When an attribute has a value that ONNX does not define, or no place fits in the image.
    """
    strides = pair(node, "strides", (1, 1), spatial)
    dilations = pair(node, "dilations", (1, 1), spatial)
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilations, kernel, strict=True))
    pads = _pads(node, image, (reach[0], reach[1]), strides, spatial)
    out = []
    for axis in (0, 1):
        room = image[axis] + pads[axis] + pads[axis + 2] - reach[axis]
        places = room // strides[axis] + 1
        if node.attribute("ceil_mode", 0) and room >= 0:
            places = _ceil_places(room, strides[axis], image[axis] + pads[axis])
            pads[axis + 2] += max(0, (places - 1) * strides[axis] - room)
        if room < 0:
            node.refuse(f"its window of {reach[axis]} does not fit in the padded image")
        out.append(places)
    return Window(
        kernel, strides, (pads[0], pads[1], pads[2], pads[3]), dilations, (out[0], out[1])
    )


def _ceil_places(room: int, stride: int, end: int) -> int:
    places = math.ceil(room / stride) + 1
    return places - 1 if (places - 1) * stride >= end else places  # none may begin past the image


def pair(node: Node, name: str, default: tuple[int, int], spatial: int = 2) -> tuple[int, int]:
    """An attribute of two positive numbers; with ``spatial`` 1 of one, and 1 goes before it."""
    values = tuple(node.attribute(name, default[-spatial:]))
    if len(values) != spatial or min(values) < 1:
        wanted = "two positive numbers" if spatial == 2 else "one positive number"
        node.refuse(f"its {name} must be {wanted}, not {list(values)}")
    return (1, values[0]) if spatial == 1 else (values[0], values[1])


def _pads(
    node: Node,
    image: tuple[int, int],
    reach: tuple[int, int],
    strides: tuple[int, int],
    spatial: int,
) -> list[int]:
    mode = node.text("auto_pad", "NOTSET")
    if mode == "VALID":
        return [0, 0, 0, 0]
    if mode == "NOTSET":
        pads = list(node.attribute("pads", (0,) * (2 * spatial)))
        if len(pads) != 2 * spatial or min(pads) < 0:
            wanted = "four" if spatial == 2 else "two"
            node.refuse(f"its pads must be {wanted} numbers from 0, not {pads}")
        return pads if spatial == 2 else [0, pads[0], 0, pads[1]]
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        node.refuse(f"its auto_pad is {mode!r}, which ONNX does not define")
    before, after = [], []
    for axis in (0, 1):
        places = -(-image[axis] // strides[axis])
        total = max(0, (places - 1) * strides[axis] + reach[axis] - image[axis])
        first = total // 2 if mode == "SAME_UPPER" else -(-total // 2)
        before.append(first)
        after.append(total - first)
    return before + after
