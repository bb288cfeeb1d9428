# pragma version 0.4.3
# pragma optimize gas
"""
@title HAI token
@license Apache-2.0
@notice ERC-20 with 10,000,000,000 tokens of 18 decimals, all made at once for the contracts that
        release them by the allocation's schedule. Nobody owns this contract: no more are ever
        made, and nobody but a holder, or whom it approved, moves its tokens.
"""

from ethereum.ercs import IERC20
from ethereum.ercs import IERC20Detailed

implements: IERC20
implements: IERC20Detailed

MAX_ALLOCATIONS: constant(uint256) = 8

name: public(constant(String[32])) = "HAI"
symbol: public(constant(String[32])) = "HAI"
decimals: public(constant(uint8)) = 18
totalSupply: public(constant(uint256)) = 10_000_000_000 * 10**18

balanceOf: public(HashMap[address, uint256])
allowance: public(HashMap[address, HashMap[address, uint256]])


@deploy
def __init__(holders: DynArray[address, MAX_ALLOCATIONS], amounts: DynArray[uint256, MAX_ALLOCATIONS]):
    """
    @notice Gives the whole supply to `holders`.
    @param amounts What each of them gets; together the supply
    """
    assert len(holders) == len(amounts), "a holder has no amount"
    total: uint256 = 0
    for i: uint256 in range(len(holders), bound=MAX_ALLOCATIONS):
        assert holders[i] != empty(address), "a holder is missing"
        self.balanceOf[holders[i]] += amounts[i]
        total += amounts[i]
        log IERC20.Transfer(sender=empty(address), receiver=holders[i], value=amounts[i])
    assert total == totalSupply, "the amounts are not the supply"


@external
def transfer(_to: address, _value: uint256) -> bool:
    """
    @notice Sends `_value` of the caller's tokens to `_to`.
    """
    self._move(msg.sender, _to, _value)
    return True


@external
def transferFrom(_from: address, _to: address, _value: uint256) -> bool:
    """
    @notice Sends `_value` of `_from`'s tokens, out of what it approved for the caller.
    @dev An allowance of 2**256-1 is not used up.
    """
    allowed: uint256 = self.allowance[_from][msg.sender]
    if allowed != max_value(uint256):
        assert allowed >= _value, "the allowance is too low"
        self.allowance[_from][msg.sender] = allowed - _value
    self._move(_from, _to, _value)
    return True


@external
def approve(_spender: address, _value: uint256) -> bool:
    """
    @notice Allows `_spender` to send `_value` of the caller's tokens, instead of what was allowed.
    """
    self.allowance[msg.sender][_spender] = _value
    log IERC20.Approval(owner=msg.sender, spender=_spender, value=_value)
    return True


@internal
def _move(giver: address, taker: address, amount: uint256):
    # Tokens sent to the zero address or to this contract would be lost.
    assert taker not in [empty(address), self], "tokens sent there would be lost"
    held: uint256 = self.balanceOf[giver]
    assert held >= amount, "the balance is too low"
    self.balanceOf[giver] = held - amount
    self.balanceOf[taker] += amount
    log IERC20.Transfer(sender=giver, receiver=taker, value=amount)
