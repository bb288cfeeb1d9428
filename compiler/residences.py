"""What a compiled graph holds in the unified buffer and in DRAM, for reports."""

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from hpu.compiler.allocate import (
    Scratch,
    describe,
    followers,
    home,
    lifetimes,
    tensor_words,
)
from hpu.compiler.ir import Graph
from hpu.hw.config import Config
from hpu.runtime.layout import tensor_bytes
from hpu.runtime.residence import Residence

__all__ = ["residences"]


def residences(
    graph: Graph,
    config: Config,
    bases: Mapping[str, int],
    scratch: Sequence[Scratch],
    addresses: Mapping[str, int],
) -> tuple[Residence, ...]:
    """Every tensor and working buffer of ``graph``, each while the operations need it.

    ``bases`` and ``scratch`` are what ``allocate`` gave; ``addresses`` are places in DRAM.
    """
    lives = lifetimes(graph)
    found = [*_tensors(graph, config, bases, lives), *_buffers(graph, scratch)]
    return (*_reserved(graph, found), *_dram(graph, config, addresses, lives))


def _reserved(graph: Graph, found: Sequence[Residence]) -> list[Residence]:
    """``found``, with places from the convolution before on, where they lie apart from its own.

    The results that were placed so may be written while the convolution goes on.
    """
    starts = {home(tensor).name: index for index, tensor in followers(graph).items()}
    return [
        msgspec.structs.replace(held, first=starts[held.name])
        if held.kind == "tensor" and _apart(held, starts.get(held.name, held.first), found)
        else held
        for held in found
    ]


def _apart(held: Residence, start: int, found: Sequence[Residence]) -> bool:
    """Whether nothing else is at the place of ``held`` from ``start``, which is earlier, on."""
    return start < held.first and all(
        other.last < start
        or other.first >= held.first
        or other.base + other.size <= held.base
        or held.base + held.size <= other.base
        for other in found
    )


def _tensors(
    graph: Graph, config: Config, bases: Mapping[str, int], lives: Mapping[str, tuple[int, int]]
) -> Iterator[Residence]:
    for name, (first, last) in lives.items():
        base = bases.get(name)
        if base is None:
            continue
        words = tensor_words(graph.tensors[name], config)
        yield Residence(
            space="ub", kind="tensor", name=name, base=base, size=words, first=first, last=last
        )


def _buffers(graph: Graph, scratch: Sequence[Scratch]) -> Iterator[Residence]:
    for index, (op, memory) in enumerate(zip(graph.ops, scratch, strict=True)):
        for base, size in zip(memory.bases, memory.sizes, strict=True):
            yield Residence(
                space="ub",
                kind="buffer",
                name=describe(op),
                base=base,
                size=size,
                first=index,
                last=index,
            )


def _dram(
    graph: Graph, config: Config, addresses: Mapping[str, int], lives: Mapping[str, tuple[int, int]]
) -> Iterator[Residence]:
    """Inputs and outputs are the host's, hence there all the time."""
    kinds = {host.tensor: "input" for host in graph.inputs}
    kinds |= {host.tensor: "output" for host in graph.outputs}
    end = len(graph.ops) - 1
    for name, address in addresses.items():
        kind = kinds.get(name, "tensor")
        first, last = lives[name] if kind == "tensor" else (0, end)
        yield Residence(
            space="dram",
            kind=kind,
            name=name,
            base=address,
            size=tensor_bytes(graph.tensors[name].stored, config),
            first=first,
            last=last,
        )
