"""Optimised weights: skfolio's own, independent oracles, constraints, degenerate input, the same bits everywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import scipy.cluster.hierarchy as hierarchy
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize
from scipy.spatial.distance import squareform

from workbench import StudyConfig, load_market, run_study
from workbench.core import optimisation
from workbench.core.metrics import daily_rate
from workbench.core.optimisation import OPTIMISERS, optimised_weights
from workbench.plan import plan, rank, weigh

Floats = npt.NDArray[np.float64]

ROOT = Path(__file__).resolve().parents[2]
COVARIANCE_MODELS = tuple(name for name in OPTIMISERS if name != "min_cvar")


def random_returns(seed: int, days: int = 126, count: int = 5, drift: float = 0.002) -> Floats:
    """Return (days, count) daily returns with one common factor, fat tails and unequal volatilities."""
    random = np.random.default_rng(seed)
    factor = 0.01 * random.standard_t(4, (days, 1)) * random.uniform(0.5, 1.5, count)
    return factor + random.standard_t(4, (days, count)) * random.uniform(0.008, 0.04, count) + drift


def allowed(weights: Floats, max_weight: float) -> bool:
    """Tell whether weights keep every constraint to 1e-8."""
    return bool(abs(weights.sum() - 1) <= 1e-8 and weights.min() >= -1e-8 and weights.max() <= max_weight + 1e-8)


# --- skfolio's own ----------------------------------------------------------------------------------------------------


def skfolio_weights(weighting: str, returns: Floats, max_weight: float, rate: float) -> Floats:
    """Call skfolio as a user of it would, on returns in per cent so that its solver stops late enough."""
    from skfolio import RiskMeasure
    from skfolio.moments import OAS
    from skfolio.optimization import HierarchicalRiskParity, MeanRisk, ObjectiveFunction, RiskBudgeting
    from skfolio.prior import EmpiricalPrior

    prior = EmpiricalPrior(covariance_estimator=OAS())
    solver = {"tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12}
    ratio, least = ObjectiveFunction.MAXIMIZE_RATIO, ObjectiveFunction.MINIMIZE_RISK
    model = {
        "min_variance": MeanRisk(least, prior_estimator=prior, max_weights=max_weight, solver_params=solver),
        "max_sharpe": MeanRisk(
            ratio, prior_estimator=prior, max_weights=max_weight, risk_free_rate=100 * rate, solver_params=solver
        ),
        "risk_parity": RiskBudgeting(prior_estimator=prior, max_weights=max_weight, solver_params=solver),
        "hrp": HierarchicalRiskParity(prior_estimator=prior, max_weights=max_weight),
        "min_cvar": MeanRisk(least, RiskMeasure.CVAR, max_weights=max_weight, solver_params=solver),
    }[weighting]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return np.asarray(model.fit(100 * returns).weights_)


@pytest.mark.parametrize("weighting", OPTIMISERS)
def test_skfolios_own_weights_are_reproduced(weighting: str) -> None:
    for seed, (days, count, max_weight, rate) in enumerate(
        [(126, 5, 1.0, 0.0), (126, 5, 0.4, 0.0001), (126, 20, 1.0, 0.0), (60, 10, 0.2, 0.0), (10, 5, 1.0, -0.0001)]
    ):
        returns = random_returns(seed, days, count)
        weights, reason = optimised_weights(weighting, returns, max_weight, rate)
        assert reason is None
        assert weights == pytest.approx(skfolio_weights(weighting, returns, max_weight, rate), abs=1e-6)


# --- independent oracles ----------------------------------------------------------------------------------------------


def shrunk_covariance(returns: Floats) -> Floats:
    """Return the OAS covariance, from the formula in scikit-learn's documentation."""
    days, count = returns.shape
    centred = returns - returns.mean(axis=0)
    sample = np.array([[sum(a * b) / days for b in centred.T] for a in centred.T])
    square, trace = float(np.sum(sample * sample)), float(np.trace(sample))
    shrinkage = min((square + trace**2) / ((days + 1) * (square - trace**2 / count)), 1.0)
    return (1 - shrinkage) * sample + shrinkage * trace / count * np.eye(count)


