"""Symbolic proofs with sympy: each returns True only if sympy itself reduces the statement to True or 0.

sympy is imported when a proof runs. Positive quantities are declared positive, which is all that is assumed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any


@dataclass(frozen=True)
class Proof:
    """A proof and what it covers of its claim."""

    prove: Callable[[], bool]
    covers: str


def is_zero(expression: Any) -> bool:
    """Whether sympy reduces an expression to 0."""
    import sympy as sp

    return sp.simplify(sp.expand(expression)) == 0


def is_positive(expression: Any) -> bool:
    """Whether sympy shows an expression positive from the assumptions on its symbols."""
    import sympy as sp

    return sp.factor(sp.simplify(expression)).is_positive is True


def is_nonnegative(expression: Any) -> bool:
    """Whether sympy shows an expression nonnegative from the assumptions on its symbols."""
    import sympy as sp

    return sp.factor(sp.simplify(expression)).is_nonnegative is True


def _positive(names: str) -> Any:
    import sympy as sp

    return sp.symbols(names, positive=True)


def _real(names: str) -> Any:
    import sympy as sp

    return sp.symbols(names, real=True)


def _slope() -> Any:
    """d log rho/dr from beta log rho + lambda rho = r - V, by implicit differentiation."""
    import sympy as sp

    beta, normalizer, rho = _positive("beta lambda rho")
    reward, baseline = _real("r V")
    equation = beta * sp.log(rho) + normalizer * rho - (reward - baseline)
    return sp.simplify(-sp.diff(equation, reward) / sp.diff(equation, rho) / rho)


def equation() -> bool:
    """rho = W(kappa e^(A/beta))/kappa solves beta log rho + lambda rho = A, through W e^W = z."""
    import sympy as sp

    beta, kappa, w = _positive("beta kappa w")
    # z = w e^w defines w = W(z): so e^(A/beta) = w e^w/kappa and A = beta (log w + w - log kappa).
    advantage = beta * (sp.log(w) + w - sp.log(kappa))
    rho = w / kappa
    return is_zero(sp.expand_log(beta * sp.log(rho) + beta * kappa * rho - advantage))


def normalizer() -> bool:
    """Averaging beta x_i + lambda rho_i = A_i under mu, with E rho = 1, gives lambda = E A - beta E x; three arms."""
    import sympy as sp

    beta, lam = _positive("beta lambda")
    mu1, mu2, rho1, rho2 = _positive("mu1 mu2 rho1 rho2")
    mu3 = 1 - mu1 - mu2
    rho3 = (1 - mu1 * rho1 - mu2 * rho2) / mu3
    x = sp.symbols("x1:4", real=True)
    advantages = [beta * v + lam * rho for v, rho in zip(x, (rho1, rho2, rho3), strict=True)]
    weights = (mu1, mu2, mu3)
    mean = sum(m * a for m, a in zip(weights, advantages, strict=True))
    divergence = -sum(m * v for m, v in zip(weights, x, strict=True))
    return is_zero(lam - (mean + beta * divergence))


def slope() -> bool:
    """The slope is 1/(beta + lambda rho), and 1/beta exceeds it by something positive for lambda > 0."""
    beta, lam, rho = _positive("beta lambda rho")
    found = _slope()
    return is_zero(found - 1 / (beta + lam * rho)) and is_positive(1 / beta - found)


def likelihood_order() -> bool:
    """d log(pi*/pi)/dr = 1/beta - slope > 0 for lambda > 0."""
    (beta,) = _positive("beta,")
    return is_positive(1 / beta - _slope())


def unique() -> bool:
    """d rho/d kappa < 0 on every arm for kappa > 0, so E rho(kappa) = 1 has at most one root."""
    import sympy as sp

    kappa, rho = _positive("kappa rho")
    a = _real("a")
    arm = sp.log(rho) + kappa * rho - a
    derivative = -sp.diff(arm, kappa) / sp.diff(arm, rho)
    return is_positive(-derivative)


def sign() -> bool:
    """At kappa = 0, rho = e^a: E rho - 1 = e^((V* - V)/beta) - 1, of the sign of V* - V; E rho falls in kappa."""
    import sympy as sp

    beta, gap = sp.Symbol("beta", positive=True), sp.Symbol("g", real=True)
    surplus = sp.exp(gap / beta) - 1
    # Zero at V = V* and rising: it has the sign of the gap.
    return surplus.subs(gap, 0) == 0 and is_positive(sp.diff(surplus, gap)) and unique()


def dial() -> bool:
    """d slope/d kappa < 0 along the target of an arm's own reward when rho is held: flatter as lambda grows."""
    import sympy as sp

    lam = sp.Symbol("lambda", positive=True)
    return is_positive(-sp.diff(_slope(), lam))


