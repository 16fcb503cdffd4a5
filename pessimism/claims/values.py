"""Reference values: two instances, six targets, to the digits they are known to."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..bandit import Bandit
from ..objectives.catalogue import algorithm
from .case import Case
from .claim import Claim
from .families import Family, Generator
from .support import HERE, Array, combined, induced

FIRST = (np.array([0.5, 0.3, 0.2]), np.array([0.0, 0.0, 1.0]), 0.5)
SECOND = (
    np.array([0.118, 0.273, 0.0989, 0.0211, 0.489]),
    np.array([0.914, -0.02, -1.249, -0.314, 0.054]),
    0.7,
)
# (entry, parameters in units of beta, lambda, policy); derived here, checked with 50-digit arithmetic in the tests.
VALUES = {
    3: (
        ("kimi_k15", {"tau": 1.0}, 0.116749163205, (0.2923834191821, 0.1754300515092, 0.5321865293087)),
        ("shifted_mean", {"beta": 1.0}, 0.5343833529296, (0.3931597454774, 0.2358958472864, 0.3709444072362)),
        (
            "oapl",
            {"beta1": 2.0, "beta2": 1.0},
            0.05821358291964,
            (0.2606369879785, 0.1563821927871, 0.5829808192344),
        ),
    ),
    5: (
        (
            "kimi_k15",
            {"tau": 1.0},
            0.1183655924692,
            (0.2885444220026, 0.2304623817443, 0.0161849999711, 0.01223816684398, 0.452570029438),
        ),
        (
            "shifted_mean",
            {"beta": 1.0},
            0.7452242269288,
            (0.1982624594648, 0.2610651129743, 0.03203710243259, 0.0162022168842, 0.4924331082441),
        ),
        (
            "oapl",
            {"beta1": 2.0 / 0.7, "beta2": 1.0},
            0.07167089252685,
            (0.3066722367284, 0.2241489144922, 0.01502543267655, 0.01169795073671, 0.4424554653661),
        ),
    ),
}


def _make(generator: Generator, count: int) -> Iterator[Case]:
    for behavior, reward, beta in (FIRST, SECOND):
        rows, arms = -(-count // 4), len(behavior)
        for unit in (1.0, float(10.0 ** generator.uniform(-3, 3))):
            order = generator.permuted(np.tile(np.arange(arms), (rows, 1)), axis=-1)
            order[0] = np.arange(arms)
            shift = generator.uniform(-1, 1, size=(rows, 1)) * (np.arange(rows) > 0)[:, None]
            yield Case(
                "as printed, and in other units and orders",
                Bandit(behavior[order], unit * (reward[order] + shift)),
                unit * beta,
            )


def reference_values(case: Case) -> Array:
    """lambda/beta and the policy, against the printed digits."""
    arms = case.bandit.arms
    behavior, _, beta = FIRST if arms == 3 else SECOND
    # The behavior probabilities of an instance are distinct, so they tell which arm is which.
    order = np.array([[int(np.flatnonzero(behavior == p)[0]) for p in row] for row in case.bandit.behavior])
    found = []
    for name, parameters, normalizer, policy in VALUES[arms]:
        chosen = algorithm(name, **{key: value * case.beta for key, value in parameters.items()})
        target = induced(case.bandit, chosen)
        found.append(np.abs(target.policy - np.array(policy)[order]).max(axis=-1))
        found.append(np.abs(np.asarray(target.normalizer) / case.beta * beta - normalizer))
    return combined(*found)


CLAIMS = (
    Claim(
        "values.reference",
        "Two instances have the printed targets and normalizers, under mean, shifted-mean and log-mean-exp baselines.",
        HERE,
        (Family("reference values", _make),),
        reference_values,
        1e-12,  # 12 to 13 digits are printed
        falsify=False,
    ),
)
