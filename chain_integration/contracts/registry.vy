# pragma version 0.4.3
# pragma optimize gas
"""
@title Node registry
@license Apache-2.0
@notice The table of resource nodes: what each node is, what it asks, what it has staked, what was
        measured and attested about it, and how it is rated. Nobody owns this contract: the three
        contracts that may lock and take stakes are fixed when it is made.
"""

from ethereum.ercs import IERC20

struct Offer:
    config: bytes32  # hash of the device configuration
    key: bytes32  # X25519 public key that orders are sealed to
    region: bytes32
    capability: uint256  # claimed operations per second
    price: uint256  # HAI-wei per T·H asked
    endpoint: String[64]  # where the node answers

struct Node:
    config: bytes32
    key: bytes32
    region: bytes32
    capability: uint256
    price: uint256
    endpoint: String[64]
    number: uint256  # place in the table, for good
    since: uint256  # time of registration
    stake: uint256  # all of it, locked or not, without what is unbonding
    locked: uint256
    power: uint256  # measured operations per second; 0 without a valid resource proof
    rating: uint256  # basis points

struct Record:
    done: uint256  # orders settled and counted
    confirmed: uint256  # of them, confirmed by the buyer
    lost: uint256  # disputes lost
    ended: uint256  # orders ended abnormally
    late: uint256  # orders timed out
    punished_until: uint256  # time
    work: uint256  # 1e-18 T·H settled and counted

struct Attestation:
    claim: bytes32
    expires: uint256

# What a node did wrong.
flag Fault:
    ENDED  # gave up, or broke a rule
    LATE  # did not do a thing in time
    LIED  # lost a dispute

event Registered:
    node: indexed(address)
    number: uint256
    offer: Offer
    stake: uint256

event Updated:
    node: indexed(address)
    offer: Offer

event StakeAdded:
    node: indexed(address)
    amount: uint256

event Unbonding:
    node: indexed(address)
    amount: uint256
    ready: uint256

event StakeWithdrawn:
    node: indexed(address)
    amount: uint256

event Locked:
    node: indexed(address)
    amount: uint256
    by: indexed(address)

event Unlocked:
    node: indexed(address)
    amount: uint256
    by: indexed(address)

event Slashed:
    node: indexed(address)
    amount: uint256
    fault: Fault
    by: indexed(address)
    punished_until: uint256

event Credited:
    node: indexed(address)
    work: uint256
    confirmed: bool

event Proven:
    node: indexed(address)
    power: uint256
    expires: uint256

event Attested:
    node: indexed(address)
    attestor: indexed(address)
    attribute: indexed(bytes32)
    claim: bytes32
    expires: uint256

MIN_STAKE: public(constant(uint256)) = 100 * 10**18  # below it a node is given no work
UNBONDING: public(constant(uint256)) = 3 * 86400
PENALTY_ENDED: public(constant(uint256)) = 3 * 86400
PENALTY_LATE: public(constant(uint256)) = 10 * 86400

# A rating is the sum of these shares, in basis points.
BASE: constant(uint256) = 7000  # what a new node starts with
FOR_WORK: constant(uint256) = 1500  # orders done: half of it after HALF of them
FOR_CONFIRMED: constant(uint256) = 1000  # the same for orders that buyers confirmed
FOR_USE: constant(uint256) = 500  # the part of what was offered that was used
FOR_LOST: constant(uint256) = 2000  # taken for each dispute lost
HALF: constant(uint256) = 10

LOW_96: constant(uint256) = 2**96 - 1
LOW_88: constant(uint256) = 2**88 - 1
LOW_64: constant(uint256) = 2**64 - 1
LOW_40: constant(uint256) = 2**40 - 1
LOW_32: constant(uint256) = 2**32 - 1
LOW_24: constant(uint256) = 2**24 - 1
LOW_16: constant(uint256) = 2**16 - 1

token: public(immutable(IERC20))
market: public(immutable(address))
resources: public(immutable(address))
disputes: public(immutable(address))

nodes: public(HashMap[uint256, address])  # the table; a node keeps its number for good
count: public(uint256)

