"""The verdict: one word by a written rule, so that nobody has to argue about it.

Enters: a StudyResult and the bootstrap intervals of its returns. Leaves: the word, the sentence behind it, and the
cautions that a reader must have seen before using the number.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass

from workbench.core.inference import Interval
from workbench.result import StudyResult, format_number

RULE = (
    "The word is “insufficient evidence” whenever the {percent} % interval of the excess return contains 0, "
    "“ahead of the benchmark” when it lies above 0, “behind the benchmark” when it lies below."
)
FEW_PERIODS = 24


@dataclass(frozen=True)
class Verdict:
    """`word` by the rule, `sentence` with the numbers, `rule` itself, `cautions` in order of weight, `tiles` (label, value, note)."""

    word: str
    sentence: str
    rule: str
    cautions: tuple[str, ...]
    tiles: tuple[tuple[str, str, str], ...]

    def __repr__(self) -> str:
        return "\n".join([f"Verdict: {self.word}", self.sentence, *(f"- {text}" for text in self.cautions), self.rule])

    def _repr_html_(self) -> str:
        tone = {"ahead of the benchmark": "good", "behind the benchmark": "bad"}.get(self.word, "open")
        cautions = "".join(f"<li>{html.escape(text)}</li>" for text in self.cautions)
        tiles = "".join(
            f'<div class="tile"><span class="label">{html.escape(label)}</span><span class="value">{html.escape(value)}</span>'
            f'<span class="note">{html.escape(note)}</span></div>'
            for label, value, note in self.tiles
        )
        return (
            f'<div class="wb-verdict {tone}"><p class="word">Verdict: <strong>{html.escape(self.word)}</strong></p>'
            f"<p>{html.escape(self.sentence)}</p>"
            + (f"<ul>{cautions}</ul>" if cautions else "")
            + f'<p class="rule">{html.escape(self.rule)}</p></div><div class="wb-tiles">{tiles}</div>'
        )


def decide(interval: Interval | None) -> str:
    """Apply the rule to the interval of the excess return; None is no interval at all."""
    if interval is None or interval.low <= 0 <= interval.high:
        return "insufficient evidence"
    return "ahead of the benchmark" if interval.low > 0 else "behind the benchmark"


def verdict(result: StudyResult, intervals: Mapping[str, Interval]) -> Verdict:
    """Judge a study.

    Parameters
    ----------
    result
        The study.
    intervals
        What `bootstrap_intervals` gave for its net returns; empty where there are too few days.
    """
    summary, excess = result.summary, intervals.get("excess_return")
    benchmark = result.provenance["benchmark"]
    percent = f"{100 * (excess.confidence if excess else 0.95):g}"
    if summary["n_days"] == 0:
        sentence = "No rebalance could be traded, so there is no return to judge."
    else:
        sentence = (
            f"After costs the portfolio returned {number(result, 'total_return')} and {benchmark} "
            f"{number(result, 'benchmark_total_return')}, a difference of "
            f"{points(summary['excess_return'])}"
        )
        sentence += f" ({percent} % interval {span(excess, 'pp')})." if excess else "; too few days for an interval."
    return Verdict(
        word=decide(excess),
        sentence=sentence,
        rule=RULE.format(percent=percent),
        cautions=tuple(_cautions(result)),
        tiles=_tiles(result, intervals),
    )


def number(result: StudyResult, name: str) -> str:
    """Write one of the summary's numbers for people."""
    return format_number(name, result.summary[name])


def points(value: float | None) -> str:
    """Write a difference of two fractions in percentage points."""
    return "undefined" if value is None else f"{100 * value:+.1f} pp"


def span(interval: Interval | None, unit: str = "%") -> str:
    """Write an interval of fractions as "low to high", in per cent or percentage points ("pp"); an empty text for none."""
    if interval is None:
        return ""
    return f"{100 * interval.low:+.1f} to {100 * interval.high:+.1f} {unit}"


def _cautions(result: StudyResult) -> list[str]:
    summary, config = result.summary, result.config
    texts = []
    if config.look_ahead:
        texts.append(
            "LOOK-AHEAD: with execution_lag = 0 the trade comes before the signal is complete. Nobody could have earned these returns."
        )
    if result.provenance["data_kind"] != "real":
        texts.append(f"The data is {result.provenance['data_kind']}: these figures say nothing about any real stock.")
    if config.cost_bps == 0:
        texts.append("Trading is assumed to be free (cost_bps = 0).")
    if 0 < summary["n_periods"] < FEW_PERIODS:
        texts.append(
            f"{summary['n_periods']} rebalances are few: fewer than {FEW_PERIODS} seldom tell skill from luck."
        )
    kinds = result.losses["kind"].value_counts()
    unpriced = int(kinds.get("no_price_at_trade", 0))
    if unpriced:
        texts.append(f"{unpriced} selected positions could not be bought for want of a price; see “What was left out”.")
    if kinds.get("weights_fallback", 0):
        texts.append(f"{kinds['weights_fallback']} periods fell back to equal weights; see “What was left out”.")
    return texts


def _tiles(result: StudyResult, intervals: Mapping[str, Interval]) -> tuple[tuple[str, str, str], ...]:
    summary, benchmark = result.summary, result.provenance["benchmark"]
    days = f"{summary['first_date']} to {summary['last_date']}" if summary["n_days"] else "no day"
    difference = points(summary["excess_return"])
    return (
        ("Portfolio, after costs", number(result, "total_return"), days),
        (benchmark, number(result, "benchmark_total_return"), "bought once and held"),
        ("Difference", difference, span(intervals.get("excess_return"), "pp")),
        ("Sharpe ratio", number(result, "sharpe_ratio"), f"{benchmark} {number(result, 'benchmark_sharpe_ratio')}"),
        ("Deepest fall", number(result, "max_drawdown"), f"{benchmark} {number(result, 'benchmark_max_drawdown')}"),
    )
