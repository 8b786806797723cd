"""Small charts of wealth on axes that all of them share, as SVG of a few lines each.

Enters: `date` (ISO days), `net` and `benchmark` (wealth, 1 at the first trade) of each study. Leaves: one symbol that holds the axes, and
a drawing per study that uses it. The vertical scale is logarithmic: equal distances are equal percentages.
"""

from __future__ import annotations

import datetime as dt
import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH, HEIGHT = 240, 132
_LEFT, _RIGHT, _TOP, _BOTTOM = 30, 236, 6, 114
_MOST_TICKS = 5
_STEPS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0)

Wealth = Mapping[str, Sequence[Any]]


@dataclass(frozen=True)
class Axes:
    """What all charts share: the first and the last day (ordinals), the lowest and the highest wealth."""

    first: int
    last: int
    low: float
    high: float

    @classmethod
    def around(cls, wealths: Sequence[Wealth]) -> Axes:
        """Return axes on which all of these fit."""
        days = [_ordinal(day) for wealth in wealths for day in (wealth["date"][0], wealth["date"][-1])] or [0, 1]
        values = [value for wealth in wealths for name in ("net", "benchmark") for value in wealth[name] if value > 0]
        low, high = min(values, default=1.0), max(values, default=1.0)
        return cls(min(days), max(max(days), min(days) + 1), min(low, 0.98), max(high, 1.02))

    def ticks(self) -> list[float]:
        """Return the wealths that are marked: 1, and round steps away from it, or powers of 2 where the range is wide."""
        if self.high / self.low < 4:
            fitting = (step for step in _STEPS if (self.high - self.low) / step <= _MOST_TICKS)
            step = next(fitting, _STEPS[-1])
            steps = range(math.ceil((self.low - 1) / step), math.floor((self.high - 1) / step) + 1)
            return [1 + number * step for number in steps]
        low, high = math.ceil(math.log2(self.low)), math.floor(math.log2(self.high))
        stride = -(-(high - low) // _MOST_TICKS) or 1
        return [2.0**power for power in range(low, high + 1) if power % stride == 0]

    def symbol(self) -> str:
        """Return the hidden drawing that every chart uses: lines and labels of the axes."""
        parts = []
        for tick in self.ticks():
            y = self._y(tick)
            kind = "one" if tick == 1 else "grid"
            parts.append(f'<path class="chart-{kind}" d="M{_LEFT} {y:.1f}H{_RIGHT}"/>')
            parts.append(
                f'<text class="chart-label" x="{_LEFT - 4}" y="{y + 3:.1f}" text-anchor="end">{tick:.3g}</text>'
            )
        for day, x, anchor in ((self.first, _LEFT, "start"), (self.last, _RIGHT, "end")):
            label = dt.date.fromordinal(max(day, 1)).strftime("%Y-%m")
            parts.append(f'<text class="chart-label" x="{x}" y="{HEIGHT - 5}" text-anchor="{anchor}">{label}</text>')
        box = f'viewBox="0 0 {WIDTH} {HEIGHT}"'
        hidden = 'width="0" height="0" style="position:absolute" aria-hidden="true"'
        return f'<svg {hidden}><symbol id="axes" {box}>{"".join(parts)}</symbol></svg>'

    def draw(self, name: str, wealth: Wealth) -> str:
        """Return the chart of one study."""
        label = f"{name}: 1 grew to {wealth['net'][-1]:.2f}, in the benchmark to {wealth['benchmark'][-1]:.2f}"
        lines = "".join(
            f'<path class="{line}" d="{self._path(wealth["date"], wealth[line])}"/>' for line in ("benchmark", "net")
        )
        return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(label)}"><use href="#axes"/>{lines}</svg>'

    def _path(self, days: Sequence[str], values: Sequence[float]) -> str:
        points = (f"{self._x(day):.1f} {self._y(value):.1f}" for day, value in zip(days, values, strict=True))
        return "M" + "L".join(points)

    def _x(self, day: str) -> float:
        return _LEFT + (_RIGHT - _LEFT) * (_ordinal(day) - self.first) / (self.last - self.first)

    def _y(self, value: float) -> float:
        share = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        return _BOTTOM - (_BOTTOM - _TOP) * share


def _ordinal(day: str) -> int:
    return dt.date.fromisoformat(day).toordinal()
