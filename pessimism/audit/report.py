"""The outcome of an audit: as plain data and in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..algorithm import Algorithm
from ..display import brief, brief_html
from ..extras import need
from ..prefixes import has_prefix_regimes
from ..verdict import share, verdict_of
from .measure import STATISTICS, TABLES, AlgorithmTotals, Totals
from .ratios import ratio_sentences
from .statistics import REGIMES
from .totals import quantiles

if TYPE_CHECKING:
    import polars as pl

    from .checks import Skipped
    from .files import Source

TOP_SHARES = (0.01, 0.1)
DRIFT = 0.1
"""A change of a share that is worth a sentence."""

MANY = 0.01
"""A share of groups that is worth a warning."""

AVERAGED = ("kl", "nominal_kl", "kl_share", "entropy_change", "nominal_entropy_change", "value_change")


@dataclass(frozen=True)
class AlgorithmAudit:
    r"""What one algorithm makes of the log.

    Attributes:
        name: with its parameters.
        baseline: formula of its baseline.
        level: where it takes its log-ratio.
        regimes, kinds, methods: name -> number of groups.
        regimes_with_signal: the same of those groups whose rewards differ.
        quantiles: statistic -> quantile -> value, of the groups with signal.
        means: statistic -> mean over the groups where it is finite.
        drive_shares: share of the groups with signal -> their share of the summed drive, the strongest first.
        top: the groups that drive the update most.
        by_version, by_lag: sums over groups in bins.
        by_passes: where all rewards are 0 or 1, by size and completions that pass: groups, and what is made of one.
        realized: predicted against realized log-ratios, or None without current log-probabilities.
        leakage: of the groups with signal, how many could be weighed against what nobody sampled (``groups``), in how
            many of those the samples would not fill the simplex at $\ell = A/\beta$ (``open``), and quantiles of the
            change of the samples' log-probability in these (``nats``); None without log-probabilities, or for other
            objectives.
        targets: shares of the groups by how the induced target stands to the nominal one, and means of both.
        drawn: values of groups drawn at random, and of samples ("predicted", "realized"), for pictures.
        sentence: the verdict, as `pessimism compare` gives it on the same groups.
        verdict: the sentence, and what else there is to say of the log.
    """

    name: str
    baseline: str
    level: str
    regimes: dict[str, int]
    regimes_with_signal: dict[str, int]
    kinds: dict[str, int]
    methods: dict[str, int]
    quantiles: dict[str, dict[str, float]]
    means: dict[str, float]
    drive_shares: dict[str, float]
    top: list[dict[str, Any]]
    by_version: list[dict[str, float]]
    by_lag: list[dict[str, float]]
    by_passes: list[dict[str, Any]]
    realized: dict[str, Any] | None
    leakage: dict[str, Any] | None
    targets: dict[str, float]
    drawn: dict[str, np.ndarray]
    sentence: str
    verdict: str

    def to_dict(self) -> dict[str, Any]:
        """Everything but the samples for pictures, as plain values."""
        return {name: value for name, value in vars(self).items() if name != "drawn"}

    def to_row(self) -> dict[str, Any]:
        """Name, verdict, groups by regime, and the statistics' means and medians, for one line of a table."""
        row: dict[str, Any] = {"algorithm": self.name, "level": self.level, "verdict": self.verdict}
        row |= {f"groups {name}": count for name, count in self.regimes.items()}
        row |= {f"mean {name}": value for name, value in self.means.items()}
        return row | {f"median {name}": values["50%"] for name, values in self.quantiles.items()}

    def _contents(self) -> dict[str, Any]:
        return {"name": self.name, "verdict": self.verdict, "regimes": self.regimes, "means": self.means}

    __repr__ = brief
    _repr_html_ = brief_html


