"""End to end against 50-digit arithmetic: rewards in, target out, nothing but float64 handed over."""

from __future__ import annotations

import numpy as np
import pytest

import pessimism as ps
from mpmath_reference import condition, regression, solve

EPSILON = np.finfo(np.float64).eps
BETAS = np.geomspace(1e-6, 1e6, 13)

# rule of the reference -> (algorithm at beta, the rule's parameter at beta)
RULES = {
    "mean": lambda beta: (ps.algorithm("shifted_mean", beta=beta, delta=0.0), None),
    "shifted_mean": lambda beta: (ps.algorithm("shifted_mean", beta=beta), None),
    "log_mean_exp above": lambda beta: (ps.algorithm("oapl", beta1=2 * beta, beta2=beta), 2 * beta),
    "log_mean_exp fixed": lambda beta: (ps.algorithm("oapl", beta1=max(1.0, 3 * beta), beta2=beta), max(1.0, 3 * beta)),
    "log_mean_exp equal": lambda beta: (ps.algorithm("oapl.single_beta", beta=beta), beta),
    "log_mean_exp below": lambda beta: (ps.algorithm("oapl", beta1=0.97 * beta, beta2=beta), 0.97 * beta),
    "constant": lambda beta: (ps.algorithm("shifted_mean", beta=beta, baseline=-0.3), -0.3),
}


def instance(seed: int, arms: int, lowest: float) -> ps.Bandit:
    """Rewards of range about one, some tied and some near the mean; log mu down to ``lowest``."""
    rng = np.random.default_rng(seed)
    log_behavior = np.where(rng.random(arms) < 0.3, lowest * rng.random(arms), -3 * rng.random(arms))
    log_behavior[0] = 0.0
    behavior = np.exp(log_behavior) / np.exp(log_behavior).sum()
    reward = rng.choice([0.0, 1.0, 0.5, 1 / 3], arms) if seed % 2 else rng.random(arms)
    return ps.Bandit(behavior, reward)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize(("arms", "lowest"), [(2, -3.0), (5, -20.0), (9, -690.0), (40, -100.0)])
def test_targets_agree_with_fifty_digits(rule: str, arms: int, lowest: float) -> None:
    for index, beta in enumerate(BETAS):
        bandit = instance(17 * arms + index, arms, lowest)
        algorithm, parameter = RULES[rule](float(beta))
        target = ps.induced_target(bandit, algorithm)
        if target.method != "closed form":
            assert target.regime == "negative"
            continue
        problem = regression(bandit.behavior, bandit.reward, float(beta), rule.split()[0], parameter)
        found = target.log_ratio[problem.arms]
        if "equal" in rule:  # the boundary by construction: the log-ratio is the advantage over beta
            assert target.normalizer == 0
            exact, kappa = problem.advantage, 0.0
        else:
            exact, kappa = solve(problem, target.log_ratio, target.normalizer / beta)
        error = max(abs(float(x - f)) / max(1.0, abs(float(x))) for x, f in zip(exact, found, strict=True))
        if "equal" in rule:
            assert error <= 1e-12
            continue
        scale = condition(problem, exact, kappa)
        # One rounding of the normalizer moves a log-ratio by eps * scale * rho / (1 + kappa rho).
        ratio = np.exp([float(x) for x in exact])
        drift = 16 * EPSILON * scale * float(np.max(ratio / np.abs(1 + float(kappa) * ratio)))
        allowed = 1e-12 if target.regime == "positive" else 1e-12 + drift
        assert error <= allowed, (beta, error, drift)
        off = abs(target.normalizer / beta - float(kappa))
        well_conditioned = scale <= 100 * abs(float(kappa))
        allowed = 1e-12 * abs(float(kappa)) if well_conditioned else 10 * EPSILON * scale
        assert off <= allowed, (beta, off, float(kappa))


def test_a_hundred_thousand_arms() -> None:
    bandit = instance(4, 100_000, -300.0)
    target = ps.induced_target(bandit, ps.algorithm("shifted_mean", beta=0.01))
    problem = regression(bandit.behavior, bandit.reward, 0.01, "shifted_mean")
    exact, kappa = solve(problem, target.log_ratio, target.normalizer / 0.01)
    found = target.log_ratio[problem.arms]
    assert max(abs(float(x - f)) / max(1.0, abs(float(x))) for x, f in zip(exact, found, strict=True)) <= 1e-12
    assert abs(target.normalizer / 0.01 / float(kappa) - 1) <= 1e-12


def test_the_regime_of_two_equal_temperatures_is_the_boundary_however_rare_an_arm() -> None:
    bandit = ps.Bandit([1e-300, 0.5, 0.5], [1.0, 0.0, 0.3])
    target = ps.induced_target(bandit, ps.algorithm("oapl", beta1=1e-3, beta2=1e-3))
    assert (target.regime, target.normalizer) == ("boundary", 0.0)
    nominal = ps.nominal_target(bandit, ps.algorithm("oapl", beta1=1e-3, beta2=1e-3))
    np.testing.assert_allclose(target.log_ratio, nominal.log_ratio, rtol=1e-12)
