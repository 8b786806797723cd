"""A plain-loop reference of METHOD.md, for tests to hold the engine against.

Written from the page alone, without a look at the engine, and as dumb as possible: dicts, lists, loops, `math.fsum`.
Nothing here is fast and nothing is shared with `workbench`, so an error would have to be made twice, independently, to
go unseen.

Enters: sentiment rows as dicts, prices as {symbol: {day: price}}, the benchmark's name, knobs as a dict. Leaves: a
`Reference`. Only the models behind optimised weights are not written a second time here: they are handed in, and what
they are shown (whose returns, over which days) is the reference's own.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import pairwise
from typing import Any

Row = dict[str, Any]
Prices = dict[str, dict[date, float]]
# (weighting, a list of returns per day, highest weight, daily risk-free rate) -> weights, or None: no answer
Optimise = Callable[[str, list[list[float]], float, float], list[float] | None]

DEFAULTS: dict[str, Any] = {
    "signal": "engagement_ratio",
    "min_likes": 20,
    "min_comments": 10,
    "min_observations": 1,
    "rebalance": "monthly",
    "exclude": (),
    "top_n": 5,
    "execution_lag": 1,
    "weighting": "equal",
    "lookback_days": 126,
    "max_weight": 1.0,
    "missing": "redistribute",
    "drift": True,
    "cost_bps": 10.0,
    "risk_free_rate": 0.0,
}
TINY = 1e-14
YEAR = 252
OWN_NUMBERS = (
    "total_return",
    "annualized_return",
    "annualized_volatility",
    "sharpe_ratio",
    "sortino_ratio",
    "max_drawdown",
    "calmar_ratio",
    "value_at_risk_95",
    "conditional_value_at_risk_95",
    "hit_rate",
)
JOINT_NUMBERS = ("excess_return", "beta", "alpha", "tracking_error", "information_ratio")


@dataclass
class Reference:
    """What METHOD says a study must give."""

    selection: dict[str, list[str]] = field(default_factory=dict)
    pending: list[dict[str, Any]] = field(default_factory=list)
    weights: dict[str, dict[str, float]] = field(default_factory=dict)
    returns: list[tuple[date, float, float, float]] = field(default_factory=list)
    turnovers: list[float] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    # {(kind, period, symbol): (first day, last day, number of days)}; days are None for what concerns a whole period.
    losses: dict[tuple[str, str, str | None], tuple[str | None, str | None, int]] = field(default_factory=dict)


@dataclass
class Candidate:
    """A period with a non-empty selection: its name, last calendar day, selected symbols in rank order, all values."""

    label: str
    last_day: date
    selected: list[str]
    values: dict[str, float]
    e0: int = -1
    e: int = -1
    known: bool = True


# --- periods ----------------------------------------------------------------------------------------------------------


def period_of(day: date, rebalance: str) -> tuple[str, date]:
    """Return the label and the last calendar day of the period that contains `day`."""
    if rebalance == "monthly":
        return f"{day.year}-{day.month:02d}", last_day_of_month(day.year, day.month)
    if rebalance == "quarterly":
        quarter = (day.month - 1) // 3 + 1
        return f"{day.year}Q{quarter}", last_day_of_month(day.year, 3 * quarter)
    year, week, weekday = day.isocalendar()
    return f"{year}-W{week:02d}", day + timedelta(days=7 - weekday)


def last_day_of_month(year: int, month: int) -> date:
    """Return the last calendar day of a month."""
    return (date(year + 1, 1, 1) if month == 12 else date(year, month + 1, 1)) - timedelta(days=1)


def next_period_end(last_day: date, rebalance: str) -> date:
    """Return the last calendar day of the period after the one that ends on `last_day`."""
    return period_of(last_day + timedelta(days=1), rebalance)[1]


def last_index_on_or_before(days: list[date], day: date) -> int:
    """Return the position of the last of `days` on or before `day`; -1 if there is none."""
    found = -1
    for position, candidate in enumerate(days):
        if candidate <= day:
            found = position
    return found


# --- signal and selection ---------------------------------------------------------------------------------------------


def round_12(value: float) -> float:
    """Return `value` rounded to 12 significant digits, by its decimal text."""
    return float(f"{value:.11e}")


def daily_value(row: Row, signal: str) -> float | None:
    """Return a row's signal value, or None where it is missing or not finite."""
    if signal == "engagement_ratio":
        return row["twitterComments"] / row["twitterLikes"] if row["twitterLikes"] else None
    if signal == "twitter_sentiment":
        value = row["twitterSentiment"]
        return None if value is None or not math.isfinite(value) else value
    raise ValueError(signal)


