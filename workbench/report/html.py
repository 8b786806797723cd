"""An executed notebook as one self-contained page, whose figures are drawn with the network off.

Enters: the notebook, a title, and the failure if there was one. Leaves: the text of an HTML file. nbconvert renders
cells and outputs; this module replaces plotly's JSON by placeholders, embeds plotly.js once (gzipped: a third of its
size) and wraps the page around it.
"""

from __future__ import annotations

import base64
import copy
import gzip
import hashlib
import html
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from workbench.report.failure import CellFailure

if TYPE_CHECKING:
    from nbformat import NotebookNode

PLOTLY = "application/vnd.plotly.v1+json"

# nbconvert's own rendering of cells, with the code folded away.
_CELLS_NAME = "workbench-cells.html.j2"
_CELLS = """
{%- extends 'basic/index.html.j2' -%}
{% block input_group %}<details class="code"><summary>Code</summary>{{ super() }}</details>{% endblock %}
"""


def render_html(
    notebook: NotebookNode, *, title: str, failure: CellFailure | None = None, footer: Mapping[str, Any] | None = None
) -> str:
    """Render an executed notebook.

    Parameters
    ----------
    notebook
        As papermill left it; it is not changed.
    title
        The page's title; marks in square brackets at its start ("[SIMULATED DATA] ...") become badges.
    failure
        Named at the top of the page, before everything else.
    footer
        What to say about the run at the end: label -> value.
    """
    cells, figures = _cells(notebook)
    marks, text = _split_marks(title)
    script = _asset("report.js")
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            title=text,
            marks=marks,
            failure=failure,
            contents=_contents(cells),
            cells=cells,
            footer=dict(footer or {}),
            style=_asset("report.css"),
            script=script,
            script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
            plotly=_plotly() if figures else "",
        )
    )


def _cells(notebook: NotebookNode) -> tuple[str, int]:
    """Return the HTML of all cells, and the number of figures in it."""
    from jinja2 import DictLoader
    from nbconvert.exporters import HTMLExporter

    prepared = copy.deepcopy(notebook)
    figures = 0
    for cell in prepared.cells:
        for output in cell.get("outputs", []):
            if PLOTLY in output.get("data", {}):
                figures += 1
                output["data"] = {"text/html": _placeholder(output["data"][PLOTLY], figures)}
    # papermill's own red banner says less than ours, and in words of its own.
    prepared.cells = [cell for cell in prepared.cells if not _is_banner(cell)]
    exporter = HTMLExporter(
        template_name="basic",
        template_file=_CELLS_NAME,
        extra_loaders=[DictLoader({_CELLS_NAME: _CELLS})],
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    body, _ = exporter.from_notebook_node(prepared)
    return body, figures


def _is_banner(cell: Mapping[str, Any]) -> bool:
    return bool(set(cell.get("metadata", {}).get("tags", [])) & {"papermill-error-cell-tag"})


def _placeholder(figure: Mapping[str, Any], position: int) -> str:
    """Return the place where report.js draws a figure, its data beside it."""
    title = figure.get("layout", {}).get("title", {}).get("text", f"Figure {position}")
    height = int(figure.get("layout", {}).get("height", 400))
    data = json.dumps({"data": figure["data"], "layout": figure["layout"]}, separators=(",", ":")).replace(
        "<", "\\u003c"
    )
    return (
        f'<figure class="wb-figure"><div id="figure-{position}" class="plot" role="img" aria-label="{html.escape(title)}" '
        f'style="min-height:{height}px"></div><script type="application/json">{data}</script></figure>'
    )


def _split_marks(title: str) -> tuple[list[str], str]:
    match = re.match(r"\[([^\]]*)\]\s*", title)
    return (match[1].split(", "), title[match.end() :]) if match else ([], title)


def _contents(cells: str) -> list[tuple[str, str]]:
    """Return (anchor, text) of the second-level headings."""
    found = re.findall(r'<h2 id="([^"]+)">(.*?)<a class="anchor-link"', cells, flags=re.DOTALL)
    return [(anchor, html.unescape(re.sub(r"<[^>]+>", "", text))) for anchor, text in found]


def _asset(name: str) -> str:
    return (files("workbench.report") / "assets" / name).read_text(encoding="utf-8")


@lru_cache(maxsize=1)
def _environment() -> Any:
    from jinja2 import DictLoader, Environment

    return Environment(loader=DictLoader({"page.html.j2": _asset("page.html.j2")}), autoescape=True)


@lru_cache(maxsize=1)
def _plotly() -> str:
    """Return plotly.js as it ships in the wheel, gzipped and base64-encoded.

    It is the full bundle: the smaller ones draw wrong charts silently.
    """
    source = (files("plotly") / "package_data" / "plotly.min.js").read_bytes()
    return base64.b64encode(gzip.compress(source, compresslevel=6, mtime=0)).decode("ascii")