def explicit() -> bool:
    """The Lagrangian of E r - beta KL - (lambda/2) chi2 is stationary where beta log rho + lambda rho = r - V."""
    import sympy as sp

    beta, lam, mu, rho = _positive("beta lambda mu rho")
    reward, multiplier = _real("r m")
    lagrangian = mu * (rho * reward - beta * rho * sp.log(rho) - lam / 2 * (rho - 1) ** 2 - multiplier * rho)
    stationary = sp.diff(lagrangian, rho) / mu
    baseline = multiplier + beta - lam
    concave = -sp.diff(lagrangian, rho, 2)
    return is_zero(stationary - (reward - baseline - beta * sp.log(rho) - lam * rho)) and is_positive(concave)


def cql() -> bool:
    """beta log rho = Q - v with Q = r - alpha (rho - 1) is beta log rho + alpha rho = r - (v - alpha)."""
    import sympy as sp

    beta, alpha, rho = _positive("beta alpha rho")
    reward, level = _real("r v")
    left = beta * sp.log(rho) - (reward - alpha * (rho - 1) - level)
    return is_zero(left - (beta * sp.log(rho) + alpha * rho - (reward - (level - alpha))))


def mean_expansion() -> bool:
    """kappa = Var/(2 beta^2) + O(1/beta^3) for a mean baseline: two arms, general mu, orders in 1/beta matched."""
    import sympy as sp

    t, mu = _positive("t mu")  # t = 1/beta
    one, two, k2 = _real("one two k2")
    other = 1 - mu
    rewards = (other, -mu)  # centered, one apart
    # log rho_i = t r_i - kappa rho_i with kappa = k2 t^2 + ..., rho_i = 1 + t a_i + t^2 b_i + ...
    equations = []
    for reward, second in zip(rewards, (one, two), strict=True):
        rho = 1 + t * reward + t**2 * second
        series = sp.series(sp.log(rho) + k2 * t**2 * rho - t * reward, t, 0, 3).removeO()
        equations.append(sp.expand(series).coeff(t, 2))
    constraint = mu * one + other * two
    [found] = sp.solve([*equations, constraint], [one, two, k2], dict=True)
    variance = mu * other
    return is_zero(found[k2] - variance / 2)


def shifted_normalizer() -> bool:
    """E A = delta beta for V = E r - delta beta, and KL >= 0 term by term: e^x - 1 - x >= 0."""
    import sympy as sp

    beta, delta = _positive("beta delta")
    mean, x = _real("m x")
    advantage = mean - (mean - delta * beta)
    gap = sp.exp(x) - 1 - x
    # Convex with value and slope 0 at 0.
    convex = sp.diff(gap, x, 2).is_positive is True
    return is_zero(advantage - delta * beta) and convex and gap.subs(x, 0) == 0 and sp.diff(gap, x).subs(x, 0) == 0


