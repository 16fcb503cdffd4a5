"""Verify claims: instance families, falsification search and symbolic proof, one outcome per claim."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import fields
from functools import cache
from multiprocessing import get_context
from typing import Any

from ..algorithm import Algorithm
from ..bandit import Bandit
from ..given import understood_algorithm
from ..shell.objects import load_object
from . import (
    anchored,
    baselines,
    confidence,
    conservatism,
    equivariance,
    explicit,
    generic,
    groups,
    negative,
    policy_gradient,
    preference,
    prefixes,
    ratio,
    regression,
    residual,
    sequences,
    ties,
    trust_region,
    twins,
    values,
    weighted,
)
from .case import Case
from .claim import FAILS, HOLDS, NOT_REFUTED, REFUTED, Claim, Outcome, Tally
from .falsify import falsify
from .families import Family, user_family
from .shrink import shrink

Progress = Callable[[int, int, str], None]

INSTANCES = 1000
"""Instances that each claim is tried on at least, the search not counted."""

EXAMPLES = 30
"""Draws of the falsification search per claim, times the claim's effort."""

ROUNDS = 4  # of the families, until enough instances lay within a claim's hypotheses


def _all_claims() -> dict[str, Claim]:
    modules = (
        regression,
        conservatism,
        explicit,
        baselines,
        twins,
        residual,
        equivariance,
        anchored,
        negative,
        groups,
        policy_gradient,
        ratio,
        ties,
        weighted,
        preference,
        sequences,
        prefixes,
        values,
        confidence,
        trust_region,
        generic,
    )
    claims = [claim for module in modules for claim in module.CLAIMS]
    table = {claim.id: claim for claim in claims}
    if len(table) != len(claims):
        raise ValueError("two claims share an id")
    return table


CLAIMS = _all_claims()
"""Every claim of the package by id."""


def known_claims(places: Sequence[str] = (), algorithm: Algorithm | str | None = None) -> dict[str, Claim]:
    """The package's claims by id, and those at each ``module:name``: a tuple or list of Claim objects.

    Args:
        places: where there are more claims.
        algorithm: what those claims are about that can be about any: the generic ones (``objective.*``), and a
            caller's own that take an algorithm.

    Raises:
        ValueError: no such module or name, something there that is no claim, or an id that is taken.

    >>> len(known_claims()) == len(CLAIMS)
    True
    >>> known_claims(["math:pi"])
    Traceback (most recent call last):
    ...
    ValueError: math:pi is of type float; it must be of type Sequence, or a function that returns one
    """
    table = dict(CLAIMS)
    for place in places:
        for claim in _claims_at(place):
            if claim.id in table:
                raise ValueError(f"{place}: there is a claim {claim.id!r} already")
            table[claim.id] = claim
    return table if algorithm is None else {claim.id: claim for claim in _given(understood_algorithm(algorithm), table)}


@cache
def _claims_at(place: str) -> tuple[Claim, ...]:
    """Loaded once, so that a function that returns claims is known by the same ones every time."""
    found = tuple(load_object(place, Sequence))
    for index, claim in enumerate(found):
        if not isinstance(claim, Claim):
            raise ValueError(f"{place}[{index}] is of type {type(claim).__name__}; it must be of type Claim")
    return found


def verify(
    claims: Iterable[Claim] | None = None,
    seed: int = 0,
    extra_bandits: Sequence[Bandit] = (),
    algorithm: Algorithm | str | None = None,
    progress: Progress | None = None,
    *,
    instances: int = INSTANCES,
    examples: int = EXAMPLES,
    workers: int = 1,
    places: Sequence[str] = (),
) -> list[Outcome]:
    """Try claims on their instances, search for counterexamples, and prove what has a proof.

    Args:
        claims: which; all known ones if None. Any Claim objects will do, a caller's own among them.
        seed: of instances and search; the same seed gives the same verdicts and residuals.
        extra_bandits: bandits to try besides, at several temperatures relative to their range of rewards.
        algorithm: a user's own objective, or text that names one: the generic claims (``objective.*``) are then about
            it, and of the package's claims only they are tried. A caller's own claims are about it if they take an
            algorithm (:func:`pessimism.claims.claim_about`); others are tried as they are.
        progress: called with (claims done, claims in all, id of the next or "").
        instances: at least so many per claim, where its hypotheses allow.
        examples: draws of the falsification search per claim.
        workers: processes to share the known claims among; others are tried in this one. More than one starts fresh
            interpreters, which import the caller's main module: guard a script with ``if __name__ == "__main__"``.
        places: where there are more claims than the package's own, see :func:`known_claims`.

    Returns:
        One Outcome per claim, in order. A check that raises is an outcome that fails, with what was raised.

    Raises:
        ValueError: an algorithm is given and none of the claims is a generic one; see also :func:`known_claims`.

    >>> from pessimism.claims import CLAIMS
    >>> [outcome] = verify([CLAIMS["regression.normalizer"]], instances=50, examples=5)
    >>> outcome.verdict, outcome.proof
    ('holds', True)
    """
    known = known_claims(places)
    chosen = list(known.values()) if claims is None else list(claims)
    if algorithm is not None:
        chosen = _about(understood_algorithm(algorithm), chosen)
    settings = (seed, tuple(extra_bandits), instances, examples)
    report = progress or (lambda done, total, name: None)
    if workers > 1 and len(chosen) > 1 and algorithm is None:
        return _in_processes(chosen, known, tuple(places), settings, report, workers)
    outcomes = []
    for index, claim in enumerate(chosen):
        report(index, len(chosen), claim.id)
        outcomes.append(check_claim(claim, *settings))
    report(len(chosen), len(chosen), "")
    return outcomes


