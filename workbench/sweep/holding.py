"""Portfolios, compiled: target weights, drifting holdings, turnover.

Enters: a book (who is selected when, and at what prices it is held). Leaves: gross daily returns and turnovers. `core.weights` and
`core.simulation` are the reference; these equal them to the last bit, because every sum is made in the same order.
"""

# mypy: disable-error-code="no-untyped-def"
from __future__ import annotations

import numpy as np

from workbench.sweep.compiled import compiled

_BLOCK = 128


@compiled
def block_sum(values, start, count):
    """Add up to 128 numbers as numpy does: in order below eight of them, else in eight partial sums."""
    total = 0.0
    if count < 8:
        for i in range(count):
            total += values[start + i]
        return total
    s = start  # eight numbers and not an array of them, which would be made anew at every call
    a, b, c, d = values[s], values[s + 1], values[s + 2], values[s + 3]
    e, f, g, h = values[s + 4], values[s + 5], values[s + 6], values[s + 7]
    whole = count - count % 8
    for i in range(start + 8, start + whole, 8):
        a, b, c, d = a + values[i], b + values[i + 1], c + values[i + 2], d + values[i + 3]
        e, f, g, h = e + values[i + 4], f + values[i + 5], g + values[i + 6], h + values[i + 7]
    total = ((a + b) + (c + d)) + ((e + f) + (g + h))
    for i in range(whole, count):
        total += values[start + i]
    return total


@compiled
def pairwise_sum(values, start, count):
    """Add as numpy does: more than 128 numbers in two halves, and these again.

    The halves wait on a stack of our own: machine code of a function that calls itself does not survive being kept on disk.
    """
    if count <= _BLOCK:
        return block_sum(values, start, count)
    starts, counts, lefts = np.empty(64, dtype=np.int64), np.empty(64, dtype=np.int64), np.empty(64)
    done = np.zeros(64, dtype=np.bool_)  # whether the left half is summed
    starts[0], counts[0], top, total = start, count, 0, 0.0
    while top >= 0:
        if counts[top] > _BLOCK:
            half = counts[top] // 2
            half -= half % 8
            done[top] = False
            starts[top + 1], counts[top + 1] = starts[top], half
            top += 1
            continue
        total = block_sum(values, starts[top], counts[top])
        top -= 1
        while top >= 0 and done[top]:
            total = lefts[top] + total
            top -= 1
        if top >= 0:
            half = counts[top] // 2
            half -= half % 8
            lefts[top], done[top] = total, True
            starts[top + 1], counts[top + 1] = starts[top] + half, counts[top] - half
            top += 1
    return total


@compiled
def cap(weights, count, max_weight, scratch):
    """Cut to `max_weight` in place, as `core.weights.cap` does; `scratch` is (2, count or more)."""
    over = False
    for i in range(count):
        over = over or weights[i] > max_weight
    if not over:
        return
    total = pairwise_sum(weights, 0, count)
    original, free = scratch[0], scratch[1]
    capped = np.zeros(count, dtype=np.bool_)
    for i in range(count):
        original[i] = weights[i]
    while True:
        found = False
        for i in range(count):
            if not capped[i] and weights[i] > max_weight:
                capped[i] = True
                found = True
        if not found:
            return
        n_free = 0
        for i in range(count):
            if not capped[i]:
                free[n_free] = original[i]
                n_free += 1
        rest = pairwise_sum(free, 0, n_free)
        left = max(total - max_weight * (count - n_free), 0.0)
        scale = left / rest if rest > 0 else 0.0
        for i in range(count):
            weights[i] = max_weight if capped[i] else original[i] * scale


@compiled
def target_weights(scores, available, e, count, explicit, redistribute, max_weight, weights, scratch):
    """Fill `weights` with a selection's targets; return whether the weighting fell back to equal.

    `scores[e]` are what weights are proportional to, NaN where the weighting has nothing for a symbol; with `explicit` they are the
    weights themselves.
    """
    fallback = False
    for i in range(count):
        weights[i] = scores[e, i]
    if not explicit:
        total = pairwise_sum(weights, 0, count)
        fallback = not np.isfinite(total)
        for i in range(count):
            weights[i] = 1.0 / count if fallback else weights[i] / total
    cap(weights, count, max_weight, scratch)
    complete = True
    for i in range(count):
        complete = complete and available[e, i]
    if complete:
        return fallback
    before = pairwise_sum(weights, 0, count)
    for i in range(count):
        if not available[e, i]:
            weights[i] = 0.0
    kept = pairwise_sum(weights, 0, count)
    if redistribute and kept > 0:
        scale = before / kept
        for i in range(count):
            weights[i] = weights[i] * scale
        cap(weights, count, max_weight, scratch)
    return fallback


