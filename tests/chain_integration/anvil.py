"""The development chain `anvil` from npm, for tests that run over RPC."""

import contextlib
import functools
import json
import platform
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from hpu.chain_integration.chain.connect import Connection, connect
from hpu.chain_integration.chain.errors import UnreachableError
from hpu.sim.verilator import cached

VERSION = "1.7.1"
_PACKAGE = {"x86_64": "@foundry-rs/anvil-linux-amd64", "aarch64": "@foundry-rs/anvil-linux-arm64"}


class AbsentError(Exception):
    """Why there is no anvil here."""


@functools.cache
def binary() -> Path:
    """The program, installed into the cache by npm when it is not there yet."""
    package = _PACKAGE.get(platform.machine())
    if package is None:
        raise AbsentError(f"anvil has no package for {platform.machine()}")
    folder = cached("anvil", VERSION, lambda folder: _install(folder, package))
    program = folder / "node_modules" / package / "bin" / "anvil"
    return program


def _install(folder: Path, package: str) -> None:
    if shutil.which("npm") is None:
        raise AbsentError("npm is not installed")
    (folder / "package.json").write_text(json.dumps({"private": True}))
    command = ["npm", "install", "--no-audit", "--no-fund", f"{package}@{VERSION}"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    if done.returncode:
        raise AbsentError(f"npm cannot install {package}: {done.stderr.strip()[-300:]}")


@contextlib.contextmanager
def running() -> Iterator[Connection]:
    """A new anvil on a free port of the loopback, while the block runs.

    Its clock is virtual, as that of the chain in process: a second passes with each block.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(binary()), "--port", str(port), "--host", "127.0.0.1"]
    command += ["--hardfork", "cancun", "--base-fee", "1000000000"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        connection = _connected(f"http://127.0.0.1:{port}")
        connection.request("anvil_setBlockTimestampInterval", 1)
        yield connection
    finally:
        process.terminate()
        process.wait()


def _connected(url: str) -> Connection:
    end = time.monotonic() + 20
    while True:
        try:
            return connect(url, patience=1)
        except UnreachableError:
            if time.monotonic() > end:
                raise
