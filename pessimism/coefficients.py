r"""Gradient coefficients $c(\ell, A)$: each objective's update is $E_{y\sim\mu}[c(\ell(y), A(y))\,\nabla\log\pi(y)]$.

Every coefficient is written once, here, for numpy and torch arrays. Conventions for all of them:

* ``log_ratio`` $\ell = \log(\pi/\mu)$ (or $\log(\pi/\pi_{ref})$ where the objective is anchored at a reference) and
  ``advantage`` $A = r - V$ have shape (..., K) with one group on the last axis; the result has that shape and type.
* The ratio is $\rho = e^\ell$.
* Coefficients are stated up to the constant factor of the published loss; :attr:`pessimism.Algorithm.scale` holds it,
  so that ``scale * c`` is minus the derivative of that loss with respect to $\log\pi$.
* *Coupled* coefficients look at the whole group and take ``behavior`` (..., K), its weights: the behavior policy when
  the group is all arms, None (equal weights) for samples drawn from it.

No function here validates its input: they run inside training loops. Parameters are checked where an algorithm is made.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from array_api_compat import array_namespace

from .solve.simplex import Array


def regression(log_ratio: Array, advantage: Array, *, beta: float) -> Array:
    r"""$c = A - \beta\ell$: log-ratio regression (A*-PO, OAPL, Kimi k1.5, PMD-mean, DRO, QRPO).

    Minus the derivative of $(A - \beta\ell)^2/2\beta$.

    >>> import numpy as np
    >>> regression(np.array([0.0, 1.0]), np.array([1.0, 1.0]), beta=0.5)
    array([1. , 0.5])
    """
    return advantage - beta * log_ratio


def weighted_regression(log_ratio: Array, advantage: Array, *, beta: float, cap: float) -> Array:
    r"""$c = \min(\rho, \text{cap})\,(A - \beta\ell)$: importance-weighted regression, the counterfactual twin."""
    xp = array_namespace(log_ratio)
    return xp.exp(_at_most(xp, log_ratio, math.log(cap))) * (advantage - beta * log_ratio)


def centered_regression(log_ratio: Array, advantage: Array, *, beta: float, behavior: Array | None = None) -> Array:
    r"""$c = e - E_w e$ with $e = A - \beta\ell$: regression with a free constant, i.e. on pairs (REBEL). Coupled.

    Minus the derivative of $E_{a,b}[(e_a - e_b)^2]/4\beta$, and of $\mathrm{Var}_w(e)/2\beta$.
    """
    error = advantage - beta * log_ratio
    return error - _average(error, behavior)


def policy_gradient(log_ratio: Array, advantage: Array) -> Array:
    r"""$c = A$: REINFORCE on the data as they come; no ratio at all."""
    if np.broadcast_shapes(advantage.shape, log_ratio.shape) == tuple(advantage.shape):
        return advantage
    return advantage + array_namespace(log_ratio).zeros_like(log_ratio)


def importance_weighted(log_ratio: Array, advantage: Array) -> Array:
    r"""$c = \rho A$: the importance-weighted policy gradient, without clipping."""
    return array_namespace(log_ratio).exp(log_ratio) * advantage


def with_ratio(log_ratio: Array, advantage: Array, *, coefficient: Callable[..., Array]) -> Array:
    r"""$\rho\,c(\ell, A)$: a coefficient that leaves the importance weight out, with the weight put back."""
    return array_namespace(log_ratio).exp(log_ratio) * coefficient(log_ratio, advantage)


def clipped(log_ratio: Array, advantage: Array, *, low: float, high: float, cap: float = math.inf) -> Array:
    r"""$c = \rho A$ while $\rho \le 1 + high$ ($A > 0$) or $1 - low \le \rho \le cap$ ($A < 0$), else 0.

    The derivative of PPO's $\min(\rho A, \mathrm{clip}(\rho, 1 - low, 1 + high) A)$; a finite ``cap`` is dual clipping.

    >>> import numpy as np
    >>> clipped(np.log([1.1, 1.3, 0.9, 0.7]), np.array([1.0, 1.0, -1.0, -1.0]), low=0.2, high=0.2)
    array([ 1.1,  0. , -0.9, -0. ])
    """
    xp = array_namespace(log_ratio)
    keep = _one_side(log_ratio, advantage, low, high, cap)
    return xp.where(keep, importance_weighted(log_ratio, advantage), 0 * advantage)


def truncated(log_ratio: Array, advantage: Array, *, low: float, high: float) -> Array:
    r"""$c = \mathrm{clip}(\rho, low, high)\,A$: CISPO, truncated importance sampling (absolute bounds)."""
    xp = array_namespace(log_ratio)
    return xp.clip(xp.exp(log_ratio), low, high) * advantage


def masked_truncated(
    log_ratio: Array, advantage: Array, *, low: float, high: float, mask_low: float, mask_high: float
) -> Array:
    r"""CISPO's truncated ratio under PPO's one-sided mask (Trinity-RFT)."""
    keep = _one_side(log_ratio, advantage, mask_low, mask_high, math.inf)
    value = truncated(log_ratio, advantage, low=low, high=high)
    return array_namespace(log_ratio).where(keep, value, 0 * advantage)


def tapered(log_ratio: Array, advantage: Array) -> Array:
    r"""$c = A$ for $A \ge 0$ and $\min(\rho, 1)\,A$ for $A < 0$ (TOPR)."""
    xp = array_namespace(log_ratio)
    return xp.where(advantage >= 0, advantage, xp.exp(_at_most(xp, log_ratio, 0.0)) * advantage)


def soft_gate(log_ratio: Array, advantage: Array, *, tau_positive: float, tau_negative: float) -> Array:
    r"""$c = 4\rho\,\sigma(z)(1 - \sigma(z))\,A$, $z = \tau(\rho - 1)$, $\tau$ by the sign of A: SAPO's soft gate."""
    xp = array_namespace(log_ratio)
    tau = xp.where(advantage > 0, tau_positive + 0 * advantage, tau_negative + 0 * advantage)
    steep = xp.abs(tau * xp.expm1(log_ratio))
    # rho and s(1 - s) in one exponential: their product is bounded where the ratio itself overflows.
    return 4 * advantage * xp.exp(log_ratio - steep) / (1 + xp.exp(-steep)) ** 2


