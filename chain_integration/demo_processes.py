"""The demo's processes: started with their accounts, watched, killed, and stopped at the end."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from eth_account.signers.local import LocalAccount

from hpu.chain_integration.chain.connect import Connection
from hpu.chain_integration.keys import PASSWORD_VARIABLE, new_key_file
from hpu.runtime.errors import HpuError

__all__ = ["Processes", "listening"]

_PASSWORD = "only for the demo"
#: Cost of scrypt for keys that live for minutes.
_ROUNDS = 1 << 12
_LISTEN = "0A"


class Processes:
    """Programs in their own processes; all end with the block.

    Parameters
    ----------
    folder:
        For logs, key files and the programs' folders.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *_error: object) -> None:
        for process in self._running.values():
            process.send_signal(signal.SIGTERM)
        for process in self._running.values():
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def account(self, name: str) -> LocalAccount:
        """A new account in a key file."""
        return new_key_file(self.folder / f"{name}.json", _PASSWORD, rounds=_ROUNDS)

    def start(self, name: str, *arguments: str, module: str = "hpu") -> None:
        """Start ``python -m module arguments``."""
        log = self.folder / f"{name}.log"
        environment = os.environ | {PASSWORD_VARIABLE: _PASSWORD, "PYTHONUNBUFFERED": "1"}
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
            )
        self._running[name] = process

    def role(
        self, name: str, *command: str, addresses: Path, rpc: str, module: str = "hpu"
    ) -> None:
        """Start a role of the market with the key file of ``name``."""
        common = ["--key", f"{self.folder}/{name}.json", "--addresses", str(addresses)]
        common += ["--rpc", rpc, "--port", "0", "--folder", f"{self.folder}/{name}", "--verbose"]
        self.start(name, *command, *common, module=module)

    def url(self, name: str) -> str:
        """Where a process answers, which is what it says first.

        Raises
        ------
        HpuError
            When it ends before it says anything; with what it said.
        """
        process, log = self._running[name], self.folder / f"{name}.log"
        while True:
            lines = [line for line in log.read_text().splitlines() if " at http" in line]
            if lines:
                return lines[0].split()[-1]
            if process.poll() is not None:
                raise HpuError(f"{name} ended at once: {log.read_text()[-2000:]}")
            time.sleep(0.1)

    def kill(self, name: str) -> None:
        """End a process without a warning, as a power cut does."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def check(self) -> None:
        """Refuse to go on when a process ended by itself.

        Raises
        ------
        HpuError
            With its name and its last words.
        """
        for name, process in self._running.items():
            if process.poll() is not None:
                words = (self.folder / f"{name}.log").read_text()[-2000:]
                raise HpuError(f"{name} ended: {words}")

    def ports(self) -> list[str]:
        """Addresses at which the processes listen."""
        return sorted({where for each in self._running.values() for where in listening(each.pid)})


def listening(pid: int) -> list[str]:
    """Addresses of the TCP sockets that a process listens at, as ``127.0.0.1:80`` (Linux)."""
    found = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == _LISTEN:
                found[fields[9]] = _address(fields[1])
    own = {os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir() if entry.is_symlink()}
    return [where for inode, where in found.items() if f"socket:[{inode}]" in own]


def _address(text: str) -> str:
    host, port = text.split(":")
    if len(host) == 8:
        host = ".".join(str(byte) for byte in bytes.fromhex(host)[::-1])
    return f"{host}:{int(port, 16)}"


def fund(connection: Connection, accounts: list[LocalAccount]) -> None:
    """Give accounts of a development chain the coin that pays gas."""
    for account in accounts:
        connection.fund(account.address)
