r"""Masks: which completions or tokens an update leaves out, by their advantage, their probability or their rank.

Unlike a correction (:mod:`pessimism.corrections`) a mask may look at the sign of the advantage, at probabilities
themselves, or at the rest of the batch. A masked algorithm is made by :func:`pessimism.algorithm`:
``algorithm("grpo", mask=off_policy(delta=0.5))``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from array_api_compat import array_namespace

from .corrections import gathered
from .levels import Tokens
from .parts import told_call
from .solve.simplex import Array

__all__ = ["Mask", "balance", "off_policy", "probability", "rank", "second_moment", "sign"]


class Mask(Protocol):
    """What a mask knows. Log-ratios are of tokens, or of arms of one token where ``tokens`` is None."""

    @property
    def coupled(self) -> bool:
        """Whether it looks at the rest of the batch; ``behavior`` is then the weight of each of its members."""
        ...

    @property
    def takes_behavior(self) -> bool: ...

    def keep(self, log_ratio: Array, advantage: Array, *, tokens: Tokens | None, behavior: Array | None) -> Array:
        """Whether it is trained on, bool, of the shape of ``log_ratio``."""
        ...

    def jumps(self, advantage: np.ndarray, behavior: np.ndarray | None) -> tuple[np.ndarray, ...]:
        """Log-ratios (..., K) at which an arm's mask switches; NaN where it does not."""
        ...


@dataclass(frozen=True)
class Sign:
    """Only advantages of one sign; see :func:`sign`."""

    of: Literal["positive", "negative"] = "positive"
    coupled: bool = False
    takes_behavior: bool = False

    def __post_init__(self) -> None:
        if self.of not in ("positive", "negative"):
            raise ValueError(f"sign: of is {self.of!r}; it must be positive or negative")

    def keep(self, log_ratio: Array, advantage: Array, *, tokens: Tokens | None, behavior: Array | None) -> Array:
        return (advantage > 0 if self.of == "positive" else advantage < 0) & (log_ratio == log_ratio)

    def jumps(self, advantage: np.ndarray, behavior: np.ndarray | None) -> tuple[np.ndarray, ...]:
        return ()

    def __str__(self) -> str:
        return told_call("sign", {"of": self.of})


@dataclass(frozen=True)
class OffPolicy:
    """DeepSeek-V3.2's sequence mask; see :func:`off_policy`."""

    delta: float
    level: Literal["sequence", "geometric", "token"] = "geometric"
    coupled: bool = False
    takes_behavior: bool = False

    def __post_init__(self) -> None:
        _check_positive("off_policy", "delta", self.delta)
        if self.level not in ("sequence", "geometric", "token"):
            raise ValueError(f"off_policy: level is {self.level!r}; it must be one of sequence, geometric, token")

    def keep(self, log_ratio: Array, advantage: Array, *, tokens: Tokens | None, behavior: Array | None) -> Array:
        return (advantage >= 0) | (-gathered(log_ratio, self.level, tokens) <= self.delta)

    def jumps(self, advantage: np.ndarray, behavior: np.ndarray | None) -> tuple[np.ndarray, ...]:
        return (np.where(advantage < 0, -self.delta, np.nan),)

    def __str__(self) -> str:
        return told_call(
            "off_policy", {"delta": self.delta} | ({} if self.level == "geometric" else {"level": self.level})
        )


@dataclass(frozen=True)
class Probability:
    """DPPO's mask by how far a probability moved; see :func:`probability`."""

    low: float
    high: float
    either_way: bool = False
    coupled: bool = False
    takes_behavior: bool = True

    def __post_init__(self) -> None:
        _check_positive("probability", "low", self.low)
        _check_positive("probability", "high", self.high)

    def keep(self, log_ratio: Array, advantage: Array, *, tokens: Tokens | None, behavior: Array | None) -> Array:
        return moved_within(log_ratio, advantage, needed(behavior), self.low, self.high, self.either_way)

    def jumps(self, advantage: np.ndarray, behavior: np.ndarray | None) -> tuple[np.ndarray, ...]:
        return moved_edges(advantage, needed(behavior), self.low, self.high, self.either_way)

    def __str__(self) -> str:
        either = {"sides": "both"} if self.either_way else {}
        return told_call("probability", {"low": self.low, "high": self.high} | either)


