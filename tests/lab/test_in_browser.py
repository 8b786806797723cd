"""A real JupyterLab in a real browser: the notebooks run, their figures are on the screen, the form works."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from labs import RunningLab, running_lab

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (apt install chromium)")

SECONDS = 60_000
# The last cell of each notebook is one of code.
LAST_RAN = r"""() => {
    const cells = [...document.querySelectorAll('.jp-Notebook .jp-Cell')];
    const last = cells.reduce((a, b) => +a.dataset.windowedListIndex > +b.dataset.windowedListIndex ? a : b);
    return /^\[\d+\]:$/.test(last.querySelector('.jp-InputPrompt').textContent.trim());
}"""
STATUS = "document.querySelector('.jp-Notebook-ExecutionIndicator').dataset.status"
# Lab keeps in the page what is near the screen, and nothing else.
SCROLL = (
    "share => { const e = document.querySelector('.jp-WindowedPanel-outer'); e.scrollTop = share * e.scrollHeight }"
)
ERRORS = '[data-mime-type="application/vnd.jupyter.error"], [data-mime-type="application/vnd.jupyter.stderr"]'


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    folder = tmp_path_factory.mktemp("lab")
    with running_lab(folder / "home", folder, "--no-ray", "work") as running:  # copies: the checkout stays as it is
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


class Page:
    """A notebook in Lab."""

    def __init__(self, browser: Any, lab: RunningLab, name: str) -> None:
        self.page = browser.new_page(viewport={"width": 1400, "height": 1000})
        self.page.set_default_timeout(SECONDS)
        self.complaints: list[str] = []
        self.page.on(
            "console", lambda message: self.complaints.append(message.text) if message.type == "error" else None
        )
        self.page.goto(f"{lab.url}/lab/workspaces/{name}/tree/{name}.ipynb?token={lab.token}")
        self.page.locator(".jp-NotebookPanel .jp-Cell").first.wait_for()
        self.page.wait_for_function(f"{STATUS} === 'idle'")
        self.page.wait_for_timeout(1000)  # the menus are filled a little later

    def run_all(self) -> None:
        """Run all cells, and wait until the last one has."""
        self.menu("Edit", "Clear Outputs of All Cells")
        self.menu("Run", "Run All Cells")
        self.page.evaluate(SCROLL, 1)
        self.page.wait_for_function(LAST_RAN)

    def menu(self, name: str, item: str) -> None:
        self.page.locator(".lm-MenuBar-item", has_text=name).first.click()
        self.page.locator(".lm-Menu-item", has_text=item).first.click()

    def bring(self, selector: str) -> Any:
        """Scroll through the notebook until an element is in the page, and return it."""
        for step in range(60):
            found = self.page.locator(selector)
            if found.count() and found.first.is_visible():  # Lab keeps some that it does not show
                found.first.scroll_into_view_if_needed()
                return found
            self.page.evaluate(SCROLL, step / 60)
            self.page.wait_for_timeout(100)
        raise AssertionError(f"no {selector} in the notebook")

    def control(self, name: str) -> Any:
        """Return the input of a widget by its description."""
        label = self.page.locator(".widget-label", has_text=name).first
        return self.page.locator(".jupyter-widgets", has=label).last.locator("input")

    def each_screen(self) -> Iterator[None]:
        """Go through the notebook from top to bottom."""
        for step in range(25):
            self.page.evaluate(SCROLL, step / 24)
            self.page.wait_for_timeout(80)
            yield


def test_a_notebook_runs_and_its_figures_are_on_the_screen(lab: RunningLab, browser: Any) -> None:
    notebook = Page(browser, lab, "03_backtest")
    notebook.run_all()
    figure = notebook.bring(".js-plotly-plot .main-svg .scatterlayer .trace")
    assert figure.count() == 3  # before costs, benchmark, after costs
    box = figure.last.bounding_box()
    assert box["width"] > 300 and box["height"] > 50
    for _ in notebook.each_screen():
        assert notebook.page.locator(ERRORS).count() == 0
    assert notebook.page.locator(".Toastify__toast, .jp-toast").count() == 0  # nothing pops up: no news, no build
    assert notebook.complaints == []
    notebook.page.close()


def test_the_form_runs_and_redraws(lab: RunningLab, browser: Any) -> None:
    from playwright.sync_api import expect

    notebook = Page(browser, lab, "02_signal")
    notebook.run_all()
    assert notebook.bring(".js-plotly-plot .main-svg").count() > 0
    button = notebook.bring(".workbench-form button.widget-button")
    page = notebook.page
    form = page.locator(".workbench-form")
    line = form.locator(".scatterlayer .trace path.js-line").last
    expect(form).to_contain_text("Top 5 by engagement_ratio")
    expect(form.locator(".js-plotly-plot")).to_have_count(2)  # growth and drawdown
    before = line.get_attribute("d")

    slider = form.locator(".widget-slider .widget-readout")
    slider.fill("3")
    slider.press("Enter")
    expect(form).to_contain_text("changed: press Run")
    button.click()
    expect(form).to_contain_text("StudyConfig(top_n=3); 2 configurations tried here")
    expect(form).to_contain_text("Top 3 by engagement_ratio")
    expect(form).not_to_contain_text("Top 5 by engagement_ratio")
    expect(line).not_to_have_attribute("d", before)

    # What cannot be run is said in one line, and the last result stays.
    rate = notebook.control("risk_free_rate")
    rate.fill("-0.5")
    rate.press("Enter")
    button.click()
    expect(form).to_contain_text("risk_free_rate must be above -0.5, got -0.5")
    expect(form).to_contain_text("Top 3 by engagement_ratio")

    # Later cells have the configuration that was run.
    cell = notebook.bring('.jp-CodeCell:has-text("form.code()")').last
    cell.locator(".cm-content").click()
    page.keyboard.press("Shift+Enter")
    expect(cell).to_contain_text("config = StudyConfig(top_n=3)")
    assert page.locator(ERRORS).count() == 0
    assert notebook.complaints == []
    page.close()


def test_a_sweep_shows_a_bar(lab: RunningLab, browser: Any) -> None:
    from playwright.sync_api import expect

    notebook = Page(browser, lab, "04_parameter_sweep")
    notebook.run_all()
    around = notebook.bring(".jp-OutputArea .widget-hprogress").locator("..")
    expect(around).to_contain_text("sweep: 100%")
    expect(around).to_contain_text("1600/1600")
    expect(around).to_contain_text("configurations/s")
    notebook.page.close()
