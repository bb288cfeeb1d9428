"""The figure of the contracts' gas: registering, settling, and the last step of a dispute."""

from typing import TYPE_CHECKING

import numpy as np

from hpu.runtime.bench_figures import Found, Row, figure

if TYPE_CHECKING:
    from hpu.chain_integration.fuzz.ground import Ground
    from hpu.chain_integration.proofs.trace import Trace
    from hpu.compiler import ir

__all__ = ["gas"]

_BARS = {"register": 250_000, "settle": 300_000, "dispute": 1_300_000}
#: Terms of the dot product that the dispute's last step recomputes.
_TERMS = 4096
_OUTPUTS = 16
_HAI = 10**18
_DAY = 86400


@figure(
    "gas",
    unit="of the bar",
    bar="at most 1: registering ≤ 250,000, settling an order ≤ 300,000, the last step of a dispute"
    " over 4,096 terms ≤ 1,300,000",
    reached=lambda share: share <= 1,
)
def gas() -> Found:
    """Gas of transactions on the chain in process, which counts as every Ethereum chain does."""
    # web3 and the EVM are loaded only when this figure is asked for.
    from hpu.chain_integration.fuzz.ground import Ground

    ground = Ground()
    rows = [*_registrations(ground), *_settlements(ground), *_dispute()]
    worst = {
        step: max(int(row["gas"]) for row in rows if row["bar"] == bar)
        for step, bar in _BARS.items()
    }
    first = next(row["gas"] for row in rows if row["step"] == "3 suppliers: settle, the first time")
    detail = (
        f"registering {worst['register']:,} (64 characters of endpoint);"
        f" settling {worst['settle']:,} (three suppliers, two verifiers, an owner, a silent buyer;"
        f" {first:,} the first time, when nobody paid has a balance yet);"
        f" the last step of a dispute over {_TERMS:,} terms {worst['dispute']:,}"
    )
    return Found(max(worst[step] / bar for step, bar in _BARS.items()), detail, rows=rows)


def _row(step: str, used: int, bar: int | str = "") -> Row:
    return {"step": step, "gas": used, "bar": bar}


def _registrations(ground: "Ground") -> list[Row]:
    rows = []
    for account, size in ((ground.accounts[2], 32), (ground.accounts[3], 64)):
        endpoint = ("https://node.example.net:8443/" + "x" * 64)[:size]
        offer = (b"\x0c" * 32, b"\x0e" * 32, b"\x0f" * 32, 10**12, _HAI, endpoint)
        used = ground.must(account, "registry", "register", offer, 1000 * _HAI).gas_used
        rows.append(_row(f"register, {size} characters of endpoint", used, _BARS["register"]))
    return rows


def _settlements(ground: "Ground") -> list[Row]:
    """One supplier; all that an order can have, for accounts with no balance, and once more."""
    _own_the_model(ground)
    _empty_balances(ground)
    rows = _order(ground, 1, 1, verified=False, confirmed=True)
    _empty_balances(ground)
    first = _order(ground, 2, 3, verified=True, confirmed=False)
    rows += first[:-1]
    rows.append(_row("3 suppliers: settle, the first time", int(first[-1]["gas"])))
    return rows + _order(ground, 3, 3, verified=True, confirmed=False)[-1:]


def _empty_balances(ground: "Ground") -> None:
    """Everybody but the buyer takes out what it has: the next payment costs a new slot."""
    for account in ground.accounts[:2] + ground.accounts[3:]:
        balance = ground.ask("market", "balances", account)
        ground.must(account, "market", "withdraw", balance)


def _own_the_model(ground: "Ground") -> None:
    from eth_utils import keccak

    owner = ground.accounts[1]
    salt, model = bytes(32), b"\x01" * 32
    promise = keccak(model + bytes(12) + bytes.fromhex(owner[2:]) + salt)
    ground.must(owner, "assets", "promise", promise)
    ground.connection.advance(3600)
    ground.must(owner, "assets", "register", model, _HAI, "", salt)


