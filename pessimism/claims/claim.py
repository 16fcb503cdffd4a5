"""A claim: a statement, the instances it is tried on, and a violation that says how wrong it is."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..algorithm import Algorithm
from ..given import understood_algorithm
from .case import NOT_APPLICABLE, Case
from .families import Family

HOLDS, FAILS, REFUTED, NOT_REFUTED = "holds", "FAILS", "refuted", "NOT REFUTED"


Check = Callable[..., np.ndarray]
"""Case of n instances -> violations (n,): scale-free, NaN counts as failing, ``NOT_APPLICABLE`` as not tried. The check
of a claim about a given algorithm takes that algorithm as its second argument."""


@dataclass(frozen=True)
class Claim:
    """A statement about targets and how to try it.

    Attributes:
        id: "topic.name".
        statement: one sentence; formulas in plain text.
        source: where it comes from; "derived here" unless a paper is named.
        families: what it is tried on.
        check: violations of a case; more than ``tolerance`` refutes the statement on that instance.
        tolerance: set by the conditioning of what is compared, see each claim.
        proof: returns True iff sympy proves it (lazily imported), or None where there is no symbolic proof.
        proves: what the proof covers, where that is less than the statement.
        refuted: the statement is false in general; to find a counterexample is what is expected.
        search: for refuted claims: cases in the order of increasing size, to find the smallest counterexample.
        confirm: for refuted claims: whether a case of one instance violates the statement in 50-digit arithmetic.
        falsify: whether the falsification search makes sense (not for fixed instances).
        effort: below 1 for slow checks: the share of falsification examples, and of a user's own instances, to try.
        algorithm: for checks of (case, algorithm): what they are about unless another one is given; see
            :func:`claim_about`.
    """

    id: str
    statement: str
    source: str
    families: tuple[Family, ...]
    check: Check
    tolerance: float
    proof: Callable[[], bool] | None = None
    proves: str = ""
    refuted: bool = False
    search: Callable[[], Iterator[Case]] | None = None
    confirm: Callable[[Case], bool] | None = None
    falsify: bool = True
    effort: float = 1.0
    algorithm: Algorithm | None = None

    def about(self, algorithm: Algorithm) -> Claim:
        """The same claim about another algorithm.

        Raises:
            ValueError: its check takes none.
        """
        if self.algorithm is None:
            raise ValueError(f"claim {self.id}: its check takes no algorithm (claim_about makes one that does)")
        return replace(self, algorithm=algorithm)

    def violations(self, case: Case) -> np.ndarray:
        """``check`` with its contract enforced: one violation per instance, as float64."""
        found = self.check(case) if self.algorithm is None else self.check(case, self.algorithm)
        found = np.asarray(found, dtype=np.float64)
        if found.shape != (case.size,):
            raise ValueError(f"claim {self.id}: check returned shape {found.shape} for {case.size} instances")
        return found


def claim(
    identifier: str, source: str, families: tuple[Family, ...], tolerance: float, **options: Any
) -> Callable[[Check], Claim]:
    """Decorator that makes a check a :class:`Claim`, whose statement is the first paragraph of the check's docstring.

    Args:
        identifier: the id of the Claim.
        source: as of a Claim.
        families: as of a Claim.
        tolerance: as of a Claim.
        **options: its other attributes.

    >>> from pessimism.claims.families import SMALL
    >>> @claim("policy.sum", "derived here", SMALL, 1e-9)
    ... def sums_to_one(case):
    ...     '''The behavior policy sums to one.
    ...
    ...     Check: its sum.
    ...     '''
    ...     return abs(case.bandit.behavior.sum(axis=-1) - 1)
    >>> sums_to_one.statement
    'The behavior policy sums to one.'
    """

    def made(check: Check) -> Claim:
        statement = " ".join((inspect.getdoc(check) or "").partition("\n\n")[0].split())
        if not statement:
            raise ValueError(f"claim {identifier}: its check has no docstring, which must begin with the statement")
        return Claim(identifier, statement, source, families, check, tolerance, **options)

    return made


def claim_about(
    algorithm: Algorithm | str,
    identifier: str,
    source: str,
    families: tuple[Family, ...],
    tolerance: float,
    **options: Any,
) -> Callable[[Check], Claim]:
    """Decorator like :func:`claim` for checks of (case, algorithm): a claim that can be about any algorithm.

    Args:
        algorithm: what it is about, or text that names it. ``pessimism verify --algorithm`` and ``verify(algorithm=)``
            put another one in its place.
        identifier: as of a Claim.
        source: as of a Claim.
        families: as of a Claim.
        tolerance: as of a Claim.
        **options: its other attributes.

    >>> import pessimism as ps
    >>> from pessimism.claims import verify
    >>> from pessimism.claims.families import SMALL
    >>> @claim_about("kimi_k15", "mine.value", "my own", SMALL, 1e-9)
    ... def value_never_falls(case, algorithm):
    ...     '''The target's expected reward is at least that of the behavior policy.'''
    ...     gain = ps.induced_target(case.bandit, algorithm).policy - case.bandit.behavior
    ...     return -(gain * case.bandit.reward).sum(axis=-1)
    >>> [outcome] = verify([value_never_falls], algorithm="asymre", instances=50, examples=5)
    >>> outcome.verdict, outcome.claim.algorithm.name
    ('holds', 'asymre')
    """
    return claim(identifier, source, families, tolerance, algorithm=understood_algorithm(algorithm), **options)


def claims_in(module: Mapping[str, object]) -> tuple[Claim, ...]:
    """The claims that a module defines, in order: ``claims_in(vars())``."""
    return tuple(value for value in module.values() if isinstance(value, Claim))


@dataclass(frozen=True)
class Outcome:
    """What became of a claim.

    Attributes:
        claim: the claim.
        verdict: "holds", "FAILS", "refuted" (carried as false, and a counterexample was found again) or "NOT REFUTED".
        worst: largest violation over all instances, the search included; NaN where a check returned NaN; for refuted
            claims that of the counterexample.
        instances: how many instances it was tried on.
        seconds: wall-clock time.
        counterexample: an instance that refutes the statement, else None: the one of the largest violation, made as
            small as it can be and still refute it (:mod:`pessimism.claims.shrink`); for refuted claims the smallest
            one found.
        proof: True (proved by sympy), False (sympy could not), None (no symbolic proof).
        error: what was raised, if a check raised.
        violation: that of the counterexample alone. It may be within the tolerance, or -inf, where an instance violates
            the claim only among the others of its batch.
    """

    claim: Claim
    verdict: str
    worst: float
    instances: int
    seconds: float
    counterexample: Case | None = None
    proof: bool | None = None
    error: str = ""
    violation: float = math.nan

    @property
    def ok(self) -> bool:
        """Whether this is the expected verdict, and the proof (if there is one) went through."""
        return self.verdict in (HOLDS, REFUTED) and self.proof is not False

    def to_dict(self) -> dict[str, Any]:
        """Plain Python values, ready for JSON (numbers that are not finite are left to the writer)."""
        return {
            "id": self.claim.id,
            "statement": self.claim.statement,
            "source": self.claim.source,
            "verdict": self.verdict,
            "ok": self.ok,
            "worst": self.worst,
            "tolerance": self.claim.tolerance,
            "instances": self.instances,
            "seconds": self.seconds,
            "proof": self.proof,
            "proves": self.claim.proves,
            "violation": self.violation,
            "counterexample": None if self.counterexample is None else self.counterexample.to_dict(),
            "error": self.error,
        }


@dataclass
class Tally:
    """Running worst violation over cases."""

    worst: float = NOT_APPLICABLE
    case: Case | None = None
    instances: int = 0
    saw_nan: bool = field(default=False)  # nothing outranks it

    def add(self, violations: np.ndarray, case: Case) -> None:
        """Take in the violations (n,) of a case."""
        self.instances += int((violations != NOT_APPLICABLE).sum())
        if self.saw_nan:
            return
        invalid = np.isnan(violations)
        index = int(invalid.argmax()) if invalid.any() else int(violations.argmax())
        self.saw_nan = bool(invalid.any())
        if self.saw_nan or violations[index] > self.worst:
            self.worst, self.case = float(violations[index]), case.row(index)

    def exceeds(self, tolerance: float) -> bool:
        """Whether the statement is violated: beyond the tolerance, or NaN."""
        return self.saw_nan or self.worst > tolerance