@dataclass(frozen=True)
class Rank:
    """The largest log-ratios of a batch; see :func:`rank`."""

    share: float
    coupled: bool = True
    takes_behavior: bool = True

    def __post_init__(self) -> None:
        if not (_is_number(self.share) and 0 < self.share < 1):
            raise ValueError(f"rank: share is {self.share!r}; it must be a number > 0 and < 1")

    def keep(self, log_ratio: Array, advantage: Array, *, tokens: Tokens | None, behavior: Array | None) -> Array:
        size = array_namespace(log_ratio).abs(log_ratio)
        weight = _weights(log_ratio, tokens, behavior)
        above = _total(size, weight, tokens) - _sum_below(size, weight, tokens)
        return above > self.share * _total(size, weight, tokens)

    def jumps(self, advantage: np.ndarray, behavior: np.ndarray | None) -> tuple[np.ndarray, ...]:
        return ()

    def __str__(self) -> str:
        return told_call("rank", {"share": self.share})


@dataclass(frozen=True)
class SecondMoment:
    """M2PO's mask; see :func:`second_moment`."""

    budget: float
    of: Literal["harmful", "all", "bounds"] = "harmful"
    coupled: bool = True
    takes_behavior: bool = True

    def __post_init__(self) -> None:
        _check_positive("second_moment", "budget", self.budget)
        if self.of not in ("harmful", "all", "bounds"):
            raise ValueError(f"second_moment: of is {self.of!r}; it must be one of harmful, all, bounds")

    def keep(self, log_ratio: Array, advantage: Array, *, tokens: Tokens | None, behavior: Array | None) -> Array:
        xp = array_namespace(log_ratio)
        counted = (log_ratio == log_ratio) if self.of == "all" else (log_ratio * advantage > 0)
        weight = xp.where(counted, _weights(log_ratio, tokens, behavior), xp.zeros_like(log_ratio))
        square = log_ratio**2
        spent = _sum_below(square, weight * square, tokens, with_equal=True)
        total = kept = _total(square, weight, tokens)
        if self.of != "harmful":
            kept = _sum_below(square, weight, tokens, with_equal=True)
        if self.of == "bounds":  # what is larger counts as if it stood at the bound
            spent, kept = spent + square * (total - kept), total
        return ~counted | (spent <= self.budget * kept)

    def jumps(self, advantage: np.ndarray, behavior: np.ndarray | None) -> tuple[np.ndarray, ...]:
        return ()

    def __str__(self) -> str:
        of = {} if self.of == "harmful" else {"of": self.of}
        return told_call("second_moment", {"budget": self.budget} | of)


@dataclass(frozen=True)
class Balance:
    """BAPO's clip, whose bounds are searched for; see :func:`balance`."""

    low: tuple[float, float] = (0.6, 0.9)
    high: tuple[float, float] = (1.2, 3.0)
    step: float = 0.05
    share: float = 0.5
    cap: float = 3.0
    coupled: bool = True
    takes_behavior: bool = True

    def __post_init__(self) -> None:
        (first, last), (start, end) = self.low, self.high
        if not (0 <= first <= last <= 1 <= start <= end < math.inf):
            raise ValueError(
                f"balance: low, low_last, high, high_last are {first}, {last}, {start}, {end}; they must be numbers in "
                "rising order, the first two in [0, 1], the others >= 1"
            )
        _check_positive("balance", "step", self.step)
        if not (_is_number(self.share) and 0 < self.share < 1):
            raise ValueError(f"balance: share is {self.share!r}; it must be a number > 0 and < 1")
        if not (isinstance(self.cap, (int, float)) and self.cap > 1):
            raise ValueError(f"balance: cap is {self.cap!r}; it must be a number > 1")

    def keep(self, log_ratio: Array, advantage: Array, *, tokens: Tokens | None, behavior: Array | None) -> Array:
        xp = array_namespace(log_ratio)
        ratio, weight = xp.exp(log_ratio), _weights(log_ratio, tokens, behavior)
        nothing = xp.zeros_like(log_ratio)
        gain, loss = weight * xp.clip(advantage, 0.0, None), weight * xp.clip(-advantage, 0.0, None)
        odds = self.share / (1 - self.share)

        def short(low: Array, high: Array) -> Array:
            """Whether gains contribute too little between these bounds."""
            gained = _total(ratio, xp.minimum(ratio, high) * gain, tokens)
            return gained < odds * _total(ratio, xp.where(loss > 0, xp.maximum(ratio, low) * loss, nothing), tokens)

        low, high = nothing + self.low[0], nothing + self.high[0]
        for bound in _steps(*self.low, self.step):
            low = xp.where(short(low, high), nothing + bound, low)
        for bound in _steps(*self.high, self.step):
            if not bool(xp.any(lacking := short(low, high))):
                break
            high = xp.where(lacking, nothing + bound, high)
        return xp.where(advantage >= 0, ratio <= high, (ratio >= low) & (ratio <= self.cap))

    def jumps(self, advantage: np.ndarray, behavior: np.ndarray | None) -> tuple[np.ndarray, ...]:
        return ()

    def __str__(self) -> str:
        named = {"low": self.low[0], "low_last": self.low[1], "high": self.high[0], "high_last": self.high[1]}
        named |= {"step": self.step, "share": self.share, "cap": self.cap}
        defaults = dict(zip(named, (0.6, 0.9, 1.2, 3.0, 0.05, 0.5, 3.0), strict=True))
        return told_call("balance", {name: value for name, value in named.items() if value != defaults[name]})


