# pragma version 0.4.3
# pragma optimize gas
"""
@title Resource proofs
@license Apache-2.0
@notice A node shows what it can compute: the product of two matrices that follow from the hash of
        a block that did not exist when it began. It commits to all rows; other nodes check them
        and put a stake on it; anybody who finds one wrong element shows it to this contract, which
        computes the element itself and takes the stakes. What stands for long enough enters the
        registry, until it expires.
"""

import merkle

flag Fault:
    ENDED
    LATE
    LIED

interface IRegistry:
    def count() -> uint256: view
    def working(account: address) -> bool: view
    def lock(node: address, amount: uint256): nonpayable
    def unlock(node: address, amount: uint256): nonpayable
    def slash(node: address, amount: uint256, fault: Fault): nonpayable
    def prove(node: address, power: uint256, expires: uint256): nonpayable

interface IToken:
    def transfer(to: address, amount: uint256) -> bool: nonpayable

# A node's attempt: challenged while `root` is empty, then committed until `ends`.
struct Attempt:
    edge: uint256  # of the square matrices
    block: uint256  # whose hash is the seed
    deadline: uint256  # time to commit by
    seed: bytes32
    root: bytes32  # of the rows
    usage: bytes32  # root of the device's counters
    cycles: uint256
    clock: uint256  # Hz
    vectors: uint256  # block whose hash the checkers' vectors follow from
    ends: uint256  # time until which it can be refuted

event Challenged:
    node: indexed(address)
    edge: uint256
    block: uint256
    deadline: uint256

event Committed:
    node: indexed(address)
    attempt: Attempt

event Accepted:
    node: indexed(address)
    verifier: indexed(address)

event Refuted:
    node: indexed(address)
    by: indexed(address)
    row: uint256
    col: uint256

event Missed:
    node: indexed(address)

event Proved:
    node: indexed(address)
    power: uint256
    expires: uint256

event Rejected:
    node: indexed(address)
    accepted: uint256
    needed: uint256

ANSWER_TIME: public(constant(uint256)) = 30 * 60
REFUTE_TIME: public(constant(uint256)) = 3600
VALID_TIME: public(constant(uint256)) = 7 * 86400
STAKE: public(constant(uint256)) = 50 * 10**18  # of the node
VERIFIER_STAKE: public(constant(uint256)) = 10 * 10**18
NEEDED: public(constant(uint256)) = 2  # verifiers, where there are so many other nodes
MAX_VERIFIERS: constant(uint256) = 8
MAX_ROW: constant(uint256) = 5 * 1024
MAX_CLOCK: constant(uint256) = 10**11

LOW_64: constant(uint256) = 2**64 - 1
GOLDEN: constant(uint256) = 11400714819323198485
FIRST: constant(uint256) = 13787848793156543929
SECOND: constant(uint256) = 10723151780598845931

registry: public(immutable(IRegistry))
token: public(immutable(IToken))
treasury: public(immutable(address))

attempts: public(HashMap[address, Attempt])
_verifiers: HashMap[address, DynArray[address, MAX_VERIFIERS]]


@deploy
def __init__(registry_: address, token_: address, treasury_: address):
    """
    @notice The addresses may be of contracts that are made later in the same deployment.
    """
    registry = IRegistry(registry_)
    token = IToken(token_)
    treasury = treasury_


@external
@nonreentrant
def challenge(edge: uint256):
    """
    @notice Ask for a challenge; its seed is the hash of the next block. Locks the sender's stake.
    """
    assert edge in [64, 128, 256, 512, 1024], "resources: edge must be 64 to 1024"
    assert self.attempts[msg.sender].deadline == 0, "resources: there is an attempt already"
    assert staticcall registry.working(msg.sender), "resources: not a working node"
    extcall registry.lock(msg.sender, STAKE)
    attempt: Attempt = empty(Attempt)
    attempt.edge = edge
    attempt.block = block.number + 1
    attempt.deadline = block.timestamp + ANSWER_TIME
    self.attempts[msg.sender] = attempt
    log Challenged(
        node=msg.sender, edge=edge, block=attempt.block, deadline=attempt.deadline
    )


