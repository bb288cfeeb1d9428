# pragma version 0.4.3
# pragma optimize gas
"""
@title Market
@license Apache-2.0
@notice Balances, order book and escrow. An order is signed by its buyer and accepted by the
        signatures of its suppliers; from its match on, every state ends by a call that anybody may
        make, and all the money it holds is paid out when it ends.
"""

from ethereum.ercs import IERC20

interface IRegistry:
    def count() -> uint256: view
    def lock(node: address, amount: uint256): nonpayable
    def unlock(node: address, amount: uint256): nonpayable
    def slash(node: address, amount: uint256, fault: Fault): nonpayable
    def settle(node: address, amount: uint256, work: uint256, confirmed: bool) -> uint256: nonpayable

interface IOrders:
    def order_id(order: Order) -> bytes32: view
    def check(
        order: Order,
        signature: Bytes[65],
        acceptances: DynArray[Acceptance, 3],
        signatures: DynArray[Bytes[65], 3],
        retriever: address,
    ) -> (bytes32, uint256[3]): view

interface IAssets:
    # Owner of a content hash and what it asks for one use; nothing for what nobody owns.
    def terms(content: bytes32) -> (address, uint256): view

interface IOpenings:
    def check(output: bytes32, wanted: Wanted, shown: Shown) -> bool: pure

interface ISampling:
    def is_verifier(id: bytes32, account: address) -> bool: view

interface IDisputes:
    def open(dispute: Dispute): nonpayable

flag Fault:
    ENDED
    LATE
    LIED

struct Order:
    buyer: address
    model: bytes32  # root of the model
    config: bytes32  # device configuration, or zero for any
    input: bytes32  # root of the input
    region: bytes32  # or zero for any
    redundancy: uint8  # suppliers that compute it: 1, 2 or 3
    price: uint256  # most HAI-wei per T·H
    quote: uint256  # most HAI-wei per supplier
    fees: uint256  # most HAI-wei for the owners of model and input
    deadline: uint64  # seconds from the match to the suppliers' commitments
    expiry: uint64  # time after which it must not be matched
    salt: uint256

struct Acceptance:
    order: bytes32
    supplier: address
    retriever: address  # who may match with it
    price: uint256  # HAI-wei per T·H
    expiry: uint64

struct Outcome:
    output: bytes32  # root of the output
    trace: bytes32  # root of the execution trace

struct Result:
    model: bytes32
    input: bytes32
    outcome: Outcome
    usage: bytes32  # root of what was used: counters, bytes, elapsed time
    sealed: bytes32  # content hash of the sealed output
    work: uint256  # 1e-18 T·H

struct Dispute:
    order: bytes32
    model: bytes32
    input: bytes32
    accused: address
    challenger: address
    given: Outcome  # by the accused
    claimed: Outcome  # by the challenger

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

# Who is in an open dispute.
struct Quarrel:
    accused: address
    challenger: address
    bond: uint256  # of a challenger that is not a supplier of the order

# Which leaves of the output a buyer demands, and what a supplier shows: see openings.vy.
struct Wanted:
    tensor: uint256
    first: uint256
    leaves: uint256

struct Shown:
    tensors: uint256
    tensor: bytes32
    tensor_path: DynArray[bytes32, 40]
    count: uint256
    data: Bytes[8192]
    path: DynArray[bytes32, 128]

struct Demand:
    supplier: address
    fee: uint256
    wanted: Wanted

event Deposited:
    account: indexed(address)
    amount: uint256

event Withdrawn:
    account: indexed(address)
    amount: uint256

event Paid:
    order: indexed(bytes32)
    account: indexed(address)
    amount: uint256
    reason: String[16]

event Matched:
    id: indexed(bytes32)
    buyer: indexed(address)
    retriever: indexed(address)
    order: Order
    suppliers: DynArray[address, 3]
    held: uint256

event Cancelled:
    id: indexed(bytes32)
    buyer: indexed(address)

event Committed:
    id: indexed(bytes32)
    supplier: indexed(address)
    commitment: bytes32

event Revealed:
    id: indexed(bytes32)
    supplier: indexed(address)
    result: Result

event StateChanged:
    id: indexed(bytes32)
    state: indexed(uint256)
    ends: uint256

event Removed:
    id: indexed(bytes32)
    supplier: indexed(address)
    fault: Fault
    stake: uint256

event Demanded:
    id: indexed(bytes32)
    supplier: indexed(address)
    wanted: Wanted