def _steps(first: float, last: float, step: float) -> list[float]:
    """The bounds after the first, up to the last."""
    count = math.ceil((last - first) / step - 1e-9)
    return [min(first + step * index, last) for index in range(1, count + 1)]


def moved_within(
    log_ratio: Array, advantage: Array, behavior: Array, low: float, high: float, either_way: bool = False
) -> Array:
    r"""True where $\pi - \mu \le high$ ($A > 0$) or $\pi - \mu \ge -low$ ($A \le 0$); either way: where both hold."""
    xp = array_namespace(log_ratio)
    gained = behavior * xp.expm1(log_ratio)
    if either_way:
        return (gained <= high) & (gained >= -low)
    return xp.where(advantage > 0, gained <= high, gained >= -low)


def moved_edges(
    advantage: np.ndarray, behavior: np.ndarray, low: float, high: float, either_way: bool = False
) -> tuple[np.ndarray, ...]:
    """Log-ratios (..., K) at which :func:`moved_within` switches; NaN where no ratio reaches the bound."""
    seen = np.where(behavior > 0, behavior, 1.0)
    up, down = 1 + high / seen, 1 - low / seen
    fall = np.where(down > 0, np.log(np.where(down > 0, down, 1.0)), np.nan)
    if either_way:
        return np.log(up) + 0 * advantage, fall + 0 * advantage
    return (np.where(advantage > 0, np.log(up), fall),)


def sign(of: Literal["positive", "negative"] = "positive") -> Mask:
    """Trains on advantages of one sign only; on an advantage of 0 never.

    Raises:
        ValueError: another word.
    """
    return Sign(of)


def off_policy(delta: float, level: Literal["sequence", "geometric", "token"] = "geometric") -> Mask:
    r"""Leaves out a completion with $A < 0$ and mean over its tokens of $-\ell$ above ``delta`` (DeepSeek-V3.2).

    arXiv 2512.02556, equation 9, which prints no value; TRL's documentation names 0.5, slime's default is 1e-4.

    Raises:
        ValueError: delta is not positive, or an unknown level.
    """
    return OffPolicy(delta, level)


def probability(low: float, high: float, sides: Literal["one", "both"] = "one") -> Mask:
    r"""Leaves out where $\pi - \mu > high$ ($A > 0$), or $< -low$ ($A \le 0$): DPPO, arXiv 2602.04879.

    ``sides="both"`` looks at both bounds whatever the advantage (prime-rl's ipo).

    Raises:
        ValueError: a bound that is not positive, or another word.
    """
    if sides not in ("one", "both"):
        raise ValueError(f"probability: sides is {sides!r}; it must be one or both")
    return Probability(low, high, sides == "both")


def rank(share: float) -> Mask:
    r"""Leaves out the largest $|\ell|$ of the batch, as many as make up at most ``share`` of it. Coupled.

    Raises:
        ValueError: a share outside (0, 1).
    """
    return Rank(share)