def shifted_bound() -> bool:
    """For rho >= 1 and lambda >= delta beta: delta beta rho <= beta log rho + lambda rho = r - E r + delta beta."""
    import sympy as sp

    beta, delta = _positive("beta delta")
    extra, log_rho = sp.symbols("e x", nonnegative=True)
    rho = sp.exp(log_rho)
    lam = delta * beta + extra
    gain = beta * log_rho + lam * rho - delta * beta  # r - E r, by the target's equation
    return is_nonnegative(sp.expand(1 + gain / (delta * beta) - rho))


def equivariance_scale() -> bool:
    """Scaling reward, beta, V and lambda by s multiplies the target's equation by s."""
    import sympy as sp

    s, beta, lam, rho = _positive("s beta lambda rho")
    reward, baseline = _real("r V")

    def equation(scale: Any) -> Any:
        return scale * beta * sp.log(rho) + scale * lam * rho - (scale * reward - scale * baseline)

    return is_zero(equation(s) - s * equation(1))


def equivariance_shift() -> bool:
    """Mean and soft value move with the rewards: r - V is unchanged, two arms."""
    import sympy as sp

    beta, mu, shift = _positive("beta mu a")
    one, two = _real("one two")

    def soft(r1: Any, r2: Any) -> Any:
        return beta * sp.log(mu * sp.exp(r1 / beta) + (1 - mu) * sp.exp(r2 / beta))

    def mean(r1: Any, r2: Any) -> Any:
        return mu * r1 + (1 - mu) * r2

    moved = sp.exp((soft(one + shift, two + shift) - soft(one, two)) / beta)
    return is_zero(moved - sp.exp(shift / beta)) and is_zero(mean(one + shift, two + shift) - mean(one, two) - shift)


def first_step() -> bool:
    """At log rho = 0 the coefficients A - beta l and rho (A - beta l) give the step mu (r - E r); two arms."""
    import sympy as sp

    (beta,) = _positive("beta,")
    (mu,) = _positive("mu,")
    x, one, two, baseline = _real("x one two V")
    other = 1 - mu
    mean = mu * one + other * two
    forms = (lambda a: a - beta * x, lambda a: sp.exp(x) * (a - beta * x))
    for form in forms:
        c1, c2 = form(one - baseline).subs(x, 0), form(two - baseline).subs(x, 0)
        step = mu * c1 - mu * (mu * c1 + other * c2)
        if not is_zero(step - mu * (one - mean)):
            return False
    return True


def twins() -> bool:
    """At rho = e^((r - V*)/beta), c/rho (weighted, AWR) and A - beta l (centered) are the same on every arm."""
    import sympy as sp

    beta, rho = _positive("beta rho")
    reward, baseline, top = _real("r V T")
    x = (reward - top) / beta
    error = reward - baseline - beta * x
    weighted = rho * error / rho
    awr = sp.exp((reward - baseline) / beta) / sp.exp(x)
    free = all(is_zero(sp.diff(sp.simplify(value), reward)) for value in (error, weighted, awr))
    return free and is_zero(weighted - (top - baseline))


def awr() -> bool:
    """c = e^(A/beta) = lambda rho gives log rho = A/beta - log lambda: slope 1/beta in r, the same for every V."""
    import sympy as sp

    beta, lam = _positive("beta lambda")
    reward, baseline = _real("r V")
    log_ratio = sp.expand_log(sp.log(sp.exp((reward - baseline) / beta) / lam), force=True)
    return is_zero(sp.diff(log_ratio, reward) - 1 / beta) and is_zero(sp.diff(log_ratio, reward, baseline))


def tpo() -> bool:
    """c = (q - pi)/mu is lambda pi/mu only with lambda = 0, summing over arms, and so pi = q; three arms."""
    import sympy as sp

    q1, q2, lam = _real("q1 q2 lambda")
    p1, p2 = _real("p1 p2")
    solved = sp.solve(
        [q1 - p1 - lam * p1, q2 - p2 - lam * p2, (1 - q1 - q2) - (1 - p1 - p2) - lam * (1 - p1 - p2)],
        [p1, p2, lam],
        dict=True,
    )
    return len(solved) == 1 and all(is_zero(solved[0][a] - b) for a, b in ((p1, q1), (p2, q2), (lam, 0)))


