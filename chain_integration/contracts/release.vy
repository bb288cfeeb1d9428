# pragma version 0.4.3
# pragma optimize gas
"""
@title Release
@license Apache-2.0
@notice Holds one allocation of the HAI token and pays it to its beneficiary by a schedule: nothing
        until the lock is over, then the same part of the allocation for each whole day. A schedule
        that is not known when this contract is made is decided later, once, by the vote.
"""

from ethereum.ercs import IERC20

interface IMarket:
    def balances(account: address) -> uint256: view
    def withdraw(amount: uint256): nonpayable

event Decided:
    beneficiary: indexed(address)
    lock: uint256
    rate: uint256

event Released:
    beneficiary: indexed(address)
    amount: uint256

DAY: constant(uint256) = 86400
# Rates are in millionths of the allocation a day.
WHOLE: constant(uint256) = 1_000_000
# A lock, from the start on, must not be for good.
LONGEST_LOCK: constant(uint256) = 100 * 365 * DAY

token: public(immutable(IERC20))
vote: public(immutable(address))
market: public(immutable(IMarket))
amount: public(immutable(uint256))
start: public(immutable(uint256))

beneficiary: public(address)
lock: public(uint256)  # seconds after `start`
rate: public(uint256)  # 0 until it is decided
released: public(uint256)  # paid so far


@deploy
def __init__(
    token_: address,
    vote_: address,
    market_: address,
    beneficiary_: address,
    amount_: uint256,
    start_: uint256,
    lock_: uint256,
    rate_: uint256,
):
    """
    @notice The addresses may be of contracts that are made later in the same deployment.
    @param market_ Where this contract may have a balance, as the platform's treasury.
    @param beneficiary_ Who is paid; zero when the vote decides that too.
    @param rate_ Millionths of the allocation a day; zero when the vote decides it, and the lock.
    """
    assert empty(address) not in [token_, vote_, market_], "an address is missing"
    assert beneficiary_ != empty(address) or rate_ == 0, "the beneficiary is missing"
    assert rate_ <= WHOLE and lock_ <= LONGEST_LOCK, "the schedule cannot be kept"
    token = IERC20(token_)
    vote = vote_
    market = IMarket(market_)
    amount = amount_
    start = start_
    self.beneficiary = beneficiary_
    self.lock = lock_
    self.rate = rate_


@external
def decide(beneficiary_: address, lock_: uint256, rate_: uint256):
    """
    @notice Sets the schedule, and the beneficiary where there is none. Once, and by the vote only.
    """
    assert msg.sender == vote, "only the vote decides"
    assert self.rate == 0, "the schedule is decided already"
    assert rate_ != 0 and rate_ <= WHOLE and lock_ <= LONGEST_LOCK, "the schedule cannot be kept"
    assert beneficiary_ not in [empty(address), self], "the beneficiary is missing"
    assert self.beneficiary in [empty(address), beneficiary_], "the beneficiary is fixed"
    self.beneficiary = beneficiary_
    self.lock = lock_
    self.rate = rate_
    log Decided(beneficiary=beneficiary_, lock=lock_, rate=rate_)


@external
def release() -> uint256:
    """
    @notice Pays the beneficiary what is due. Anybody may call it.
    @return What was paid.
    """
    due: uint256 = self._due()
    assert due != 0, "nothing is due yet"
    self.released += due
    assert extcall token.transfer(self.beneficiary, due)
    log Released(beneficiary=self.beneficiary, amount=due)
    return due


@external
def collect():
    """
    @notice Takes what the market owes this contract; it is due at once. Anybody may call it.
    """
    extcall market.withdraw(staticcall market.balances(self))


@external
@view
def due() -> uint256:
    """
    @notice What `release` would pay now.
    """
    return self._due()


@external
@view
def locked() -> uint256:
    """
    @notice The part of the allocation that the schedule holds back now.
    """
    return self._locked()


@internal
@view
def _due() -> uint256:
    # Whatever else is sent here is due at once, so that nothing is held for good.
    if self.beneficiary == empty(address):
        return 0
    held: uint256 = staticcall token.balanceOf(self)
    return held - min(held, self._locked())


@internal
@view
def _locked() -> uint256:
    if block.timestamp < start + self.lock:
        return amount
    days: uint256 = (block.timestamp - start - self.lock) // DAY
    return amount - min(amount, amount * self.rate * days // WHOLE)
