"""The compiled loop of a sweep over configurations.

Enters: books, schedules, prices, and rows that say which book is held how, sorted so that rows of one portfolio follow each other.
Leaves: a column of numbers per row, or its daily net returns.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import numpy as np

from workbench.sweep.compiled import compiled
from workbench.sweep.holding import hold, make_buffers
from workbench.sweep.numbers import (
    CENTRED_SUM,
    DOUBT,
    FALLBACKS,
    FEW_DAYS,
    GROSS,
    MEAN,
    PRODUCT,
    SYMBOLS,
    TURNOVER,
    UNAVAILABLE,
    VARIANCE,
    other_days,
    relative_numbers,
    series_numbers,
)


@compiled
def place_schedule(prices, benchmark_prices, trades, untils, growth, returns, benchmark, centred, span):
    """Fill growth since the trade, daily returns, and the benchmark's, for the days of one schedule; return their number.

    prices : (N, T) last known prices; growth, returns : (N, days).
    """
    first, n = trades[0], untils[-1] - trades[0]
    for column in range(len(prices)):
        series = prices[column]
        for e in range(len(trades)):
            base = series[trades[e]]
            for t in range(trades[e] + 1, untils[e] + 1):
                growth[column, t - first - 1] = series[t] / base
        for t in range(first + 1, first + 1 + n):
            returns[column, t - first - 1] = series[t] / series[t - 1] - 1.0
    total, product = 0.0, 1.0
    for t in range(n):
        benchmark[t] = benchmark_prices[first + 1 + t] / benchmark_prices[first + t] - 1.0
        total += benchmark[t]
        product *= 1.0 + benchmark[t]
    squares = rest = 0.0
    mean = total / n if n else 0.0
    for t in range(n):
        centred[t] = benchmark[t] - mean
        squares += centred[t] * centred[t]
        rest += centred[t]
    span[MEAN], span[PRODUCT], span[CENTRED_SUM] = mean, product, rest
    span[VARIANCE] = squares / (n - 1) if n > 1 else 0.0
    return n


@compiled
def first_days_of(gross, starts, stops, turnovers, cost, free, charged):
    """Fill the returns of each holding's first day, before its cost and after it."""
    for e in range(len(starts)):
        if stops[e] > starts[e]:
            value = gross[starts[e]]
            free[e] = value
            charged[e] = (1.0 - cost * turnovers[e]) * (1.0 + value) - 1.0


@compiled
def write_series(gross, charged, starts, stops, first, series):
    """Fill `series` (T) with one row's net returns on their price rows; the others stay as they are."""
    for e in range(len(starts)):
        for t in range(starts[e], stops[e]):
            series[first + t] = charged[e] if t == starts[e] else gross[t]


@compiled
def copy_gross(out, source, position):
    """Give a row the numbers before costs of another row of the same portfolio."""
    for i in range(GROSS, 2 * GROSS):
        out[i, position] = out[i, source]


@compiled
def evaluate(books, schedules, prices, benchmark_prices, rows, out, series):
    """Compute the numbers of all rows.

    books : columns, available, scores (B, E, K), sizes (B, E), explicit, schedule (B).
    schedules : trades, untils (S, E), n_rebalances (S).
    prices : (N, T) last known prices; benchmark_prices : (T).
    rows : book, top_n, drift, redistribute, max_weight, rate, cost, position (R): the last is the column of `out`.
    out : (N_NUMBERS, R) filled; NaN where a number is undefined.
    series : (R, T) filled with daily net returns on their price rows, or (0, 0).
    """
    columns, available, scores, sizes, explicit, schedule = books
    trades, untils, n_rebalances = schedules
    row_book, row_top, row_drift, row_redistribute, row_cap, row_rate, row_cost, row_position = rows
    n_columns, n_days = prices.shape
    longest = trades.shape[1]
    growth, returns = np.empty((n_columns, n_days)), np.empty((n_columns, n_days))
    benchmark, centred, span = np.empty(n_days), np.empty(n_days), np.empty(4)
    starts, stops = np.empty(longest, dtype=np.int64), np.empty(longest, dtype=np.int64)
    turnovers, free, charged, gross = np.empty(longest), np.empty(longest), np.empty(longest), np.empty(n_days)
    other_sums, shapes, other_lowest = np.empty(7), np.empty((longest, 4)), np.empty(n_days + 1)
    sums, lowest = np.empty(7), np.empty(n_days + 1)
    buffers = make_buffers(n_columns, columns.shape[2], n_days)
    placed, n, held, kept, mean_turnover, gross_doubtful = -1, 0, 0, 0, 0.0, False
    counts = (0, 0, 0)
    for r in range(len(row_book)):
        b, position, rate = row_book[r], row_position[r], row_rate[r]
        if schedule[b] != placed:
            placed = schedule[b]
            held = n_rebalances[placed]
            starts[:held] = trades[placed, :held] - trades[placed, 0]
            stops[:held] = untils[placed, :held] - trades[placed, 0]
            n = place_schedule(
                prices, benchmark_prices, trades[placed, :held], untils[placed, :held],
                growth, returns, benchmark, centred, span,
            )  # fmt: skip
        begin, end = starts[:held], stops[:held]
        same = (
            r > 0
            and b == row_book[r - 1]
            and row_top[r] == row_top[r - 1]
            and row_drift[r] == row_drift[r - 1]
            and row_redistribute[r] == row_redistribute[r - 1]
            and row_cap[r] == row_cap[r - 1]
        )
        if not same:
            book = (columns[b], available[b], scores[b], sizes[b], explicit[b])
            source = growth if row_drift[r] else returns
            counts = hold(
                book, row_top[r], row_drift[r], row_redistribute[r], row_cap[r],
                source, begin, end, gross, turnovers, buffers,
            )  # fmt: skip
            mean_turnover = 0.0
            for e in range(held):
                mean_turnover += turnovers[e]
            mean_turnover /= held
        out[TURNOVER, position] = mean_turnover
        out[SYMBOLS, position], out[FALLBACKS, position], out[UNAVAILABLE, position] = counts
        first_days_of(gross, begin, end, turnovers[:held], row_cost[r], free, charged)
        if len(series):
            write_series(gross, charged, begin, end, trades[placed, 0] + 1, series[position])
        if n <= FEW_DAYS:
            out[DOUBT, position] = 1.0
            continue
        if same and rate == row_rate[r - 1]:
            copy_gross(out, row_position[r - 1], position)
        else:
            kept = other_days(gross, begin, end, n, rate, benchmark, centred, other_sums, shapes, other_lowest)
            _, gross_doubtful = series_numbers(
                free, gross, begin, end, n, rate, (other_sums, shapes, other_lowest, kept),
                benchmark, centred, sums, lowest, out, position, GROSS,
            )  # fmt: skip
        wealth, doubtful = series_numbers(
            charged, gross, begin, end, n, rate, (other_sums, shapes, other_lowest, kept),
            benchmark, centred, sums, lowest, out, position, 0,
        )  # fmt: skip
        doubtful = relative_numbers(n, rate, sums, wealth, span, out, position) or doubtful or gross_doubtful
        out[DOUBT, position] = 1.0 if doubtful else 0.0
