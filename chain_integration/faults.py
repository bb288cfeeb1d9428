"""Orders through suppliers of which some fail: what becomes of the orders, and of the money.

Everything is real but the sockets and the clock: the contracts, the roles' programs with their
journals on disk, proofs, disputes. Faults are put in by an order's number: its supplier is killed
or late or gives a wrong byte, its buyer stays silent, or its retriever does.
"""

import dataclasses
import enum
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hpu.chain_integration.proofs.trace import Trace
from hpu.chain_integration.proofs.usage import usage_of
from hpu.chain_integration.proofs.vdf import Stopwatch
from hpu.chain_integration.roles.buyer import Buyer, Wish
from hpu.chain_integration.roles.engine import Engine, Tensors, Work
from hpu.chain_integration.roles.ledger import State
from hpu.chain_integration.roles.local import HAI, LocalMarket
from hpu.chain_integration.roles.retriever import Retriever
from hpu.chain_integration.roles.supplier import Supplier, Terms
from hpu.hw.config import Config, by_name

__all__ = ["Experiment", "Fault", "Outcome"]

_CONFIG = "lab-16"
_SUPPLY = 10**10 * HAI
#: Seconds of the chain's time in a round of steps, and rounds until a killed supplier is back.
_ROUND, _AWAY = 60, 20


class Fault(enum.Enum):
    """What goes wrong with an order."""

    KILLED = "supplier killed"
    LATE = "supplier late"
    WRONG = "wrong byte"
    BUYER = "silent buyer"
    RETRIEVER = "silent retriever"


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of the orders.

    ``ends`` counts states on the chain by their names ("none" was never matched), ``by_fault`` the
    same of the faulty ones; ``stuck`` orders have not ended. ``missing`` HAI-wei are the supply
    less all balances, ``locked`` what the contracts hold and owe nobody.
    """

    orders: int
    ends: Counter[str]
    by_fault: dict[Fault, Counter[str]]
    stuck: int
    missing: int
    locked: int
    seconds: int


class _Memory(Engine):
    """A device that remembers what it computed: the same input gives the same bytes."""

    def __init__(self, config: Config):
        super().__init__(config)
        self._known: dict[tuple[bytes, bytes], Work] = {}

    def run(self, document: bytes, tensors: Tensors, seed: bytes | None = None) -> Work:
        key = self.roots(document, tensors)
        if key not in self._known:
            self._known[key] = super().run(document, tensors)
        work = self._known[key]
        if seed is None:
            return work
        started = time.perf_counter()
        with Stopwatch(seed) as stopwatch:
            pass
        seconds = time.perf_counter() - started
        usage = usage_of(self.config, work.run, seconds=seconds, elapsed=stopwatch.elapsed)
        return dataclasses.replace(work, usage=usage)


class _Wrong:
    """A device that gives one wrong byte in the last layer's result."""

    def __init__(self, right: Engine):
        self.right = right

    def run(self, document: bytes, tensors: Tensors, seed: bytes | None = None) -> Work:
        work = self.right.run(document, tensors, seed)
        name = work.network.model.outputs[0]
        wrong = work.trace.values[name].copy()
        wrong.reshape(-1)[0] ^= 1
        trace = Trace(work.network.model, work.trace.values | {name: wrong})
        return dataclasses.replace(work, trace=trace)


class _Killed(Exception):  # noqa: N818 (nothing is wrong with the program: it is gone)
    """The process ends here."""


class _Supplier(Supplier):
    """A supplier that fails where the experiment says so."""

    fault_of: Callable[[str], Fault | None]
    killed: set[str]

    def _deliver(self, name: str, data: dict[str, Any], order: bytes) -> None:
        fault = self.fault_of(name)
        if fault is Fault.KILLED and name not in self.killed:
            self.killed.add(name)
            raise _Killed(name)
        if fault is not Fault.LATE:
            super()._deliver(name, data, order)

    def _compute(self, name: str, data: dict[str, Any]) -> dict[str, Any] | None:
        if self.fault_of(name) is Fault.WRONG:
            self.engine = _Wrong(self.engine)  # type: ignore[assignment]
        try:
            return super()._compute(name, data)
        finally:
            self.engine = getattr(self.engine, "right", self.engine)

    def _trace(self, job: str, model: bytes, tensors: Tensors) -> Trace | None:
        """A liar defends its lie."""
        if self.fault_of(job.split()[-1]) is Fault.WRONG:
            return _Wrong(self.engine).run(model, tensors).trace
        return super()._trace(job, model, tensors)


class _Buyer(Buyer):
    """A buyer that neither fetches nor confirms some results."""

    fault_of: Callable[[str], Fault | None]

    def _pursue(self, name: str, data: dict[str, Any]) -> None:
        over = self.ledger.job(bytes.fromhex(name)).state in State.ENDS
        if over or self.fault_of(name) is not Fault.BUYER:
            super()._pursue(name, data)


class _Retriever(Retriever):
    """A retriever that does nothing for some orders: before the match, or after it.

    The first one is; the second takes over what was not matched.
    """

    fault_of: Callable[[str], Fault | None]
    silent: bool

    def _match(self, name: str, data: dict[str, Any]) -> None:
        skipped = self.silent and self.fault_of(name) is Fault.RETRIEVER
        if not skipped or int(name, 16) % 2:
            super()._match(name, data)

    def _tend(self, name: str, data: dict[str, Any]) -> None:
        if self.fault_of(name) is not Fault.RETRIEVER:
            super()._tend(name, data)


