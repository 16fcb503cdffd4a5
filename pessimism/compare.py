"""Induced against nominal: how much more conservative is the policy that an objective really drives toward?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from .algorithm import Algorithm
from .bandit import Bandit
from .compose import stating_the_whole_weight
from .display import brief, brief_html, long_frame, plain_values
from .given import understood, understood_algorithm
from .solve.divergences import chi_squared, entropy, kl, reverse_kl, total_variation
from .solve.simplex import expectation, log, log_expectation_exp, plain
from .target import Target
from .targets import (
    both_targets,
    group_bandit,
    group_nominal_target,
    group_target,
    induced_target,
    nominal_target,
)

if TYPE_CHECKING:
    import polars as pl

SAME = 1e-9
"""Targets closer than this in total variation are called the same."""

NEWTON_STEPS = 200
"""Bound of the steps of the search for a temperature, which halves its bracket where Newton's step leaves it."""

BLOCK = 2**15
"""Numbers of an array that are worked on at once."""

SAME_FLOW = 1e-4
"""The same where a numeric flow found one of them, which places arms held at a clip to about 1e-5."""


@dataclass(frozen=True, eq=False)
class Metrics:
    r"""What a policy is like, seen from the behavior policy and the rewards. Arrays (...), or floats for one bandit.

    Attributes:
        bandit: whose behavior policy and rewards.
        value: $E_\pi r$, in units of reward.
        kl: $\mathrm{KL}(\pi\|\mu)$, nats.
        reverse_kl: $\mathrm{KL}(\mu\|\pi)$, nats; infinite where an arm has lost all its mass.
        chi2: $E_\mu(\rho - 1)^2$.
        entropy: $H(\pi)$, nats.
        ess: $1/E_\mu\rho^2$, effective sample size as a share of the samples.
        max_ratio: $\max\rho$ over arms that the behavior policy plays.
    """

    bandit: Bandit = field(repr=False)
    value: Any
    kl: Any
    reverse_kl: Any
    chi2: Any
    entropy: Any
    ess: Any
    max_ratio: Any

    @cached_property
    def effective_temperature(self) -> Any:
        r"""That of the Gibbs policy $\mu e^{r/b}$ with the same $\mathrm{KL}(\pi\|\mu)$; 0 for a policy that no
        temperature is cold enough for, infinite for the behavior policy itself. Solved for when it is first asked for.
        """
        return plain(effective_temperature(self.bandit, np.asarray(self.kl)))

    def items(self) -> list[tuple[str, Any]]:
        """Names and values, in order."""
        names = [each.name for each in fields(self) if each.name != "bandit"]
        return [(name, getattr(self, name)) for name in (*names, "effective_temperature")]

    def to_dict(self) -> dict[str, Any]:
        """The same as plain Python values."""
        return plain_values(dict(self.items()))

    def _contents(self) -> dict[str, Any]:
        return dict(self.items())

    __repr__ = brief
    _repr_html_ = brief_html


