"""Arguments, results and events by a contract's interface."""

import pytest

from hpu.chain_integration.chain.abi import Interface
from hpu.chain_integration.chain.compile import compiled_source
from hpu.chain_integration.chain.connect import connect
from hpu.chain_integration.chain.contract import create
from hpu.chain_integration.chain.errors import ChainError

SOURCE = """
# pragma version 0.4.3
struct Inner:
    who: address
    sizes: DynArray[uint256, 3]

struct Outer:
    name: String[20]
    inners: DynArray[Inner, 2]
    pair: Inner[2]

event Made:
    who: indexed(address)
    outer: Outer
    number: indexed(uint256)

@external
def echo(outer: Outer) -> Outer:
    log Made(who=msg.sender, outer=outer, number=7)
    return outer

@external
@view
def many(n: uint256 = 3) -> (uint256, address, bytes32):
    return n, msg.sender, empty(bytes32)

@external
def nothing():
    pass
"""
WHO = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
INNER = {"who": WHO, "sizes": [1, 2]}
OUTER = {"name": "café", "inners": [INNER], "pair": [INNER, {"who": WHO, "sizes": []}]}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    source = tmp_path_factory.mktemp("abi") / "shapes.vy"
    source.write_text(SOURCE)
    link = connect()
    return create(link, link.accounts(1)[0], compiled_source(source))


def test_structs_go_in_as_mappings_or_tuples_and_come_out_as_mappings(place):
    assert place.call("echo", OUTER) == OUTER
    inner = (WHO, [1, 2])
    assert place.call("echo", ("café", [inner], [inner, (WHO, [])])) == OUTER


def test_events_have_their_fields_by_name(place):
    key = place.connection.accounts(1)[0]
    event = place.send(key, "echo", OUTER).event("Made")
    assert event.fields == {"who": key.address, "number": 7, "outer": OUTER}
    assert place.events("Made", who=key.address, number=7)[-1] == event
    assert place.events("Made", number=8) == []
    with pytest.raises(ChainError, match=r"must be searched by one of \['who', 'number'\]"):
        place.events("Made", outer=1)


def test_events_are_searched_for_in_windows_of_blocks(place):
    link = place.connection
    key = link.accounts(1)[0]
    blocks = [place.send(key, "echo", OUTER).block]
    link.mine(12_000)
    blocks.append(place.send(key, "echo", OUTER).block)
    assert [event.block for event in place.events("Made", first=blocks[0])] == blocks
    assert [event.block for event in place.events("Made", first=blocks[1])] == blocks[1:]
    assert place.events("Made", first=blocks[0] + 1, last=blocks[1] - 1) == []


def test_functions_of_one_name_are_told_apart_by_their_arguments(place):
    assert place.call("many")[0] == 3
    assert place.call("many", 9, caller=WHO) == (9, WHO, bytes(32))
    assert place.call("nothing") is None


def test_a_missing_field_is_named(place):
    with pytest.raises(ChainError, match="a struct must have the field 'sizes'"):
        place.call("echo", {**OUTER, "inners": [{"who": WHO}]})


def test_selectors_and_topics_are_those_of_the_standard():
    abi = [
        {
            "type": "function",
            "name": "transfer",
            "inputs": [{"name": "to", "type": "address"}, {"name": "value", "type": "uint256"}],
            "outputs": [{"name": "", "type": "bool"}],
        }
    ]
    data = Interface("token", abi).function("transfer", 2).encode([WHO, 5])
    assert data.hex() == "a9059cbb" + "0" * 24 + WHO[2:].lower() + f"{5:064x}"
