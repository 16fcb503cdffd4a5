"""Symbolic proofs of claims about dynamics, with sympy, which is imported when a proof runs."""

from __future__ import annotations

from itertools import product

from pessimism.claims.proofs import is_nonnegative, is_positive, is_zero


def group_mean() -> bool:
    """E[(e_1 - mean of G) f_1] = (1 - 1/G) cov(e, f) for independent draws; and what that does to beta l."""
    import sympy as sp

    p, group, beta = sp.symbols("p G beta", positive=True)
    e, f = sp.symbols("e1:3", real=True), sp.symbols("f1:3", real=True)
    weights = (p, 1 - p)
    expected = 0
    for i, j in product(range(2), repeat=2):
        # The mean of a group: 1/G of the sample itself, (G - 1)/G of others, any one of which stands for all.
        expected += weights[i] * weights[j] * (e[i] - e[i] / group - (group - 1) / group * e[j]) * f[i]
    covariance = sum(w * a * b for w, a, b in zip(weights, e, f, strict=True)) - sum(
        w * a for w, a in zip(weights, e, strict=True)
    ) * sum(w * b for w, b in zip(weights, f, strict=True))
    reward, mean, x, delta = sp.symbols("r m l delta", real=True)
    factor = 1 - 1 / group
    plain = factor * (reward - mean) + delta * beta - beta * x
    warmer = beta / factor
    return is_zero(expected - factor * covariance) and is_zero(
        plain - factor * (reward - mean + delta * warmer - warmer * x)
    )


def leave_one_out() -> bool:
    """E[(e_1 - e_2) f_1] = cov(e, f) for independent draws 1 and 2; the mean of others is an average of such e_2."""
    import sympy as sp

    p = sp.symbols("p", positive=True)
    e, f = sp.symbols("e1:3", real=True), sp.symbols("f1:3", real=True)
    weights = (p, 1 - p)
    expected = sum(weights[i] * weights[j] * (e[i] - e[j]) * f[i] for i, j in product(range(2), repeat=2))
    mean = p * e[0] + (1 - p) * e[1]
    return is_zero(expected - sum(w * (a - mean) * b for w, a, b in zip(weights, e, f, strict=True)))


def soft_value_exponential() -> bool:
    """exp(V-hat/beta) is the group's mean of exp(r/beta), whose expectation is exp(V*/beta)."""
    import sympy as sp

    p = sp.symbols("p", positive=True)
    raised = sp.symbols("x1:3", positive=True)
    weights = (p, 1 - p)
    expected = sp.Integer(0)
    for group in product(range(2), repeat=3):
        chance = sp.prod([weights[i] for i in group])
        expected += chance * sum(raised[i] for i in group) / 3
    return is_zero(expected - (p * raised[0] + (1 - p) * raised[1]))


def boundary() -> bool:
    """From pi_k = mu e^(k r/beta)/Z_k the target of the boundary, pi_k e^(r/beta)/Z, is pi_k+1; three arms."""
    import sympy as sp

    beta, count = sp.symbols("beta k", positive=True)
    reward = sp.symbols("r1:4", real=True)
    mu = sp.symbols("mu1:4", positive=True)

    def tilt(weights: list, times: object) -> list:
        raised = [w * sp.exp(times * r / beta) for w, r in zip(weights, reward, strict=True)]
        return [value / sum(raised) for value in raised]

    again = tilt(tilt(list(mu), count), 1)
    return all(sp.simplify(a / b) == 1 for a, b in zip(again, tilt(list(mu), count + 1), strict=True))


