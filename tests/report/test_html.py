"""The page is self-contained, draws its figures with the network off, and cannot be made to run what a table contains."""

import re
import shutil
import subprocess
from pathlib import Path

import nbformat
import pytest

from workbench.report.failure import CellFailure
from workbench.report.html import render_html

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def page() -> str:
    notebook = nbformat.read(NOTEBOOKS / "portfolio_report.ipynb", as_version=4)
    return render_html(notebook, title="[SIMULATED DATA] A study", footer={"Duration": "2 s"})


def test_nothing_is_loaded_from_outside(page: str) -> None:
    for tag in re.findall(r"<(?:script|link|img|iframe|source|object|embed)\b[^>]*>", page):
        assert not re.search(r"""(?:src|href|data)\s*=\s*["']?\s*(?:https?:)?//""", tag), tag
    assert "default-src 'none'" in page
    assert not re.search(r"@import|url\(\s*['\"]?https?:", page[: page.index("<body")])


def test_every_figure_of_the_notebook_has_its_place(page: str) -> None:
    notebook = nbformat.read(NOTEBOOKS / "portfolio_report.ipynb", as_version=4)
    figures = sum(
        "application/vnd.plotly.v1+json" in output.get("data", {})
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )
    assert figures >= 5
    places = re.findall(r'<div [^>]*class="plot"[^>]*>', page)
    assert len(places) == figures
    assert all('role="img"' in place and re.search(r'aria-label="\w[^"]+"', place) for place in places)
    assert page.count('id="plotly-gz"') == 1


def test_the_page_has_one_title_its_marks_and_its_contents(page: str) -> None:
    assert len(re.findall(r"<h1\b", page)) == 1
    assert "<title>[SIMULATED DATA] A study</title>" in page
    assert "<li>SIMULATED DATA</li>" in page
    assert 'href="#The-verdict"' in page
    assert 'lang="en"' in page


def test_a_failure_stands_at_the_top() -> None:
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# A question")])
    failure = CellFailure(cell=3, heading="Growth <now>", error_name="ValueError", message="no <b>such</b> thing")
    text = render_html(notebook, title="A study", failure=failure)
    assert text.index("ValueError") < text.index("A question")
    assert "Cell 3" in text
    assert "no &lt;b&gt;such&lt;/b&gt; thing" in text
    assert "plotly-gz" not in text.replace('getElementById("plotly-gz")', "")


def test_text_of_a_table_cannot_close_the_data_of_a_figure() -> None:
    figure = {
        "data": [{"name": "</script><script>alert(1)</script><!--<script>"}],
        "layout": {"title": {"text": '"><b>x'}},
    }
    output = nbformat.v4.new_output("display_data", data={"application/vnd.plotly.v1+json": figure})
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=[output])])
    text = render_html(notebook, title="A study")
    assert "</script><script>alert" not in text
    # "<!--" followed by "<script" would make a browser look for two closing tags.
    assert "<!--<script" not in text
    assert "<b>x" not in text


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: figures are not drawn")
def test_figures_are_drawn_with_the_network_off(page: str, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text(page, encoding="utf-8")
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
        "--proxy-server=127.0.0.1:9", f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=20000",
        "--enable-logging=stderr", "--window-size=1280,2000", "--dump-dom", (tmp_path / "report.html").as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    figures = len(re.findall(r'id="figure-\d+"', page))
    assert f'data-figures="{figures}"' in done.stdout
    assert len(re.findall(r'<g class="cartesianlayer">', done.stdout)) == figures
    # A line that is drawn has a path; an empty one would pass the counts above.
    assert len(re.findall(r'class="js-line" [^>]*d="M', done.stdout)) >= 5
    blocked = [line for line in done.stderr.split("\n") if "Content Security Policy" in line]
    assert blocked == []
