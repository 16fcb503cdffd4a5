"""How much pessimism noise justifies, and how much keeps a sync within a trust region.

Proofs of what the functions below compute are in docs/theory/guarantees.md.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .bandit import Bandit
from .display import brief, brief_html
from .solve.divergences import kl, reverse_kl
from .solve.lambert import solve_fixed_kappa, solve_lambert
from .solve.lambert_regimes import bracketed_root
from .solve.simplex import expectation, first_index, log, log_expectation_exp, plain

__all__ = ["LowerConfidenceBound", "Prescription", "confidence_width", "lcb", "prescribe", "step_bounds"]

_MARGIN = 1e-9
"""How far, in log kappa, a bracket is opened beyond bounds that rounding may have moved."""

_NO_PULL = 1e-20
"""kappa times the largest ratio at which a target is the Gibbs policy to rounding."""


@dataclass(frozen=True, eq=False)
class LowerConfidenceBound:
    r"""The policy of the best guaranteed return, and the regression that has it as its target.

    For a batch of shape (...) every scalar is an array (...); for a single bandit it is a plain Python number.

    Attributes:
        policy, log_policy: (..., K).
        log_ratio: (..., K), log(policy / behavior); -inf on arms that were not sampled or are never played.
        normalizer: $\lambda = a/S$, in units of reward: the strength of the implicit penalty that noise justifies.
        baseline: V with which log-ratio regression has this policy as its induced target.
        shift: the samples' mean reward less V, in units of reward (``shifted_mean`` calls it $\delta\beta$).
        width: a, in units of reward.
        spread: S, the square root of $\sum_y \pi(y)^2/w(y)$, w the shares of the samples; at least 1.
        bound: $E_\pi\hat r - aS$: with the chosen probability the policy's true reward is at least that.
    """

    policy: np.ndarray
    log_policy: np.ndarray
    log_ratio: np.ndarray
    normalizer: Any
    baseline: Any
    shift: Any
    width: Any
    spread: Any
    bound: Any

    __repr__ = brief
    _repr_html_ = brief_html


@dataclass(frozen=True, eq=False)
class Prescription:
    r"""How far below the mean reward to place the baseline of log-ratio regression: V = E r - shift.

    For a batch of shape (...) every scalar is an array (...); for a single bandit it is a plain Python number.

    Attributes:
        shift: $\mathrm{sd}(r)/\sqrt{e^k - 1}$, in units of reward: enough for at most k nats a sync.
        delta: shift / beta, the parameter of ``shifted_mean``.
        nats: KL(target | behavior) that ``shift`` really gives, at most k; None where only sd is known.
        exact_shift: the shift that gives exactly k nats, negative where the mean itself is low enough; where even the
            nominal target is within k, that of the nominal target (V = V*). None where only sd is known.
        exact_delta: exact_shift / beta, or None.
        binding: whether the nominal target is beyond k nats, so that ``exact_shift`` gives exactly k; or None.
        group_shift: a shift that keeps the mean of G samples, less it, below V* except with the probability asked for;
            None without ``group_size``. The larger of two shifts gives both guarantees.
    """

    shift: Any
    delta: Any
    nats: Any = None
    exact_shift: Any = None
    exact_delta: Any = None
    binding: Any = None
    group_shift: Any = None

    __repr__ = brief
    _repr_html_ = brief_html


# --- lower confidence bound -----------------------------------------------------------------------------------------


def confidence_width(noise: ArrayLike, samples: ArrayLike, arms: ArrayLike, alpha: float = 0.05) -> np.ndarray:
    r"""$a = \sigma\sqrt{C/N}$ with $C = K + 2\sqrt{K\log(1/\alpha)} + 2\log(1/\alpha)$, in units of reward.

    With probability at least $1 - \alpha$, at once for every policy on the K sampled arms,
    $|E_\pi\hat r - E_\pi r| \le a\,(\sum_y \pi(y)^2/w(y))^{1/2}$, where $\hat r$ are the arms' mean rewards and w their
    shares of the N samples, whatever decides the counts, as long as it does not look at the noise.

    Args:
        noise: $\sigma$ (...), the noise's sub-Gaussian constant (its standard deviation if Gaussian, half its range if
            bounded); 0 for an exact verifier.
        samples: N (...).
        arms: K (...), how many arms were sampled.
        alpha: probability that the bound fails.

    Raises:
        ValueError: noise below 0, samples or arms below 1, alpha outside (0, 1), anything that is not finite.

    Source: Cauchy-Schwarz and the tail of a squared norm (Hsu, Kakade, Zhang, arXiv 1110.2842, Theorem 2.1).

    >>> float(confidence_width(noise=1.0, samples=100, arms=20).round(4))
    0.644
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha!r}; it must be between 0 and 1, ends excluded")
    deviations, total, count = _number("noise", noise, 0), _number("samples", samples, 1), _number("arms", arms, 1)
    surprise = -np.log(alpha)
    return deviations * np.sqrt((count + 2 * np.sqrt(count * surprise) + 2 * surprise) / total)