def least(objective: Callable[[Floats], float], count: int, max_weight: float) -> Floats:
    """Return the allowed weights with the least objective, by scipy's SLSQP."""
    budget = {"type": "eq", "fun": lambda w: w.sum() - 1}
    start = np.full(count, 1 / count)
    options = {"ftol": 1e-15, "maxiter": 1000}
    found = minimize(objective, start, bounds=[(0, max_weight)] * count, constraints=budget, options=options)
    return np.asarray(found.x)


@pytest.mark.parametrize("max_weight", [1.0, 0.35])
@pytest.mark.parametrize("seed", range(3))
def test_min_variance_is_what_scipy_finds(seed: int, max_weight: float) -> None:
    returns = random_returns(seed)
    covariance = shrunk_covariance(100 * returns)
    weights, _ = optimised_weights("min_variance", returns, max_weight, 0.0)
    best = least(lambda w: float(w @ covariance @ w), 5, max_weight)
    assert weights == pytest.approx(best, abs=2e-5)  # as near as SLSQP gets; ...
    assert weights @ covariance @ weights <= (best @ covariance @ best) * (1 + 1e-9)
    # ... and where all have a share below the cap, the optimum is the solution of a linear system.
    inside = np.linalg.solve(covariance, np.ones(5))
    inside /= inside.sum()
    if inside.min() > 0 and inside.max() < max_weight:
        assert weights == pytest.approx(inside, abs=1e-6)


def test_min_variance_and_max_sharpe_solve_their_linear_systems_where_no_constraint_binds() -> None:
    returns = random_returns(2, days=250, drift=0.01)
    covariance, rate = shrunk_covariance(returns), 0.001
    for weighting, right in (("min_variance", np.ones(5)), ("max_sharpe", returns.mean(axis=0) - rate)):
        inside = np.linalg.solve(covariance, right)
        inside /= inside.sum()
        assert inside.min() > 0.01
        assert optimised_weights(weighting, returns, 1.0, rate)[0] == pytest.approx(inside, abs=1e-6)


@pytest.mark.parametrize("max_weight", [1.0, 0.35])
@pytest.mark.parametrize("rate", [0.0, 0.001])
@pytest.mark.parametrize("seed", range(3))
def test_max_sharpe_is_what_scipy_finds(seed: int, rate: float, max_weight: float) -> None:
    returns = random_returns(seed, drift=0.004)
    covariance, excess = shrunk_covariance(100 * returns), 100 * (returns.mean(axis=0) - rate)

    def ratio(w: Floats) -> float:
        return float(excess @ w / np.sqrt(w @ covariance @ w))

    weights, reason = optimised_weights("max_sharpe", returns, max_weight, rate)
    best = least(lambda w: -ratio(w), 5, max_weight)
    assert reason is None
    assert weights == pytest.approx(best, abs=1e-4)  # as near as SLSQP gets
    assert ratio(weights) >= ratio(best) - 1e-9


@pytest.mark.parametrize(("seed", "days", "count"), [(0, 126, 5), (1, 126, 20), (2, 20, 8), (3, 5, 6)])
def test_risk_parity_gives_all_the_same_share_in_the_variance(seed: int, days: int, count: int) -> None:
    returns = random_returns(seed, days, count)
    covariance = shrunk_covariance(returns)
    weights, reason = optimised_weights("risk_parity", returns, 1.0, 0.0)
    shares = weights * (covariance @ weights) / (weights @ covariance @ weights)
    assert reason is None
    assert shares == pytest.approx(np.full(count, 1 / count), abs=1e-6)


