"""What a trainer's configuration really optimizes toward.

:func:`lint` reads a configuration, tells which catalogue entry it is as that trainer implements it, and applies the
rules; its report computes targets on reference groups when they are asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .api import lint

if TYPE_CHECKING:
    from ..trainers.rule import Rule
    from .findings import Finding
    from .linter import READERS, RULES, Report, lint_all

__all__ = ["READERS", "RULES", "Finding", "Report", "Rule", "lint", "lint_all"]

_PLACES = {"Rule": "pessimism.trainers.rule", "Finding": "pessimism.lint.findings"}


def __getattr__(name: str) -> Any:
    """The trainers' readers are loaded when something is checked, not with the package."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_PLACES.get(name, "pessimism.lint.linter")), name)
