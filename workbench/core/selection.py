"""Ranking: which symbols a period selects.

Enters: a period's signal values, symbols in code-point order. Leaves: positions of the selected symbols, best first.
METHOD.md, "Signal", step 4.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

_DIGITS = 12
# Scaled to 12 digits before the point, a product of floats is off by less than this; nearer to a half, only decimal text is right.
_DOUBT = 5e-3


def round_significant(values: Floats) -> Floats:
    """Round to 12 significant digits, exactly as decimal text would, so that sums that differ in the last bit tie.

    Parameters
    ----------
    values
        (N) float64; NaN stays NaN.
    """
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        exponent = np.floor(np.log10(np.abs(values)))
        scaled = values * 10.0 ** (_DIGITS - 1 - exponent)
        mantissa = np.rint(scaled)
        clear = np.abs(np.abs(scaled - np.trunc(scaled)) - 0.5) > _DOUBT
    carried = np.abs(mantissa) == 10.0**_DIGITS
    mantissa[carried] /= 10.0
    exponent[carried] += 1
    for position in np.flatnonzero(~clear & np.isfinite(values)):
        digits, _, power = f"{values[position]:.{_DIGITS - 1}e}".partition("e")
        mantissa[position], exponent[position] = float(digits.replace(".", "")), int(power)
    # Below 1 a power of ten is not exact, so this may miss the text's float by a bit; equal digits still give equal numbers.
    return np.asarray(mantissa * 10.0 ** (exponent - (_DIGITS - 1)), dtype=np.float64)


def select_top(values: Floats, top_n: int) -> list[npt.NDArray[np.intp]]:
    """Return for each period the positions of the `top_n` largest values, best first; ties go to the earlier symbol.

    Parameters
    ----------
    values
        (P, N) float64 signal, symbols in code-point order; NaN is not ranked.
    top_n
        How many to select; with fewer values, all of them.
    """
    # A stable sort keeps code-point order among equals, and puts NaN last.
    order = np.argsort(-round_significant(values.ravel()).reshape(values.shape), axis=1, kind="stable")
    sizes = np.minimum((~np.isnan(values)).sum(axis=1), top_n)
    return [row[:size] for row, size in zip(order, sizes, strict=True)]
