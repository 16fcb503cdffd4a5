"""Claims about coefficients that are free of the ratio: REINFORCE and AsymRE."""

from __future__ import annotations

import numpy as np

from ..algorithm import Algorithm
from ..bandit import Bandit
from ..objectives.catalogue import algorithm
from ..target import Target
from . import exact
from .case import Case
from .claim import claim, claims_in
from .counterexamples import refuted, small_rationals
from .families import ONE_ARM, RANDOM, RARE_ARMS, TIES, ZERO_PROBABILITY
from .support import HERE, ROUNDED, SOLVED, Array, advantages, combined, induced, mass, mean, over_arms, relative
from .symbolic import is_zero, positive_symbols, real_symbols

ARMWISE = (RANDOM, TIES, ZERO_PROBABILITY, RARE_ARMS, ONE_ARM)


def _ratio(case: Case, chosen: Algorithm) -> tuple[Target, Array]:
    """The induced target and pi/mu (n, K), 0 on arms that are never played."""
    target = induced(case.bandit, chosen)
    return target, np.where(case.bandit.behavior > 0, np.exp(target.log_ratio), 0.0)


def _unit(case: Case) -> Bandit:
    """The case with its rewards in units of their largest size, as the objectives with thresholds need."""
    top = np.abs(case.bandit.reward).max(axis=-1, keepdims=True)
    return Bandit(case.bandit.behavior, case.bandit.reward / np.where(top > 0, top, 1.0))


@claim("asymre.theorem_4_2", "AsymRE, arXiv 2506.20520, theorem 4.2", ARMWISE, SOLVED)
def asymre_projection(case: Case) -> Array:
    """REINFORCE with V < E r goes to [mu A - tau]+ / E A (conditions of optimality of that projection).

    Check: pi = [mu A - tau]+ / E A with tau >= 0: by the KKT conditions of that projection, not by its formula.
    """
    bandit, seen, found = _unit(case), case.bandit.behavior > 0, []
    for shift in (-1.0, -0.1, -0.01):
        chosen = algorithm("asymre", shift=shift)
        target = induced(bandit, chosen)
        pull = bandit.behavior * advantages(bandit, chosen)
        # tau = mu A - pi E A on the support, mu A <= tau off it, E A = -shift.
        level = np.where(seen, pull - target.policy * -shift, -np.inf)
        on = target.support & seen & (target.policy > 0)
        top = np.where(on, level, -np.inf).max(axis=-1)
        bottom = np.where(on, level, np.inf).min(axis=-1)
        above = np.where(seen & ~on, pull - bottom[:, None], -np.inf).max(axis=-1)
        scale = mean(np.abs(advantages(bandit, chosen)), bandit)
        found += [
            relative(top - bottom, scale),
            relative(np.maximum(above, 0), scale),
            relative(np.minimum(bottom, 0), scale),
        ]
        found.append(np.abs(target.policy.sum(axis=-1) - 1))
    return combined(*found)


def _chi_square_proof() -> bool:
    """The Lagrangian of E r - (beta/2) chi2 gives rho = 1 + (r - m)/beta, and E rho = 1 sets m = E r; two arms."""
    import sympy as sp

    (beta,) = positive_symbols("beta,")
    mu = positive_symbols("mu,")[0]
    one, two, m = real_symbols("one two m")
    rho = [1 + (r - m) / beta for r in (one, two)]
    [level] = sp.solve(mu * rho[0] + (1 - mu) * rho[1] - 1, m)
    return is_zero(level - (mu * one + (1 - mu) * two))


@claim("asymre.chi_squared", HERE, ARMWISE, ROUNDED, proof=_chi_square_proof, proves="the maximizer, for two arms")
def asymre_chi_square(case: Case) -> Array:
    """Where all A >= 0, V = E r - beta gives rho = 1 + (r - E r)/beta, the chi2-regularized target.

    Check: Where all r - E r + beta >= 0: rho = 1 + (r - E r)/beta, the maximizer of E r - (beta/2) chi2(pi|mu).
    """
    bandit, seen = _unit(case), case.bandit.behavior > 0
    centered = np.where(seen, bandit.reward - mean(bandit.reward, bandit)[:, None], 0.0)
    found = []
    for beta in (2.0, 30.0):
        target, rho = _ratio(Case("", bandit, beta), algorithm("asymre", shift=-beta))
        gradient = np.where(seen, bandit.reward - beta * (rho - 1), -np.inf)
        gap = gradient.max(axis=-1) - mass(np.where(seen, gradient, 0.0), target.policy)
        found += [relative(gap, beta), over_arms(np.abs(rho - 1 - centered / beta), seen)]
    return combined(*found)


@claim("reinforce.collapse", "REC, arXiv 2509.24203; AsymRE, arXiv 2506.20520", ARMWISE, SOLVED)
def reinforce_collapse(case: Case) -> Array:
    """With a mean baseline REINFORCE and unclipped GRPO put all mass on argmax mu A.

    Check: With a mean baseline (and A/std) all mass goes to argmax mu A; where rewards agree nothing moves.
    """
    bandit, seen = _unit(case), case.bandit.behavior > 0
    centered = np.where(seen, bandit.reward - mean(bandit.reward, bandit)[:, None].astype(np.float64), 0.0)
    pull = np.where(seen, bandit.behavior * centered, -np.inf)
    top = pull.max(axis=-1, keepdims=True)
    near = pull >= top - 1e-12
    # The winner's lead must be visible against rounding for "the" arm to mean anything.
    varied = np.abs(centered).max(axis=-1) > 1e-9
    visible = varied & (top[:, 0] > 1e-10)
    found = []
    for name in ("reinforce", "rloo", "grpo.no_ratio"):
        policy = induced(bandit, algorithm(name)).policy
        found.append(np.where(visible, np.abs(1 - np.where(near, policy, 0.0).sum(axis=-1)), 0.0))
    return combined(*found)


@exact.precisely
def _confirm_reinforce(case: Case) -> bool:
    behavior, reward, _ = exact.numbers(case)
    center = exact.mean(behavior, reward)
    pull = [p * (r - center) for p, r in zip(behavior, reward, strict=True)]
    best = max(range(len(pull)), key=lambda i: pull[i])
    return max(pull[i] for i in range(len(pull)) if reward[i] == max(reward)) < pull[best] - exact.margin()


@refuted(
    "reinforce.best_arm",
    search=small_rationals,
    confirm=_confirm_reinforce,
    source="counterexample of the kind of REC, arXiv 2509.24203",
)
def reinforce_best_arm(case: Case) -> Array:
    """REINFORCE with a mean baseline goes to an arm of highest reward.

    Check: REINFORCE with a mean baseline goes to the arm of highest reward, which is false.
    """
    bandit = case.bandit
    best = np.where(bandit.behavior > 0, bandit.reward, -np.inf).max(axis=-1, keepdims=True)
    policy = induced(bandit, algorithm("reinforce")).policy
    return 1 - np.where(bandit.reward == best, policy, 0.0).sum(axis=-1)


CLAIMS = claims_in(vars())
