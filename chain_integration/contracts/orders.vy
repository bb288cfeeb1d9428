# pragma version 0.4.3
# pragma optimize gas
"""
@title Orders
@license Apache-2.0
@notice What buyers and suppliers sign, as EIP-712 typed data of the market, and whether it may be
        matched. Holds no state and no money.
"""

import registry as registry_vy

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

MAX_DEADLINE: public(constant(uint256)) = 30 * 86400

LOW_96: constant(uint256) = 2**96 - 1
# Half the order of secp256k1: of the two forms of a signature, that with the low s counts.
HALF_ORDER: constant(uint256) = (
    57896044618658097711785492504343953926418782139537452191302581570759080747168
)
DOMAIN_TYPE: constant(bytes32) = keccak256(
    "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
)
ORDER_TYPE: constant(bytes32) = keccak256(
    "Order(address buyer,bytes32 model,bytes32 config,bytes32 input,bytes32 region,"
    "uint8 redundancy,uint256 price,uint256 quote,uint256 fees,uint64 deadline,uint64 expiry,"
    "uint256 salt)"
)
ACCEPTANCE_TYPE: constant(bytes32) = keccak256(
    "Acceptance(bytes32 order,address supplier,address retriever,uint256 price,uint64 expiry)"
)

market: public(immutable(address))
registry: public(immutable(registry_vy.__interface__))


@deploy
def __init__(market_: address, registry_: address):
    """
    @notice The addresses may be of contracts that are made later in the same deployment.
    """
    assert empty(address) not in [market_, registry_], "an address is missing"
    market = market_
    registry = registry_vy.__interface__(registry_)


@external
@view
def order_id(order: Order) -> bytes32:
    """
    @return The digest that the buyer signs, which names the order everywhere.
    """
    return self._order_id(order)


@external
@view
def acceptance_digest(acceptance: Acceptance) -> bytes32:
    """
    @return The digest that the supplier signs.
    """
    return self._acceptance_digest(acceptance)


@external
@view
def check(
    order: Order,
    signature: Bytes[65],
    acceptances: DynArray[Acceptance, 3],
    signatures: DynArray[Bytes[65], 3],
    retriever: address,
) -> (bytes32, uint256[3]):
    """
    @notice Raises unless `retriever` may match the order to these suppliers now.
    @return The order's id, and the suppliers' measured powers.
    """
    id: bytes32 = self._order_id(order)
    assert self._signed(id, signature, order.buyer), "buyer's signature is wrong"
    self._check_terms(order)
    size: uint256 = convert(order.redundancy, uint256)
    assert len(acceptances) == size, "there must be as many acceptances as the redundancy"
    assert len(signatures) == size, "there must be as many signatures as acceptances"
    powers: uint256[3] = empty(uint256[3])
    seen: DynArray[address, 3] = []
    for i: uint256 in range(size, bound=3):
        assert acceptances[i].supplier not in seen, "a supplier is named twice"
        seen.append(acceptances[i].supplier)
        assert acceptances[i].order == id, "acceptance is for another order"
        assert acceptances[i].retriever == retriever, "acceptance is for another retriever"
        self._check_acceptance(order, acceptances[i], signatures[i])
        powers[i] = self._fitting_power(order, acceptances[i].supplier)
    return id, powers


@internal
@view
def _check_terms(order: Order):
    assert block.timestamp <= convert(order.expiry, uint256), "order has expired"
    assert order.redundancy in [1, 2, 3], "redundancy must be 1, 2 or 3"
    assert order.quote != 0 and order.quote <= LOW_96, "quote is out of range"
    assert order.price <= LOW_96, "price is out of range"
    deadline: uint256 = convert(order.deadline, uint256)
    assert deadline != 0 and deadline <= MAX_DEADLINE, "deadline is out of range"


@internal
@view
def _check_acceptance(order: Order, acceptance: Acceptance, signature: Bytes[65]):
    assert block.timestamp <= convert(acceptance.expiry, uint256), "acceptance has expired"
    assert acceptance.price <= order.price, "supplier asks more than the order's price"
    digest: bytes32 = self._acceptance_digest(acceptance)
    assert self._signed(digest, signature, acceptance.supplier), "supplier's signature is wrong"


@internal
@view
def _fitting_power(order: Order, supplier: address) -> uint256:
    config: bytes32 = empty(bytes32)
    region: bytes32 = empty(bytes32)
    power: uint256 = 0
    config, region, power = staticcall registry.match_terms(supplier)
    assert power != 0, "supplier has no valid resource proof or too small a stake"
    assert order.config in [empty(bytes32), config], "supplier has another configuration"
    assert order.region in [empty(bytes32), region], "supplier is in another region"
    return power


@internal
@view
def _order_id(order: Order) -> bytes32:
    return self._digest(keccak256(abi_encode(ORDER_TYPE, order)))


@internal
@view
def _acceptance_digest(acceptance: Acceptance) -> bytes32:
    return self._digest(keccak256(abi_encode(ACCEPTANCE_TYPE, acceptance)))


@internal
@view
def _digest(content: bytes32) -> bytes32:
    domain: bytes32 = keccak256(
        abi_encode(DOMAIN_TYPE, keccak256("HAI market"), keccak256("1"), chain.id, market)
    )
    return keccak256(concat(b"\x19\x01", domain, content))


@internal
@pure
def _signed(digest: bytes32, signature: Bytes[65], signer: address) -> bool:
    if len(signature) != 65 or signer == empty(address):
        return False
    r: uint256 = convert(slice(signature, 0, 32), uint256)
    s: uint256 = convert(slice(signature, 32, 32), uint256)
    v: uint256 = convert(slice(signature, 64, 1), uint256)
    if s > HALF_ORDER or v not in [27, 28]:
        return False
    return ecrecover(digest, v, r, s) == signer
