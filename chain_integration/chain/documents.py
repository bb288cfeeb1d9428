"""Writes docs/chain/contracts.md from the contracts and the allocation.

``python -m hpu.chain_integration.chain.documents`` writes it; with ``--check`` it writes nothing
and fails when the page differs.
"""

import sys
from pathlib import Path
from typing import Any

import jinja2
from eth_utils.abi import collapse_if_tuple

from hpu.chain_integration.chain.allocation import ALLOCATIONS, SUPPLY, Allocation
from hpu.chain_integration.chain.compile import Artifact, compiled
from hpu.chain_integration.chain.deploy import CONTRACTS

__all__ = ["PAGE", "main", "page"]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "chain" / "contracts.md"
_YEAR = 365 * 86400


def page() -> str:
    """The text of the page."""
    folder = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=folder, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.get_template("contracts.md.j2").render(
        supply=SUPPLY // 10**18,
        allocations=[_allocation(entry) for entry in ALLOCATIONS],
        contracts=[_contract(source) for source in dict.fromkeys(CONTRACTS.values())],
    )


def _allocation(entry: Allocation) -> dict[str, Any]:
    return {
        "purpose": entry.purpose,
        "percent": entry.percent,
        "amount": f"{entry.amount // 10**18:,}",
        "lock": f"{entry.lock // _YEAR} years" if entry.lock else "none",
        "rate": f"{entry.rate / 10**4:g} % a day" if entry.rate else "decided by the vote",
        "contract": entry.contract,
        "end": _end(entry),
    }


def _end(entry: Allocation) -> str:
    """When all of it is released."""
    if not entry.rate:
        return "-"
    days = -(-(10**6) // entry.rate)
    return f"{(entry.lock + days * 86400) / _YEAR:,.0f} years"


def _contract(source: str) -> dict[str, Any]:
    artifact = compiled(source)
    return {
        "name": source,
        "size": f"{artifact.runtime_size:,}",
        "notice": artifact.notices[""],
        "functions": list(_functions(artifact)),
        "events": [_signature(entry) for entry in artifact.abi if entry["type"] == "event"],
    }


def _functions(artifact: Artifact) -> list[dict[str, str]]:
    """Functions with a notice: the others are values that their names explain."""
    found = []
    for entry in artifact.abi:
        if entry["type"] != "function":
            continue
        types = ",".join(collapse_if_tuple(part) for part in entry["inputs"])
        notice = artifact.notices.get(f"{entry['name']}({types})")
        if notice is not None:
            found.append({"signature": _signature(entry), "notice": notice})
    return found


def _signature(entry: dict[str, Any]) -> str:
    parts = [f"{part['name']}{'*' if part.get('indexed') else ''}" for part in entry["inputs"]]
    return f"{entry['name']}({', '.join(parts)})"


def main(arguments: list[str]) -> int:
    """Write the page, or with ``--check`` compare it; 1 when it is out of date."""
    if arguments == ["--check"]:
        current = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
        if current != page():
            print(
                f"{PAGE.name} is out of date; run python -m hpu.chain_integration.chain.documents"
            )
            return 1
        return 0
    PAGE.write_text(page(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
