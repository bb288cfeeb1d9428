"""Orders and acceptances: signed as the market checks them."""

import dataclasses
import re
from pathlib import Path

import pytest
from eth_account import Account

import hpu.chain_integration
from hpu.chain_integration.roles.orders import Acceptance, Domain, KeyRequest, Order, OrderError

BUYER = Account.from_key(b"\1" * 32)
DOMAIN = Domain(31337, "0x" + "5" * 40)
ORDER = Order(
    BUYER.address,
    b"\1" * 32,
    b"\2" * 32,
    b"\3" * 32,
    bytes(32),
    redundancy=2,
    price=10**18,
    quote=5 * 10**18,
    fees=0,
    deadline=600,
    expiry=2**64 - 1,
    salt=2**256 - 1,
)
CONTRACT = Path(hpu.chain_integration.__file__).with_name("contracts") / "orders.vy"


@pytest.mark.parametrize("message", [Order, Acceptance])
def test_the_contract_has_the_same_types(message):
    source = re.sub(r'"\s+"', "", CONTRACT.read_text())
    assert f'"{message.type_text()}"' in source


def test_signatures_are_for_one_message_in_one_market():
    signature = ORDER.sign(DOMAIN, BUYER)
    assert len(signature) == 65 and ORDER.signer(DOMAIN, signature) == BUYER.address
    others = [dataclasses.replace(ORDER, salt=1), dataclasses.replace(ORDER, price=1)]
    assert all(other.signer(DOMAIN, signature) != BUYER.address for other in others)
    for domain in (Domain(1, DOMAIN.market), Domain(31337, "0x" + "6" * 40)):
        assert ORDER.signer(domain, signature) != BUYER.address
        assert ORDER.digest(domain) != ORDER.digest(DOMAIN)
    for bad in (b"", signature[:64], bytes(65), b"\xff" * 65):
        with pytest.raises(OrderError, match="the signature must be 65 bytes of secp256k1"):
            ORDER.signer(DOMAIN, bad)


@pytest.mark.parametrize(
    "message",
    [
        ORDER,
        Acceptance(b"\1" * 32, BUYER.address, BUYER.address, 5, 9),
        KeyRequest(b"\1" * 32, BUYER.address),
    ],
)
def test_json_and_back(message):
    assert type(message).from_json(message.to_json()) == message


@pytest.mark.parametrize(
    "field, value, words",
    [
        ("buyer", "0x12", "buyer of an order must be address"),
        ("model", "0x12", "model of an order must be bytes32"),
        ("model", 5, "model of an order must be bytes32"),
        ("redundancy", "256", "redundancy of an order must be uint8"),
        ("price", "-1", "price of an order must be uint256"),
        ("price", "1.5", "price of an order must be uint256"),
        ("expiry", str(2**64), "expiry of an order must be uint64"),
        ("other", "1", "the fields of an order must be buyer, model"),
    ],
)
def test_fields_of_wrong_types(field, value, words):
    with pytest.raises(OrderError, match=words):
        Order.from_json(ORDER.to_json() | {field: value})


def test_what_is_no_object():
    for data in (None, [], {}, "x"):
        with pytest.raises(OrderError, match="the fields of an order must be"):
            Order.from_json(data)
