"""What a session says of its inputs and outputs, and the check of what it is fed."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from hpu.runtime.errors import InputError

__all__ = [
    "NodeArg",
    "batch_of",
    "check_feeds",
    "describe",
    "from_ports",
    "is_batched",
    "shape_text",
    "tensor_text",
]

#: numpy's names of types and onnxruntime's, where they are not the same but for the brackets.
_NAMES = {"float32": "float", "float64": "double"}


@dataclasses.dataclass(frozen=True)
class NodeArg:
    """An input or output, as onnxruntime describes one: ``shape`` has names for symbolic sizes."""

    name: str
    shape: list[int | str]
    type: str

    @property
    def dtype(self) -> str:
        """numpy's name of the type; onnxruntime's own where numpy has none."""
        text = self.type.removeprefix("tensor(").removesuffix(")")
        return next((name for name, other in _NAMES.items() if other == text), text)

    @property
    def is_array(self) -> bool:
        """Whether it is a tensor of numbers, not of strings, a sequence or an optional value."""
        return self.type.startswith("tensor(") and self.type != "tensor(string)"


class Described(Protocol):
    """A program's port, or a tensor of the compiler's interface."""

    @property
    def name(self) -> str: ...
    @property
    def dtype(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


def from_ports(ports: Sequence[Described], *, symbolic: bool) -> list[NodeArg]:
    """Descriptions of inputs or outputs; with ``symbolic``, the first size is called ``batch``."""
    result = []
    for port in ports:
        shape: list[int | str] = list(port.shape)
        if symbolic and shape:
            shape[0] = "batch"
        result.append(NodeArg(port.name, shape, tensor_text(port.dtype)))
    return result


def tensor_text(dtype: str) -> str:
    """onnxruntime's name of a tensor's type."""
    return f"tensor({_NAMES.get(dtype, dtype)})"


def check_feeds(feeds: Mapping[str, Any], expected: Sequence[NodeArg]) -> dict[str, np.ndarray]:
    """The feeds as arrays, in the order of ``expected``.

    Raises
    ------
    InputError
        When a name is missing or unknown, or an array has the wrong type or shape.
    """
    if not isinstance(feeds, Mapping):
        raise InputError(f"feeds must be a dictionary of arrays, not {type(feeds).__name__}.")
    known = {arg.name for arg in expected}
    for name in feeds:
        if name not in known:
            listed = ", ".join(sorted(known))
            raise InputError(f"input {name!r} is unknown; the inputs are: {listed}.")
    return {arg.name: _checked(feeds, arg) for arg in expected}


def _checked(feeds: Mapping[str, Any], arg: NodeArg) -> np.ndarray:
    if arg.name not in feeds:
        raise InputError(f"input {arg.name!r} is missing; it is {describe(arg)}.")
    if not arg.is_array:
        return feeds[arg.name]
    try:
        value = np.asarray(feeds[arg.name])
    except ValueError:
        raise InputError(f"input {arg.name!r} must be an array; its rows differ.") from None
    if value.dtype.name != arg.dtype:
        raise InputError(
            f"input {arg.name!r} must be {arg.dtype}, not {value.dtype.name}; convert it first."
        )
    same_rank = len(value.shape) == len(arg.shape)
    if not same_rank or not all(map(_fits, value.shape, arg.shape)):
        raise InputError(
            f"input {arg.name!r} must have shape {shape_text(arg.shape)}, "
            f"not {shape_text(value.shape)}."
        )
    return value


def _fits(size: int, expected: int | str) -> bool:
    return size > 0 if isinstance(expected, str) else size == expected


def batch_of(arrays: Mapping[str, np.ndarray], expected: Sequence[NodeArg]) -> int:
    """The batch that the symbolic first sizes of the inputs have in ``arrays``; 1 without any.

    Raises
    ------
    InputError
        When two inputs have different batches.
    """
    batches = {arg.name: len(arrays[arg.name]) for arg in expected if is_batched(arg)}
    if len(set(batches.values())) > 1:
        listed = ", ".join(f"{name!r} {size}" for name, size in batches.items())
        raise InputError(f"the inputs must have the same batch, not {listed}.")
    return next(iter(batches.values()), 1)


def is_batched(arg: NodeArg) -> bool:
    """Whether the first size is symbolic."""
    return bool(arg.shape) and isinstance(arg.shape[0], str)


def describe(arg: NodeArg) -> str:
    """Type and shape in words."""
    return f"{arg.dtype} of shape {shape_text(arg.shape)}"


def shape_text(shape: Sequence[int | str]) -> str:
    """A shape as users write it: [1, 3, 224, 224]."""
    return f"[{', '.join(map(str, shape))}]"
