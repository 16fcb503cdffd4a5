"""`lint` of Python."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .linter import Report


def lint(config: str | os.PathLike[str] | object, overrides: Sequence[str] = (), trainer: str = "") -> Report:
    """What a trainer's configuration optimizes toward, and what is wrong with it.

    Args:
        config: a file (YAML, JSON, TOML, a shell script or Python; "-" for standard input), or the configuration
            itself: an object of a class of configurations (a dataclass or a pydantic model), or a mapping such as a
            composed configuration.
        overrides: ``key.path=value``, applied after it.
        trainer: a key of ``pessimism.lint.READERS``; "" to tell it by the class or by the keys.

    Raises:
        ValueError: what cannot be read, or values of the wrong kind (the message says which, and the line); it cannot
            be told which trainer it is for; or a file starts several runs (see ``pessimism.lint.lint_all``).

    >>> import pessimism as ps
    >>> report = ps.lint({"loss_type": "grpo", "num_generations": 8, "top_p": 0.9})
    >>> [(finding.rule.id, finding.message) for finding in report.findings if finding.rule.severity == "error"]
    [('truncated-sampling', 'top_p is 0.9')]
    """
    from .linter import lint_file, lint_object

    if isinstance(config, (str, os.PathLike)):
        return lint_file(config, overrides, trainer)
    return lint_object(config, overrides, trainer)
