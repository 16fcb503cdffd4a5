"""How good a policy is on problems that it has not seen: pass@k with intervals, lengths, entropy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..samples import Completion, Prompt, Request
from ..tasks import Task
from .rollout import judge_all

RESAMPLES = 2000
STREAM = 2  # first word of the spawn keys, apart from those of training batches


@dataclass(frozen=True)
class Estimate:
    """A mean over prompts with its 95% bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Evaluation:
    """What n completions of each of P prompts say.

    Attributes:
        prompts: P.
        samples: n.
        reward: mean reward (avg@n).
        pass_at: k -> probability that one of k completions passes.
        length: mean number of tokens, the end of sequence included.
        cut: share of completions cut off at the length limit.
        entropy: nats per token, estimated by the negative log-probability of what was sampled.
        sequence_entropy: nats per completion, likewise.
        measures: means of what the task measures.
    """

    prompts: int
    samples: int
    reward: Estimate
    pass_at: Mapping[int, Estimate]
    length: float
    cut: float
    entropy: float
    sequence_entropy: float
    measures: Mapping[str, float]

    def numbers(self) -> dict[str, Any]:
        """As plain JSON values, one level deep.

        An interval's ends stand under the name of the estimate with ``_low`` and ``_high``.
        """
        estimates = {"reward": self.reward, **{f"pass@{k}": estimate for k, estimate in self.pass_at.items()}}
        means = ("prompts", "samples", "length", "cut", "entropy", "sequence_entropy")
        return {
            **{name: getattr(self, name) for name in means},
            **{name: estimate.value for name, estimate in estimates.items()},
            **{f"{name}_low": estimate.low for name, estimate in estimates.items()},
            **{f"{name}_high": estimate.high for name, estimate in estimates.items()},
            **self.measures,
        }


def pass_at_k(passed: np.ndarray, samples: int, k: int) -> np.ndarray:
    r"""Unbiased estimate of the probability that at least one of k completions passes.

    $1 - \binom{n-c}{k} / \binom{n}{k}$ for c of n completions that passed, as a product of k factors, which neither
    overflows nor cancels (Chen et al. 2021, arXiv 2107.03374, section 2.1).

    >>> pass_at_k(np.array([0, 1, 3]), samples=4, k=2)
    array([0. , 0.5, 1. ])

    Args:
        passed: (...) c, whole numbers from 0 to n.
        samples: n.
        k: from 1 to n.

    Returns:
        (...) probabilities.

    Raises:
        ValueError: k is not in 1..n, or a count not in 0..n.
    """
    passed = np.asarray(passed)
    if not 1 <= k <= samples:
        raise ValueError(f"k is {k}; with {samples} samples it must be from 1 to {samples}")
    if (passed < 0).any() or (passed > samples).any():
        raise ValueError(f"passed must be from 0 to the {samples} samples; got {passed.min()} to {passed.max()}")
    drawn = np.arange(k)
    return 1 - np.prod(np.maximum(samples - passed[..., None] - drawn, 0) / (samples - drawn), axis=-1)


