"""A contract that stands in a test and imports the project's modules, on a chain in process."""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from hpu.chain_integration.chain.compile import CONTRACTS, compiled_source
from hpu.chain_integration.chain.connect import connect
from hpu.chain_integration.chain.contract import Contract, create


class Inline:
    """Its functions, each called by its name."""

    def __init__(self, contract: Contract):
        self._contract = contract

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self._contract.call(name, *arguments)


def inline(source: str, *modules: str) -> Inline:
    """Deploy ``source``, which imports ``modules`` of the project's contracts."""
    connection = connect()
    with tempfile.TemporaryDirectory() as folder:
        for module in modules:
            shutil.copy(CONTRACTS / f"{module}.vy", folder)
        path = Path(folder) / "inline.vy"
        path.write_text(source)
        artifact = compiled_source(path)
    return Inline(create(connection, connection.accounts(1)[0], artifact))
