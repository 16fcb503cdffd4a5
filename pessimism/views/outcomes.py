"""What ``pessimism verify`` prints: claims and their outcomes as tables, and counterexamples that can be run again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .tables import new_table

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from ..claims.case import Case
    from ..claims.claim import Claim, Outcome

PROOFS = {True: "yes", False: "NO", None: ""}


@dataclass(frozen=True)
class Replay:
    """What a Python program needs to find a claim again: the text that names the algorithm, and places of claims."""

    algorithm: str | None = None
    places: tuple[str, ...] = ()

    def program(self, claim: Claim, case: Case) -> str:
        """A program that tries the claim on that one instance, every number in full."""
        arguments = [repr(list(self.places))] if self.places else []
        arguments += [f"algorithm={self.algorithm!r}"] if self.algorithm is not None else []
        bandit = case.bandit
        arrays = [bandit.behavior, bandit.reward, *([] if bandit.reference is None else [bandit.reference])]
        numbers = {"beta": float(case.beta), "ratio": float(case.ratio), "offset": float(case.offset)}
        settings = ", ".join(f"{name}={number!r}" for name, number in (numbers | {"seed": int(case.seed)}).items())
        return (
            "from pessimism import Bandit\n"
            "from pessimism.claims import Case, known_claims\n"
            f"claim = known_claims({', '.join(arguments)})[{claim.id!r}]\n"
            f"bandit = Bandit({', '.join(repr(array[:1].tolist()) for array in arrays)})\n"
            f"case = Case('replay', bandit, {settings}, alone=True)\n"
            "print(claim.violations(case), 'allowed:', claim.tolerance)"
        )


def claim_table(claims: Sequence[Claim]) -> Table:
    """One line per claim: what it says."""
    table = new_table("claim", "kind", "statement")
    for claim in claims:
        table.add_row(claim.id, kind(claim), claim.statement)
    return table


def kind(claim: Claim) -> str:
    """What `pessimism verify` says when all is well: refuted, proved (by sympy) or tried."""
    return "refuted" if claim.refuted else "proved" if claim.proof is not None else "tried"


def claim_dict(claim: Claim) -> dict[str, Any]:
    """A claim as plain data."""
    return {"id": claim.id, "kind": kind(claim), "statement": claim.statement, "source": claim.source}


def outcome_table(outcomes: Sequence[Outcome]) -> Table:
    """One line per claim; a residual holds up to what is allowed beside it."""
    table = new_table("claim", "verdict", "worst\nresidual", "allowed", "instances", "seconds", "proved")
    for column in table.columns[2:6]:
        column.justify = "right"
    for outcome in outcomes:
        residual = "raised" if outcome.error else f"{outcome.worst:.1e}"
        counts = (f"{outcome.claim.tolerance:.0e}", f"{outcome.instances:,}", f"{outcome.seconds:.2f}")
        style = None if succeeded(outcome) else "bold red"
        table.add_row(outcome.claim.id, outcome.verdict, residual, *counts, PROOFS[outcome.proof], style=style)
    return table


def succeeded(outcome: Outcome) -> bool:
    """Whether a claim came out as it should, its proof included."""
    return outcome.ok and outcome.proof is not False


def programs(outcomes: Sequence[Outcome], replay: Replay, refuted: bool = False) -> str:
    """Python programs that try claims on their counterexamples again, as they can be pasted: no line is wrapped.

    Args:
        outcomes: of the claims.
        replay: how a program finds them.
        refuted: also for those that are refuted as expected.
    """
    shown = [outcome for outcome in outcomes if refuted or not succeeded(outcome)]
    return "".join(
        f"\n# the counterexample of {outcome.claim.id} again:\n"
        f"{replay.program(outcome.claim, outcome.counterexample)}\n"
        for outcome in shown
        if outcome.counterexample is not None
    )


def details(outcomes: Sequence[Outcome], statements: bool = False) -> list[RenderableType]:
    """What the table has no room for: why a claim failed, and what refutes those that are false.

    Args:
        outcomes: of the claims.
        statements: also what those say that hold.
    """
    from rich.padding import Padding

    screens: list[RenderableType] = []
    for outcome in outcomes:
        holds = outcome.verdict == "holds" and succeeded(outcome)
        if holds and not statements:
            continue
        lines = [outcome.claim.statement, *_reasons(outcome)]
        screens += [f"{outcome.claim.id}: {outcome.verdict}", *(Padding(line, (0, 0, 0, 2)) for line in lines)]
    return [*screens, ""] if screens else []


def _reasons(outcome: Outcome) -> list[str]:
    lines: list[str] = []
    if outcome.error:
        lines.append(f"raised {outcome.error}")
    elif outcome.instances == 0:
        lines.append("tried on no instance: none lay within its hypotheses")
    elif not outcome.ok:
        lines.append(f"worst residual {outcome.worst:.3g}, allowed {outcome.claim.tolerance:.3g}")
    if outcome.proof is False:
        lines.append("sympy does not confirm the proof")
    if outcome.counterexample is None:
        return lines
    case = " ".join(str(outcome.counterexample).split())
    if outcome.verdict == "FAILS" and outcome.violation <= outcome.claim.tolerance:
        lines.append(f"it fails on this instance only in a batch with others: {case}")
    elif outcome.verdict == "FAILS":
        lines.append(f"smallest counterexample found (residual {outcome.violation:.3g}): {case}")
    else:
        lines.append(f"counterexample: {case}")
    return lines


def summary(outcomes: Sequence[Outcome], seconds: float) -> str:
    """One line: how many claims came out how."""
    verdicts = [outcome.verdict for outcome in outcomes if succeeded(outcome)]
    return (
        f"{len(outcomes)} claim{'s' * (len(outcomes) != 1)}: {verdicts.count('holds')} hold "
        f"({sum(outcome.proof is True for outcome in outcomes)} proved), "
        f"{verdicts.count('refuted')} refuted as expected, {len(outcomes) - len(verdicts)} failed; "
        f"{sum(outcome.instances for outcome in outcomes):,} instances in {seconds:.1f} s"
    )