Settings = tuple[int, tuple[Bandit, ...], int, int]


def _in_processes(
    claims: list[Claim],
    known: dict[str, Claim],
    places: tuple[str, ...],
    settings: Settings,
    report: Progress,
    workers: int,
) -> list[Outcome]:
    """Outcomes in order; claims travel by id, so that those of no known place are checked in this process."""
    done = 0
    outcomes: dict[int, Outcome] = {}
    report(0, len(claims), "starting")
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        ours = [index for index, claim in enumerate(claims) if known.get(claim.id) is claim]
        ours.sort(key=lambda index: claims[index].effort)  # slow checks first: they would be waited for at the end
        waiting = {pool.submit(_check_by_id, claims[index].id, places, settings): index for index in ours}
        for index in set(range(len(claims))) - set(ours):
            outcomes[index] = check_claim(claims[index], *settings)
            done += 1
        for future in as_completed(waiting):
            index = waiting[future]
            outcomes[index] = Outcome(claims[index], *future.result())
            done += 1
            report(done, len(claims), claims[index].id if done < len(claims) else "")
    return [outcomes[index] for index in range(len(claims))]


def _check_by_id(identifier: str, places: tuple[str, ...], settings: Settings) -> tuple[Any, ...]:
    """An outcome's fields but the claim, whose functions do not travel between processes."""
    outcome = check_claim(known_claims(places)[identifier], *settings)
    return tuple(getattr(outcome, field.name) for field in fields(outcome) if field.name != "claim")


def _given(algorithm: Algorithm, claims: Mapping[str, Claim]) -> list[Claim]:
    """The claims, about that algorithm where they can be about any."""
    made = {claim.id: claim for claim in generic.generic_claims(lambda: (algorithm,), f"about {algorithm.name!r}")}
    own = {name: one if one.algorithm is None else one.about(algorithm) for name, one in claims.items()}
    return [made.get(name, one) for name, one in own.items()]


def _about(algorithm: Algorithm, claims: list[Claim]) -> list[Claim]:
    names = [claim.id for claim in generic.CLAIMS]
    chosen = {claim.id: claim for claim in claims if claim.id in names or claim.id not in CLAIMS}
    if not chosen:
        raise ValueError(f"none of the claims is about a given algorithm; those that are: {', '.join(names)}")
    return _given(algorithm, chosen)


def check_claim(claim: Claim, seed: int, bandits: Sequence[Bandit], instances: int, examples: int) -> Outcome:
    """The outcome of one claim; see :func:`verify`."""
    start = time.perf_counter()
    extra = [user_family(index, bandit) for index, bandit in enumerate(bandits)]
    tally, error, proof = Tally(), "", None
    counterexample: Case | None = None
    violation = math.nan
    try:
        if claim.refuted:
            counterexample = _smallest(claim, tally)
            violation = math.nan if counterexample is None else float(claim.violations(counterexample)[0])
        _try(claim, seed, extra, instances, tally)
        if claim.falsify and not claim.refuted:
            found = falsify(claim, seed, max(1, round(claim.effort * examples)))
            _merge(tally, found)
        proof = None if claim.proof is None else claim.proof()
    except Exception as raised:  # any failure of a check is that claim's failure, never the end of the run
        error = f"{type(raised).__name__}: {raised}".splitlines()[0]
    seconds = time.perf_counter() - start
    if claim.refuted:
        verdict = REFUTED if counterexample is not None and not error else NOT_REFUTED
        return Outcome(claim, verdict, violation, tally.instances, seconds, counterexample, proof, error, violation)
    fails = bool(error) or tally.exceeds(claim.tolerance) or tally.instances == 0
    worst = math.nan if tally.instances == 0 else tally.worst
    if tally.case is not None and tally.exceeds(claim.tolerance):
        counterexample, violation = shrink(claim, tally.case)
    verdict = FAILS if fails else HOLDS
    return Outcome(claim, verdict, worst, tally.instances, seconds, counterexample, proof, error, violation)


def _try(claim: Claim, seed: int, extra: Sequence[Family], instances: int, tally: Tally) -> None:
    wanted = tally.instances + instances
    for turn in range(ROUNDS):
        for family in claim.families:
            for case in family.cases(seed + 1_000_003 * turn, instances):
                tally.add(claim.violations(case), case)
        if tally.instances >= wanted:
            break
    if claim.families and (claim.falsify or claim.refuted):
        for family in extra:
            for case in family.cases(seed, instances):
                if _fits(claim, case):
                    part = case.thinned(claim.effort)
                    tally.add(claim.violations(part), part)


def _fits(claim: Claim, case: Case) -> bool:
    """Whether a user's bandit is of the kind the claim is about: with a reference, or without."""
    return (case.bandit.reference is not None) == any(f.name.startswith("reference") for f in claim.families)


def _merge(tally: Tally, found: Tally) -> None:
    if not tally.saw_nan and (found.saw_nan or found.worst > tally.worst):
        tally.worst, tally.case, tally.saw_nan = found.worst, found.case, found.saw_nan
    tally.instances += found.instances


def _smallest(claim: Claim, tally: Tally) -> Case | None:
    """The first instance of the claim's ordered search that violates it, confirmed in exact arithmetic."""
    if claim.search is None:
        raise ValueError(f"claim {claim.id}: a refuted claim needs a search for its counterexample")
    for case in claim.search():
        violations = claim.violations(case)
        tally.add(violations, case)
        for index in (violations > claim.tolerance).nonzero()[0]:
            row = case.row(int(index))
            if claim.confirm is None or claim.confirm(row):
                return row
    return None