def stopped_soft_gate(log_ratio: Array, advantage: Array, *, tau_positive: float, tau_negative: float) -> Array:
    r"""$c = (4/\tau)\,\sigma(\tau(\rho - 1))\,A$: SAPO with a stop-gradient on its gate (Trinity-RFT)."""
    xp = array_namespace(log_ratio)
    tau = xp.where(advantage > 0, tau_positive + 0 * advantage, tau_negative + 0 * advantage)
    return 4 / tau * advantage / (1 + xp.exp(-tau * (xp.exp(log_ratio) - 1)))


def gamma_weighted(
    log_ratio: Array,
    advantage: Array,
    *,
    k_positive: float,
    lambda_positive: float,
    k_negative: float,
    lambda_negative: float,
) -> Array:
    r"""$c = \varphi(\rho)\,A$ with $\varphi(w) = w^k e^{\lambda(1 - w)}$, $(k, \lambda)$ by the sign of A (VESPO)."""
    xp = array_namespace(log_ratio)
    k = xp.where(advantage >= 0, k_positive + 0 * advantage, k_negative + 0 * advantage)
    rate = xp.where(advantage >= 0, lambda_positive + 0 * advantage, lambda_negative + 0 * advantage)
    return xp.exp(k * log_ratio + rate * (1 - xp.exp(log_ratio))) * advantage


def one_side(log_ratio: Array, advantage: Array, *, low: float, high: float) -> Array:
    r"""$c = A$ inside PPO's one-sided range, 0 outside: REC-OneSide-NoIS."""
    keep = _one_side(log_ratio, advantage, low, high, math.inf)
    return array_namespace(log_ratio).where(keep, advantage, 0 * advantage)


def two_side(log_ratio: Array, advantage: Array, *, low: float, high: float) -> Array:
    r"""$c = \rho A$ for $1 - \text{low} \le \rho \le 1 + \text{high}$, else 0: REC-TwoSide-IS."""
    xp = array_namespace(log_ratio)
    ratio = xp.exp(log_ratio)
    return xp.where((ratio >= 1 - low) & (ratio <= 1 + high), ratio * advantage, 0 * advantage)