def period_values(rows: list[Row], knobs: dict[str, Any]) -> dict[str, float]:
    """Return each symbol's value in one period from that period's rows."""
    daily: dict[str, list[float]] = {}
    for row in rows:
        if row["symbol"] in knobs["exclude"]:
            continue
        if not (row["twitterLikes"] > knobs["min_likes"] and row["twitterComments"] > knobs["min_comments"]):
            continue
        value = daily_value(row, knobs["signal"])
        if value is not None:
            daily.setdefault(row["symbol"], []).append(value)
    return {s: math.fsum(v) / len(v) for s, v in daily.items() if len(v) >= knobs["min_observations"]}


def is_partial(period_rows: list[Row], last_day: date, all_days: list[date]) -> bool:
    """Tell whether the table ends (or breaks off) well before the period does."""
    gaps = [(later - earlier).days for earlier, later in pairwise(all_days)]
    allowed = max(7.0, 2 * statistics.median(gaps)) if gaps else 7.0
    return (last_day - max(row["date"] for row in period_rows)).days > allowed


# --- weights ----------------------------------------------------------------------------------------------------------


def capped(weights: dict[str, float], cap: float) -> dict[str, float]:
    """Cut weights to `cap`, hand the excess pro rata to those below it, repeat; what cannot be placed is cash."""
    weights = dict(weights)
    while any(weight > cap for weight in weights.values()):
        excess = math.fsum(weight - cap for weight in weights.values() if weight > cap)
        weights = {symbol: min(weight, cap) for symbol, weight in weights.items()}
        below = {symbol: weight for symbol, weight in weights.items() if 0 < weight < cap}
        room = math.fsum(below.values())
        for symbol, weight in below.items():
            weights[symbol] = weight + excess * weight / room
    return weights


def scheme_weights(
    candidate: Candidate, knobs: dict[str, Any], filled: dict[str, list[float | None]], optimise: Optimise | None
) -> tuple[dict[str, float], bool]:
    """Return weights that sum to 1 over the selection, and whether they are the fallback to equal ones."""
    selected = candidate.selected
    equal = {symbol: 1 / len(selected) for symbol in selected}
    if knobs["weighting"] == "equal":
        return equal, False
    if knobs["weighting"] == "signal":
        if any(candidate.values[symbol] <= 0 for symbol in selected):
            return equal, True
        total = math.fsum(candidate.values[symbol] for symbol in selected)
        return {symbol: candidate.values[symbol] / total for symbol in selected}, False
    returns = {symbol: look_back(symbol, candidate.e0, knobs["lookback_days"], filled) for symbol in selected}
    if any(days is None for days in returns.values()):
        return equal, True
    if knobs["weighting"] != "inverse_volatility":
        assert optimise is not None
        by_day = [list(day) for day in zip(*returns.values(), strict=True)]
        daily = (1 + knobs["risk_free_rate"]) ** (1 / YEAR) - 1
        weights = optimise(knobs["weighting"], by_day, knobs["max_weight"], daily)
        return (equal, True) if weights is None else (dict(zip(selected, weights, strict=True)), False)
    inverse = {}
    for symbol in selected:
        sigma = deviation(returns[symbol])
        if sigma is None or sigma <= TINY:
            return equal, True
        inverse[symbol] = 1 / sigma
    total = math.fsum(inverse.values())
    return {symbol: weight / total for symbol, weight in inverse.items()}, False


