"""Cost of whole targets, from rewards to policy: `python -m benchmarks.bench_targets`.

As in bench_lambert, costs are ratios taken in this one run: to one pass of scipy.special.wrightomega over the batch, to
the bytes of behavior and reward, and to the best of scipy.optimize at the accuracy that it reaches.
"""

from __future__ import annotations

import subprocess
import sys
import time
import tracemalloc

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax, wrightomega

import pessimism as ps
from benchmarks.bench_lambert import best_seconds
from pessimism.solve import solve_fixed_point
from pessimism.views.comparison import comparison_table

Line = tuple[str, str, str]
"""What was measured, the figure, the goal."""

ALGORITHMS = {
    "mean": ps.algorithm("dro", beta=0.5),
    "shifted mean": ps.algorithm("shifted_mean", beta=0.5),
    "log-mean-exp": ps.algorithm("oapl", beta1=1.0, beta2=0.5),
}
OWN = {
    "A - x^3/2": ps.Algorithm(lambda x, a: a - 0.5 * x**3),
    "A - sinh x": ps.Algorithm(lambda x, a: a - np.sinh(x)),
    "A - x/2": ps.Algorithm(lambda x, a: a - 0.5 * x),
    "rho (A - x/2)": ps.Algorithm(lambda x, a: np.exp(x) * (a - 0.5 * x), anchor="behavior"),
}


def bandit(rows: int, arms: int, seed: int = 0) -> ps.Bandit:
    """Random rewards, behavior policies uniform on the simplex."""
    rng = np.random.default_rng(seed)
    return ps.Bandit(rng.dirichlet(np.ones(arms), size=rows), rng.normal(size=(rows, arms)))


def whole_targets(rows: int, arms: int) -> list[Line]:
    """ps.induced_target on a batch: baseline, solver and everything a Target holds."""
    problem = bandit(rows, arms)
    unit = best_seconds(lambda: wrightomega(problem.reward), 2)
    lines = []
    for name, algorithm in ALGORITHMS.items():
        seconds = best_seconds(lambda algorithm=algorithm: ps.induced_target(problem, algorithm), 2)
        tracemalloc.start()
        ps.induced_target(problem, algorithm)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        what = f"induced_target ({rows}, {arms}), {name}"
        lines.append((f"{what}: passes of wrightomega", f"{seconds / unit:.2f}", ""))
        lines.append((f"{what}: peak memory / input", f"{peak / (2 * problem.reward.nbytes):.1f}", ""))
    return lines


def comparing(rows: int, arms: int) -> list[Line]:
    """ps.compare with its verdict, and with its table, which asks for every metric, beside ps.induced_target."""
    problem, algorithm = bandit(rows, arms), ALGORITHMS["log-mean-exp"]
    unit = best_seconds(lambda: ps.induced_target(problem, algorithm), 2)
    verdict = best_seconds(lambda: ps.compare(problem, algorithm).verdict, 2)
    table = best_seconds(lambda: comparison_table(ps.compare(problem, algorithm)), 1)
    what = f"compare ({rows}, {arms}) / induced_target"
    return [(f"{what}: to the verdict", f"{verdict / unit:.2f}", "<= 3"), (f"{what}: table", f"{table / unit:.2f}", "")]


def against_scipy(arms: int = 64) -> list[Line]:
    """One target in a batch of 1,000 against the best of scipy.optimize on the same problem."""
    problem, algorithm = bandit(1000, arms), ALGORITHMS["mean"]
    exact = ps.induced_target(problem, algorithm).policy[0]
    behavior = problem.behavior[0]
    advantage = algorithm.advantage(problem.reward, problem.behavior)[0]
    beta = algorithm.parameters["beta"]

    def by_logits(logits: np.ndarray) -> tuple[float, np.ndarray]:
        log_policy = log_softmax(logits)
        residual = beta * (log_policy - np.log(behavior)) - advantage
        pull = behavior * residual
        return float(pull @ residual) / (2 * beta), pull - pull.sum() * np.exp(log_policy)

    def by_policy(policy: np.ndarray) -> float:
        return float(behavior @ (beta * np.log(policy / behavior) - advantage) ** 2) / (2 * beta)

    tight = {"ftol": 1e-16, "gtol": 1e-12, "maxiter": 5000, "maxfun": 20000}
    simplex = {"type": "eq", "fun": lambda p: p.sum() - 1, "jac": np.ones_like}
    solvers = {
        "L-BFGS on logits": lambda: softmax(
            minimize(by_logits, np.log(behavior), jac=True, method="L-BFGS-B", options=tight).x
        ),
        "SLSQP on the simplex": lambda: (
            minimize(
                by_policy,
                behavior,
                jac=lambda p: behavior * (beta * np.log(p / behavior) - advantage) / p,
                bounds=[(1e-12, 1.0)] * arms,
                constraints=simplex,
                method="SLSQP",
                options={"ftol": 1e-15, "maxiter": 1000},
            ).x
        ),
    }
    own = best_seconds(lambda: ps.induced_target(problem, algorithm)) / 1000
    lines = []
    for name, solve in solvers.items():
        error = np.abs(solve() - exact).max()
        ratio = best_seconds(solve, 2) / own
        lines.append((f"{name} (error {error:.0e}) / one target, K = {arms}", f"{ratio:.0f}", ">= 1000"))
    return lines


def fixed_points(rows: int = 1000, arms: int = 10) -> list[Line]:
    """Evaluations of an arbitrary coefficient over a batch until every row is solved."""
    problem = bandit(rows, arms)
    lines = []
    for name, algorithm in OWN.items():
        advantage = algorithm.advantage(problem.reward, problem.behavior)
        found = solve_fixed_point(algorithm.coefficient, problem.behavior, advantage)
        solved = f"{found.converged.mean():.1%} solved"
        lines.append((f"fixed point of {name}, ({rows}, {arms}), {solved}: passes", str(found.passes), "<= 50"))
    return lines


def seconds_of(*arguments: str) -> float:
    """Wall-clock time of a Python process."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - started


def importing() -> list[Line]:
    """A fresh interpreter that imports the package."""
    seconds = min(seconds_of("-c", "import pessimism") for _ in range(3))
    return [("import pessimism, interpreter included: seconds", f"{seconds:.2f}", "< 0.5")]


def verifying() -> list[Line]:
    """What `make verify` runs."""
    seconds = seconds_of("-m", "pessimism", "verify", "--bandit", "bandits.instances:digits")
    return [("pessimism verify on instances and digits: seconds", f"{seconds:.0f}", "< 60")]


def show(lines: list[Line]) -> None:
    """A table on standard output."""
    for what, figure, goal in lines:
        print(f"{what:80s} {figure:>8s}  {goal}", flush=True)


def main() -> None:
    """Every table of this file."""
    show(whole_targets(100_000, 64))
    show(comparing(100_000, 64))
    show(against_scipy())
    show(fixed_points())
    show(importing())
    show(verifying())


if __name__ == "__main__":
    main()
