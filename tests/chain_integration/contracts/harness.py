"""Contracts of tests, in process."""

from pathlib import Path
from typing import Any

import boa
from boa.interpret import set_search_paths

import hpu.chain_integration

CONTRACTS = Path(hpu.chain_integration.__file__).parent / "contracts"
set_search_paths([str(CONTRACTS)])


def load(name: str, *arguments: Any) -> Any:
    """Deploy ``name``.vy."""
    return boa.load(str(CONTRACTS / f"{name}.vy"), *arguments)


def inline(source: str) -> Any:
    """Deploy a contract that stands in a test; it may import the project's."""
    return boa.loads(source)
