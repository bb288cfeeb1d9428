# pragma version 0.4.3
# pragma optimize gas
"""
@title Sampling
@license Apache-2.0
@notice Draws the nodes that verify an order: by the hash of the block of the last reveal, which
        nobody knew when the results were revealed, among the nodes registered then. Holds no money.
"""

import book
import registry as registry_vy

interface IMarket:
    def job(id: bytes32) -> book.Job: view
    def takes_part(id: bytes32, account: address) -> bool: view

event Drawn:
    id: indexed(bytes32)
    seed: bytes32

event Postponed:
    id: indexed(bytes32)
    anchor: uint256

VERIFIERS: public(constant(uint256)) = 2  # of an order
TRIES: constant(uint256) = 16  # numbers drawn to find them
HASHES: constant(uint256) = 256  # blocks back whose hashes a contract can read

market: public(immutable(IMarket))
registry: public(immutable(registry_vy.__interface__))

seeds: public(HashMap[bytes32, bytes32])
_anchors: HashMap[bytes32, uint256]  # instead of the reveal's block, which was too old


@deploy
def __init__(market_: address, registry_: address):
    """
    @notice The addresses may be of contracts that are made later in the same deployment.
    """
    assert empty(address) not in [market_, registry_], "an address is missing"
    market = IMarket(market_)
    registry = registry_vy.__interface__(registry_)


@external
def draw(id: bytes32):
    """
    @notice Fix an order's verifiers, from the block after the last reveal on. When nobody did so
            while its hash could be read, the hash of this block counts instead, at the next call.
    """
    job: book.Job = staticcall market.job(id)
    assert job.anchor != 0, "nothing is revealed yet"
    assert self.seeds[id] == empty(bytes32), "drawn before"
    anchor: uint256 = max(job.anchor, self._anchors[id])
    assert block.number > anchor, "too early to draw"
    if block.number > anchor + HASHES:
        self._anchors[id] = block.number
        log Postponed(id=id, anchor=block.number)
    else:
        seed: bytes32 = keccak256(abi_encode(blockhash(anchor), id))
        self.seeds[id] = seed
        log Drawn(id=id, seed=seed)


@external
@view
def verifiers(id: bytes32) -> DynArray[address, VERIFIERS]:
    """
    @return The drawn nodes; nobody before the draw. Nodes that are not at work, and parties of the
            order, are passed over.
    """
    return self._verifiers(id)


@external
@view
def is_verifier(id: bytes32, account: address) -> bool:
    """
    @return Whether the account was drawn to verify the order.
    """
    return account in self._verifiers(id)


@internal
@view
def _verifiers(id: bytes32) -> DynArray[address, VERIFIERS]:
    found: DynArray[address, VERIFIERS] = []
    seed: bytes32 = self.seeds[id]
    if seed == empty(bytes32):
        return found
    job: book.Job = staticcall market.job(id)
    for k: uint256 in range(TRIES):
        number: uint256 = convert(keccak256(abi_encode(seed, k)), uint256) % job.table
        account: address = staticcall registry.nodes(number)
        if account in found or not staticcall registry.working(account):
            continue
        if not staticcall market.takes_part(id, account):
            found.append(account)
            if len(found) == VERIFIERS:
                break
    return found
