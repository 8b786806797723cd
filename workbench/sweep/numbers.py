"""METHOD's numbers, compiled, so that configurations which differ in costs only share nearly all of the work.

A cost changes the return of each holding's first day and of no other. So the sums over all other days, and the shape of the wealth within
each holding, are made once per portfolio; a cost then takes a few operations per rebalance. `core.metrics` is the reference. Where rounding
could decide (a denominator near zero, a variance that nearly cancels), the row is marked doubtful and computed by it.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import math

import numpy as np

from workbench.sweep.compiled import compiled

DAYS_PER_YEAR = 252.0
ZERO = 1e-14  # METHOD.md, "Numbers": a denominator of at most this absolute value counts as zero

# A variance made of a sum of squares loses digits where the mean outweighs the spread.
CANCELLATION = 16.0
# Below this, too few digits of a denominator are right.
SMALL_DEVIATION = 1e-9
# A wealth of n days, multiplied in another order, differs by SLIP x sqrt(n) at most (five standard deviations of it): a quotient or a
# difference in which that could amount to more than PRECISION is in doubt.
SLIP = 4.4e-16
PRECISION = 1e-12
FEW_DAYS = 3

# Rows of the output: the numbers of the net returns, the same of the gross ones from GROSS on, then the others.
TOTAL, ANNUAL, VOLATILITY, SHARPE, SORTINO, DRAWDOWN, CALMAR, VAR, CVAR, HIT = range(10)
GROSS = 10
EXCESS, BETA, ALPHA, TRACKING, INFORMATION, TURNOVER, SYMBOLS, FALLBACKS, UNAVAILABLE, DOUBT = range(20, 30)
N_NUMBERS = 30

# Sums over days, and the shape of wealth within a holding.
SUM, SQUARES, DOWNSIDE, CO, ACTIVE, ACTIVE_SQUARES, HITS = range(7)
LOWEST, HIGHEST, WORST, FINAL = range(4)
# Of the benchmark on the same days.
MEAN, VARIANCE, PRODUCT, CENTRED_SUM = range(4)


@compiled
def divide(numerator, denominator):
    """Divide as `core.metrics.ratio` does; NaN stands for undefined."""
    if not abs(denominator) > ZERO:
        return np.nan
    result = numerator / denominator
    return result if np.isfinite(result) else np.nan


@compiled
def tail_size(n):
    """Return how many of the lowest of n returns the quantile at position 0.05 (n - 1) needs."""
    return min(int(0.05 * (n - 1)) + 2, n)


@compiled
def insert(lowest, n_kept, size, value):
    """Put a value into the ascending list of the `size` lowest; return the list's new length."""
    if n_kept == size:
        if value >= lowest[size - 1]:
            return n_kept
        i = size - 1
    else:
        i = n_kept
        n_kept += 1
    while i > 0 and lowest[i - 1] > value:
        lowest[i] = lowest[i - 1]
        i -= 1
    lowest[i] = value
    return n_kept


@compiled
def add_day(value, rate, benchmark, centred, sums):
    """Count one day's return in `sums`."""
    sums[SUM] += value
    sums[SQUARES] += value * value
    below = min(value - rate, 0.0)
    sums[DOWNSIDE] += below * below
    sums[CO] += value * centred
    difference = value - benchmark
    sums[ACTIVE] += difference
    sums[ACTIVE_SQUARES] += difference * difference
    if value > 0:
        sums[HITS] += 1.0


@compiled
def other_days(gross, starts, stops, n, rate, benchmark, centred, sums, shapes, lowest):
    """Sum over the days that no cost changes, and describe each holding's wealth on them; return how many `lowest` hold.

    sums : (7).
    shapes : (rebalances, 4) of wealth since the close of the first day held: lowest, highest, lowest ratio to its peak so far, final.
    lowest : the lowest of these returns, ascending.
    """
    size, n_kept = tail_size(n), 0
    total = squares = downside = co = active = active_squares = hits = 0.0  # in registers, not in `sums`
    for e in range(len(starts)):
        wealth = low = high = ratio = 1.0
        first, days = starts[e] + 1, stops[e] - starts[e] - 1
        values, others, deviations = gross[first:], benchmark[first:], centred[first:]
        for t in range(days):
            value = values[t]
            total += value
            squares += value * value
            below = min(value - rate, 0.0)
            downside += below * below
            co += value * deviations[t]
            difference = value - others[t]
            active += difference
            active_squares += difference * difference
            if value > 0:
                hits += 1.0
            wealth *= 1.0 + value
            low = min(low, wealth)
            high = max(high, wealth)
            ratio = min(ratio, wealth / high)
            if n_kept < size or value < lowest[size - 1]:
                n_kept = insert(lowest, n_kept, size, value)
        shapes[e, LOWEST], shapes[e, HIGHEST], shapes[e, WORST], shapes[e, FINAL] = low, high, ratio, wealth
    sums[SUM], sums[SQUARES], sums[DOWNSIDE], sums[CO] = total, squares, downside, co
    sums[ACTIVE], sums[ACTIVE_SQUARES], sums[HITS] = active, active_squares, hits
    return n_kept


