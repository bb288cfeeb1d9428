"""Vyper sources to interface and creation code, cached by content.

A compilation takes seconds and imports a large compiler, so what it made is kept beside the other
builds of the machine; the key is a hash over every source file and the compiler's version.
"""

import functools
import hashlib
import importlib.metadata
from pathlib import Path
from typing import Any

import msgspec

from hpu.runtime.errors import HpuError
from hpu.sim.verilator import cached

__all__ = ["CONTRACTS", "Artifact", "ContractError", "compiled", "compiled_source"]

#: Folder of the contracts' sources.
CONTRACTS = Path(__file__).resolve().parents[1] / "contracts"


_FORMAT = 2  # of the cached files


class ContractError(HpuError):
    """A contract that does not exist or does not compile."""


class Artifact(msgspec.Struct, frozen=True):
    """One compiled contract: its JSON interface and the code that creates it.

    ``notices`` are the source's notices, by the functions' signatures; that of the contract itself
    under no name.
    """

    name: str
    abi: list[dict[str, Any]]
    bytecode: bytes
    runtime_size: int
    notices: dict[str, str]

    @property
    def title(self) -> str:
        """The name as messages give it."""
        return self.name.replace("_", " ")


@functools.cache
def compiled(name: str) -> Artifact:
    """The contract ``contracts/<name>.vy``.

    Raises
    ------
    ContractError
        When there is none, or the compiler refuses it; the message has the compiler's words.
    """
    path = CONTRACTS / f"{name}.vy"
    if not path.exists():
        raise ContractError(f"there is no contract {name!r} in {CONTRACTS}.")
    return compiled_source(path)


def compiled_source(path: Path) -> Artifact:
    """The contract in the file ``path``, whose folder holds the modules that it imports."""
    folder = cached("contracts", f"{path.stem}-{_key(path)}", lambda to: _build(path, to))
    return msgspec.json.decode((folder / "artifact.json").read_bytes(), type=Artifact)


def _key(path: Path) -> str:
    total = hashlib.sha256(f"{_FORMAT} {importlib.metadata.version('vyper')}".encode())
    for source in [path, *_imported(path)]:
        total.update(hashlib.sha256(source.name.encode() + b"\0" + source.read_bytes()).digest())
    return total.hexdigest()[:24]


def _imported(path: Path) -> list[Path]:
    """Modules beside ``path`` that it imports, and theirs."""
    found: list[Path] = []
    waiting = [path]
    while waiting:
        for name in _imports(waiting.pop()):
            module = path.parent / f"{name}.vy"
            if module.exists() and module not in found:
                found.append(module)
                waiting.append(module)
    return sorted(found)


def _imports(path: Path) -> list[str]:
    lines = (line.split() for line in path.read_text().splitlines())
    return [line[1] for line in lines if len(line) > 1 and line[0] == "import"]


def _build(path: Path, folder: Path) -> None:
    artifact = _compile(path)
    (folder / "artifact.json").write_bytes(msgspec.json.encode(artifact))


def _compile(path: Path) -> Artifact:
    # The compiler is imported here: nothing else needs it, and it takes half a second.
    from vyper.cli.vyper_compile import compile_files
    from vyper.exceptions import VyperException

    formats = ["abi", "bytecode", "bytecode_runtime", "userdoc"]
    try:
        made = compile_files([str(path)], formats, paths=[str(path.parent)])
    except VyperException as error:
        raise ContractError(f"{path.name} does not compile: {error}") from error
    (output,) = made.values()
    return Artifact(
        path.stem,
        output["abi"],
        bytes.fromhex(output["bytecode"].removeprefix("0x")),
        len(output["bytecode_runtime"]) // 2 - 1,
        _notices(output["userdoc"]),
    )


def _notices(userdoc: dict[str, Any]) -> dict[str, str]:
    methods = userdoc.get("methods", {}).items()
    return {"": userdoc.get("notice", "")} | {name: each["notice"] for name, each in methods}