def lcb(
    bandit: Bandit,
    beta: float,
    noise: ArrayLike,
    samples: ArrayLike | None = None,
    counts: ArrayLike | None = None,
    alpha: float = 0.05,
) -> LowerConfidenceBound:
    r"""The policy that maximizes a lower confidence bound of its reward less $\beta\,\mathrm{KL}(\pi\|\mu)$.

    $$\max_\pi\; E_\pi\hat r - a\Big(\sum_y \frac{\pi(y)^2}{w(y)}\Big)^{1/2} - \beta\,\mathrm{KL}(\pi\|\mu)$$

    with a of :func:`confidence_width`. It is exactly the Lambert-tempered target $\beta\log(\pi/\mu) + \lambda\pi/w =
    \hat r - V$ with $\lambda = a/(\sum\pi^2/w)^{1/2}$: this is the implicit pessimism that noise in the rewards
    justifies. An exact verifier (noise 0) justifies none, $\lambda = 0$.

    Args:
        bandit: behavior policy $\mu$ (..., K) and *estimated* rewards $\hat r$: the mean of each arm's samples.
        beta: temperature, in units of reward.
        noise: $\sigma$ (...), see :func:`confidence_width`.
        samples: N (...), where every arm has its expected share, w = mu and $\sum\pi^2/w = 1 + \chi^2(\pi\|\mu)$.
        counts: (..., K) whole numbers, instead: how often each arm was sampled. The bound is then right for random
            counts, and arms that were not sampled get nothing: nothing is known of them. Their estimates are not read.
        alpha: probability that the bound fails, the counts given.

    Raises:
        ValueError: a reference; neither or both of samples and counts; counts of arms that mu never plays; or a number
            outside its range.

    >>> import pessimism as ps
    >>> bandit = ps.Bandit([0.5, 0.3, 0.2], [0, 0, 1])
    >>> found = lcb(bandit, beta=0.5, noise=0.5, samples=64)
    >>> found.policy.round(4), round(found.normalizer, 4), round(found.shift, 4)
    (array([0.325, 0.195, 0.48 ]), 0.1982, 0.1135)
    >>> algorithm = ps.algorithm("shifted_mean", beta=0.5, delta=found.shift / 0.5)
    >>> ps.induced_target(bandit, algorithm).policy.round(4)
    array([0.325, 0.195, 0.48 ])
    >>> lcb(bandit, beta=0.5, noise=0.0, samples=64).normalizer
    0.0
    """
    _check_plain(bandit)
    _check_positive("beta", beta)
    if (samples is None) == (counts is None):
        raise ValueError("give one of samples (the number N) and counts (how often each arm was sampled)")
    mu = bandit.behavior
    given = None if counts is None else _counts(counts, bandit)
    shares = mu if given is None else given / given.sum(axis=-1, keepdims=True)
    seen = shares > 0
    total = samples if given is None else given.sum(axis=-1)
    width = np.broadcast_to(confidence_width(noise, np.asarray(total), seen.sum(axis=-1), alpha), bandit.batch_shape)
    center = expectation(shares, bandit.reward)
    # KL to mu is KL to the shares plus a linear term: E r - beta KL(pi|mu) = E[r + beta log(mu/w)] - beta KL(pi|w).
    moved = np.where(seen, log(mu) - log(np.where(seen, shares, 1.0)), 0.0) if given is not None else np.zeros(mu.shape)
    scaled = np.where(seen, (bandit.reward - center[..., None]) / beta + moved, 0.0)
    kappa, own = _on_path(shares, scaled, width / beta)
    normalizer = beta * kappa
    spread = np.exp(log_expectation_exp(shares, 2 * own) / 2)
    offset = beta * (expectation(shares, scaled) + reverse_kl(np.where(seen, own, 0.0), shares)) - normalizer
    log_ratio = np.where(seen, own + -moved, -np.inf)
    log_policy = bandit.log_behavior + log_ratio
    policy = np.exp(log_policy)
    value = center + expectation(policy, bandit.reward - center[..., None])
    numbers = (normalizer, center + offset, -offset, width, spread, value - width * spread)
    return LowerConfidenceBound(policy, log_policy, log_ratio, *(plain(np.asarray(number)) for number in numbers))