@compiled
def tail_mean(quantile, position, lowest, size, first_days, gross, starts, stops):
    """Return the mean of the returns at or below the quantile."""
    count, total = 0, 0.0
    if lowest[size - 1] > quantile:
        for i in range(position + 1):
            count += 1
            total += lowest[i]
        return total / count
    for e in range(len(starts)):  # returns equal to the quantile: there may be more of them than were kept
        for t in range(starts[e], stops[e]):
            value = first_days[e] if t == starts[e] else gross[t]
            if value <= quantile:
                count += 1
                total += value
    return total / count


@compiled
def series_numbers(first_days, gross, starts, stops, n, rate, others, benchmark, centred, sums, lowest, out, row, base):
    """Write the ten numbers of one series into `out[base:base + 10, row]`; return its final wealth and whether they are doubtful.

    first_days : (rebalances) return of each holding's first day, after its cost.
    others : what `other_days` left: sums, shapes, lowest, how many.
    sums, lowest : overwritten with those of all days.
    """
    other_sums, shapes, other_lowest, n_kept = others
    for i in range(len(sums)):
        sums[i] = other_sums[i]
    size = tail_size(n)
    for i in range(n_kept):
        lowest[i] = other_lowest[i]
    wealth = peak = 1.0
    worst = 0.0
    for e in range(len(starts)):
        start = starts[e]
        if stops[e] == start:
            continue
        value = first_days[e]
        add_day(value, rate, benchmark[start], centred[start], sums)
        n_kept = insert(lowest, n_kept, size, value)
        wealth *= 1.0 + value
        worst = min(worst, min(shapes[e, WORST], wealth * shapes[e, LOWEST] / peak) - 1.0)
        peak = max(peak, wealth * shapes[e, HIGHEST])
        wealth *= shapes[e, FINAL]
    mean = sums[SUM] / n
    total = wealth - 1.0
    annual = (1.0 + total) ** (DAYS_PER_YEAR / n) - 1.0
    if not np.isfinite(annual):
        annual = np.nan
    position = 0.05 * (n - 1)
    below = int(position)
    low, high = lowest[below], lowest[min(below + 1, n - 1)]
    quantile = low + (position - below) * (high - low)
    tail = tail_mean(quantile, below, lowest, size, first_days, gross, starts, stops)
    squares = sums[SQUARES] - sums[SUM] * mean
    deviation = math.sqrt(max(squares, 0.0) / (n - 1))
    downward = math.sqrt(sums[DOWNSIDE] / n)
    yearly = math.sqrt(DAYS_PER_YEAR)
    out[base + TOTAL, row] = total
    out[base + ANNUAL, row] = annual
    out[base + VOLATILITY, row] = deviation * yearly
    out[base + SHARPE, row] = divide((mean - rate) * yearly, deviation)
    out[base + SORTINO, row] = divide((mean - rate) * yearly, downward)
    out[base + DRAWDOWN, row] = worst
    calmar = divide(annual, abs(worst))
    out[base + CALMAR, row] = calmar
    out[base + VAR, row] = 0.0 - quantile
    out[base + CVAR, row] = 0.0 - tail
    out[base + HIT, row] = sums[HITS] / n
    slip = (
        SLIP * math.sqrt(n) * (DAYS_PER_YEAR / n * (1.0 + annual) + abs(calmar))
    )  # of calmar's numerator, in units of it
    doubtful = (
        not np.isfinite(wealth)
        or not squares * CANCELLATION > sums[SQUARES]
        or deviation < SMALL_DEVIATION
        or 0.0 < downward < SMALL_DEVIATION
        or (worst < 0.0 and slip > PRECISION * max(1.0, abs(calmar)) * abs(worst))
    )
    return wealth, doubtful


@compiled
def relative_numbers(n, rate, sums, wealth, span, out, row):
    """Write the numbers that hold the net returns against the benchmark's into `out`; return whether they are doubtful.

    `span` : of the benchmark on these days: mean, variance, product of 1 + r, sum of r - mean.
    """
    mean, active_mean = sums[SUM] / n, sums[ACTIVE] / n
    yearly = math.sqrt(DAYS_PER_YEAR)
    beta = divide((sums[CO] - mean * span[CENTRED_SUM]) / (n - 1), span[VARIANCE])
    active = sums[ACTIVE_SQUARES] - sums[ACTIVE] * active_mean
    spread = math.sqrt(max(active, 0.0) / (n - 1))
    excess = wealth - span[PRODUCT]
    out[EXCESS, row] = excess
    out[BETA, row] = beta
    out[ALPHA, row] = (mean - rate - beta * (span[MEAN] - rate)) * DAYS_PER_YEAR
    out[TRACKING, row] = spread * yearly
    out[INFORMATION, row] = divide(active_mean * yearly, spread)
    return (
        not active * CANCELLATION > sums[ACTIVE_SQUARES]
        or spread < SMALL_DEVIATION
        or span[VARIANCE] < SMALL_DEVIATION * SMALL_DEVIATION
        or SLIP * math.sqrt(n) * (wealth + span[PRODUCT]) > PRECISION * max(1.0, abs(excess))
    )
