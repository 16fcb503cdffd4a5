"""Claims about log-ratio regression: its Lambert-tempered target, the normalizer, regimes, the boundary."""

from __future__ import annotations

import numpy as np

from ..bandit import Bandit
from ..objectives.catalogue import algorithm
from ..solve import divergences
from ..target import Target
from .case import Case
from .claim import claim, claims_in
from .families import MODERATE, PLAIN
from .support import (
    HERE,
    ROUNDED,
    SOLVED,
    Array,
    advantages,
    coefficient,
    combined,
    induced,
    mass,
    mean,
    nominal,
    over_arms,
    pessimistic,
    regression,
    relative,
    size,
    soft_value,
)
from .symbolic import is_positive, is_zero, positive_symbols, real_symbols


def _equation_proof() -> bool:
    """rho = W(kappa e^(A/beta))/kappa solves beta log rho + lambda rho = A, through W e^W = z."""
    import sympy as sp

    beta, kappa, w = positive_symbols("beta kappa w")
    # z = w e^w defines w = W(z): so e^(A/beta) = w e^w/kappa and A = beta (log w + w - log kappa).
    advantage = beta * (sp.log(w) + w - sp.log(kappa))
    rho = w / kappa
    return is_zero(sp.expand_log(beta * sp.log(rho) + beta * kappa * rho - advantage))


def _branch_proof() -> bool:
    """d log W/d log z = 1/(1 + W): from w e^w = z; the slope of every ratio on the principal branch."""
    import sympy as sp

    z = sp.Symbol("z", positive=True)
    w = sp.LambertW(z)
    return is_zero(sp.diff(w, z) * z / w - 1 / (1 + w))


@claim(
    "regression.equation",
    HERE,
    PLAIN,
    SOLVED,
    proof=lambda: _equation_proof() and _branch_proof(),
    proves="W solves the equation, for kappa > 0",
)
def targets_equation(case: Case) -> Array:
    """The target of c = A - beta l satisfies beta log rho + lambda rho = A on every arm.

    Check: beta log rho + lambda rho = A on every arm, against its terms and the lesser of beta and the rewards.
    """
    return combined(*(_equation(case, induced(case.bandit, a), advantages(case.bandit, a)) for a in _regressions(case)))


def _regressions(case: Case) -> list:
    return [*pessimistic(case), algorithm("opmd", tau=case.beta)]


def _equation(case: Case, target: Target, advantage: Array) -> Array:
    seen = case.bandit.behavior > 0
    x = np.where(seen, target.log_ratio, 0.0)
    tempered, pull = case.beta * x, np.asarray(target.normalizer)[:, None] * np.exp(x)
    residual = np.where(seen, tempered + pull - advantage, 0.0)
    floor = np.minimum(case.beta, size(case.bandit.reward, seen))
    # lambda itself is known to a few epsilon (here 1e-15) times |E A| + beta KL: its condition number.
    identity = np.abs(mean(advantage, case.bandit)) + case.beta * divergences.reverse_kl(x, case.bandit.behavior)
    floor = floor + 1e-15 / SOLVED * np.exp(x) * identity[:, None]
    return over_arms(relative(residual, tempered, pull, advantage, floor), seen)


@claim("regression.policy", HERE, PLAIN, SOLVED)
def are_policies(case: Case) -> Array:
    """Lambert-tempered targets are policies: they sum to one and play no arm that the data never show.

    Check: Targets sum to one, are nonnegative and leave arms of probability zero alone.
    """
    return combined(*(policy_fault(case.bandit, induced(case.bandit, a)) for a in _regressions(case)))


def policy_fault(bandit: Bandit, target: Target) -> Array:
    """How far a target is from being a policy on the arms of the anchor, (n,)."""
    policy = target.policy
    outside = np.where(bandit.anchor == 0, np.abs(policy), 0.0).sum(axis=-1)
    below = np.maximum(-policy, 0).max(axis=-1)
    # The input's own sum may be 1e-9 away from one: what is asked is that its total is kept.
    total = np.abs(policy.astype(np.longdouble).sum(axis=-1) - 1)
    slack = np.abs(bandit.anchor.astype(np.longdouble).sum(axis=-1) - 1)
    return combined(outside, below, np.maximum(total - slack, 0.0))


def _normalizer_proof() -> bool:
    """Averaging beta x_i + lambda rho_i = A_i under mu, with E rho = 1, gives lambda = E A - beta E x; three arms."""
    import sympy as sp

    beta, lam = positive_symbols("beta lambda")
    mu1, mu2, rho1, rho2 = positive_symbols("mu1 mu2 rho1 rho2")
    mu3 = 1 - mu1 - mu2
    rho3 = (1 - mu1 * rho1 - mu2 * rho2) / mu3
    x = sp.symbols("x1:4", real=True)
    advantages = [beta * v + lam * rho for v, rho in zip(x, (rho1, rho2, rho3), strict=True)]
    weights = (mu1, mu2, mu3)
    mean = sum(m * a for m, a in zip(weights, advantages, strict=True))
    divergence = -sum(m * v for m, v in zip(weights, x, strict=True))
    return is_zero(lam - (mean + beta * divergence))