def _on_path(weights: np.ndarray, scaled: np.ndarray, strength: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """kappa (...) with kappa S(kappa) = strength (...), and the log-ratio (..., K) there; S^2 = E_w rho^2.

    The maximizer is unique, so the root is; it lies between strength / S(0) and strength, as S falls to at least 1.
    """
    arms, batch = weights.shape[-1], strength.shape
    w, a, goal = weights.reshape(-1, arms), scaled.reshape(-1, arms), strength.reshape(-1)
    found, x = np.zeros(goal.shape), _gibbs(w, a)
    rows = np.flatnonzero(goal > 0)
    high = np.log(goal[rows])
    low = high - log_expectation_exp(w[rows], 2 * x[rows]) / 2

    def miss(at: np.ndarray, row: np.ndarray) -> np.ndarray:
        own = _tempered(w[rows][row], a[rows][row], at)
        return at + log_expectation_exp(w[rows][row], 2 * own) / 2 - high[row]

    if rows.size:
        root = bracketed_root(miss, low - _MARGIN, high + _MARGIN)
        found[rows], x[rows] = np.exp(root), _tempered(w[rows], a[rows], root)
    return found.reshape(batch), x.reshape(*batch, arms)


def _gibbs(weights: np.ndarray, scaled: np.ndarray) -> np.ndarray:
    """log-ratio of the Gibbs policy w e^a / E_w e^a, (..., K)."""
    return scaled - log_expectation_exp(weights, scaled)[..., None]


def _tempered(weights: np.ndarray, scaled: np.ndarray, log_kappa: np.ndarray) -> np.ndarray:
    """log-ratio x of x + kappa e^x = a - shift, E_w e^x = 1, for a given log kappa."""
    return solve_fixed_kappa(weights, scaled, np.exp(log_kappa))[0]


# --- trust region ---------------------------------------------------------------------------------------------------


def step_bounds(sd: ArrayLike, shift: ArrayLike) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    r"""Bounds of one sync of log-ratio regression with V = E r - shift: on $\chi^2(\pi\|\mu)$, KL, and the gain.

    $\chi^2 \le (\mathrm{sd}/\mathrm{shift})^2$, $\mathrm{KL}(\pi\|\mu) \le \log(1 + (\mathrm{sd}/\mathrm{shift})^2)$
    nats, $E_\pi r - E_\mu r \le \mathrm{sd}^2/\mathrm{shift}$; sd of the rewards under $\mu$. With $\lambda +
    \beta/\max\rho$ for the shift (it is larger) they are sharper still. Derived here.

    Args:
        sd: (...) at least 0, in units of reward.
        shift: (...) above 0, in units of reward.

    >>> [round(float(bound), 4) for bound in step_bounds(sd=0.4, shift=0.5)]
    [0.64, 0.4947, 0.32]
    """
    deviation, below = _number("sd", sd, 0), _number("shift", shift, 0, open_=True)
    squared = (deviation / below) ** 2
    return squared, np.log1p(squared), deviation * (deviation / below)


def prescribe(
    reward: ArrayLike | None = None,
    *,
    nats: float,
    beta: float,
    behavior: ArrayLike | None = None,
    sd: ArrayLike | None = None,
    group_size: int | None = None,
    failure: float = 0.05,
) -> Prescription:
    r"""The shift of the baseline below the mean reward that keeps a sync within a trust region of k nats.

    $\delta\beta = \mathrm{sd}(r)/\sqrt{e^k - 1}$ is enough for $\mathrm{KL}(\pi^\dagger\|\mu) \le k$; the exact root
    beside it needs all rewards. With groups of G samples, a shift of $\beta\log(1/p)/G$, or of $R\sqrt{\log(1/p)/2G}$
    for rewards of range R, keeps the group's mean less the shift below the soft value V* (the positive regime) except
    with probability p. Derived here; docs/theory/guarantees.md.

    Args:
        reward: (..., K) of the arms, or of the samples of each group.
        nats: k, the most that one sync may move, above 0.
        beta: temperature, in units of reward.
        behavior: (..., K) how often each arm is played; equally often (samples of a group) where None.
        sd: (...) standard deviation of the rewards, where they themselves are not at hand.
        group_size: G, to also ask for a shift that holds for the mean of G samples.
        failure: p.

    Raises:
        ValueError: neither or both of reward and sd, a behavior without rewards, or a number outside its range.

    >>> found = prescribe([0, 0, 0, 1], nats=0.1, beta=0.2)
    >>> round(found.shift, 4), round(found.nats, 4), round(found.exact_shift, 4)
    (1.3352, 0.0372, 0.7212)
    >>> round(prescribe(sd=0.5, nats=0.1, beta=0.2, group_size=8).group_shift, 4)
    0.0749
    """
    for name, value in (("nats", nats), ("beta", beta)):
        _check_positive(name, value)
    if (reward is None) == (sd is None):
        raise ValueError("give one of reward and sd (the standard deviation of the rewards)")
    if reward is None:
        if behavior is not None:
            raise ValueError("behavior says how often rewards are drawn; give the rewards too")
        shift = _number("sd", sd, 0) / np.sqrt(np.expm1(nats))
        group = None if group_size is None else _group_shift(beta, np.full(shift.shape, np.inf), group_size, failure)
        return _plain(Prescription(shift, shift / beta, group_shift=group))
    shape = np.shape(reward)
    if not shape or not shape[-1]:
        raise ValueError(f"reward has shape {shape}; it must be (..., K) with K >= 1: the rewards of arms or samples")
    bandit = Bandit(np.full(shape, 1 / shape[-1]) if behavior is None else behavior, reward)
    return _plain(_prescribed(bandit, nats, beta, group_size, failure))


def _prescribed(bandit: Bandit, nats: float, beta: float, group_size: int | None, failure: float) -> Prescription:
    mu, seen = bandit.behavior, bandit.behavior > 0
    top = np.where(seen, bandit.reward, -np.inf).max(axis=-1)
    spread = top - np.where(seen, bandit.reward, np.inf).min(axis=-1)
    # Relative to the best arm first: where rewards agree, deviations are then exactly 0.
    behind = np.where(seen, bandit.reward - top[..., None], 0.0)
    centered = np.where(seen, behind - expectation(mu, behind)[..., None], 0.0)
    shift = np.sqrt(expectation(mu, centered**2)) / np.sqrt(np.expm1(nats))
    level = shift / beta
    scaled = centered / beta
    reached = solve_lambert(mu, scaled + level[..., None], scaled, level).log_ratio
    exact, binding = _exact_delta(mu, scaled, nats, level)
    group = None if group_size is None else _group_shift(beta, spread, group_size, failure)
    return Prescription(shift, level, kl(reached, mu), beta * exact, exact, binding, group)


def _exact_delta(
    behavior: np.ndarray, scaled: np.ndarray, nats: float, enough: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """delta (...) with KL(target|behavior) = nats, and whether there is one: delta = kappa - KL(behavior|target).

    KL falls in kappa from the nominal target's to 0, and kappa = ``enough`` leaves at most nats.
    """
    arms, batch = behavior.shape[-1], enough.shape
    w, a = behavior.reshape(-1, arms), scaled.reshape(-1, arms)
    x = _gibbs(w, a)
    binding = kl(x, w) > nats
    delta = -reverse_kl(np.where(w > 0, x, 0.0), w)
    rows = np.flatnonzero(binding)

    def miss(at: np.ndarray, row: np.ndarray) -> np.ndarray:
        return kl(_tempered(w[rows][row], a[rows][row], at), w[rows][row]) - nats

    if rows.size:
        low = np.log(_NO_PULL) - np.where(w > 0, x, -np.inf).max(axis=-1)[rows]
        high = np.log(enough.reshape(-1)[rows]) + _MARGIN
        root = bracketed_root(miss, np.minimum(low, high - 1), high)
        own = _tempered(w[rows], a[rows], root)
        delta[rows] = np.exp(root) - reverse_kl(np.where(w[rows] > 0, own, 0.0), w[rows])
    return delta.reshape(batch), binding.reshape(batch)


def _group_shift(beta: float, spread: np.ndarray, group_size: int, failure: float) -> np.ndarray:
    """The lesser of Chernoff's shift, beta log(1/p)/G, and Hoeffding's, R sqrt(log(1/p)/2G); (...)."""
    if isinstance(group_size, bool) or not isinstance(group_size, int | np.integer) or group_size < 1:
        raise ValueError(f"group_size is {group_size!r}; it must be a whole number >= 1")
    if not 0 < failure < 1:
        raise ValueError(f"failure is {failure!r}; it must be between 0 and 1, ends excluded")
    surprise = -np.log(failure) / group_size
    return np.minimum(beta * surprise, spread * np.sqrt(surprise / 2))


# --- input ----------------------------------------------------------------------------------------------------------


def _plain(found: Prescription) -> Prescription:
    values = {name: value if value is None else plain(np.asarray(value)) for name, value in vars(found).items()}
    return Prescription(**values)


def _check_plain(bandit: Bandit) -> None:
    if bandit.reference is not None:
        raise ValueError("guarantees are for log-ratios from the behavior policy; leave the reference out")


def _check_positive(name: str, value: float) -> None:
    if not (np.ndim(value) == 0 and 0 < value < np.inf):
        raise ValueError(f"{name} is {value!r}; it must be one finite number above 0")


def _number(name: str, value: Any, least: float, *, open_: bool = False) -> np.ndarray:
    """An array of finite numbers, at least (or above) ``least``."""
    array = np.asarray(value, dtype=np.float64)
    wrong = ~np.isfinite(array) | ((array <= least) if open_ else (array < least))
    if wrong.any():
        index = first_index(np.atleast_1d(wrong))
        place = name if array.ndim == 0 else f"{name}[{', '.join(map(str, index))}]"
        relation = "above" if open_ else "at least"
        raise ValueError(f"{place} is {np.atleast_1d(array)[index]:g}; it must be finite and {relation} {least:g}")
    return array


def _counts(counts: ArrayLike, bandit: Bandit) -> np.ndarray:
    """Counts (..., K) as floats: whole numbers, at least one sample a row, none of an arm that mu never plays."""
    given = np.broadcast_to(_number("counts", counts, 0), bandit.behavior.shape)
    wrong = (given != np.round(given)) | ((given > 0) & (bandit.behavior == 0))
    if wrong.any():
        index = first_index(wrong)
        reason = "behavior is 0 there" if bandit.behavior[index] == 0 else "counts are whole numbers"
        raise ValueError(f"counts[{', '.join(map(str, index))}] is {given[index]:g}; {reason}")
    if (given.sum(axis=-1) == 0).any():
        raise ValueError("counts: a row without samples; each needs at least one")
    return given
