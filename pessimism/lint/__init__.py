"""What a trainer's configuration really optimizes toward.

:func:`lint` reads a configuration file, tells which catalogue entry it is as that trainer implements it, computes its
targets on reference groups, and applies the rules.
"""

from ..trainers.rule import Rule
from .findings import Finding
from .linter import READERS, RULES, Report, lint, lint_all

__all__ = ["READERS", "RULES", "Finding", "Report", "Rule", "lint", "lint_all"]