_config: HashMap[address, bytes32]
_key: HashMap[address, bytes32]
_region: HashMap[address, bytes32]
_endpoint: HashMap[address, bytes32[2]]  # two words cost less than a string
_terms: HashMap[address, uint256]  # price 96 | capability 64 | number 32 | since 40
_stake: HashMap[address, uint256]  # stake 96 | locked 96
_proof: HashMap[address, uint256]  # power 64 | expires 40
# done 32 | confirmed 32 | lost 16 | ended 24 | late 24 | punished until 40 | work 88
_record: HashMap[address, uint256]
_leaving: HashMap[address, uint256]  # unbonding 96 | ready 40
_attested: HashMap[address, HashMap[address, HashMap[bytes32, Attestation]]]


@deploy
def __init__(token_: address, market_: address, resources_: address, disputes_: address):
    """
    @notice The addresses may be of contracts that are made later in the same deployment.
    """
    assert empty(address) not in [token_, market_, resources_, disputes_], "an address is missing"
    token = IERC20(token_)
    market = market_
    resources = resources_
    disputes = disputes_


# Nodes.


@external
@nonreentrant
def register(offer: Offer, stake: uint256):
    """
    @notice Enter the sender in the table with its stake, which the sender has approved.
    """
    assert self._terms[msg.sender] == 0, "already registered"
    assert stake >= MIN_STAKE, "stake is below the minimum"
    number: uint256 = self.count
    self.nodes[number] = msg.sender
    self.count = number + 1
    self._write_offer(msg.sender, offer, number, block.timestamp)
    self._add_stake(msg.sender, stake)
    log Registered(node=msg.sender, number=number, offer=offer, stake=stake)


@external
@nonreentrant
def update(offer: Offer):
    """
    @notice Change what the sender offers. Attestations stay; another configuration needs another
            resource proof.
    """
    terms: uint256 = self._terms[msg.sender]
    assert terms != 0, "not registered"
    if offer.config != self._config[msg.sender]:
        self._proof[msg.sender] = 0
    self._write_offer(msg.sender, offer, (terms >> 160) & LOW_32, terms >> 192)
    log Updated(node=msg.sender, offer=offer)


@internal
def _write_offer(node: address, offer: Offer, number: uint256, since: uint256):
    assert offer.config != empty(bytes32), "configuration is missing"
    assert offer.capability != 0, "capability is missing"
    assert offer.capability <= LOW_64, "capability is too large"
    assert offer.price <= LOW_96, "price is too large"
    self._config[node] = offer.config
    self._key[node] = offer.key
    self._region[node] = offer.region
    self._write_endpoint(node, offer.endpoint)
    self._terms[node] = offer.price | (offer.capability << 96) | (number << 160) | (since << 192)


@internal
def _write_endpoint(node: address, endpoint: String[64]):
    padded: Bytes[128] = concat(convert(endpoint, Bytes[64]), empty(bytes32), empty(bytes32))
    self._endpoint[node] = [extract32(padded, 0), extract32(padded, 32)]


@internal
@view
def _read_endpoint(node: address) -> String[64]:
    words: bytes32[2] = self._endpoint[node]
    padded: Bytes[64] = concat(words[0], words[1])
    size: uint256 = 64
    for _: uint256 in range(64):
        if slice(padded, size - 1, 1) != b"\x00":
            break
        size -= 1
    return convert(slice(padded, 0, size), String[64])


# Stakes.


@external
@nonreentrant
def top_up(amount: uint256):
    """
    @notice Add to the sender's stake.
    """
    assert self._terms[msg.sender] != 0, "not registered"
    self._add_stake(msg.sender, amount)
    log StakeAdded(node=msg.sender, amount=amount)


@internal
def _add_stake(node: address, amount: uint256):
    assert amount <= LOW_96, "stake is too large"
    self._stake[node] += amount  # the supply is below 2**96: no carry into the locked part
    assert extcall token.transferFrom(node, self, amount), "transfer failed"


@external
@nonreentrant
def unbond(amount: uint256):
    """
    @notice Begin to take `amount` of free stake out; one wait for all that is unbonding.
    """
    stake: uint256 = self._stake[msg.sender]
    assert amount != 0, "nothing to unbond"
    assert amount <= (stake & LOW_96) - (stake >> 96), "stake is locked or too small"
    self._stake[msg.sender] = stake - amount
    ready: uint256 = block.timestamp + UNBONDING
    total: uint256 = (self._leaving[msg.sender] & LOW_96) + amount
    self._leaving[msg.sender] = total | (ready << 96)
    log Unbonding(node=msg.sender, amount=total, ready=ready)


