# pragma version 0.4.3
# pragma optimize gas
"""
@title Models and data sets
@license Apache-2.0
@notice ERC-721: each token names the content hash of a model or data set, and what one use of it
        costs. The market pays the token's owner. The number of a token is its content hash, so
        nothing is registered twice. A registration is promised before it is shown: nobody can see
        it coming and be first.
"""

from ethereum.ercs import IERC165
from ethereum.ercs import IERC721

implements: IERC165
# Not `implements: IERC721`: its functions take coin there, which would be lost here. The standard
# lets a contract be stricter.

interface IReceiver:
    def onERC721Received(
        operator: address, giver: address, token: uint256, data: Bytes[1024]
    ) -> bytes4: nonpayable

event Promised:
    sender: indexed(address)
    promise: bytes32

event Registered:
    owner: indexed(address)
    token: indexed(uint256)
    fee: uint256
    uri: String[128]

event FeeChanged:
    token: indexed(uint256)
    fee: uint256

# A promise is kept after this many seconds at the earliest, and at the latest.
PROMISE_AGE: public(constant(uint256)) = 60
PROMISE_LIMIT: public(constant(uint256)) = 86400

ERC165: constant(bytes4) = 0x01ffc9a7
ERC721: constant(bytes4) = 0x80ac58cd
ERC721_METADATA: constant(bytes4) = 0x5b5e139f
RECEIVED: constant(bytes4) = method_id("onERC721Received(address,address,uint256,bytes)", output_type=bytes4)

name: public(constant(String[32])) = "HAI models and data sets"
symbol: public(constant(String[32])) = "HAIM"

promised: public(HashMap[bytes32, uint256])  # promise → time
fee: public(HashMap[uint256, uint256])  # HAI-wei for one use

_owner: HashMap[uint256, address]
_balance: HashMap[address, uint256]
_approved: HashMap[uint256, address]
_operators: HashMap[address, HashMap[address, bool]]
_uri: HashMap[uint256, String[128]]


# Registration and use.


@external
def promise(promised: bytes32):
    """
    @param promised keccak256(content ‖ owner ‖ salt), 32 + 32 + 32 bytes
    """
    assert self.promised[promised] == 0, "it was promised before"
    self.promised[promised] = block.timestamp
    log Promised(sender=msg.sender, promise=promised)


@external
def register(content: bytes32, fee: uint256, uri: String[128], salt: bytes32):
    """
    @notice Makes the caller the owner of `content`, as it promised.
    @param fee HAI-wei that one use costs
    @param uri Where the content, or a description of it, is found
    """
    owner: bytes32 = convert(msg.sender, bytes32)
    since: uint256 = self.promised[keccak256(concat(content, owner, salt))]
    assert since != 0, "it must be promised first"
    assert block.timestamp >= since + PROMISE_AGE, "the promise is too young"
    assert block.timestamp <= since + PROMISE_LIMIT, "the promise is too old"
    token: uint256 = convert(content, uint256)
    assert self._owner[token] == empty(address), "the content has an owner"
    self._owner[token] = msg.sender
    self._balance[msg.sender] += 1
    self._uri[token] = uri
    self.fee[token] = fee
    log IERC721.Transfer(sender=empty(address), receiver=msg.sender, token_id=token)
    log Registered(owner=msg.sender, token=token, fee=fee, uri=uri)


@external
def set_fee(token: uint256, fee: uint256):
    """
    @notice Changes what one use costs, from now on.
    """
    self._check_may_move(token)
    self.fee[token] = fee
    log FeeChanged(token=token, fee=fee)


@external
@view
def terms(content: bytes32) -> (address, uint256):
    """
    @return Owner of `content` and the fee for one use; nothing for what nobody owns.
    """
    token: uint256 = convert(content, uint256)
    return self._owner[token], self.fee[token]


# ERC-721.


@external
@view
def balanceOf(_owner: address) -> uint256:
    """
    @notice How many tokens `_owner` has.
    """
    assert _owner != empty(address), "the owner is missing"
    return self._balance[_owner]


@external
@view
def ownerOf(_tokenId: uint256) -> address:
    """
    @notice Owner of a token.
    """
    return self._owner_of(_tokenId)


@external
@view
def getApproved(_tokenId: uint256) -> address:
    """
    @notice Who may move this token besides its owner and the owner's operators.
    """
    assert self._owner_of(_tokenId) != empty(address)
    return self._approved[_tokenId]


@external
@view
def isApprovedForAll(_owner: address, _operator: address) -> bool:
    """
    @notice Whether `_operator` may move every token of `_owner`.
    """
    return self._operators[_owner][_operator]


@external
@view
def tokenURI(_tokenId: uint256) -> String[128]:
    """
    @notice Where the content, or a description of it, is found.
    """
    assert self._owner_of(_tokenId) != empty(address)
    return self._uri[_tokenId]


@external
@view
def supportsInterface(interface_id: bytes4) -> bool:
    """
    @notice ERC-165.
    """
    return interface_id in [ERC165, ERC721, ERC721_METADATA]


@external
def approve(_approved: address, _tokenId: uint256):
    """
    @notice Allows `_approved` to move one token, instead of who was allowed; zero for nobody.
    """
    owner: address = self._owner_of(_tokenId)
    assert msg.sender == owner or self._operators[owner][msg.sender], "the caller may not approve"
    self._approved[_tokenId] = _approved
    log IERC721.Approval(owner=owner, approved=_approved, token_id=_tokenId)


@external
def setApprovalForAll(_operator: address, _approved: bool):
    """
    @notice Allows or forbids `_operator` to move every token of the caller.
    """
    self._operators[msg.sender][_operator] = _approved
    log IERC721.ApprovalForAll(owner=msg.sender, operator=_operator, approved=_approved)


@external
def transferFrom(_from: address, _to: address, _tokenId: uint256):
    """
    @notice Moves a token, without asking whether `_to` can use it.
    """
    self._move(_from, _to, _tokenId)


@external
def safeTransferFrom(_from: address, _to: address, _tokenId: uint256, _data: Bytes[1024] = b""):
    """
    @notice Moves a token; a contract must say that it takes it.
    """
    self._move(_from, _to, _tokenId)
    if _to.is_contract:
        answer: bytes4 = extcall IReceiver(_to).onERC721Received(msg.sender, _from, _tokenId, _data)
        assert answer == RECEIVED, "the receiver does not take tokens"


@internal
def _move(giver: address, taker: address, token: uint256):
    self._check_may_move(token)
    assert self._owner[token] == giver, "the token is not the giver's"
    assert taker != empty(address), "the receiver is missing"
    self._approved[token] = empty(address)
    self._balance[giver] -= 1
    self._balance[taker] += 1
    self._owner[token] = taker
    log IERC721.Transfer(sender=giver, receiver=taker, token_id=token)


@internal
@view
def _owner_of(token: uint256) -> address:
    owner: address = self._owner[token]
    assert owner != empty(address), "there is no such token"
    return owner


@internal
@view
def _check_may_move(token: uint256):
    owner: address = self._owner_of(token)
    allowed: bool = msg.sender in [owner, self._approved[token]]
    assert allowed or self._operators[owner][msg.sender], "the caller may not move the token"