def gain() -> bool:
    """beta x + lambda rho = r - V, weighed by pi - mu: the gain is beta E[(rho - 1) x] + lambda E[(rho - 1)^2]."""
    import sympy as sp

    beta, lam, baseline = sp.symbols("beta lambda V", real=True)
    mu1, mu2, rho1, rho2 = sp.symbols("mu1 mu2 rho1 rho2", positive=True)
    mu3 = 1 - mu1 - mu2
    rho3 = (1 - mu1 * rho1 - mu2 * rho2) / mu3
    x = sp.symbols("x1:4", real=True)
    weights, ratios = (mu1, mu2, mu3), (rho1, rho2, rho3)
    gained = spent = sp.Integer(0)
    for m, rho, log_ratio in zip(weights, ratios, x, strict=True):
        reward = baseline + beta * log_ratio + lam * rho
        gained += m * (rho - 1) * reward
        spent += beta * m * (rho - 1) * log_ratio + lam * m * (rho - 1) ** 2
    return is_zero(gained - spent)


def behind_nominal() -> bool:
    """k/beta less k slopes 1/(beta + lambda_j rho_j) is a sum of positive terms; one of them."""
    import sympy as sp

    beta, lam, rho = sp.symbols("beta lambda rho", positive=True)
    return is_positive(1 / beta - 1 / (beta + lam * rho))


def frozen_reinforce() -> bool:
    """The step mu_y A_y - pi_y E A in the logits is mu_y (r_y - E r) at any policy, every time the same; two arms."""
    import sympy as sp

    mu, policy = sp.symbols("mu pi", positive=True)
    one, two = sp.symbols("r1 r2", real=True)
    mean = mu * one + (1 - mu) * two
    average = mu * (one - mean) + (1 - mu) * (two - mean)
    return is_zero(mu * (one - mean) - policy * average - mu * (one - mean))


def asymre_gain() -> bool:
    """With w_i = mu_i A_i - tau, tau >= 0: sum w_i A_i - sum w_i^2/mu_i = tau sum w_i/mu_i >= 0; two kept arms."""
    import sympy as sp

    mu = sp.symbols("mu1:3", positive=True)
    w = sp.symbols("w1:3", positive=True)
    tau = sp.symbols("tau", nonnegative=True)
    advantages = [(a + tau) / m for a, m in zip(w, mu, strict=True)]
    left = sum(a * b for a, b in zip(w, advantages, strict=True)) - sum(a**2 / m for a, m in zip(w, mu, strict=True))
    # pi = w/s, s = sum w = E A: E_pi A - s (1 + chi2) = left/s, and E_pi A - s is the gain.
    return is_zero(left - tau * sum(a / m for a, m in zip(w, mu, strict=True))) and is_nonnegative(left)


def chi_square_gain() -> bool:
    """sum mu (1 + (r - E r)/s) r - E r = Var(r)/s; two arms."""
    import sympy as sp

    mu, s = sp.symbols("mu s", positive=True)
    rewards = sp.symbols("r1 r2", real=True)
    weights = (mu, 1 - mu)
    mean = sum(w * r for w, r in zip(weights, rewards, strict=True))
    value = sum(w * (1 + (r - mean) / s) * r for w, r in zip(weights, rewards, strict=True))
    return is_zero(value - mean - sum(w * (r - mean) ** 2 for w, r in zip(weights, rewards, strict=True)) / s)


def leakage() -> bool:
    """An unsampled arm moves by -pi lambda: it stands still with pi > 0 only if lambda = 0, and then c = 0."""
    import sympy as sp

    policy, weight, beta = sp.symbols("pi w beta", positive=True)
    lam, advantage, x = sp.symbols("lambda A x", real=True)
    still = sp.solve(-policy * lam, lam)
    arm = sp.solve((weight * (advantage - beta * x) - policy * lam).subs(lam, still[0]), x)
    return still == [0] and is_zero(arm[0] - advantage / beta)


def length_level() -> bool:
    """mu (A - beta l/n)/n = lambda mu rho is beta/n^2 l + lambda rho = A/n."""
    import sympy as sp

    mu, beta, rho, length = sp.symbols("mu beta rho n", positive=True)
    advantage, lam, x = sp.symbols("A lambda l", real=True)
    left = mu * (advantage - beta * x / length) / length - lam * mu * rho
    return is_zero(left / mu - (advantage / length - beta / length**2 * x - lam * rho))
