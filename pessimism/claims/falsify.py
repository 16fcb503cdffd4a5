"""Falsification: a search that maximizes a claim's violation over small structured instances, with hypothesis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..bandit import Bandit
from .case import Case
from .claim import Claim, Tally

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

ROWS = 4
"""Instances drawn together: a check costs about the same for four as for one."""


def falsify(claim: Claim, seed: int, examples: int) -> Tally:
    """Up to ``examples`` draws that climb toward larger violations; deterministic for a seed.

    The score that is maximized is log10 of the violation: what a search must climb spans magnitudes.

    Returns:
        The worst violation met and its instance.
    """
    from hypothesis import HealthCheck, Phase, given, settings, target
    from hypothesis import seed as with_seed

    tally = Tally()
    anchored = any(family.name.startswith("reference") for family in claim.families)

    @with_seed(seed)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=(Phase.generate, Phase.target),
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )
    @given(_cases(anchored))
    def climb(case: Case) -> None:
        violations = claim.violations(case)
        tally.add(violations, case)
        worst = violations.max()
        if np.isfinite(worst):
            target(float(np.log10(max(worst, 1e-300))))

    climb()
    return tally


def _cases(anchored: bool) -> SearchStrategy[Case]:
    """Cases of 1 to 8 arms with logits, rewards and temperatures of many magnitudes, ties and zeros among them."""
    from hypothesis import strategies as st

    @st.composite
    def cases(draw: Any) -> Case:
        arms = draw(st.integers(1, 8))
        shape = (ROWS, arms)
        cells = ROWS * arms
        spread = draw(st.sampled_from([0.0, 1.0, 10.0, 100.0, 600.0]))
        logits = spread * np.array(draw(st.lists(st.floats(-1, 0, width=32), min_size=cells, max_size=cells)))
        kinds = st.one_of(st.sampled_from([0.0, 1.0, -1.0]), st.floats(-1, 1, width=32))
        reward = np.array(draw(st.lists(kinds, min_size=cells, max_size=cells))).reshape(shape)
        unit = 10.0 ** draw(st.integers(-4, 4))
        beta = unit * 10.0 ** draw(st.floats(-6, 6))
        ratio = 10.0 ** draw(st.floats(-2, 2))
        offset = draw(st.sampled_from([-1.0, 1.0])) * 10.0 ** draw(st.floats(-12, 3))
        behavior = _softmax(logits.reshape(shape))
        dropped = draw(st.integers(0, arms - 1)) if draw(st.booleans()) else 0
        behavior[:, :dropped] = 0.0
        behavior /= behavior.sum(axis=-1, keepdims=True)
        reference = None
        if anchored:
            other = 20 * np.array(draw(st.lists(st.floats(-1, 0, width=32), min_size=cells, max_size=cells)))
            reference = _softmax(other.reshape(shape))
        return Case(
            "falsifier", Bandit(behavior, unit * reward, reference), beta, ratio, offset, draw(st.integers(0, 99))
        )

    return cases()


def _softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return raised / raised.sum(axis=-1, keepdims=True)
