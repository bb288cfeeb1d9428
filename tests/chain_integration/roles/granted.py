"""A market in one process whose nodes have a resource proof from the start, without giving one."""

import functools

from eth_utils import keccak

from hpu.chain_integration.chain.compile import CONTRACTS
from hpu.chain_integration.chain.world import _Slot
from hpu.chain_integration.roles.ledger import Ledger
from hpu.chain_integration.roles.local import LocalMarket

_POWER, _FOREVER = 10**11, 2**40 - 1


@functools.cache
def _proofs_slot() -> int:
    """Where the registry's storage has the proofs."""
    import vyper

    source = (CONTRACTS / "registry.vy").read_text()
    layout = vyper.compile_code(source, output_formats=["layout"])["layout"]
    return layout["storage_layout"]["_proof"]["slot"]


class GrantedMarket(LocalMarket):
    """Writes a proof that never ends into the registry's storage."""

    def _node(self, *arguments, **options) -> Ledger:
        ledger = super()._node(*arguments, **options)
        place = _proofs_slot().to_bytes(32, "big") + bytes.fromhex(ledger.address[2:]).rjust(
            32, b"\0"
        )
        slot = int.from_bytes(keccak(place), "big")
        registry = self.contracts["registry"].address
        world = self.connection.provider.rpc.chain.world
        world._store([_Slot(registry, slot, _POWER | _FOREVER << 64)])
        assert ledger.node().power == _POWER
        return ledger
