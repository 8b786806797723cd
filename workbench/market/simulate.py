"""Seeded markets with one known effect: a sentiment table, the prices that answer to it, and the truth about the link.

Enters: a seed and a few sizes. Leaves: the two tables in the form of their files, and what was planted. Only `write_market` writes.
Everything is drawn from PCG64 streams spawned from the seed: the same call gives the same tables, and two calls that differ in the
coefficient alone give the same sentiment table and the same returns before planting.

The sentiment side imitates the real table of the original study (measured on it: heavy tails over symbols, growth, quiet weekends, a row
only where there are more than 20 posts, a comments/likes ratio that a symbol keeps for months, scores that begin after the counts). The
price side is a factor model with sectors, GARCH volatility and Student-t shocks. Signal and returns are independent but for the planted
link. No other signal has a link of its own; one that contains comments / likes (comments per post, say) inherits a part of it.

Run `python -m workbench.market.simulate` in the project's folder to write the shipped files again.
"""

from __future__ import annotations

import argparse
import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from workbench.errors import ConfigError
from workbench.market import processes

Rng = np.random.Generator
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
Days = npt.NDArray[np.datetime64]

SHIPPED_SEED = 20240101
BENCHMARK = "SIMIDX"
COUNTS = ("twitterPosts", "twitterComments", "twitterLikes", "twitterImpressions")
MIN_POSTS = 20  # the real table has no row with fewer than 21 posts
MIN_LIKES, MIN_COMMENTS, EXECUTION_LAG = 20, 10, 1  # METHOD's defaults: what the planted signal and its timing use


@dataclass(frozen=True, eq=False)
class Truth:
    """What was planted.

    information_coefficient : expected Spearman correlation, in every planted period, between `signal` and the return from the close of
        `entry` to the close of `exit`, over the symbols with a signal and a price at `entry`.
    periods : DataFrame, one row per period that can be traded: `period` ("2021-01"), `entry`, `exit` (datetime64), `n_symbols`, `rho`
        (correlation of the normal scores), `coefficient` (expected rank correlation); both NaN below three symbols: nothing planted.
    signal, min_likes, min_comments, execution_lag : the definition of the planted signal and its timing, METHOD's defaults.
    parameters : the arguments of `simulate_market`.
    """

    information_coefficient: float
    periods: pd.DataFrame
    parameters: dict[str, Any]
    signal: str = "engagement_ratio"
    min_likes: int = MIN_LIKES
    min_comments: int = MIN_COMMENTS
    execution_lag: int = EXECUTION_LAG


@dataclass(frozen=True, eq=False)
class SimulatedMarket:
    """The two tables and the truth.

    sentiment : DataFrame, the columns of the sentiment table, sorted by date and symbol; counts are whole float64.
    prices : DataFrame, wide: `date` (trading days), one column of adjusted closes per symbol in order, NaN where a symbol has no
        price, and `SIMIDX`, the capitalisation-weighted portfolio of the listed symbols.
    truth : what was planted.
    """

    sentiment: pd.DataFrame
    prices: pd.DataFrame
    truth: Truth


