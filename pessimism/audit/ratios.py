r"""How far the policy being trained is from the one that sampled: effective sample size, divergences, clipped tokens.

Everything is by sample: $\ell = \log\pi/\mu$ of a whole completion, and $\ell_t$ of its tokens where they are logged.
On data from $\mu$, $E\,\rho = 1$: the mean of the ratios says whether the two log-probabilities are of the same kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .token_sums import CLIP, SUMS
from .totals import Bins, numbered, summed

if TYPE_CHECKING:
    from .groups import Groups

OF_SAMPLES = ("samples", "length", "x", "x_square", "high", "high_length", "high_x", "low_x")
"""Sums over samples: how many, their tokens, l, l^2; and, of those of more than their group's mean reward, how many,
their tokens and their l, and the l of the others."""

LOGS = ("ratio", "ratio_square")
"""Logarithms of sums over samples of e^l and e^2l, which would overflow."""


@dataclass
class RatioTotals:
    """Sums by lag and by length (in powers of two), and over the samples that the newest policy drew."""

    by_lag: Bins = field(default_factory=lambda: Bins((*OF_SAMPLES, *SUMS), LOGS))
    by_length: Bins = field(default_factory=lambda: Bins((*OF_SAMPLES, *SUMS), LOGS))
    fresh: Bins = field(default_factory=lambda: Bins((*OF_SAMPLES, *SUMS), LOGS))
    all: Bins = field(default_factory=lambda: Bins((*OF_SAMPLES, *SUMS), LOGS))
    tokens: bool = False

    def add(self, groups: Groups) -> None:
        """The samples of more groups; nothing where current log-probabilities are not logged."""
        behavior, current = groups.get("log_prob"), groups.get("current_log_prob")
        if behavior is None or current is None:
            return
        self.tokens = "token_square" in groups.table.columns
        version, step, length = (groups.get(name) for name in ("version", "step", "length"))
        lag = None if version is None else step - version if step is not None else (version != 0).astype(np.int64)
        # Sums are taken once, in cells of equal lag and power of two of the length; everything else is sums of cells.
        ages, age = (np.zeros(1, np.int64), 0) if lag is None else numbered(lag)
        powers, power = (np.zeros(1, np.int64), 0) if length is None else numbered(_power(length))
        cell = np.broadcast_to(age * len(powers) + power, behavior.shape)
        cells, inverse = numbered(cell)
        sums = summed(inverse, len(cells), _values(groups, current - behavior), LOGS)
        ages, powers = ages[cells // len(powers)], powers[cells % len(powers)]
        self.all.add(np.zeros(len(cells), np.int64), sums)
        if version is not None and step is not None:
            self.by_lag.add(ages, sums)
        if version is not None:
            self._add_some(self.fresh, ages == 0, np.zeros(len(cells), np.int64), sums)
        if length is not None:
            self._add_some(self.by_length, powers >= 0, powers, sums)

    @staticmethod
    def _add_some(bins: Bins, chosen: np.ndarray, keys: np.ndarray, sums: Mapping[str, np.ndarray]) -> None:
        bins.add(keys[chosen], {name: part[chosen] for name, part in sums.items()})

    def to_dict(self) -> dict[str, Any] | None:
        """What there is to say, None where nothing was logged; see :func:`distances` and :func:`common_shift`."""
        rows = self.all.rows()
        if not rows:
            return None
        fresh = self.fresh.rows()
        lengths = self.by_length.rows()
        return {
            "all": distances(rows[0], self.tokens),
            "by_lag": [_placed(row, self.tokens) for row in self.by_lag.rows()],
            "by_length": [
                _placed(row | {"from": 2.0 ** row["from"], "to": 2.0 ** (row["to"] + 1) - 1}, self.tokens)
                for row in lengths
            ],
            "growth": growth(lengths),
            "common_shift": common_shift(fresh[0], self.tokens) if fresh else None,
        }


def _values(groups: Groups, x: np.ndarray) -> dict[str, np.ndarray]:
    reward, start, size = groups.column("reward"), groups.start[:-1], groups.size
    high = reward > np.repeat(np.add.reduceat(reward, start) / size, size)
    found = sample_terms(x, groups.get("length"), high)
    return found | {name: column for name in SUMS if (column := groups.get(name)) is not None}


def _power(length: np.ndarray) -> np.ndarray:
    """The largest power of two that is no longer, as its exponent; -1 below 1."""
    return np.frexp(np.maximum(length, 0.0))[1].astype(np.int64) - 1


def sample_terms(x: np.ndarray, length: np.ndarray | None, high: np.ndarray) -> dict[str, np.ndarray]:
    """What each sample adds to ``OF_SAMPLES`` and ``LOGS``, (n,) each.

    Args:
        x: (n,) log-ratios, nats.
        length: (n,) tokens, or None where they are not known.
        high: (n,) bool, more than the group's mean reward.
    """
    first = high.astype(float)
    high_x = first * x
    found = {
        "samples": np.ones(len(x)),
        "x": x,
        "x_square": x * x,
        "high": first,
        "high_x": high_x,
        "low_x": x - high_x,
        "ratio": x,
        "ratio_square": 2 * x,
    }
    return found if length is None else found | {"length": length, "high_length": first * length}


def distances(row: Mapping[str, float], tokens: bool) -> dict[str, Any]:
    r"""Distances of samples from their sums; of tokens too where they are logged.

    ``ess`` is $(\sum\rho)^2/(n\sum\rho^2)$, a share of the samples; ``chi2`` $= 1/\text{ess} - 1$, that of the ratios
    divided by their mean; ``k1`` $= -E\,\ell$, ``k2`` $= E\,\ell^2/2$ and ``k3`` $= E[\rho - 1 - \ell]$ estimate
    $\mathrm{KL}(\mu\|\pi)$ in nats; ``outside`` is the share of tokens whose ratio is outside .8 to 1.2.
    """
    count = row["samples"]
    with np.errstate(over="ignore", invalid="ignore"):
        found: dict[str, Any] = {
            "samples": int(count),
            "sequence": _of(count, row["x"], row["x_square"], row["ratio"], row["ratio_square"]),
        }
        if tokens:
            sums = np.array([row["token_ratio"], row["token_ratio_square"]])
            logs = np.log(np.where(sums > 0, sums, np.nan))
            found["tokens"] = int(row["length"])
            found["token"] = _of(row["length"], row["x"], row["token_square"], *logs)
            found["token"]["outside"] = row["token_outside"] / max(row["length"], 1)
    return found


def _of(count: float, x: float, square: float, log_ratio: float, log_square: float) -> dict[str, float]:
    log_ess = 2 * log_ratio - log_square - np.log(count)
    log_mean = log_ratio - np.log(count)
    return {
        "mean": x / count,
        "ess": float(np.exp(np.minimum(log_ess, 0.0))),
        "chi2": float(np.expm1(np.maximum(-log_ess, 0.0))),
        "k1": -x / count,
        "k2": square / count / 2,
        "k3": float(np.exp(log_mean) - 1 - x / count),
        "log_mean_ratio": float(log_mean),
    }


def _placed(row: Mapping[str, float], tokens: bool) -> dict[str, Any]:
    return {"from": row["from"], "to": row["to"]} | distances(row, tokens)


def growth(rows: list[dict[str, float]]) -> dict[str, float] | None:
    r"""How $\sqrt{E\,\ell^2}$ grows with length: the exponent p of length^p by least squares over bins of length.

    About 1/2 where every token adds noise of its own, about 1 where all tokens share a drift. None with fewer than
    three lengths, or where nothing has moved.
    """
    sound = [row for row in rows if row["x_square"] > 0 and row["length"] > 0]
    if len(sound) < 3:
        return None
    count, length, square = (np.array([row[name] for row in sound]) for name in ("samples", "length", "x_square"))
    x, y, weight = np.log(length / count), np.log(square / count) / 2, np.sqrt(count)
    slope, intercept = np.polyfit(x, y, 1, w=weight)
    total = sum(row["x"] for row in sound) / length.sum()
    return {"exponent": float(slope), "at one token": float(np.exp(intercept)), "drift per token": float(total)}


NOISE = 4.0
"""Standard errors beyond which a mean is no noise."""

FEW = 8
"""Samples below which nothing is said."""

SMALLEST_SHIFT = 0.01
"""Nats per completion below which a shift is of no consequence."""

SMALLEST_RATIO = 0.002
"""The same for the distance of a token's mean ratio from 1."""


