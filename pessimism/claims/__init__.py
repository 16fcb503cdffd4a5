"""The claims: every fact about one-step targets that the package rests on, checkable with one call.

>>> from pessimism.claims import CLAIMS
>>> CLAIMS["regimes.boundary"].statement
'At V = V* the induced target is exactly the nominal one.'
"""

from .case import Case
from .claim import Claim, Outcome, claim, claims_in
from .runner import CLAIMS, known_claims, verify

__all__ = ["CLAIMS", "Case", "Claim", "Outcome", "claim", "claims_in", "known_claims", "verify"]