@compiled
def turnover(held, before, n_held, wanted, target, n_wanted, changes):
    """Return the sum of |target - before| over the symbols of two lists sorted by column, added in column order."""
    i = j = n = 0
    while i < n_held or j < n_wanted:
        if j == n_wanted or (i < n_held and held[i] < wanted[j]):
            changes[n] = before[i]
            i += 1
        elif i == n_held or wanted[j] < held[i]:
            changes[n] = target[j]
            j += 1
        else:
            changes[n] = abs(target[j] - before[i])
            i += 1
            j += 1
        n += 1
    return pairwise_sum(changes, 0, n)


@compiled
def held_returns(source, drift, columns, bought, n_bought, start, stop, total, gross):
    """Fill `gross[start:stop]` with a holding's returns; return what its weights are divided by at the end.

    `source` (N, days) is growth since the trade with `drift`, daily returns without. Columns are added in the order of the selection.
    """
    # Loops from 0 over slices: a start that could be negative would keep the compiler from using vectors.
    days, filled = stop - start, gross[start:stop]
    part = total[start:stop]
    for t in range(days):
        part[t] = 0.0
    for j in range(n_bought):
        weight, prices = bought[j], source[columns[j], start:stop]
        for t in range(days):
            part[t] += weight * prices[t]
    if not drift:
        for t in range(days):
            filled[t] = part[t]
        return 1.0 + part[days - 1] if days else 1.0
    cash = 1.0 - pairwise_sum(bought, 0, n_bought)
    previous = 0.0
    for j in range(n_bought):
        previous += bought[j]
    previous += cash
    for t in range(days):
        value = cash + part[t]
        filled[t] = value / previous - 1.0
        previous = value
    return previous


@compiled
def sort_by_column(columns, weights, count):
    """Sort two short lists by the first, in place."""
    for j in range(1, count):
        column, weight = columns[j], weights[j]
        i = j
        while i > 0 and columns[i - 1] > column:
            columns[i], weights[i] = columns[i - 1], weights[i - 1]
            i -= 1
        columns[i], weights[i] = column, weight


@compiled
def hold(book, top_n, drift, redistribute, max_weight, source, starts, stops, gross, turnovers, buffers):
    """Simulate one portfolio: fill `gross` (days) and `turnovers` (rebalances).

    book : columns, available, scores (rebalances, K), sizes (rebalances), explicit.
    buffers : as `make_buffers` returns them.

    Returns the numbers of distinct symbols bought, of fallbacks to equal, and of selected symbols without a price at the trade.
    """
    columns, available, scores, sizes, explicit = book
    weights, scratch, held, before, wanted, bought, changes, seen, total = buffers
    n_held = n_symbols = n_fallbacks = n_unavailable = 0
    for i in range(len(seen)):
        seen[i] = False
    for e in range(len(starts)):
        count = min(top_n, sizes[e])
        if target_weights(scores, available, e, count, explicit, redistribute, max_weight, weights, scratch):
            n_fallbacks += 1
        n_bought = 0
        for i in range(count):
            if not available[e, i]:
                n_unavailable += 1
            if weights[i] > 0:
                column = columns[e, i]
                wanted[n_bought], bought[n_bought] = column, weights[i]
                n_bought += 1
                if not seen[column]:
                    seen[column] = True
                    n_symbols += 1
        start, stop = starts[e], stops[e]
        divisor = held_returns(source, drift, wanted, bought, n_bought, start, stop, total, gross)
        sort_by_column(wanted, bought, n_bought)
        turnovers[e] = turnover(held, before, n_held, wanted, bought, n_bought, changes)
        n_held = n_bought
        for j in range(n_bought):
            held[j], before[j] = wanted[j], bought[j]
            if stop > start:
                moved = source[wanted[j], stop - 1]
                before[j] = bought[j] * (moved if drift else 1.0 + moved) / divisor
    return n_symbols, n_fallbacks, n_unavailable


@compiled
def make_buffers(n_columns, top_n, n_days):
    """Return the working arrays of `hold`."""
    return (
        np.empty(top_n),
        np.empty((2, top_n)),
        np.empty(top_n, dtype=np.int64),
        np.empty(top_n),
        np.empty(top_n, dtype=np.int64),
        np.empty(top_n),
        np.empty(2 * top_n),
        np.zeros(n_columns, dtype=np.bool_),
        np.empty(n_days),
    )
