"""The comparing page is self-contained, sorts, draws on shared axes, and cannot be made to run what a file contains."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from workbench.errors import UnavailableError
from workbench.report.chart import Axes
from workbench.report.index import COLUMNS, Entry, expected_maximum_sharpe, render_index, to_dict, write_index
from workbench.report.matrix import Matrix, read_matrix

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--proxy-server=127.0.0.1:9",
    "--virtual-time-budget=10000", "--enable-logging=stderr", "--window-size=1400,1000", "--dump-dom",
]  # fmt: skip
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: nothing is laid out")

ACCOUNT = {"engine": "local", "why": "named", "cpus": 2, "seconds": 1.23456}
DAYS = ["2022-01-03", "2022-07-01", "2022-12-30"]
HOSTILE = "</script><script>alert(1)</script>\"'<b>"


def content(total: float | None = 0.1, sharpe: float | None = 1.0, days: list[str] | None = None) -> dict[str, Any]:
    """Return what an entry holds of a report's JSON file."""
    summary = dict.fromkeys(COLUMNS, 0.25) | {"total_return": total, "sharpe_ratio": sharpe, "n_days": 250}
    net = None if total is None else [1.0, 1 + total / 2, 1 + total]
    wealth = None if net is None else {"date": days or DAYS, "net": net, "benchmark": [1.0, 0.9, 0.95]}
    about = {"created_at": "2026-01-01T00:00:00+00:00", "duration_seconds": 2.0, "wealth": wealth}
    return {"summary": summary, "report": about}


def entry(matrix: Matrix, position: int, **more: Any) -> Entry:
    study = matrix.studies[position]
    given = {"status": "done", "stem": f"report-{position}", "content": content(), "data_kind": "real"} | more
    return Entry(study.name, study.parameters, **given)


@pytest.fixture
def matrix(tmp_path: Path) -> Callable[[str], Matrix]:
    def write(text: str) -> Matrix:
        (tmp_path / "m.yaml").write_text(text, encoding="utf-8")
        return read_matrix(tmp_path / "m.yaml")

    return write


@pytest.fixture
def five(matrix) -> tuple[Matrix, list[Entry]]:
    """Return studies of every kind: done, look-ahead, undefined, failed in a cell, refused by the data."""
    names = ["plain", "early", "nothing", "broken", f'"{HOSTILE.replace(chr(34), "")}"']
    lines = ["{top_n: 10}", "{top_n: 9, execution_lag: 0}", "{top_n: 8}", "{top_n: 100}", "{top_n: 3}"]
    found = matrix("studies:\n" + "".join(f"  {name}: {line}\n" for name, line in zip(names, lines, strict=True)))
    return found, [
        entry(found, 0, status="reused"),
        entry(found, 1, stem="a b#%", content=content(-0.5, -2.0)),
        entry(found, 2, content=content(None, None)),
        entry(found, 3, status="failed", reason="cell 3 stopped with ValueError: <b>no</b>", stem="broken-failed"),
        entry(found, 4, status="failed", reason="top_n must be less", stem=None, content=None, data_kind=""),
    ]


def page(matrix: Matrix, entries: list[Entry]) -> str:
    return render_index(matrix, entries, to_dict(matrix, entries, ACCOUNT))


# ---- what is on the page -------------------------------------------------------------------------------------------------


def test_nothing_is_loaded_from_outside_and_nothing_of_a_name_is_run(five):
    html = page(*five)
    assert "default-src 'none'" in html
    assert not re.search(r"https?://|//\w|@import|url\(", re.sub(r"/\*.*?\*/", "", html, flags=re.DOTALL))
    assert "<script>alert" not in html and "<b>" not in html
    assert html.count("<script>") == 1 and "alert(1)" in html


def test_every_study_has_its_row_its_numbers_and_its_links(five):
    html = page(*five)
    rows = re.findall(r"<tr id=.*?</tr>", html, flags=re.DOTALL)
    assert len(rows) == 5
    assert (
        "+10.00 %" in rows[0]
        and ">1.00<" in rows[0]
        and 'href="report-0.ipynb"' in rows[0]
        and 'href="report-0.json"' in rows[0]
    )
    assert 'href="a%20b%23%25.html"' in rows[1]
    assert rows[2].count(">undefined<") == 2 and 'data-value=""' in rows[2]
    assert 'href="broken-failed.html"' in rows[3] and ">failed<" in rows[3]
    assert rows[4].count(">–<") == len(COLUMNS) and "href" not in rows[4]