@dataclass(frozen=True, eq=False)
class Comparison:
    """The numbers of a comparison; :class:`pessimism.Comparison` shows them."""

    bandit: Bandit
    algorithm: Algorithm
    induced: Target
    nominal: Target
    stated: Target
    sampled: bool = False

    @cached_property
    def induced_metrics(self) -> Metrics:
        """What the induced target is like."""
        return measure(self.bandit, self.induced.policy, self.induced.log_policy)

    @cached_property
    def nominal_metrics(self) -> Metrics:
        """What the nominal target is like."""
        return measure(self.bandit, self.nominal.policy, self.nominal.log_policy)

    @cached_property
    def stated_metrics(self) -> Metrics:
        """What the stated target is like."""
        if self.stated is self.nominal:
            return self.nominal_metrics
        if self.stated is self.induced:
            return self.induced_metrics
        return measure(self.bandit, self.stated.policy, self.stated.log_policy)

    @cached_property
    def behavior_metrics(self) -> Metrics:
        """The same for the behavior policy, which is at no distance from itself."""
        none = plain(np.zeros(self.bandit.batch_shape))
        one = plain(np.ones(self.bandit.batch_shape))
        value = plain(expectation(self.bandit.behavior, self.bandit.reward))
        return Metrics(self.bandit, value, none, none, none, plain(entropy(self.bandit.behavior)), one, one)

    @cached_property
    def distance(self) -> Any:
        """Total variation between the induced and the nominal target, (...)."""
        return _distance(self.induced, self.nominal)

    @property
    def regime(self) -> Any:
        """That of the induced target."""
        return self.induced.regime

    @property
    def gaps(self) -> Mapping[str, Any]:
        """Nominal minus induced for every metric, both parts together; 0 where both are infinite."""
        return _gaps(self.nominal_metrics, self.induced_metrics)

    @property
    def explicit_gaps(self) -> Mapping[str, Any]:
        """Nominal minus stated for every metric: what the objective states that it does."""
        return _gaps(self.nominal_metrics, self.stated_metrics)

    @property
    def implicit_gaps(self) -> Mapping[str, Any]:
        """Stated minus induced for every metric: what altered importance weights do."""
        return _gaps(self.stated_metrics, self.induced_metrics)

    @cached_property
    def at_nominal(self) -> Any:
        """Whether the induced target is the nominal one, as far as they are known, (...) bool."""
        return same_targets(self.induced, self.nominal)

    @cached_property
    def at_stated(self) -> Any:
        """Whether the induced target is the stated one, as far as they are known, (...) bool: nothing is implicit."""
        return same_targets(self.induced, self.stated)

    @property
    def implicit_distance(self) -> Any:
        """Total variation between the stated and the induced target, (...)."""
        return _distance(self.stated, self.induced)

    def to_polars(self) -> pl.DataFrame:
        """A line for each policy (behavior, induced, nominal, stated) of every row of the batch, with its metrics.

        Raises:
            ValueError: polars is not installed.
        """
        rows = int(np.prod(self.bandit.batch_shape, dtype=int))
        names = ("behavior", "induced", "nominal", "stated")
        found = [dict(getattr(self, f"{name}_metrics").items()) for name in names]
        columns = {key: np.stack([np.reshape(part[key], rows) for part in found], axis=1) for key in found[0]}
        frame = long_frame({"row": rows, "which": len(names)}, columns)
        frame = frame.with_columns(policy=np.tile(names, rows)).drop("which")
        frame = frame.select("row", "policy", *columns)
        return frame if self.bandit.batch_shape else frame.drop("row")


def compare(bandit: Bandit, algorithm: Algorithm | str) -> Comparison:
    """The targets of an algorithm on a bandit and what they are like; :func:`pessimism.compare` without the words.

    >>> from pessimism.objectives.catalogue import algorithm
    >>> found = compare(Bandit([0.5, 0.3, 0.2], [0, 0, 1]), algorithm("shifted_mean", beta=0.5))
    >>> round(found.induced_metrics.value, 4), round(found.nominal_metrics.value, 4)
    (0.3709, 0.6488)
    """
    bandit, algorithm = understood(bandit, algorithm)
    induced, nominal = both_targets(bandit, algorithm)
    stated = _stated(bandit, algorithm, induced, nominal)
    return Comparison(bandit, algorithm, induced, nominal, stated)


def compare_group(reward: ArrayLike, algorithm: Algorithm | str) -> Comparison:
    """The targets of sampled groups (..., G), with the advantages that a trainer gives the samples; see
    :func:`pessimism.group_target`."""
    algorithm = understood_algorithm(algorithm)
    groups = group_bandit(reward)
    induced, nominal = group_target(groups.reward, algorithm), group_nominal_target(groups.reward, algorithm)
    if algorithm.stated is None or algorithm.stated is algorithm.coefficient:
        stated = _stated(groups, algorithm, induced, nominal)
    else:
        stated = group_target(groups.reward, _as_stated(algorithm))
    return Comparison(groups, algorithm, induced, nominal, stated, sampled=True)