def ring(log_ratio: Array, advantage: Array, *, low: float, high: float, low_outer: float, high_outer: float) -> Array:
    r"""REC-Ring-NoIS: $c = A$ inside $[1 - low, 1 + high]$, and outside it again where that pulls the ratio back.

    That is for $A \ge 0$, $\rho \le 1 - low'$ and for $A \le 0$, $\rho \ge 1 + high'$; 0 elsewhere.
    """
    xp = array_namespace(log_ratio)
    ratio = xp.exp(log_ratio)
    back = ((advantage >= 0) & (ratio <= 1 - low_outer)) | ((advantage <= 0) & (ratio >= 1 + high_outer))
    inside = (ratio >= 1 - low) & (ratio <= 1 + high)
    return xp.where(inside | back, advantage, 0 * advantage)


def exponential(log_ratio: Array, advantage: Array, *, beta: float, cap: float) -> Array:
    r"""$c = \min(e^{A/\beta}, \text{cap})$: advantage-weighted regression (AWR), RoiRL with exponential weights."""
    xp = array_namespace(log_ratio)
    return xp.exp(_at_most(xp, advantage / beta, math.log(cap))) + array_namespace(log_ratio).zeros_like(log_ratio)


def exponential_advantage(log_ratio: Array, advantage: Array, *, temperature: float) -> Array:
    r"""$c = A\,e^{A/T}$: RED-Weight."""
    xp = array_namespace(log_ratio)
    return advantage * xp.exp(advantage / temperature) + xp.zeros_like(log_ratio)


def balanced(log_ratio: Array, advantage: Array, *, behavior: Array | None = None) -> Array:
    r"""RED-Drop in expectation: negatives in surplus are dropped at random, down to the weight of the others. Coupled.

    $c = A$ for $A \ge 0$ and $\min(1, w_{\ge 0}/w_{<0})\,A$ for $A < 0$, with $w$ the weight of either kind.
    """
    xp = array_namespace(log_ratio)
    negative = xp.astype(advantage < 0, advantage.dtype)
    share = _average(negative, behavior)
    keep = xp.clip((1 - share) / xp.where(share > 0, share, xp.ones_like(share)), 0.0, 1.0)
    return xp.where(advantage < 0, keep * advantage, advantage) + array_namespace(log_ratio).zeros_like(log_ratio)


def cross_entropy(log_ratio: Array, advantage: Array, *, eta: float, behavior: Array | None = None) -> Array:
    r"""TPO: $c = (q - p)/w$, $q \propto w\,e^{A/\eta}$, $p \propto w\,e^{\ell}$. Coupled.

    With the behavior policy as weights w this is $(q - \pi)/\mu$, so that $E_\mu[c\,\nabla\log\pi]$ moves $\pi$ to q.
    """
    return _tilt(advantage / eta, behavior) - _tilt(log_ratio, behavior)


def log_smoothed(log_ratio: Array, advantage: Array, *, t: float) -> Array:
    r"""$c = \rho r/(1 + t\rho r)$: logarithmic smoothing of nonnegative rewards (arXiv 2405.14335)."""
    xp = array_namespace(log_ratio)
    earning = xp.where(advantage != 0, advantage, xp.ones_like(advantage))
    return advantage / (xp.exp(-log_ratio) + t * earning)


def total_variation_masked(
    log_ratio: Array, advantage: Array, *, low: float, high: float, tau: float, behavior: Array | None = None
) -> Array:
    r"""$c = \rho A\,[\text{keep}] - 2\tau\ell$, keep: $-low \le \pi - \mu \le high$ (prime-rl).

    The upper bound holds for $A > 0$ and the lower one for $A \le 0$.

    The mask looks at probabilities, not ratios, so ``behavior`` must hold $\mu(y)$ of each sample itself.

    Raises:
        ValueError: behavior is None.
    """
    if behavior is None:
        raise ValueError("behavior is None; this mask needs the behavior policy's probability of every sample")
    xp = array_namespace(log_ratio)
    gained = behavior * xp.expm1(log_ratio)
    drop = xp.where(advantage > 0, gained > high, gained < -low)
    weighted = xp.where(drop, 0 * advantage, importance_weighted(log_ratio, advantage))
    return weighted - 2 * tau * log_ratio