@dataclass(frozen=True)
class Audit:
    """What a log holds and what algorithms make of it; see :func:`pessimism.audit.run.audit`.

    Attributes:
        files: path and layout of each, and the file that it repeats and is left out for, if any.
        rows, groups: that were counted in.
        sizes: group size -> groups.
        silent: groups whose rewards all agree.
        ranges: column -> smallest and largest value.
        quantiles: of the groups' mean reward, mean length and realized divergence.
        sampled: groups that quantiles are taken from.
        share: of the log's groups, drawn at random, that was looked at.
        skipped: reason -> groups, rows and first places.
        ratios: how far the policy being trained is from the one that sampled, in all, by lag and by length, or None
            without current log-probabilities; see ``pessimism.audit.ratios``.
        warnings: sentences about the log itself.
        algorithms: one for each.
    """

    files: list[dict[str, str]]
    rows: int
    groups: int
    sizes: dict[int, int]
    silent: int
    ranges: dict[str, tuple[float, float]]
    quantiles: dict[str, dict[str, float]]
    sampled: int
    share: float
    skipped: dict[str, dict[str, Any]]
    ratios: dict[str, Any] | None
    warnings: list[str]
    algorithms: list[AlgorithmAudit]

    @classmethod
    def of(
        cls,
        sources: Sequence[Source],
        algorithms: Sequence[Algorithm],
        totals: Totals,
        skipped: Skipped,
        share: float,
    ) -> Audit:
        """From the totals of a pass."""
        files = [{"path": str(source.path), "layout": source.layout, "repeats": source.repeats} for source in sources]
        sample = totals.sample.values()
        ratios = totals.ratios.to_dict()
        places = [f"{source.path.name}, {source.unit}" if len(sources) > 1 else source.unit for source in sources]
        return cls(
            files=files,
            rows=totals.rows,
            groups=totals.groups,
            sizes=dict(sorted(totals.sizes.items())),
            silent=totals.silent,
            ranges=totals.ranges,
            quantiles={name: quantiles(values) for name, values in sample.items() if not np.isnan(values).all()},
            sampled=len(sample["reward"]),
            share=share,
            skipped={
                reason: {"groups": count, "rows": skipped.rows[reason], "examples": skipped.examples[reason]}
                for reason, count in skipped.groups.items()
            },
            ratios=ratios,
            warnings=ratio_sentences(ratios),
            algorithms=[
                _algorithm_audit(algorithm, part, totals, places, totals.passes.rows(number))
                for number, (algorithm, part) in enumerate(zip(algorithms, totals.algorithms, strict=True))
            ],
        )

    def to_dict(self) -> dict[str, Any]:
        """Everything but the samples for pictures, as plain values."""
        own = {name: value for name, value in vars(self).items() if name != "algorithms"}
        own["sizes"] = {str(size): count for size, count in self.sizes.items()}
        return own | {"algorithms": [part.to_dict() for part in self.algorithms]}

    def to_polars(self) -> pl.DataFrame:
        """A line for each algorithm: groups by regime, and the means and medians of the groups' statistics.

        Raises:
            ValueError: polars is not installed.
        """
        need("tables", "polars")
        import polars as pl

        return pl.DataFrame([part.to_row() for part in self.algorithms])

    def _contents(self) -> dict[str, Any]:
        counts = {name: getattr(self, name) for name in ("rows", "groups", "silent", "skipped")}
        return counts | {part.name: part.verdict for part in self.algorithms}

    __repr__ = brief
    _repr_html_ = brief_html


def _algorithm_audit(
    algorithm: Algorithm,
    totals: AlgorithmTotals,
    log: Totals,
    places: Sequence[str],
    by_passes: list[dict[str, Any]],
) -> AlgorithmAudit:
    sample = totals.sample.values()
    counts = {name: _named(table, totals.codes[name]) for name, table in TABLES.items()}
    with_signal = _named(REGIMES, totals.with_signal)
    realized = None
    if totals.pooled.count:
        realized = {
            "all samples": totals.pooled.to_dict(),
            "within groups": totals.within.to_dict(),
            "predicted to lose all mass": int(totals.sums["lost"]),
        }
    leakage = None
    if totals.weighed:
        leakage = {
            "groups": totals.weighed,
            "open": totals.open,
            "nats": quantiles(totals.factors.values()["nats"]),
        }
    found = {name: quantiles(sample[name]) for name in STATISTICS}
    sentence = verdict_of(algorithm, totals.account)
    return AlgorithmAudit(
        name=str(algorithm),
        baseline=algorithm.baseline.formula,
        level=algorithm.level,
        regimes=counts["regime"],
        regimes_with_signal=with_signal,
        kinds=counts["kind"],
        methods=counts["method"],
        quantiles=found,
        means={name: totals.sums[name] / log.groups for name in AVERAGED},
        drive_shares=_shares(sample["drive"]),
        top=[
            {name: value for name, value in row.items() if name not in ("file", "place")}
            | {"where": f"{places[row['file']]} {row['place']}"}
            for row in totals.top.rows
        ],
        by_version=totals.by_version.rows(),
        by_lag=totals.by_lag.rows(),
        by_passes=by_passes,
        realized=realized,
        leakage=leakage,
        targets=totals.account.to_dict(),
        drawn=sample | totals.pairs.values(),
        sentence=sentence,
        verdict=_verdict(algorithm, sentence, with_signal, found, totals, log, realized, leakage),
    )