def common_shift(row: Mapping[str, float], tokens: bool) -> dict[str, Any] | None:
    r"""A shift between the two log-probabilities of samples that the policy itself has just drawn, or None.

    There the ratio should be 1 up to rounding, and on average it is 1 for any two policies. A shift is told where that
    average over tokens is many standard errors from 1 (where only sums are logged: where the mean log-ratio of
    completions is many from 0, and larger than what noise of its spread explains, $-E\,\ell = E\,\ell^2/2$), and where
    it is about the same for rewarded and unrewarded samples: then it is not learning that made it.
    """
    count = row["samples"]
    mean, square = row["x"] / count, row["x_square"] / count
    error = np.sqrt(max(square - mean**2, 0.0) / count)
    if tokens:
        ratio, second = row["token_ratio"] / row["length"], row["token_ratio_square"] / row["length"]
        noise = NOISE * np.sqrt(max(second - ratio**2, 0.0) / row["length"])
        told = abs(ratio - 1) > max(noise, SMALLEST_RATIO)
    else:
        explained = mean < 0 and -mean < 1.5 * (square - mean**2) / 2
        told = abs(mean) > max(NOISE * error, SMALLEST_SHIFT) and not explained
    apart = _apart(row)
    if count < FEW or not told or apart > abs(mean) / 2:
        return None
    found: dict[str, Any] = {
        "per completion": mean,
        "per token": row["x"] / row["length"] if row["length"] > 0 else None,
        "standard error": float(error),
        "samples": int(count),
        "rewarded less unrewarded": float(apart),
    }
    return found | {"candidates": _candidates(row) if tokens else [*UNTOLD]}