def _order(
    ground: "Ground", salt: int, suppliers: int, *, verified: bool, confirmed: bool
) -> list[Row]:
    """Gas of every step of an order."""
    from hpu.chain_integration.fuzz.ground import Placed
    from hpu.chain_integration.fuzz.traces import variants
    from hpu.chain_integration.roles.orders import Acceptance, Order

    buyer, retriever, nodes = ground.accounts[2], ground.accounts[3], ground.accounts[4:]
    chosen, soon = nodes[:suppliers], ground.now() + _DAY
    order = Order(
        buyer=buyer,
        model=b"\x01" * 32,
        config=bytes(32),
        input=b"\x02" * 32,
        region=bytes(32),
        redundancy=suppliers,
        price=3 * _HAI,
        quote=100 * _HAI,
        fees=_HAI,
        deadline=3600,
        expiry=soon,
        salt=salt,
    )
    id = order.digest(ground.domain)
    accepted = [Acceptance(id, node, retriever, 2 * _HAI, soon) for node in chosen]
    placed = Placed(id, order, chosen, {node: (variants()[0], _HAI) for node in chosen})
    name = f"{suppliers} suppliers: " if suppliers > 1 else "1 supplier: "

    def step(account: str, what: str, *arguments: object, bar: int | str = "") -> Row:
        used = ground.must(account, "market", what, *arguments).gas_used
        return _row(name + what, used, bar)

    rows = [step(retriever, "match_order", *ground.sign(order, accepted))]
    rows += [step(node, "commit", id, placed.commitment(node)) for node in chosen][-1:]
    secrets = [(node, placed.result(node), placed.salt(node)) for node in chosen]
    rows += [step(node, "reveal", id, result, salt) for node, result, salt in secrets][-1:]
    if verified:
        ground.must(buyer, "sampling", "draw", id)
        drawn = ground.ask("sampling", "verifiers", id)
        rows += [step(verifier, "agree", id) for verifier in drawn][-1:]
    if confirmed:
        return [*rows, step(buyer, "confirm", id, bar=_BARS["settle"])]
    ground.connection.advance(_DAY)
    return [*rows, step(retriever, "settle", [id], bar=_BARS["settle"])]


def _dispute() -> list[Row]:
    """A supplier lies about one byte of a dense layer; the supplier that does not shows it."""
    from hpu.chain_integration.proofs.court import Court

    right, wrong = _traces()
    verdict = Court().play(wrong, right)
    if not (verdict.guilty == "accused" and verdict.proven):
        raise AssertionError("the dispute did not find the wrong byte")
    spent = dict(verdict.gas)
    last = verdict.gas[-1][1]
    rows = [_row(f"dispute: {name}", used) for name, used in spent.items()]
    rows.append(_row(f"dispute: last step, {_TERMS:,} terms", last, _BARS["dispute"]))
    return rows


def _traces() -> tuple["Trace", "Trace"]:
    """Of a dense layer of ``_TERMS`` inputs: the right result, and one with a wrong byte."""
    from hpu.chain_integration.proofs.layers import commit_model
    from hpu.chain_integration.proofs.trace import Trace
    from hpu.compiler import ir
    from hpu.sim.numerics import encode_scale, requantise

    rng = np.random.default_rng(7)
    weight = rng.integers(-127, 128, (_OUTPUTS, 1, 1, _TERMS)).astype(np.int16)
    bias = rng.integers(-5000, 5000, _OUTPUTS).astype(np.int32)
    scale = rng.uniform(1e-4, 3e-4, _OUTPUTS).astype(np.float32)
    x = ir.Tensor("x", (1, 1, 1, _TERMS), ir.Quant(np.float32(0.1), 3))
    y = ir.Tensor("y", (1, 1, 1, _OUTPUTS), ir.Quant(np.float32(0.1), -5))
    layer = ir.Conv(nodes=("dense",), x=x, out=y, weight=weight, bias=bias, scale=scale)
    model = commit_model(ir.Graph([layer], [_host(x)], [_host(y)], {"x": x, "y": y}))
    given = rng.integers(-128, 128, x.shape).astype(np.int8)
    sums = weight[:, 0, 0].astype(np.int64) @ (given[0, 0, 0].astype(np.int64) - 3) + bias
    out = requantise(sums.astype(np.int32), *encode_scale(scale), -5)
    out = out.reshape(y.shape).astype(np.int8)
    lie = out.copy()
    lie[..., -1] ^= 1
    return Trace(model, {"x": given, "y": out}), Trace(model, {"x": given, "y": lie})


def _host(tensor: "ir.Tensor") -> "ir.HostTensor":
    from hpu.compiler import ir

    return ir.HostTensor(
        name=f"host_{tensor.name}",
        dtype="int8",
        shape=tensor.shape,
        view=tensor.shape,
        perm=(0, 1, 2, 3),
        quantised="int8",
        scale=float(tensor.quant.scale),
        zero=tensor.quant.zero,
        tensor=tensor.name,
    )
