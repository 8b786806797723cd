"""The text form: counts have units, names are named, and what waits says for which day."""

from __future__ import annotations

import pandas as pd
import pytest
from small_market import prices_frame, sentiment_frame

from workbench import StudyConfig, load_market, run_study
from workbench.losses import KINDS, UNITS
from workbench.report import tables
from workbench.report.text import study_text, warnings
from workbench.result import StudyResult


def study(last_price: str = "2022-06-30", last_row: str = "2022-04-30", **knobs: object) -> StudyResult:
    posts, closes = sentiment_frame(), prices_frame()
    market = load_market(posts[posts["date"] <= last_row], closes[closes["date"] <= last_price])
    return run_study(StudyConfig(top_n=2, **knobs), market)  # type: ignore[arg-type]


def left_out(result: StudyResult) -> dict[str, str]:
    """Return the lines on what was left out, by kind, those of one kind joined."""
    lines = study_text(result.to_dict()).split("\n")
    start = next(number for number, line in enumerate(lines) if line.startswith("left out"))
    found: dict[str, str] = {}
    for line in lines[start + 1 :]:
        if not line:
            break
        assert len(line) <= 100
        if line[2] != " ":
            kind = line.split()[0]
            found[kind] = ""
        found[kind] += " " + line
    return {kind: " ".join(text.split()) for kind, text in found.items()}


def test_counts_have_their_unit_and_entries_are_counted_by_themselves() -> None:
    result = study(last_price="2022-04-28", last_row="2022-04-12", min_likes=500)
    lines = left_out(result)
    rows = result.losses.loc[result.losses["kind"] == "below_threshold", "count"].sum()
    assert lines["below_threshold"] == f"below_threshold 4 {rows:,} rows {KINDS['below_threshold']}"
    assert lines["partial_period"] == f"partial_period 1 12 days with rows {KINDS['partial_period']}"
    assert lines["no_trading_day_after"] == f"no_trading_day_after 1 2 symbols {KINDS['no_trading_day_after']}"


def test_a_kind_without_a_unit_has_no_count() -> None:
    result = study(min_likes=10**9)
    assert "no_selection" not in UNITS
    assert left_out(result)["no_selection"] == f"no_selection 4 {KINDS['no_selection']}"


def test_names_in_exclude_are_named_however_many() -> None:
    unknown = [f"X{k}" for k in range(9)]
    lines = left_out(study(exclude=["AAA", *unknown]))
    assert lines["excluded"].endswith(": AAA") and lines["excluded"].startswith("excluded 1 4 periods")
    assert lines["exclude_unknown"] == f"exclude_unknown 9 {KINDS['exclude_unknown']}: {', '.join(unknown)}"


def test_one_is_singular() -> None:
    closes = prices_frame()
    closes.loc[closes["date"] == "2022-03-15", ["AAA", "BBB", "CCC", "NA"]] = None
    result = run_study(StudyConfig(top_n=1), load_market(sentiment_frame(), closes))
    assert left_out(result)["no_price_while_held"].startswith("no_price_while_held 1 1 day ")


@pytest.mark.parametrize(
    ("last_price", "lag", "day"),
    [
        ("2022-04-28", 1, "trading day 1 after the period's last"),
        ("2022-05-03", 5, "trading day 5 after the period's last"),
        ("2022-04-28", 0, "the period's last trading day"),
        ("2022-05-02", 1, "2022-05-02"),
    ],
)
def test_what_waits_says_when_it_is_to_be_traded(last_price: str, lag: int, day: str) -> None:
    result = study(last_price, execution_lag=lag)
    (item,) = result.pending
    shown = tables.pending(result).frame["Trade at the close of"].tolist()
    if item["trade_date"] is None:
        assert shown == [day]
    text = study_text(result.to_dict())
    assert f"pending: 2022-04 (signal complete 2022-04-30)\n  to be traded at the close of {day}\n" in text


def test_cash_that_waits_is_said() -> None:
    text = study_text(study("2022-04-28", max_weight=0.3).to_dict())
    assert " 30.0%, cash 40.0%\n" in text


def test_only_what_is_likely_a_mistake_is_warned_of() -> None:
    assert list(warnings(study(exclude=["AAA"], min_likes=500).to_dict())) == []
    (line,) = warnings(study(exclude=["AAAA"]).to_dict())
    assert line.startswith("AAAA: ") and line.endswith("did you mean AAA?")
    assert isinstance(study().losses, pd.DataFrame)
