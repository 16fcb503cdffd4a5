"""A target: the policy that an update drives toward, and what is known about it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .bandit import batch_rows
from .display import brief_html, long_frame, plain_values
from .solve.simplex import plain

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, eq=False)
class Target:
    r"""The policy that an update drives toward, arm by arm: $\mu c = \lambda\pi$.

    For a batch of shape (...) every scalar below is an array (...); for a single bandit it is a plain Python value.

    Attributes:
        policy: (..., K).
        log_policy: (..., K), accurate where the policy underflows; -inf where it is zero.
        log_ratio: (..., K), log(policy / anchor). On arms that the anchor never plays: the value that an arm of
            vanishing probability would have.
        normalizer: $\lambda = E_\mu[c]$ at the target, in units of the coefficient; of a nominal target the constant
            that its on-policy coefficient equals on the support.
        regime: sign of the normalizer for objectives whose sign means something ("positive": pessimistic, "boundary":
            exactly nominal, "negative": fragile), else None.
        unique: True where this is provably the only limit from the behavior policy; False where it is not, or not
            proven to be.
        support: (..., K) bool, the arms that keep mass.
        method: "closed form", "fixed point" or "flow".
        kind: "interior" (all arms of the anchor keep mass), "sparse" (some lose all), "vertex" (one has all), "face"
            (nothing moves: every policy on the support is a target; the one given is the anchor restricted to it),
            "path-dependent" (the coefficient jumps: the limit of the softmax flow from the behavior policy, other
            starts end elsewhere), "unstable" (rewards agree, so that nothing tells the arms apart and the exact update
            rests at the behavior policy, which is given; the slightest push takes it away, to one of several limits)
            or "not converged" (the flow still moved at the end of its time; the policy it had reached is given).
        face: (..., K) bool, arms that tie: their joint mass could be divided in any other way (each arm up to the
            objective's cap, where it has one) and the policy still be stationary. The policy given is where the flow
            from the anchor goes: the arm that the anchor plays most takes what it can, then the next
            (docs/theory/ties.md).
            All False where the target stands alone, or was found numerically.
        rate: tied arms that lose everything fall like time^-rate; 0 where there is none.

    >>> import pessimism as ps
    >>> target = ps.induced_target(ps.Bandit([0.5, 0.3, 0.2], [1, 1, 0]), ps.algorithm("verl.tis"))
    >>> target.policy.tolist(), target.kind, target.face.tolist(), target.rate
    ([1.0, 0.0, 0.0], 'vertex', [True, True, False], 0.5)
    """

    policy: np.ndarray
    log_policy: np.ndarray
    log_ratio: np.ndarray
    normalizer: Any
    regime: Any
    unique: Any
    support: np.ndarray
    method: Any
    kind: Any
    face: np.ndarray
    rate: Any

    def __len__(self) -> int:
        """Targets along the first axis of the batch."""
        if self.policy.ndim == 1:
            raise TypeError("this is one target, not a batch; len(target.policy) is the number of its arms")
        return len(self.policy)

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, index: Any) -> Target:
        """The target, or the batch, at an index of the batch's axes.

        >>> import pessimism as ps
        >>> batch = ps.induced_target(ps.Bandit([[0.5, 0.5], [0.2, 0.8]], [0, 1]), ps.algorithm("dro", beta=1))
        >>> batch[1].policy.round(3), batch[1].kind
        (array([0.088, 0.912]), 'interior')
        """
        rows = batch_rows(self.policy.shape[:-1], index, "target")
        found: dict[str, Any] = {each.name: getattr(self, each.name) for each in fields(self)}
        return replace(self, **{name: plain(value[rows]) for name, value in found.items() if value is not None})

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain Python values; infinities stay infinities."""
        names = ("policy", "log_ratio", "normalizer", "regime", "unique", "support", "method", "kind", "face", "rate")
        return plain_values({name: getattr(self, name) for name in names})

    def to_polars(self) -> pl.DataFrame:
        """A line for every arm (of every row of the batch, which ``row`` counts): what it gets and what its row is.

        Raises:
            ValueError: polars is not installed.
        """
        rows, arms = int(np.prod(self.policy.shape[:-1], dtype=int)), self.policy.shape[-1]
        by_arm = {name: getattr(self, name).reshape(rows, arms) for name in ("policy", "log_ratio", "support", "face")}
        names = ("normalizer", "regime", "unique", "method", "kind", "rate")
        of_row = {n: np.reshape(value, rows) for n in names if (value := getattr(self, n)) is not None}
        frame = long_frame({"row": rows, "arm": arms}, by_arm | of_row)
        return frame if self.policy.ndim > 1 else frame.drop("row")

    _repr_html_ = brief_html

    def __repr__(self) -> str:
        if self.policy.ndim > 1:
            return f"Target(batch shape {self.policy.shape[:-1]}, {self.policy.shape[-1]} arms)"
        arms = np.array2string(self.policy, precision=6, threshold=12)
        return f"Target({arms}, normalizer={self.normalizer:.6g}, regime={self.regime}, {self.kind}, {self.method})"


def stacked(targets: Sequence[Target], shape: tuple[int, ...]) -> Target:
    """Single targets, in order, as one of a batch of that shape."""
    found: dict[str, Any] = {}
    for each in fields(Target):
        values = [getattr(target, each.name) for target in targets]
        known = [value is not None for value in values]
        whole = np.stack([np.asarray(value) for value in values]) if all(known) else None
        found[each.name] = None if whole is None else whole.reshape(*shape, *whole.shape[1:])
    return Target(**found)