@claim("regression.normalizer", HERE, PLAIN, SOLVED, proof=_normalizer_proof, proves="the identity, for three arms")
def normalizer_identity(case: Case) -> Array:
    """lambda = E_mu[c] = E_mu A + beta KL(mu|pi).

    Check: lambda = E A + beta KL(mu|pi), and = E_mu[c] by the coefficient itself.
    """
    found = []
    for chosen in _regressions(case):
        target = induced(case.bandit, chosen)
        moments = chosen.baseline.exact(case.bandit.reward, case.bandit.behavior)
        spread = case.beta * divergences.reverse_kl(target.log_ratio, case.bandit.behavior)
        found.append(relative(target.normalizer - (moments.mean + spread), moments.mean, spread))
        x = np.where(case.bandit.behavior > 0, target.log_ratio, 0.0)
        c = coefficient(case.bandit, chosen, x)
        size_of_terms = mean(np.abs(moments.advantage) + np.abs(case.beta * x), case.bandit)
        found.append(relative(mean(c, case.bandit) - target.normalizer, size_of_terms))
    return combined(*found)


def log_partition(advantage: Array, beta: float, bandit: Bandit) -> tuple[Array, Array]:
    """(V* - V)/beta = log E e^(A/beta) and E_pi*|A|/beta, which bounds its rounding, as longdouble (n,)."""
    a = np.where(bandit.behavior > 0, advantage.astype(np.longdouble) / beta, -np.inf)
    top = a.max(axis=-1, keepdims=True)
    weights = bandit.behavior / bandit.behavior.astype(np.longdouble).sum(axis=-1, keepdims=True)
    tilted = weights * np.exp(a - top)
    total = tilted.sum(axis=-1)
    # expm1 keeps what rare arms add to a sum that is nearly one.
    small = np.where((top < 100) & (bandit.behavior > 0), a, 0.0)
    value = np.where(top[:, 0] < 100, np.log1p((weights * np.expm1(small)).sum(axis=-1)), top[:, 0] + np.log(total))
    rounding = mass(np.abs(np.where(bandit.behavior > 0, a, 0.0)), (tilted / total[:, None]).astype(np.float64))
    return value, rounding


def _unique_proof() -> bool:
    """d rho/d kappa < 0 on every arm for kappa > 0, so E rho(kappa) = 1 has at most one root."""
    import sympy as sp

    kappa, rho = positive_symbols("kappa rho")
    a = real_symbols("a")
    arm = sp.log(rho) + kappa * rho - a
    derivative = -sp.diff(arm, kappa) / sp.diff(arm, rho)
    return is_positive(-derivative)


def _sign_proof() -> bool:
    """At kappa = 0, rho = e^a: E rho - 1 = e^((V* - V)/beta) - 1, of the sign of V* - V; E rho falls in kappa."""
    import sympy as sp

    beta, gap = sp.Symbol("beta", positive=True), sp.Symbol("g", real=True)
    surplus = sp.exp(gap / beta) - 1
    # Zero at V = V* and rising: it has the sign of the gap.
    return surplus.subs(gap, 0) == 0 and is_positive(sp.diff(surplus, gap)) and _unique_proof()


@claim(
    "regimes.sign",
    HERE,
    PLAIN,
    ROUNDED,
    proof=_sign_proof,
    proves="the sign of E rho - 1 at kappa = 0, and that E rho falls",
)
def regime_sign(case: Case) -> Array:
    """lambda has the sign of V* - V, V* = beta log E exp(r/beta): positive, boundary and negative regime.

    Check: lambda has the sign of V* - V, and the reported regime is that sign; V* by its definition.
    """
    beta, found = case.beta, []
    chosen_ones = [*_regressions(case), algorithm("oapl", beta1=beta * case.ratio, beta2=beta)]
    for chosen in [*chosen_ones, regression(beta, soft_value(beta, 0.05 * np.tanh(case.offset) * beta))]:
        solved = _closed_rows(case.bandit, chosen)
        found.append(_sign_fault(solved, chosen, beta))
    return combined(*found)


def _closed_rows(bandit: Bandit, chosen) -> tuple[Bandit, Array]:
    """The rows that the closed form covers (beyond the critical offset there is no principal solution)."""
    moments = chosen.baseline.exact(bandit.reward, bandit.behavior)
    keep = chosen.induced(bandit, moments).solved
    rows = np.flatnonzero(keep)
    if not rows.size:
        return bandit, keep
    return Bandit(bandit.behavior[rows], bandit.reward[rows]), keep