def small_network() -> bytes:
    """A quantised convolution, pooling and dense layer over [1, 3, 6, 6], as ONNX."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    from hpu.compiler.quantise import quantise

    generator = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(generator.normal(size=shape).astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("MaxPool", ["c"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "v"], ["y"]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 6, 6])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])]
    weights = [weight("w", 4, 3, 3, 3), weight("v", 36, 4)]
    graph = helper.make_graph(nodes, "small", inputs, outputs, weights)
    imports = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=8)
    samples = generator.normal(size=(16, 3, 6, 6)).astype(np.float32)
    return quantise(model, {"x": samples}).SerializeToString()


class Experiment:
    """Orders through a market with faults.

    Parameters
    ----------
    folder:
        For the roles' journals and stores.
    rate:
        Part of the orders with a fault.
    progress:
        Called with orders that ended and orders in all.
    market:
        Where they are placed; a new one when not given.
    """

    def __init__(
        self,
        folder: Path,
        *,
        orders: int = 1000,
        suppliers: int = 10,
        rate: float = 0.1,
        seed: int = 0,
        progress: Callable[[int, int], None] = lambda _done, _all: None,
        market: LocalMarket | None = None,
    ):
        self.orders, self.progress, self._rate = orders, progress, rate
        self._random = np.random.default_rng(seed)
        self._market = market or LocalMarket(folder)
        self._faults: dict[str, Fault | None] = {}
        self._placed: dict[bytes, Buyer] = {}
        self._open: list[bytes] = []
        self._back: dict[int, list[str]] = {}
        self._inputs = self._random.normal(size=(20, 1, 3, 6, 6)).astype(np.float32)
        self._model = small_network()
        self._fill(suppliers)
        self._market.prove()

    def _fill(self, suppliers: int) -> None:
        engine = _Memory(by_name(_CONFIG))
        market, shared = self._market, {"fault_of": self._faults.get, "killed": set()}
        price = 10**8 * HAI
        for number in range(suppliers):
            node = market.supplier(
                f"supplier{number}",
                engine,
                price=price + number * price // 50,
                stake=5000,
                terms=Terms(most_orders=12),
                kind=type("Supplier", (_Supplier,), dict(shared)),
                checker=lambda _config: engine,
            )
            node.ledger.deposit(1000 * HAI)  # for the bonds of challenges
        for number in range(2):
            market.verifier(f"verifier{number}", engine, stake=5000)
            own = shared | {"silent": number == 0}
            market.retriever(f"retriever{number}", kind=type("R", (_Retriever,), own))
        kind = type("B", (_Buyer,), dict(shared))
        for number in range(4):
            turn = [f"retriever{number % 2}", f"retriever{1 - number % 2}"]
            market.buyer(f"buyer{number}", turn, hai=100_000, kind=kind)

    def run(self, *, abreast: int = 40) -> Outcome:
        """Place all orders, at most ``abreast`` at a time, and go on until every one has ended."""
        market, turn = self._market, 0
        begun = market.connection.time()
        while (waiting := self._waiting()) or len(self._placed) < self.orders:
            self.progress(len(self._placed) - len(waiting), self.orders)
            if turn > 20 * self.orders:
                break
            for _place in range(min(abreast - len(waiting), self.orders - len(self._placed))):
                self._place()
            self._step(turn)
            idle = len(self._placed) == self.orders
            market.connection.advance(_ROUND * 5 if idle else _ROUND)
            turn += 1
        for name in [name for names in self._back.values() for name in names]:
            market.start(name)
        for _turn in range(5):
            market.step()
        return self._outcome(market.connection.time() - begun)

    def _place(self) -> None:
        generator = self._random
        buyer = self._market.roles[f"buyer{generator.integers(4)}"]
        assert isinstance(buyer, Buyer)
        wish = Wish(
            price=10**10 * HAI,
            quote=5 * HAI,
            config=_CONFIG,
            redundancy=int(generator.choice([1, 1, 1, 2, 3])),
            patience=4 * 3600,
        )
        feeds = {"x": self._inputs[generator.integers(len(self._inputs))]}
        order = buyer.submit(self._model, feeds, wish)
        faulty = generator.random() < self._rate
        fault = list(Fault)[generator.integers(len(Fault))] if faulty else None
        self._faults[order.hex()], self._placed[order] = fault, buyer
        self._open.append(order)

    def _step(self, turn: int) -> None:
        for name in self._back.pop(turn, []):
            self._market.start(name)
        for name in list(self._market.roles):
            try:
                self._market.step(name)
            except _Killed:
                self._market.stop(name)
                later = turn + int(self._random.choice([3, _AWAY + 10]))
                self._back.setdefault(later, []).append(name)

    def _waiting(self) -> list[bytes]:
        """The orders that have not ended."""
        self._open = [order for order in self._open if not self._has_ended(order)]
        return self._open

    def _has_ended(self, order: bytes) -> bool:
        state = self._market.state(order)
        return state in State.ENDS or (
            state == 0 and self._placed[order].status(order)["state"] == "over"
        )

    def _outcome(self, seconds: int) -> Outcome:
        market = self._market
        ends = {order: State.text(market.state(order)) for order in self._placed}
        by_fault = {
            fault: Counter(
                ends[order] for order in self._placed if self._faults[order.hex()] is fault
            )
            for fault in Fault
        }
        return Outcome(
            orders=len(self._placed),
            ends=Counter(ends.values()),
            by_fault=by_fault,
            stuck=len(self._waiting()),
            missing=_SUPPLY - market.all_tokens(),
            locked=market.unaccounted(),
            seconds=seconds,
        )
