"""Monitor: regimes, targets, distances and alerts of a step."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from ..algorithm import Algorithm
from ..audit.ratios import LOGS, OF_SAMPLES, common_shift, distances, sample_terms
from ..audit.statistics import REGIMES, Solver
from ..audit.token_sums import SUMS, TokenLists, log_prob_sums, ratio_sums
from ..audit.totals import Bins
from ..given import understood_algorithm

ALERTS = logging.getLogger("pessimism.monitor")
"""Where alerts are said."""


@dataclass(frozen=True)
class Bounds:
    """From where on a step raises an alert.

    Attributes:
        ess: effective sample size of completions below which it is raised.
        negative: share of the groups with signal in the negative regime above which it is.
        entropy: how many times as far as the target explains entropy may fall in a window.
        repeat: steps after which the same alert may be raised again.
    """

    ess: float = 0.3
    negative: float = 0.01
    entropy: float = 2.0
    repeat: int = 50


@dataclass(frozen=True)
class Told:
    """A step: numbers by name, and alerts in words."""

    numbers: Mapping[str, float]
    alerts: tuple[str, ...] = ()

    def reported(self, step: int, raised: list[tuple[int, str]]) -> dict[str, float]:
        """The numbers as trackers are given them, under ``pessimism/``, and how many alerts there are.

        Alerts are logged as warnings of ``pessimism.monitor`` and appended to ``raised`` as (step, text).
        """
        for text in self.alerts:
            raised.append((step, text))
            ALERTS.warning("step %d: %s", step, text)
        numbers = {f"pessimism/{name}": value for name, value in self.numbers.items()}
        return numbers | {"pessimism/alerts": float(len(self.alerts))}


@dataclass
class _Window:
    """What was seen since the last step."""

    rewards: list[np.ndarray] = field(default_factory=list)
    all: Bins = field(default_factory=lambda: Bins((*OF_SAMPLES, *SUMS), LOGS))
    fresh: Bins = field(default_factory=lambda: Bins((*OF_SAMPLES, *SUMS), LOGS))
    lags: list[float] = field(default_factory=list)


class Monitor:
    r"""What an objective makes of the groups and tokens of every step.

    :meth:`see_groups` when rewards are known, :meth:`see_tokens` when a loss is computed, :meth:`step` after an update.
    Rewards are kept until others come, as several steps use them. Groups of the same rewards are solved once.

    ``step`` gives: ``positive``, ``boundary``, ``negative`` (shares of the groups with signal), ``without_signal``,
    ``normalizer``, ``target_kl``, ``nominal_kl`` and ``kl_gap`` (nominal minus induced, nats), ``target_value_change``;
    ``ess_sequence``, ``ess_token``, ``k1``, ``k3`` (nats per completion, estimating $\mathrm{KL}(\mu\|\pi)$),
    ``outside`` (share of tokens outside .8 to 1.2), ``lag``, ``shift`` (nats per completion on samples of lag 0), and
    ``moved``, k3 over ``target_kl``: how much of the predicted movement there is so far.

    Targets without a closed form can take longer than a training step. So solving may take one second and then, of the
    time since the monitor was made, ``share``; groups beyond that are drawn at random and left out, and ``looked_at``
    is the share of the groups that the numbers are about.

    Args:
        algorithm: the objective, or text that names one.
        bounds: of alerts.
        share: of the time, for solving; None for as long as it takes, so that numbers depend on the data alone.

    Raises:
        ValueError: an objective that is not known, or a share that is not > 0.

    >>> monitor = Monitor("oapl:beta1=1,beta2=0.5")
    >>> monitor.see_groups([[0, 0, 0, 1], [1, 1, 1, 1]])
    >>> monitor.see_tokens([[-1.0, -2.0]], [[-1.1, -2.0]], [[1, 1]], lag=1)
    >>> told = monitor.step()
    >>> told.numbers["positive"], told.numbers["without_signal"], round(told.numbers["k1"], 3), told.alerts
    (1.0, 0.5, 0.1, ())
    """

    def __init__(self, algorithm: Algorithm | str, bounds: Bounds | None = None, share: float | None = 0.005) -> None:
        if share is not None and not share > 0:
            raise ValueError(f"share is {share:g}; it must be > 0, or None")
        self.share = share
        self.algorithm = understood_algorithm(algorithm)
        self.bounds = Bounds() if bounds is None else bounds
        self.seconds = 0.0
        """Time spent here so far."""
        self._solver = Solver(self.algorithm)
        self._random = np.random.default_rng(0)
        self._began, self._solving = time.perf_counter(), 0.0
        self._window = _Window()
        self._targets: dict[str, float] = {}
        self._entropy: float | None = None
        self._steps = 0
        self._raised: dict[str, int] = {}

    def see_groups(self, reward: ArrayLike) -> None:
        """Rewards (n, G) of new groups; groups with a reward that is missing are left out.

        Raises:
            ValueError: rewards of another shape.
        """
        started = time.perf_counter()
        rows = np.asarray(reward, dtype=np.float64)
        if rows.ndim != 2 or rows.shape[-1] < 2:
            raise ValueError(f"reward has shape {rows.shape}; it must be (groups, samples), of two or more samples")
        rows = rows[np.isfinite(rows).all(axis=-1)]
        if len(rows):
            self._targets = self._of_groups(rows)
        self.seconds += time.perf_counter() - started

    def see_groups_of_any_size(self, groups: Sequence[Sequence[float]]) -> None:
        """Rewards of groups, of which those of the commonest size are seen: padding and losses make others.

        Raises:
            ValueError: no group has two samples.
        """
        sizes = Counter(size for size in map(len, groups) if size > 1)
        if not sizes:
            raise ValueError("groups have fewer than two samples each; nothing can be said of them")
        [(size, _)] = sizes.most_common(1)
        self.see_groups([group for group in groups if len(group) == size])

    def see_tokens(
        self,
        behavior: ArrayLike,
        current: ArrayLike,
        mask: ArrayLike,
        lag: float = 0,
        high: ArrayLike | None = None,
        sampled: bool = True,
    ) -> None:
        """Log-probabilities (B, T) of tokens under the policy that sampled them and under the one being trained.

        Args:
            behavior, current: nats.
            mask: (B, T), 1 for the tokens that the policy wrote.
            lag: updates between sampling and now.
            high: (B,) which samples have more than their group's mean reward.
            sampled: whether ``behavior`` is what the sampler itself said. Where the trainer computed it, it shows no
                disagreement of the two, and no shift is told.
        """
        started = time.perf_counter()
        own = np.asarray(mask) > 0
        mu, pi = (_tokens(values, own) for values in (behavior, current))
        self._see(mu, pi, lag, high, sampled)
        self.seconds += time.perf_counter() - started

    def see_packed(
        self,
        behavior: ArrayLike,
        current: ArrayLike,
        lengths: ArrayLike,
        lag: float = 0,
        high: ArrayLike | None = None,
        sampled: bool = True,
    ) -> None:
        """The same for log-probabilities (N,) of B completions one after another, of ``lengths`` (B,) tokens.

        Raises:
            ValueError: lengths that do not add up to N.
        """
        started = time.perf_counter()
        mu, pi = (_packed(values, lengths) for values in (behavior, current))
        self._see(mu, pi, lag, high, sampled)
        self.seconds += time.perf_counter() - started

    def _see(self, mu: TokenLists, pi: TokenLists, lag: float, high: ArrayLike | None, sampled: bool) -> None:
        known = np.isfinite(log_prob_sums(mu)) & np.isfinite(log_prob_sums(pi)) & (mu.lengths > 0)
        values = _values(mu, pi, None if high is None else np.asarray(high, dtype=bool), known)
        if known.any():
            for bins in (self._window.all, *([self._window.fresh] if lag == 0 and sampled else [])):
                bins.add(np.zeros(int(known.sum()), np.int64), values)
            self._window.lags.append(float(lag))

    def step(self, entropy: float | None = None) -> Told:
        """The numbers and alerts of everything seen since the last call.

        Args:
            entropy: of the policy per completion, nats, where it is known.
        """
        started = time.perf_counter()
        self._steps += 1
        window, self._window = self._window, _Window()
        numbers = dict(self._targets)
        alerts: dict[str, str] = {}
        numbers |= self._of_tokens(window, alerts)
        if "target_kl" in numbers and numbers["target_kl"] > 0 and "k3" in numbers:
            numbers["moved"] = numbers["k3"] / numbers["target_kl"]
        if numbers.get("negative", 0.0) > self.bounds.negative:
            alerts["negative"] = negative_alert(numbers["negative"])
        if entropy is not None:
            self._of_entropy(entropy, numbers, alerts)
        told = Told(numbers, tuple(text for name, text in alerts.items() if self._is_due(name)))
        self.seconds += time.perf_counter() - started
        return told

    def report(self, number: int, raised: list[tuple[int, str]]) -> dict[str, float]:
        """:meth:`step` as a trainer reports it (:meth:`Told.reported`), with the seconds that the monitor has taken."""
        return self.step().reported(number, raised) | {"pessimism/seconds": self.seconds}

    def _is_due(self, name: str) -> bool:
        last = self._raised.get(name)
        due = last is None or self._steps - last >= self.bounds.repeat
        if due:
            self._raised[name] = self._steps
        return due

    def _of_groups(self, rewards: np.ndarray) -> dict[str, float]:
        differs = rewards.max(axis=-1) > rewards.min(axis=-1)
        found = {"without_signal": float((~differs).mean())}
        chosen = self._affordable(rewards[differs])
        if not len(chosen):
            return found
        found["looked_at"] = len(chosen) / int(differs.sum())
        started = time.perf_counter()
        solved = self._solver(chosen)
        self._solving += time.perf_counter() - started
        standing, signal = solved.standing, ~solved.standing.silent
        if not signal.any():
            return found
        for code, name in enumerate(REGIMES):
            if name != "none" and (solved.regime != REGIMES.index("none")).any():
                found[name] = float((solved.regime[signal] == code).mean())
        with np.errstate(invalid="ignore"):
            means = {
                "normalizer": solved.normalizer,
                "target_kl": standing.kl,
                "nominal_kl": standing.nominal_kl,
                "kl_gap": standing.nominal_kl - standing.kl,
                "target_value_change": solved.value_change,
                "target_entropy_change": solved.entropy_change,
                "saturated": standing.saturated.astype(float),
            }
        return found | {name: float(values[signal].mean()) for name, values in means.items()}

    def _affordable(self, rewards: np.ndarray) -> np.ndarray:
        """Of groups whose rewards differ, those that there is time to solve: with a closed form all or none."""
        if self.share is None or not len(rewards):
            return rewards
        if self.algorithm.induced is not None:
            return rewards if self._has_time() else rewards[:0]
        rewards = self._random.permutation(rewards)
        done = 0
        while done < len(rewards) and self._has_time():
            started = time.perf_counter()
            self._solver(rewards[done : done + 1])
            self._solving += time.perf_counter() - started
            done += 1
        return rewards[:done]

    def _has_time(self) -> bool:
        return self.share is None or self._solving < FREE + self.share * (time.perf_counter() - self._began)

    def _of_tokens(self, window: _Window, alerts: dict[str, str]) -> dict[str, float]:
        rows = window.all.rows()
        if not rows:
            return {}
        found = distances(rows[0], True)
        sequence, token = found["sequence"], found["token"]
        numbers = {
            "ess_sequence": sequence["ess"],
            "ess_token": token["ess"],
            "chi2": sequence["chi2"],
            "k1": sequence["k1"],
            "k3": sequence["k3"],
            "k3_token": token["k3"],
            "outside": token["outside"],
            "lag": float(np.mean(window.lags)),
        }
        fresh = window.fresh.rows()
        if fresh:
            numbers["shift"] = fresh[0]["x"] / fresh[0]["samples"]
            shift = common_shift(fresh[0], True)
            if shift is not None:
                alerts["shift"] = (
                    f"shift at lag 0: trainer and sampler differ by {shift['per completion']:+.3g} nats per completion "
                    f"({shift['per token']:+.3g} per token), whatever the reward; candidates: "
                    + "; ".join(shift["candidates"])
                )
        if numbers["ess_sequence"] < self.bounds.ess:
            alerts["ess"] = (
                f"effective sample size {numbers['ess_sequence']:.1%} of the completions, below {self.bounds.ess:.0%} "
                f"(of the tokens {numbers['ess_token']:.1%}; {numbers['lag']:.3g} updates since sampling)"
            )
        return numbers

    def _of_entropy(self, entropy: float, numbers: dict[str, float], alerts: dict[str, str]) -> None:
        before, self._entropy = self._entropy, entropy
        numbers["entropy"] = entropy
        explained = numbers.get("target_entropy_change")
        if before is None or explained is None:
            return
        numbers["entropy_change"] = entropy - before
        if entropy - before < self.bounds.entropy * min(explained, 0.0) - NOTHING:
            alerts["entropy"] = (
                f"entropy fell by {before - entropy:.3g} nats per completion in a step, where the target explains "
                f"{-min(explained, 0.0):.3g} at its end"
            )


FREE = 1.0
"""Seconds that solving may take before any share of the time counts."""

NOTHING = 1e-2
"""Nats per completion by which entropy may fall where the target explains nothing."""


def negative_alert(share: float) -> str:
    """What is said where this share of the groups with signal is in the negative regime."""
    return (
        f"negative regime on {share:.1%} of the groups with signal: the target is more aggressive than the objective "
        "claims, and there can be several; lower the baseline"
    )


def _packed(values: ArrayLike, lengths: ArrayLike) -> TokenLists:
    array, sizes = np.asarray(values, dtype=np.float64), np.asarray(lengths, dtype=np.int64)
    if array.shape != (int(sizes.sum()),):
        raise ValueError(f"log-probabilities have shape {array.shape} and the lengths add up to {sizes.sum()}")
    return TokenLists(array, sizes, np.zeros(len(sizes), dtype=bool))


def _tokens(values: ArrayLike, own: np.ndarray) -> TokenLists:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != own.shape:
        raise ValueError(f"log-probabilities have shape {array.shape} and the mask {own.shape}; they must agree")
    return TokenLists(array[own], own.sum(axis=-1).astype(np.int64), np.zeros(len(own), dtype=bool))


def _values(mu: TokenLists, pi: TokenLists, high: np.ndarray | None, known: np.ndarray) -> dict[str, np.ndarray]:
    x = log_prob_sums(pi) - log_prob_sums(mu)
    above = np.zeros(len(x), dtype=bool) if high is None else high
    found = sample_terms(x, mu.lengths.astype(float), above)
    return {name: values[known] for name, values in (found | ratio_sums(mu, pi)).items()}
