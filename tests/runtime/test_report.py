"""The report page: what stands in it, and that it works in a browser."""

import base64
import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

import hpu
from hpu.hw.config import CONFIGS
from hpu.hw.isa import Unit
from hpu.runtime import report_data
from hpu.runtime.limits import LIMITS
from hpu.runtime.measure import Measured, MeasuredNetwork, with_cycles
from hpu.runtime.profile import HostProfile, Run, profile_of
from hpu.runtime.report import html_report
from hpu.runtime.report_text import bytes_text, percent_text, short_text, time_text

LAB = CONFIGS["lab-16"]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def measured(quantised) -> Measured:
    program = hpu.compile(quantised, config="lab-16", batch=3)
    run = with_cycles(program, LAB, Run({}))
    return Measured(program, LAB, run, profile_of(program, LAB, "functional", run))


@pytest.fixture(scope="module")
def network(measured) -> MeasuredNetwork:
    """Two programs with a part of the host between them."""
    host = HostProfile(nodes=["soft<max>"], operators=["Softmax"], milliseconds=0.25)
    return MeasuredNetwork({}, [measured, host, measured], 3)


def page_of(network: MeasuredNetwork, title: str = "small") -> str:
    runs = [(part.program, part.config, part.spans) for part in network.programs]
    return html_report(network.profile(title), runs)


def data_of(page: str) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', page, re.S).group(1))


def test_the_page_stands_alone(measured, network):
    page = page_of(network, "a <title>")
    assert "a &lt;title&gt;" in page and "soft&lt;max&gt;" in page
    assert not re.search(r"(src|href)=|url\(|import ", page)
    assert "cycles predicted" in page and "100.00%" in page
    for node in measured.program.nodes:
        assert html.escape(node.name) in page


def test_the_page_says_how_layers_are_mapped(measured):
    nodes = tuple(
        msgspec.structs.replace(node, mapping=f"9 taps in the rows of {node.name}")
        for node in measured.program.nodes
    )
    program = msgspec.structs.replace(measured.program, nodes=nodes)
    profile = profile_of(program, LAB, "functional", measured.run)
    page = page_of(MeasuredNetwork({}, [Measured(program, LAB, measured.run, profile)], 3))
    for node in nodes:
        assert html.escape(node.mapping) in page


def test_a_node_cannot_end_the_script(measured):
    nodes = tuple(
        msgspec.structs.replace(node, name=f"</script>{k}")
        for k, node in enumerate(measured.program.nodes)
    )
    program = msgspec.structs.replace(measured.program, nodes=nodes)
    profile = profile_of(program, LAB, "functional", measured.run)
    page = page_of(MeasuredNetwork({}, [Measured(program, LAB, measured.run, profile)], 3))
    assert page.count("</script>") == 2
    assert data_of(page)["programs"][0]["nodes"][0]["name"] == "</script>0"


def numbers(text: str) -> list[tuple[int, int, int]]:
    """Starts, ends and nodes of the page's spans of one unit."""
    found, value, shift, last = [], 0, 0, 0
    for byte in base64.b64decode(text):
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            found.append(value)
            value = shift = 0
    rows = []
    for gap, length, node in zip(found[::3], found[1::3], found[2::3], strict=True):
        last += gap
        rows.append((last, last + length, node - 1))
    return rows


def test_every_instruction_is_on_the_page(measured):
    (data,) = data_of(page_of(MeasuredNetwork({}, [measured], 3)))["programs"]
    spans = measured.spans
    for unit in Unit:
        own = spans.unit == unit
        expected = zip(spans.start[own], spans.end[own], strict=True)
        assert [row[:2] for row in numbers(data["spans"][unit])] == list(expected), unit.name
    nodes = [numbers(text)[0][2] for text in data["spans"][: Unit.VECTOR]]
    assert nodes == [0, 0, 0]
    assert sum(b - a for node in data["nodes"] for a, b, _ in node["windows"]) == data["cycles"]


