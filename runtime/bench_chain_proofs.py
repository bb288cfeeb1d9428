"""Figures of the proofs: how sure and how cheap a check is, and that a dispute finds the liar."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from hpu.hw.config import by_name
from hpu.runtime.bench_figures import Found, Row, figure
from hpu.runtime.progress import Progress

if TYPE_CHECKING:
    from hpu.chain_integration.proofs.court import Court
    from hpu.chain_integration.proofs.resource import ResourceProof
    from hpu.chain_integration.proofs.trace import Trace

__all__: list[str] = []

_MOST_FALSE = 2.0**-60
_MOST_RATIO = 1 / 50
_MOST_TRANSACTIONS = 40
#: Wrong proofs that must all be found.
_WRONG = 200
#: Wrong bytes of every layer that are disputed.
_BYTES = 6


@figure(
    "proof_false_accept",
    unit="probability",
    bar="a wrong product is accepted with at most 2⁻⁶⁰",
    reached=lambda chance: chance <= _MOST_FALSE,
)
def proof_false_accept() -> Found:
    """The bound of the check, and wrong proofs of one element that it was given."""
    from hpu.chain_integration.proofs import freivalds
    from hpu.chain_integration.proofs.resource import Challenge, check

    challenge, rng = Challenge(bytes(32), 256), np.random.default_rng(0)
    product = challenge.product()
    found = 0
    for trial in range(_WRONG):
        wrong = product.copy()
        wrong[tuple(rng.integers(0, 256, 2))] += rng.choice([-1, 1]) << rng.integers(0, 20)
        proof = _answer(wrong, challenge.output(wrong))
        found += bool(check(challenge, proof.root, trial.to_bytes(32, "big"), proof))
    assert found == _WRONG, f"{_WRONG - found} wrong proofs of {_WRONG} were accepted"
    detail = (
        f"{freivalds.VECTORS} vectors of {freivalds.BITS} bits, drawn after the commitment; "
        f"{found} of {_WRONG} products with one wrong element found"
    )
    return Found(freivalds.false_acceptance(), detail)


def _answer(product: np.ndarray, output: np.ndarray) -> "ResourceProof":
    from hpu.chain_integration.proofs.resource import ResourceProof
    from hpu.chain_integration.proofs.usage import usage_of
    from hpu.runtime.profile import Run

    return ResourceProof(product, output, usage_of(by_name("lab-16"), Run({}, cycles=1)))


@figure(
    "proof_check_ratio",
    unit="of the time",
    bar="checking a resource proof takes at most 1/50 of the processor time of running it",
    reached=lambda ratio: ratio <= _MOST_RATIO,
)
def proof_check_ratio() -> Found:
    """The worse of both machines, simulated in RTL; beside it those of the functional device."""
    rows = [_timed(*each) for each in (("lab-16", "rtl"), ("hai-v1", "rtl"))]
    rows += [_timed(name, "functional") for name in ("lab-16", "hai-v1")]
    worst = max(float(row["ratio"]) for row in rows[:2])
    parts = (
        f"{row['config']} in {row['device']}: {row['checking']:.4f} s of {row['running']:.3f} s"
        for row in rows
    )
    return Found(worst, "; ".join(parts), rows=rows)


def _timed(name: str, device: str) -> Row:
    """Processor seconds of running a challenge (with compiling and hashing) and of checking it."""
    from hpu.chain_integration.proofs.resource import (
        Challenge,
        ResourceProof,
        check,
        edge_of,
        prove,
    )
    from hpu.runtime.execution import Executor

    config, seed, drawn = by_name(name), b"s" * 32, b"v" * 32
    with Progress() as progress:
        executor = Executor(config, device, progress)
        first = Challenge(b"w" * 32, 256)  # builds the machine and loads libraries
        warm = prove(first, executor)
        check(first, warm.root, drawn, warm)
        begin = time.process_time()
        proof = prove(Challenge(seed, edge_of(config)), executor)
        root = proof.root
        running = time.process_time() - begin
        executor.close()
    received = ResourceProof(proof.product, proof.output, proof.usage)
    begin = time.process_time()
    wrong = check(Challenge(seed, edge_of(config)), root, drawn, received)
    checking = time.process_time() - begin
    assert not wrong, wrong
    return {
        "config": name,
        "device": device,
        "edge": edge_of(config),
        "running": running,
        "checking": checking,
        "ratio": checking / running,
    }


@figure(
    "dispute_found",
    unit="%",
    bar=f"all wrong bytes found and the liar convicted, at most {_MOST_TRANSACTIONS} transactions",
    reached=lambda share: share == 100,
)
def dispute_found() -> Found:
    """Disputes over bytes of every layer of the demo network; and every byte, recomputed.

    What the contract computes of a byte is the true one exactly if a wrong one would convict.
    """
    from hpu.chain_integration.proofs.court import Court

    court, honest = Court(), _honest()
    verdicts = [court.play(liar, honest) for liar in _liars(honest)]
    convicted = [v for v in verdicts if v.guilty == "accused" and v.proven]
    longest = max(verdict.transactions for verdict in verdicts)
    assert longest <= _MOST_TRANSACTIONS, f"a dispute took {longest} transactions"
    right, total = _recomputed(court, honest)
    assert right == total, f"the contract computes {total - right} bytes of {total} otherwise"
    gas = max(sum(spent for _, spent in verdict.gas) for verdict in verdicts)
    detail = (
        f"{len(convicted)} of {len(verdicts)} liars convicted, one wrong byte each in "
        f"{len(honest.model.layers) - 1} layers; at most {longest} transactions and {gas:,} gas; "
        f"{right:,} of {total:,} bytes of all layers are the contract's too"
    )
    return Found(100 * len(convicted) / len(verdicts), detail)


def _recomputed(court: "Court", trace: "Trace") -> tuple[int, int]:
    """Bytes of all layers that the contract computes as the device did, and all."""
    right = total = 0
    for number, data in enumerate(trace.model.layers[:-1]):
        given = trace.values[data.name].reshape(-1).tolist()
        found = (court.element(trace, number, position) for position in range(len(given)))
        right += sum(one == other for one, other in zip(given, found, strict=True))
        total += len(given)
    return right, total


def _honest() -> "Trace":
    from examples.digits.network import INPUT, held_out, quantised
    from hpu.chain_integration.proofs.layers import commit_model
    from hpu.chain_integration.proofs.trace import run_traced
    from hpu.runtime.execution import Executor
    from hpu.runtime.source import compile_model, import_graph

    config = by_name("hai-v1")
    program = compile_model(quantised(), config=config, batch=1, keep=True)
    executor = Executor(config, "functional")
    model = commit_model(import_graph(quantised(), 1))
    _, trace = run_traced(executor, program, model, {INPUT: held_out()[0][:1]})
    executor.close()
    return trace


def _liars(honest: "Trace") -> Iterator["Trace"]:
    """Traces with one wrong byte in a layer, alone or with arbitrary layers after it."""
    from hpu.chain_integration.proofs.trace import Trace

    rng = np.random.default_rng(0)
    names = [data.name for data in honest.model.layers[:-1]]
    for number, name in enumerate(names):
        size = honest.values[name].size
        places = {0, size - 1, *rng.integers(0, size, _BYTES - 2).tolist()}
        for place in sorted(places):
            values = dict(honest.values)
            wrong = values[name].copy()
            wrong.reshape(-1)[place] ^= np.int8(1 << rng.integers(7))
            values[name] = wrong
            if rng.integers(2):
                later = names[number + 1 :]
                values |= {each: rng.permuted(values[each]) for each in later}
            yield Trace(honest.model, values)