def look_back(symbol: str, e0: int, length: int, filled: dict[str, list[float | None]]) -> list[float] | None:
    """Return a symbol's `length` returns up to e0; None where its prices do not reach back that far."""
    # L returns need L + 1 prices: those at e0-L .. e0, the first of them known (filled) at e0-L.
    first = e0 - length
    if symbol not in filled or first < 0 or filled[symbol][first] is None:
        return None
    return [after / before - 1 for before, after in pairwise(filled[symbol][first : e0 + 1])]


def available_weights(before: dict[str, float], has_price: dict[str, bool], knobs: dict[str, Any]) -> dict[str, float]:
    """Return the targets once it is known which symbols have a price on the day of the trade."""
    kept = {symbol: weight for symbol, weight in before.items() if has_price[symbol]}
    if knobs["missing"] == "cash" or len(kept) == len(before) or not kept:
        return kept
    total, left = math.fsum(before.values()), math.fsum(kept.values())
    if left == 0:  # an optimiser gave all to what cannot be bought: nothing has a share in it
        return {}
    return capped({symbol: weight * total / left for symbol, weight in kept.items()}, knobs["max_weight"])


# --- numbers ----------------------------------------------------------------------------------------------------------


def mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)


def covariance(left: list[float], right: list[float]) -> float | None:
    if len(left) < 2:
        return None
    a, b = mean(left), mean(right)
    return math.fsum((x - a) * (y - b) for x, y in zip(left, right, strict=True)) / (len(left) - 1)


def deviation(values: list[float]) -> float | None:
    variance = covariance(values, values)
    return None if variance is None else math.sqrt(variance)


def ratio(numerator: float | None, denominator: float | None) -> float | None:
    """Divide; undefined where either is, or where the denominator counts as zero."""
    if numerator is None or denominator is None or abs(denominator) <= TINY:
        return None
    return numerator / denominator


def times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def in_excess(returns: list[float], risk_free_rate: float) -> list[float]:
    daily = (1 + risk_free_rate) ** (1 / YEAR) - 1
    return [r - daily for r in returns]


def own_numbers(returns: list[float], risk_free_rate: float) -> dict[str, float | None]:
    """Return METHOD's numbers that need one series alone."""
    n = len(returns)
    if n == 0:
        return dict.fromkeys(OWN_NUMBERS)
    wealth, peak, drawdown = 1.0, 1.0, 0.0
    for r in returns:
        wealth *= 1 + r
        peak = max(peak, wealth)
        drawdown = min(drawdown, wealth / peak - 1)
    try:
        annualized: float | None = wealth ** (YEAR / n) - 1
    except OverflowError:
        annualized = None  # "never infinity"
    x = in_excess(returns, risk_free_rate)
    downside = math.sqrt(mean([min(value, 0.0) ** 2 for value in x])) if n > 1 else None
    ordered = sorted(returns)
    position = 0.05 * (n - 1)
    low = math.floor(position)
    high = min(low + 1, n - 1)
    quantile = ordered[low] + (position - low) * (ordered[high] - ordered[low])
    volatility = deviation(returns)
    return {
        "total_return": wealth - 1,
        "annualized_return": annualized,
        "annualized_volatility": times(volatility, math.sqrt(YEAR)),
        "sharpe_ratio": times(ratio(mean(x), deviation(x)), math.sqrt(YEAR)),
        "sortino_ratio": times(ratio(mean(x), downside), math.sqrt(YEAR)),
        "max_drawdown": drawdown,
        "calmar_ratio": ratio(annualized, abs(drawdown)),
        "value_at_risk_95": -quantile,
        "conditional_value_at_risk_95": -mean([r for r in returns if r <= quantile]),
        "hit_rate": sum(1 for r in returns if r > 0) / n,
    }


def joint_numbers(net: list[float], benchmark: list[float], risk_free_rate: float) -> dict[str, float | None]:
    """Return METHOD's numbers that need the portfolio and the benchmark; `excess_return` comes from the totals."""
    if not net:
        return dict.fromkeys(JOINT_NUMBERS)
    beta = ratio(covariance(net, benchmark), covariance(benchmark, benchmark))
    x, x_b = in_excess(net, risk_free_rate), in_excess(benchmark, risk_free_rate)
    active = [r - b for r, b in zip(net, benchmark, strict=True)]
    spread = deviation(active)
    return {
        "beta": beta,
        "alpha": None if beta is None else (mean(x) - beta * mean(x_b)) * YEAR,
        "tracking_error": times(spread, math.sqrt(YEAR)),
        "information_ratio": times(ratio(mean(active), spread), math.sqrt(YEAR)),
    }