def _apart(row: Mapping[str, float]) -> float:
    """How much rewarded and unrewarded samples differ in shift, nats per completion.

    Where lengths are known, per token and then for a completion of mean length: a rewarded one may be longer.
    """
    count, long = row["samples"], row["length"] > 0
    high, total = (row["high_length"], row["length"]) if long else (row["high"], count)
    if not (0 < high < total):
        return 0.0
    return abs(row["high_x"] / high - row["low_x"] / (total - high)) * (total / count)


TEMPERATURE = "temperature: one side's log-probabilities are a multiple of the other's"
TRUNCATION = "top-p or top-k: the sampler renormalizes what it keeps, so that its log-probabilities are higher"
PADDING = "padding or alignment: few tokens make up the shift"
PRECISION = "precision or kernels: small differences of both signs"
UNTOLD = (TEMPERATURE, TRUNCATION, PRECISION, PADDING)
"""Where only sums are logged."""


def _candidates(row: Mapping[str, float]) -> list[str]:
    """What can have made a shift, the likeliest first, by what the tokens look like."""
    count, square = max(row["length"], 1.0), max(row["token_square"], 1e-300)
    slope = row["token_product"] / max(row["token_behavior_square"], 1e-300)
    fit = row["token_product"] ** 2 / max(row["token_behavior_square"], 1e-300) / square
    up, down = row["token_up"] / count, row["token_down"] / count
    one_sided = max(up, down) / max(up + down, 1e-300)
    concentrated = min((row["token_largest"] / row["samples"]) ** 2 * row["samples"] / square, 1.0)
    sharpened = (one_sided - 0.5) * 1.9 * (1 - concentrated) if down > up else 0.0
    scores = {
        f"{TEMPERATURE}, by {1 + slope:.3g} (R2 {fit:.2f})": fit,
        f"{TRUNCATION} ({one_sided:.0%} of the tokens that differ)": sharpened,
        PADDING: concentrated * 0.9,
        PRECISION: 0.5 if np.sqrt(square / count) < 0.1 else 0.0,
    }
    return sorted((name for name, score in scores.items() if score > 0.3), key=lambda name: -scores[name])


# --- in words -------------------------------------------------------------------------------------------------------


def ratio_sentences(found: Mapping[str, Any] | None) -> list[str]:
    """What is worth a sentence: a shift that is no learning, first of all."""
    if found is None:
        return []
    sentences, shift = [], found["common_shift"]
    if shift is not None:
        each = "" if shift["per token"] is None else f" ({shift['per token']:+.3g} per token)"
        sentences.append(
            f"Shift: on samples of the newest policy itself the two log-probabilities differ by "
            f"{shift['per completion']:+.3g} nats per completion{each}, whatever the reward. That is not learning: the "
            f"trainer and the sampler disagree. Candidates, the likeliest first: {'; '.join(shift['candidates'])}."
        )
    sequence = found["all"]["sequence"]
    outside = ""
    if "token" in found["all"]:
        token = found["all"]["token"]
        clipped = f"{token['outside']:.1%} have a ratio outside {CLIP[0]} to {CLIP[1]}"
        outside = f"; of the tokens {token['ess']:.0%}, and {clipped}"
    sentences.append(f"The effective sample size is {sequence['ess']:.1%} of the completions{outside}.")
    grown = found["growth"]
    if grown is not None:
        sentences.append(f"Log-ratios grow with length to the power {grown['exponent']:.2f}: {_growth(grown)}.")
    return sentences


def _growth(grown: Mapping[str, float]) -> str:
    if grown["exponent"] > 0.8:
        return f"all tokens share a drift, {grown['drift per token']:+.3g} nats each"
    if grown["exponent"] > 0.3:
        return "every token adds noise of its own"
    return "hardly at all"
