# pragma version 0.4.3
"""
@title Order book
@license Apache-2.0
@notice What the market keeps of an order from its match on, packed into few words.
        `initializes: book` in the market; others import it for the structs.
"""

# An order from its match on.
struct Job:
    buyer: address
    retriever: address
    state: uint256
    suppliers: uint256  # how many were matched
    left: uint256  # of them, not removed
    committed: uint256
    revealed: uint256
    agreed: uint256  # verifiers that stand by the result
    royalties: uint256  # owners to be paid
    quote: uint256
    matched: uint256  # time
    deadline: uint256  # seconds
    ends: uint256  # time when the state's own time is over
    anchor: uint256  # block of the last reveal
    table: uint256  # nodes in the registry then

# One supplier's part of an order.
struct Share:
    supplier: address
    committed: uint256  # seconds from the match; 0 before
    removed: bool
    price: uint256
    power: uint256
    work: uint256  # 0 before the reveal
    proof: bytes32  # commitment, after the reveal hash of the outcome

event StateChanged:
    id: indexed(bytes32)
    state: indexed(uint256)
    ends: uint256

# States.
UNKNOWN: constant(uint256) = 0
MATCHED: constant(uint256) = 1
COMMITTED: constant(uint256) = 2
REVEALED: constant(uint256) = 3
CONTESTED: constant(uint256) = 4  # the suppliers' results differ
DISPUTED: constant(uint256) = 5
DEMANDED: constant(uint256) = 6
SETTLED: constant(uint256) = 7
EXPIRED: constant(uint256) = 8
REFUNDED: constant(uint256) = 9
CANCELLED: constant(uint256) = 10

BOND_RATE: constant(uint256) = 500  # buyer's collateral, basis points of the quotes

LOW_160: constant(uint256) = 2**160 - 1
LOW_96: constant(uint256) = 2**96 - 1
LOW_64: constant(uint256) = 2**64 - 1
LOW_40: constant(uint256) = 2**40 - 1

# buyer 160 | state 8 | suppliers 8 | left 8 | committed 8 | revealed 8 | agreed 8 | royalties 8
_parties: HashMap[bytes32, uint256]
_match: HashMap[bytes32, uint256]  # retriever 160 | matched 40 | deadline 32
_times: HashMap[bytes32, uint256]  # quote 96 | ends 40 | anchor 40 | table 32
_content: HashMap[bytes32, bytes32]  # hash of model and input
_who: HashMap[bytes32, uint256[3]]  # supplier 160 | committed 40 | removed 8
_terms: HashMap[bytes32, uint256[3]]  # price 96 | power 64 | work 96
_proofs: HashMap[bytes32, bytes32[3]]
_owed: HashMap[bytes32, uint256[2]]  # owner 160 | fee 96


@internal
@view
def _job(id: bytes32) -> Job:
    parties: uint256 = self._parties[id]
    matched: uint256 = self._match[id]
    times: uint256 = self._times[id]
    return Job(
        buyer=convert(parties & LOW_160, address),
        retriever=convert(matched & LOW_160, address),
        state=(parties >> 160) & 255,
        suppliers=(parties >> 168) & 255,
        left=(parties >> 176) & 255,
        committed=(parties >> 184) & 255,
        revealed=(parties >> 192) & 255,
        agreed=(parties >> 200) & 255,
        royalties=(parties >> 208) & 255,
        quote=times & LOW_96,
        matched=(matched >> 160) & LOW_40,
        deadline=matched >> 200,
        ends=(times >> 96) & LOW_40,
        anchor=(times >> 136) & LOW_40,
        table=times >> 176,
    )


@internal
def _save(id: bytes32, job: Job):
    self._parties[id] = (
        convert(job.buyer, uint256)
        | (job.state << 160)
        | (job.suppliers << 168)
        | (job.left << 176)
        | (job.committed << 184)
        | (job.revealed << 192)
        | (job.agreed << 200)
        | (job.royalties << 208)
    )
    self._times[id] = job.quote | (job.ends << 96) | (job.anchor << 136) | (job.table << 176)


@internal
def _enter(id: bytes32, job: Job, state: uint256):
    changed: Job = job
    changed.state = state
    self._save(id, changed)
    log StateChanged(id=id, state=state, ends=changed.ends)


@internal
@view
def _share(id: bytes32, i: uint256) -> Share:
    who: uint256 = self._who[id][i]
    terms: uint256 = self._terms[id][i]
    return Share(
        supplier=convert(who & LOW_160, address),
        committed=(who >> 160) & LOW_40,
        removed=who >> 200 != 0,
        price=terms & LOW_96,
        power=(terms >> 96) & LOW_64,
        work=terms >> 160,
        proof=self._proofs[id][i],
    )


@internal
@view
def _left(id: bytes32, job: Job) -> DynArray[Share, 3]:
    """
    @return The suppliers' parts, without those removed.
    """
    left: DynArray[Share, 3] = []
    for i: uint256 in range(job.suppliers, bound=3):
        share: Share = self._share(id, i)
        if not share.removed:
            left.append(share)
    return left


@internal
def _save_share(id: bytes32, i: uint256, share: Share):
    who: uint256 = convert(share.supplier, uint256) | (share.committed << 160)
    if share.removed:
        who = who | (1 << 200)
    self._who[id][i] = who
    self._terms[id][i] = share.price | (share.power << 96) | (share.work << 160)
    self._proofs[id][i] = share.proof


@internal
@view
def _index(id: bytes32, job: Job, supplier: address) -> uint256:
    for i: uint256 in range(job.suppliers, bound=3):
        if self._who[id][i] & LOW_160 == convert(supplier, uint256):
            return i
    raise "not a supplier of this order"


@internal
@view
def _supplies(id: bytes32, account: address) -> bool:
    for who: uint256 in self._who[id]:
        if who & LOW_160 == convert(account, uint256):
            return True
    return False


@internal
@pure
def _require(job: Job, state: uint256):
    assert job.state == state, "order is not in the state for this"


@internal
@pure
def _bond(job: Job) -> uint256:
    return job.quote * job.suppliers * BOND_RATE // 10000


@internal
@view
def _known(id: bytes32) -> bool:
    """
    @return Whether the order was matched or cancelled.
    """
    return self._parties[id] != 0


@internal
def _open(id: bytes32, job: Job, content: bytes32):
    """
    @notice Write down a new order.
    """
    self._content[id] = content
    self._match[id] = (
        convert(job.retriever, uint256) | (job.matched << 160) | (job.deadline << 200)
    )
    self._save(id, job)


@internal
def _owe(id: bytes32, i: uint256, owner: address, fee: uint256):
    """
    @notice Note that an owner of model or input is to be paid.
    """
    self._owed[id][i] = convert(owner, uint256) | (fee << 160)


@internal
@view
def _royalty(id: bytes32, i: uint256) -> (address, uint256):
    owed: uint256 = self._owed[id][i]
    return convert(owed & LOW_160, address), owed >> 160


@internal
@view
def _put_up(id: bytes32, job: Job) -> uint256:
    """
    @return What the buyer put up: quotes, collateral and the owners' fees.
    """
    total: uint256 = job.quote * job.suppliers + self._bond(job)
    for i: uint256 in range(job.royalties, bound=2):
        total += self._owed[id][i] >> 160
    return total