# --- the study --------------------------------------------------------------------------------------------------------


def reference_study(
    rows: list[Row], prices: Prices, benchmark: str, config: dict[str, Any], optimise: Optimise | None = None
) -> Reference:
    """Run METHOD on the rows and prices; `config` holds StudyConfig's knobs by name, and optionally `start` and `end`."""
    knobs = DEFAULTS | config
    result = Reference()
    rebalance = knobs["rebalance"]
    start, end = knobs.get("start") or date.min, knobs.get("end") or date.max
    rows = [row for row in rows if start <= row["date"] <= end]

    # Trading days are the benchmark's; each symbol's last known price on each of them.
    days = sorted(prices[benchmark])
    filled: dict[str, list[float | None]] = {}
    for symbol, by_day in prices.items():
        known: float | None = None
        filled[symbol] = []
        for day in days:
            known = by_day.get(day, known)
            filled[symbol].append(known)

    # All periods from the first to the last row.
    all_days = sorted({row["date"] for row in rows})
    ends = [period_of(all_days[0], rebalance)[1]]
    while ends[-1] < all_days[-1]:
        ends.append(next_period_end(ends[-1], rebalance))

    candidates: list[Candidate] = []
    for last_day in ends:
        label = period_of(last_day, rebalance)[0]
        period_rows = [row for row in rows if period_of(row["date"], rebalance)[0] == label]
        if not period_rows:
            result.losses["no_rows", label, None] = (None, None, 0)
            continue
        if is_partial(period_rows, last_day, all_days):
            result.losses["partial_period", label, None] = (None, None, 0)
        values = period_values(period_rows, knobs)
        ranked = sorted(values, key=lambda symbol: (-round_12(values[symbol]), [ord(letter) for letter in symbol]))
        selected = ranked[: knobs["top_n"]]
        if not selected:
            result.losses["no_selection", label, None] = (None, None, 0)
            continue
        result.selection[label] = selected
        candidate = Candidate(label, last_day, selected, values)
        candidate.e0 = last_index_on_or_before(days, last_day)
        if candidate.e0 < 0:
            result.losses["no_trading_day_before", label, None] = (None, None, 0)
            continue
        # A period that ends after the last price has an e that nobody knows yet, and that it cannot share.
        known = last_day <= days[-1]
        candidate.e = (candidate.e0 if known else len(days)) + knobs["execution_lag"]
        candidate.known = known
        candidates.append(candidate)

    # Of two that share an e the earlier is left out.
    survivors = []
    for position, candidate in enumerate(candidates):
        following = candidates[position + 1] if position + 1 < len(candidates) else None
        if following is not None and following.known and following.e == candidate.e:
            result.losses["same_trading_day", candidate.label, None] = (None, None, 0)
        else:
            survivors.append(candidate)

    # Target weights; the executed and the pending part here.
    executed: list[tuple[Candidate, dict[str, float]]] = []
    last = len(days) - 1
    for candidate in survivors:
        scheme, fell_back = scheme_weights(candidate, knobs, filled, optimise)
        if fell_back:
            result.losses["weights_fallback", candidate.label, None] = (None, None, 0)
        target = capped(scheme, knobs["max_weight"])
        if candidate.e <= last:
            trade_day = days[candidate.e]
            has_price = {symbol: trade_day in prices.get(symbol, {}) for symbol in candidate.selected}
            for symbol, present in has_price.items():
                if not present:
                    iso = trade_day.isoformat()
                    result.losses["no_price_at_trade", candidate.label, symbol] = (iso, iso, 1)
            target = available_weights(target, has_price, knobs)
        target = {symbol: weight for symbol, weight in target.items() if weight > 0}
        if candidate.e < last:
            executed.append((candidate, target))
            continue
        result.losses["no_trading_day_after", candidate.label, None] = (None, None, 0)
        result.pending.append(
            {
                "period": candidate.label,
                "signal_date": candidate.last_day.isoformat(),
                "trade_date": days[candidate.e].isoformat() if candidate.e == last else None,
                "selection": candidate.selected,
                "weights": target,
            }
        )

    # Hold each from the day after its e to the next one's e.
    costs: list[float] = []
    before: dict[str, float] = {}
    for position, (candidate, target) in enumerate(executed):
        e = candidate.e
        if position + 1 < len(executed):
            until = executed[position + 1][0].e
        else:
            next_e0 = last_index_on_or_before(days, next_period_end(candidate.last_day, rebalance))
            until = max(e, min(last, next_e0 + knobs["execution_lag"]))
        result.weights[days[e].isoformat()] = target
        turnover = math.fsum(abs(target.get(s, 0.0) - before.get(s, 0.0)) for s in {*target, *before})
        result.turnovers.append(turnover)
        cost = knobs["cost_bps"] / 10_000 * turnover
        costs.append(cost)
        cash = 1 - math.fsum(target.values())
        worth = dict(target)  # of one unit of wealth at the close of e
        wealth = cash + math.fsum(worth.values())
        for t in range(e + 1, until + 1):
            if knobs["drift"]:
                worth = {s: weight * filled[s][t] / filled[s][e] for s, weight in target.items()}
                wealth_before, wealth = wealth, cash + math.fsum(worth.values())
                gross = wealth / wealth_before - 1
                before = {s: value / wealth for s, value in worth.items()}
            else:
                own = {s: filled[s][t] / filled[s][t - 1] - 1 for s in target}
                gross = math.fsum(weight * own[s] for s, weight in target.items())
                before = {s: weight * (1 + own[s]) / (1 + gross) for s, weight in target.items()}
            net = (1 - cost) * (1 + gross) - 1 if t == e + 1 else gross
            result.returns.append((days[t], gross, net, filled[benchmark][t] / filled[benchmark][t - 1] - 1))
        note_days_without_price(result, candidate.label, target, days, (e + 1, until), prices)

    result.summary = summary(result, executed, knobs)
    return result


