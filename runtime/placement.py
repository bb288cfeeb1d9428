"""What of a model runs on the HPU, node by node, and why not."""

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import onnx

from hpu.compiler.cost import Cost
from hpu.compiler.importer.load import bind_dims, load_model, model_inputs, read_model
from hpu.compiler.partition import HpuPart
from hpu.compiler.placement import Placement
from hpu.compiler.quantise import is_float, quantise
from hpu.compiler.submodel import with_names
from hpu.hw.config import Config
from hpu.runtime.errors import HpuWarning
from hpu.runtime.measure import random_feeds
from hpu.runtime.planning import cut_for, declared
from hpu.runtime.source import Network, node_args

__all__ = ["Look", "look"]


class Look(NamedTuple):
    """Where every node runs, and what each region of the HPU costs there and on the host."""

    placements: tuple[Placement, ...]
    costs: tuple[Cost, ...]


def look(
    model: Network,
    config: Config,
    batch: int | None = None,
    dims: Mapping[str, int] | None = None,
    force_hpu: bool = False,
) -> Look:
    """Where every node of ``model`` would run.

    A float model is quantised with random samples for this.

    Raises
    ------
    HpuError
        When the model is damaged.
    """
    proto = with_names(load_model(bind_dims(read_model(model), dims or {}), batch))
    quantised = _quantised(proto) if is_float(proto) else proto
    cut = cut_for(quantised, config, force_hpu=force_hpu)
    found = {entry.node: entry for entry in cut.placements}
    placed = tuple(
        found.get(node.name) or Placement(node.name, node.op_type) for node in proto.graph.node
    )
    regions = [part for part in cut.parts if isinstance(part, HpuPart)]
    return Look(placed, tuple(part.cost for part in regions if part.cost))


def _quantised(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The model quantised with one random sample, of which there is nothing to warn."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", HpuWarning)
        return load_model(quantise(proto, _samples(proto)))


def _samples(proto: onnx.ModelProto) -> dict:
    return random_feeds(node_args(tuple(map(declared, model_inputs(proto)))), 1)
