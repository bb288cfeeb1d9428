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

import assets as assets_vy
import book
import disputes as disputes_vy
import openings as openings_vy
import orders as orders_vy
import registry as registry_vy
import sampling as sampling_vy

initializes: book

struct Result:
    model: bytes32
    input: bytes32
    outcome: disputes_vy.Outcome
    usage: bytes32  # root of what was used: counters, bytes, elapsed time
    sealed: bytes32  # content hash of the sealed output
    work: uint256  # 1e-18 T·H

# Who is in an open dispute.
struct Quarrel:
    accused: address
    challenger: address
    bond: uint256  # of a challenger that is not a supplier of the order

struct Demand:
    supplier: address
    fee: uint256
    wanted: openings_vy.Wanted

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
    order: orders_vy.Order
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

event Removed:
    id: indexed(bytes32)
    supplier: indexed(address)
    fault: registry_vy.Fault
    stake: uint256

event Demanded:
    id: indexed(bytes32)
    supplier: indexed(address)
    wanted: openings_vy.Wanted

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

GRACE: public(constant(uint256)) = 600  # seconds that a commitment may be late
REVEAL_WINDOW: public(constant(uint256)) = 3600
CONFIRM_WINDOW: public(constant(uint256)) = 6 * 3600
ANSWER_WINDOW: public(constant(uint256)) = 3600
DISPUTE_LIMIT: public(constant(uint256)) = 14 * 86400  # no dispute takes longer

STAKE_FACTOR: public(constant(uint256)) = 2  # stake locked, and a challenger's bond, per quote
BOND_RATE: public(constant(uint256)) = book.BOND_RATE  # buyer's collateral, of the quotes
PLATFORM_RATE: public(constant(uint256)) = 500  # of what is paid: basis points for all three below
RETRIEVER_PART: public(constant(uint256)) = 40  # per cent of the platform's
VERIFIER_PART: public(constant(uint256)) = 40  # the rest is the treasury's
SPEED_BONUS: public(constant(uint256)) = 1000  # basis points for no time at all
TOLERANCE: public(constant(uint256)) = 103  # per cent of the median work that is paid at most
DEMAND_PART: public(constant(uint256)) = 20  # a demand costs one such part of the quote

LOW_96: constant(uint256) = 2**96 - 1

token: public(immutable(IERC20))
registry: public(immutable(registry_vy.__interface__))
orders: public(immutable(orders_vy.__interface__))
assets: public(immutable(assets_vy.__interface__))
disputes: public(immutable(disputes_vy.__interface__))
openings: public(immutable(openings_vy.__interface__))
sampling: public(immutable(sampling_vy.__interface__))
treasury: public(immutable(address))

balances: public(HashMap[address, uint256])

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
    registry = registry_vy.__interface__(registry_)
    orders = orders_vy.__interface__(orders_)
    assets = assets_vy.__interface__(assets_)
    disputes = disputes_vy.__interface__(disputes_)
    openings = openings_vy.__interface__(openings_)
    sampling = sampling_vy.__interface__(sampling_)
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
    order: orders_vy.Order,
    signature: Bytes[65],
    acceptances: DynArray[orders_vy.Acceptance, 3],
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
    assert not book._known(id), "order was matched or cancelled before"
    size: uint256 = len(acceptances)
    job: book.Job = empty(book.Job)
    job.buyer = order.buyer
    job.retriever = msg.sender
    job.state = book.MATCHED
    job.suppliers = size
    job.left = size
    job.quote = order.quote
    job.matched = block.timestamp
    job.deadline = convert(order.deadline, uint256)
    job.ends = block.timestamp + job.deadline + GRACE
    fees: uint256 = 0
    job.royalties, fees = self._note_royalties(id, order)
    held: uint256 = job.quote * size + book._bond(job) + fees
    self._take(order.buyer, held)
    book._open(id, job, keccak256(abi_encode(order.model, order.input)))
    suppliers: DynArray[address, 3] = []
    for i: uint256 in range(size, bound=3):
        supplier: address = acceptances[i].supplier
        suppliers.append(supplier)
        share: book.Share = empty(book.Share)
        share.supplier = supplier
        share.price = acceptances[i].price
        share.power = powers[i]
        book._save_share(id, i, share)
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
def _note_royalties(id: bytes32, order: orders_vy.Order) -> (uint256, uint256):
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
            book._owe(id, number, owner, fee)
            number += 1
            fees += fee
    assert fees <= order.fees, "owners ask more than the order's fees"
    return number, fees