def stated_target(bandit: Bandit, algorithm: Algorithm | str) -> Target:
    """Where the update would stop with exact importance weights and all that the objective states kept.

    That is the nominal target where the objective states no clip, mask, trust region or penalty toward the behavior
    policy, the induced target where all that it does is stated (PPO, TRPO, conservative Q-learning, ...), and another
    where it does both: ``rec_oneside_nois`` states a clip and leaves the ratio out, so its stated target is that of the
    same clip with the ratio. The temperature of a regularized objective belongs to the nominal target. An
    :class:`Algorithm` of your own states nothing unless you give it ``stated``, so all of its gap counts as implicit.

    >>> import pessimism as ps
    >>> bandit = ps.Bandit([0.5, 0.3, 0.2], [0, 0, 1])
    >>> stated_target(bandit, ps.algorithm("asymre")).policy.tolist()  # leaves the weight out: nothing is stated
    [0.0, 0.0, 1.0]
    >>> stated_target(bandit, ps.algorithm("ppo")).policy.round(3).tolist()  # the clip, at .8, is stated
    [0.4, 0.24, 0.36]
    """
    return _stated(*understood(bandit, algorithm), None, None)


def _stated(bandit: Bandit, algorithm: Algorithm, induced: Target | None, nominal: Target | None) -> Target:
    if bandit.proximal is not None:  # the ratio is then not to the sampler: what it lacks is stated too
        algorithm = stating_the_whole_weight(algorithm)
    if algorithm.stated is None:
        return nominal_target(bandit, algorithm) if nominal is None else nominal
    if algorithm.stated is algorithm.coefficient:
        return induced_target(bandit, algorithm) if induced is None else induced
    return induced_target(bandit, _as_stated(algorithm))


def _as_stated(algorithm: Algorithm) -> Algorithm:
    """The algorithm with exact importance weights and all that it states kept."""
    assert algorithm.stated is not None
    return replace(algorithm, coefficient=algorithm.stated, induced=None, beta=None)


def measure(bandit: Bandit, policy: np.ndarray, log_policy: np.ndarray) -> Metrics:
    """The :class:`Metrics` of a policy (..., K) on a bandit of the same batch shape."""
    flat = [array.reshape(-1, bandit.arms) for array in (bandit.behavior, bandit.reward, policy, log_policy)]
    parts = [_measured(*(array[rows] for array in flat)) for rows in _blocks(flat[0])]
    whole = {name: np.concatenate([part[name] for part in parts]).reshape(bandit.batch_shape) for name in parts[0]}
    return Metrics(bandit, **{name: plain(values) for name, values in whole.items()})


