# pragma version 0.4.3
# pragma optimize gas
"""
@title Locality groups
@license Apache-2.0
@notice Nodes of one region form a group and report how fast they answer each other. One of them
        keeps the group's book and shows that it is there; when it is not, or a better one is there
        after its term, another takes over. Nothing is staked or paid here.
"""

interface IRegistry:
    def working(account: address) -> bool: view
    def rating(account: address) -> uint256: view

event Joined:
    region: indexed(bytes32)
    node: indexed(address)

event Left:
    region: indexed(bytes32)
    node: indexed(address)

event Reported:
    region: indexed(bytes32)
    reporter: indexed(address)
    node: indexed(address)
    milliseconds: uint256

event Beat:
    region: indexed(bytes32)
    keeper: indexed(address)
    book: bytes32

event TakenOver:
    region: indexed(bytes32)
    keeper: indexed(address)
    former: indexed(address)

struct Group:
    keeper: address
    since: uint256  # time at which the keeper took over
    beat: uint256  # time of its last sign of life
    book: bytes32  # hash of the group's book then

MAX_MEMBERS: constant(uint256) = 32
# A keeper shows itself once in HEARTBEAT. After GRACE without it the best other member may take
# over, and any other after twice that: the best may be away too.
HEARTBEAT: public(constant(uint256)) = 600
GRACE: public(constant(uint256)) = 2 * HEARTBEAT
# After its term a keeper goes on until a better member takes over.
TERM: public(constant(uint256)) = 86400
# A node that answers in this time counts half of what one counts that answers at once.
HALF_TIME: constant(uint256) = 100
SLOWEST: constant(uint256) = 60_000
# What an unmeasured node is taken to need.
UNMEASURED: constant(uint256) = 1_000

registry: public(immutable(IRegistry))

groups: public(HashMap[bytes32, Group])
region_of: public(HashMap[address, bytes32])
# Reporter → node → milliseconds and 1.
times: HashMap[address, HashMap[address, uint256]]
_members: HashMap[bytes32, DynArray[address, MAX_MEMBERS]]


@deploy
def __init__(registry_: address):
    """
    @notice The registry tells who is a node, and how it is rated.
    """
    assert registry_ != empty(address), "an address is missing"
    registry = IRegistry(registry_)


@external
def join(region: bytes32):
    """
    @notice Makes the caller, a working node, a member of the region's group; the first keeps it.
    """
    assert region != empty(bytes32), "the region is missing"
    assert self.region_of[msg.sender] == empty(bytes32), "the node is in a group already"
    assert staticcall registry.working(msg.sender), "the node is not registered"
    assert len(self._members[region]) < MAX_MEMBERS, "the group is full"
    self.region_of[msg.sender] = region
    self._members[region].append(msg.sender)
    log Joined(region=region, node=msg.sender)
    if self.groups[region].keeper == empty(address):
        self._set_keeper(region, msg.sender)


@external
def leave():
    """
    @notice Takes the caller out of its group.
    """
    self._remove(msg.sender)


@external
def drop(node: address):
    """
    @notice Takes a node that works no more out of its group. Anybody may call it.
    """
    assert not staticcall registry.working(node), "the node works"
    self._remove(node)


@external
def report(node: address, milliseconds: uint256):
    """
    @notice Says how long `node`, of the caller's group, took to answer the caller.
    """
    region: bytes32 = self.region_of[msg.sender]
    assert region != empty(bytes32), "the caller is in no group"
    assert self.region_of[node] == region, "the node is of another group"
    assert node != msg.sender, "nobody reports itself"
    self.times[msg.sender][node] = min(milliseconds, SLOWEST) + 1
    log Reported(region=region, reporter=msg.sender, node=node, milliseconds=milliseconds)


@external
def beat(book: bytes32):
    """
    @notice The keeper shows that it is there, with the hash of its book.
    """
    region: bytes32 = self.region_of[msg.sender]
    assert self.groups[region].keeper == msg.sender, "the caller is not the keeper"
    self.groups[region].beat = block.timestamp
    self.groups[region].book = book
    log Beat(region=region, keeper=msg.sender, book=book)


@external
def take_over():
    """
    @notice Makes the caller the keeper of its group, when the one there is late or not the best.
    """
    region: bytes32 = self.region_of[msg.sender]
    assert region != empty(bytes32), "the caller is in no group"
    assert staticcall registry.working(msg.sender), "the node is not registered"
    group: Group = self.groups[region]
    assert group.keeper != msg.sender, "the caller is the keeper"
    if block.timestamp < group.beat + 2 * GRACE:
        best: address = self._best(region, group.keeper)
        assert msg.sender == best, "another member is better"
        late: bool = block.timestamp >= group.beat + GRACE
        assert late or self._beaten(region, group, best), "the keeper is there"
    self._set_keeper(region, msg.sender)


@external
@view
def members(region: bytes32) -> DynArray[address, MAX_MEMBERS]:
    """
    @notice The nodes of a group.
    """
    return self._members[region]


@external
@view
def time_between(reporter: address, node: address) -> (bool, uint256):
    """
    @return Whether `reporter` measured `node`, and the milliseconds.
    """
    reported: uint256 = self.times[reporter][node]
    return reported != 0, max(reported, 1) - 1


@external
@view
def score(node: address) -> uint256:
    """
    @notice What members are compared by: the rating, less for slow answers to the other members.
    """
    return self._score(self.region_of[node], node)


@external
@view
def best(region: bytes32) -> address:
    """
    @notice Who may take over from the keeper first.
    """
    return self._best(region, self.groups[region].keeper)


@internal
@view
def _beaten(region: bytes32, group: Group, best: address) -> bool:
    if block.timestamp < group.since + TERM:
        return False
    return self._score(region, best) > self._score(region, group.keeper)


@internal
@view
def _best(region: bytes32, keeper: address) -> address:
    # The first of the best working members other than the keeper.
    best: address = empty(address)
    most: uint256 = 0
    for node: address in self._members[region]:
        if node == keeper or not staticcall registry.working(node):
            continue
        score: uint256 = self._score(region, node)
        if best == empty(address) or score > most:
            best = node
            most = score
    return best


@internal
@view
def _score(region: bytes32, node: address) -> uint256:
    total: uint256 = 0
    measured: uint256 = 0
    for reporter: address in self._members[region]:
        reported: uint256 = self.times[reporter][node]
        if reported != 0:
            total += reported - 1
            measured += 1
    mean: uint256 = UNMEASURED
    if measured != 0:
        mean = total // measured
    return staticcall registry.rating(node) * 10_000 * HALF_TIME // (HALF_TIME + mean)


@internal
def _set_keeper(region: bytes32, node: address):
    former: address = self.groups[region].keeper
    self.groups[region] = Group(
        keeper=node, since=block.timestamp, beat=block.timestamp, book=self.groups[region].book
    )
    log TakenOver(region=region, keeper=node, former=former)


@internal
def _remove(node: address):
    region: bytes32 = self.region_of[node]
    assert region != empty(bytes32), "the node is in no group"
    self.region_of[node] = empty(bytes32)
    rest: DynArray[address, MAX_MEMBERS] = []
    for member: address in self._members[region]:
        if member != node:
            rest.append(member)
    self._members[region] = rest
    log Left(region=region, node=node)
    if self.groups[region].keeper == node:
        self._set_keeper(region, self._best(region, node))
