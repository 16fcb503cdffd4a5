"""Accuracy and cost of the Lambert solver: `python -m benchmarks.bench_lambert`.

Costs are ratios taken in this one run: to one pass of scipy.special.wrightomega over the batch's deviations, to the
bytes of behavior and reward, and to scipy.optimize's L-BFGS on softmax logits for single instances. Accuracy is the
worst error against 50-digit mpmath over random instances: log-ratios in units of max(1, |x|), kappa relative where its
condition number is below 100, and everywhere in units of rounding times its condition.
"""

import argparse
import time
import tracemalloc
from collections.abc import Callable

import mpmath as mp
import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, wrightomega

from pessimism.solve import solve_lambert
from tests import mpmath_reference as reference

Row = dict[str, float | str]
COLUMNS = ("solved", "none", "no reference", "ill", "x", "kappa", "kappa in conditions")
EPSILON = float(np.finfo(np.float64).eps)


def best_seconds(call: Callable[[], object], repeats: int = 3) -> float:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def batch(rows: int, arms: int, beta: float, rng: np.random.Generator) -> dict[str, tuple]:
    """The arguments of solve_lambert for one random batch under baselines of each regime."""
    behavior = rng.dirichlet(np.ones(arms), size=rows)
    reward = rng.normal(size=(rows, arms))
    deviation = (reward - np.vecdot(behavior, reward)[:, None]) / beta
    top = deviation.max(axis=-1)
    boundary = top + np.log(np.vecdot(behavior, np.exp(deviation - top[:, None])))
    means = {
        "positive: mean": np.zeros(rows),
        "positive: shifted mean": np.ones(rows),
        "positive: near boundary": -0.7 * boundary,
        "boundary": -boundary,
        "negative": -boundary - 0.2,
    }
    return {name: (behavior, deviation + mean[:, None], deviation, mean) for name, mean in means.items()}


def speed(rows: int, arms: int, betas: tuple[float, ...], seed: int = 0) -> list[Row]:
    table: list[Row] = []
    for beta in betas:
        rng = np.random.default_rng(seed)
        cases = batch(rows, arms, beta, rng)
        unit = best_seconds(lambda deviation=cases["boundary"][2]: wrightomega(deviation), 2)
        for name, arguments in cases.items():
            seconds = best_seconds(lambda arguments=arguments: solve_lambert(*arguments), 2)
            table.append({"beta": beta, "case": name, "passes of wrightomega": seconds / unit})
    return table


def memory(rows: int, arms: int, seed: int = 0) -> float:
    """Peak bytes allocated while solving, result included, per byte of behavior and reward."""
    arguments = batch(rows, arms, 0.5, np.random.default_rng(seed))["positive: mean"]
    tracemalloc.start()
    solve_lambert(*arguments)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / (2 * arguments[0].nbytes)


def single_instance(arms: int = 64, seed: int = 0) -> Row:
    """One instance at a time, against L-BFGS on the same loss; and per instance in a batch."""
    behavior, advantage, deviation, mean = batch(1000, arms, 0.5, np.random.default_rng(seed))["positive: mean"]

    def objective(logits: np.ndarray) -> tuple[float, np.ndarray]:
        log_policy = log_softmax(logits)
        residual = log_policy - np.log(behavior[0]) - advantage[0]
        pull = behavior[0] * residual
        return float(pull @ residual) / 2.0, pull - pull.sum() * np.exp(log_policy)

    options = {"ftol": 1e-16, "gtol": 1e-12, "maxiter": 5000, "maxfun": 20000}
    peer = best_seconds(lambda: minimize(objective, np.log(behavior[0]), jac=True, method="L-BFGS-B", options=options))
    alone = best_seconds(lambda: solve_lambert(behavior[0], advantage[0], deviation[0], mean[0]))
    together = best_seconds(lambda: solve_lambert(behavior, advantage, deviation, mean)) / len(mean)
    return {"microseconds alone": alone * 1e6, "L-BFGS / alone": peer / alone, "L-BFGS / in a batch": peer / together}


