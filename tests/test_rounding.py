"""Signs and ranks against exact arithmetic: what rounding of rewards' means must never decide.

Groups and bandits of every ordinary kind (ties, equal rewards, 0/1, decimals, large offsets) are solved in rationals
(objectives free of the log-ratio) or held to their equation in 60 digits (log-ratio regression).
"""

from __future__ import annotations

from fractions import Fraction

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pessimism as ps

EPS = float(np.finfo(np.float64).eps)
KINDS = ("normal", "ties", "equal", "binary", "decimals", "offset")


def draw_rewards(rng: np.random.Generator, kind: str, size: int) -> np.ndarray:
    offset = float(np.round(10.0 ** rng.uniform(0, 6), 1))
    return {
        "normal": lambda: rng.normal(size=size),
        "ties": lambda: rng.integers(-2, 3, size=size) / 4,
        "equal": lambda: np.full(size, rng.choice([1.0, 0.7, 1 / 3, 10.3, 1e6 + 0.1, -5e-324, 1e-300])),
        "binary": lambda: rng.integers(0, 2, size=size).astype(float),
        "decimals": lambda: np.round(rng.choice([10.3, 100.3]) + rng.integers(-4, 5, size=size) / 10, 1),
        "offset": lambda: offset + rng.choice([0.1, 0.3, 0.7, 0.0], size=size),
    }[kind]()


def cases(seed: int) -> tuple[str, np.ndarray, np.ndarray]:
    """A kind, a policy and rewards; every third policy is uniform, every fourth leaves an arm out."""
    rng = np.random.default_rng(seed)
    kind, size = KINDS[seed % len(KINDS)], int(rng.integers(2, 11))
    behavior = np.full(size, 1 / size) if seed % 3 == 0 else rng.dirichlet(np.ones(size))
    if seed % 4 == 1:
        behavior[0] = 0.0
        behavior /= behavior.sum()
    return kind, behavior, draw_rewards(rng, kind, size)


def rational(values: np.ndarray) -> list[Fraction]:
    return [Fraction(float(value)) for value in values]


def mean_of(weights: list[Fraction], values: list[Fraction]) -> Fraction:
    return sum((w * v for w, v in zip(weights, values, strict=True)), Fraction(0))


def projection(pull: list[Fraction]) -> list[Fraction]:
    """[pull - tau]+ / total with sum [pull - tau]+ = total = sum pull > 0, tau >= 0, in rationals."""
    total, ranked = sum(pull, Fraction(0)), sorted(pull, reverse=True)
    level = Fraction(0)
    if any(p < 0 for p in pull):
        for count in range(1, len(ranked) + 1):
            level = (sum(ranked[:count], Fraction(0)) - total) / count
            if count == len(ranked) or ranked[count] <= level:
                break
    return [max(p - level, Fraction(0)) / total for p in pull]


def reinforce_in_rationals(
    weights: list[Fraction], reward: list[Fraction], shift: Fraction
) -> tuple[str, list[Fraction]]:
    """Regime and target of c = r - E r - shift, shift <= 0, with weights that sum to 1."""
    center = mean_of(weights, reward) + shift
    pull = [w * (r - center) for w, r in zip(weights, reward, strict=True)]
    played = [p for p, w in zip(pull, weights, strict=True) if w > 0]
    if shift < 0:
        return "positive", projection(pull)
    if not any(played):
        return "boundary", weights
    winners = [w > 0 and p == max(played) for p, w in zip(pull, weights, strict=True)]
    mass = sum((w for w, won in zip(weights, winners, strict=True) if won), Fraction(0))
    return "boundary", [w / mass if won else Fraction(0) for w, won in zip(weights, winners, strict=True)]


SHIFTS = {"reinforce": 0.0, "rloo": 0.0, "grpo.no_ratio": 0.0, "asymre": -0.1, "asymre, tiny": -1e-7}


def made(name: str) -> ps.Algorithm:
    given = {"shift": SHIFTS[name]} if name.startswith("asymre") else {}
    return ps.algorithm(name.split(",")[0], **given)


def faults_of_reinforce(name: str, seed: int, group: bool) -> list[str]:
    """What is wrong with the target of a plain policy gradient: regime, policy, sum."""
    _, behavior, reward = cases(seed)
    if group:
        behavior = np.full(len(reward), 1 / len(reward))
    exact = [Fraction(1, len(reward))] * len(reward) if group else rational(behavior)
    total = sum(exact, Fraction(0))
    regime, policy = reinforce_in_rationals([w / total for w in exact], rational(reward), Fraction(SHIFTS[name]))
    target = (
        ps.group_target(reward, made(name)) if group else ps.induced_target(ps.Bandit(behavior, reward), made(name))
    )
    found = [] if target.regime == regime else [f"regime {target.regime}, not {regime}"]
    # What rounding of the deviations moves a target by: it divides them by their mean.
    allowed = 64 * EPS * (1 + np.ptp(reward) / abs(SHIFTS[name] or np.inf))
    off = max(abs(float(p) - q) for p, q in zip(policy, target.policy.tolist(), strict=True))
    if not off <= allowed:
        found.append(f"policy off by {off:.1e}")
    if not abs(target.policy.sum() - 1) <= 32 * EPS:
        found.append(f"sum off by {target.policy.sum() - 1:.1e}")
    return found


