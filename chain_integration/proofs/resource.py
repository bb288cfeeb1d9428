"""The resource proof: a product of two matrices that follow from a recent block.

The node computes it on its device and commits to the root of a tree with a leaf for every row:
the int32 sums and the device's int8 results. Checking takes three products with vectors
(:mod:`~hpu.chain_integration.proofs.freivalds`), the requantisation of the sums, and some rows
computed again. A single wrong element is shown to the contract, which computes it itself.
"""

import dataclasses
import functools

import numpy as np

from hpu.chain_integration.proofs import freivalds
from hpu.chain_integration.proofs.crh import crh
from hpu.chain_integration.proofs.expand import key, matrix, words
from hpu.chain_integration.proofs.merkle import Tree
from hpu.chain_integration.proofs.usage import Usage, usage_of
from hpu.compiler import ir
from hpu.compiler.backend import compile_graph
from hpu.hw.config import Config
from hpu.runtime.execution import Executor
from hpu.runtime.measure import with_cycles
from hpu.runtime.profile import Run
from hpu.runtime.program import Program
from hpu.runtime.threads import one_blas_thread
from hpu.sim.numerics import requantise

__all__ = [
    "Challenge",
    "ResourceProof",
    "check",
    "edge_of",
    "predicted_cycles",
    "prove",
    "seed_of",
    "wrong_element",
]

_LEAST_EDGE, _USUAL_EDGE, _MOST_EDGE = 64, 256, 1024
#: Edge of the product in edges of the array, so that every tile of weights comes several times.
_TIMES = 2
#: Rows that are computed again.
_SPOTS = 4
_INPUT, _OUTPUT = "challenge_a", "challenge_ab"


def edge_of(config: Config) -> int:
    """Edge of the square matrices for a machine: several times the array, and 256 or more.

    Less where the three matrices would take more than half of the memory's addresses.
    """
    edge = min(max(_USUAL_EDGE, _TIMES * max(config.rows, config.cols)), _MOST_EDGE)
    while edge > _LEAST_EDGE and 6 * edge**2 > 1 << config.addr_bits:
        edge //= 2
    return edge


def seed_of(block_hash: bytes, node: str) -> bytes:
    """The seed of the challenge of ``node`` (an address) from the hash of a block."""
    return crh(block_hash + bytes.fromhex(node[2:]))


@dataclasses.dataclass(frozen=True)
class Challenge:
    """Two int8 matrices of ``edge`` × ``edge`` that follow from ``seed`` (32 bytes).

    Raises
    ------
    ValueError
        When the edge is not a power of two from 64 to 1024.
    """

    seed: bytes
    edge: int

    def __post_init__(self) -> None:
        power = self.edge & (self.edge - 1) == 0
        if not (power and _LEAST_EDGE <= self.edge <= _MOST_EDGE):
            raise ValueError(f"edge must be a power of two from 64 to 1024, not {self.edge!r}")

    @functools.cached_property
    def a(self) -> np.ndarray:
        """The activations, int8 [edge, edge]."""
        return matrix(key(self.seed, b"a"), self.edge, self.edge)

    @functools.cached_property
    def b_columns(self) -> np.ndarray:
        """The columns of the weights as rows, int8 [edge, edge]."""
        return matrix(key(self.seed, b"b"), self.edge, self.edge)

    @property
    def shift(self) -> int:
        """Results are the sums over 2^shift, rounded to nearest even and saturated."""
        return 7 + self.edge.bit_length() // 2

    @property
    def operations(self) -> int:
        """Multiplications and additions of the product."""
        return 2 * self.edge**3

    def product(self) -> np.ndarray:
        """int32 [edge, edge]; exact in float32, whose integers reach 2^24 as the sums do."""
        wide = self.a.astype(np.float32) @ self.b_columns.astype(np.float32).T
        return wide.astype(np.int32)

    def output(self, product: np.ndarray) -> np.ndarray:
        """What the machine makes of the sums: int8."""
        return requantise(product, 1 << 23, 23 + self.shift, 0)

    def program(self, config: Config) -> Program:
        """The program that computes the product, its weights included."""
        shape, one = (1, 1, self.edge, self.edge), ir.Quant(np.float32(1), 0)
        x, out = ir.Tensor(_INPUT, shape, one), ir.Tensor(_OUTPUT, shape, one)
        op = ir.Conv(
            nodes=("challenge",),
            x=x,
            out=out,
            weight=self.b_columns.astype(np.int16).reshape(self.edge, 1, 1, self.edge),
            bias=np.zeros(self.edge, np.int32),
            scale=np.full(self.edge, 2.0**-self.shift, np.float32),
        )
        graph = ir.Graph([op], [_host(x)], [_host(out)], {x.name: x, out.name: out})
        return compile_graph(graph, config)


