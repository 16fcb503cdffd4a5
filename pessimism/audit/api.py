"""The audit as a function of the package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..algorithm import Algorithm
from ..extras import need
from ..given import understood_algorithm

if TYPE_CHECKING:
    from .report import Audit


def audit(
    log: Any,
    algorithms: Algorithm | str | Sequence[Algorithm | str],
    columns: Mapping[str, str] | None = None,
    *,
    strict: bool = False,
    share: float = 1.0,
) -> Audit:
    """What objectives make of logged rollouts, as `pessimism audit` tells it.

    Args:
        log: a path or several; a frame of polars, pandas or pyarrow; a Hugging Face dataset; a list of records.
        algorithms: one or several, as text (``"oapl:beta1=1,beta2=.5"``) or made.
        columns: role -> column, e.g. ``{"group": "prompt", "reward": "score"}``.
        strict: stop at the first faulty group instead of leaving it out and counting it.
        share: look at this share of the groups, drawn at random.

    Raises:
        ValueError: what cannot be read, with what was found; or polars and pyarrow are not installed.

    >>> import pessimism as ps
    >>> rows = [{"group": "a", "reward": reward} for reward in (0, 0, 0, 1)]
    >>> print(ps.audit(rows, "oapl:beta1=1,beta2=.5").algorithms[0].sentence)
    pessimistic (positive regime): KL from the behavior policy 0.360 nats (nominal 0.468), value 0.653 (nominal 0.711)
    """
    need("audits", "polars", "pyarrow")
    from .run import audit as run
    from .run import logs_of

    chosen = [algorithms] if isinstance(algorithms, Algorithm | str) else list(algorithms)
    return run(logs_of(log), [understood_algorithm(each) for each in chosen], columns, strict=strict, share=share)