def _named(table: Sequence[str], counts: np.ndarray) -> dict[str, int]:
    return {name: int(count) for name, count in zip(table, counts, strict=True) if count}


def _shares(drive: np.ndarray) -> dict[str, float]:
    ranked = -np.sort(-drive[np.isfinite(drive)])
    total = ranked.sum()
    if not total > 0:
        return {}
    counts = {share: round(share * len(ranked)) for share in TOP_SHARES}  # of few groups a share may be none
    return {f"{share:.0%}": float(ranked[:count].sum() / total) for share, count in counts.items() if count}


# --- in words ---------------------------------------------------------------------------------------------------------


def _verdict(
    algorithm: Algorithm,
    sentence: str,
    regimes: dict[str, int],
    found: dict[str, dict[str, float]],
    totals: AlgorithmTotals,
    log: Totals,
    realized: dict[str, Any] | None,
    leakage: dict[str, Any] | None,
) -> str:
    speaking = log.groups - log.silent
    if not speaking:
        return "No signal: within every group all rewards agree, so nothing is learned from this log."
    sentences = [f"{sentence[0].upper()}{sentence[1:]}."]
    negative = regimes.get("negative", 0)
    if negative > MANY * speaking:
        sentences.append(
            f"Fragile: {share(negative, speaking)} of the groups with signal are in the negative regime, where the "
            "target is more aggressive than the nominal one and there can be several."
        )
    if regimes.get("none"):
        sentences.append("The sign of its normalizer has no meaning, so that no regime applies.")
    gain = totals.sums["value_change"] / log.groups
    sentences.append(
        f"The median group with signal is driven {found['kl']['50%']:.3g} nats from equal weights on its samples "
        f"(nominal {found['nominal_kl']['50%']:.3g}), {found['kl_share']['50%']:.0%} of the way to a single one; the "
        f"mean reward would rise by {gain:.3g}."
    )
    if log.silent:
        sentences.append(f"{share(log.silent, log.groups)} of the groups have no signal: their rewards all agree.")
    sentences += _drift(totals.by_version.rows())
    if realized is not None:
        fit = realized["within groups"]
        sentences.append(
            f"So far the log-ratios have moved {fit['slope']:.3g} times as far as predicted (R2 {fit['r2']:.2f})."
            if np.isfinite(fit["slope"])
            else "Predicted log-ratios do not vary, so there is nothing to compare the realized ones with."
        )
    if leakage is not None and leakage["open"]:
        sentences.append(
            f"In {share(leakage['open'], leakage['groups'])} of the groups with signal the target leaves mass for "
            "completions that nobody sampled: trained on such a group alone, to the end, each sample would have the "
            "log-ratio A/beta, and the log-probability of all of them together would change by "
            f"{leakage['nats']['50%']:+.3g} nats (median), which still leaves it below 0."
        )
    if has_prefix_regimes(algorithm):
        sentences.append(
            "It takes its log-ratio per token, where every prefix of a completion has a regime of its own; those above "
            "are of completions one token long."
        )
    elif algorithm.level != "sequence":
        sentences.append(
            f"It takes its ratio per {algorithm.level}: the prediction treats each completion as one arm, which is "
            "then an approximation."
        )
    return " ".join(sentences)


def _drift(bins: list[dict[str, float]]) -> list[str]:
    """Whether signal comes or goes between the earlier and the later half of the groups."""
    count = np.cumsum([row["groups"] for row in bins])
    early = count <= count[-1] / 2 if len(bins) > 1 else np.ones(len(bins), dtype=bool)
    if early.all() or not early.any():
        return []
    silent, groups = (np.array([row[name] for row in bins]) for name in ("no signal", "groups"))
    before, after = (silent[part].sum() / groups[part].sum() for part in (early, ~early))
    if abs(after - before) < DRIFT:
        return []
    return [
        f"Groups without signal go from {before:.0%} in the earlier half of the versions to {after:.0%} in the later."
    ]