@external
@nonreentrant
def cancel(order: orders_vy.Order):
    """
    @notice The buyer takes an order back before it is matched.
    """
    id: bytes32 = staticcall orders.order_id(order)
    assert msg.sender == order.buyer, "only the buyer may do this"
    assert not book._known(id), "order was matched or cancelled before"
    job: book.Job = empty(book.Job)
    job.buyer = order.buyer
    job.state = book.CANCELLED
    book._save(id, job)
    log Cancelled(id=id, buyer=order.buyer)


# Work.


@external
@nonreentrant
def commit(id: bytes32, commitment: bytes32):
    """
    @notice A supplier has its result.
    @param commitment keccak256(abi_encode(id, supplier, result, salt))
    """
    job: book.Job = book._job(id)
    book._require(job, book.MATCHED)
    assert block.timestamp <= job.ends, "too late to commit"
    assert commitment != empty(bytes32), "commitment is missing"
    i: uint256 = book._index(id, job, msg.sender)
    share: book.Share = book._share(id, i)
    assert share.committed == 0, "committed before"
    share.committed = max(block.timestamp - job.matched, 1)
    share.proof = commitment
    book._save_share(id, i, share)
    log Committed(id=id, supplier=msg.sender, commitment=commitment)
    job.committed += 1
    if job.committed == job.suppliers:
        job.ends = block.timestamp + REVEAL_WINDOW
        book._enter(id, job, book.COMMITTED)
    else:
        book._save(id, job)


@external
@nonreentrant
def reveal(id: bytes32, result: Result, salt: bytes32):
    """
    @notice A supplier shows what it committed to, once all have committed.
    """
    job: book.Job = book._job(id)
    book._require(job, book.COMMITTED)
    assert block.timestamp <= job.ends, "too late to reveal"
    i: uint256 = book._index(id, job, msg.sender)
    share: book.Share = book._share(id, i)
    assert share.work == 0, "revealed before"
    committed: bytes32 = keccak256(abi_encode(id, msg.sender, result, salt))
    assert share.proof == committed, "result is not what was committed"
    self._check_content(id, result.model, result.input)
    assert result.work != 0 and result.work <= LOW_96, "work is out of range"
    share.work = result.work
    share.proof = self._hash(result.outcome)
    book._save_share(id, i, share)
    log Revealed(id=id, supplier=msg.sender, result=result)
    job.revealed += 1
    if job.revealed == job.suppliers:
        job.anchor = block.number
        job.table = staticcall registry.count()
        self._compare(id, job)
    else:
        book._save(id, job)


@internal
def _compare(id: bytes32, job: book.Job):
    """
    @notice The suppliers that are left agree, or they have to find out who is wrong.
    """
    changed: book.Job = job
    changed.ends = block.timestamp + CONFIRM_WINDOW
    state: uint256 = book.REVEALED
    left: DynArray[book.Share, 3] = book._left(id, job)
    for share: book.Share in left:
        if share.proof != left[0].proof:
            state = book.CONTESTED
    book._enter(id, changed, state)


@internal
@view
def _check_content(id: bytes32, model: bytes32, input: bytes32):
    content: bytes32 = keccak256(abi_encode(model, input))
    assert content == book._content[id], "not the order's model and input"


@internal
@pure
def _hash(outcome: disputes_vy.Outcome) -> bytes32:
    return keccak256(abi_encode(outcome))


# Ends.