@external
@nonreentrant
def commit(root: bytes32, usage: bytes32, cycles: uint256, clock: uint256):
    """
    @notice The node commits to its rows and to what its device counted.
    """
    attempt: Attempt = self.attempts[msg.sender]
    assert attempt.deadline != 0, "resources: there is no challenge"
    assert attempt.root == empty(bytes32), "resources: committed already"
    assert block.timestamp <= attempt.deadline, "resources: too late"
    assert block.number > attempt.block, "resources: the seed is not there yet"
    assert block.number <= attempt.block + 256, "resources: the seed is gone"
    assert root != empty(bytes32), "resources: root is missing"
    assert cycles != 0 and clock != 0 and clock <= MAX_CLOCK, "resources: wrong cycles or clock"
    attempt.seed = self._seed(blockhash(attempt.block), msg.sender)
    attempt.root = root
    attempt.usage = usage
    attempt.cycles = cycles
    attempt.clock = clock
    attempt.vectors = block.number + 1
    attempt.ends = block.timestamp + REFUTE_TIME
    self.attempts[msg.sender] = attempt
    log Committed(node=msg.sender, attempt=attempt)


@internal
@pure
def _seed(hashed: bytes32, node: address) -> bytes32:
    return sha256(concat(hashed, convert(node, bytes20)))


@external
@nonreentrant
def accept(node: address, root: bytes32):
    """
    @notice Stand by a node's rows, with a stake.
    @param root Of the rows that were checked.
    """
    attempt: Attempt = self.attempts[node]
    assert attempt.root == root and root != empty(bytes32), "resources: not the node's rows"
    assert block.timestamp <= attempt.ends, "resources: too late"
    assert msg.sender != node, "resources: not your own"
    assert staticcall registry.working(msg.sender), "resources: not a working node"
    for verifier: address in self._verifiers[node]:
        assert verifier != msg.sender, "resources: accepted already"
    extcall registry.lock(msg.sender, VERIFIER_STAKE)
    self._verifiers[node].append(msg.sender)
    log Accepted(node=node, verifier=msg.sender)


