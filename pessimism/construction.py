r"""What the source paper's construction recovers: objectives whose gradient is log-ratio regression without a weight.

The paper (arXiv 2605.28150) drops the importance weight from the gradient of a log-ratio regression and says that the
family so constructed has the objectives that work. Here that is checked by evaluating a coefficient: the construction
has it if and only if $c = aA - b\,l + k$ with $a, b > 0$, $l$ the log-ratio, and then its induced target is Lambert's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .algorithm import Algorithm
from .comparison import compare_group
from .reference_groups import binary_rewards
from .standing import Account, Standing

__all__ = ["FORMS", "Recovery", "form_of", "recovery"]

FORMS = {
    "regression": "ratio-free log-ratio regression, c = a A - b l: recovered, the induced target is Lambert's",
    "centered regression": "ratio-free regression on deviations of l from the group's mean: induced = nominal",
    "linear": "ratio-free without a regularizer, c = a A",
    "projection": "weighted likelihood, c = w(A): a projection, not a regression",
    "weighted regression": "log-ratio regression with its ratio, c = rho (a A - b l)",
    "weighted": "policy gradient with the ratio, c = rho a A",
    "jumps": "clipped or masked: c jumps",
    "coupled": "couples the samples of a group in another way",
    "other": "another function of the ratio, without jumps",
}
"""Form of a coefficient -> what it is."""

EXACT = 1e-9  # of the largest coefficient: what a fit may miss
ROWS, ARMS = 64, 4


@dataclass(frozen=True)
class Recovery:
    """Whether the construction has an objective, and what becomes of groups with binary rewards.

    Attributes:
        name: of the objective.
        form: a key of ``FORMS``.
        beta: b/a where the form is a regression, in units of the advantage; None elsewhere.
        groups: group size G -> standings of the groups with 1 to G - 1 passing samples.
    """

    name: str
    form: str
    beta: float | None
    groups: dict[int, Account]

    @property
    def recovered(self) -> bool:
        """The construction has it."""
        return self.form == "regression"


def recovery(algorithm: Algorithm, sizes: Sequence[int] = (8, 16)) -> Recovery:
    """The form of an objective's coefficient, and its targets on groups of G samples of which 1 to G - 1 pass.

    Args:
        algorithm: any.
        sizes: group sizes, 2 or more.

    Raises:
        ValueError: a size below 2.

    >>> import pessimism as ps
    >>> found = recovery(ps.algorithm("shifted_mean", beta=0.5))
    >>> found.form, found.beta, found.groups[8].regimes["positive"], found.groups[8].counts["saturated"]
    ('regression', 0.5, 7, 0)
    """
    form, beta = form_of(algorithm)
    groups = {size: Account().add(Standing.of(compare_group(_passing(size), algorithm))) for size in sizes}
    return Recovery(algorithm.name, form, beta, groups)


def form_of(algorithm: Algorithm) -> tuple[str, float | None]:
    """Key of ``FORMS``, and b/a of a regression: fits to the coefficient at random log-ratios and advantages.

    >>> import pessimism as ps
    >>> form_of(ps.algorithm("oapl", beta1=1, beta2=0.25)), form_of(ps.algorithm("grpo"))
    (('regression', 0.25), ('jumps', None))
    """
    if algorithm.kinks is not None:
        return "jumps", None
    generator = np.random.default_rng(0)
    x, advantage = generator.normal(size=(2, ROWS, ARMS))
    behavior = np.full_like(x, 1 / ARMS)
    c = algorithm.coefficient(x, advantage, **algorithm.weights(behavior))
    found = _fit(c, x, advantage)
    if found is not None:
        slope, pull, common = found
        if pull == 0 == common:
            return ("linear" if slope else "other"), None
        if slope > 0 and pull > 0 and common == 0:
            return "regression", pull / slope
        if slope > 0 and pull > 0 and common == pull:
            return "centered regression", pull / slope
    if algorithm.coupled:
        return "coupled", None
    weighted = _fit(c * np.exp(-x), x, advantage)
    if weighted is not None and weighted[2] == 0:
        slope, pull, _ = weighted
        return ("weighted", None) if pull == 0 else ("weighted regression", pull / slope)
    elsewhere = algorithm.coefficient(x[::-1], advantage, **algorithm.weights(behavior))
    return ("projection" if np.array_equal(c, elsewhere) else "other"), None


def _fit(c: np.ndarray, x: np.ndarray, advantage: np.ndarray) -> tuple[float, float, float] | None:
    """(a, b, b') of c = a A - b l + b' E[l] + a' E[A] + k, without digits below rounding; None if not so."""
    means = [np.broadcast_to(part.mean(axis=-1, keepdims=True), x.shape) for part in (x, advantage)]
    terms = np.stack([advantage, -x, *means, np.ones_like(x)], axis=-1).reshape(-1, 5)
    solved, *_ = np.linalg.lstsq(terms, c.ravel(), rcond=None)
    size = np.abs(c).max()
    if np.abs(terms @ solved - c.ravel()).max() > EXACT * size:
        return None
    slope, pull, common = (float(f"{value:.9g}") if abs(value) > EXACT * size else 0.0 for value in solved[:3])
    return slope, pull, common


def _passing(size: int) -> np.ndarray:
    """(size - 1, size) binary rewards with 1 to size - 1 passing samples."""
    if size < 2:
        raise ValueError(f"sizes has {size}; a group needs 2 samples or more")
    return binary_rewards(size, range(1, size))