def test_failures_are_named_at_the_top_with_their_reason(five):
    html = page(*five)
    top = html[html.index("<h1>") : html.index("<table")]
    assert "2 of 5 failed" in top and "cell 3 stopped with ValueError: &lt;b&gt;no&lt;/b&gt;" in top
    assert '<a href="broken-failed.html">broken</a>' in top and "top_n must be less" in top


def test_columns_are_the_parameters_that_vary_and_the_key_numbers(five):
    heads = re.findall(r'<th scope="col".*?</th>', page(*five))
    labels = [re.sub(r"<.*?>|\xad", "", head) for head in heads]
    assert labels == [
        "Study", "Status", "top_n", "execution_lag", "Total return", "Benchmark", "Excess return", "Volatility a year",
        "Sharpe ratio", "Max drawdown", "Mean turnover", "Days", "Files",
    ]  # fmt: skip
    assert all('aria-sort="none"><button type="button"' in head for head in heads[:-1]) and "button" not in heads[-1]


def test_look_ahead_and_simulated_data_are_marked(five, matrix):
    html = page(*five)
    assert re.findall(r'id="(study-\d)"[^>]*>\s*<th[^>]*>(?:(?!</th>).)*LOOK-AHEAD', html) == ["study-2"]
    assert "<title>[LOOK-AHEAD] m: 5 studies compared</title>" in html
    grid = matrix("parameters: {top_n: [3, 5], cost_bps: [0]}")
    simulated = page(grid, [entry(grid, position, data_kind="simulated") for position in (0, 1)])
    assert "<li>SIMULATED DATA</li>" in simulated
    assert simulated.count("SIMULATED DATA") == 2, "a mark that all studies share is not repeated in each row"
    mixed = page(grid, [entry(grid, 0, data_kind="simulated"), entry(grid, 1)])
    assert mixed.count('<span class="mark">SIMULATED DATA</span>') == 2, "in the row and at the chart"


def test_a_grid_shows_its_values_once_and_its_charts_name_them(matrix):
    grid = matrix("parameters: {top_n: [3, 5]}")
    html = page(grid, [entry(grid, position) for position in (0, 1)])
    table, charts = html[html.index("<table") : html.index("</table>")], html[html.index("</table>") :]
    assert "top_n=3" not in re.sub(r"<[^>]*>", "", table) and 'data-value="3">3</td>' in table
    assert re.findall(r"<figcaption>.*?>([^<]*)</a>", charts) == ["1: top_n=3", "2: top_n=5"]
    assert 'aria-label="top_n=3: 1 grew to 1.10' in charts


def test_the_json_file_has_the_same_content(five, tmp_path: Path):
    found, entries = five
    (tmp_path / "scratch").mkdir()
    path = write_index(found, entries, ACCOUNT, tmp_path / "scratch", tmp_path)
    assert path == tmp_path / "index.html"
    stored = json.loads((tmp_path / "index.json").read_text(encoding="utf-8"), parse_constant=pytest.fail)
    assert stored["counts"] == {"done": 2, "reused": 1, "failed": 2, "not run": 0}
    assert [study["name"] for study in stored["studies"]] == [one.name for one in entries]
    assert [study["summary"].get("sharpe_ratio") for study in stored["studies"]] == [1.0, -2.0, None, 1.0, None]
    assert stored["studies"][1]["marks"] == ["LOOK-AHEAD"]
    assert stored["studies"][3]["files"]["html"] == "broken-failed.html" and stored["studies"][4]["files"] == {}
    assert not list((tmp_path / "scratch").iterdir())


