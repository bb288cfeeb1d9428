"""Single operations as programs, with operands that stay in the unified buffer.

A benchmark of the array must not measure DRAM: one program brings the operand into the unified
buffer, the next multiplies, a third takes the result out. Memories keep their contents between
programs, so the three may run one after another on any device. The schedule is the compiler's own.
"""

import dataclasses

import numpy as np

from hpu.compiler.allocate import Scratch, allocate
from hpu.compiler.backend import lower_op, macs, memory_map, planner
from hpu.compiler.context import Context, Place
from hpu.compiler.emit import Emitter
from hpu.compiler.ir import Conv, Graph, HostTensor, Quant, Tensor
from hpu.compiler.sync import insert_tokens
from hpu.compiler.weights_image import Image
from hpu.hw.config import Config
from hpu.runtime.program import NodeRange, Port, Program, Segment

__all__ = ["Product", "build"]

_X, _Y = "x", "y"


@dataclasses.dataclass(frozen=True)
class Product:
    """An int8 matrix product ``y = requantise(x · w + bias)`` in three programs.

    Run ``prepare`` (input x), then ``multiply`` as often as wanted, then ``collect`` (output y).
    ``weight`` is int8 [k, n], ``bias`` int32 [n], ``scale`` float32 [n].
    """

    prepare: Program
    multiply: Program
    collect: Program
    weight: np.ndarray
    bias: np.ndarray
    scale: np.ndarray

    def expected(self, x: np.ndarray) -> np.ndarray:
        """int8 [m, n] for x int8 [m, k], by numpy."""
        sums = x.astype(np.float64) @ self.weight + self.bias
        scaled = np.rint(sums.astype(np.float32) * self.scale)
        return np.clip(scaled, -128, 127).astype(np.int8)


def build(config: Config, m: int, k: int, n: int, seed: int = 0) -> Product:
    """The product of x int8 [m, k] with random weights [k, n].

    Raises
    ------
    ValueError
        When operand and result do not fit the unified buffer together.
    """
    op = _operation(m, k, n, seed)
    tensors = {_X: op.x, _Y: op.out}
    graph = Graph([op], [_host(op.x, (m, k))], [_host(op.out, (m, n))], tensors)
    bases, scratch = allocate(graph, config, planner(config))
    if len(bases) < len(tensors):
        raise ValueError(
            f"operands must fit the unified buffer of {config.ub_depth} words, "
            f"not {m}x{k} and {m}x{n}"
        )
    return _programs(graph, op, config, bases, scratch[0])


def _operation(m: int, k: int, n: int, seed: int) -> Conv:
    rng = np.random.default_rng(seed)
    quant = Quant(np.float32(1), 0)
    return Conv(
        nodes=("product",),
        x=Tensor(_X, (1, 1, m, k), quant),
        out=Tensor(_Y, (1, 1, m, n), quant),
        weight=rng.integers(-128, 128, (n, 1, 1, k)).astype(np.int16),
        bias=rng.integers(-(1 << 16), 1 << 16, n).astype(np.int32),
        scale=(rng.uniform(0.5, 2, n) / (128 * np.sqrt(k))).astype(np.float32),
    )


def _host(tensor: Tensor, shape: tuple[int, int]) -> HostTensor:
    return HostTensor(
        name=tensor.name,
        dtype="int8",
        shape=shape,
        view=tensor.shape,
        perm=(0, 1, 2, 3),
        quantised="int8",
        scale=1.0,
        zero=0,
        tensor=tensor.name,
    )


def _programs(
    graph: Graph, op: Conv, config: Config, bases: dict[str, int], scratch: Scratch
) -> Product:
    addresses, end = memory_map(graph, config, bases, [])
    image = Image(end, config)
    stay = {name: Place(base, None) for name, base in bases.items()}
    move = {name: Place(base, addresses[name]) for name, base in bases.items()}
    prepare, multiply, collect = (
        Context(config, Emitter(config), image, places) for places in (move, stay, move)
    )
    for block, view in enumerate(prepare.views(op.x)):
        prepare.load(op.x, block, view)
    lower_op(multiply, op, scratch)
    for block, view in enumerate(collect.views(op.out)):
        collect.store(op.out, block, view, view.region)
    inputs = tuple(Port.of(h, addresses[h.tensor], op.x.shape) for h in graph.inputs)
    outputs = tuple(Port.of(h, addresses[h.tensor], op.out.shape) for h in graph.outputs)
    return Product(
        prepare=_program(prepare, "load x", 0, inputs, ()),
        multiply=_program(multiply, "product", macs(op), (), ()),
        collect=_program(collect, "store y", 0, (), outputs),
        weight=op.weight.reshape(op.weight.shape[0], -1).T.astype(np.int8),
        bias=op.bias,
        scale=op.scale,
    )


def _program(
    context: Context,
    name: str,
    work: int,
    inputs: tuple[Port, ...],
    outputs: tuple[Port, ...],
) -> Program:
    config, image = context.config, context.image
    instructions = insert_tokens(context.emitter.instructions, config)
    address = -(-image.end // 4096) * 4096
    return Program(
        config_name=config.name,
        config_digest=config.digest(),
        instructions=instructions,
        program_address=address,
        image=(Segment(image.base, image.data()),),
        dram_bytes=address + len(instructions),
        inputs=inputs,
        outputs=outputs,
        nodes=(NodeRange(0, len(context.emitter), name, "Conv", work),),
    )