def _blocks(array: np.ndarray) -> list[slice]:
    """Rows of an array (n, K) in stretches that fit a processor's cache; one where there are no rows."""
    step = max(1, BLOCK // array.shape[-1])
    return [slice(start, start + step) for start in range(0, max(1, len(array)), step)]


def _measured(behavior: np.ndarray, reward: np.ndarray, policy: np.ndarray, log_policy: np.ndarray) -> dict[str, Any]:
    """The fields of Metrics (n,), of arrays (n, K)."""
    played = behavior > 0
    log_ratio = np.where(played, log_policy - log(np.where(played, behavior, 1.0)), -np.inf)
    # Mass on arms without data is infinitely far in every divergence seen from the behavior policy.
    leaked = (policy > 0) & ~played
    outside = np.where(leaked.any(axis=-1), np.inf, 0.0)
    chi2 = chi_squared(log_ratio, behavior) + outside
    with np.errstate(over="ignore", divide="ignore"):
        return {
            "value": expectation(policy, reward),
            "kl": kl(log_ratio, behavior) + outside,
            "reverse_kl": reverse_kl(log_ratio, behavior),
            "chi2": chi2,
            "entropy": entropy(policy),
            "ess": 1 / (1 + chi2),
            "max_ratio": np.exp(log_ratio.max(axis=-1)) + outside,
        }


def effective_temperature(bandit: Bandit, divergence: np.ndarray) -> np.ndarray:
    r"""The temperature b (...) at which the Gibbs policy $\mu e^{r/b}$ has the given $\mathrm{KL}(\cdot\|\mu)$ (...).

    KL grows from 0 (b infinite) to $-\log\mu(\arg\max r)$ (b = 0), strictly unless rewards are constant. Beyond that
    range 0 is returned, and infinity where the divergence is 0 or rewards are constant.

    >>> bandit = Bandit([0.5, 0.5], [0.0, 1.0])
    >>> divergence = kl(np.log([0.537882842739990, 1.46211715726001]), bandit.behavior)
    >>> float(effective_temperature(bandit, divergence).round(6))
    1.0
    """
    arms = bandit.arms
    behavior, reward = bandit.behavior.reshape(-1, arms), bandit.reward.reshape(-1, arms)
    wanted = np.broadcast_to(divergence, bandit.batch_shape).reshape(-1)
    best = np.where(behavior > 0, reward, -np.inf).max(axis=-1, keepdims=True)
    gap = np.where(behavior > 0, best - reward, 0.0)
    spread = gap.max(axis=-1)
    limit = -np.log(np.where(gap == 0, behavior, 0.0).sum(axis=-1))
    result = np.where((wanted > 0) & (spread > 0), 0.0, np.inf)
    rows = np.flatnonzero((wanted > 0) & (spread > 0) & (wanted < limit * (1 - 1e-12)))
    for block in _blocks(behavior[rows]):
        here = rows[block]
        scaled = gap[here] / spread[here, None]
        log_inverse = _log_inverse_temperature(behavior[here], scaled, wanted[here])
        result[here] = spread[here] * np.exp(-log_inverse)
    return result.reshape(bandit.batch_shape)


def _log_inverse_temperature(weights: np.ndarray, gap: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    r"""x (n,) at which $\mu e^{-e^x g}$ has the wanted KL from $\mu$: all rows at once by Newton's method in a bracket.

    $d\,\mathrm{KL}/dx = e^{2x}\,\mathrm{Var}_\pi g$. Near x = -infinity log KL is a line in x. A step that leaves the
    bracket is replaced by its middle. A row is done where its KL is the wanted one up to the rounding of a sum of K
    nonnegative terms: further steps would follow that rounding.
    """
    rounding = np.finfo(float).eps * (1 + np.log2(weights.shape[-1]))
    low, high = np.full(len(wanted), -40.0), np.full(len(wanted), 700.0)
    spread = expectation(weights, (gap - expectation(weights, gap)[:, None]) ** 2)
    with np.errstate(divide="ignore"):
        x = np.clip(np.log(2 * wanted / spread) / 2, -40.0, 700.0)
    rows = np.arange(len(wanted))
    for _ in range(NEWTON_STEPS):
        value, slope = _tilted(weights[rows], gap[rows], x[rows])
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            excess = np.log(value) - np.log(wanted[rows])
            moved = x[rows] - excess * value / slope
        low[rows] = np.where(excess < 0, x[rows], low[rows])
        high[rows] = np.where(excess < 0, high[rows], x[rows])
        inside = (moved > low[rows]) & (moved < high[rows])
        settled = np.abs(excess) <= rounding
        moved = np.where(settled, x[rows], np.where(inside, moved, (low[rows] + high[rows]) / 2))
        open_ = np.abs(moved - x[rows]) > 4 * np.finfo(float).eps * np.maximum(1, np.abs(moved))
        x[rows] = moved
        rows = rows[open_]
        if not len(rows):
            break
    return x


def _tilted(weights: np.ndarray, gap: np.ndarray, log_inverse: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    r"""KL of $\mu e^{-e^x g}$ from $\mu$ and its derivative in x, (n,) each."""
    exponent = -np.exp(log_inverse)[:, None] * gap
    log_ratio = exponent - log_expectation_exp(weights, exponent)[:, None]
    policy = weights * np.exp(log_ratio)
    centered = exponent - expectation(policy, exponent)[:, None]
    with np.errstate(over="ignore", invalid="ignore"):
        return kl(log_ratio, weights), expectation(policy, centered**2)


def _distance(one: Target, other: Target) -> Any:
    return plain(total_variation(one.policy, other.policy))


def same_targets(one: Target, other: Target) -> Any:
    """Whether two targets are the same, as far as they are known, (...) bool."""
    numeric = np.any([np.equal(target.method, "flow") for target in (one, other)], axis=0)
    return plain(_distance(one, other) <= np.where(numeric, SAME_FLOW, SAME))


def _gaps(more: Metrics, less: Metrics) -> dict[str, Any]:
    pairs = zip(more.items(), less.items(), strict=True)
    return {name: _difference(value, other) for (name, value), (_, other) in pairs}


def _difference(nominal: Any, induced: Any) -> Any:
    with np.errstate(invalid="ignore"):
        return plain(np.where(np.equal(nominal, induced), 0.0, np.subtract(nominal, induced)))
