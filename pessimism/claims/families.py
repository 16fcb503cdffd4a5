"""Instance families: where claims are tried. Each yields cases (batches) deterministically from a seed.

A family of your own is a name and a function:

>>> import numpy as np
>>> from pessimism import Bandit
>>> from pessimism.claims import Case, Family
>>> def coins(generator, count):
...     chance = generator.uniform(size=(count, 1))
...     reward = np.broadcast_to([0.0, 1.0], (count, 2))
...     yield Case("coins", Bandit(np.concatenate([1 - chance, chance], axis=1), reward), beta=0.5)
>>> [case] = Family("coins", coins).cases(seed=0, count=3)
>>> case.size, case.bandit.arms
(3, 2)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from ..bandit import Bandit
from .case import Case

__all__ = [
    "ANCHORED",
    "HUGE_BETA",
    "MANY_ARMS",
    "MIXED",
    "MODERATE",
    "NEAR_BOUNDARY",
    "ONE_ARM",
    "PLAIN",
    "RANDOM",
    "RARE_ARMS",
    "SMALL",
    "TIES",
    "TINY_BETA",
    "ZERO_PROBABILITY",
    "Family",
    "user_family",
]

Generator = np.random.Generator


@dataclass(frozen=True)
class Family:
    """Named instances.

    Attributes:
        name: enters the seed. A name that begins with "reference" says that the bandits have one.
        make: ``make(generator, count)`` yields cases of about ``count`` instances in total.
        share: of the instances that a claim is tried on.
    """

    name: str
    make: Callable[[Generator, int], Iterator[Case]]
    share: float = 1.0

    def cases(self, seed: int, count: int) -> Iterator[Case]:
        """About ``share * count`` instances, the same for the same seed."""
        # The name enters the seed, so that families do not share their draws.
        generator = np.random.default_rng([seed, *self.name.encode()])
        yield from self.make(generator, max(1, round(self.share * count)))


def _behavior(generator: Generator, rows: int, arms: int) -> np.ndarray:
    """Dirichlet rows (rows, arms), of a concentration drawn from flat to spiky, nowhere exactly zero."""
    concentration = generator.choice([0.2, 1.0, 5.0], size=(rows, 1))
    draws = np.maximum(generator.gamma(np.broadcast_to(concentration, (rows, arms))), 1e-30)
    return draws / draws.sum(axis=-1, keepdims=True)


def _reward(generator: Generator, rows: int, arms: int) -> np.ndarray:
    """Gaussian, binary or uniform rewards, one kind per row."""
    kinds = [
        generator.normal(size=(rows, arms)),
        (generator.uniform(size=(rows, arms)) < 0.4).astype(float),
        generator.uniform(-1, 1, size=(rows, arms)),
    ]
    kind = generator.integers(3, size=(rows, 1))
    return np.select([kind == 0, kind == 1], kinds[:2], kinds[2])


def _case(
    generator: Generator,
    family: str,
    behavior: np.ndarray,
    reward: np.ndarray,
    beta: float | None = None,
    reference: np.ndarray | None = None,
) -> Case:
    """A case with a random unit of reward, and temperatures that go with it."""
    unit = 10.0 ** generator.integers(-3, 4)
    beta = float(10.0 ** generator.uniform(-1.3, 1.3)) if beta is None else beta
    ratio = float(np.exp(generator.uniform(0.05, 3.0) * generator.choice([-1, 1])))
    # From a fraction of beta up to the range of rewards, whichever way those compare.
    offset = float(10.0 ** generator.uniform(-2, max(0.5, -np.log10(beta))) * generator.choice([-1, 1]))
    seed = int(generator.integers(2**31))
    return Case(family, Bandit(behavior, unit * reward, reference), unit * beta, ratio, offset, seed)


def _random(generator: Generator, count: int) -> Iterator[Case]:
    sizes = (2, 3, 5, 8, 16, 64)
    rows = -(-count // len(sizes))
    for arms in sizes:
        yield _case(generator, "random", _behavior(generator, rows, arms), _reward(generator, rows, arms))


def _near_boundary(generator: Generator, count: int) -> Iterator[Case]:
    closeness = (1e-3, 1e-6, 1e-9, 1e-12)
    rows = -(-count // len(closeness))
    for close in closeness:
        case = _case(generator, "near boundary", _behavior(generator, rows, 5), _reward(generator, rows, 5))
        sign = float(generator.choice([-1, 1]))
        yield Case(case.family, case.bandit, case.beta, 1 + sign * close, sign * close, case.seed)


def _at_temperatures(name: str, betas: tuple[float, ...]) -> Callable[[Generator, int], Iterator[Case]]:
    def make(generator: Generator, count: int) -> Iterator[Case]:
        rows = -(-count // len(betas))
        for beta in betas:
            yield _case(generator, name, _behavior(generator, rows, 6), _reward(generator, rows, 6), beta)

    return make


def _ties(generator: Generator, count: int) -> Iterator[Case]:
    rows = -(-count // 3)
    for levels in (1, 2, 3):
        reward = generator.integers(levels, size=(rows, 7)) / 2
        behavior = np.full((rows, 7), 1 / 7) if levels == 2 else _behavior(generator, rows, 7)
        yield _case(generator, "ties", behavior, reward)


def _zero_probability(generator: Generator, count: int) -> Iterator[Case]:
    rows = -(-count // 3)
    for kept in (1, 3, 5):
        behavior = np.zeros((rows, 6))
        behavior[:, :kept] = _behavior(generator, rows, kept)
        behavior = generator.permuted(behavior, axis=-1)
        reward = _reward(generator, rows, 6)
        reward = np.where(behavior == 0, 10 * reward, reward)  # what is never played must not matter, however large
        yield _case(generator, "zero probability", behavior, reward)


def _one_arm(generator: Generator, count: int) -> Iterator[Case]:
    yield _case(generator, "one arm", np.ones((count, 1)), _reward(generator, count, 1))


def _many_arms(generator: Generator, count: int) -> Iterator[Case]:
    rows = max(1, count // 1000)
    yield _case(generator, "many arms", _behavior(generator, rows, 100_000), _reward(generator, rows, 100_000))


def _rare_arms(generator: Generator, count: int) -> Iterator[Case]:
    rows = -(-count // 3)
    for depth in (20.0, 150.0, 300.0):
        exponent = generator.uniform(0, depth, size=(rows, 6))
        exponent[:, 0] = 0.0
        draws = 10.0**-exponent
        behavior = draws / draws.sum(axis=-1, keepdims=True)
        beta = float(10.0 ** generator.uniform(-2.5, 0))
        yield _case(generator, "rare arms", behavior, _reward(generator, rows, 6), beta)


def _mixed(generator: Generator, count: int) -> Iterator[Case]:
    sizes = (1, 2, 4, 8, 32)
    rows = -(-count // len(sizes))
    for arms in sizes:
        kind = generator.integers(3, size=(rows, 1))
        draws = _behavior(generator, rows, arms)
        draws = np.where(kind == 1, draws * 10.0 ** -generator.uniform(0, 100, size=(rows, arms)), draws)
        lost = (generator.uniform(size=(rows, arms)) < 0.3) & (kind == 2)
        lost[:, 0] = False
        draws = np.where(lost, 0.0, draws)
        reward = np.where(lost, 1e3, 1.0) * _reward(generator, rows, arms)
        yield _case(generator, "mixed", draws / draws.sum(axis=-1, keepdims=True), reward)


def _anchored(generator: Generator, count: int) -> Iterator[Case]:
    rows = -(-count // 4)
    for arms, uncovered in ((2, 0), (6, 0), (4, 1), (7, 3)):
        behavior = np.zeros((rows, arms))
        behavior[:, uncovered:] = _behavior(generator, rows, arms - uncovered)
        reference = _behavior(generator, rows, arms)
        name = "reference, arms without data" if uncovered else "reference"
        yield _case(generator, name, behavior, _reward(generator, rows, arms), None, reference)


def _anchored_temperatures(generator: Generator, count: int) -> Iterator[Case]:
    rows = -(-count // 3)
    for beta in (0.02, 30.0, 1e4):
        behavior, reference = _behavior(generator, rows, 5), _behavior(generator, rows, 5)
        yield _case(generator, "reference, extreme beta", behavior, _reward(generator, rows, 5), beta, reference)


def _small(generator: Generator, count: int) -> Iterator[Case]:
    sizes = (2, 3, 4)
    rows = -(-count // len(sizes))
    for arms in sizes:
        beta = float(10.0 ** generator.uniform(-0.7, 0.7))
        behavior = 0.9 * _behavior(generator, rows, arms) + 0.1 / arms
        yield _case(generator, "small", behavior, _reward(generator, rows, arms), beta)


RANDOM = Family("random", _random, 0.35)
"""2 to 64 arms; Gaussian, binary or uniform rewards in units of 1e-3 to 1e3."""

NEAR_BOUNDARY = Family("near boundary", _near_boundary, 0.12)
"""Baselines within 1e-3 to 1e-12 temperatures of the soft value, on both sides."""

HUGE_BETA = Family("huge beta", _at_temperatures("huge beta", (1e2, 1e4, 1e6)), 0.12)
"""Temperatures of 1e2 to 1e6 units of reward."""

TINY_BETA = Family("tiny beta", _at_temperatures("tiny beta", (1e-2, 1e-4, 1e-6)), 0.12)
"""Temperatures of 1e-2 to 1e-6 units of reward."""

TIES = Family("ties", _ties, 0.12)
"""Rewards of one, two or three values, so that many arms are equal; some behavior policies are uniform."""

ZERO_PROBABILITY = Family("zero probability", _zero_probability, 0.12)
"""Arms that the behavior policy never plays, with large rewards, which must not matter."""

ONE_ARM = Family("one arm", _one_arm, 0.03)
"""A single arm: nothing can move."""

MANY_ARMS = Family("many arms", _many_arms, 1.0)
"""100,000 arms."""

RARE_ARMS = Family("rare arms", _rare_arms, 0.12)
"""Probabilities down to 1e-300."""

MIXED = (Family("mixed", _mixed, 1.0),)
"""Zero and rare probabilities, ties and one arm in a few large batches, for checks that look for roots."""

SMALL = (Family("small", _small, 1.02),)
"""Few arms and moderate temperatures, for checks that cost K^2 or integrate a flow."""

ANCHORED = (
    Family("reference", _anchored, 0.75),
    Family("reference, extreme beta", _anchored_temperatures, 0.27),
)
"""A reference apart from the behavior policy, with and without arms that the data never show."""

MODERATE = (RANDOM, NEAR_BOUNDARY, HUGE_BETA, TINY_BETA, TIES, ZERO_PROBABILITY, ONE_ARM, RARE_ARMS)
"""Everything without a reference and without many arms, for checks whose cost grows with them."""

PLAIN = (*MODERATE, MANY_ARMS)
"""Everything without a reference."""


def user_family(index: int, bandit: Bandit) -> Family:
    """A user's own bandit as a family, at several temperatures relative to its range of rewards."""
    arms = bandit.arms
    reference = None if bandit.reference is None else bandit.reference.reshape(-1, arms)
    flat = Bandit(bandit.behavior.reshape(-1, arms), bandit.reward.reshape(-1, arms), reference)
    spread = float(np.ptp(flat.reward)) or 1.0

    def make(generator: Generator, count: int) -> Iterator[Case]:
        del count  # all of it, always
        for beta, ratio, offset in ((0.02, 3.0, -5.0), (0.3, 0.5, -1.0), (5.0, 2.0, 0.1)):
            yield Case(f"bandit {index}", flat, beta * spread, ratio, offset, int(generator.integers(2**31)))

    return Family(f"bandit {index}", make)