@external
@nonreentrant
def withdraw():
    """
    @notice Pay the sender what has finished unbonding.
    """
    leaving: uint256 = self._leaving[msg.sender]
    amount: uint256 = leaving & LOW_96
    assert amount != 0, "nothing is unbonding"
    assert block.timestamp >= leaving >> 96, "still unbonding"
    self._leaving[msg.sender] = 0
    log StakeWithdrawn(node=msg.sender, amount=amount)
    assert extcall token.transfer(msg.sender, amount), "transfer failed"


@external
@nonreentrant
def lock(node: address, amount: uint256):
    """
    @notice Lock free stake for the calling contract.
    """
    self._check_caller()
    stake: uint256 = self._stake[node]
    assert amount <= (stake & LOW_96) - (stake >> 96), "not enough free stake"
    self._stake[node] = stake + (amount << 96)
    log Locked(node=node, amount=amount, by=msg.sender)


@external
@nonreentrant
def unlock(node: address, amount: uint256):
    """
    @notice Free stake that the calling contract had locked.
    """
    self._check_caller()
    self._unlock(node, amount)


@internal
def _unlock(node: address, amount: uint256):
    stake: uint256 = self._stake[node]
    assert amount <= stake >> 96, "not locked"
    self._stake[node] = stake - (amount << 96)
    log Unlocked(node=node, amount=amount, by=msg.sender)


@external
@nonreentrant
def slash(node: address, amount: uint256, fault: Fault):
    """
    @notice Take locked stake, pay it to the calling contract, and lower the node's rating.
    """
    self._check_caller()
    stake: uint256 = self._stake[node]
    assert amount <= stake >> 96, "not locked"
    self._stake[node] = stake - (amount << 96) - amount
    record: Record = self._read_record(node)
    if fault == Fault.LATE:
        record.late += 1
        record.punished_until = max(record.punished_until, block.timestamp + PENALTY_LATE)
    else:
        record.punished_until = max(record.punished_until, block.timestamp + PENALTY_ENDED)
        if fault == Fault.LIED:
            record.lost += 1
        else:
            record.ended += 1
    self._write_record(node, record)
    log Slashed(
        node=node,
        amount=amount,
        fault=fault,
        by=msg.sender,
        punished_until=record.punished_until,
    )
    assert extcall token.transfer(msg.sender, amount), "transfer failed"


# Ratings.


@external
@nonreentrant
def settle(node: address, amount: uint256, work: uint256, confirmed: bool) -> uint256:
    """
    @notice Unlock the stake of an order that ended well and credit its work.
    @param work 1e-18 T·H that count for the rating; 0 when the order earns none
    @return The node's rating before the credit, in basis points.
    """
    assert msg.sender == market, "only the market may do this"
    rating: uint256 = self._rating(node)
    self._unlock(node, amount)
    if work != 0:
        record: Record = self._read_record(node)
        record.done += 1
        if confirmed:
            record.confirmed += 1
        record.work += work
        self._write_record(node, record)
        log Credited(node=node, work=work, confirmed=confirmed)
    return rating


@internal
@view
def _rating(node: address) -> uint256:
    record: Record = self._read_record(node)
    rating: uint256 = BASE
    rating += FOR_WORK * record.done // (record.done + HALF)
    rating += FOR_CONFIRMED * record.confirmed // (record.done + HALF)
    rating += self._use(node, record.work) * FOR_USE // 10000
    rating -= min(rating, FOR_LOST * record.lost)
    if block.timestamp < record.punished_until:
        rating //= 2
    return rating


