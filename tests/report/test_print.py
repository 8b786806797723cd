"""On paper nothing is cut off, folded or dark; on a phone the words of a table's caption stay in view."""

from __future__ import annotations

import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import nbformat
import pandas as pd
import pytest

from workbench.report.html import render_html
from workbench.report.table import Table

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--proxy-server=127.0.0.1:9",
    "--virtual-time-budget=15000",
]  # fmt: skip
FIGURE = {
    "data": [{"type": "scatter", "x": [1, 2], "y": [1, 3]}],
    "layout": {"title": {"text": "A line"}, "font": {"size": 13}},
}
LIGHT, DARK = "rgb(255, 255, 255)", "rgb(20, 23, 27)"
CAPTION = "a caption of many words " * 8

needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: nothing is laid out")


def page() -> str:
    """Return a page with a wide table, a long folded one and a figure."""
    words = {f"Column {k}": ["some words that wrap", "x" * 60] for k in range(9)}
    wide = Table(pd.DataFrame(words | {"Day": ["2022-01-31", "2022-02-28"]}), CAPTION, tuple(words))
    long = Table(pd.DataFrame({"Row": range(400), "Value": range(400)}), "Long", folded=True)
    outputs = [{"text/html": table._repr_html_()} for table in (wide, long)]
    outputs.append({"application/vnd.plotly.v1+json": FIGURE})
    cells = [nbformat.v4.new_markdown_cell("# A question\n\n## A heading\n\nIts words.")]
    for data in outputs:
        cells.append(nbformat.v4.new_code_cell("1", outputs=[nbformat.v4.new_output("display_data", data=data)]))
    return render_html(nbformat.v4.new_notebook(cells=cells), title="A study")


def seen(html: str, script: str, folder: Path, width: int) -> dict[str, str]:
    """Lay a page out at a width, run a script in it once its figure is drawn, and return what that noted in `data-seen-*`."""
    html = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", html)
    wait = f"setTimeout(function go() {{ if (!root.dataset.figures) return setTimeout(go, 50); {script} }}, 50)"
    html = html.replace("</body>", f"<script>const root = document.documentElement; {wait}</script></body>")
    (folder / "page.html").write_text(html, encoding="utf-8")
    # A window has a least width, a frame has not.
    (folder / "frame.html").write_text(
        "<script>addEventListener('message', (e) => (document.documentElement.dataset.seen = e.data))</script>"
        f'<iframe src="page.html" style="border:0;width:{width}px;height:900px"></iframe>'
    )
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={folder / 'profile'}", "--window-size=1400,1000", "--dump-dom"]
    command.append((folder / "frame.html").as_uri())
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    (found,) = re.findall(r'data-seen="([^"]*)"', done.stdout)
    return dict(part.split("=") for part in found.split(";"))


def test_every_dark_colour_is_for_the_screen_only() -> None:
    html = page()
    lines = html[html.index("<style>") : html.index("</style>")].splitlines()
    dark = [above for above, line in pairwise(lines) if "--paper: #14171b" in line]
    assert len(dark) == 2 and all(line.startswith("@media screen") for line in dark)


def test_without_javascript_nothing_untrue_is_promised() -> None:
    (text,) = re.findall(r"<noscript><p>(.*?)</p></noscript>", page())
    assert "every figure's numbers" not in text and "JavaScript" in text


@needs_browser
def test_a_table_wider_than_paper_fits_on_it(tmp_path: Path) -> None:
    printed = page().replace("@media screen", "@media not all").replace("@media print", "@media all")
    script = """
      const wide = document.querySelector(".wb-scroll");
      parent.postMessage(`page=${root.clientWidth};content=${root.scrollWidth};overflow=${getComputedStyle(wide).overflowX};`
        + `head=${getComputedStyle(document.querySelector("thead")).display}`, "*");"""
    found = seen(printed, script, tmp_path, 703)
    assert found["overflow"] == "visible" and found["head"] == "table-header-group"
    assert int(found["content"]) <= int(found["page"])


@needs_browser
def test_before_print_all_is_open_light_and_as_wide_as_paper_and_afterwards_as_it_was(tmp_path: Path) -> None:
    script = """
      const state = () => [document.querySelectorAll("details.wb-fold[open]").length, getComputedStyle(document.body).backgroundColor,
        document.querySelector(".main-svg").getAttribute("width"), root.dataset.theme].join("|");
      document.getElementById("theme-toggle").click();
      if (root.dataset.theme !== "dark") document.getElementById("theme-toggle").click();
      const before = state(); dispatchEvent(new Event("beforeprint")); const during = state();
      dispatchEvent(new Event("afterprint"));
      parent.postMessage(`before=${before};during=${during};after=${state()}`, "*");"""
    found = seen(page(), script, tmp_path, 1280)
    assert found["before"].split("|")[:2] == ["0", DARK]
    assert found["during"] == f"1|{LIGHT}|690|light"
    assert found["after"] == found["before"]


@needs_browser
@pytest.mark.parametrize("width", [400, 500])
def test_a_caption_wraps_within_a_phone_while_its_table_scrolls(tmp_path: Path, width: int) -> None:
    script = """
      const scroll = document.querySelector(".wb-scroll"), caption = scroll.querySelector("caption").getBoundingClientRect();
      parent.postMessage(`right=${Math.ceil(caption.right)};page=${root.clientWidth};content=${root.scrollWidth};`
        + `scrolls=${scroll.scrollWidth > scroll.clientWidth}`, "*");"""
    found = seen(page(), script, tmp_path, width)
    assert found["scrolls"] == "true"
    assert int(found["right"]) <= int(found["page"]) and found["content"] == found["page"]


@needs_browser
def test_a_folded_table_is_printed_in_full_on_a4(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(page(), encoding="utf-8")
    command = [str(CHROMIUM), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", f"--print-to-pdf={tmp_path / 'x.pdf'}"]
    subprocess.run([*command, (tmp_path / "page.html").as_uri()], capture_output=True, timeout=120, check=True)
    pdf = (tmp_path / "x.pdf").read_bytes()
    assert len(re.findall(rb"/Type /Page\b", pdf)) >= 6  # 400 rows
    sizes = {tuple(round(float(n)) for n in box.split()) for box in re.findall(rb"/MediaBox \[([^\]]*)\]", pdf)}
    assert sizes == {(0, 0, 595, 842)}