def bisect(order: list[int], covariance: Floats, weights: Floats) -> None:
    """Lopez de Prado's recursion: split in the middle, weigh the halves against their risk, go on inside them."""
    if len(order) == 1:
        return
    halves = order[: len(order) // 2], order[len(order) // 2 :]
    risks = []
    for half in halves:
        inner = covariance[np.ix_(half, half)]
        inverse = 1 / np.diag(inner)
        inverse /= inverse.sum()
        risks.append(float(inverse @ inner @ inverse))
    for half, other in zip(halves, reversed(risks), strict=True):
        weights[half] *= other / sum(risks)
        bisect(half, covariance, weights)


@pytest.mark.parametrize(("seed", "count"), [(0, 2), (1, 5), (2, 8), (3, 20)])
def test_hrp_is_lopez_de_prados_recursion(seed: int, count: int) -> None:
    returns = random_returns(seed, count=count)
    distance = np.sqrt((1 - np.corrcoef(returns, rowvar=False)) / 2)
    condensed = squareform(distance, checks=False)
    tree = hierarchy.optimal_leaf_ordering(hierarchy.ward(condensed), condensed)
    expected = np.ones(count)
    bisect(hierarchy.leaves_list(tree).tolist(), shrunk_covariance(returns), expected)
    weights, reason = optimised_weights("hrp", returns, 1.0, 0.0)
    assert reason is None
    assert weights == pytest.approx(expected, abs=1e-12)


def value_at_risk_program(returns: Floats, max_weight: float) -> tuple[Floats, float]:
    """Return the weights of the least CVaR at 95 %, and it, by linear programming (Rockafellar and Uryasev 2000)."""
    days, count = returns.shape
    # Unknowns: weights, the value at risk, and each day's loss beyond it.
    cost = np.r_[np.zeros(count), 1, np.full(days, 1 / (0.05 * days))]
    beyond = np.c_[-returns, -np.ones(days), -np.eye(days)]
    budget = np.r_[np.ones(count), np.zeros(days + 1)]
    bounds = [(0, max_weight)] * count + [(None, None)] + [(0, None)] * days
    found = linprog(cost, beyond, np.zeros(days), budget[None], [1.0], bounds, method="highs-ds")
    return found.x[:count], found.fun


@pytest.mark.parametrize("max_weight", [1.0, 0.35])
@pytest.mark.parametrize(("seed", "days", "count"), [(0, 126, 5), (1, 126, 20), (2, 12, 4)])
def test_min_cvar_is_the_solution_of_the_linear_program(seed: int, days: int, count: int, max_weight: float) -> None:
    returns = random_returns(seed, days, count)
    best, risk = value_at_risk_program(100 * returns, max_weight)
    weights, reason = optimised_weights("min_cvar", returns, max_weight, 0.0)
    losses = np.sort(-100 * returns @ weights)[::-1]
    tail = 0.05 * days
    whole = int(tail)
    own = (losses[:whole].sum() + (tail - whole) * losses[whole]) / tail
    assert reason is None
    assert own == pytest.approx(risk, abs=1e-8)
    assert weights == pytest.approx(best, abs=1e-6)


# --- constraints ------------------------------------------------------------------------------------------------------


@st.composite
def windows(draw: st.DrawFn) -> Floats:
    """Draw returns over a look-back: of all sizes, with twins, jumps, quiet and all but dead symbols among them."""
    count, days = draw(st.integers(1, 12)), draw(st.integers(2, 80))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    returns = random_returns(int(random.integers(2**32)), days, count, drift=draw(st.sampled_from([-0.01, 0.0, 0.003])))
    for column in range(count):
        match draw(st.sampled_from(["plain", "plain", "plain", "twin", "jump", "quiet", "one move", "cents"])):
            case "twin":
                returns[:, column] = returns[:, int(random.integers(count))]
            case "jump":
                returns[int(random.integers(days)), column] = random.choice([999.0, -0.999, 1e7])
            case "quiet":
                returns[:, column] *= 1e-5
            case "one move":
                returns[:, column] = 0.0
                returns[int(random.integers(days)), column] = 0.01
            case "cents":
                prices = np.maximum(np.round(np.cumprod(np.r_[1.0, 1 + returns[:, column]]), 2), 0.01)
                returns[:, column] = prices[1:] / prices[:-1] - 1
    return returns * draw(st.sampled_from([1.0, 1.0, 1e-4]))


@pytest.mark.parametrize("weighting", OPTIMISERS)
def test_constraints_hold_on_all_kinds_of_returns(weighting: str) -> None:
    optimised = 0

    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(
        returns=windows(),
        slack=st.sampled_from([None, None, 0.9, 1.0, 1.000001, 1.02, 1.5]),
        rate=st.sampled_from([0.0, 0.0002]),
    )
    def check(returns: Floats, slack: float | None, rate: float) -> None:
        nonlocal optimised
        count = returns.shape[1]
        max_weight = 1.0 if slack is None else min(1.0, slack / count)
        weights, reason = optimised_weights(weighting, returns, max_weight, rate)
        if reason is None:
            optimised += 1
            assert allowed(weights, max_weight)
        else:
            assert weights.tolist() == [1 / count] * count

    check()
    assert optimised >= 15


def test_noise_of_the_solver_is_no_holding_and_does_not_cost_a_sum_of_one() -> None:
    clean = optimisation._clean
    assert clean(np.array([0.6 + 3e-9, 0.4 - 2e-9, 9e-9, -1e-9]), 1.0).tolist()[2:] == [0.0, 0.0]
    assert clean(np.array([0.5 + 1e-9, 0.3, 0.2]), 0.5)[0] == 0.5
    # What is taken from below 1 goes to those that have room, and only among those that hold something.
    assert clean(np.array([0.5 - 1e-9, 0.5 - 1e-9, 0.0]), 0.5).tolist() == [0.5, 0.5, 0.0]
    # Three of 0.3333333 cannot hold all: the little that the fourth has is not noise.
    little = 1 - 3 * 0.333333332
    assert clean(np.array([0.333333332] * 3 + [little]), 0.333333332)[3] == pytest.approx(little, abs=1e-12)
    assert clean(np.array([0.5, 0.4]), 1.0) is None
    assert clean(np.array([1.1, -0.1]), 1.0) is None


# --- where the model cannot answer, or must not answer nonsense -------------------------------------------------------


def reason_of(weighting: str, returns: Floats, max_weight: float = 1.0, rate: float = 0.0) -> str | None:
    """Return why the weights are equal, having checked that they are, or that they are allowed."""
    weights, reason = optimised_weights(weighting, returns, max_weight, rate)
    if reason is None:
        assert allowed(weights, max_weight)
    else:
        assert weights.tolist() == [1 / returns.shape[1]] * returns.shape[1]
    return reason


@pytest.mark.parametrize("weighting", OPTIMISERS)
def test_a_price_that_does_not_move_is_named(weighting: str) -> None:
    returns = random_returns(0)
    returns[:, 2] = 0.0
    assert reason_of(weighting, returns) == "a selected symbol's price does not move over the look-back"


@pytest.mark.parametrize("weighting", OPTIMISERS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e150, 1e200])
def test_returns_that_cannot_be_computed_with_are_named(weighting: str, bad: float) -> None:
    returns = random_returns(0)
    returns[7, 1] = bad
    assert reason_of(weighting, returns) == "a return over the look-back is too large to compute with"


