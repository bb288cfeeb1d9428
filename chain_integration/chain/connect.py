"""Connections to a chain: the one in process, or a node over RPC that may drop, lag or fork."""

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from eth_account.signers.local import LocalAccount
from requests.exceptions import RequestException
from web3 import HTTPProvider, Web3
from web3.exceptions import Web3Exception
from web3.providers.base import BaseProvider
from web3.types import RPCEndpoint, RPCResponse

from hpu.chain_integration.chain.blocks import Chain
from hpu.chain_integration.chain.errors import ChainError, RpcError, UnreachableError
from hpu.chain_integration.chain.rpc import Rpc, development_accounts

__all__ = ["Connection", "InProcessProvider", "Pauses", "connect", "in_process"]

#: Seconds after which a request, or the wait for a receipt, is given up.
PATIENCE = 60.0
_TIMEOUT = 10.0
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0
#: Requests that do their work again when they are sent again.
_NEVER_REPEATED = {"eth_sendTransaction", "evm_increaseTime", "evm_mine", "evm_snapshot"}


class InProcessProvider(BaseProvider):
    """web3's provider of a chain in this process."""

    def __init__(self, rpc: Rpc) -> None:
        super().__init__()
        self.rpc = rpc

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        return {"jsonrpc": "2.0", "id": 0, **self.rpc.answer(method, params)}  # type: ignore

    def is_connected(self, show_traceback: bool = False) -> bool:
        return True


class Connection:
    """Requests to a node, sent again for a bounded time when it does not answer.

    Parameters
    ----------
    provider:
        Any web3 provider.
    name:
        What messages call the node: its URL.
    patience:
        Seconds after which a request is given up.
    confirmations:
        Blocks that must follow a transaction's own before it counts.
    """

    def __init__(
        self,
        provider: BaseProvider,
        *,
        name: str,
        patience: float = PATIENCE,
        confirmations: int = 0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.provider = provider
        self.w3 = Web3(provider)
        self.name = name
        self.patience = patience
        self.confirmations = confirmations
        self.sleep = sleep
        self.seen = 0
        self.senders: dict[str, Any] = {}  # by address; see the module send
        self._chain_id: int | None = None

    @property
    def chain_id(self) -> int:
        """The chain's number, read once."""
        if self._chain_id is None:
            self._chain_id = int(self.request("eth_chainId"), 16)
        return self._chain_id

    def request(self, method: str, *params: Any) -> Any:
        """The result of one JSON-RPC request.

        Raises
        ------
        UnreachableError
            When the node gave no answer within the patience.
        RpcError
            When it refused.
        """
        pauses = Pauses(self)
        while True:
            try:
                return _result(self._ask(method, params))
            except _DroppedError as error:
                if method in _NEVER_REPEATED or not pauses.another():
                    raise UnreachableError(
                        f"{self.name} gives no answer to {method} ({error});"
                        " check that the node runs and can be reached."
                    ) from error

    def _ask(self, method: str, params: tuple[Any, ...]) -> Any:
        try:
            return self.provider.make_request(RPCEndpoint(method), list(params))
        except (RequestException, Web3Exception, OSError, ValueError) as error:
            raise _DroppedError(type(error).__name__) from error

    def block(self, which: int | str = "latest") -> dict[str, Any]:
        """A block, with the numbers that matter as integers.

        Raises
        ------
        UnreachableError
            When the node does not have it within the patience.
        """
        tag = which if isinstance(which, str) else hex(which)
        pauses = Pauses(self)
        while (found := self.request("eth_getBlockByNumber", tag, False)) is None:
            if not pauses.another():
                raise UnreachableError(f"{self.name} has no block {which}.")
        return {**found, **{key: int(found[key], 16) for key in ("number", "timestamp")}}

    def height(self) -> int:
        """Number of the latest block."""
        return int(self.request("eth_blockNumber"), 16)

    def time(self) -> int:
        """Time of the latest block in seconds."""
        return self.block()["timestamp"]

    def catch_up(self) -> None:
        """Wait until the node knows every block that this connection has relied on.

        Raises
        ------
        UnreachableError
            When it stays behind.
        """
        if self.seen == 0:
            return
        pauses = Pauses(self)
        while (height := self.height()) < self.seen:
            if not pauses.another():
                raise UnreachableError(
                    f"{self.name} is at block {height} and does not come to {self.seen};"
                    " it lags, or lost blocks: wait, or use another node."
                )

    def advance(self, seconds: int) -> None:
        """Mine a block on a development chain, ``seconds`` and one more after the latest."""
        self.request("evm_setNextBlockTimestamp", self.time() + 1 + seconds)
        self.request("evm_mine")

    def mine(self, count: int = 1) -> None:
        """Let a development chain append empty blocks."""
        self.request("anvil_mine", hex(count))

    def fund(self, address: str, wei: int = 100 * 10**18) -> None:
        """Give an account of a development chain native coin, which pays its gas."""
        self.request("anvil_setBalance", address, hex(wei))

    def coins(self, address: str) -> int:
        """An account's native coin in wei."""
        return int(self.request("eth_getBalance", address, "latest"), 16)

    def accounts(self, count: int = 10) -> list[LocalAccount]:
        """Accounts of a development chain that hold native coin."""
        return development_accounts(count)


class Pauses:
    """Ever longer pauses, until a connection's patience is at its end."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._end = time.monotonic() + connection.patience
        self._pause = _FIRST_PAUSE

    def another(self) -> bool:
        """Pause, or false when there is no time left."""
        if time.monotonic() + self._pause > self._end:
            return False
        self._connection.sleep(self._pause)
        self._pause = min(_LONGEST_PAUSE, self._pause * 1.5)
        return True


def connect(
    rpc: str | None = None, *, patience: float = PATIENCE, confirmations: int = 0
) -> Connection:
    """Connect to the node at the URL ``rpc``, or to a new chain in this process.

    The chain in process has a virtual clock and ten accounts with coin that anybody may use.

    Raises
    ------
    ChainError
        When ``rpc`` is no HTTP URL.
    UnreachableError
        When the node does not answer.
    """
    if rpc is None:
        return in_process(patience=patience)
    if urlsplit(rpc).scheme not in ("http", "https") or not urlsplit(rpc).netloc:
        raise ChainError(f"the chain must be given as an http:// or https:// URL, not {rpc!r}.")
    provider = HTTPProvider(
        rpc, request_kwargs={"timeout": _TIMEOUT}, exception_retry_configuration=None
    )
    connection = Connection(provider, name=rpc, patience=patience, confirmations=confirmations)
    _ = connection.chain_id  # an unreachable node is reported here
    return connection


def in_process(
    *, clock: Callable[[], float] | None = None, patience: float = PATIENCE
) -> Connection:
    """A new chain in this process; see :class:`~hpu.chain_integration.chain.blocks.Chain`."""
    unlocked = [str(account.address) for account in development_accounts()]
    provider = InProcessProvider(Rpc(Chain(clock=clock), unlocked=unlocked))
    return Connection(provider, name="the chain in process", patience=patience)


class _DroppedError(Exception):
    """No answer, or one that is none."""


def _result(answer: Any) -> Any:
    if not isinstance(answer, dict) or not ("result" in answer or "error" in answer):
        raise _DroppedError("the answer is no JSON-RPC")
    if answer.get("error") is None:
        return answer.get("result")
    error = answer["error"]
    if not isinstance(error, dict):
        error = {"message": str(error)}
    data = error.get("data")
    raise RpcError(
        str(error.get("message", "no reason given")),
        code=int(error.get("code", 0)),
        data=data if isinstance(data, str) else None,
    )
