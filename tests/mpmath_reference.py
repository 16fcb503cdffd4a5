"""A 50-digit reference for Lambert-tempered targets: Newton's method in mpmath, started from float results.

It takes mu, r, beta and the baseline rule as they are, so that it checks whatever computes advantages as well as
whatever solves for the target. mu is read as mu / sum(mu).
"""

import math
from dataclasses import dataclass

import mpmath as mp
import numpy as np

DIGITS = 50  # of every result; the work uses more, as a mass of 1e-300 moves kappa in its 300th digit
SMALL = mp.mpf(10) ** -30


@dataclass(frozen=True)
class Regression:
    """advantage, deviation and mean of one instance divided by beta, as mpmath numbers; arms without mass left out."""

    arms: list[int]
    weight: list
    advantage: list
    deviation: list
    mean: mp.mpf
    digits: int


def baseline_value(rule: str, weight: list, reward: list, beta, parameter) -> mp.mpf:
    """V of a rule: "mean", "shifted_mean" (E r - beta), "log_mean_exp" (temperature `parameter`) or "constant"."""
    mean = mp.fdot(weight, reward)
    if rule == "mean":
        return mean
    if rule == "shifted_mean":
        return mean - beta
    if rule == "log_mean_exp":
        top = max(reward)
        return top + parameter * mp.log(
            mp.fsum(w * mp.exp((r - top) / parameter) for w, r in zip(weight, reward))
        )
    if rule == "constant":
        return parameter
    raise ValueError(f"rule: unknown {rule!r}; known are mean, shifted_mean, log_mean_exp, constant")


def regression(behavior, reward, beta: float, rule: str, parameter: float | None = None) -> Regression:
    """The exact problem of one instance (K,): floats are taken at face value."""
    arms = [i for i, mu in enumerate(behavior) if mu > 0]
    digits = DIGITS + 10 - math.floor(math.log10(min(float(behavior[i]) for i in arms)))
    with mp.workdps(digits):
        mu = [mp.mpf(float(behavior[i])) for i in arms]
        total = mp.fsum(mu)
        weight = [w / total for w in mu]
        r = [mp.mpf(float(reward[i])) for i in arms]
        b = mp.mpf(float(beta))
        v = baseline_value(rule, weight, r, b, None if parameter is None else mp.mpf(float(parameter)))
        center = mp.fdot(weight, r)
        advantage, deviation = [(x - v) / b for x in r], [(x - center) / b for x in r]
        return Regression(arms, weight, advantage, deviation, (center - v) / b, digits)


def critical_offset(problem: Regression) -> mp.mpf:
    """d_c / beta from its definition with mpmath's own Lambert W."""
    with mp.workdps(problem.digits):
        partition = log_partition(problem)
        nominal = [a - partition for a in problem.advantage]
        c = mp.exp(-1 - max(nominal))
        return mp.log(mp.fsum(w * -_w0(-c * mp.exp(a)) / c for w, a in zip(problem.weight, nominal)))


def _w0(z) -> mp.mpf:
    """W_0 at z >= -1/e, where rounding of z at the branch point itself may leave the real line."""
    return mp.re(mp.lambertw(z, 0))


def log_partition(problem: Regression) -> mp.mpf:
    """log E_mu e^a: the sign of kappa, and minus the offset delta of theory.md 2.11."""
    with mp.workdps(problem.digits):
        top = max(problem.advantage)
        return top + mp.log(mp.fsum(w * mp.exp(a - top) for w, a in zip(problem.weight, problem.advantage)))


def solve(problem: Regression, log_ratio, kappa: float, steps: int = 60) -> tuple[list, mp.mpf]:
    """(x, kappa) of x + kappa e^x = a, E e^x = 1, by Newton from a float start; RuntimeError if it does not converge."""
    with mp.workdps(problem.digits):
        x = [mp.mpf(float(log_ratio[i])) for i in problem.arms]
        k = mp.mpf(float(kappa))
        for _ in range(steps):
            rho = [mp.exp(v) for v in x]
            f = [v + k * p - a for v, p, a in zip(x, rho, problem.advantage)]
            u = [1 + k * p for p in rho]
            surplus = mp.fsum(w * mp.expm1(v) for w, v in zip(problem.weight, x))
            pull = [w * p / q for w, p, q in zip(problem.weight, rho, u)]
            change = (surplus - mp.fdot(pull, f)) / mp.fdot(pull, rho)
            step = [-(g + p * change) / q for g, p, q in zip(f, rho, u)]
            k += change
            x = [v + d for v, d in zip(x, step)]
            moved = max(abs(change * p / q) for p, q in zip(rho, u))
            if max(abs(d) for d in step) < SMALL and (moved < SMALL**1.3 or abs(change) <= abs(k) * SMALL):
                return x, k
        raise RuntimeError(
            f"no convergence in {steps} steps: last step {float(max(abs(d) for d in step)):.3e}"
        )


def condition(problem: Regression, log_ratio: list, kappa) -> float:
    """Condition number of kappa: |relative change| per relative change of the mean and of the spread of advantages."""
    with mp.workdps(problem.digits):
        if kappa == 0:
            return float("inf")
        spread = mp.fsum(w * (mp.expm1(v) - v) for w, v in zip(problem.weight, log_ratio))
        return float((abs(problem.mean) + spread) / abs(kappa))


def as_floats(problem: Regression, arms: int) -> tuple[np.ndarray, np.ndarray, float]:
    """advantage (K,), deviation (K,), mean rounded to float64; arms without mass get a huge advantage, to be ignored."""
    advantage, deviation = np.full(arms, 1e5), np.full(arms, 1e5)
    advantage[problem.arms] = [float(a) for a in problem.advantage]
    deviation[problem.arms] = [float(s) for s in problem.deviation]
    return advantage, deviation, float(problem.mean)