event Answered:
    id: indexed(bytes32)
    supplier: indexed(address)
    data: Bytes[8192]

event Agreed:
    id: indexed(bytes32)
    verifier: indexed(address)

event Challenged:
    id: indexed(bytes32)
    accused: indexed(address)
    challenger: indexed(address)
    bond: uint256

event Resolved:
    id: indexed(bytes32)
    guilty: indexed(address)
    proven: bool

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

GRACE: public(constant(uint256)) = 600  # seconds that a commitment may be late
REVEAL_WINDOW: public(constant(uint256)) = 3600
CONFIRM_WINDOW: public(constant(uint256)) = 6 * 3600
ANSWER_WINDOW: public(constant(uint256)) = 3600
DISPUTE_LIMIT: public(constant(uint256)) = 14 * 86400  # no dispute takes longer

STAKE_FACTOR: public(constant(uint256)) = 2  # stake locked, and a challenger's bond, per quote
BOND_RATE: public(constant(uint256)) = 500  # buyer's collateral, basis points of the quotes
PLATFORM_RATE: public(constant(uint256)) = 500  # of what is paid: basis points for all three below
RETRIEVER_PART: public(constant(uint256)) = 40  # per cent of the platform's
VERIFIER_PART: public(constant(uint256)) = 40  # the rest is the treasury's
SPEED_BONUS: public(constant(uint256)) = 1000  # basis points for no time at all
TOLERANCE: public(constant(uint256)) = 103  # per cent of the median work that is paid at most
DEMAND_PART: public(constant(uint256)) = 20  # a demand costs one such part of the quote

LOW_96: constant(uint256) = 2**96 - 1


token: public(immutable(IERC20))
registry: public(immutable(IRegistry))
orders: public(immutable(IOrders))
assets: public(immutable(IAssets))
disputes: public(immutable(IDisputes))
openings: public(immutable(IOpenings))
sampling: public(immutable(ISampling))
treasury: public(immutable(address))

balances: public(HashMap[address, uint256])

_parties: HashMap[bytes32, uint256]  # buyer 160 | state, suppliers, left, committed, revealed, agreed, royalties: 8 each
_match: HashMap[bytes32, uint256]  # retriever 160 | matched 40 | deadline 32
_times: HashMap[bytes32, uint256]  # quote 96 | ends 40 | anchor 40 | table 32
_content: HashMap[bytes32, bytes32]  # hash of model and input
_who: HashMap[bytes32, uint256[3]]  # supplier 160 | committed 40 | removed 8
_terms: HashMap[bytes32, uint256[3]]  # price 96 | power 64 | work 96
_proofs: HashMap[bytes32, bytes32[3]]
_owed: HashMap[bytes32, uint256[2]]  # owner 160 | fee 96
_quarrels: HashMap[bytes32, Quarrel]
_demands: HashMap[bytes32, Demand]
_agreed: HashMap[bytes32, address[2]]
_buyers: HashMap[address, uint256]  # confirmed 64 | silent 64 | lost 64


@deploy
def __init__(
    token_: address,
    registry_: address,
    orders_: address,
    assets_: address,
    disputes_: address,
    openings_: address,
    sampling_: address,
    treasury_: address,
):
    """
    @notice The addresses may be of contracts that are made later in the same deployment.
    """
    others: address[7] = [
        token_, registry_, orders_, assets_, disputes_, openings_, sampling_
    ]
    assert empty(address) not in others and treasury_ != empty(address), "an address is missing"
    token = IERC20(token_)
    registry = IRegistry(registry_)
    orders = IOrders(orders_)
    assets = IAssets(assets_)
    disputes = IDisputes(disputes_)
    openings = IOpenings(openings_)
    sampling = ISampling(sampling_)
    treasury = treasury_


# Balances.


@external
@nonreentrant
def deposit(amount: uint256):
    """
    @notice Move tokens, which the sender has approved, to the sender's balance.
    """
    self.balances[msg.sender] += amount
    log Deposited(account=msg.sender, amount=amount)
    assert extcall token.transferFrom(msg.sender, self, amount), "transfer failed"


@external
@nonreentrant
def withdraw(amount: uint256):
    """
    @notice Take out any part of what many orders brought, in one transfer.
    """
    self._take(msg.sender, amount)
    log Withdrawn(account=msg.sender, amount=amount)
    assert extcall token.transfer(msg.sender, amount), "transfer failed"