def test_long_timelines_are_joined(measured, monkeypatch):
    monkeypatch.setattr(report_data, "MAX_SPANS", 12)
    (data,) = data_of(page_of(MeasuredNetwork({}, [measured], 3)))["programs"]
    rows = [row for text in data["spans"] for row in numbers(text)]
    assert 0 < len(rows) <= 12 < len(measured.spans)
    assert max(row[1] for row in rows) == measured.spans.end.max()


def test_curves_and_memory_add_up(measured):
    (data,) = data_of(page_of(MeasuredNetwork({}, [measured], 3)))["programs"]
    dram = data["dram"]
    moved = sum(sum(dram[name]) for name in ("weights", "input", "output")) * dram["step"]
    profile = measured.profile
    assert moved == pytest.approx(profile.read_bytes + profile.written_bytes, rel=0.1)
    words = profile.memory.ub_size // data["lanes"]
    for _name, _kind, base, size, start, end in data["memory"]:
        assert 0 <= base < base + size <= words
        assert 0 <= start < end <= data["cycles"]
    held = sum(size for _name, _kind, _base, size, _start, _end in data["memory"])
    assert held * data["lanes"] >= profile.memory.ub_peak > 0


def test_texts():
    assert [bytes_text(n) for n in (0, 1023, 1024, 1023 * 1024, 5 << 20, 3 << 30)] == [
        *("0 B", "1023 B", "1 KiB", "1023 KiB", "5 MiB", "3 GiB")
    ]
    assert [short_text(n) for n in (0, 0.125, 7, 999, 12_345, 7_489_664, 2.5e9)] == [
        *("0", "0.125", "7", "999", "12.35 k", "7.49 M", "2.5 G")
    ]
    assert [percent_text(x) for x in (0, 0.5, 0.0004)] == ["0.0%", "50.0%", "0.04%"]
    assert [time_text(ms) for ms in (0.0421, 12.5)] == ["42.1 µs", "12.5 ms"]


#: Runs in the page after its own script, and leaves what it finds as text.
_PROBE = Path(__file__).with_name("report_probe.js")
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


def check_tips(tips: list[str], measured: Measured) -> None:
    """What is said of instructions under the mouse is true."""
    shown = r"(\w+): .*\ncycles ([\d,]+) to ([\d,]+) "
    found = [match.groups() for match in (re.match(shown, tip) for tip in tips) if match]
    assert {"matrix", "vector"} <= {unit for unit, _start, _end in found}
    spans = measured.spans
    true = set(zip(spans.unit, spans.start, spans.end, strict=True))
    for unit, start, end in found:
        numbers = (int(text.replace(",", "")) for text in (start, end))
        assert (Unit[unit.upper()], *numbers) in true, (unit, start, end)
    assert any("limited by: " in tip for tip in tips)
    assert any("in use: " in tip for tip in tips) and any("bandwidth: " in tip for tip in tips)


@pytest.mark.skipif(CHROMIUM is None, reason="needs the Debian package chromium")
def test_the_page_works_in_a_browser(network, tmp_path):
    found = browse(page_of(network), tmp_path)
    profile = network.programs[0].profile
    assert found["errors"] == [] and found["resources"] == []
    cycles = sorted(node.cycles for node in profile.nodes)
    falling, rising = ([int(value) for value in values] for values in found["cycles"])
    assert rising == cycles and falling == cycles[::-1]
    names = [node.name for node in profile.nodes]
    assert sorted(found["names"][0]) == sorted(names)
    assert found["names"][0] == found["names"][1][::-1] and found["sorted"] == "descending"
    assert found["filtered"] == sum(found["names"][1][0].lower() in name for name in names)
    assert found["whole"] != found["zoomed"]
    assert found["points"] == sum(bool(node.macs) for node in profile.nodes)
    assert found["second"] == found["points"] and found["shown"] == [False, True]
    check_tips(found["tips"], network.programs[0])
    assert not found["wide"]


def test_every_limit_has_a_colour(network):
    assert set(data_of(page_of(network))["limits"]) == set(LIMITS)
