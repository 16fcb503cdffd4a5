"""The sweeps that ship, by name. Plain data: nothing that computes a sweep imports this module."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from ..noise import VerifierNoise
from ..settings import Settings
from .grid import MEASURES, AlgorithmSpec, Parameters, Sweep, algorithm, bandit, product

BETA = 0.2
"""The temperature that regressions share, and with it their nominal target."""

STEPS = 1600
"""Optimizer steps of a run, whatever its lag."""

RECORDS = 40
"""Records of a run, unless it has fewer syncs."""

SPARSE = bandit("sparse", arms=100, rewarded=10, draws=16)

TARGET_FREE = tuple(name for name in MEASURES if not name.endswith("_distance"))
"""What can be had without solving for targets in every sync, which takes minutes where there is no closed form."""


def at_lags(*lags: int) -> Sequence[Parameters]:
    """Windows of these lengths, a fresh group in every step: equal steps, equal data, and only its age differs.

    Every run leaves at most `RECORDS` records, at the same steps where the lag allows.
    """
    return [
        {
            "lag": lag,
            "syncs": STEPS // lag,
            "groups": lag,
            "minibatches": lag,
            "record_every": max(1, STEPS // lag // RECORDS),
        }
        for lag in lags
    ]


def twin(spec: AlgorithmSpec) -> AlgorithmSpec:
    """A log-ratio regression with its importance weight put back, its baseline kept: nothing implicit is left."""
    return algorithm("is_regression", beta=BETA, baseline_of=spec)


COMMON = Settings(group_size=8, learning_rate=1.0, targets=False)

SHIFTED_MEAN = algorithm("shifted_mean", beta=BETA)
MEAN = algorithm("pmd_mean", tau=BETA)
DECOUPLED = algorithm("oapl", beta1=1.0, beta2=BETA)
SINGLE_BETA = algorithm("oapl.single_beta", beta=BETA)
MISSING_LOG_G = algorithm("oapl.missing_log_g", beta1=1.0, beta2=BETA)
REGRESSIONS = (SHIFTED_MEAN, MEAN, DECOUPLED, SINGLE_BETA, MISSING_LOG_G)
"""The same nominal target and fewer and fewer pessimistic groups: positive regime, boundary, negative."""

SMOKE = Sweep(
    name="smoke",
    shows="Two objectives at two lags, in a second: for trying things out.",
    bandits=[bandit("sparse", arms=20, draws=2)],
    algorithms=[SHIFTED_MEAN, algorithm("grpo.no_ratio")],
    settings=Settings(syncs=4, group_size=8, learning_rate=0.5),
    variations=product(lag=[1, 10]),
    seeds=3,
)

LAG = Sweep(
    name="lag",
    shows="Value, entropy and KL on the way, for ten objectives at four lags.",
    bandits=[SPARSE],
    algorithms=[
        *REGRESSIONS,
        twin(MEAN),
        algorithm("asymre", shift=-0.1),
        algorithm("tpo"),
        algorithm("grpo"),
        algorithm("grpo.no_ratio"),
    ],
    settings=COMMON,
    variations=at_lags(1, 10, 100, 400),
    seeds=16,
    measures=TARGET_FREE,
)

COUNTERFACTUAL = Sweep(
    name="counterfactual",
    shows="What implicit pessimism does: regressions against their twins with the same nominal target and none of it.",
    bandits=[SPARSE],
    algorithms=[*REGRESSIONS, *map(twin, REGRESSIONS), algorithm("pairwise_regression", beta=BETA)],
    settings=COMMON,
    variations=[*at_lags(10, 100, 400), *({**lag, "learning_rate": 4.0} for lag in at_lags(100, 400))],
    seeds=16,
    measures=TARGET_FREE,
)

RATES = (0.0, 0.1, 0.2, 0.3, 0.4)

VERIFIER_NOISE = Sweep(
    name="verifier_noise",
    shows="Which regime ends at the highest true value when the verifier errs and its verdicts are used 25 times each.",
    bandits=[SPARSE],
    algorithms=[*REGRESSIONS, twin(MEAN)],
    settings=replace(COMMON, lag=100, syncs=16, groups=4, minibatches=4, record_every=16),
    variations=product(noise=[VerifierNoise(positive, negative) for positive in RATES for negative in RATES]),
    seeds=8,
    measures=TARGET_FREE,
)

SWEEPS: Mapping[str, Sweep] = MappingProxyType(
    {sweep.name: sweep for sweep in (SMOKE, LAG, COUNTERFACTUAL, VERIFIER_NOISE)}
)
"""All of them by name."""