@internal
def _take(account: address, amount: uint256):
    assert self.balances[account] >= amount, "balance is too small"
    self.balances[account] -= amount


@internal
def _pay(id: bytes32, account: address, amount: uint256, reason: String[16]):
    if amount != 0:
        self.balances[account] += amount
        log Paid(order=id, account=account, amount=amount, reason=reason)


# Matching.


@external
@nonreentrant
def match_order(
    order: Order,
    signature: Bytes[65],
    acceptances: DynArray[Acceptance, 3],
    signatures: DynArray[Bytes[65], 3],
) -> bytes32:
    """
    @notice Match a buyer's order to the suppliers that accepted it; the sender is its retriever.
            Locks the buyer's money and collateral, and the suppliers' stakes.
    @return The order's id: the digest that the buyer signed.
    """
    id: bytes32 = empty(bytes32)
    powers: uint256[3] = empty(uint256[3])
    id, powers = staticcall orders.check(order, signature, acceptances, signatures, msg.sender)
    assert self._parties[id] == 0, "order was matched or cancelled before"
    size: uint256 = len(acceptances)
    job: Job = empty(Job)
    job.buyer = order.buyer
    job.retriever = msg.sender
    job.state = MATCHED
    job.suppliers = size
    job.left = size
    job.quote = order.quote
    job.matched = block.timestamp
    job.deadline = convert(order.deadline, uint256)
    job.ends = block.timestamp + job.deadline + GRACE
    fees: uint256 = 0
    job.royalties, fees = self._note_royalties(id, order)
    held: uint256 = job.quote * size + self._bond(job) + fees
    self._take(order.buyer, held)
    self._content[id] = keccak256(abi_encode(order.model, order.input))
    self._match[id] = convert(msg.sender, uint256) | (job.matched << 160) | (job.deadline << 200)
    self._save(id, job)
    suppliers: DynArray[address, 3] = []
    for i: uint256 in range(size, bound=3):
        supplier: address = acceptances[i].supplier
        suppliers.append(supplier)
        self._who[id][i] = convert(supplier, uint256)
        self._terms[id][i] = acceptances[i].price | (powers[i] << 96)
        extcall registry.lock(supplier, job.quote * STAKE_FACTOR)
    log Matched(
        id=id,
        buyer=order.buyer,
        retriever=msg.sender,
        order=order,
        suppliers=suppliers,
        held=held,
    )
    return id


@internal
def _note_royalties(id: bytes32, order: Order) -> (uint256, uint256):
    """
    @return Owners to be paid, and what they ask in all.
    """
    number: uint256 = 0
    fees: uint256 = 0
    for content: bytes32 in [order.model, order.input]:
        owner: address = empty(address)
        fee: uint256 = 0
        owner, fee = staticcall assets.terms(content)
        if fee != 0:
            assert fee <= LOW_96, "owner asks too much"
            self._owed[id][number] = convert(owner, uint256) | (fee << 160)
            number += 1
            fees += fee
    assert fees <= order.fees, "owners ask more than the order's fees"
    return number, fees


@external
@nonreentrant
def cancel(order: Order):
    """
    @notice The buyer takes an order back before it is matched.
    """
    id: bytes32 = staticcall orders.order_id(order)
    assert msg.sender == order.buyer, "only the buyer may do this"
    assert self._parties[id] == 0, "order was matched or cancelled before"
    self._parties[id] = convert(order.buyer, uint256) | (CANCELLED << 160)
    log Cancelled(id=id, buyer=order.buyer)


# Work.


@external
@nonreentrant
def commit(id: bytes32, commitment: bytes32):
    """
    @notice A supplier has its result.
    @param commitment keccak256(abi_encode(id, supplier, result, salt))
    """
    job: Job = self._job(id)
    self._require(job, MATCHED)
    assert block.timestamp <= job.ends, "too late to commit"
    assert commitment != empty(bytes32), "commitment is missing"
    i: uint256 = self._index(id, job, msg.sender)
    share: Share = self._share(id, i)
    assert share.committed == 0, "committed before"
    share.committed = max(block.timestamp - job.matched, 1)
    share.proof = commitment
    self._save_share(id, i, share)
    log Committed(id=id, supplier=msg.sender, commitment=commitment)
    job.committed += 1
    if job.committed == job.suppliers:
        job.ends = block.timestamp + REVEAL_WINDOW
        self._enter(id, job, COMMITTED)
    else:
        self._save(id, job)