@internal
@view
def _use(node: address, work: uint256) -> uint256:
    """
    @return Work done, as basis points of what the node's power could have done since it registered.
    """
    if work == 0:
        return 0
    seconds: uint256 = block.timestamp - (self._terms[node] >> 192)
    offered: uint256 = self._power(node) * seconds  # operations
    if offered == 0:
        return 0
    done: uint256 = work * 3600 // 10**6  # a T·H is 3600e12 operations
    return min(10000, done * 10000 // offered)


@internal
@view
def _read_record(node: address) -> Record:
    packed: uint256 = self._record[node]
    return Record(
        done=packed & LOW_32,
        confirmed=(packed >> 32) & LOW_32,
        lost=(packed >> 64) & LOW_16,
        ended=(packed >> 80) & LOW_24,
        late=(packed >> 104) & LOW_24,
        punished_until=(packed >> 128) & LOW_40,
        work=packed >> 168,
    )


@internal
def _write_record(node: address, record: Record):
    """
    @notice Counts that have come to their largest number stay there.
    """
    self._record[node] = (
        min(record.done, LOW_32)
        | (min(record.confirmed, LOW_32) << 32)
        | (min(record.lost, LOW_16) << 64)
        | (min(record.ended, LOW_24) << 80)
        | (min(record.late, LOW_24) << 104)
        | (record.punished_until << 128)
        | (min(record.work, LOW_88) << 168)
    )


# Proofs and attestations.


@external
@nonreentrant
def prove(node: address, power: uint256, expires: uint256):
    """
    @notice Enter the result of a resource proof; a power of 0 takes it back.
    @param power Measured operations per second.
    """
    assert msg.sender == resources, "only the resource proofs may do this"
    assert power <= LOW_64, "power is too large"
    assert expires <= LOW_40, "expiry is too far"
    self._proof[node] = power | (expires << 64)
    log Proven(node=node, power=power, expires=expires)


@internal
@view
def _power(node: address) -> uint256:
    proof: uint256 = self._proof[node]
    if block.timestamp >= proof >> 64:
        return 0
    return proof & LOW_64


@external
@nonreentrant
def attest(node: address, attribute: bytes32, claim: bytes32, expires: uint256):
    """
    @notice State, as the sender, a claim about an attribute of a node, until `expires`.
            An expiry in the past takes it back. Each attribute stands alone.
    """
    assert self._terms[node] != 0, "not registered"
    self._attested[msg.sender][node][attribute] = Attestation(claim=claim, expires=expires)
    log Attested(
        node=node, attestor=msg.sender, attribute=attribute, claim=claim, expires=expires
    )


# What the table says.


@external
@view
def attestation(attestor: address, node: address, attribute: bytes32) -> Attestation:
    """
    @notice What `attestor` states; all zero when nothing or when it has expired.
    """
    found: Attestation = self._attested[attestor][node][attribute]
    if block.timestamp >= found.expires:
        return empty(Attestation)
    return found


@external
@view
def node(account: address) -> Node:
    """
    @notice A row of the table; all zero (and no rating) when the account is not registered.
    """
    terms: uint256 = self._terms[account]
    if terms == 0:
        return empty(Node)
    stake: uint256 = self._stake[account]
    return Node(
        config=self._config[account],
        key=self._key[account],
        region=self._region[account],
        capability=(terms >> 96) & LOW_64,
        price=terms & LOW_96,
        endpoint=self._read_endpoint(account),
        number=(terms >> 160) & LOW_32,
        since=terms >> 192,
        stake=stake & LOW_96,
        locked=stake >> 96,
        power=self._power(account),
        rating=self._rating(account),
    )


@external
@view
def record(account: address) -> Record:
    """
    @notice What the rating is made of.
    """
    return self._read_record(account)


@external
@view
def unbonding(account: address) -> (uint256, uint256):
    """
    @return Amount that is unbonding, and the time when it may be withdrawn.
    """
    leaving: uint256 = self._leaving[account]
    return leaving & LOW_96, leaving >> 96


@external
@view
def match_terms(account: address) -> (bytes32, bytes32, uint256):
    """
    @return Configuration, region and power (0 unless proven and at work) of a node.
    """
    power: uint256 = self._power(account)
    if self._stake[account] & LOW_96 < MIN_STAKE:
        power = 0
    return self._config[account], self._region[account], power


@external
@view
def rating(account: address) -> uint256:
    """
    @return Basis points.
    """
    return self._rating(account)


@external
@view
def power(account: address) -> uint256:
    """
    @return Operations per second measured by a resource proof that is still valid, else 0.
    """
    return self._power(account)


@external
@view
def working(account: address) -> bool:
    """
    @return Whether a node is registered with at least the minimum stake and not being punished.
    """
    return (
        self._stake[account] & LOW_96 >= MIN_STAKE
        and block.timestamp >= (self._record[account] >> 128) & LOW_40
    )


@internal
@view
def _check_caller():
    assert msg.sender in [market, resources, disputes], "only the market may do this"
