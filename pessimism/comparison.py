"""Comparisons as users see them: the numbers of :mod:`pessimism.compare` with a verdict, tables and a picture."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from .algorithm import Algorithm
from .bandit import Bandit
from .compare import Comparison as Measured
from .compare import compare as measured
from .compare import compare_group as measured_group
from .verdict import verdict
from .views.comparison import comparison_dict, comparison_html, comparison_table
from .views.comparison_plot import plot_comparison

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import RenderableType


class Comparison(Measured):
    """What an algorithm drives toward on a bandit, beside what it claims to.

    The way from the nominal to the induced target has two parts. *Explicit*, nominal to stated: what the clips, masks,
    trust regions and penalties do that the objective states. *Implicit*, stated to induced: what leaving out, capping
    or reshaping the importance weight does.

    Attributes:
        bandit, algorithm: what was compared.
        induced, nominal, stated: the targets.
        sampled: whether the arms are the samples of groups, with the advantages that a trainer gives them.
    """

    @cached_property
    def verdict(self) -> str:
        """One line: is the induced target more conservative than the nominal one, and by how much?"""
        return verdict(self)

    def __repr__(self) -> str:
        return f"Comparison({self.algorithm}, {self.bandit!r}): {self.verdict}"

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain Python values, ready for JSON (infinities as None are left to the writer)."""
        return comparison_dict(self)

    def __rich__(self) -> RenderableType:
        return comparison_table(self)

    def _repr_html_(self) -> str:
        return comparison_html(self)

    def plot(self, style: str = "screen", width: float | None = None) -> Figure:
        """Both targets and the behavior policy, arm by arm, as a matplotlib figure (needs matplotlib).

        Args:
            style: "screen", "paper" (small type, one column) or "slides" (large type).
            width: in inches; the style's where it is None.
        """
        return plot_comparison(self, style, width)


def compare(bandit: Bandit, algorithm: Algorithm | str) -> Comparison:
    """Both targets of an algorithm on a bandit, what they are like, and a verdict.

    >>> import pessimism as ps
    >>> bandit = ps.Bandit([0.5, 0.3, 0.2], [0, 0, 1])
    >>> comparison = ps.compare(bandit, ps.algorithm("shifted_mean", beta=0.5))
    >>> round(comparison.induced_metrics.value, 4), round(comparison.nominal_metrics.value, 4)
    (0.3709, 0.6488)
    >>> print(comparison.verdict)
    pessimistic (positive regime): KL from the behavior policy 0.078 nats (nominal 0.474), value 0.371 (nominal 0.649)
    """
    found = measured(bandit, algorithm)
    return Comparison(found.bandit, found.algorithm, found.induced, found.nominal, found.stated)


def compare_group(reward: ArrayLike, algorithm: Algorithm | str) -> Comparison:
    """The same for sampled groups: every sample an arm of probability 1/G, with the advantage that a trainer gives it.

    Args:
        reward: (..., G) of the samples of each group.
        algorithm: as in :func:`pessimism.group_target`.

    >>> import pessimism as ps
    >>> print(ps.compare_group([0, 0, 0, 1], "oapl:beta1=1,beta2=1e-3").verdict)  # doctest: +ELLIPSIS
    saturated: beta2 = 0.001 is so small beside the differences of the rewards that both targets put all mass on ...
    """
    found = measured_group(reward, algorithm)
    return Comparison(found.bandit, found.algorithm, found.induced, found.nominal, found.stated, sampled=True)
