"""A 50-digit reference for Lambert-tempered targets: Newton's method in mpmath, started from float results.

It takes mu, r, beta and the baseline rule as they are, so that it checks whatever computes advantages as well as
whatever solves for the target. mu is read as mu / sum(mu).
"""

import math
from dataclasses import dataclass
from typing import Any

import mpmath as mp
import numpy as np

Real = Any  # mpmath's numbers, whose types no checker knows
DIGITS = 50  # of every result; the work uses more, as a mass of 1e-300 moves kappa in its 300th digit
SMALL = mp.mpf(10) ** -30


@dataclass(frozen=True)
class Regression:
    """advantage, deviation and mean of one instance divided by beta, as mpmath numbers; arms without mass left out.

    weight is the anchor's (behavior, or the reference on the arms that behavior covers), coverage weight / behavior.
    """

    arms: list[int]
    weight: list
    advantage: list
    deviation: list
    mean: Real
    coverage: list
    uncovered: Real
    digits: int


def baseline_value(rule: str, weight: list, reward: list, beta, parameter) -> Real:
    """V of a rule: "mean", "shifted_mean" (E r - beta), "log_mean_exp" (temperature `parameter`) or "constant"."""
    mean = mp.fdot(weight, reward)
    if rule == "mean":
        return mean
    if rule == "shifted_mean":
        return mean - beta
    if rule == "log_mean_exp":
        top = max(reward)
        return top + parameter * mp.log(
            mp.fsum(w * mp.exp((r - top) / parameter) for w, r in zip(weight, reward, strict=True))
        )
    if rule == "constant":
        return parameter
    raise ValueError(f"rule: unknown {rule!r}; known are mean, shifted_mean, log_mean_exp, constant")


def regression(behavior, reward, beta: float, rule: str, parameter=None, reference=None) -> Regression:
    """The exact problem of one instance (K,): floats are taken at face value. reference: the anchor (K,), if not mu."""
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
        anchor, uncovered = weight, mp.mpf(0)
        if reference is not None:
            full = mp.fsum(mp.mpf(float(p)) for p in reference)
            anchor = [mp.mpf(float(reference[i])) / full for i in arms]
            uncovered = 1 - mp.fsum(anchor) if len(arms) < len(behavior) else mp.mpf(0)
        coverage = [p / w for p, w in zip(anchor, weight, strict=True)]
        return Regression(arms, anchor, advantage, deviation, (center - v) / b, coverage, uncovered, digits)


def critical_offset(problem: Regression) -> Real:
    """d_c / beta from its definition with mpmath's own Lambert W."""
    with mp.workdps(problem.digits):
        partition = log_partition(problem)
        nominal = [a - partition for a in problem.advantage]
        c = mp.exp(-1 - max(nominal))
        return mp.log(mp.fsum(w * -_w0(-c * mp.exp(a)) / c for w, a in zip(problem.weight, nominal, strict=True)))


def _w0(z) -> Real:
    """W_0 at z >= -1/e, where rounding of z at the branch point itself may leave the real line."""
    return mp.re(mp.lambertw(z, 0))


def log_partition(problem: Regression) -> Real:
    """log E_mu e^a: the sign of kappa, and minus the offset delta of theory.md 2.11."""
    with mp.workdps(problem.digits):
        top = max(problem.advantage)
        return top + mp.log(
            mp.fsum(w * mp.exp(a - top) for w, a in zip(problem.weight, problem.advantage, strict=True))
        )


def solve(problem: Regression, log_ratio, kappa: float, steps: int = 800) -> tuple[list, Real]:
    """(x, kappa) of x + kappa h e^x = a, E e^x = 1, by Newton from a float start; else RuntimeError."""
    with mp.workdps(problem.digits):
        x = [mp.mpf(float(log_ratio[i])) for i in problem.arms]
        k = mp.mpf(float(kappa))
        for _ in range(steps):
            rho = [mp.exp(v) for v in x]
            pull = [h * p for h, p in zip(problem.coverage, rho, strict=True)]
            room = [1 + k * p for p in pull]
            f = [v + k * p - a for v, p, a in zip(x, pull, problem.advantage, strict=True)]
            # The work's digits count from 1: to them e^x - 1 is right where w e^x still counts.
            surplus = mp.fsum(w * (p - 1) for w, p in zip(problem.weight, rho, strict=True)) - problem.uncovered
            slope = [w * p / q for w, p, q in zip(problem.weight, rho, room, strict=True)]
            change = (surplus - mp.fdot(slope, f)) / mp.fdot(slope, pull)
            step = [-(g + p * change) / q for g, p, q in zip(f, pull, room, strict=True)]
            moved = max(abs(change * p / q) for p, q in zip(pull, room, strict=True))
            k += change
            x = [v + d for v, d in zip(x, step, strict=True)]
            if max(abs(d) for d in step) < SMALL and (moved < SMALL**1.3 or abs(change) <= abs(k) * SMALL):
                return x, k
        raise RuntimeError(f"no convergence in {steps} steps: last step {float(max(abs(d) for d in step)):.3e}")


def condition(problem: Regression, log_ratio: list, kappa) -> float:
    """Condition number of kappa, times |kappa|: what kappa moves by per relative rounding of what it is computed from.

    |m| + KL for kappa = m + KL(mu || pi), E_mu |a| + E_mu |x| for kappa = E_mu[a - x] with a reference; or that of the
    constraint where it is smaller.
    """
    with mp.workdps(problem.digits):
        arms = list(zip(problem.weight, problem.coverage, log_ratio, problem.advantage, strict=True))
        anchored = problem.uncovered == 0 and all(h == 1 for _, h, _, _ in arms)
        if anchored:
            scale = abs(problem.mean) + mp.fsum(w * (mp.expm1(x) - x) for w, _, x, _ in arms)
        else:
            scale = mp.fsum(w / h * (abs(a) + abs(x)) for w, h, x, a in arms if h > 0)
        pull = [w * mp.exp(x) / (1 + kappa * h * mp.exp(x)) for w, h, x, _ in arms]
        noise = mp.fsum(p * (abs(a) + abs(x)) for p, (_, _, x, a) in zip(pull, arms, strict=True))
        slope = mp.fsum(p * h * mp.exp(x) for p, (_, h, x, _) in zip(pull, arms, strict=True))
        return float(min(scale, noise / slope))


def as_floats(problem: Regression, arms: int) -> tuple[np.ndarray, np.ndarray, float]:
    """advantage (K,), deviation (K,), mean rounded to float64; arms without mass get a huge advantage."""
    advantage, deviation = np.full(arms, 1e5), np.full(arms, 1e5)
    advantage[problem.arms] = [float(a) for a in problem.advantage]
    deviation[problem.arms] = [float(s) for s in problem.deviation]
    return advantage, deviation, float(problem.mean)