@pytest.mark.parametrize("weighting", OPTIMISERS)
def test_a_look_back_of_one_day_is_named_and_few_days_give_allowed_weights(weighting: str) -> None:
    assert reason_of(weighting, random_returns(0, days=1)) == "the look-back has fewer than 2 days"
    for days in (2, 3, 4):
        for count in (2, 5, 20):
            assert reason_of(weighting, random_returns(days, days, count, drift=0.1)) is None


@pytest.mark.parametrize("weighting", OPTIMISERS)
def test_a_cap_that_leaves_cash_is_infeasible_and_one_that_leaves_no_choice_is_not(weighting: str) -> None:
    returns = random_returns(0, count=3)
    assert reason_of(weighting, returns, max_weight=0.33) == (
        "infeasible: the selected symbols cannot hold everything under max_weight"
    )
    assert optimised_weights(weighting, returns, 1 / 3, 0.0)[1] is None
    assert optimised_weights(weighting, -returns[:, :1], 1.0, 0.0)[0].tolist() == [1.0]
    assert reason_of(weighting, returns, max_weight=1 / 3 + 1e-5) is None


def test_max_sharpe_without_a_mean_above_the_risk_free_rate_is_named() -> None:
    named = "infeasible: no allowed weights had a mean return above the risk-free rate"
    returns = random_returns(0)
    returns -= returns.mean(axis=0) + 0.001  # all means are -0.1 %
    assert reason_of("max_sharpe", returns) == named
    assert reason_of("max_sharpe", returns, rate=-0.002) is None
    # One mean is above, but the cap wants three symbols, which together are below.
    returns[:, 0] += 0.0015
    assert reason_of("max_sharpe", returns) is None
    assert reason_of("max_sharpe", returns, max_weight=0.4) == named
    # None of the others asks for a mean.
    assert [reason_of(weighting, returns) for weighting in OPTIMISERS if weighting != "max_sharpe"] == [None] * 4


