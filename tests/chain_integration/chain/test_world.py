"""State of the chain in process: what messages change, what they cost, and going back."""

import pytest
from eth_abi import encode
from eth_utils import keccak

from hpu.chain_integration.chain.compile import compiled_source
from hpu.chain_integration.chain.world import Message, World

ALICE, BOB = "0x" + "11" * 20, "0x" + "22" * 20
GAS = 5_000_000

SOURCE = """
# pragma version 0.4.3
struct Pair:
    first: uint256
    second: uint256

event Set:
    key: indexed(uint256)
    pair: Pair

pairs: public(HashMap[uint256, Pair])
marked: transient(uint256)

@external
def set(key: uint256, first: uint256, second: uint256):
    self.pairs[key] = Pair(first=first, second=second)
    log Set(key=key, pair=self.pairs[key])

@external
def fail():
    self.pairs[1].first = 77
    raise "never"

@external
def try_fail() -> bool:
    self.pairs[2].second = 5
    success: bool = raw_call(self, method_id("fail()"), revert_on_failure=False)
    return success

@external
def mark() -> uint256:
    before: uint256 = self.marked
    self.marked = 1
    return before

@external
def clone() -> address:
    return create_copy_of(self)

@external
@view
def place() -> (uint256, uint256, uint256, bytes32):
    return chain.id, block.number, block.timestamp, blockhash(block.number - 1)
"""


def data(name, *arguments):
    kinds = ["uint256"] * len(arguments)
    return keccak(text=f"{name}({','.join(kinds)})")[:4] + encode(kinds, arguments)


class Ground:
    """A world with one contract."""

    def __init__(self, folder):
        source = folder / "pairs.vy"
        source.write_text(SOURCE)
        self.artifact = compiled_source(source)
        self.world = World(chain_id=31337)
        self.world.set_block(number=7, timestamp=1000, gas_limit=30_000_000)
        message = Message(ALICE, None, self.artifact.bytecode, GAS)
        self.place = self.world.execute(message, nonce=0).created

    def do(self, name, *arguments, gas=GAS):
        message = Message(ALICE, self.place, data(name, *arguments), gas)
        return self.world.execute(message, nonce=1)

    def ask(self, name, *arguments):
        message = Message(BOB, self.place, data(name, *arguments), GAS)
        return self.world.call(message, nonce=0)

    def pair(self, key):
        output = self.ask("pairs", key).output
        return int.from_bytes(output[:32], "big"), int.from_bytes(output[32:], "big")


@pytest.fixture
def ground(tmp_path):
    return Ground(tmp_path)


def test_every_changed_slot_is_kept(ground):
    for key in range(5):
        ground.do("set", key, key + 1, 100 - key)
    assert [ground.pair(key) for key in range(5)] == [(key + 1, 100 - key) for key in range(5)]


def test_a_call_changes_nothing(ground):
    outcome = ground.ask("set", 1, 2, 3)
    assert outcome.success and outcome.logs
    assert ground.pair(1) == (0, 0)


def test_an_event_comes_as_it_was_emitted(ground):
    (log,) = ground.do("set", 9, 2, 3).logs
    assert log.address == ground.place
    assert log.topics[1] == f"0x{9:064x}"
    assert log.data == encode(["uint256", "uint256"], [2, 3])


def test_a_revert_tells_why_and_changes_nothing(ground):
    outcome = ground.do("fail")
    assert not outcome.success and not outcome.halt
    assert b"never" in outcome.output
    assert ground.pair(1) == (0, 0)


def test_a_revert_inside_takes_back_its_own_changes_alone(ground):
    assert ground.do("try_fail").output == bytes(32)
    assert (ground.pair(1), ground.pair(2)) == ((0, 0), (0, 5))


def test_out_of_gas_is_named(ground):
    outcome = ground.do("set", 1, 2, 3, gas=30_000)
    assert (outcome.success, outcome.halt, outcome.gas_used) == (False, "OutOfGas(Basic)", 30_000)


def test_each_message_pays_for_cold_storage(ground):
    first, *others = [ground.do("set", 1, value, value).gas_used for value in (1, 2, 3, 4)]
    assert len(set(others)) == 1
    assert first - others[0] == 2 * (20_000 - 2_900)  # from zero, and not: EIP-2929, EIP-3529


def test_transient_storage_ends_with_the_message(ground):
    assert [ground.do("mark").output for _ in range(2)] == [bytes(32)] * 2


def test_going_back_takes_back_values_contracts_and_their_code(ground):
    world, height = ground.world, ground.world.height()
    ground.do("set", 1, 2, 3)
    middle = world.height()
    ground.do("set", 1, 4, 5)
    made = "0x" + ground.do("clone").output[12:].hex()
    assert world.code(made) == world.code(ground.place)
    world.rewind(middle)
    assert ground.pair(1) == (2, 3)
    assert world.code(made) == b""
    world.rewind(height)
    assert ground.pair(1) == (0, 0)
    world.rewind(0)
    assert world.code(ground.place) == b""


def test_a_contract_has_the_code_that_the_compiler_made(ground):
    code = ground.world.code(ground.place)
    assert len(code) == ground.artifact.runtime_size
    assert code in ground.artifact.bytecode


def test_contracts_that_a_contract_makes_are_numbered(ground):
    places = [ground.do("clone").output[12:].hex() for _ in range(2)]
    assert len(set(places)) == 2
    assert all(ground.world.code("0x" + place) for place in places)


def test_a_contract_sees_chain_and_block(ground):
    output = ground.ask("place").output
    words = [int.from_bytes(output[k : k + 32], "big") for k in (0, 32, 64)]
    assert words == [31337, 7, 1000]
    assert output[96:] == ground.world.block_hash(6) != bytes(32)
