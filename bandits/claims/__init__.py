"""Claims about learning dynamics, for ``pessimism verify --claims bandits.claims:CLAIMS``."""

from pessimism.claims import Claim

from . import collapse, completions, groups, lagged, leakage, rate, recursion, three_policies

CLAIMS: tuple[Claim, ...] = (
    *groups.CLAIMS,
    *lagged.CLAIMS,
    *recursion.CLAIMS,
    *rate.CLAIMS,
    *collapse.CLAIMS,
    *completions.CLAIMS,
    *leakage.CLAIMS,
    *three_policies.CLAIMS,
)
"""What `pessimism verify` checks besides the package's own claims."""