def simulate_market(
    seed: int,
    n_symbols: int = 85,
    start: str = "2021-01-01",
    months: int = 36,
    information_coefficient: float = 0.05,
    history_months: int = 9,
    price_days_after: int = 0,
) -> SimulatedMarket:
    """Draw a sentiment table and prices in which the engagement ratio has a known rank correlation with the next return.

    Parameters
    ----------
    seed
        Of everything random.
    n_symbols
        Symbols SIM001, SIM002, ...; at most 999, because simulated symbols are recognised by three digits.
    start, months
        First day (ISO) and length of the sentiment table in months.
    information_coefficient
        Expected Spearman correlation of METHOD's monthly `engagement_ratio` with the return of its holding period, lag 1. 0 leaves
        the returns as they were drawn.
    history_months
        Months of prices before `start`.
    price_days_after
        Calendar days of prices after the table's last day. With 0 and whole months the last selection is pending.

    Raises
    ------
    ConfigError
        A size or the coefficient is out of range, or `start` is not a day.
    """
    parameters = dict(locals())
    first_day, last_day = _check(parameters)
    listing, engagement, score, returns, planting = (
        np.random.Generator(np.random.PCG64(child)) for child in np.random.SeedSequence(seed).spawn(5)
    )
    trading_days = _trading_days(_add_months(first_day, -history_months), last_day + price_days_after)
    periods, traded, entries, exits = _windows(first_day, last_day, trading_days)
    first, last, listed, observed = _listings(listing, trading_days, entries, n_symbols)
    calendar = np.arange(first_day, last_day + 1)
    alive = _talked_about(calendar, trading_days, first, last)
    sentiment, panel = _sentiment_table(engagement, score, calendar, alive)
    logs = processes.log_returns(returns, len(trading_days), n_symbols)
    planted, counts, rho = _plant(planting, logs, panel[traded], observed, (entries, exits), information_coefficient)
    prices = _price_table(listing, trading_days, planted, listed, observed)
    truth = pd.DataFrame({"period": periods[traded].astype(str)}, dtype="str")
    truth["entry"], truth["exit"] = _stamps(trading_days[entries]), _stamps(trading_days[exits])
    truth["n_symbols"], truth["rho"] = counts, rho
    truth["coefficient"] = np.where(np.isnan(rho), np.nan, information_coefficient)
    return SimulatedMarket(sentiment, prices, Truth(information_coefficient, truth, parameters))


def write_market(simulated: SimulatedMarket, sentiment_csv: str | Path, prices_parquet: str | Path) -> None:
    """Write the two tables; the same market always gives the same bytes (with the same pyarrow, which signs its files)."""
    import pyarrow as pa  # not needed to simulate
    import pyarrow.parquet as pq

    text = simulated.sentiment.to_csv(index=False, lineterminator="\n")
    Path(sentiment_csv).write_bytes(text.encode("ascii"))
    # The pandas metadata would carry the version of pandas into the bytes.
    table = pa.Table.from_pandas(simulated.prices, preserve_index=False).replace_schema_metadata(None)
    pq.write_table(table, prices_parquet, compression="zstd", compression_level=9, store_schema=False)


def _check(parameters: dict[str, Any]) -> tuple[Any, Any]:
    """Refuse what cannot be simulated; return the table's first and last day."""
    rules = {"n_symbols": (1, 999), "months": (1, 1200), "history_months": (0, 1200), "price_days_after": (0, 36500)}
    for name, (low, high) in (rules | {"seed": (0, 2**64 - 1), "information_coefficient": (-1, 1)}).items():
        value, whole = parameters[name], " whole" * (name != "information_coefficient")
        if not low <= value <= high or (whole and int(value) != value):
            raise ConfigError(f"{name} must be a{whole} number between {low} and {high}, got {value!r}")
    try:
        first_day = np.datetime64(dt.date.fromisoformat(parameters["start"]))
    except ValueError:
        raise ConfigError(f"start must be a day such as 2021-01-01, got {parameters['start']!r}") from None
    return first_day, _add_months(first_day, parameters["months"]) - 1


def _add_months(day: Any, months: int) -> Any:
    """The same day of the month `months` later, at most that month's last day."""
    month = day.astype("datetime64[M]")
    moved = (month + months).astype("datetime64[D]") + (day - month.astype("datetime64[D]"))
    return min(moved, (month + months + 1).astype("datetime64[D]") - 1)


def _trading_days(first_day: Any, last_day: Any) -> Days:
    """(T,) Monday to Friday without three fixed holidays: enough for gaps that fall on weekdays."""
    days = np.arange(first_day, last_day + 1)
    years = range(int(str(first_day)[:4]), int(str(last_day)[:4]) + 1)
    holidays = [f"{year}-{day}" for year in years for day in ("01-01", "07-04", "12-25")]
    return days[np.is_busday(days, holidays=holidays)]


def _windows(first_day: Any, last_day: Any, days: Days) -> tuple[Days, Bools, Ints, Ints]:
    """The table's months, which of them can be traded, and METHOD's entry and exit positions in `days` of these."""
    periods = np.arange(first_day.astype("datetime64[M]"), last_day.astype("datetime64[M]") + 1)
    month_ends = (np.append(periods, periods[-1] + 1) + 1).astype("datetime64[D]") - 1
    trades = np.searchsorted(days, month_ends, side="right") - 1 + EXECUTION_LAG
    traded = (trades[:-1] >= EXECUTION_LAG) & (trades[:-1] <= len(days) - 2)
    return periods, traded, trades[:-1][traded], np.minimum(trades[1:], len(days) - 1)[traded]