@external
@nonreentrant
def refute(
    node: address,
    row: uint256,
    col: uint256,
    data: Bytes[MAX_ROW],
    path: DynArray[bytes32, merkle.MAX_PATH],
):
    """
    @notice Show an element that is not the product's, or a result that is not its sum's. Half of
            all stakes on it goes to the sender.
    @param data The row that the node committed to: sums (int32, highest byte first), results.
    """
    attempt: Attempt = self.attempts[node]
    assert attempt.root != empty(bytes32), "resources: nothing is committed"
    assert block.timestamp <= attempt.ends, "resources: too late"
    edge: uint256 = attempt.edge
    assert row < edge and col < edge, "resources: no such element"
    leaf: bytes32 = sha256(concat(b"\x00", data))
    found: bytes32 = merkle._path_root(leaf, row, edge, path)
    assert found == attempt.root, "resources: not the node's row"
    if len(data) == 5 * edge:
        total: int256 = self._element(attempt.seed, edge, row, col)
        given: int256 = convert(slice(data, 4 * col, 4), int256)
        scaled: int256 = self._scaled(total, edge)
        result: int256 = convert(slice(data, 4 * edge + col, 1), int256)
        assert total != given or scaled != result, "resources: the element is right"
    log Refuted(node=node, by=msg.sender, row=row, col=col)
    taken: uint256 = STAKE
    extcall registry.slash(node, STAKE, Fault.LIED)
    for verifier: address in self._verifiers[node]:
        extcall registry.slash(verifier, VERIFIER_STAKE, Fault.LIED)
        taken += VERIFIER_STAKE
    self._forget(node)
    extcall registry.prove(node, 0, 0)
    assert extcall token.transfer(msg.sender, taken // 2), "transfer failed"
    assert extcall token.transfer(treasury, taken - taken // 2), "transfer failed"


@external
@nonreentrant
def finish(node: address):
    """
    @notice End an attempt whose time is over: enter the proof, or forget it. Anybody may do this.
    """
    attempt: Attempt = self.attempts[node]
    assert attempt.deadline != 0, "resources: there is no attempt"
    if attempt.root == empty(bytes32):
        assert block.timestamp > attempt.deadline, "resources: there is still time"
        self._forget(node)
        extcall registry.unlock(node, STAKE)
        log Missed(node=node)
        return
    assert block.timestamp > attempt.ends, "resources: there is still time"
    accepted: uint256 = len(self._verifiers[node])
    needed: uint256 = min(NEEDED, staticcall registry.count() - 1)
    extcall registry.unlock(node, STAKE)
    for verifier: address in self._verifiers[node]:
        extcall registry.unlock(verifier, VERIFIER_STAKE)
    self._forget(node)
    if accepted < needed:
        log Rejected(node=node, accepted=accepted, needed=needed)
        return
    operations: uint256 = 2 * attempt.edge**3
    power: uint256 = min(operations * attempt.clock // attempt.cycles, LOW_64)
    expires: uint256 = attempt.ends + VALID_TIME
    extcall registry.prove(node, power, expires)
    log Proved(node=node, power=power, expires=expires)


@internal
def _forget(node: address):
    self.attempts[node] = empty(Attempt)
    self._verifiers[node] = []


@external
@view
def verifiers(node: address) -> DynArray[address, MAX_VERIFIERS]:
    """
    @return Who stands by a node's rows.
    """
    return self._verifiers[node]


@external
@pure
def element(seed: bytes32, edge: uint256, row: uint256, col: uint256) -> (int256, int256):
    """
    @return The sum at a place of the product, and the result that the machine makes of it.
    """
    total: int256 = self._element(seed, edge, row, col)
    return total, self._scaled(total, edge)


@internal
@pure
def _key(seed: bytes32, name: Bytes[1]) -> uint256:
    return convert(sha256(concat(seed, name)), uint256) >> 192


@internal
@pure
def _mixed(state: uint256) -> uint256:
    """
    @notice SplitMix64's output of a state.
    """
    z: uint256 = state & LOW_64
    z = unsafe_mul(z ^ (z >> 30), FIRST) & LOW_64
    z = unsafe_mul(z ^ (z >> 27), SECOND) & LOW_64
    return z ^ (z >> 31)


@internal
@pure
def _element(seed: bytes32, edge: uint256, row: uint256, col: uint256) -> int256:
    """
    @notice Row `row` of the one matrix times column `col` of the other, whose words follow the
            keys of `seed`.
    """
    steps: uint256 = edge // 8
    a: uint256 = unsafe_add(self._key(seed, b"a"), unsafe_mul(row * steps, GOLDEN))
    b: uint256 = unsafe_add(self._key(seed, b"b"), unsafe_mul(col * steps, GOLDEN))
    total: int256 = 0
    for k: uint256 in range(steps, bound=128):
        a = unsafe_add(a, GOLDEN)
        b = unsafe_add(b, GOLDEN)
        x: uint256 = self._mixed(a)
        y: uint256 = self._mixed(b)
        for i: uint256 in range(8):
            s: int256 = convert((x & 255) ^ 128, int256) - 128
            t: int256 = convert((y & 255) ^ 128, int256) - 128
            total += s * t
            x = x >> 8
            y = y >> 8
    return total


@internal
@pure
def _scaled(total: int256, edge: uint256) -> int256:
    """
    @notice The sum over 2**shift, to nearest even, saturated to int8.
    """
    places: uint256 = 10
    if edge > 256:
        places = 12
    elif edge > 64:
        places = 11
    magnitude: uint256 = convert(abs(total), uint256)
    below: uint256 = magnitude >> places
    remainder: uint256 = magnitude - (below << places)
    half: uint256 = 1 << (places - 1)
    if remainder > half or (remainder == half and below & 1 == 1):
        below += 1
    scaled: int256 = convert(below, int256)
    if total < 0:
        scaled = -scaled
    return min(max(scaled, -128), 127)