def smoothing() -> bool:
    """rho r/(1 + t rho r) = lambda rho with rho > 0 gives rho = (1/lambda - 1/r)/t."""
    import sympy as sp

    rho, reward, t, lam = _positive("rho r t lambda")
    solved = sp.solve(sp.Eq(reward / (1 + t * rho * reward), lam), rho)
    found = (1 / lam - 1 / reward) / t
    return is_zero(reward / (1 + t * found * reward) - lam) and all(is_zero(s - found) for s in solved)


def cispo() -> bool:
    """cap A = lambda rho above the cap gives rho = cap A/lambda > cap iff A > lambda; below it A = lambda."""
    import sympy as sp

    cap, lam, margin, rho = _positive("cap lambda d rho")
    advantage = lam + margin
    above = sp.solve(sp.Eq(cap * advantage, lam * rho), rho)
    below = sp.solve(sp.Eq(rho * advantage, lam * rho), margin)
    return len(above) == 1 and is_positive(above[0] - cap) and below == []


def topr() -> bool:
    """A = lambda rho for A >= 0; for A < 0, rho (A - lambda) = 0 has no root rho > 0 as lambda > 0."""
    import sympy as sp

    lam, loss, rho = _positive("lambda a rho")
    gain = sp.symbols("g", nonnegative=True)
    x = sp.symbols("x", nonnegative=True)
    kept = sp.solve(sp.Eq(gain, lam * x), x)
    return is_zero(kept[0] - gain / lam) and is_positive(-(rho * -loss - lam * rho))


def soft_value_monotone() -> bool:
    """d V_beta/d beta = -KL(pi*_beta|mu) with pi* = mu e^(r/beta)/Z: two arms, the identity itself."""
    import sympy as sp

    beta, mu = _positive("beta mu")
    reward = _real("r")
    z = mu * sp.exp(reward / beta) + 1 - mu
    value = beta * sp.log(z)
    first, second = mu * sp.exp(reward / beta) / z, (1 - mu) / z
    divergence = first * (reward / beta - sp.log(z)) + second * -sp.log(z)
    return is_zero(sp.diff(value, beta) + divergence)


def leave_one_out() -> bool:
    """w/(S - w) is convex in w < S, so (G - 1) E[w/(S - w)] >= (G - 1)(S/G)/(S - S/G) = 1 by Jensen."""
    import sympy as sp

    w, rest = _positive("w d")
    extra = _positive("h,")[0]  # G = h + 1 >= 2, as a real
    total = sp.Symbol("S", positive=True)
    ratio = w / (total - w)
    convex = sp.diff(ratio, w, 2).subs(total, w + rest)
    group = extra + 1
    at_mean = extra * ratio.subs(w, total / group)
    return is_positive(convex) and is_zero(at_mean - 1)


def anchored() -> bool:
    """E r - beta KL(pi|ref) - (lambda/2) sum pi^2/mu is stationary at beta log(pi/ref) + lambda pi/mu = A."""
    import sympy as sp

    beta, lam, mu, ref, policy = _positive("beta lambda mu ref pi")
    reward, multiplier = _real("r m")
    lagrangian = policy * reward - beta * policy * sp.log(policy / ref) - lam / 2 * policy**2 / mu - multiplier * policy
    stationary = sp.diff(lagrangian, policy)
    wanted = reward - (multiplier + beta) - beta * sp.log(policy / ref) - lam * policy / mu
    return is_zero(stationary - wanted) and is_positive(-sp.diff(lagrangian, policy, 2))


def aggressive() -> bool:
    """For lambda = -m < 0 on the principal branch, m rho < beta, the slope 1/(beta - m rho) exceeds 1/beta."""
    import sympy as sp

    magnitude, rho, slack = _positive("m rho d")
    lam = sp.Symbol("lambda", positive=True)
    beta = sp.Symbol("beta", positive=True)
    slope_below = _slope().subs(lam, -magnitude).subs(beta, slack + magnitude * rho)
    return is_positive(slope_below - 1 / (slack + magnitude * rho))