def second_moment(budget: float, of: Literal["harmful", "all", "bounds"] = "harmful") -> Mask:
    r"""M2PO: leaves out the largest $\ell^2$ until their mean is at most ``budget``. Coupled; three public forms.

    "harmful": the mean over all whose ratio has moved as their advantage asks ($A\ell > 0$), those left out being 0
    (arXiv 2510.01161). "all": over those that are left, of either sign (AReaL's ``m2_threshold``, which leaves one in
    any case). "bounds": the harmful beyond the $\tau$ at which the mean of $\min(\ell^2, \tau^2)$ over the harmful is
    the budget, as bounds $e^{\pm\tau}$ of PPO's clip (Infini-AI-Lab/M2PO, whose scripts set 0.04 and no floors).

    Raises:
        ValueError: a budget that is not positive, or another word.
    """
    return SecondMoment(budget, of)


def balance(
    low: float = 0.6,
    low_last: float = 0.9,
    high: float = 1.2,
    high_last: float = 3.0,
    step: float = 0.05,
    share: float = 0.5,
    cap: float = 3.0,
) -> Mask:
    r"""BAPO: PPO's clip with bounds that rise until gains make up ``share`` of the contributions. Coupled.

    Contributions are $w\min(\rho, high)A$ of $A > 0$ and $w\max(\rho, low)|A|$ of $A < 0$. First the lower bound rises
    to ``low_last``, then the upper one to ``high_last``; $A < 0$ beyond ``cap`` is left out. BAPO (arXiv 2510.18927,
    WooooDyy/BAPO) is ``algorithm("grpo.no_ratio", correction="truncate(cap=3)", mask="balance")``. Its paper's ranges
    are the defaults; its code's example has 0.8 to 0.95 and 1.2 to 2.

    Of one group with a mean baseline, gains make up half at $\rho = 1$ and more as training goes on: the search ends
    where it begins, at PPO's clip with low = 0.4 and high = 0.2 (derived here). It matters where failures are longer,
    and so make up more tokens.

    Raises:
        ValueError: bounds that do not rise, or a step, share or cap out of range.
    """
    return Balance((low, low_last), (high, high_last), step, share, cap)


MAKERS: dict[str, Any] = {
    "balance": balance,
    "sign": sign,
    "off_policy": off_policy,
    "probability": probability,
    "rank": rank,
    "second_moment": second_moment,
}


# --- sums over a batch ------------------------------------------------------------------------------------------------


def _weights(like: Array, tokens: Tokens | None, behavior: Array | None) -> Array:
    """What each counts in its batch: an arm its weight, a token 1, a place that holds none 0."""
    xp = array_namespace(like)
    if tokens is not None:
        return tokens.kept(xp.ones_like(like))
    return xp.ones_like(like) if behavior is None else behavior + xp.zeros_like(like)


def _total(values: Array, weight: Array, tokens: Tokens | None) -> Array:
    """The sum of the weights: of each row of arms, or of all tokens."""
    xp = array_namespace(values)
    return xp.sum(weight, axis=-1, keepdims=True) if tokens is None else xp.sum(weight)


def _sum_below(values: Array, weight: Array, tokens: Tokens | None, with_equal: bool = False) -> Array:
    """For each the sum of the weights of all with a smaller value (or an equal one)."""
    xp = array_namespace(values)
    if tokens is None:
        one, other = values[..., :, None], values[..., None, :]
        below = other <= one if with_equal else other < one
        return xp.sum(xp.where(below, weight[..., None, :], xp.zeros_like(weight[..., None, :])), axis=-1)
    flat, count = xp.reshape(values, (-1,)), xp.reshape(weight, (-1,))
    order = xp.argsort(flat)
    before = xp.concat([xp.zeros_like(count[:1]), xp.cumulative_sum(count[order], axis=0)])
    place = xp.searchsorted(flat[order], flat, side="right" if with_equal else "left")
    return xp.reshape(before[place], values.shape)


def needed(behavior: Any) -> Any:
    """The behavior policy's probability of every sample, or a ValueError."""
    if behavior is None:
        raise ValueError("behavior is None; this mask needs the behavior policy's probability of every sample")
    return behavior


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _check_positive(mask: str, name: str, value: object) -> None:
    if not (_is_number(value) and value > 0):  # type: ignore[operator]
        raise ValueError(f"{mask}: {name} is {value!r}; it must be a finite number > 0")