def bootstrap(values: np.ndarray, seed: int = 0, level: float = 0.95) -> list[Estimate]:
    """Means over prompts, with percentile intervals from resampling prompts.

    >>> bootstrap(np.array([[0.0, 0.0, 1.0, 1.0]]))
    [Estimate(value=0.5, low=0.0, high=1.0)]

    Args:
        values: (M, P): M statistics of P prompts. The same resamples are used for all M.
        seed: of the resampling.
        level: of the intervals.

    Returns:
        M estimates.
    """
    count = values.shape[1]
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), RESAMPLES) / count
    low, high = np.quantile(weights @ values.T, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return [Estimate(*map(float, one)) for one in zip(values.mean(1), low, high, strict=True)]


def powers(samples: int) -> list[int]:
    """The k that pass@k is told for: 1, 2, 4, ... and n.

    >>> powers(8), powers(12)
    ([1, 2, 4, 8], [1, 2, 4, 8, 12])
    """
    return sorted({*(2**i for i in range(samples.bit_length()) if 2**i <= samples), samples})


def choose(prompts: Sequence[Prompt], count: int) -> list[Prompt]:
    """So many prompts, or all if there are fewer: always the same ones, spread over the task."""
    return [prompts[i] for i in np.random.default_rng(0).permutation(len(prompts))[:count]]


def ask(tokens: Sequence[tuple[int, ...]], samples: int, seed: int) -> list[Request]:
    """Requests for n completions of each prompt, which share no seed with training."""
    seeds = np.random.SeedSequence(seed, spawn_key=(STREAM,)).generate_state(len(tokens), np.uint64)
    return [Request(prompt, samples, number) for prompt, number in zip(tokens, seeds.tolist(), strict=True)]


@dataclass(frozen=True)
class Judged:
    """n judged completions of each of P prompts; every array is (P, n).

    Attributes:
        prompts: P, in the order of the rows.
        rewards: by the task.
        lengths: tokens.
        surprise: negative log-probability of the whole completion, nats.
        finished: whether it ended by itself.
        measures: what the task measures, by name.
    """

    prompts: Sequence[Prompt]
    rewards: np.ndarray
    lengths: np.ndarray
    surprise: np.ndarray
    finished: np.ndarray
    measures: Mapping[str, np.ndarray]

    def part(self, rows: Sequence[int]) -> Judged:
        """Some of the prompts."""
        return Judged(
            [self.prompts[row] for row in rows],
            self.rewards[rows],
            self.lengths[rows],
            self.surprise[rows],
            self.finished[rows],
            {name: array[rows] for name, array in self.measures.items()},
        )


def judge(
    task: Task,
    prompts: Sequence[Prompt],
    answers: Sequence[Sequence[Completion]],
    decode: Callable[[Sequence[int]], str],
    judges: int = 1,
) -> Judged:
    """Judge completions.

    Args:
        task: judges them.
        prompts: P, at least one.
        answers: P lists of n completions, sampled at the policy's own temperature.
        decode: token ids -> text without special tokens.
        judges: answers judged at a time.

    Raises:
        ValueError: no prompts, or lists of different lengths.
    """
    sizes = {len(completions) for completions in answers}
    if len(answers) != len(prompts) or len(sizes) != 1 or 0 in sizes:
        raise ValueError(f"{len(prompts)} prompts with {sorted(sizes)} completions each; all need the same number")
    found = list(zip(prompts, answers, strict=True))
    measured = judge_all(task.measures, found, decode)

    def table(value: Callable[[Completion], float]) -> np.ndarray:
        return np.array([[value(sample) for sample in completions] for completions in answers])

    return Judged(
        prompts,
        np.array(judge_all(task.reward, found, decode, judges), np.float64),
        table(lambda sample: len(sample.tokens)),
        table(lambda sample: -sample.log_probs.sum(dtype=np.float64)),
        table(lambda sample: sample.finished),
        {name: np.array([[one[name] for one in row] for row in measured]) for name in measured[0][0]},
    )


def summarize(judged: Judged, passing: float = 1.0) -> Evaluation:
    """What judged completions say about the policy that they were sampled from.

    Args:
        judged: P prompts, n completions each.
        passing: reward from which on an answer passes.
    """
    prompts, samples = judged.rewards.shape
    passed = (judged.rewards >= passing).sum(1)
    ks = powers(samples)
    values = [judged.rewards.mean(1), *(pass_at_k(passed, samples, k) for k in ks)]
    reward, *pass_at = bootstrap(np.stack(values))
    return Evaluation(
        prompts=prompts,
        samples=samples,
        reward=reward,
        pass_at=dict(zip(ks, pass_at, strict=True)),
        length=float(judged.lengths.mean()),
        cut=float(1 - judged.finished.mean()),
        entropy=float(judged.surprise.sum() / judged.lengths.sum()),
        sequence_entropy=float(judged.surprise.mean()),
        measures={name: float(array.mean()) for name, array in judged.measures.items()},
    )


def by_part(judged: Judged, passing: float = 1.0) -> dict[str, Evaluation]:
    """The same for each part of the task, where its problems say which they belong to ("part")."""
    rows: dict[str, list[int]] = {}
    for row, prompt in enumerate(judged.prompts):
        if "part" in prompt.problem:
            rows.setdefault(str(prompt.problem["part"]), []).append(row)
    return {name: summarize(judged.part(rows[name]), passing) for name in sorted(rows)}
