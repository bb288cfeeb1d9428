# pragma version 0.4.3
# pragma optimize gas
"""
@title Openings
@license Apache-2.0
@notice Checks that what a supplier shows of an order's output is what it committed to. Holds no
        state and no money. An output is a tree over the roots of its tensors, each of them a tree
        over chunks of 256 bytes.
"""

import merkle

struct Wanted:
    tensor: uint256  # which of the outputs
    first: uint256  # first leaf of it
    leaves: uint256

struct Shown:
    tensors: uint256  # how many outputs there are
    tensor: bytes32  # root of the wanted one
    tensor_path: DynArray[bytes32, 40]
    count: uint256  # leaves of it
    data: Bytes[8192]  # the wanted ones, one behind another
    path: DynArray[bytes32, 128]


@external
@pure
def check(output: bytes32, wanted: Wanted, shown: Shown) -> bool:
    """
    @notice Raises unless `shown` holds what is `wanted` of `output`, or proves that there is no
            such thing: of a tensor that does not exist it shows the output's top as `tensor`; of
            leaves beyond the end, the tensor's top as `path`.
    @return True.
    """
    if wanted.tensor >= shown.tensors:
        assert merkle._sealed(shown.tensors, shown.tensor) == output, "not the output's top"
        return True
    root: bytes32 = merkle._path_root(
        merkle._leaf32(shown.tensor), wanted.tensor, shown.tensors, shown.tensor_path
    )
    assert root == output, "not a tensor of the output"
    if wanted.first + wanted.leaves > shown.count:
        assert merkle._sealed(shown.count, shown.path[0]) == shown.tensor, "not the tensor's top"
        return True
    assert len(shown.data) == wanted.leaves * merkle.CHUNK, "as many bytes as were demanded"
    spans: DynArray[uint256, merkle.MAX_SPANS] = [(wanted.first << 32) | wanted.leaves]
    used: uint256 = merkle._open(shown.tensor, shown.count, shown.data, spans, shown.path, 0)
    assert used == len(shown.path), "proof has a wrong length"
    return True
