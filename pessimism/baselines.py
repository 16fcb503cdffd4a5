"""Baseline rules by name: constants, means, soft values, standardized rewards, quantiles."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from . import baseline_rules as rules
from .baseline import Baseline, Moments, Statistics

__all__ = [
    "Baseline",
    "Moments",
    "Statistics",
    "batch_standardized",
    "constant",
    "leave_one_out",
    "leave_one_out_log_mean_exp",
    "length_weighted",
    "log_mean_exp",
    "log_sum_exp",
    "mean",
    "mean_normalized",
    "none",
    "quantile",
    "shifted_mean",
    "standardized",
]


def none() -> Baseline:
    """No baseline: A = r."""
    return Baseline("none", "V = 0", partial(rules.constant_rule, value=0.0), value=0.0)


def constant(value: float) -> Baseline:
    """A fixed baseline V = value, in units of reward.

    >>> import numpy as np
    >>> constant(0.5).group(np.array([0.0, 1.0]))
    array([-0.5,  0.5])
    """
    value = _finite("value", value)
    return Baseline("constant", f"V = {value:g}", partial(rules.constant_rule, value=value), value=value)


def mean() -> Baseline:
    r"""The mean reward $V = E_\mu r$."""
    return Baseline("mean", "V = E r", partial(rules.shifted_rule, shift=0.0))


def shifted_mean(shift: float) -> Baseline:
    r"""The mean reward moved by ``shift`` (in units of reward): $V = E_\mu r + \text{shift}$.

    ``shift = -beta`` is the beta-shifted mean; ``shift < 0`` is AsymRE's $\delta V$.

    >>> import numpy as np
    >>> shifted_mean(-0.5).group(np.array([0.0, 1.0]))
    array([0., 1.])
    """
    sign = "-" if shift < 0 else "+"
    return Baseline(
        "shifted mean",
        f"V = E r {sign} {abs(shift):g}",
        partial(rules.shifted_rule, shift=_finite("shift", shift)),
    )


def leave_one_out() -> Baseline:
    """Mean of the other samples of the group; with an exact policy, its mean.

    >>> import numpy as np
    >>> leave_one_out().group(np.array([0.0, 0.0, 1.0]))
    array([-0.5, -0.5,  1. ])
    """
    return Baseline("leave one out", "V_i = mean of r_j, j != i", rules.leave_one_out_rule)


def log_mean_exp(beta: float, measure: str = "behavior") -> Baseline:
    r"""The soft value $V_\beta = \beta \log E_\mu e^{r/\beta}$, non-increasing in $\beta$.

    Args:
        beta: temperature, > 0, in units of reward.
        measure: "behavior" or "reference": whose samples are averaged (A*-PO uses the reference policy's).

    Raises:
        ValueError: beta is not positive and finite, or an unknown measure.
    """
    if measure not in ("behavior", "reference"):
        raise ValueError(f"measure is {measure!r}; it must be 'behavior' or 'reference'")
    rule = partial(rules.log_mean_exp_rule, beta=_positive("beta", beta))
    return Baseline("log mean exp", f"V = {beta:g} log E exp(r/{beta:g})", rule, measure, soft_temperature=float(beta))


def leave_one_out_log_mean_exp(beta: float) -> Baseline:
    r"""$\beta \log$ of the mean of $e^{r_j/\beta}$ over the other samples; with an exact policy, $V_\beta$."""
    rule = partial(rules.leave_one_out_log_mean_exp_rule, beta=_positive("beta", beta))
    formula = f"V_i = {beta:g} log mean exp(r_j/{beta:g}), j != i"
    return Baseline("leave-one-out log mean exp", formula, rule, soft_temperature=float(beta), of_others=True)


def log_sum_exp(beta: float, group_size: float) -> Baseline:
    r"""$\beta \log \sum_i e^{r_i/\beta}$: a log-mean-exp that lacks its $-\beta \log G$, as seen in public code.

    With an exact policy ``group_size`` stands for G; a sampled group uses its own size.
    """
    rule = partial(rules.log_sum_exp_rule, beta=_positive("beta", beta), group_size=_positive("group_size", group_size))
    return Baseline("log sum exp", f"V = {beta:g} log sum exp(r/{beta:g})", rule)


def standardized(epsilon: float = 1e-4, shift: float = 0.0) -> Baseline:
    r"""GRPO's $A = (r - E r - \text{shift})/(\sigma + \epsilon)$.

    $\sigma$ is the population standard deviation for an exact policy and the unbiased one (G - 1) for a group.

    >>> import numpy as np
    >>> standardized(0.0).group(np.array([0.0, 1.0])).round(4)
    array([-0.7071,  0.7071])
    """
    rule = partial(rules.standardized_rule, epsilon=_nonnegative("epsilon", epsilon), shift=_finite("shift", shift))
    return Baseline("standardized", f"A = (r - E r)/(std + {epsilon:g})", rule)


def leave_one_out_standardized(epsilon: float = 1e-6) -> Baseline:
    r"""$A_i = (r_i - m_i)/(s_i + \epsilon)$ with mean and standard deviation of the *other* samples of the group.

    $s_i$ is their unbiased standard deviation; where they are all equal, or there is only one, nothing is divided,
    $A_i = r_i - m_i$. The only sample that passes then has advantage 1, however rare passing is. With an exact policy
    it is :func:`standardized`.
    NeMo-RL's default (``GRPOAdvantageEstimator`` with ``use_leave_one_out_baseline``).

    Raises:
        ValueError: epsilon is negative; for groups of one sample.

    >>> import numpy as np
    >>> leave_one_out_standardized(0.0).group(np.array([0.0, 0.0, 0.0, 1.0])).round(4)
    array([-0.5774, -0.5774, -0.5774,  1.    ])
    """
    rule = partial(rules.leave_one_out_standardized_rule, epsilon=_nonnegative("epsilon", epsilon))
    formula = f"A_i = (r_i - mean of r_j)/(std of r_j + {epsilon:g}), j != i"
    return Baseline("leave-one-out standardized", formula, rule, of_others=True)


def mean_normalized(epsilon: float = 1e-6) -> Baseline:
    r"""MaxRL's $A = (r - E r)/(E r + \epsilon)$, of rewards >= 0 (arXiv 2602.02710; tajwarfahim/maxrl).

    With rewards of 0 and 1, $E r$ the share p that passes: passes have $1/p - 1$ and failures $-1$, so a rare pass
    weighs more than under GRPO, whose standard deviation is $\sqrt{p(1 - p)}$.

    Raises:
        ValueError: a negative epsilon; on use, a negative reward, for which the division would turn signs over.

    >>> import numpy as np
    >>> mean_normalized(0.0).group(np.array([0.0, 0.0, 0.0, 1.0]))
    array([-1., -1., -1.,  3.])
    """
    rule = partial(rules.mean_normalized_rule, epsilon=_nonnegative("epsilon", epsilon))
    return Baseline("mean normalized", f"A = (r - E r)/(E r + {epsilon:g})", rule)


def length_weighted(lengths: ArrayLike) -> Baseline:
    r"""OPO's $V = E[T r]/E[T]$, T the lengths of the completions (arXiv 2505.23585; verl's ``opo``).

    The baseline of least variance where $\|\nabla\log\pi\|^2$ is proportional to the length and independent of the
    reward. It lies below the mean reward, $V - E r = \mathrm{cov}(T, r)/E T$, where long completions earn less: under
    a log-ratio regression it is then pessimism by length.

    Args:
        lengths: (K,) > 0: of the arms, or of the samples of a group.

    Raises:
        ValueError: lengths that are no positive numbers; on use, rewards of another number of arms.

    >>> import numpy as np
    >>> length_weighted([1, 3]).group(np.array([1.0, 0.0]))
    array([ 0.75, -0.25])
    """
    values = np.asarray(lengths, dtype=np.float64)
    if values.ndim != 1 or not (np.isfinite(values) & (values > 0)).all() or values.size == 0:
        raise ValueError(f"lengths is {lengths!r}; it must be a list of finite numbers > 0, one for each completion")
    rule = partial(rules.length_weighted_rule, lengths=tuple(values.tolist()))
    return Baseline("length weighted", "V = E[T r]/E[T]", rule)


def batch_standardized(reward: ArrayLike, lengths: ArrayLike | None = None, epsilon: float = 1e-8) -> Baseline:
    r"""REINFORCE++'s $A = (r - m)/\sqrt{s^2 + \epsilon}$, with the mean and variance of a batch (arXiv 2501.03262).

    Fixed numbers for every prompt, so a prompt that is harder than the batch has its baseline above its own mean, and
    an easier one below. verl's ``reinforce_plus_plus`` averages over tokens: completions count as their lengths.

    Args:
        reward: of every completion of the batch, of any shape.
        lengths: of the same shape, >= 1; None: all count the same.
        epsilon: added to the (unbiased) variance.

    Raises:
        ValueError: fewer than two completions, numbers that are not finite, or lengths that do not match.

    >>> import numpy as np
    >>> batch = np.array([[0.0, 0.0, 0.0, 1.0], [1.0, 1.0, 1.0, 0.0]])
    >>> batch_standardized(batch).group(batch[0]).round(4)
    array([-0.9354, -0.9354, -0.9354,  0.9354])
    """
    values = np.ravel(np.asarray(reward, dtype=np.float64))
    counts = np.ones_like(values) if lengths is None else np.ravel(np.asarray(lengths, dtype=np.float64))
    if counts.shape != values.shape or not (np.isfinite(counts) & (counts >= 1)).all():
        raise ValueError("lengths does not match the rewards; it must be a finite number >= 1 for each of them")
    if values.size < 2 or not np.isfinite(values).all():
        raise ValueError(f"reward holds {values.size} completions; it must be two or more finite numbers")
    total = counts.sum()
    center = (counts * values).sum() / total
    variance = (counts * (values - center) ** 2).sum() / (total - 1)
    scale = 1 / math.sqrt(variance + _nonnegative("epsilon", epsilon)) if variance + epsilon > 0 else 1.0
    rule = partial(rules.fixed_rule, value=float(center), scale=float(scale))
    return Baseline("batch standardized", f"A = (r - {center:.4g})/{1 / scale:.4g}", rule, in_double=True)


def quantile(value: float) -> Baseline:
    r"""QRPO: rewards replaced by their quantile $F(r) \in (0, 1]$ under the reference, then a constant baseline.

    Without a reference the quantile is under the behavior policy; of a sampled group it is among the samples.
    """
    value = _finite("value", value)
    rule = partial(rules.constant_rule, value=value)
    return Baseline(
        "quantile", f"A = F(r) - {value:g}", rule, "reference", rules.quantile_of, value=value, in_double=True
    )


def _positive(name: str, value: float) -> float:
    if not (_is_finite(value) and value > 0):
        raise ValueError(f"{name} is {value}; it must be a finite number > 0")
    return float(value)


def _nonnegative(name: str, value: float) -> float:
    if not (_is_finite(value) and value >= 0):
        raise ValueError(f"{name} is {value}; it must be a finite number >= 0")
    return float(value)


def _finite(name: str, value: float) -> float:
    if not _is_finite(value):
        raise ValueError(f"{name} is {value}; it must be a finite number")
    return float(value)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the floats
        return False