def _listings(rng: Rng, days: Days, entries: Ints, n: int) -> tuple[Ints, Ints, Bools, Bools]:
    """First and last position with a price (N,), and two masks (T, N): listed, and listed with a price.

    About 8 % of the symbols list late, 7 % delist early, and 10 % lack one to three single days.
    """
    size = len(days)
    middle = rng.uniform(0.1, 0.9, (2, n)) * size
    kind = rng.random(n)
    first = np.where(kind < 0.08, middle[0], 0).astype(np.int64)
    last = np.where(kind > 0.93, middle[1], size - 1).astype(np.int64)
    # A last price at the very close of a trade would give a return that no drift can move.
    last = np.where(np.isin(last, entries), last - 1, last)
    position = np.arange(size)[:, None]
    listed = (position >= first) & (position <= last)
    observed = listed.copy()
    gaps = rng.integers(1, 4, n) * (rng.random(n) < 0.10)
    for column in np.flatnonzero(gaps):
        low, high = first[column] + 10, last[column] - 10
        if high > low:
            observed[rng.integers(low, high, gaps[column]), column] = False
    return first, last, listed, observed


def _talked_about(calendar: Days, days: Days, first: Ints, last: Ints) -> Bools:
    """(D, N) days on which people post about a symbol: from two weeks before its listing to six weeks after its end."""
    begin = np.where(first == 0, np.datetime64("0001-01-01"), days[first] - 14)
    end = np.where(last == len(days) - 1, np.datetime64("9999-12-31"), days[last] + 42)
    return (calendar[:, None] >= begin) & (calendar[:, None] <= end)


def _sentiment_table(engagement: Rng, score: Rng, calendar: Days, alive: Bools) -> tuple[pd.DataFrame, Floats]:
    """The table, and the planted signal (P, N): the month's mean of comments / likes over rows above the thresholds."""
    n = alive.shape[1]
    posts, comments, likes, impressions = processes.engagement(engagement, calendar, n)
    rows, columns = np.nonzero(alive & (posts > MIN_POSTS))
    names = np.array([f"SIM{number:03d}" for number in range(1, n + 1)])
    table = pd.DataFrame({"date": _stamps(calendar[rows]), "symbol": pd.Series(names[columns], dtype="str")})
    for name, values in zip(COUNTS, (posts, comments, likes, impressions), strict=True):
        table[name] = values[rows, columns]
    table["twitterSentiment"] = np.round(processes.scores(score, posts)[rows, columns], 6)
    kept = (likes[rows, columns] > MIN_LIKES) & (comments[rows, columns] > MIN_COMMENTS)
    rows, columns = rows[kept], columns[kept]
    months = (calendar.astype("datetime64[M]") - calendar[0].astype("datetime64[M]")).astype(np.int64)
    cell, size = months[rows] * n + columns, int(months[-1] + 1) * n
    with np.errstate(invalid="ignore"):
        mean = np.bincount(cell, comments[rows, columns] / likes[rows, columns], size) / np.bincount(
            cell, minlength=size
        )
    return table, mean.reshape(-1, n)


