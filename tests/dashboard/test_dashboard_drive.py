"""The dashboard as people use it: a real browser, a real dashboard, a real API."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from doors import Dashboard
from processes import until
from served import Served, serving
from small_home import make_home, register

from workbench import StudyConfig, load_market, run_study
from workbench.dashboard.text import number

playwright = pytest.importorskip("playwright.sync_api", reason="the browser is driven by playwright")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on the PATH")

TILES = {
    "Total return": "total_return",
    "Excess return": "excess_return",
    "Volatility, a year": "annualized_volatility",
    "Sharpe ratio": "sharpe_ratio",
    "Max drawdown": "max_drawdown",
    "Mean turnover": "mean_turnover",
    "Rebalances": "n_periods",
}
SECONDS = 45_000  # milliseconds that a step may take on a busy machine


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("doors")


@pytest.fixture(scope="module")
def api(folder: Path) -> Iterator[Served]:
    with serving(folder, home=make_home(folder)) as server:
        yield server


@pytest.fixture(scope="module")
def dashboard(api: Served, folder: Path) -> Iterator[Dashboard]:
    door = Dashboard(api.url, folder / "dashboard.log")
    door.wait_for_answer()
    yield door
    assert door.stop() == 0
    assert "Traceback" not in door.log.read_text()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """Give a page that may ask nobody but this machine, and on which no exception may ever be seen."""
    shown = browser.new_page(viewport={"width": 1280, "height": 900})
    elsewhere: list[str] = []
    shown.on("request", lambda request: elsewhere.append(request.url) if _is_elsewhere(request.url) else None)
    shown.set_default_timeout(SECONDS)
    playwright.expect.set_options(timeout=SECONDS)
    yield shown
    assert shown.locator(".stException").count() == 0
    assert "Traceback" not in shown.locator("body").inner_text()
    assert elsewhere == []
    shown.close()


def _is_elsewhere(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:", "about:"))


def shown_study(page: Any) -> dict[str, Any]:
    """Return the object in the technical details."""
    page.get_by_text("Technical details").click()
    code = page.get_by_test_id("stExpander").filter(has_text="Technical details").locator("code").last
    playwright.expect(code).to_contain_text('"provenance"')
    study: dict[str, Any] = json.loads(code.text_content())
    return study


def shown_tiles(page: Any) -> dict[str, str]:
    """Return the key numbers as they stand there."""
    tiles = {}
    for tile in page.get_by_test_id("stMetric").all():
        label, value = (tile.get_by_test_id(f"stMetric{part}").inner_text() for part in ("Label", "Value"))
        tiles[label.strip()] = value.strip()
    return tiles


def expect_tiles(page: Any, summary: dict[str, Any]) -> None:
    """Wait until the key numbers are those of a summary."""
    expected = {label: number(name, summary[name]) for label, name in TILES.items()}
    with contextlib.suppress(AssertionError):
        until(lambda: shown_tiles(page) == expected, 30)
    assert shown_tiles(page) == expected


def run_form(page: Any, button: str) -> None:
    page.get_by_role("button", name=button).click()


def test_every_tab_does_its_work_and_a_study_is_the_same_as_in_process(
    page: Any, api: Served, dashboard: Dashboard, folder: Path
):
    expect = playwright.expect
    page.goto(dashboard.url)
    expect(page.get_by_text("SIMULATED DATA")).to_have_count(1)
    expect(page.get_by_text("then press Run.")).to_be_visible()

    # A shared address restores a view and runs it.
    page.goto(f"{dashboard.url}/?dataset=small&top_n=2&cost_bps=25.0")
    expect(page.get_by_text("Top 2 by engagement_ratio")).to_be_visible()
    expect(page.get_by_text("SIMULATED DATA")).to_have_count(0)
    fields = {"dataset": "small", "top_n": 2, "cost_bps": 25.0}
    answer = httpx.post(f"{api.url}/portfolio/analyze", json=fields, timeout=30).json()
    market = load_market(folder / "operator" / "posts.csv", folder / "operator" / "closes.csv")
    here = run_study(StudyConfig(top_n=2, cost_bps=25.0), market)
    expect_tiles(page, answer["study"]["summary"])
    assert answer["analysis"]["total_portfolio_return"] == here.summary["total_return"]
    study = shown_study(page)
    assert study["summary"] == answer["study"]["summary"] == here.summary
    assert study["weights"] == here.weights and study["losses"] == here.to_dict()["losses"]
    assert page.locator(".js-plotly-plot").count() >= 3

    # A knob in the form changes the numbers and the address.
    page.get_by_label("Top n", exact=True).fill("3")
    run_form(page, "Run")
    expect(page.get_by_text("Top 3 by engagement_ratio")).to_be_visible()
    page.wait_for_url("**top_n=3*")
    expect_tiles(page, run_study(StudyConfig(top_n=3, cost_bps=25.0), market).summary)

    _stocks(page)
    _sweep(page)
    _report(page)
    _system(page)


def _stocks(page: Any) -> None:
    expect = playwright.expect
    page.get_by_role("tab", name="Stock analysis").click()
    expect(page.get_by_text("Name symbols of the price table, then press Run.")).to_be_visible()
    run_form(page, "Run")
    expect(page.get_by_text("symbols must name at least one symbol, got none")).to_be_visible()
    page.get_by_label("Symbols", exact=True).fill("AAA, NA, ZZZ")
    run_form(page, "Run")
    row = page.locator("table.wb tr").filter(has_text="ZZZ")
    expect(row).to_contain_text("–")
    expect(page.locator("table.wb tr").filter(has_text="AAA")).to_contain_text("%")
    expect(page.get_by_text("Risk and return")).to_be_visible()
    page.get_by_label("Benchmark", exact=True).fill("BBB")
    page.get_by_label("Benchmark", exact=True).press("Enter")
    expect(page.get_by_text("The symbols or the data have changed since; press Run for their numbers.")).to_be_visible()
    page.get_by_label("Benchmark", exact=True).fill("")
    page.get_by_label("Benchmark", exact=True).press("Enter")
    expect(page.get_by_text("have changed since")).to_have_count(0)
    expect(row).to_contain_text("–")


def _sweep(page: Any) -> None:
    expect = playwright.expect
    page.get_by_role("tab", name="Sweep").click()
    page.get_by_text("Any grid, as text").click()
    grid = page.get_by_label("Grid", exact=True)
    grid.fill("top_n=1,x")
    run_form(page, "Run the sweep")
    expect(page.get_by_test_id("stAlert")).to_have_count(1)
    expect(page.get_by_test_id("stAlert")).to_contain_text("top_n must be a whole number, got 'x'")
    grid.fill("top_n=1,2,3; cost_bps=0,25")
    run_form(page, "Run the sweep")
    expect(page.get_by_text("6 configurations were tried")).to_be_visible()
    expect(page.locator("table.wb tr.strong")).to_contain_text("as chosen")
    expect(page.locator("table.wb tr").filter(has_text="25 → 0")).to_contain_text("%")
    grid.fill("execution_lag=0,1")
    run_form(page, "Run the sweep")
    expect(page.get_by_text("2 configurations were tried")).to_contain_text("The sweeps of this session tried 8.")
    expect(page.get_by_test_id("stAlert").filter(has_text="LOOK-AHEAD")).to_have_count(1)
    page.wait_for_url("**grid=execution_lag*")
    assert "sweep=" in page.url


def _report(page: Any) -> None:
    expect = playwright.expect
    page.get_by_role("tab", name="Reports").click()
    run_form(page, "Make the report")
    expect(page.get_by_role("button", name="Cancel")).to_be_visible()
    expect(page.get_by_role("button", name="Download ipynb")).to_be_visible()
    report = page.frame_locator('iframe[data-testid="stIFrame"]').frame_locator('iframe[title="report"]')
    expect(report.get_by_role("heading", name="The verdict")).to_be_visible()
    expect(report.locator(".js-plotly-plot").first).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("button", name="Download html").click()
    assert download.value.suggested_filename.endswith(".html")
    job = page.url.partition("report=")[2][:16]
    page.goto(f"{page.url.partition('?')[0]}?tab=sweep&sweep={job}")
    expect(page.get_by_text(f"{job} is the id of a report; it is in the tab Reports")).to_be_visible()


def _system(page: Any) -> None:
    expect = playwright.expect
    page.get_by_role("tab", name="System").click()
    expect(page.get_by_test_id("stMetric").filter(has_text="Health")).to_contain_text("healthy")
    until(lambda: shown_tiles(page).get("Engine") == "uvicorn", 30.0)
    run_form(page, "Clear the cache")
    expect(page.get_by_text("answers forgotten")).to_be_visible()
    until(lambda: shown_tiles(page).get("Cached answers") == "0", 30.0)  # the page is drawn piece by piece


def test_what_is_wrong_with_an_address_or_a_study_is_said_and_the_page_works(page: Any, dashboard: Dashboard):
    expect = playwright.expect
    page.goto(f"{dashboard.url}/?dataset=small&top_n=0&benchmark=!%5Bx%5D(http%3A%2F%2Fx.invalid%2Fx.png)")
    expect(page.get_by_text("In the address: top_n must be at least 1, got 0; it is left out")).to_be_visible()
    # The benchmark is none: the API's own line, in which nothing became a picture, or a link that hides where it leads.
    expect(page.get_by_test_id("stAlert").filter(has_text="![x](http://x.invalid/x.png)")).to_be_visible()
    assert page.locator("img[src*='x.invalid']").count() == 0
    assert page.get_by_test_id("stMetric").count() == 0
    page.set_viewport_size({"width": 800, "height": 700})
    expect(page.get_by_role("button", name="Run", exact=True)).to_be_visible()


def test_a_sweep_can_be_cancelled_and_one_that_failed_says_why(page: Any, dashboard: Dashboard):
    expect = playwright.expect
    # An optimiser's sweep of the larger market takes minutes.
    page.goto(f"{dashboard.url}/?tab=sweep&weighting=min_variance&grid=min_likes%3D0..9999")
    run_form(page, "Run the sweep")
    run_form(page, "Cancel")
    expect(page.get_by_text("was cancelled")).to_be_visible()
    page.goto(f"{dashboard.url}/?tab=sweep&sweep=0123456789abcdef")
    expect(page.get_by_test_id("stAlert").filter(has_text="job")).to_have_count(1)
    page.goto(f"{dashboard.url}/?tab=sweep&dataset=small&grid=top_n%3D8,9")
    run_form(page, "Run the sweep")
    expect(page.get_by_text("top_n must be between 1 and 4 (symbols in the table), got 8")).to_be_visible()


@pytest.mark.real
def test_on_the_real_data_the_dashboard_shows_the_summary_of_run_study(
    page: Any, dashboard: Dashboard, folder: Path, real_data: Path
):
    register(folder / "home", "real", real_data / "sentiment_data.csv", real_data / "prices.csv.gz")
    page.goto(f"{dashboard.url}/?dataset=real")
    playwright.expect(page.get_by_text("The published figures, and what is right")).to_be_visible()
    here = run_study(StudyConfig(), load_market(real_data / "sentiment_data.csv", real_data / "prices.csv.gz"))
    expect_tiles(page, here.summary)
    study = shown_study(page)
    assert study["summary"] == here.summary
    assert study["published"]["published"]["unique_stocks_analyzed"] == 34


def test_without_the_api_there_is_one_message_and_it_comes_back(page: Any, folder: Path):
    expect = playwright.expect
    (folder / "other").mkdir()
    first = Served(folder / "other", home=make_home(folder / "other"))
    door = Dashboard(first.url, folder / "other-dashboard.log")
    try:
        first.wait_for_answer()
        door.wait_for_answer()
        page.goto(f"{door.url}/?dataset=small&top_n=2")
        expect(page.get_by_text("Top 2 by engagement_ratio")).to_be_visible()
        first.end()
        run_form(page, "Run")
        expect(page.get_by_test_id("stAlert")).to_have_count(1)
        expect(page.get_by_test_id("stAlert")).to_contain_text(
            f"no API answers at {first.url}; start one with: workbench serve"
        )
        assert page.get_by_role("tab").count() == 0
        run_form(page, "Retry")
        expect(page.get_by_test_id("stAlert")).to_have_count(1)
        first.start()
        run_form(page, "Retry")
        expect(page.get_by_text("Top 2 by engagement_ratio")).to_be_visible()
        expect(page.get_by_role("tab")).to_have_count(5)
        assert "Traceback" not in door.log.read_text()
    finally:
        first.process.kill()
        door.process.kill()
        door.process.wait()