def preference(log_ratio: Array, advantage: Array, *, beta: float, behavior: Array | None = None) -> Array:
    r"""DPO in expectation over Bradley-Terry pairs. Coupled.

    $c_a = E_b[\sigma(A_a - A_b) - \sigma(\beta(\ell_a - \ell_b))]$.
    """
    return _preferred(advantage, behavior) - _preferred(beta * log_ratio, behavior)


def identity_preference(log_ratio: Array, advantage: Array, *, tau: float, behavior: Array | None = None) -> Array:
    r"""IPO in expectation over Bradley-Terry pairs: $c_a = E_b\sigma(A_a - A_b) - 1/2 - \tau(\ell_a - E\ell)$. Coupled.

    Minus the derivative of $E[(\ell_w - \ell_l - 1/2\tau)^2]$ over pairs (winner w, loser l), times $\tau/4$.
    """
    return _preferred(advantage, behavior) - 0.5 - tau * (log_ratio - _average(log_ratio, behavior))


def mixed_preference(log_ratio: Array, advantage: Array, *, beta: float, behavior: Array | None = None) -> Array:
    r"""$\chi$PO: DPO with the link $\phi = \rho + \ell$. Coupled.

    $c_a = (1 + \rho_a)\,E_b[\sigma(A_a - A_b) - \sigma(\beta(\phi_a - \phi_b))]$.
    """
    ratio = array_namespace(log_ratio).exp(log_ratio)
    link = beta * (ratio + log_ratio)
    return (1 + ratio) * (_preferred(advantage, behavior) - _preferred(link, behavior))


def conservative(log_ratio: Array, advantage: Array, *, alpha: float, beta: float) -> Array:
    r"""$c = \rho\,(A - \alpha(\rho - 1) - \beta\ell)$: the actor of conservative Q-learning on a bandit.

    Its values are $Q = r - \alpha(\rho - 1)$.
    """
    ratio = array_namespace(log_ratio).exp(log_ratio)
    return ratio * (advantage - alpha * (ratio - 1) - beta * log_ratio)


def lower_confidence(
    log_ratio: Array, advantage: Array, *, bonus: float, samples: float, behavior: Array | None = None
) -> Array:
    r"""$c = \rho\,(A - b/\sqrt{N\mu})$: policy gradient on a lower confidence bound (PEVI), N samples drawn from $\mu$.

    Raises:
        ValueError: behavior is None (counts cannot be told from a group).
    """
    if behavior is None:
        raise ValueError("behavior is None; a lower confidence bound needs the behavior policy's probabilities")
    return importance_weighted(log_ratio, advantage - confidence_width(behavior, bonus=bonus, samples=samples))


def confidence_width(behavior: Array, *, bonus: float, samples: float) -> Array:
    r"""$b/\sqrt{N\mu(y)}$ (..., K), in units of reward; 0 where $\mu = 0$, where no coefficient acts."""
    xp = array_namespace(behavior)
    seen = behavior > 0
    return xp.where(seen, bonus / (samples * xp.where(seen, behavior, xp.ones_like(behavior))) ** 0.5, 0 * behavior)


def trust_region(log_ratio: Array, advantage: Array, *, delta: float, behavior: Array | None = None) -> Array:
    r"""$c = \rho A + \nu$: TRPO. Coupled.

    It maximizes $E_\mu[\rho A]$ under $\mathrm{KL}(\mu\|\pi) \le \delta$, whose multiplier is $\nu$.
    """
    distance = trust_region_distance(advantage, delta=delta, behavior=behavior)
    multiplier = 1 / _average(1 / distance, behavior)
    return importance_weighted(log_ratio, advantage) + multiplier


