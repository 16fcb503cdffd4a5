"""The claims: every fact about one-step targets that the package rests on, checkable with one call.

>>> from pessimism.claims import CLAIMS
>>> CLAIMS["regimes.boundary"].statement
'At V = V* the induced target is exactly the nominal one.'
"""

from . import families
from .case import NOT_APPLICABLE, Case
from .claim import Claim, Outcome, claim, claim_about, claims_in
from .counterexamples import refuted, small_rationals
from .families import Family
from .runner import CLAIMS, check_claim, known_claims, verify

__all__ = [
    "CLAIMS",
    "NOT_APPLICABLE",
    "Case",
    "Claim",
    "Family",
    "Outcome",
    "check_claim",
    "claim",
    "claim_about",
    "claims_in",
    "families",
    "known_claims",
    "refuted",
    "small_rationals",
    "verify",
]