def branch() -> bool:
    """d log W/d log z = 1/(1 + W): from w e^w = z; the slope of every ratio on the principal branch."""
    import sympy as sp

    z = sp.Symbol("z", positive=True)
    w = sp.LambertW(z)
    return is_zero(sp.diff(w, z) * z / w - 1 / (1 + w))


def chi_square() -> bool:
    """The Lagrangian of E r - (beta/2) chi2 gives rho = 1 + (r - m)/beta, and E rho = 1 sets m = E r; two arms."""
    import sympy as sp

    (beta,) = _positive("beta,")
    mu = _positive("mu,")[0]
    one, two, m = _real("one two m")
    rho = [1 + (r - m) / beta for r in (one, two)]
    [level] = sp.solve(mu * rho[0] + (1 - mu) * rho[1] - 1, m)
    return is_zero(level - (mu * one + (1 - mu) * two))


def carried() -> bool:
    """c = rho u: mu c = lambda pi is u = lambda, E_mu[rho u] = E_pi[u]: the on-policy condition u = const."""
    import sympy as sp

    mu, rho = _positive("mu rho")
    u, lam = _real("u lambda")
    [found] = sp.solve(sp.Eq(mu * rho * u, lam * mu * rho), u)
    return is_zero(found - lam)


PROOFS = MappingProxyType(
    {
        "regression.equation": Proof(lambda: equation() and branch(), "W solves the equation, for kappa > 0"),
        "regression.normalizer": Proof(normalizer, "the identity, for three arms"),
        "regimes.sign": Proof(sign, "the sign of E rho - 1 at kappa = 0, and that E rho falls"),
        "regimes.unique": Proof(unique, "d rho/d kappa < 0 on every arm"),
        "conservatism.slope": Proof(slope, "implicit differentiation"),
        "conservatism.likelihood_ratio": Proof(likelihood_order, "the sign of the derivative"),
        "dial.monotone": Proof(dial, "the slope falls in lambda at a given ratio"),
        "explicit.stationary": Proof(explicit, "first and second order conditions"),
        "cql.fixed_point": Proof(cql, "the equation"),
        "mean.expansion": Proof(mean_expansion, "to second order in 1/beta, for two arms"),
        "shifted.normalizer": Proof(shifted_normalizer, "E A = delta beta and KL >= 0"),
        "shifted.bound": Proof(shifted_bound, "the bound, where rho >= 1"),
        "decoupled.soft_value": Proof(soft_value_monotone, "dV/dbeta = -KL(pi*|mu), for two arms"),
        "twins.nominal": Proof(twins, "the twins' equations at the nominal target"),
        "first_step.same": Proof(first_step, "regression and its weighted twin, for two arms"),
        "equivariance.scale": Proof(equivariance_scale, "the equation"),
        "equivariance.shift": Proof(equivariance_shift, "baselines move with the rewards, for two arms"),
        "anchored.equation": Proof(anchored, "first and second order conditions of the penalized objective"),
        "negative.aggressive": Proof(aggressive, "the slope on the principal branch"),
        "groups.leave_one_out": Proof(leave_one_out, "convexity and Jensen's inequality at the mean"),
        "awr.target": Proof(awr, "the slope, whatever the baseline"),
        "tpo.target": Proof(tpo, "pi = q is the only solution, for three arms"),
        "ls.target": Proof(smoothing, "the ratio on the support"),
        "cispo.target": Proof(cispo, "both sides of the cap"),
        "topr.target": Proof(topr, "both signs of the advantage"),
        "asymre.chi_squared": Proof(chi_square, "the maximizer, for two arms"),
        "nominal.carried_ratio": Proof(carried, "the two conditions are one"),
    }
)
"""Proofs by the id of their claim."""
