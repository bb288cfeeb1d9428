# pragma version 0.4.3
"""
@title CRH and MerkleCRH
@notice The hash and the trees of hpu.chain_integration.proofs.crh and .merkle: SHA-256 with a first
        byte that says what is hashed, RFC 9162 trees, and roots that bind the number of leaves.
        `import merkle` in every contract that checks a proof.
"""

# Bytes of a leaf of a tensor; behind the tensor's end they are zero.
CHUNK: constant(uint256) = 256
# Leaves next to each other that one span shows, and bytes that one call shows.
MAX_RANGE: constant(uint256) = 128
MAX_DATA: constant(uint256) = 32800
# Spans of one call, and hashes of all their proofs.
MAX_SPANS: constant(uint256) = 128
MAX_PATHS: constant(uint256) = 1024
# Hashes of one proof of one leaf.
MAX_PATH: constant(uint256) = 40
# Nodes below one, four levels down.
FAN_LEVELS: constant(uint256) = 4
FAN: constant(uint256) = 16


@internal
@pure
def _leaf32(data: bytes32) -> bytes32:
    """
    @notice Hash of a leaf that holds 32 bytes.
    """
    return sha256(concat(b"\x00", data))


@internal
@pure
def _leaf(data: Bytes[CHUNK]) -> bytes32:
    """
    @notice Hash of a leaf of a tensor.
    """
    return sha256(concat(b"\x00", data))


@internal
@pure
def _node(left: bytes32, right: bytes32) -> bytes32:
    """
    @notice Hash of an inner node.
    """
    return sha256(concat(b"\x01", left, right))


@internal
@pure
def _sealed(count: uint256, top: bytes32) -> bytes32:
    """
    @notice The committed root of a tree of `count` leaves.
    """
    return sha256(concat(b"\x02", convert(convert(count, uint64), bytes8), top))


@internal
@pure
def _height(count: uint256) -> uint256:
    """
    @notice Levels above the leaves of a tree of `count` leaves.
    """
    height: uint256 = 0
    for _: uint256 in range(64):
        if unsafe_sub(count, 1) >> height == 0:
            break
        height = unsafe_add(height, 1)
    return height


@internal
@pure
def _fold(nodes: DynArray[bytes32, FAN], levels: uint256) -> bytes32:
    """
    @notice The node `levels` above `nodes`, which are all its descendants that far down.
    """
    level: DynArray[bytes32, FAN] = nodes
    size: uint256 = len(nodes)
    assert size != 0 and size <= 1 << levels, "merkle: wrong number of nodes"
    for _: uint256 in range(levels, bound=FAN_LEVELS):
        for k: uint256 in range(size >> 1, bound=FAN):
            level[k] = self._node(level[unsafe_mul(k, 2)], level[unsafe_add(unsafe_mul(k, 2), 1)])
        if size & 1 == 1:
            level[size >> 1] = level[unsafe_sub(size, 1)]
        size = unsafe_add(size, 1) >> 1
    return level[0]


@internal
@pure
def _path_root(
    hashed: bytes32, index: uint256, count: uint256, path: DynArray[bytes32, MAX_PATH]
) -> bytes32:
    """
    @notice The root of a tree of `count` leaves of which leaf `index` has the hash `hashed`.
    """
    assert index < count, "merkle: no such leaf"
    found: bytes32 = hashed
    at: uint256 = index
    last: uint256 = unsafe_sub(count, 1)
    used: uint256 = 0
    for _: uint256 in range(MAX_PATH):
        if last == 0:
            break
        if at & 1 == 1:
            found = self._node(path[used], found)
            used = unsafe_add(used, 1)
        elif at != last:
            found = self._node(found, path[used])
            used = unsafe_add(used, 1)
        at = at >> 1
        last = last >> 1
    assert last == 0 and used == len(path), "merkle: proof has a wrong length"
    return self._sealed(count, found)


@internal
@pure
def _open(
    root: bytes32,
    count: uint256,
    data: Bytes[MAX_DATA],
    spans: DynArray[uint256, MAX_SPANS],
    paths: DynArray[bytes32, MAX_PATHS],
    start: uint256,
) -> uint256:
    """
    @notice Check that `data` holds, one behind another, the leaves that `spans` name (first leaf
            << 32 | leaves) of the tensor of `count` leaves that `root` commits to.
    @return Where the hashes in `paths` end that were used, from `start` on.
    """
    used: uint256 = start
    offset: uint256 = 0
    level: bytes32[132] = empty(bytes32[132])
    for span: uint256 in spans:
        low: uint256 = span >> 32
        size: uint256 = span & 4294967295
        assert size != 0 and size <= MAX_RANGE, "merkle: wrong number of leaves"
        high: uint256 = unsafe_sub(unsafe_add(low, size), 1)
        assert low < count and high < count, "merkle: no such leaf"
        # Level[1] is node `low`; level[0] has room for the neighbour before it.
        for k: uint256 in range(size, bound=MAX_RANGE):
            level[unsafe_add(k, 1)] = self._leaf(slice(data, offset, CHUNK))
            offset = unsafe_add(offset, CHUNK)
        last: uint256 = unsafe_sub(count, 1)
        for _: uint256 in range(64):
            if last == 0:
                break
            first: uint256 = 1
            if low & 1 == 1:
                first = 0
                level[0] = paths[used]
                used = unsafe_add(used, 1)
                size = unsafe_add(size, 1)
            if high & 1 == 0 and high != last:
                level[unsafe_add(first, size)] = paths[used]
                used = unsafe_add(used, 1)
                size = unsafe_add(size, 1)
            for k: uint256 in range(size >> 1, bound=MAX_RANGE):
                pair: uint256 = unsafe_add(first, unsafe_mul(k, 2))
                level[unsafe_add(k, 1)] = self._node(level[pair], level[unsafe_add(pair, 1)])
            if size & 1 == 1:
                level[unsafe_add(size >> 1, 1)] = level[unsafe_sub(unsafe_add(first, size), 1)]
            size = unsafe_add(size, 1) >> 1
            low = low >> 1
            high = high >> 1
            last = last >> 1
        assert self._sealed(count, level[1]) == root, "merkle: data is not what was committed"
    return used