@pytest.mark.parametrize("above", [1e-3, 1e-5, 1e-8, 1e-11, 1e-14])
def test_max_sharpe_with_a_mean_hardly_above_the_rate_gives_allowed_weights_or_names_why_not(above: float) -> None:
    returns = random_returns(0)
    returns -= returns.mean(axis=0) + 0.001
    returns[:, 3] += 0.001 + above
    weights, reason = optimised_weights("max_sharpe", returns, 1.0, 0.0)
    if reason is None:
        assert weights[3] > 0.9  # all others lose
    else:
        assert reason.startswith(("infeasible: no allowed", "the solver found no weights"))


@pytest.mark.parametrize("weighting", COVARIANCE_MODELS)
def test_a_covariance_that_is_its_own_target_is_named(weighting: str) -> None:
    # Uncorrelated and equally volatile but for the last digit, on which the sign of the shrinkage then depends.
    wave = np.array([[0.01, 0.01], [-0.01, 0.01], [0.01, -0.01], [-0.01, -0.01]] * 5) + 0.001
    for nudge in (0.0, 1e-17, 2e-17, -3e-17):
        returns = wave.copy()
        returns[0, 0] += nudge
        assert reason_of(weighting, returns) == (
            "the shrinkage is undefined: the returns are uncorrelated and equally volatile to the last digit"
        )
    assert reason_of("min_cvar", wave) is None


@pytest.mark.parametrize("weighting", OPTIMISERS)
def test_two_identical_symbols_get_the_same(weighting: str) -> None:
    for seed in range(3):
        returns = random_returns(seed, count=4, drift=0.01)
        returns[:, 3] = returns[:, 0]
        weights, reason = optimised_weights(weighting, returns, 1.0, 0.0)
        assert reason is None
        # Under min_cvar any split between the two is as good: the solver ends in the middle, if not to the last digit.
        assert weights[3] == pytest.approx(weights[0], abs=1e-3 if weighting == "min_cvar" else 1e-6)
    both = np.repeat(random_returns(9, count=1, drift=0.01), 2, axis=1)
    assert optimised_weights(weighting, both, 1.0, 0.0)[0] == pytest.approx([0.5, 0.5], abs=1e-3)


@pytest.mark.parametrize("weighting", OPTIMISERS)
def test_prices_that_go_up_and_down_by_turns_give_allowed_weights(weighting: str) -> None:
    # The sample covariance is singular, and Ledoit and Wolf would not shrink it.
    returns = np.outer(np.resize([1.0, -0.99], 40), [0.01, 0.02, -0.03])
    assert reason_of(weighting, returns, rate=-0.01) is None


@pytest.mark.parametrize("weighting", ["min_variance", "risk_parity", "hrp"])
def test_a_stock_that_rose_a_thousandfold_in_a_day_gets_little(weighting: str) -> None:
    returns = random_returns(0)
    returns[50, 1] = 999.0
    weights, reason = optimised_weights(weighting, returns, 1.0, 0.0)
    assert reason is None
    assert weights[1] < 0.02
    assert weights[[0, 2, 3, 4]] == pytest.approx(np.full(4, (1 - weights[1]) / 4), abs=0.01)


