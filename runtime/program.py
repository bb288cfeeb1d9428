"""Programs: what the compiler makes and a device runs."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from hpu.hw.config import Config
from hpu.hw.isa import INSTRUCTION_BYTES
from hpu.runtime.cell import PLAIN, Cell
from hpu.runtime.errors import ProgramError
from hpu.runtime.residence import Residence

if TYPE_CHECKING:
    from hpu.compiler.ir import HostTensor

__all__ = ["NodeRange", "Port", "Program", "Segment", "check_digest"]


class Segment(msgspec.Struct, frozen=True):
    """Bytes that the device puts at ``address`` in DRAM before the program runs."""

    address: int
    data: bytes


class Port(msgspec.Struct, frozen=True, kw_only=True):
    """A tensor as the user sees it (the fields of ``compiler.ir.HostTensor``) and its place.

    The device tensor (n, y, x, c) of shape ``shape4`` is ``value.reshape(view).transpose(perm)``;
    it starts at ``address`` in the layout of ``runtime.layout``, in cells of ``cell``.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    view: tuple[int, int, int, int]
    perm: tuple[int, int, int, int]
    quantised: str
    scale: float
    zero: int
    tensor: str
    address: int
    shape4: tuple[int, int, int, int]
    cell: Cell = PLAIN

    @classmethod
    def of(
        cls, host: "HostTensor", address: int, shape4: Sequence[int], cell: Cell = PLAIN
    ) -> "Port":
        """The port of a host tensor that stands at ``address`` with the device shape ``shape4``."""
        fields = {name: getattr(host, name) for name in _HOST_FIELDS}
        n, y, x, c = shape4
        return cls(**fields, address=address, shape4=(n, y, x, c), cell=cell)


_PLACE_FIELDS = ("address", "shape4", "cell")
_HOST_FIELDS = [name for name in Port.__struct_fields__ if name not in _PLACE_FIELDS]


class NodeRange(msgspec.Struct, frozen=True):
    """``count`` instructions from ``first`` on belong to ONNX node ``name`` of ``macs`` MACs.

    ``mapping`` says in words how the node was laid on the machine, and why; empty: nothing to say.
    """

    first: int
    count: int
    name: str
    op_type: str
    macs: int
    mapping: str = ""


class Program(msgspec.Struct, frozen=True, kw_only=True):
    """A compiled network.

    ``image`` holds weights, parameters and tables; the device loads it, and the instructions at
    ``program_address``. ``dram_bytes`` is the extent of all DRAM that the program uses. ``kept``
    are the intermediate tensors that a program compiled with ``keep=True`` also leaves in DRAM.
    ``memory`` tells what stands where while which nodes run; a device does not need it.
    """

    config_name: str
    config_digest: bytes
    instructions: bytes
    program_address: int
    image: tuple[Segment, ...]
    dram_bytes: int
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    nodes: tuple[NodeRange, ...]
    kept: tuple[Port, ...] = ()
    memory: tuple[Residence, ...] = ()

    @property
    def instruction_count(self) -> int:
        """Instructions in the program."""
        return len(self.instructions) // INSTRUCTION_BYTES

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the network, as its layers define them."""
        return sum(node.macs for node in self.nodes)

    def check(self, config: Config) -> None:
        """Refuse a program that ``config`` cannot run.

        Raises
        ------
        ProgramError
            When the program is for another configuration.
        """
        check_digest(self.config_name, self.config_digest, config)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the program to ``path``, whole or not at all."""
        from hpu.runtime.program_file import save

        save(self, path)

    @staticmethod
    def load(path: str | os.PathLike[str], config: Config | None = None) -> "Program":
        """As :func:`hpu.runtime.program_file.load`."""
        from hpu.runtime.program_file import load

        return load(path, config)


def check_digest(name: str, digest: bytes, config: Config) -> None:
    """Refuse a program for the configuration ``name`` of ``digest`` that ``config`` cannot run.

    Raises
    ------
    ProgramError
        When the digests differ.
    """
    if digest != config.digest():
        raise ProgramError(
            f"the program is for configuration {name!r} ({digest.hex()[:12]}), not for "
            f"{config.name!r} ({config.digest().hex()[:12]}); compile it again for "
            f"{config.name!r}."
        )
