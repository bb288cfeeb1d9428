"""An output that its buyer cannot fetch is demanded on the chain, some leaves at a time."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from hpu.chain_integration.proofs.merkle import CHUNK, chunk_count, chunks
from hpu.chain_integration.proofs.trace import Trace

__all__ = ["MAX_LEAVES", "assembled", "parts", "show"]

#: Leaves of one demand at most; see market.vy.
MAX_LEAVES = 32
#: Tensor, first leaf, leaves.
Part = tuple[int, int, int]


def parts(sizes: Mapping[str, int]) -> Iterator[Part]:
    """The demands that ask for all of an output whose tensors have these sizes in bytes."""
    for tensor, size in enumerate(sizes.values()):
        count = chunk_count(size)
        for first in range(0, count, MAX_LEAVES):
            yield tensor, first, min(MAX_LEAVES, count - first)


def assembled(
    shapes: Mapping[str, tuple[int, ...]], answers: Mapping[Part, bytes]
) -> dict[str, np.ndarray]:
    """The tensors of an output of which every part was answered."""
    found = {}
    for tensor, (name, shape) in enumerate(shapes.items()):
        pieces = [answers[part] for part in sorted(answers) if part[0] == tensor]
        data = b"".join(pieces)[: int(np.prod(shape))]
        found[name] = np.frombuffer(data, np.int8).reshape(shape)
    return found


def show(trace: Trace, tensor: int, first: int, leaves: int) -> dict[str, Any]:
    """What ``openings.vy`` wants to see of an output: the leaves, or that there are none such."""
    outputs = trace.model.outputs
    shown: dict[str, Any] = {
        "tensors": len(outputs),
        "tensor": trace.output_tree.top,
        "tensor_path": [],
        "count": 0,
        "data": b"",
        "path": [],
    }
    if tensor >= len(outputs):
        return shown
    name = outputs[tensor]
    tree = trace.trees[name]
    path = trace.output_tree.prove(tensor)
    shown |= {"tensor": tree.root, "tensor_path": path, "count": tree.count}
    if first + leaves > tree.count:
        return shown | {"path": [tree.top]}
    data = b"".join(chunks(trace.values[name].tobytes())[first : first + leaves])
    assert len(data) == leaves * CHUNK
    return shown | {"data": data, "path": tree.prove(first, leaves)}