def test_min_cvar_still_sees_the_others_beside_a_stock_that_rose_a_hundred_millionfold() -> None:
    returns = random_returns(0)
    returns[30:32, 0] = -0.999999, 1e8
    weights, reason = optimised_weights("min_cvar", returns, 1.0, 0.0)
    assert reason is None
    assert weights == pytest.approx(value_at_risk_program(100 * returns, 1.0)[0], abs=1e-6)


def test_the_unit_of_the_returns_does_not_matter() -> None:
    # Of bonds, or of coins: skfolio's own settings are off by five points of weight on the first.
    returns = random_returns(4)
    for weighting in OPTIMISERS:
        weights, _ = optimised_weights(weighting, returns, 0.6, 0.0001)
        for unit in (1e-6, 1e-3, 10.0):
            again, reason = optimised_weights(weighting, returns * unit, 0.6, 0.0001 * unit)
            assert reason is None
            assert again == pytest.approx(weights, abs=2e-6)


def test_a_solver_that_cannot_reach_its_tolerance_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optimisation, "_GAPS", (1e-30,))
    monkeypatch.setattr(optimisation, "_FEASIBILITY", 1e-30)
    for weighting in ("min_variance", "max_sharpe", "risk_parity", "min_cvar"):
        assert reason_of(weighting, random_returns(0)) == "the solver found no weights"


# --- the same bits everywhere, and nothing else -----------------------------------------------------------------------

# Large enough for BLAS to share its work out, and the usual size.
SIZES = ((126, 5), (1000, 100))
PRINT_WEIGHTS = f"""
import json, sys
sys.path[:0] = [{str(ROOT)!r}, {str(Path(__file__).parent)!r}]
from test_optimisation import everything
print(json.dumps(everything()))
"""


def everything() -> dict[str, list[str]]:
    """Return the weights of every model at both sizes, to the last bit."""
    return {
        f"{weighting} {days} {count}": [
            weight.hex()
            for weight in optimised_weights(weighting, random_returns(1, days, count), 0.5, 0.0)[0].tolist()
        ]
        for weighting in OPTIMISERS
        for days, count in SIZES
    }