REGRESSIONS = {
    "opmd": {"tau": 0.3},
    "dro": {"beta": 0.3},
    "dro, hot": {"beta": 1e5},
    "shifted_mean": {"beta": 0.1},
    "pmd_mean": {"tau": 0.2},
    "pmd_partition": {"tau": 0.2},
    "oapl": {"beta1": 1.0, "beta2": 0.1},
    "oapl, hot": {"beta1": 1e6, "beta2": 1e5},
}


def precise_advantage(name: str, weights: list, reward: list, group: bool) -> list:
    """r - V in 60 digits, each baseline as its source writes it."""

    def soft(beta: float, weights: list, values: list):
        beta = mp.mpf(beta)
        return beta * mp.log(mp.fsum(w * mp.exp(v / beta) for w, v in zip(weights, values, strict=True)))

    mean = mp.fsum(w * r for w, r in zip(weights, reward, strict=True))
    entry, parameters = name.split(",")[0], REGRESSIONS[name]
    if entry in ("opmd", "oapl") or (entry == "pmd_partition" and not group):
        value = soft(parameters["beta1"] if entry == "oapl" else parameters["tau"], weights, reward)
        return [r - value for r in reward]
    if entry == "pmd_partition":
        rest = [reward[:i] + reward[i + 1 :] for i in range(len(reward))]
        share = [mp.mpf(1) / (len(reward) - 1)] * (len(reward) - 1)
        return [r - soft(parameters["tau"], share, others) for r, others in zip(reward, rest, strict=True)]
    if entry == "shifted_mean":
        # The baseline's shift is a float, -delta beta.
        return [r - mean + mp.mpf(-1.0 * -parameters["beta"]) for r in reward]
    scale = mp.mpf(len(reward)) / (len(reward) - 1) if entry == "pmd_mean" and group else mp.mpf(1)
    return [scale * (r - mean) for r in reward]


@mp.workdps(60)
def faults_of_regression(name: str, seed: int, group: bool) -> list[str]:
    """Regime by the soft value, and the equation beta x + lambda e^x = A with E e^x = 1, in 60 digits."""
    _, behavior, reward = cases(seed)
    weights = [mp.mpf(1) / len(reward)] * len(reward) if group else [mp.mpf(float(w)) for w in behavior]
    total = mp.fsum(weights)
    weights = [w / total for w in weights]
    algorithm = ps.algorithm(name.split(",")[0], **REGRESSIONS[name])
    target = ps.group_target(reward, algorithm) if group else ps.induced_target(ps.Bandit(behavior, reward), algorithm)
    beta = mp.mpf(algorithm.beta or 0)
    advantage = precise_advantage(name, weights, [mp.mpf(float(r)) for r in reward], group)
    tilt = mp.fsum(w * mp.expm1(a / beta) for w, a in zip(weights, advantage, strict=True))
    regime = "boundary" if abs(tilt) < mp.mpf(10) ** -45 else "positive" if tilt > 0 else "negative"
    found = [] if target.regime == regime else [f"regime {target.regime}, not {regime}"]
    ratio = [mp.exp(mp.mpf(float(x))) for x in target.log_ratio]
    played = [i for i, w in enumerate(weights) if w > 0]
    size = max(abs(advantage[i]) for i in played) / beta
    left = max(
        abs(mp.mpf(float(target.log_ratio[i])) + mp.mpf(target.normalizer) / beta * ratio[i] - advantage[i] / beta)
        for i in played
    )
    if not left <= 1e-13 * (1 if size > 1 else size) * (1 + size) + mp.mpf(10) ** -50:
        found.append(f"equation off by {float(left):.1e}")
    mass = mp.fsum(weights[i] * ratio[i] for i in played) - 1
    if not abs(mass) <= 1e-13 * min(1 + size, 1e3):
        found.append(f"sum off by {float(mass):.1e}")
    return found


@pytest.mark.parametrize("group", [True, False])
@pytest.mark.parametrize("name", SHIFTS)
@given(seed=st.integers(0, 2**32))
def test_plain_policy_gradients_against_rationals(name: str, group: bool, seed: int) -> None:
    assert not faults_of_reinforce(name, seed, group)


@pytest.mark.parametrize("group", [True, False])
@pytest.mark.parametrize("name", REGRESSIONS)
@given(seed=st.integers(0, 2**32))
def test_regressions_against_sixty_digits(name: str, group: bool, seed: int) -> None:
    assert not faults_of_regression(name, seed, group)
