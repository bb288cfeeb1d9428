"""The dashboard: what stands in it, and that it works in a browser."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from hpu.chain_integration.roles.dashboard import dashboard
from hpu.chain_integration.roles.history import STATES, Event, History

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
HAI = 10**18
NODES = ["0x" + f"{k:040x}" for k in (1, 2, 3)]
BUYER, RETRIEVER = "0x" + "b" * 40, "0x" + "c" * 40
ONE, TWO = b"\1" * 32, b"\2" * 32


def tale() -> list[Event]:
    """Three nodes; an order that settles, one that expires with a slashed node."""
    offer = {
        "region": b"<b>west".ljust(32, b"\0"),
        "price": 2 * HAI,
        "endpoint": "http://127.0.0.1:1",
    }
    told = [
        ("Registered", {"node": node, "offer": offer, "stake": stake * HAI})
        for node, stake in zip(NODES, (300, 100, 200), strict=True)
    ]
    told += [("Proven", {"node": NODES[0], "power": 5 * 10**12, "expires": 99})]
    for name, supplier in ((ONE, NODES[0]), (TWO, NODES[1])):
        matched = {"id": name, "buyer": BUYER, "retriever": RETRIEVER, "suppliers": [supplier]}
        told += [("Matched", matched | {"held": 10 * HAI})]
    outcome = {"output": b"\3" * 32, "trace": b"\4" * 32}
    result = {"work": 10**15, "usage": b"\5" * 32, "outcome": outcome}
    told += [
        ("Revealed", {"id": ONE, "supplier": NODES[0], "result": result}),
        ("Agreed", {"id": ONE, "verifier": NODES[2]}),
        ("StateChanged", {"id": ONE, "state": STATES.index("settled"), "ends": 0}),
        ("Paid", {"order": ONE, "account": NODES[0], "amount": 3 * HAI, "reason": "work"}),
        ("Paid", {"order": ONE, "account": BUYER, "amount": 7 * HAI, "reason": "refund"}),
        ("Slashed", {"node": NODES[1], "amount": 20 * HAI}),
        ("StateChanged", {"id": TWO, "state": STATES.index("expired"), "ends": 0}),
        ("Paid", {"order": TWO, "account": BUYER, "amount": 10 * HAI, "reason": "refund"}),
        ("Resolved", {"id": TWO, "guilty": NODES[1], "proven": True}),
    ]
    return [Event(name, args, 10 + k, 1_700_000_000 + k) for k, (name, args) in enumerate(told)]


@pytest.fixture(scope="module")
def history() -> History:
    found = History()
    for event in tale():
        found.take(event)
    return found


def test_the_history_adds_up(history):
    first, second, _third = (history.nodes[node] for node in NODES)
    assert (first.stake, first.earned, first.orders) == (300 * HAI, 3 * HAI, 1)
    assert (second.stake, second.slashed) == (80 * HAI, 20 * HAI)
    one, two = history.orders.values()
    assert (one.state, one.paid, one.refunded) == ("settled", 3 * HAI, 7 * HAI)
    assert (two.state, two.paid, two.refunded) == ("expired", 0, 10 * HAI)
    kinds = [proof.kind for proof in history.proofs]
    assert kinds == ["resource", *["transaction"] * 2, "space-time", *["result"] * 3]


def test_the_states_are_the_contract_s():
    import hpu.chain_integration

    source = Path(hpu.chain_integration.__file__).with_name("contracts") / "book.vy"
    found = re.findall(r"^([A-Z]+): constant\(uint256\) = (\d+)", source.read_text(), re.M)
    numbered = {int(number): name.lower() for name, number in found}
    states = {number: name for number, name in numbered.items() if number < len(STATES)}
    assert states | {0: "none"} == dict(enumerate(STATES))


def test_the_page_stands_alone(history):
    page = dashboard(history, "a <title>")
    assert "a &lt;title&gt;" in page and "&lt;b&gt;west" in page and "<b>west" not in page
    assert not re.search(r"(src|href)=|url\(|import ", page)
    for node in NODES:
        assert node in page
    assert "580.0000" in page and "2023-11-14" in page


def test_an_empty_page():
    page = dashboard(History(), "empty")
    assert "No node is registered." in page and "No order was matched." in page


_PROBE = Path(__file__).with_name("dashboard_probe.js")
_CATCH = """<head><script>
window.failures = [];
addEventListener("error", e => failures.push(e.message));
for (const name of ["error", "warn"]) console[name] = (...words) => failures.push(words.join(" "));
</script>"""


def browse(page: str, folder: Path) -> dict:
    """What ``_PROBE`` finds in the page."""
    assert CHROMIUM is not None
    path = folder / "page.html"
    probed = page.replace("<head>", _CATCH, 1).replace(
        "</body>", f"<script>{_PROBE.read_text()}</script></body>"
    )
    path.write_text(probed)
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}/user"]
    options += ["--window-size=1300,1000", "--virtual-time-budget=2000", "--dump-dom"]
    command = [CHROMIUM, *options, path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    text = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.S)
    assert text, f"the probe did not run: {done.stderr[-2000:]}"
    return json.loads(html.unescape(text.group(1)))


@pytest.mark.skipif(CHROMIUM is None, reason="needs the Debian package chromium")
def test_the_page_works_in_a_browser(history, tmp_path):
    found = browse(dashboard(history, "HAI network"), tmp_path)
    assert found["errors"] == [] and found["resources"] == [] and not found["wide"]
    falling, rising = ([int(value) // HAI for value in values] for values in found["stakes"])
    assert falling == [300, 200, 80] and rising == falling[::-1] and found["sorted"] == "ascending"
    assert sorted(found["states"]) == ["expired", "settled"]
    assert len(found["kinds"]) == 7
    assert found["filtered"] == [0, 1, 0]
    assert found["address"][0] == 1 and found["all"] == [3, 2, 7]
    assert len(set(found["bars"])) == 3
