"""Advice on a log, or on pass rates: objectives side by side at matched movement, and which of them to take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from ..display import brief, brief_html
from ..guarantees import prescribe
from ..verdict import share
from .matching import MEASURES, Asked, Family, Match, match, measured
from .pool import Pool, pool_of_rates

if TYPE_CHECKING:
    from .reading import Reading

FAMILIES = (
    "shifted_mean:beta=?",
    "shifted_mean:beta=0.1,delta=?",
    "oapl:beta1=1,beta2=?",
    "oapl.single_beta:beta=?",
    "asymre:shift=?",
    "dro:beta=?",
    "tpo:eta=?",
    "ppo:low=?,high=?",
)
"""What is compared where nobody says."""

BATCHED = tuple(family for family in FAMILIES if not family.startswith("ppo"))
"""Those with a closed form, whose targets take microseconds each."""

ONE_TARGET = 0.99
"""Share of the groups that must be in the positive regime, where targets are unique, for a recommendation."""

ESS_BOUND = 0.5


@dataclass(frozen=True)
class Row:
    """One objective at the movement that was asked for.

    Attributes:
        family: as it was given, with ``?`` for the open parameter.
        value: of the open parameter.
        gentler, stronger: values at which it moves half and twice as far.
        kl, ess, max_ratio: its movement in all three measures, over the groups with signal.
        entropy_change: mean, nats.
        value_change: mean over all groups, those without signal included, in units of reward.
        regimes: name -> share of the groups with signal.
        farthest: the largest KL of any group, nats.
        fails: in words, what goes wrong on some groups; "" where nothing does.
    """

    family: str
    value: float | None = None
    gentler: float | None = None
    stronger: float | None = None
    kl: float = float("nan")
    ess: float = float("nan")
    max_ratio: float = float("nan")
    entropy_change: float = float("nan")
    value_change: float = float("nan")
    regimes: Mapping[str, float] = field(default_factory=dict)
    farthest: float = float("nan")
    fails: str = ""

    @property
    def setting(self) -> str:
        """The objective with the value that was found, to four digits; "" where none was."""
        return "" if self.value is None else self.family.replace("=?", f"={self.value:.4g}")

    @property
    def one_target(self) -> bool:
        """Whether almost every group has one target, by its regime."""
        return self.value is not None and self.regimes.get("positive", 0.0) >= ONE_TARGET


@dataclass(frozen=True)
class Advice:
    """What to set; see :func:`pessimism.advise`.

    Attributes:
        asked: the measure and its value, in words.
        groups, distinct, silent, drawn: of the log, as in :class:`pessimism.advice.pool.Pool`.
        rows: one for each objective, the largest gain first, those that cannot be matched last.
        recommended: the row to take, or None.
        reasons: why, in what range, what it rests on, and what holds for every group.
        lag: what the log, or the lag that was given, says about old data.
        warnings: where theory does not reach.
    """

    asked: str
    groups: int
    distinct: int
    silent: float
    drawn: float
    rows: tuple[Row, ...]
    recommended: Row | None
    reasons: tuple[str, ...]
    lag: tuple[str, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        own = {name: value for name, value in vars(self).items() if name not in ("rows", "recommended")}
        return own | {
            "rows": [vars(row) | {"setting": row.setting, "regimes": dict(row.regimes)} for row in self.rows],
            "recommended": None if self.recommended is None else self.recommended.setting,
        }

    def _contents(self) -> dict[str, Any]:
        best = "none" if self.recommended is None else self.recommended.setting
        texts = {name: list(getattr(self, name)) for name in ("reasons", "lag", "warnings")}
        return {"asked": self.asked, "recommended": best} | texts

    __repr__ = brief
    _repr_html_ = brief_html


def advise(
    log: Any = None,
    *,
    kl: float | None = None,
    ess: float | None = None,
    max_ratio: float | None = None,
    objectives: Sequence[str] = FAMILIES,
    columns: Mapping[str, str] | None = None,
    share: float = 1.0,
    group_size: int | None = None,
    pass_rates: Sequence[float] | None = None,
    length: float | None = None,
    lag: int | None = None,
    steps: int | None = None,
    ess_bound: float = ESS_BOUND,
    progress: Any = None,
) -> Advice:
    r"""Which value of which objective's parameter moves the policy as far as asked, on these groups.

    The movement is that of the induced target: where training on one window of data, to its end, would take the policy
    from the one that sampled it. Every distinct group is solved once.

    Args:
        log: rollouts, as for :func:`pessimism.audit`; or None with group_size and pass_rates.
        kl: the mean $\mathrm{KL}(\pi^\dagger\|\mu)$ over groups with signal that is asked for, nats.
        ess: instead, the effective sample size of those groups together, between 0 and 1.
        max_ratio: instead, the largest ratio of any sample, above 1.
        objectives: texts with ``?`` for the parameter that is asked for.
        columns: role -> column of the log.
        share: of the log's groups, drawn at random, that is looked at.
        group_size, pass_rates: completions per prompt, and the share that passes, prompt by prompt: instead of a log.
        length: tokens of a completion, where no log tells.
        lag: how many windows old the data are, where no log tells.
        steps: optimizer steps per sync.
        ess_bound: the effective sample size below which data are called too old.
        progress: called with (percent, 100, what is being done).

    Raises:
        ValueError: none or several of kl, ess and max_ratio, neither a log nor pass rates, groups without signal.

    >>> import pessimism as ps
    >>> found = ps.advise(group_size=8, pass_rates=[0.25, 0.5], kl=0.2, objectives=["oapl.single_beta:beta=?"])
    >>> round(found.rows[0].kl, 3), round(found.rows[0].value, 2)
    (0.2, 0.71)
    """
    asked = _asked(kl, ess, max_ratio)
    if (log is None) == (group_size is None and pass_rates is None):
        raise ValueError("give a log, or group_size and pass_rates")
    read = None
    if log is None:
        if group_size is None or pass_rates is None:
            raise ValueError("give both group_size and pass_rates")
        pool = pool_of_rates(group_size, pass_rates)
    else:
        from .reading import read_log  # polars and pyarrow

        _families(objectives)  # before a long log is read
        read = read_log(log, columns or {}, progress, share)
        pool = read.pool
    times = Times(length, lag, steps, ess_bound)
    return advise_on(pool, asked, objectives, read=read, times=times, progress=progress)


@dataclass(frozen=True)
class Times:
    """What no log may tell: tokens of a completion, windows of lag, steps per sync; and the bound of the ESS."""

    length: float | None = None
    lag: int | None = None
    steps: int | None = None
    ess_bound: float = ESS_BOUND


def advise_on(
    pool: Pool,
    asked: Asked,
    objectives: Sequence[str],
    *,
    read: Reading | None = None,
    times: Times | None = None,
    progress: Any = None,
) -> Advice:
    """The advice on groups that are known already; ``read`` is the log that they are from, if they are."""
    times = Times() if times is None else times
    families, rows = _families(objectives), []
    for number, family in enumerate(families):
        rows.append(_row(pool, family, match(pool, family, asked), asked))
        if progress is not None:
            progress(number + 1, len(families), family.text)
    rows.sort(key=lambda row: (row.value is None, -row.value_change if row.value is not None else 0.0))
    best = _recommended(rows)
    return Advice(
        asked=f"{MEASURES[asked.measure]}: {asked.value:g}",
        groups=pool.groups,
        distinct=pool.distinct,
        silent=pool.silent,
        drawn=pool.drawn,
        rows=tuple(rows),
        recommended=best,
        reasons=tuple(_reasons(pool, best, asked, read is not None)),
        lag=tuple(_lag(pool, best, read, times)),
        warnings=tuple(_warnings(pool, best, read)),
    )


def _families(objectives: Sequence[str]) -> list[Family]:
    if not objectives:
        raise ValueError("objectives is empty; give one or more")
    return [Family.read(text) for text in objectives]


def _asked(kl: float | None, ess: float | None, max_ratio: float | None) -> Asked:
    given = {name: value for name, value in (("kl", kl), ("ess", ess), ("max_ratio", max_ratio)) if value is not None}
    if len(given) != 1:
        raise ValueError(f"give one of kl, ess and max_ratio (given: {', '.join(given) or 'none'})")
    [(name, value)] = given.items()
    return Asked(name, float(value))


def _row(pool: Pool, family: Family, matched: Match, asked: Asked) -> Row:
    if matched.value is None or matched.found is None:
        low, high = matched.reach
        return Row(family.text, fails=f"moves {low:.3g} to {high:.3g} ({asked.measure}), and never as far as asked")
    found, standing = matched.found, matched.found.standing
    rewards = matched.pool.rewards
    sizes = np.concatenate([np.full(len(rows), size) for size, rows in rewards.items()])
    means = np.concatenate([rows.mean(axis=-1) for rows in rewards.values()])
    regimes = {str(name): found.mean(standing.regime == name) for name in np.unique(standing.regime) if name}
    return Row(
        family=family.text,
        value=matched.value,
        gentler=matched.gentler,
        stronger=matched.stronger,
        kl=found.movement("kl"),
        ess=found.movement("ess"),
        max_ratio=found.movement("max_ratio"),
        entropy_change=found.mean(standing.entropy - np.log(sizes)),
        value_change=found.mean(standing.value - means) * (1 - pool.silent),
        regimes=regimes,
        farthest=float(standing.kl.max()),
        fails=_fails(found.weights, standing.kind, standing.regime, standing.best),
    )


def _fails(weights: np.ndarray, kind: np.ndarray, regime: np.ndarray, best: np.ndarray) -> str:
    parts = {
        "negative regime": regime == "negative",
        "collapse onto one sample": (kind == "vertex") & ~best,
        "not converged": kind == "not converged",
        "path-dependent": kind == "path-dependent",
    }
    shares = {name: float(weights @ chosen) for name, chosen in parts.items()}
    return ", ".join(f"{name} {value:.1%}" for name, value in shares.items() if value > 0)


def _recommended(rows: Sequence[Row]) -> Row | None:
    """Of the rows whose groups have one target each, the one that gains most; rows are sorted by gain."""
    return next((row for row in rows if row.one_target), None)


# --- in words -------------------------------------------------------------------------------------------------------


def _reasons(pool: Pool, best: Row | None, asked: Asked, logged: bool) -> list[str]:
    if best is None:
        return [
            "None is recommended: no objective that was compared moves as far as asked with "
            f"{share(int(1000 * ONE_TARGET), 1000)} of the groups in the positive regime, where the target is unique."
        ]
    rests = f"{pool.groups:,} groups" if logged else "groups as the pass rates make them"
    found = [
        f"Take {best.setting}: of the objectives that move as far as asked and have one target on "
        f"{best.regimes['positive']:.1%} of the groups with signal (positive regime), it gains most, "
        f"{best.value_change:+.3g} in mean reward.",
        f"It rests on {rests}, {pool.distinct:,} of them distinct, {pool.silent:.1%} without signal"
        + (f"; {pool.drawn:.2%} of them, drawn at random" if pool.drawn < 1 else "")
        + ". The movement is that of the target: training ends there if it is given the steps.",
    ]
    if best.gentler is not None and best.stronger is not None:
        low, high = sorted((best.gentler, best.stronger))
        found.append(f"From {low:.3g} to {high:.3g} it moves from half to twice as far (at {best.gentler:.3g}, half).")
    if asked.measure == "kl" and best.farthest > asked.value:
        found.append(_for_every_group(pool, best, asked))
    return found


def _for_every_group(pool: Pool, best: Row, asked: Asked) -> str:
    """What keeps the farthest group within the movement too; see :func:`pessimism.prescribe`."""
    beta = 0.1 * pool.spread
    shifts = [float(np.max(prescribe(rows, nats=asked.value, beta=beta).exact_shift)) for rows in pool.rewards.values()]
    return (
        f"That is a mean: the farthest group goes {best.farthest:.3g} nats. A bound on every group: "
        f"shifted_mean:beta={beta:.3g},delta={max(max(shifts), 0.0) / beta:.4g} (pessimism.prescribe)."
    )


def _lag(pool: Pool, best: Row | None, read: Reading | None, times: Times) -> list[str]:
    found = [] if read is None else read.lag_sentences(times.ess_bound)
    if times.lag is not None and times.lag > 1 and best is not None:
        found.append(_old(pool, best, times.lag))
    if times.steps is not None and best is not None:
        found.append(
            f"Over {times.steps:g} optimizer steps per sync the log-ratios change by about "
            f"{np.sqrt(2 * best.kl) / times.steps:.2g} nats (root mean square) in each, where all steps go the same "
            "way."
        )
    per_token = times.length if times.length is not None else None if read is None else read.length
    if per_token and best is not None:
        found.append(
            f"{best.kl:.3g} nats over {per_token:,.0f} tokens are {best.kl / per_token:.2g} nats per token on average."
        )
    return found


def _old(pool: Pool, best: Row, lag: int) -> str:
    """After L windows that end at the nominal target the policy is mu e^(L r/beta)/Z (claim recursion.boundary)."""
    boundary = Family.read("oapl.single_beta:beta=?")
    nominal = match(pool, boundary, Asked("kl", best.kl))
    if nominal.value is None:
        return f"What {lag} windows add up to is not known: at the nominal target none of these groups moves so far."
    after = measured(pool, boundary.at(nominal.value / lag))
    return (
        f"Data {lag} windows old: if every window ended at the nominal target of the same movement, the policy would "
        f"by then be {after.movement('kl'):.3g} nats away, and the effective sample size {after.movement('ess'):.1%} "
        "(exact at the boundary, claim recursion.boundary)."
    )


def _warnings(pool: Pool, best: Row | None, read: Reading | None) -> list[str]:
    found = []
    if best is not None and best.fails:
        found.append(f"On some groups {best.setting} fails: {best.fails}.")
    if read is None:
        found.append(
            "Without log-probabilities it is not known how much of what can be said these samples are. Where they are "
            "a tiny share, as with long completions, their log-ratios go to A/beta instead, and mass leaks to or from "
            "completions that nobody sampled (docs/theory.md)."
        )
        return found
    if best is not None:
        found += read.leakage_sentences(best.setting)
    return found + read.warnings
