"""Targets of one small instance in 50-digit arithmetic (mpmath), to confirm counterexamples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .case import Case

__all__ = ["entropy", "gibbs", "lambert", "margin", "mean", "numbers", "precisely", "soft_value"]

DIGITS = 50


def numbers(case: Case) -> tuple[list[Any], list[Any], Any]:
    """mu, r and beta of a case of one instance, as the simple rationals they stand for, in mpmath."""
    from fractions import Fraction

    import mpmath as mp

    def exact(value: float) -> Any:
        # Searches use denominators up to 100: the nearest such rational is what a float stands for.
        rational = Fraction(value).limit_denominator(1000)
        return mp.mpf(rational.numerator) / rational.denominator

    row = case.bandit
    return [exact(p) for p in row.behavior[0]], [exact(r) for r in row.reward[0]], exact(case.beta)


def gibbs(behavior: Sequence[Any], reward: Sequence[Any], beta: Any) -> list[Any]:
    """mu exp(r/beta)/Z."""
    import mpmath as mp

    raised = [p * mp.exp(r / beta) for p, r in zip(behavior, reward, strict=True)]
    return [value / mp.fsum(raised) for value in raised]


def soft_value(behavior: Sequence[Any], reward: Sequence[Any], beta: Any) -> Any:
    """beta log E exp(r/beta)."""
    import mpmath as mp

    return beta * mp.log(mp.fsum(p * mp.exp(r / beta) for p, r in zip(behavior, reward, strict=True)))


def lambert(behavior: Sequence[Any], reward: Sequence[Any], beta: Any, baseline: Any) -> list[Any]:
    """The Lambert-tempered target in the positive regime, by bisection on log kappa with mpmath's Lambert W."""
    import mpmath as mp

    a = [(r - baseline) / beta for r in reward]

    def total(log_kappa: Any) -> Any:
        kappa = mp.exp(log_kappa)
        return mp.fsum(p * mp.lambertw(kappa * mp.exp(v)).real / kappa for p, v in zip(behavior, a, strict=True)) - 1

    low, high = mp.mpf(-60), mp.mpf(60)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if total(middle) > 0 else (low, middle)
    kappa = mp.exp(low)
    return [p * mp.lambertw(kappa * mp.exp(v)).real / kappa for p, v in zip(behavior, a, strict=True)]


def mean(behavior: Sequence[Any], reward: Sequence[Any]) -> Any:
    """E r."""
    import mpmath as mp

    return mp.fdot(behavior, reward)


def entropy(policy: Sequence[Any]) -> Any:
    """Shannon entropy in nats."""
    import mpmath as mp

    return -mp.fsum(p * mp.log(p) for p in policy if p > 0)


def precisely(confirm):
    """Run a confirmation in 50-digit arithmetic."""

    def run(case: Case) -> bool:
        import mpmath as mp

        with mp.workdps(DIGITS):
            return bool(confirm(case))

    run.__doc__ = confirm.__doc__
    return run


def margin() -> Any:
    """What a difference must exceed to count as shown: far above 50-digit rounding."""
    import mpmath as mp

    return mp.mpf(10) ** -30