@external
@nonreentrant
def confirm(id: bytes32):
    """
    @notice The buyer has the result; the order is settled at once.
    """
    job: book.Job = book._job(id)
    book._require(job, book.REVEALED)
    assert msg.sender == job.buyer, "only the buyer may do this"
    self._settle(id, job, True)


@external
@nonreentrant
def settle(ids: DynArray[bytes32, 32]):
    """
    @notice Settle orders whose buyers had time to confirm or to object.
    """
    for id: bytes32 in ids:
        job: book.Job = book._job(id)
        book._require(job, book.REVEALED)
        assert block.timestamp > job.ends, "buyer may still confirm"
        self._settle(id, job, False)


@internal
def _settle(id: bytes32, job: book.Job, confirmed: bool):
    book._enter(id, job, book.SETTLED)
    self._count_buyer(job.buyer, confirmed)
    left: DynArray[book.Share, 3] = book._left(id, job)
    most: uint256 = self._most_work(left)
    pot: uint256 = 0
    powers: uint256 = 0
    for share: book.Share in left:
        pot += share.price * min(share.work, most) // 10**18
        powers += share.power
    bond: uint256 = book._bond(job)
    refund: uint256 = job.quote * job.suppliers + bond
    fees: uint256 = 0
    for share: book.Share in left:
        rating: uint256 = self._credit(job, share, pot, most, confirmed)
        due: uint256 = self._due(job, share, pot, powers, rating)
        fee: uint256 = due * PLATFORM_RATE // 10000
        refund -= due
        fees += fee
        if not confirmed:
            self._pay(id, share.supplier, bond // job.left, "collateral")
        self._pay(id, share.supplier, due - fee, "work")
    if not confirmed:
        refund -= bond
        fees += bond % job.left
    self._pay(id, job.buyer, refund, "refund")
    self._pay_platform(id, job, left, fees)
    self._pay_royalties(id, job)


@internal
@pure
def _most_work(left: DynArray[book.Share, 3]) -> uint256:
    """
    @return The work that is paid at most: a little above the lower median of what is claimed.
    """
    median: uint256 = left[0].work
    if len(left) == 2:
        median = min(median, left[1].work)
    elif len(left) == 3:
        low: uint256 = min(left[1].work, left[2].work)
        median = max(low, min(median, max(left[1].work, left[2].work)))
    return median * TOLERANCE // 100


@internal
def _credit(
    job: book.Job, share: book.Share, pot: uint256, most: uint256, confirmed: bool
) -> uint256:
    """
    @notice Free a supplier's stake and count its work, unless nobody paid or it traded with itself.
    @return Its rating before.
    """
    work: uint256 = min(share.work, most)
    if pot == 0 or share.supplier in [job.buyer, job.retriever]:
        work = 0
    return extcall registry.settle(
        share.supplier, job.quote * STAKE_FACTOR, work, confirmed
    )


@internal
@pure
def _due(
    job: book.Job, share: book.Share, pot: uint256, powers: uint256, rating: uint256
) -> uint256:
    """
    @return Task prices × power / powers × speed bonus × rating, at most that part of the quotes.
    """
    early: uint256 = job.deadline - min(share.committed, job.deadline)
    speed: uint256 = 10000 + SPEED_BONUS * early // job.deadline
    due: uint256 = pot * share.power // powers * speed // 10000 * rating // 10000
    return min(due, job.quote * job.left * share.power // powers)


@internal
def _pay_platform(id: bytes32, job: book.Job, left: DynArray[book.Share, 3], fees: uint256):
    rest: uint256 = fees
    own: bool = job.retriever == job.buyer
    for share: book.Share in left:
        own = own or share.supplier == job.retriever
    if not own:
        part: uint256 = fees * RETRIEVER_PART // 100
        rest -= part
        self._pay(id, job.retriever, part, "retrieval")
    for i: uint256 in range(job.agreed, bound=2):
        verifier: address = self._agreed[id][i]
        part: uint256 = fees * VERIFIER_PART // 100 // job.agreed
        rest -= part
        self._pay(id, verifier, part, "verification")
        extcall registry.unlock(verifier, job.quote * STAKE_FACTOR)
    self._pay(id, treasury, rest, "treasury")


@internal
def _pay_royalties(id: bytes32, job: book.Job):
    for i: uint256 in range(job.royalties, bound=2):
        owner: address = empty(address)
        fee: uint256 = 0
        owner, fee = book._royalty(id, i)
        self._pay(id, owner, fee, "royalty")


@external
@nonreentrant
def expire(id: bytes32):
    """
    @notice End a state whose time is over, whoever was to act.
    """
    job: book.Job = book._job(id)
    assert job.state not in [
        book.UNKNOWN, book.REVEALED, book.SETTLED, book.EXPIRED, book.REFUNDED, book.CANCELLED
    ], "order does not wait for a deadline"
    assert block.timestamp > job.ends, "there is still time"
    if job.state == book.DEMANDED:
        self._unanswered(id, job)
    elif job.state == book.MATCHED or job.state == book.COMMITTED:
        self._fail(id, job, empty(address), registry_vy.Fault.LATE, book.EXPIRED)
    else:
        if job.state == book.DISPUTED:
            quarrel: Quarrel = self._quarrels[id]
            self._pay(id, quarrel.challenger, quarrel.bond, "bond")
        self._refund(id, job)


@external
@nonreentrant
def give_up(id: bytes32):
    """
    @notice A supplier cannot go on. It loses its stake, but is punished less than for silence.
    """
    job: book.Job = book._job(id)
    assert job.state in [book.MATCHED, book.COMMITTED], "order is not being worked on"
    i: uint256 = book._index(id, job, msg.sender)
    self._fail(id, job, msg.sender, registry_vy.Fault.ENDED, book.REFUNDED)


@internal
def _fail(id: bytes32, job: book.Job, culprit: address, fault: registry_vy.Fault, state: uint256):
    """
    @notice End an order that was not delivered: those at fault pay the others up to a quote each,
            the buyer gets everything back.
    @param culprit The supplier at fault; or nobody: then all that are behind are.
    """
    changed: book.Job = job
    book._enter(id, changed, state)
    harmed: DynArray[address, 3] = []
    forfeited: uint256 = 0
    for i: uint256 in range(job.suppliers, bound=3):
        share: book.Share = book._share(id, i)
        behind: bool = share.committed == 0
        if job.state == book.COMMITTED:
            behind = share.work == 0
        if share.supplier == culprit or (culprit == empty(address) and behind):
            forfeited += self._remove(id, job, i, fault)
        else:
            harmed.append(share.supplier)
            extcall registry.unlock(share.supplier, job.quote * STAKE_FACTOR)
    self._compensate(id, harmed, forfeited, job.quote)
    self._give_back(id, job)


@internal
def _remove(id: bytes32, job: book.Job, i: uint256, fault: registry_vy.Fault) -> uint256:
    """
    @notice Take a supplier's stake of this order.
    @return What it was, now held here.
    """
    share: book.Share = book._share(id, i)
    share.removed = True
    book._save_share(id, i, share)
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
def _give_back(id: bytes32, job: book.Job):
    self._pay(id, job.buyer, book._put_up(id, job), "refund")


@internal
def _refund(id: bytes32, job: book.Job):
    """
    @notice End an order without a result and without blame.
    """
    changed: book.Job = job
    book._enter(id, changed, book.REFUNDED)
    stake: uint256 = job.quote * STAKE_FACTOR
    left: DynArray[book.Share, 3] = book._left(id, job)
    for share: book.Share in left:
        extcall registry.unlock(share.supplier, stake)
    for i: uint256 in range(job.agreed, bound=2):
        extcall registry.unlock(self._agreed[id][i], stake)
    self._give_back(id, job)


@internal
def _go_on(id: bytes32, job: book.Job):
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
def demand(id: bytes32, supplier: address, wanted: openings_vy.Wanted):
    """
    @notice The buyer did not get the output: a supplier has to show these leaves of it here. It
            costs the buyer a part of the quote, for the supplier.
    """
    job: book.Job = book._job(id)
    book._require(job, book.REVEALED)
    assert msg.sender == job.buyer, "only the buyer may do this"
    assert block.timestamp <= job.ends, "too late to demand"
    assert wanted.leaves != 0 and wanted.leaves <= 32, "leaves must be 1 to 32"
    assert wanted.first < 2**32, "first leaf is out of range"
    assert not book._share(id, book._index(id, job, supplier)).removed, "supplier was removed"
    fee: uint256 = job.quote // DEMAND_PART
    self._take(msg.sender, fee)
    self._demands[id] = Demand(supplier=supplier, fee=fee, wanted=wanted)
    log Demanded(id=id, supplier=supplier, wanted=wanted)
    job.ends = block.timestamp + ANSWER_WINDOW
    book._enter(id, job, book.DEMANDED)


@external
@nonreentrant
def answer(id: bytes32, outcome: disputes_vy.Outcome, shown: openings_vy.Shown):
    """
    @notice Show what the buyer demanded.
    """
    job: book.Job = book._job(id)
    book._require(job, book.DEMANDED)
    demanded: Demand = self._demands[id]
    self._check_outcome(id, job, demanded.supplier, outcome)
    assert staticcall openings.check(outcome.output, demanded.wanted, shown), "not the output"
    self._demands[id] = empty(Demand)
    self._pay(id, demanded.supplier, demanded.fee, "demand")
    log Answered(id=id, supplier=demanded.supplier, data=shown.data)
    job.ends = block.timestamp + CONFIRM_WINDOW
    book._enter(id, job, book.REVEALED)


@internal
def _unanswered(id: bytes32, job: book.Job):
    changed: book.Job = job
    demanded: Demand = self._demands[id]
    self._demands[id] = empty(Demand)
    i: uint256 = book._index(id, job, demanded.supplier)
    forfeited: uint256 = self._remove(id, job, i, registry_vy.Fault.LATE)
    self._pay(id, job.buyer, demanded.fee, "demand")
    self._pay(id, treasury, forfeited, "forfeit")
    changed.left -= 1
    self._go_on(id, changed)


# Verification.


@external
@nonreentrant
def agree(id: bytes32):
    """
    @notice A drawn verifier computed the same; it stands by it with its stake, for a fee.
    """
    job: book.Job = book._job(id)
    book._require(job, book.REVEALED)
    assert block.timestamp <= job.ends, "too late to agree"
    assert staticcall sampling.is_verifier(id, msg.sender), "not a verifier of this order"
    assert msg.sender not in self._agreed[id], "agreed before"
    self._agreed[id][job.agreed] = msg.sender
    job.agreed += 1
    book._save(id, job)
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
    given: disputes_vy.Outcome,
    claimed: disputes_vy.Outcome,
):
    """
    @notice The sender computed something else than a supplier and bets a bond on it.
    """
    job: book.Job = book._job(id)
    book._require(job, book.REVEALED)
    assert block.timestamp <= job.ends, "too late to challenge"
    assert not book._supplies(id, msg.sender), "suppliers contest, not challenge"
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
    given: disputes_vy.Outcome,
    challenger: address,
    claimed: disputes_vy.Outcome,
):
    """
    @notice Two suppliers revealed different results: set them against each other.
    """
    job: book.Job = book._job(id)
    book._require(job, book.CONTESTED)
    self._check_outcome(id, job, accused, given)
    self._check_outcome(id, job, challenger, claimed)
    self._quarrel(id, job, model, input, accused, given, challenger, claimed, 0)