def test_an_index_that_cannot_be_written_leaves_the_old_one(five, tmp_path: Path, monkeypatch):
    (tmp_path / "scratch").mkdir()
    path = write_index(*five, ACCOUNT, tmp_path / "scratch", tmp_path)
    before = path.read_bytes()

    def full(path: Path, *arguments: object, **options: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(UnavailableError, match="No space left on device"):
        write_index(*five, ACCOUNT, tmp_path / "scratch", tmp_path)
    assert path.read_bytes() == before


def test_two_hundred_studies_are_a_page_below_5_megabytes(matrix):
    many = matrix(f"parameters: {{seed: [{', '.join(map(str, range(200)))}]}}")
    walk = np.exp(np.cumsum(np.random.default_rng(1).normal(0, 0.05, (2, 120)), axis=1)).round(6)
    days = [str(day) for day in np.datetime64("2020-01-01") + np.arange(120) * 9]
    wealth = {"date": days, "net": walk[0].tolist(), "benchmark": walk[1].tolist()}
    held = content() | {"report": content()["report"] | {"wealth": wealth}}
    entries = [entry(many, position, content=held) for position in range(200)]
    assert len(page(many, entries).encode()) < 2e6


# ---- many were tried -----------------------------------------------------------------------------------------------------


def test_the_expected_maximum_is_that_of_the_literature_and_of_a_simulation():
    # 2,000 configurations without skill over 13 months: about 3.3 a year.
    assert expected_maximum_sharpe(2000, 13 * 21) == pytest.approx(3.3, abs=0.05)
    random = np.random.default_rng(3)
    for n_trials in (5, 50):
        daily = random.normal(0, 0.01, (400, n_trials, 126))
        highest = (daily.mean(axis=2) / daily.std(axis=2, ddof=1)).max(axis=1) * np.sqrt(252)
        assert expected_maximum_sharpe(n_trials, 126) == pytest.approx(highest.mean(), rel=0.06)


def test_the_page_says_how_many_were_tried_and_what_that_is_worth(five):
    trials = to_dict(*five, ACCOUNT)["trials"]
    assert trials == {
        "n_configurations": 5,
        "best_sharpe_ratio": 1.0,
        "n_days": 250,
        "expected_maximum_sharpe_without_skill": expected_maximum_sharpe(5, 250),
    }
    note = re.search(r'<p class="wb-trials".*?</p>', page(*five))
    assert note and "5 configurations" in note[0] and f"{expected_maximum_sharpe(5, 250):.2f}" in note[0]


def test_the_same_configuration_under_two_names_is_one_trial(matrix):
    found = matrix("studies: {a: , b: {top_n: 5}}")
    entries = [entry(found, position) for position in (0, 1)]
    assert to_dict(found, entries, ACCOUNT)["trials"]["n_configurations"] == 1
    assert "wb-trials" not in re.sub(r"<style>.*?</style>", "", page(found, entries), flags=re.DOTALL)


# ---- charts --------------------------------------------------------------------------------------------------------------


def test_all_charts_share_their_axes():
    long, short = (
        content(1.0)["report"]["wealth"],
        content(-0.5, days=["2022-06-01", "2022-07-01", "2022-08-01"])["report"]["wealth"],
    )
    axes = Axes.around([long, short])
    assert (axes.low, axes.high) == (0.5, 2.0)
    points = [re.findall(r"[\d.]+ [\d.]+", path) for path in re.findall(r'd="M([^"]+)"', axes.draw("a", long))]
    assert points[1][0] == "30.0 60.0" and points[1][-1] == "236.0 6.0", "1 lies midway between 0.5 and 2"
    drawn = axes.draw("b", short)
    assert drawn.count('href="#axes"') == 1 and "114.0" in drawn, "half of it is lost: the lowest point of the scale"
    assert 'aria-label="b: 1 grew to 0.50, in the benchmark to 0.95"' in drawn


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.7, 1.3, [0.8, 1.0, 1.2]),
        (0.98, 1.02, [0.98, 0.99, 1.0, 1.01, 1.02]),
        (0.9, 2.5, [1.0, 1.5, 2.0, 2.5]),
        (0.3, 9.0, [0.5, 1.0, 2.0, 4.0, 8.0]),
        (0.001, 1000.0, [2**-8, 2**-4, 1.0, 16.0, 256.0]),
    ],
)  # fmt: skip
def test_ticks_are_few_round_and_contain_1(low: float, high: float, expected: list[float]):
    ticks = Axes(0, 1, low, high).ticks()
    assert ticks == pytest.approx(expected)


def test_without_any_returns_there_are_axes_and_no_chart(matrix):
    found = matrix("studies: {a: }")
    html = page(found, [entry(found, 0, content=content(None, None))])
    assert "no returns" in html and 'role="img"' not in html


# ---- in a browser ---------------------------------------------------------------------------------------------------------


