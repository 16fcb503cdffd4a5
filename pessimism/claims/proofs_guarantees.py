"""Symbolic proofs of steps of docs/theory/guarantees.md, with sympy, which is imported when a proof runs."""

from __future__ import annotations

from .proofs import is_nonnegative, is_positive, is_zero


def confidence_stationary() -> bool:
    """E r - a S - beta KL, S^2 = sum pi^2/mu, is stationary at beta log rho + (a/S) rho = r - V; three arms."""
    import sympy as sp

    policy, mu = sp.symbols("p1:4", positive=True), sp.symbols("mu1:4", positive=True)
    reward = sp.symbols("r1:4", real=True)
    width, beta = sp.symbols("a beta", positive=True)
    multiplier = sp.symbols("m", real=True)
    spread = sp.sqrt(sum(p**2 / m for p, m in zip(policy, mu, strict=True)))
    arms = list(zip(policy, mu, reward, strict=True))
    value = sum(p * r - beta * p * sp.log(p / m) - multiplier * p for p, m, r in arms) - width * spread

    def equation(p: sp.Expr, m: sp.Expr, r: sp.Expr) -> sp.Expr:
        return r - (multiplier + beta) - beta * sp.log(p / m) - width / spread * p / m

    return all(is_zero(sp.diff(value, p) - equation(p, m, r)) for p, m, r in arms)


def oracle() -> bool:
    """lambda S^2/2 + a^2/(2 lambda) - a S = (lambda S - a)^2/(2 lambda) >= 0."""
    import sympy as sp

    width, lam, spread = sp.symbols("a lambda S", positive=True)
    slack = lam * spread**2 / 2 + width**2 / (2 * lam) - width * spread
    return is_zero(slack - (lam * spread - width) ** 2 / (2 * lam))


def lipschitz() -> bool:
    """d rho/dr = 1/(lambda + beta/rho) <= 1/(lambda + beta/M) for rho <= M."""
    import sympy as sp

    beta, lam, rho, slack = sp.symbols("beta lambda rho d", positive=True)
    reward, baseline = sp.symbols("r V", real=True)
    equation = beta * sp.log(rho) + lam * rho - (reward - baseline)
    slope = -sp.diff(equation, reward) / sp.diff(equation, rho)
    return is_zero(slope - 1 / (lam + beta / rho)) and is_positive(1 / (lam + beta / (rho + slack)) - slope)


def chernoff() -> bool:
    """(E e^(r/beta))^G e^(-G (V* + delta beta)/beta) = e^(-G delta) for V* = beta log E e^(r/beta)."""
    import sympy as sp

    beta, delta, group, raised = sp.symbols("beta delta G M", positive=True)
    soft = beta * sp.log(raised)
    bound = group * sp.log(raised) - group * (soft + delta * beta) / beta
    return is_zero(bound + group * delta)


def slowest_slope() -> bool:
    """The best arm has lambda rho = g + delta beta - beta x, x >= 0, so a slope >= 1/(beta (1 + delta) + g)."""
    import sympy as sp

    beta, delta = sp.symbols("beta delta", positive=True)
    gap, x, rest = sp.symbols("g x rest", nonnegative=True)
    # beta + lambda rho > 0; write it as rest + beta so that sympy sees the sign.
    pull = rest
    known = pull + beta * x - delta * beta  # = g
    slope = 1 / (beta + pull)
    bound = 1 / (beta * (1 + delta) + gap)
    return is_nonnegative((slope - bound).subs(gap, known))


def leak() -> bool:
    """With all other arms at mu e^a the loss is m (log(p/m) - a)^2/2 on the rare arm alone, which vanishes with m."""
    import sympy as sp

    m, left = sp.symbols("m p", positive=True)
    a, delta = sp.symbols("a delta", real=True)
    loss = m * (sp.log(left) - sp.log(m) - a) ** 2 / 2
    rest = sp.exp(-delta) - m * sp.exp(a)  # sum of mu e^a over the others, as the whole sum is e^-delta
    return sp.limit(sp.expand(loss), m, 0, "+") == 0 and is_zero(sp.limit(1 - rest, m, 0) - (1 - sp.exp(-delta)))