@pytest.mark.parametrize("threads", ["1", "2"])
def test_another_process_gets_the_same_bits_whatever_its_threads_and_prints_nothing(threads: str) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads, "PYTHONHASHSEED": threads}
    done = subprocess.run(
        [sys.executable, "-W", "always::UserWarning", "-c", PRINT_WEIGHTS],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert json.loads(done.stdout) == everything()
    assert done.stderr == ""


def test_the_layout_of_the_returns_does_not_matter_and_they_stay_as_they_are() -> None:
    returns = random_returns(1, 500, 12)
    wide = np.zeros((500, 24))
    wide[:, ::2] = returns
    for weighting in OPTIMISERS:
        expected = optimised_weights(weighting, returns, 0.5, 0.0)[0].tobytes()
        for same in (np.asfortranarray(returns), wide[:, ::2]):
            kept = same.copy()
            kept.flags.writeable = same.flags.writeable = False
            assert optimised_weights(weighting, same, 0.5, 0.0)[0].tobytes() == expected
            assert np.array_equal(same, kept)


def test_fits_in_several_threads_are_those_in_one_and_leave_threads_and_warnings_as_they_were() -> None:
    from threadpoolctl import threadpool_info

    work = [(weighting, random_returns(seed, 250, 30)) for seed in range(3) for weighting in OPTIMISERS]
    alone = [optimised_weights(weighting, returns, 0.5, 0.0)[0].tobytes() for weighting, returns in work]
    filters, pools = list(warnings.filters), [pool["num_threads"] for pool in threadpool_info()]
    together: dict[int, bytes] = {}

    def fit(position: int) -> None:
        weighting, returns = work[position]
        together[position] = optimised_weights(weighting, returns, 0.5, 0.0)[0].tobytes()

    threads = [threading.Thread(target=fit, args=(position,)) for position in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [together[position] for position in range(len(work))] == alone
    assert [pool["num_threads"] for pool in threadpool_info()] == pools
    assert warnings.filters == filters


@pytest.mark.parametrize("weighting", OPTIMISERS)
def test_nothing_is_printed_and_nothing_warned_of(weighting: str, capfd: pytest.CaptureFixture[str]) -> None:
    jump = random_returns(2, days=4)
    jump[3, 1] = 1e7  # skfolio warns of what the solver makes of this one
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for returns in (random_returns(0), random_returns(0, 2, 20), random_returns(0, 1), jump, jump * np.inf):
            optimised_weights(weighting, returns, 0.5, 0.0)
    assert capfd.readouterr() == ("", "")


def test_skfolio_is_imported_by_the_first_fit_and_not_before() -> None:
    code = """
import sys
import numpy as np
from workbench.plan import plan
from workbench.core.optimisation import optimised_weights
before = "skfolio" in sys.modules
optimised_weights("hrp", np.eye(4)[:, :2] + np.arange(4)[:, None], 0.4, 0.0)  # infeasible: no fit
print(before, "skfolio" in sys.modules)
optimised_weights("hrp", np.eye(4)[:, :2] + np.arange(4)[:, None], 1.0, 0.0)
print("skfolio" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "True"]


# --- through the study ------------------------------------------------------------------------------------------------


def assert_study_runs(market: object, weighting: str) -> None:
    for knobs in ({}, {"max_weight": 0.3, "risk_free_rate": 0.04}, {"top_n": 12, "lookback_days": 30}):
        result = run_study(StudyConfig(weighting=weighting, **knobs), market)
        assert result.summary["n_periods"] >= 10
        for weights in result.weights.values():
            assert sum(weights.values()) == pytest.approx(1.0, abs=1e-8)
            assert max(weights.values()) <= knobs.get("max_weight", 1.0) + 1e-8
            assert min(weights.values()) >= 1e-8  # a holding is no noise of the solver
        fallen = result.losses.loc[result.losses["kind"] == "weights_fallback"]
        assert fallen["reason"].str.startswith(f"{weighting} fell back to equal: ").all()
        named = result.rebalances.loc[result.rebalances["weighting"] == "equal (fallback)", "period"]
        assert set(fallen["period"]) == set(named)
        assert (result.rebalances["weighting"] == weighting).sum() >= 5


@pytest.mark.parametrize("weighting", OPTIMISERS)
def test_a_study_of_the_real_data_runs(weighting: str, real_data: Path) -> None:
    market = load_market(real_data / "sentiment_data.csv", real_data / "prices.csv.gz", benchmark="QQQ")
    assert_study_runs(market, weighting)


@pytest.mark.parametrize("weighting", OPTIMISERS)
def test_a_study_of_the_simulated_data_runs(weighting: str) -> None:
    assert_study_runs(load_market(ROOT / "sentiment_data.csv", "simulated"), weighting)


def test_a_plan_takes_its_weights_from_whoever_knows_them_already() -> None:
    market = load_market(ROOT / "sentiment_data.csv", "simulated")
    config = StudyConfig(weighting="max_sharpe", risk_free_rate=0.04, lookback_days=60, max_weight=0.4)
    ranking = rank(config, market)
    targets = plan(config, market, ranking)
    known = {}
    for target in targets:
        key = target.slot.decision, target.columns.tobytes()
        # What the signal's values are does not matter to an optimiser.
        known[key] = weigh(config, market, np.zeros(len(target.columns)), target.columns, target.slot.decision)
    shared = plan(
        config, market, ranking, lambda _config, _market, _values, columns, row: known[row, columns.tobytes()]
    )
    assert [target.weights.tobytes() for target in shared] == [target.weights.tobytes() for target in targets]
    assert [target.fallback for target in shared] == [target.fallback for target in targets]
    # And what they weigh by is the returns up to e0, at the rate of a day.
    target = next(target for target in targets if target.fallback is None)
    rows = slice(target.slot.decision - 60, target.slot.decision + 1)
    prices = market.prices.filled[rows, target.columns]
    expected, _ = optimised_weights("max_sharpe", prices[1:] / prices[:-1] - 1, 0.4, daily_rate(0.04))
    assert target.wanted.tobytes() == expected.tobytes()