def seen(html: str, script: str, folder: Path, width: int = 1280) -> tuple[dict[str, str], str]:
    """Lay a page out at a width, run a script in it, and return what it posted, and the browser's complaints of the policy."""
    given = re.search(r"script-src '([^']+)'", html)
    assert given
    html = html.replace(f"'{given[1]}'", f"'{given[1]}' 'nonce-test'")
    html = html.replace("</body>", f'<script nonce="test">{script}</script></body>')
    (folder / "index.html").write_text(html, encoding="utf-8")
    (folder / "frame.html").write_text(
        "<script>addEventListener('message', (e) => (document.documentElement.dataset.seen = e.data))</script>"
        f'<iframe src="index.html" style="border:0;width:{width}px;height:900px"></iframe>'
    )
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={folder / 'profile'}", (folder / "frame.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    (found,) = re.findall(r'data-seen="([^"]*)"', done.stdout)
    blocked = "\n".join(line for line in done.stderr.split("\n") if "Content Security Policy" in line)
    return dict(part.split("=") for part in found.split(";")), blocked


SORT = """
  const heads = [...document.querySelectorAll("#studies thead th")];
  const head = (label) => heads.find((one) => one.textContent.replaceAll("\\u00ad", "") === label);
  const order = () => [...document.querySelectorAll("#studies tbody tr")].map((row) => row.id.slice(-1)).join("");
  const charts = () => [...document.querySelectorAll("[data-study]")].map((one) => one.dataset.study.slice(-1)).join("");
  const notes = [`first=${order()}`];
  const click = (label, note) => {
    head(label).querySelector("button").click();
    const sorted = heads.filter((one) => one.ariaSort && one.ariaSort !== "none").length;
    notes.push(`${note}=${order()}|${charts()}|${sorted}|${head(label).ariaSort}`);
  };
  click("Sharpe ratio", "down"); click("Sharpe ratio", "up"); click("top_n", "top");
  click("Status", "status"); click("Study", "study");
  parent.postMessage(notes.join(";"), "*");"""


@needs_browser
def test_a_click_on_a_heading_sorts_rows_and_charts_and_says_so(five, tmp_path: Path):
    found, blocked = seen(page(*five), SORT, tmp_path)
    assert blocked == ""
    assert found == {
        "first": "12345",
        "down": "14235|14235|1|descending",  # equal ones in the file's order, what is undefined last
        "up": "21435|21435|1|ascending",
        "top": "41235|41235|1|descending",  # as numbers: 100, 10, 9, 8, 3
        "status": "23451|23451|1|ascending",
        "study": "54231|54231|1|ascending",
    }


@needs_browser
@pytest.mark.parametrize("width", [390, 1280])
def test_the_page_is_as_wide_as_the_screen_and_the_name_stays_in_view(five, tmp_path: Path, width: int):
    script = """
      const root = document.documentElement, scroll = document.querySelector(".wb-scroll");
      scroll.scrollLeft = 200;
      const [name, table, chart] = ["#studies tbody th", ".wb-scroll", ".wb-charts svg"]
        .map((one) => document.querySelector(one).getBoundingClientRect());
      parent.postMessage(`page=${root.clientWidth};content=${root.scrollWidth};left=${Math.round(name.left - table.left)};`
        + `chart=${Math.round(chart.width)};right=${Math.round(chart.right)}`, "*");"""
    found, _ = seen(page(*five), script, tmp_path, width)
    assert found["content"] == found["page"], "nothing makes the page scroll sideways"
    assert int(found["left"]) == 0
    assert 200 <= int(found["chart"]) and int(found["right"]) <= width


@needs_browser
def test_the_theme_can_be_changed_and_reaches_the_charts(five, tmp_path: Path):
    script = """
      const look = () => [document.body, document.querySelector("path.net"), document.querySelector(".chart-label")]
        .map((one, k) => getComputedStyle(one)[["backgroundColor", "stroke", "fill"][k]]).join("|");
      const before = look(); document.getElementById("theme-toggle").click(); const after = look();
      parent.postMessage(`before=${before};after=${after}`, "*");"""
    found, _ = seen(page(*five), script, tmp_path)
    before, after = found["before"].split("|"), found["after"].split("|")
    assert {before[0], after[0]} == {"rgb(255, 255, 255)", "rgb(20, 23, 27)"}
    assert all(old != new for old, new in zip(before, after, strict=True))