@internal
@view
def _check_outcome(id: bytes32, job: book.Job, supplier: address, outcome: disputes_vy.Outcome):
    share: book.Share = book._share(id, book._index(id, job, supplier))
    assert not share.removed, "supplier was removed"
    assert share.proof == self._hash(outcome), "not the supplier's outcome"


@internal
def _quarrel(
    id: bytes32,
    job: book.Job,
    model: bytes32,
    input: bytes32,
    accused: address,
    given: disputes_vy.Outcome,
    challenger: address,
    claimed: disputes_vy.Outcome,
    bond: uint256,
):
    self._check_content(id, model, input)
    assert self._hash(given) != self._hash(claimed), "both claim the same"
    self._quarrels[id] = Quarrel(accused=accused, challenger=challenger, bond=bond)
    changed: book.Job = job
    changed.ends = block.timestamp + DISPUTE_LIMIT
    book._enter(id, changed, book.DISPUTED)
    log Challenged(id=id, accused=accused, challenger=challenger, bond=bond)
    extcall disputes.open(
        disputes_vy.Dispute(
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
    job: book.Job = book._job(id)
    book._require(job, book.DISPUTED)
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
        job = book._job(id)
    self._pay(id, winner, forfeited // 2, "dispute")
    harmed: DynArray[address, 3] = []
    left: DynArray[book.Share, 3] = book._left(id, job)
    for share: book.Share in left:
        if share.supplier != winner:
            harmed.append(share.supplier)
    self._compensate(id, harmed, forfeited - forfeited // 2, job.quote)
    self._go_on(id, job)


@internal
def _convict(id: bytes32, job: book.Job, guilty: address, proven: bool) -> uint256:
    """
    @notice Take the stake of a supplier that lost; and, when its result was shown to be wrong, of
            all suppliers and verifiers that stood by the same result.
    @return What was taken.
    """
    changed: book.Job = job
    wrong: bytes32 = book._share(id, book._index(id, job, guilty)).proof
    forfeited: uint256 = 0
    for i: uint256 in range(job.suppliers, bound=3):
        share: book.Share = book._share(id, i)
        if share.removed:
            continue
        if share.supplier == guilty or (proven and share.proof == wrong):
            fault: registry_vy.Fault = registry_vy.Fault.LATE
            if proven:
                fault = registry_vy.Fault.LIED
            forfeited += self._remove(id, job, i, fault)
            changed.left -= 1
    if proven:
        stake: uint256 = job.quote * STAKE_FACTOR
        for i: uint256 in range(job.agreed, bound=2):
            extcall registry.slash(self._agreed[id][i], stake, registry_vy.Fault.LIED)
            forfeited += stake
            self._agreed[id][i] = empty(address)
        changed.agreed = 0
    book._save(id, changed)
    return forfeited


@internal
def _count_buyer(buyer: address, confirmed: bool):
    if confirmed:
        self._buyers[buyer] += 1
    else:
        self._buyers[buyer] += 1 << 64


# What the book says.


@external
@view
def job(id: bytes32) -> book.Job:
    """
    @notice An order from its match on; all zero before.
    """
    return book._job(id)


@external
@view
def share(id: bytes32, supplier: address) -> book.Share:
    """
    @notice A supplier's part of an order.
    """
    return book._share(id, book._index(id, book._job(id), supplier))


@external
@view
def takes_part(id: bytes32, account: address) -> bool:
    """
    @return Whether the account is the buyer, the retriever or a supplier of the order.
    """
    job: book.Job = book._job(id)
    return account in [job.buyer, job.retriever] or book._supplies(id, account)


@external
@view
def held(id: bytes32) -> uint256:
    """
    @return All the tokens that an order holds now.
    """
    job: book.Job = book._job(id)
    if job.state == book.UNKNOWN or job.state >= book.SETTLED:
        return 0
    return book._put_up(id, job) + self._quarrels[id].bond + self._demands[id].fee


@external
@view
def buyer_record(buyer: address) -> (uint256, uint256, uint256):
    """
    @return Orders confirmed, orders left to settle by themselves, disputes lost.
    """
    record: uint256 = self._buyers[buyer]
    low: uint256 = 2**64 - 1
    return record & low, (record >> 64) & low, record >> 128