def _sign_fault(solved: tuple[Bandit, Array], chosen, beta: float) -> Array:
    bandit, keep = solved
    found = np.zeros(len(keep))
    if not keep.any():
        return found
    target = induced(bandit, chosen)
    moments = chosen.baseline.exact(bandit.reward, bandit.behavior)
    gap, rounding = log_partition(moments.advantage, beta, bandit)
    kappa = np.asarray(target.normalizer) / beta
    scale = np.abs(moments.mean) / beta + divergences.reverse_kl(target.log_ratio, bandit.behavior)
    differ = np.sign(gap) != np.sign(kappa)
    wrong = np.minimum(relative(gap, rounding), relative(kappa, scale))
    named = np.select([target.regime == "positive", target.regime == "negative"], [1.0, -1.0], 0.0)
    misnamed = np.where(named != np.sign(kappa), relative(kappa, scale), 0.0)
    found[keep] = combined(np.where(differ, wrong, 0.0), misnamed)
    return found


@claim("regimes.boundary", HERE, PLAIN, SOLVED)
def boundary_is_nominal(case: Case) -> Array:
    """At V = V* the induced target is exactly the nominal one.

    Check: At V = V* the induced target is the nominal one, arm by arm.
    """
    chosen = regression(case.beta, soft_value(case.beta))
    seen = case.bandit.behavior > 0
    target, other = induced(case.bandit, chosen), nominal(case.bandit, chosen)
    x = np.where(seen, other.log_ratio, 0.0)
    # Rounding of V by d moves log rho by d rho/(beta E_pi* rho*): that is the condition number of an arm.
    steepness = 1 + np.exp(
        x
        - np.log(mass(np.exp(2 * (x - x.max(axis=-1, keepdims=True))), case.bandit.behavior))[:, None].astype(
            np.float64
        )
        - 2 * x.max(axis=-1, keepdims=True)
    )
    difference = np.where(seen, target.log_ratio - x, 0.0)
    return over_arms(relative(difference, steepness * np.maximum(size(x, seen), 1e-3)), seen)


@claim("regimes.unique", HERE, MODERATE, SOLVED, proof=_unique_proof, proves="d rho/d kappa < 0 on every arm")
def unique_stationary_point(case: Case) -> Array:
    """For lambda >= 0 the stationary point is unique: E rho falls strictly in kappa = lambda/beta.

    Check: E rho(kappa) = 1 crosses once: below one for larger kappa, above for smaller, W by its defining
    equation.
    """
    bandit, found = case.bandit, []
    seen = bandit.behavior > 0
    for chosen in pessimistic(case):
        target = induced(bandit, chosen)
        x, kappa = np.where(seen, target.log_ratio, 0.0), np.asarray(target.normalizer)[:, None] / case.beta
        for factor in (0.0, 0.5, 0.9, 1.1, 2.0, 10.0):
            # One arm's equation has one root for kappa > 0; Newton in x finds it without any omega function.
            moved = _root(advantages(bandit, chosen) / case.beta, factor * kappa, x)
            surplus = mass(np.expm1(np.clip(moved, None, 700)), bandit.behavior)
            wrong = surplus if factor > 1 else -surplus
            found.append(
                np.where(kappa[:, 0] > 0, np.maximum(relative(wrong, 1 + np.abs(wrong)) * (wrong > 0), 0.0), 0.0)
            )
    return combined(*found)


def _root(a: Array, kappa: Array, start: Array) -> Array:
    """x + kappa e^x = a for kappa >= 0, by Newton on its convex left side (monotone from the right of the root)."""
    x = np.where(
        kappa > 0,
        np.minimum(a, np.maximum(np.log(np.maximum(a, 1.0)) - np.log(np.maximum(kappa, 1e-300)), start) + 1),
        a,
    )
    for _ in range(60):
        pull = kappa * np.exp(np.minimum(x, 709.0))
        x = x - (x + pull - a) / (1 + pull)
    return x


@claim("nominal.gibbs", HERE, PLAIN, SOLVED)
def nominal_is_gibbs(case: Case) -> Array:
    """The nominal target of log-ratio regression is mu exp(r/beta)/Z for every baseline.

    Check: The nominal target is mu e^(r/beta)/Z whatever the baseline, Z summed directly.
    """
    bandit, seen, found = case.bandit, case.bandit.behavior > 0, []
    z = np.where(seen, bandit.reward.astype(np.longdouble) / case.beta, -np.inf)
    z = z - z.max(axis=-1, keepdims=True)
    weights = bandit.behavior / bandit.behavior.astype(np.longdouble).sum(axis=-1, keepdims=True)
    exact = np.where(seen, z - np.log((weights * np.exp(z)).sum(axis=-1, keepdims=True)), 0.0)
    scale = size(bandit.reward / case.beta, seen) * 2 + 1e-6  # constant rewards leave only the rounding of sum(mu)
    for chosen in [*_regressions(case), regression(case.beta, soft_value(case.beta, abs(case.offset) * case.beta))]:
        other = np.where(seen, nominal(bandit, chosen).log_ratio, 0.0)
        found.append(
            over_arms(relative(other - exact, scale + size(advantages(bandit, chosen) / case.beta, seen)), seen)
        )
    return combined(*found)


CLAIMS = claims_in(vars())
