"""Published tabular experiments, with the methods that they compare.

TPO's two bandits (arXiv 2604.06159, sections 3.1 and 3.2, and its public code): on-policy, normalized steps of 0.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

import numpy as np

import pessimism as ps
from pessimism.baselines import constant, none

from .batches import Batch, Generators, Task, draw_batch
from .instances import tpo_multi_context, tpo_single_context
from .settings import Settings
from .simulate import Draw, simulate
from .trajectory import Trajectory, join

SINGLE_CONTEXT = Settings(syncs=150, group_size=100, optimizer="normalized", learning_rate=0.1, targets=False)
MULTI_CONTEXT = Settings(syncs=1000, optimizer="normalized", learning_rate=0.1, record_every=10, targets=False)

PER_CALL = 50
"""Runs of the multi-context bandit simulated at a time, so that the arrays of a step stay in the processor's cache."""


def delightful(log_ratio: np.ndarray, advantage: np.ndarray, *, eta: float, behavior: np.ndarray) -> np.ndarray:
    r"""$c = \sigma(-A \log\pi/\eta)\,A$: the delightful policy gradient (arXiv 2603.14608).

    ``behavior`` is $\mu(y)$ of each sample itself, so that $\log\pi = \ell + \log\mu$.

    >>> delightful(np.zeros(2), np.array([1.0, -1.0]), eta=1.0, behavior=np.array([0.5, 0.5])).round(4)
    array([ 0.6667, -0.3333])
    """
    gate = np.log(behavior)  # worked on in place, up to 1 + exp(A log(pi) / eta)
    gate += log_ratio
    gate *= advantage
    if eta != 1:
        gate /= eta
    np.exp(gate, out=gate)
    gate += 1
    return np.divide(advantage, gate, out=gate)


def cross_entropy_oracle(log_ratio: np.ndarray, advantage: np.ndarray, *, behavior: np.ndarray) -> np.ndarray:
    r"""$c = r/\mu$: with one right arm $E_\mu[c\,\nabla\log\pi]$ is the supervised direction $e_{y^*} - \pi$."""
    return advantage / behavior


def draw_scores(task: Task, behavior: np.ndarray, generators: Generators) -> Batch:
    r"""All arms with their scores, as TPO's tabular code has it: not a group of samples.

    The score of an arm is the batch average of $1[y = \text{arm}]\,(r - 1/2)$ (with exact gradients, its reward); the
    baseline sees the scores of all arms alike, seen or not, and the arms are weighted by the policy that drew them.
    """
    weights = behavior[:, None]
    advantage = task.even_advantage
    if task.settings.group_size is not None:
        drawn = draw_batch(task, behavior, generators)
        scores = drawn.to_arms(drawn.weights, np.zeros_like(behavior)) * (task.bandit.reward - 0.5)
        advantage = task.algorithm.baseline.weighted(scores, np.full_like(behavior, 1 / behavior.shape[-1]))
    return Batch(None, weights, advantage[:, None], None, weights, behavior, task.one_zero)


def _policy_gradient(baseline: float) -> ps.Algorithm:
    return ps.algorithm("reinforce", baseline=baseline)


def _delightful(baseline: float) -> ps.Algorithm:
    return ps.Algorithm(partial(delightful, eta=1.0), constant(baseline), name="delightful", takes_behavior=True)


_TPO = ps.algorithm("tpo", epsilon=1e-12)
_GRPO = ps.algorithm("grpo.no_ratio", epsilon=1e-12)

Methods = Mapping[str, tuple[ps.Algorithm, Draw]]

SINGLE_CONTEXT_METHODS: Methods = MappingProxyType(
    {
        "tpo": (_TPO, draw_scores),
        "delightful": (_delightful(0.5), draw_batch),
        "grpo": (_GRPO, draw_batch),
        "policy gradient": (_policy_gradient(0.5), draw_batch),
    }
)
"""Method -> algorithm and how its data come about, with the baseline 1/2 of the public code where it has one."""

MULTI_CONTEXT_METHODS: Methods = MappingProxyType(
    {
        "cross-entropy": (
            ps.Algorithm(cross_entropy_oracle, none(), name="cross-entropy", takes_behavior=True),
            draw_batch,
        ),
        "tpo": (_TPO, draw_scores),
        "grpo": (_GRPO, draw_batch),
        "delightful": (_delightful(0.0), draw_batch),
        "policy gradient": (_policy_gradient(0.0), draw_batch),
    }
)
"""The same for exact gradients, baseline 0; cross-entropy to the right arm is the oracle."""


def run_single_context(method: str, seeds: int = 100, settings: Settings = SINGLE_CONTEXT) -> Trajectory:
    """TPO's single-context bandit (K = B = 100, 150 steps) by one method; the error is 1 - value.

    Raises:
        ValueError: an unknown method.
    """
    algorithm, draw = _method(method, SINGLE_CONTEXT_METHODS)
    return simulate(tpo_single_context(), algorithm, settings, range(seeds), draw=draw)


def run_multi_context(method: str, runs: int = 100, settings: Settings = MULTI_CONTEXT) -> Trajectory:
    """TPO's multi-context bandit (N = 100, K = 10, 1000 exact steps) by one method; arrays (records, 1, runs, N).

    Raises:
        ValueError: an unknown method.
    """
    algorithm, draw = _method(method, MULTI_CONTEXT_METHODS)
    bandit = tpo_multi_context(runs)
    starts = range(0, runs, PER_CALL)
    parts = [ps.Bandit(bandit.behavior[i : i + PER_CALL], bandit.reward[i : i + PER_CALL]) for i in starts]
    return join([simulate(part, algorithm, settings, draw=draw) for part in parts], axis=1)


def _method(name: str, methods: Methods) -> tuple[ps.Algorithm, Draw]:
    if name not in methods:
        raise ValueError(f"method is {name!r}; it must be one of {', '.join(methods)}")
    return methods[name]
