"""The dashboard: one page of nodes, stakes, orders and proofs, with everything inside it."""

import time
from pathlib import Path

from hpu.chain_integration.roles.history import History
from hpu.runtime.report_text import short_text

__all__ = ["dashboard", "hai"]


def hai(amount: int) -> str:
    """An amount of HAI-wei in HAI."""
    return f"{amount / 1e18:,.4f}"


def _short(value: str | bytes) -> str:
    """The first digits of an address or hash."""
    text = value.hex() if isinstance(value, bytes) else value
    return text if len(text) <= 12 else f"{text[:10]}…"


def _date(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(seconds))


def _region(value: bytes) -> str:
    return value.rstrip(b"\0").decode("utf-8", "replace")


def dashboard(history: History, title: str) -> str:
    """A self-contained HTML page of what ``history`` holds, the newest orders and proofs first."""
    import jinja2

    folder = Path(__file__).parent
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters.update(
        hai=hai, short=_short, date=_date, region=_region, number=short_text, hex=bytes.hex
    )
    nodes = sorted(history.nodes.values(), key=lambda node: -node.stake)
    return environment.get_template("dashboard.html.j2").render(
        title=title,
        history=history,
        nodes=nodes,
        orders=list(history.orders.values())[::-1],
        proofs=history.proofs[::-1],
        largest=max((node.stake for node in nodes), default=0) or 1,
        style=(folder / "dashboard.css").read_text(),
        script=(folder / "dashboard.js").read_text(),
    )
