"""From a selection to target weights.

Enters: the selected symbols' signal values, or their returns over the look-back. Leaves: weights of the symbols, each in
[0, max_weight], summing to at most 1; what is missing from 1 is cash. METHOD.md, "Weights".
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

TOO_SHORT = "a selected symbol has no price before the look-back begins"
"""Why the weights are equal where there is no look-back to estimate from."""

# METHOD.md, "Numbers": a denominator of at most this absolute value counts as zero.
_ZERO = 1e-14


def scheme_weights(weighting: str, values: Floats, window: Floats | None) -> tuple[Floats, str | None]:
    """Weigh a selection before any cap, by a formula (`core.optimisation` has the models).

    Parameters
    ----------
    weighting
        "equal", "signal" or "inverse_volatility".
    values
        (k) signal values.
    window
        (lookback_days, k) simple returns ending at e0; None where the history is too short. Read by `inverse_volatility` only.

    Returns
    -------
    weights, reason
        (k) weights that sum to 1, and why they are equal although another weighting was asked for (None: they are as asked).
    """
    equal = np.full(len(values), 1.0 / len(values))
    if weighting == "equal":
        return equal, None
    if weighting == "signal":
        if np.any(values <= 0):
            return equal, "a selected signal value is not positive"
        total = float(np.sum(values))
        if not np.isfinite(total):
            return equal, "the selected signal values are too large to add"
        return values / total, None
    if window is None:
        return equal, TOO_SHORT
    volatility = window.std(axis=0, ddof=1)
    if np.any(volatility <= _ZERO):
        return equal, "a selected symbol's price does not move over the look-back"
    inverse = 1.0 / volatility
    return inverse / inverse.sum(), None


def cap(weights: Floats, max_weight: float) -> Floats:
    """Cut weights to `max_weight` and give the excess to the others, in proportion to what they have.

    What cannot be placed, because all are at the cap, is left out of the sum: it is cash.

    Parameters
    ----------
    weights
        (k) non-negative weights.
    max_weight
        Highest weight of one symbol, in (0, 1].
    """
    if not np.any(weights > max_weight):
        return weights
    total = weights.sum()
    capped = np.zeros(len(weights), dtype=bool)
    result = weights
    while np.any(over := ~capped & (result > max_weight)):
        capped |= over
        rest = weights[~capped].sum()
        left = total - max_weight * capped.sum()
        scale = max(left, 0.0) / rest if rest > 0 else 0.0
        result = np.where(capped, max_weight, weights * scale)
    return result


def place(weights: Floats, available: Bools, missing: str, max_weight: float) -> Floats:
    """Turn pre-availability weights into target weights, given which symbols have a price at the trade.

    Parameters
    ----------
    weights
        (k) as `cap` returns them.
    available
        (k) True where the symbol has a price at e.
    missing
        "redistribute": the weight of the others goes pro rata to the available ones, then the cap again; "cash": it stays cash.
    max_weight
        As in `cap`.
    """
    if available.all():
        return weights
    kept = np.where(available, weights, 0.0)
    if missing == "cash" or kept.sum() <= 0:
        return kept
    return cap(kept * (weights.sum() / kept.sum()), max_weight)