def _host(tensor: ir.Tensor) -> ir.HostTensor:
    return ir.HostTensor(
        name=tensor.name,
        dtype="int8",
        shape=tensor.shape,
        view=tensor.shape,
        perm=(0, 1, 2, 3),
        quantised="int8",
        scale=1.0,
        zero=0,
        tensor=tensor.name,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class ResourceProof:
    """What a node answers: int32 sums, int8 results of its device, and what the run used."""

    product: np.ndarray
    output: np.ndarray
    usage: Usage

    def row(self, index: int) -> bytes:
        """A leaf: the sums, highest byte first, then the results."""
        return self.product[index].astype(">i4").tobytes() + self.output[index].tobytes()

    @functools.cached_property
    def tree(self) -> Tree:
        """The tree over the rows."""
        return Tree.of(_rows(self.product, self.output))

    @property
    def root(self) -> bytes:
        """What the node commits to."""
        return self.tree.root


def _rows(product: np.ndarray, output: np.ndarray) -> list[bytes]:
    edge = len(product)
    wide = np.empty((edge, 5 * edge), np.uint8)
    wide[:, : 4 * edge] = product.astype(">i4").view(np.uint8)
    wide[:, 4 * edge :] = output.view(np.uint8)
    data, size = wide.tobytes(), 5 * edge
    return [data[at : at + size] for at in range(0, len(data), size)]


def prove(challenge: Challenge, executor: Executor) -> ResourceProof:
    """Compute a challenge on a device.

    Raises
    ------
    DeviceError
        When the machine stops with a fault.
    """
    config = executor.config
    program = challenge.program(config)
    shape = (1, 1, challenge.edge, challenge.edge)
    outputs, run = executor.measure(program, {_INPUT: challenge.a.reshape(shape)})
    timed = with_cycles(program, config, run)
    output = np.ascontiguousarray(outputs[_OUTPUT].reshape(challenge.edge, challenge.edge))
    return ResourceProof(challenge.product(), output, usage_of(config, timed))


@functools.lru_cache(maxsize=8)
def predicted_cycles(config: Config) -> int:
    """Cycles that the cycle model predicts for a challenge; the same for every seed."""
    program = Challenge(bytes(32), edge_of(config)).program(config)
    cycles = with_cycles(program, config, Run({})).cycles
    assert cycles is not None
    return cycles


def check(challenge: Challenge, root: bytes, vector_seed: bytes, proof: ResourceProof) -> str:
    """What is wrong with a node's answer; empty when nothing is.

    Parameters
    ----------
    root:
        What the node committed to.
    vector_seed:
        What the vectors follow from: the hash of a block after the commitment.
    """
    edge = challenge.edge
    if proof.product.shape != (edge, edge) or proof.output.shape != (edge, edge):
        return f"the answer is not of {edge} × {edge} elements"
    if proof.product.dtype != np.int32 or proof.output.dtype != np.int8:
        return "the answer is not of int32 sums and int8 results"
    if proof.root != root:
        return "the rows are not those that were committed to"
    seed = crh(vector_seed + root)
    with one_blas_thread():  # for products this small, two wait for each other
        if not _spots_right(challenge, proof, seed):
            return "a row that was computed again is another"
        drawn = freivalds.vectors(seed, edge)
        if not freivalds.check(challenge.a, challenge.b_columns.T, proof.product, drawn):
            return "the sums are not the matrices' product"
    if not np.array_equal(challenge.output(proof.product), proof.output):
        return "the device's results are not the sums, requantised"
    return ""


def _spots_right(challenge: Challenge, proof: ResourceProof, seed: bytes) -> bool:
    spots = words(key(seed, b"spots"), _SPOTS) % np.uint64(challenge.edge)
    rows = challenge.a[spots.astype(np.int64)].astype(np.float32)
    again = (challenge.b_columns.astype(np.float32) @ rows.T).T
    return np.array_equal(again.astype(np.int32), proof.product[spots.astype(np.int64)])


def wrong_element(challenge: Challenge, proof: ResourceProof) -> tuple[int, int] | None:
    """Row and column of an element that a contract would find wrong; ``None`` without one."""
    product = challenge.product()
    wrong = (product != proof.product) | (challenge.output(product) != proof.output)
    found = np.argwhere(wrong)
    return (int(found[0][0]), int(found[0][1])) if len(found) else None
