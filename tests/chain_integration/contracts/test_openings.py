"""What a supplier shows of an output, checked against the committed root."""

import random

import pytest

from hpu.chain_integration.chain.compile import compiled
from hpu.chain_integration.chain.connect import connect
from hpu.chain_integration.chain.contract import create
from hpu.chain_integration.chain.errors import RevertedError
from hpu.chain_integration.proofs import merkle


@pytest.fixture(scope="module")
def openings():
    chain = connect()
    return create(chain, chain.accounts()[0].address, compiled("openings"))


def output(tensors: int, leaves: int):
    data = [random.Random(k).randbytes(256) for k in range(leaves)]
    tensor = merkle.Tree.of(data)
    roots = [bytes([k]) * 32 for k in range(tensors - 1)] + [tensor.root]
    return data, tensor, merkle.Tree.of(roots)


def refused(reason: str):
    return pytest.raises(RevertedError, match=reason)


@pytest.mark.parametrize("seed", range(12))
def test_every_true_opening_is_taken(openings, seed):
    rng = random.Random(seed)
    tensors, count = rng.randint(1, 5), rng.randint(1, 70)
    data, tensor, whole = output(tensors, count)
    first = rng.randrange(count)
    leaves = min(rng.randint(1, 32), count - first)
    shown = b"".join(data[first : first + leaves])
    path = tensor.prove(first, leaves)
    given = (tensors, tensor.root, whole.prove(tensors - 1), count, shown, path)
    wanted = (tensors - 1, first, leaves)
    assert openings.call("check", whole.root, wanted, given) is True, f"{seed=}"
    at = rng.randrange(len(shown))
    wrong = shown[:at] + bytes([shown[at] ^ 1]) + shown[at + 1 :]
    with refused("merkle: data is not what was committed"):
        openings.call("check", whole.root, wanted, (*given[:4], wrong, path))


def test_false_openings_are_refused(openings):
    data, tensor, whole = output(3, 9)
    given = [3, tensor.root, whole.prove(2), 9, b"".join(data[4:6]), tensor.prove(4, 2)]

    def check(place, changed, reason):
        other = [*given[:place], changed, *given[place + 1 :]]
        with refused(reason):
            openings.call("check", whole.root, (2, 4, 2), other)

    check(1, b"\x01" * 32, "not a tensor of the output")
    check(0, 2, "not the output's top")
    check(0, 4, "refused check")  # a proof that is too short
    check(3, 8, "merkle: data is not what was committed")
    check(3, 10, "refused check")
    check(4, data[4], "as many bytes as were demanded")
    check(5, [*given[5], b"\0" * 32], "proof has a wrong length")
    with refused("refused check"):  # the proof is for leaf 4
        openings.call("check", whole.root, (2, 5, 2), given)
    with refused("refused check"):  # the proof is for tensor 2
        openings.call("check", whole.root, (1, 4, 2), given)


def test_a_demand_beyond_the_end_is_met_by_the_top(openings):
    _data, tensor, whole = output(3, 9)
    top = (3, whole.top, [], 0, b"", [])
    assert openings.call("check", whole.root, (3, 0, 1), top) is True
    with refused("refused check"):  # there is such a tensor
        openings.call("check", whole.root, (2, 0, 1), top)
    with refused("not the output's top"):
        openings.call("check", whole.root, (3, 0, 1), (2, whole.top, [], 0, b"", []))
    short = (3, tensor.root, whole.prove(2), 9, b"", [tensor.top])
    assert openings.call("check", whole.root, (2, 8, 2), short) is True
    with refused("not the tensor's top"):
        openings.call("check", whole.root, (2, 7, 2), (*short[:3], 8, b"", [tensor.top]))
    with refused("as many bytes as were demanded"):
        openings.call("check", whole.root, (2, 7, 2), short)