@external
@nonreentrant
def reveal(id: bytes32, result: Result, salt: bytes32):
    """
    @notice A supplier shows what it committed to, once all have committed.
    """
    job: Job = self._job(id)
    self._require(job, COMMITTED)
    assert block.timestamp <= job.ends, "too late to reveal"
    i: uint256 = self._index(id, job, msg.sender)
    share: Share = self._share(id, i)
    assert share.work == 0, "revealed before"
    assert share.proof == keccak256(abi_encode(id, msg.sender, result, salt)), "result is not what was committed"
    self._check_content(id, result.model, result.input)
    assert result.work != 0 and result.work <= LOW_96, "work is out of range"
    share.work = result.work
    share.proof = self._hash(result.outcome)
    self._save_share(id, i, share)
    log Revealed(id=id, supplier=msg.sender, result=result)
    job.revealed += 1
    if job.revealed == job.suppliers:
        job.anchor = block.number
        job.table = staticcall registry.count()
        self._compare(id, job)
    else:
        self._save(id, job)


@internal
def _compare(id: bytes32, job: Job):
    """
    @notice The suppliers that are left agree, or they have to find out who is wrong.
    """
    changed: Job = job
    changed.ends = block.timestamp + CONFIRM_WINDOW
    seen: bytes32 = empty(bytes32)
    state: uint256 = REVEALED
    for i: uint256 in range(job.suppliers, bound=3):
        share: Share = self._share(id, i)
        if share.removed:
            continue
        if seen == empty(bytes32):
            seen = share.proof
        elif seen != share.proof:
            state = CONTESTED
    self._enter(id, changed, state)


@internal
@view
def _check_content(id: bytes32, model: bytes32, input: bytes32):
    assert keccak256(abi_encode(model, input)) == self._content[id], "not the order's model and input"


@internal
@pure
def _hash(outcome: Outcome) -> bytes32:
    return keccak256(abi_encode(outcome))


# Ends.


@external
@nonreentrant
def confirm(id: bytes32):
    """
    @notice The buyer has the result; the order is settled at once.
    """
    job: Job = self._job(id)
    self._require(job, REVEALED)
    assert msg.sender == job.buyer, "only the buyer may do this"
    self._settle(id, job, True)


@external
@nonreentrant
def settle(ids: DynArray[bytes32, 32]):
    """
    @notice Settle orders whose buyers had time to confirm or to object.
    """
    for id: bytes32 in ids:
        job: Job = self._job(id)
        self._require(job, REVEALED)
        assert block.timestamp > job.ends, "buyer may still confirm"
        self._settle(id, job, False)


