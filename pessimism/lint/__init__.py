"""What a trainer's configuration really optimizes toward: TRL, verl, prime-rl and Trinity-RFT.

:func:`lint` reads a configuration file, tells which catalogue entry it is as that trainer implements it, computes its
targets on reference groups, and applies the rules.
"""

from .linter import READERS, RULES, Report, lint
from .rule import Finding, Rule

__all__ = ["READERS", "RULES", "Finding", "Report", "Rule", "lint"]
