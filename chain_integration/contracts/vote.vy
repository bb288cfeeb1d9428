# pragma version 0.4.3
# pragma optimize gas
"""
@title Vote
@license Apache-2.0
@notice Decides the schedules that the allocation leaves open, each once: that of marketing, and
        that of the miners' rewards with the contract that distributes them. Votes are tokens held
        here until the vote ends: no token votes twice at a time, and none for a moment only.
        Nobody decides anything else here.
"""

from ethereum.ercs import IERC20

interface IRelease:
    def decide(beneficiary: address, lock: uint256, rate: uint256): nonpayable
    def locked() -> uint256: view
    def rate() -> uint256: view

struct Proposal:
    release: address  # which schedule it decides
    beneficiary: address
    lock: uint256  # seconds after the release's start
    rate: uint256  # millionths of the allocation a day
    ends: uint256  # time
    quorum: uint256  # votes that must be given
    yes: uint256
    no: uint256
    executed: bool

event Proposed:
    number: indexed(uint256)
    release: indexed(address)
    beneficiary: address
    lock: uint256
    rate: uint256
    ends: uint256
    quorum: uint256

event Voted:
    number: indexed(uint256)
    voter: indexed(address)
    support: bool
    amount: uint256

event Executed:
    number: indexed(uint256)

event Withdrawn:
    number: indexed(uint256)
    voter: indexed(address)
    amount: uint256

MAX_RELEASES: constant(uint256) = 8
VOTING_TIME: public(constant(uint256)) = 14 * 86400
# A vote counts when a fifth of what circulates took part, and never with less than the floor.
QUORUM_PERCENT: public(constant(uint256)) = 20
QUORUM_FLOOR: public(constant(uint256)) = 1_000_000 * 10**18

token: public(immutable(IERC20))
releases: DynArray[address, MAX_RELEASES]

count: public(uint256)
proposals: public(HashMap[uint256, Proposal])
held: public(HashMap[uint256, HashMap[address, uint256]])  # proposal → voter → tokens


@deploy
def __init__(token_: address, releases_: DynArray[address, MAX_RELEASES]):
    """
    @param releases_ Every contract that holds tokens back; they may be made later.
    """
    assert token_ != empty(address) and len(releases_) != 0, "an address is missing"
    token = IERC20(token_)
    self.releases = releases_


@external
def propose(release: address, beneficiary: address, lock: uint256, rate: uint256) -> uint256:
    """
    @notice Puts a schedule to the vote, from now on for `VOTING_TIME`.
    @return The proposal's number.
    """
    assert release in self.releases, "the release is not one of the allocation"
    assert staticcall IRelease(release).rate() == 0, "the schedule is decided already"
    number: uint256 = self.count
    self.count = number + 1
    ends: uint256 = block.timestamp + VOTING_TIME
    quorum: uint256 = max(QUORUM_FLOOR, self._circulating() * QUORUM_PERCENT // 100)
    self.proposals[number] = Proposal(
        release=release,
        beneficiary=beneficiary,
        lock=lock,
        rate=rate,
        ends=ends,
        quorum=quorum,
        yes=0,
        no=0,
        executed=False,
    )
    log Proposed(
        number=number,
        release=release,
        beneficiary=beneficiary,
        lock=lock,
        rate=rate,
        ends=ends,
        quorum=quorum,
    )
    return number


@external
def vote(number: uint256, support: bool, amount: uint256):
    """
    @notice Gives `amount` of the caller's tokens, which this contract holds until the vote ends.
    """
    assert block.timestamp < self.proposals[number].ends, "there is no such vote now"
    assert amount != 0, "a vote must have tokens"
    self.held[number][msg.sender] += amount
    if support:
        self.proposals[number].yes += amount
    else:
        self.proposals[number].no += amount
    assert extcall token.transferFrom(msg.sender, self, amount)
    log Voted(number=number, voter=msg.sender, support=support, amount=amount)


@external
def execute(number: uint256):
    """
    @notice Carries out what was decided. Anybody may call it, once the vote is over.
    """
    proposal: Proposal = self.proposals[number]
    assert proposal.ends != 0 and block.timestamp >= proposal.ends, "the vote is not over"
    assert not proposal.executed, "it was carried out already"
    assert proposal.yes + proposal.no >= proposal.quorum, "too few voted"
    assert proposal.yes > proposal.no, "it was voted down"
    self.proposals[number].executed = True
    extcall IRelease(proposal.release).decide(proposal.beneficiary, proposal.lock, proposal.rate)
    log Executed(number=number)


@external
def withdraw(number: uint256, voter: address):
    """
    @notice Gives a voter its tokens back. Anybody may call it, once the vote is over.
    """
    assert block.timestamp >= self.proposals[number].ends, "the vote is not over"
    amount: uint256 = self.held[number][voter]
    assert amount != 0, "nothing is held"
    self.held[number][voter] = 0
    assert extcall token.transfer(voter, amount)
    log Withdrawn(number=number, voter=voter, amount=amount)


@external
@view
def circulating() -> uint256:
    """
    @notice The supply without what the schedules hold back now.
    """
    return self._circulating()


@internal
@view
def _circulating() -> uint256:
    held_back: uint256 = 0
    for release: address in self.releases:
        held_back += staticcall IRelease(release).locked()
    return staticcall token.totalSupply() - held_back