def random_instance(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, float]:
    arms = int(rng.choice([2, 3, 10, 30]))
    log_mass = rng.choice([1.0, 10.0, 690.0]) * rng.uniform(-1.0, 0.0, arms)
    log_mass[rng.integers(arms)] = 0.0
    behavior = np.exp(log_mass)
    reward = rng.integers(0, 2, arms).astype(float) if rng.random() < 0.3 else rng.normal(size=arms)
    return behavior / behavior.sum(), reward, (np.ptp(reward) or 1.0) * 10.0 ** rng.uniform(-6.0, 6.0)


def baselines(behavior: np.ndarray, reward: np.ndarray, beta: float) -> list[tuple[str, str, float | None]]:
    zero = reference.regression(behavior, reward, beta, "constant", 0.0)
    boundary, room = float(reference.log_partition(zero)), float(reference.critical_offset(zero))
    negative = [("negative", "constant", (boundary + part * room) * beta) for part in (1e-6, 0.3, 0.9, 1 - 1e-6)]
    return [
        ("positive", "mean", None),
        ("positive", "shifted_mean", None),
        ("positive", "log_mean_exp", 2.0 * beta),
        ("boundary", "log_mean_exp", beta * (1.0 + 1e-9)),
        *negative,
    ]


def accuracy(instances: int, seed: int = 0) -> list[Row]:
    """Worst errors by regime. Where kappa's own rounding moves x by more than 1e-13, x is ill-conditioned: left out."""
    rng = np.random.default_rng(seed)
    worst: dict[str, dict[str, float]] = {}
    for _ in range(instances):
        behavior, reward, beta = random_instance(rng)
        for regime, rule, parameter in baselines(behavior, reward, beta):
            problem = reference.regression(behavior, reward, beta, rule, parameter)
            advantage, deviation, mean = reference.as_floats(problem, len(behavior))
            solution = solve_lambert(behavior, advantage, deviation, mean)
            tally = worst.setdefault(regime, dict.fromkeys(COLUMNS, 0.0))
            if not solution.exists:
                tally["none"] += 1
                continue
            try:
                x, kappa = reference.solve(problem, solution.log_ratio, float(solution.kappa))
            except RuntimeError:  # counted and printed: no reference value, so nothing is claimed of this one
                tally["no reference"] += 1
                continue
            with mp.workdps(problem.digits):
                drift = EPSILON * float(solution.error_scale)
                moved = max(drift * mp.exp(v) / (1 + kappa * mp.exp(v)) for v in x)
                found = (mp.mpf(float(solution.log_ratio[arm])) for arm in problem.arms)
                error = max(abs(f - v) / max(1, abs(v)) for f, v in zip(found, x, strict=True))
                kappa_error = float(abs(mp.mpf(float(solution.kappa)) - kappa))
                condition = reference.condition(problem, x, kappa)
                relative = kappa_error / float(abs(kappa)) if abs(kappa) > 0.01 * condition else 0.0
            tally["solved"] += 1
            tally["ill"] += float(moved > 1e-13)
            tally["x"] = max(tally["x"], float(error) if moved <= 1e-13 else 0.0)
            tally["kappa"] = max(tally["kappa"], relative)
            conditions = kappa_error / (EPSILON * condition) if condition else 0.0
            tally["kappa in conditions"] = max(tally["kappa in conditions"], conditions)
    return [{"regime": regime, **tally} for regime, tally in worst.items()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--instances", type=int, default=100)
    options = parser.parse_args()
    tables = [
        ("speed", speed(options.rows, 64, (1e-3, 0.05, 0.5, 5.0, 1e3))),
        ("memory", [{"peak / input": memory(options.rows, 64)}]),
        ("single instance, 64 arms", [single_instance()]),
        ("accuracy", accuracy(options.instances)),
    ]
    for title, table in tables:
        print(title)
        for row in table:
            cells = (f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items())
            print("  " + ", ".join(cells))


if __name__ == "__main__":
    main()
