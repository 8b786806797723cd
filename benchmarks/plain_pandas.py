"""METHOD in plain pandas, as a careful user would write it: the yardstick of the speed benchmarks, and one more oracle.

Default choices only: engagement ratio, calendar months, equal weights, drifting, costs. Enters: the two frames as
read. Leaves: METHOD's numbers.
"""

import numpy as np
import pandas as pd


def select(sentiment: pd.DataFrame, top_n: int, min_likes: int, min_comments: int) -> pd.DataFrame:
    """Return the selected (period, symbol, value), best first within a period."""
    kept = sentiment[(sentiment["twitterLikes"] > min_likes) & (sentiment["twitterComments"] > min_comments)].copy()
    kept["value"] = kept["twitterComments"] / kept["twitterLikes"]
    kept["period"] = kept["date"].dt.to_period("M")
    means = kept.groupby(["period", "symbol"])["value"].mean().reset_index()
    means = means.sort_values(["period", "value", "symbol"], ascending=[True, False, True])
    return means.groupby("period").head(top_n)


def study(
    sentiment: pd.DataFrame,
    prices: pd.DataFrame,
    top_n: int = 5,
    lag: int = 1,
    cost_bps: float = 10.0,
    drift: bool = True,
    min_likes: int = 20,
    min_comments: int = 10,
) -> dict:
    """Run one study on the table and a wide frame of adjusted closes (index date, columns symbol, QQQ among them)."""
    chosen = select(sentiment, top_n, min_likes, min_comments)
    days = prices.index
    filled = prices.ffill()
    rebalances = []
    for period, group in chosen.groupby("period"):
        decided = days.searchsorted(period.end_time.normalize(), side="right") - 1
        if 0 <= decided and decided + lag < len(days) - 1:
            rebalances.append((decided + lag, list(group["symbol"]), period))
    last = days.searchsorted((rebalances[-1][2] + 1).end_time.normalize(), side="right") - 1 + lag
    ends = [trade for trade, _, _ in rebalances[1:]] + [min(last, len(days) - 1)]

    pieces, turnovers, before = [], [], pd.Series(dtype=float)
    for (trade, symbols, _), end in zip(rebalances, ends, strict=True):
        buyable = [symbol for symbol in symbols if pd.notna(prices[symbol].iloc[trade])]
        target = pd.Series(1.0 / len(buyable), index=buyable)
        turnover = target.subtract(before, fill_value=0.0).abs().sum()
        window = filled[buyable].iloc[trade : end + 1]
        if drift:
            growth = window / window.iloc[0]
            wealth = growth.mul(target).sum(axis=1)
            gross = wealth.pct_change().iloc[1:]
            before_next = target * growth.iloc[-1] / wealth.iloc[-1]
        else:
            gross = window.pct_change().iloc[1:].mul(target).sum(axis=1)
            before_next = target * (window.iloc[-1] / window.iloc[-2]) / (1 + gross.iloc[-1])
        net = gross.copy()
        net.iloc[0] = (1 - cost_bps / 10_000 * turnover) * (1 + net.iloc[0]) - 1
        before = before_next
        turnovers.append(turnover)
        pieces.append(pd.DataFrame({"gross": gross, "net": net}))
    returns = pd.concat(pieces)
    returns["benchmark"] = prices["QQQ"].pct_change().loc[returns.index]
    summary = {}
    for prefix, name in (("", "net"), ("gross_", "gross"), ("benchmark_", "benchmark")):
        summary |= {prefix + key: value for key, value in numbers(returns[name]).items()}
    net, benchmark = returns["net"], returns["benchmark"]
    active = net - benchmark
    beta = net.cov(benchmark) / benchmark.var()
    return summary | {
        "excess_return": summary["total_return"] - summary["benchmark_total_return"],
        "beta": beta,
        "alpha": (net.mean() - beta * benchmark.mean()) * 252,
        "tracking_error": active.std() * np.sqrt(252),
        "information_ratio": active.mean() / active.std() * np.sqrt(252),
        "n_periods": len(rebalances),
        "mean_turnover": float(np.mean(turnovers)),
        "n_symbols": chosen["symbol"].nunique(),
        "n_days": len(returns),
    }


def numbers(r: pd.Series) -> dict:
    """Compute the numbers of one series of returns."""
    wealth = (1 + r).cumprod()
    total = wealth.iloc[-1] - 1
    peak = wealth.cummax().clip(lower=1.0)
    worst = (wealth / peak - 1).min()
    quantile = r.quantile(0.05)
    annual = (1 + total) ** (252 / len(r)) - 1
    return {
        "total_return": total,
        "annualized_return": annual,
        "annualized_volatility": r.std() * np.sqrt(252),
        "sharpe_ratio": r.mean() / r.std() * np.sqrt(252),
        "sortino_ratio": r.mean() / np.sqrt((r.clip(upper=0) ** 2).mean()) * np.sqrt(252),
        "max_drawdown": worst,
        "calmar_ratio": annual / abs(worst),
        "value_at_risk_95": -quantile,
        "conditional_value_at_risk_95": -r[r <= quantile].mean(),
        "hit_rate": (r > 0).mean(),
    }