def _plant(
    rng: Rng, logs: Floats, signal: Floats, observed: Bools, windows: tuple[Ints, Ints], coefficient: float
) -> tuple[Floats, Ints, Floats]:
    """Give the returns of each window the wanted expected rank correlation with the signal.

    The window's own returns are kept as a set and dealt again: a symbol whose signal is high moves up a little in the order.
    z and eta are sorted normal draws dealt by the rank of the signal and of the return; where these ranks are independent, (z, y)
    with y = rho z + sqrt(1 - rho^2) eta is an exact sample of a bivariate normal, so that Moran's formula for the expected
    Spearman correlation holds for every n without calibration. The symbol then gets the return whose rank is the rank of its y,
    by an even extra drift of the log price over the window (to its last price in it). Leaves the log returns (T, N), the number of
    symbols (P,) and rho (P,), NaN where nothing was planted.
    """
    logs = logs.copy()
    counts, rhos = np.zeros(len(windows[0]), np.int64), np.full(len(windows[0]), np.nan)
    for k, (entry, exit_) in enumerate(zip(*windows, strict=True)):
        members = np.flatnonzero(~np.isnan(signal[k]) & observed[entry])
        counts[k] = n = len(members)
        if n < 3:
            continue
        rhos[k] = rho = _score_correlation(coefficient, n)
        window = observed[entry + 1 : exit_ + 1, members]
        length = window.shape[0] - window[::-1].argmax(axis=0)  # trading days up to the last price
        held = np.arange(window.shape[0])[:, None] < length
        change = (logs[entry + 1 : exit_ + 1, members] * held).sum(axis=0)
        z = np.sort(rng.standard_normal(n))[_ranks(signal[k, members])]
        eta = np.sort(rng.standard_normal(n))[_ranks(change)]
        dealt = np.sort(change)[_ranks(rho * z + math.sqrt(1 - rho * rho) * eta)]
        logs[entry + 1 : exit_ + 1, members] += np.where(held, (dealt - change) / length, 0.0)
    return logs, counts, rhos


def _ranks(values: Floats) -> Ints:
    """Ordinal ranks from 0; ties in the order given."""
    return values.argsort(kind="stable").argsort()


def expected_rank_correlation(rho: float, n: int) -> float:
    """Expected Spearman correlation of n pairs from a bivariate normal with correlation rho (Moran 1948, Biometrika 35)."""
    return 6 / (math.pi * (n + 1)) * (math.asin(rho) + (n - 2) * math.asin(rho / 2))


def _score_correlation(coefficient: float, n: int) -> float:
    """The rho whose expected rank correlation is `coefficient`, by bisection; exactly 0 for 0."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if expected_rank_correlation(middle, n) < abs(coefficient) else (low, middle)
    return math.copysign(high, coefficient) if coefficient else 0.0


def _price_table(rng: Rng, days: Days, logs: Floats, listed: Bools, observed: Bools) -> pd.DataFrame:
    """The wide table of adjusted closes with the capitalisation-weighted index."""
    n = logs.shape[1]
    paths = np.exp(np.cumsum(logs, axis=0))
    paths /= paths[listed.argmax(axis=0), np.arange(n)]  # 1 on the day of listing
    prices = _significant(np.where(observed, paths * rng.lognormal(math.log(70), 0.7, n), np.nan))
    weights = rng.lognormal(0, 0.8, n) * paths[:-1] * (listed[:-1] & listed[1:])
    total = weights.sum(axis=1)
    gains = (weights * np.expm1(logs[1:])).sum(axis=1) / np.where(total > 0, total, 1)
    columns: dict[str, Any] = {"date": _stamps(days)}
    columns |= {f"SIM{number + 1:03d}": prices[:, number] for number in range(n)}
    columns[BENCHMARK] = _significant(100 * np.cumprod(np.append(1.0, 1 + gains)))
    return pd.DataFrame(columns)


def _significant(values: Floats, digits: int = 6) -> Floats:
    """Round to significant digits; through decimal text, because scaling by powers of ten leaves digits behind."""
    return np.array([float(f"{value:.{digits}g}") for value in values.ravel()]).reshape(values.shape)


def _stamps(days: Days) -> pd.Series[Any]:
    return pd.Series(days.astype("datetime64[us]"))


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a simulated market; without options, the shipped one into the current folder."""
    parser = argparse.ArgumentParser(prog="python -m workbench.market.simulate", description=main.__doc__)
    defaults = {"n-symbols": 85, "start": "2021-01-01", "months": 36, "information-coefficient": 0.05}
    files = {"sentiment": "sentiment_data.csv", "prices": "workbench/_data/simulated_prices.parquet"}
    for name, default in ({"seed": SHIPPED_SEED} | defaults | files).items():
        parser.add_argument(f"--{name}", type=type(default), default=default, help="(default: %(default)s)")
    options = vars(parser.parse_args(arguments))
    paths = [options.pop(name) for name in files]
    try:
        write_market(simulate_market(**options), *paths)
    except (ConfigError, OSError) as error:
        parser.exit(getattr(error, "exit_code", 3), f"{error}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