def note_days_without_price(
    result: Reference,
    label: str,
    target: dict[str, float],
    days: list[date],
    held: tuple[int, int],
    prices: Prices,
) -> None:
    """Note, for each symbol held on the trading days of `held` (both included), those on which it has no price."""
    for symbol in target:
        for t in range(held[0], held[1] + 1):
            if days[t] in prices[symbol]:
                continue
            returns_later = any(day in prices[symbol] for day in days[t + 1 :])
            kind = "no_price_while_held" if returns_later else "price_never_returns"
            iso = days[t].isoformat()
            first, _, count = result.losses.get((kind, label, symbol), (iso, iso, 0))
            result.losses[kind, label, symbol] = (first, iso, count + 1)


def summary(
    result: Reference, executed: list[tuple[Candidate, dict[str, float]]], knobs: dict[str, Any]
) -> dict[str, Any]:
    """Return every number of METHOD under its name."""
    gross = [day[1] for day in result.returns]
    net = [day[2] for day in result.returns]
    bench = [day[3] for day in result.returns]
    rate = knobs["risk_free_rate"]
    numbers: dict[str, Any] = dict(own_numbers(net, rate))
    for prefix, series in (("benchmark", bench), ("gross", gross)):
        for name, value in own_numbers(series, rate).items():
            numbers[f"{prefix}_{name}"] = value
    numbers |= joint_numbers(net, bench, rate)
    numbers["excess_return"] = numbers["total_return"] - numbers["benchmark_total_return"] if net else None
    numbers["n_periods"] = len(executed)
    numbers["mean_turnover"] = mean(result.turnovers) if executed else None
    numbers["n_symbols"] = len({symbol for _, target in executed for symbol in target})
    numbers["n_days"] = len(net)
    numbers["first_date"] = result.returns[0][0].isoformat() if net else None
    numbers["last_date"] = result.returns[-1][0].isoformat() if net else None
    return numbers