@internal
def _settle(id: bytes32, job: Job, confirmed: bool):
    changed: Job = job
    self._enter(id, changed, SETTLED)
    shares: Share[3] = empty(Share[3])
    powers: uint256 = 0
    for i: uint256 in range(job.suppliers, bound=3):
        shares[i] = self._share(id, i)
        if not shares[i].removed:
            powers += shares[i].power
    most: uint256 = self._most_work(shares) * TOLERANCE // 100
    pot: uint256 = 0
    for share: Share in shares:
        if share.power != 0 and not share.removed:
            pot += share.price * min(share.work, most) // 10**18
    bond: uint256 = self._bond(job)
    self._count_buyer(job.buyer, confirmed)
    paid: uint256 = 0
    fees: uint256 = 0
    self_dealt: bool = job.retriever == job.buyer
    for share: Share in shares:
        if share.power == 0 or share.removed:
            continue
        counted: uint256 = share.work
        if pot == 0 or share.supplier in [job.buyer, job.retriever]:
            counted = 0
            self_dealt = self_dealt or share.supplier == job.retriever
        rating: uint256 = extcall registry.settle(
            share.supplier, job.quote * STAKE_FACTOR, min(counted, most), confirmed
        )
        due: uint256 = self._due(job, share, pot, powers, rating)
        fee: uint256 = due * PLATFORM_RATE // 10000
        paid += due
        fees += fee
        if not confirmed:
            self._pay(id, share.supplier, bond // job.left, "collateral")
        self._pay(id, share.supplier, due - fee, "work")
    if confirmed:
        self._pay(id, job.buyer, job.quote * job.suppliers - paid + bond, "refund")
    else:
        self._pay(id, job.buyer, job.quote * job.suppliers - paid, "refund")
        fees += bond - bond // job.left * job.left
    self._pay_platform(id, job, fees, self_dealt)
    self._pay_royalties(id, job)


@internal
@pure
def _most_work(shares: Share[3]) -> uint256:
    """
    @return The lower median of what the suppliers that are left say they worked.
    """
    works: DynArray[uint256, 3] = []
    for share: Share in shares:
        if share.power != 0 and not share.removed:
            works.append(share.work)
    if len(works) == 3:
        return max(min(works[0], works[1]), min(max(works[0], works[1]), works[2]))
    if len(works) == 2:
        return min(works[0], works[1])
    return works[0]


@internal
@pure
def _due(job: Job, share: Share, pot: uint256, powers: uint256, rating: uint256) -> uint256:
    """
    @return Task prices × power / powers × speed bonus × rating, at most that part of the quotes.
    """
    early: uint256 = job.deadline - min(share.committed, job.deadline)
    speed: uint256 = 10000 + SPEED_BONUS * early // job.deadline
    due: uint256 = pot * share.power // powers * speed // 10000 * rating // 10000
    return min(due, job.quote * job.left * share.power // powers)


@internal
def _pay_platform(id: bytes32, job: Job, fees: uint256, self_dealt: bool):
    left: uint256 = fees
    if not self_dealt:
        part: uint256 = fees * RETRIEVER_PART // 100
        left -= part
        self._pay(id, job.retriever, part, "retrieval")
    for i: uint256 in range(job.agreed, bound=2):
        verifier: address = self._agreed[id][i]
        part: uint256 = fees * VERIFIER_PART // 100 // job.agreed
        left -= part
        self._pay(id, verifier, part, "verification")
        extcall registry.unlock(verifier, job.quote * STAKE_FACTOR)
    self._pay(id, treasury, left, "treasury")


@internal
def _pay_royalties(id: bytes32, job: Job):
    for i: uint256 in range(job.royalties, bound=2):
        owed: uint256 = self._owed[id][i]
        self._pay(id, convert(owed & convert(max_value(uint160), uint256), address), owed >> 160, "royalty")


@external
@nonreentrant
def expire(id: bytes32):
    """
    @notice End a state whose time is over, whoever was to act.
    """
    job: Job = self._job(id)
    assert job.state in [MATCHED, COMMITTED, CONTESTED, DISPUTED, DEMANDED], "order does not wait for a deadline"
    assert block.timestamp > job.ends, "there is still time"
    if job.state == DEMANDED:
        self._unanswered(id, job)
    elif job.state == MATCHED or job.state == COMMITTED:
        self._fail(id, job, empty(address), Fault.LATE, EXPIRED)
    else:
        if job.state == DISPUTED:
            quarrel: Quarrel = self._quarrels[id]
            self._pay(id, quarrel.challenger, quarrel.bond, "bond")
        self._refund(id, job)


@external
@nonreentrant
def give_up(id: bytes32):
    """
    @notice A supplier cannot go on. It loses its stake, but is punished less than for silence.
    """
    job: Job = self._job(id)
    assert job.state in [MATCHED, COMMITTED], "order is not being worked on"
    i: uint256 = self._index(id, job, msg.sender)
    self._fail(id, job, msg.sender, Fault.ENDED, REFUNDED)


@internal
def _fail(id: bytes32, job: Job, culprit: address, fault: Fault, state: uint256):
    """
    @notice End an order that was not delivered: those at fault pay the others up to a quote each,
            the buyer gets everything back.
    @param culprit The supplier at fault; or nobody: then all that are behind are.
    """
    changed: Job = job
    self._enter(id, changed, state)
    harmed: DynArray[address, 3] = []
    forfeited: uint256 = 0
    for i: uint256 in range(job.suppliers, bound=3):
        share: Share = self._share(id, i)
        behind: bool = share.committed == 0
        if job.state == COMMITTED:
            behind = share.work == 0
        if share.supplier == culprit or (culprit == empty(address) and behind):
            forfeited += self._remove(id, job, i, fault)
        else:
            harmed.append(share.supplier)
            extcall registry.unlock(share.supplier, job.quote * STAKE_FACTOR)
    self._compensate(id, harmed, forfeited, job.quote)
    self._give_back(id, job)


@internal
def _remove(id: bytes32, job: Job, i: uint256, fault: Fault) -> uint256:
    """
    @notice Take a supplier's stake of this order.
    @return What it was, now held here.
    """
    share: Share = self._share(id, i)
    share.removed = True
    self._save_share(id, i, share)
    stake: uint256 = job.quote * STAKE_FACTOR
    extcall registry.slash(share.supplier, stake, fault)
    log Removed(id=id, supplier=share.supplier, fault=fault, stake=stake)
    return stake


@internal
def _compensate(id: bytes32, harmed: DynArray[address, 3], forfeited: uint256, limit: uint256):
    """
    @notice Share out forfeited stake, at most `limit` each; the treasury has the rest.
    """
    left: uint256 = forfeited
    for account: address in harmed:
        part: uint256 = min(limit, forfeited // len(harmed))
        left -= part
        self._pay(id, account, part, "compensation")
    self._pay(id, treasury, left, "forfeit")


@internal
def _give_back(id: bytes32, job: Job):
    total: uint256 = job.quote * job.suppliers + self._bond(job)
    for i: uint256 in range(job.royalties, bound=2):
        total += self._owed[id][i] >> 160
    self._pay(id, job.buyer, total, "refund")


@internal
def _refund(id: bytes32, job: Job):
    """
    @notice End an order without a result and without blame.
    """
    changed: Job = job
    self._enter(id, changed, REFUNDED)
    stake: uint256 = job.quote * STAKE_FACTOR
    for i: uint256 in range(job.suppliers, bound=3):
        share: Share = self._share(id, i)
        if not share.removed:
            extcall registry.unlock(share.supplier, stake)
    for i: uint256 in range(job.agreed, bound=2):
        extcall registry.unlock(self._agreed[id][i], stake)
    self._give_back(id, job)


@internal
def _go_on(id: bytes32, job: Job):
    """
    @notice After suppliers were removed: the others' result stands, or the buyer is refunded.
    """
    if job.left == 0:
        self._refund(id, job)
    else:
        self._compare(id, job)


# Availability.


@external
@nonreentrant
def demand(id: bytes32, supplier: address, wanted: Wanted):
    """
    @notice The buyer did not get the output: a supplier has to show these leaves of it here. It
            costs the buyer a part of the quote, for the supplier.
    """
    job: Job = self._job(id)
    self._require(job, REVEALED)
    assert msg.sender == job.buyer, "only the buyer may do this"
    assert block.timestamp <= job.ends, "too late to demand"
    assert wanted.leaves != 0 and wanted.leaves <= 32, "leaves must be 1 to 32"
    assert wanted.first < 2**32, "first leaf is out of range"
    assert not self._share(id, self._index(id, job, supplier)).removed, "supplier was removed"
    fee: uint256 = job.quote // DEMAND_PART
    self._take(msg.sender, fee)
    self._demands[id] = Demand(supplier=supplier, fee=fee, wanted=wanted)
    log Demanded(id=id, supplier=supplier, wanted=wanted)
    job.ends = block.timestamp + ANSWER_WINDOW
    self._enter(id, job, DEMANDED)


@external
@nonreentrant
def answer(id: bytes32, outcome: Outcome, shown: Shown):
    """
    @notice Show what the buyer demanded.
    """
    job: Job = self._job(id)
    self._require(job, DEMANDED)
    demanded: Demand = self._demands[id]
    self._check_outcome(id, job, demanded.supplier, outcome)
    assert staticcall openings.check(outcome.output, demanded.wanted, shown), "not the output"
    self._demands[id] = empty(Demand)
    self._pay(id, demanded.supplier, demanded.fee, "demand")
    log Answered(id=id, supplier=demanded.supplier, data=shown.data)
    job.ends = block.timestamp + CONFIRM_WINDOW
    self._enter(id, job, REVEALED)


@internal
def _unanswered(id: bytes32, job: Job):
    changed: Job = job
    demanded: Demand = self._demands[id]
    self._demands[id] = empty(Demand)
    forfeited: uint256 = self._remove(id, job, self._index(id, job, demanded.supplier), Fault.LATE)
    self._pay(id, job.buyer, demanded.fee, "demand")
    self._pay(id, treasury, forfeited, "forfeit")
    changed.left -= 1
    self._go_on(id, changed)


# Verification.


@internal
@view
def _supplies(id: bytes32, account: address) -> bool:
    for who: uint256 in self._who[id]:
        if who & convert(max_value(uint160), uint256) == convert(account, uint256):
            return True
    return False


@external
@nonreentrant
def agree(id: bytes32):
    """
    @notice A drawn verifier computed the same; it stands by it with its stake, for a fee.
    """
    job: Job = self._job(id)
    self._require(job, REVEALED)
    assert block.timestamp <= job.ends, "too late to agree"
    assert staticcall sampling.is_verifier(id, msg.sender), "not a verifier of this order"
    assert msg.sender not in self._agreed[id], "agreed before"
    self._agreed[id][job.agreed] = msg.sender
    job.agreed += 1
    self._save(id, job)
    log Agreed(id=id, verifier=msg.sender)
    extcall registry.lock(msg.sender, job.quote * STAKE_FACTOR)


# Disputes.


@external
@nonreentrant
def challenge(
    id: bytes32,
    model: bytes32,
    input: bytes32,
    accused: address,
    given: Outcome,
    claimed: Outcome,
):
    """
    @notice The sender computed something else than a supplier and bets a bond on it.
    """
    job: Job = self._job(id)
    self._require(job, REVEALED)
    assert block.timestamp <= job.ends, "too late to challenge"
    assert not self._supplies(id, msg.sender), "suppliers contest, not challenge"
    bond: uint256 = job.quote * STAKE_FACTOR
    self._take(msg.sender, bond)
    self._check_outcome(id, job, accused, given)
    self._quarrel(id, job, model, input, accused, given, msg.sender, claimed, bond)


@external
@nonreentrant
def contest(
    id: bytes32,
    model: bytes32,
    input: bytes32,
    accused: address,
    given: Outcome,
    challenger: address,
    claimed: Outcome,
):
    """
    @notice Two suppliers revealed different results: set them against each other.
    """
    job: Job = self._job(id)
    self._require(job, CONTESTED)
    self._check_outcome(id, job, accused, given)
    self._check_outcome(id, job, challenger, claimed)
    self._quarrel(id, job, model, input, accused, given, challenger, claimed, 0)


@internal
@view
def _check_outcome(id: bytes32, job: Job, supplier: address, outcome: Outcome):
    share: Share = self._share(id, self._index(id, job, supplier))
    assert not share.removed, "supplier was removed"
    assert share.proof == self._hash(outcome), "not the supplier's outcome"


@internal
def _quarrel(
    id: bytes32,
    job: Job,
    model: bytes32,
    input: bytes32,
    accused: address,
    given: Outcome,
    challenger: address,
    claimed: Outcome,
    bond: uint256,
):
    self._check_content(id, model, input)
    assert self._hash(given) != self._hash(claimed), "both claim the same"
    self._quarrels[id] = Quarrel(accused=accused, challenger=challenger, bond=bond)
    changed: Job = job
    changed.ends = block.timestamp + DISPUTE_LIMIT
    self._enter(id, changed, DISPUTED)
    log Challenged(id=id, accused=accused, challenger=challenger, bond=bond)
    extcall disputes.open(
        Dispute(
            order=id,
            model=model,
            input=input,
            accused=accused,
            challenger=challenger,
            given=given,
            claimed=claimed,
        )
    )


@external
@nonreentrant
def resolve(id: bytes32, guilty: address, proven: bool):
    """
    @notice The disputes' verdict.
    @param proven Whether it was shown that what `guilty` committed to is wrong; otherwise it did
           not act in time or broke the rules, which says nothing about its result.
    """
    assert msg.sender == disputes.address, "only the disputes may do this"
    job: Job = self._job(id)
    self._require(job, DISPUTED)
    quarrel: Quarrel = self._quarrels[id]
    assert guilty in [quarrel.accused, quarrel.challenger], "not a party of the dispute"
    self._quarrels[id] = empty(Quarrel)
    log Resolved(id=id, guilty=guilty, proven=proven)
    winner: address = quarrel.accused
    if guilty == quarrel.accused:
        winner = quarrel.challenger
    forfeited: uint256 = 0
    if guilty == quarrel.challenger and quarrel.bond != 0:
        forfeited = quarrel.bond
        if guilty == job.buyer:
            self._buyers[guilty] += 1 << 128
    else:
        self._pay(id, quarrel.challenger, quarrel.bond, "bond")
        forfeited = self._convict(id, job, guilty, proven)
        job = self._job(id)
    self._pay(id, winner, forfeited // 2, "dispute")
    harmed: DynArray[address, 3] = []
    for i: uint256 in range(job.suppliers, bound=3):
        share: Share = self._share(id, i)
        if not share.removed and share.supplier != winner:
            harmed.append(share.supplier)
    self._compensate(id, harmed, forfeited - forfeited // 2, job.quote)
    self._go_on(id, job)


@internal
def _convict(id: bytes32, job: Job, guilty: address, proven: bool) -> uint256:
    """
    @notice Take the stake of a supplier that lost; and, when its result was shown to be wrong, of
            all suppliers and verifiers that stood by the same result.
    @return What was taken.
    """
    changed: Job = job
    wrong: bytes32 = self._share(id, self._index(id, job, guilty)).proof
    forfeited: uint256 = 0
    agree: bool = True
    for i: uint256 in range(job.suppliers, bound=3):
        share: Share = self._share(id, i)
        if share.removed:
            continue
        if share.supplier == guilty or (proven and share.proof == wrong):
            fault: Fault = Fault.LATE
            if proven:
                fault = Fault.LIED
            forfeited += self._remove(id, job, i, fault)
            changed.left -= 1
    if proven:
        stake: uint256 = job.quote * STAKE_FACTOR
        for i: uint256 in range(job.agreed, bound=2):
            extcall registry.slash(self._agreed[id][i], stake, Fault.LIED)
            forfeited += stake
            self._agreed[id][i] = empty(address)
        changed.agreed = 0
    self._save(id, changed)
    return forfeited


# Packing.


@internal
@view
def _job(id: bytes32) -> Job:
    low: uint256 = convert(max_value(uint160), uint256)
    parties: uint256 = self._parties[id]
    matched: uint256 = self._match[id]
    times: uint256 = self._times[id]
    return Job(
        buyer=convert(parties & low, address),
        retriever=convert(matched & low, address),
        state=(parties >> 160) & 255,
        suppliers=(parties >> 168) & 255,
        left=(parties >> 176) & 255,
        committed=(parties >> 184) & 255,
        revealed=(parties >> 192) & 255,
        agreed=(parties >> 200) & 255,
        royalties=(parties >> 208) & 255,
        quote=times & LOW_96,
        matched=(matched >> 160) & (2**40 - 1),
        deadline=matched >> 200,
        ends=(times >> 96) & (2**40 - 1),
        anchor=(times >> 136) & (2**40 - 1),
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
        supplier=convert(who & convert(max_value(uint160), uint256), address),
        committed=(who >> 160) & (2**40 - 1),
        removed=who >> 200 != 0,
        price=terms & LOW_96,
        power=(terms >> 96) & (2**64 - 1),
        work=terms >> 160,
        proof=self._proofs[id][i],
    )


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
        if self._who[id][i] & convert(max_value(uint160), uint256) == convert(supplier, uint256):
            return i
    raise "not a supplier of this order"


@internal
@pure
def _require(job: Job, state: uint256):
    assert job.state == state, "order is not in the state for this"


@internal
@pure
def _bond(job: Job) -> uint256:
    return job.quote * job.suppliers * BOND_RATE // 10000


@internal
def _count_buyer(buyer: address, confirmed: bool):
    if confirmed:
        self._buyers[buyer] += 1
    else:
        self._buyers[buyer] += 1 << 64


# What the book says.


@external
@view
def job(id: bytes32) -> Job:
    """
    @notice An order from its match on; all zero before.
    """
    return self._job(id)


@external
@view
def share(id: bytes32, supplier: address) -> Share:
    """
    @notice A supplier's part of an order.
    """
    return self._share(id, self._index(id, self._job(id), supplier))


@external
@view
def takes_part(id: bytes32, account: address) -> bool:
    """
    @return Whether the account is the buyer, the retriever or a supplier of the order.
    """
    job: Job = self._job(id)
    return account in [job.buyer, job.retriever] or self._supplies(id, account)


@external
@view
def held(id: bytes32) -> uint256:
    """
    @return All the tokens that an order holds now.
    """
    job: Job = self._job(id)
    if job.state == UNKNOWN or job.state >= SETTLED:
        return 0
    total: uint256 = job.quote * job.suppliers + self._bond(job)
    for i: uint256 in range(job.royalties, bound=2):
        total += self._owed[id][i] >> 160
    return total + self._quarrels[id].bond + self._demands[id].fee


@external
@view
def buyer_record(buyer: address) -> (uint256, uint256, uint256):
    """
    @return Orders confirmed, orders left to settle by themselves, disputes lost.
    """
    record: uint256 = self._buyers[buyer]
    low: uint256 = 2**64 - 1
    return record & low, (record >> 64) & low, record >> 128