def trust_region_distance(advantage: Array, *, delta: float, behavior: Array | None = None) -> Array:
    r"""$\tau - A$ (..., K) at the level $\tau > \max A$ of TRPO's optimum $\rho = \nu/(\tau - A)$.

    With $\nu = 1/E[1/(\tau - A)]$ it solves $\mathrm{KL}(\mu\|\pi) = E\log(\tau - A) + \log E[1/(\tau - A)] = \delta$,
    by bisection on $\log(\tau - \max A)$, 100 halvings. Where all advantages are equal any level gives $\rho = 1$.
    Arms without weight get the distance of the best arm.
    """
    xp = array_namespace(advantage)
    weights = xp.ones_like(advantage) / advantage.shape[-1] if behavior is None else behavior
    seen = weights > 0
    top = xp.max(xp.where(seen, advantage, -math.inf + 0 * advantage), axis=-1, keepdims=True)
    gap = xp.where(seen, top - advantage, xp.zeros_like(advantage))
    spread = xp.max(gap, axis=-1, keepdims=True)
    spread = xp.where(spread > 0, spread, xp.ones_like(spread))
    gap = gap / spread
    # Down to where the inverse of a distance still fits the type, up to a divergence of 1e-17.
    low = xp.zeros_like(spread) + 0.95 * math.log(xp.finfo(advantage.dtype).smallest_normal)
    high = xp.zeros_like(spread) + 20.0
    for _ in range(100):
        middle = (low + high) / 2
        relative = gap / xp.exp(middle)
        share = _average(relative / (1 + relative), weights)
        inverse = _average(1 / (1 + relative), weights)
        # log1p while the two terms nearly cancel: the divergence is of second order in the relative gaps.
        normalizer = xp.where(share < 0.5, xp.log1p(-xp.where(share < 0.5, share, 0 * share)), xp.log(inverse))
        divergence = _average(xp.log1p(relative), weights) + normalizer
        low = xp.where(divergence > delta, middle, low)
        high = xp.where(divergence > delta, high, middle)
    return spread * (gap + xp.exp(high))


# --- shared pieces ---------------------------------------------------------------------------------------------------


def _average(values: Array, behavior: Array | None) -> Array:
    """E_w over the group, kept as (..., 1); equal weights where none are given."""
    xp = array_namespace(values)
    if behavior is None:
        return xp.mean(values, axis=-1, keepdims=True)
    return _finite_average(xp.where(behavior > 0, values, xp.zeros_like(values)), behavior)


def _finite_average(values: Array, behavior: Array | None) -> Array:
    """:func:`_average` of values that are finite also where the weight is 0; elsewhere the group's average is NaN."""
    xp = array_namespace(values)
    if behavior is None:
        return xp.mean(values, axis=-1, keepdims=True)
    if values.shape[-1] == 1:  # one number for the whole group
        return values
    return xp.sum(behavior * values, axis=-1, keepdims=True) / xp.sum(behavior, axis=-1, keepdims=True)


def _tilt(exponent: Array, behavior: Array | None) -> Array:
    """e^z / E_w e^z: the density, relative to the weights, of the group tilted by z."""
    xp = array_namespace(exponent)
    bounds = xp.finfo(exponent.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        raised = xp.exp(exponent)
        mean = _finite_average(raised, behavior)
        tilted = raised * (1 / mean)
    usable = (mean > bounds.smallest_normal / bounds.eps) & (mean < math.inf)  # in most groups
    if bool(xp.all(usable)):
        return tilted
    if behavior is not None:
        exponent = xp.where(behavior > 0, exponent, -math.inf + 0 * exponent)
    raised = xp.exp(exponent - xp.max(exponent, axis=-1, keepdims=True))
    return xp.where(usable, tilted, raised / _finite_average(raised, behavior))


def _preferred(score: Array, behavior: Array | None) -> Array:
    """E_b sigma(s_a - s_b): how often each member of the group beats another one drawn from it."""
    xp = array_namespace(score)
    beats = 0.5 * (1 + xp.tanh((score[..., :, None] - score[..., None, :]) / 2))
    weights = None if behavior is None else xp.broadcast_to(behavior[..., None, :], beats.shape)
    return _average(beats, weights)[..., 0]


def _one_side(log_ratio: Array, advantage: Array, low: float, high: float, cap: float) -> Array:
    """True where PPO's clip leaves the gradient alone, False where it stops it."""
    xp = array_namespace(log_ratio)
    ratio = xp.exp(log_ratio)
    return xp.where(advantage >= 0, ratio <= 1 + high, (ratio >= 1 - low) & (ratio <= cap))


def _at_most(xp: object, values: Array, bound: float) -> Array:
    """min(values, bound), with no work where the bound is infinite."""
    return values if bound == math.inf else xp.clip(values, None, bound)  # type: ignore[attr-defined]
