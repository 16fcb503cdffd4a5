"""Messages about optional packages that are not installed."""

from __future__ import annotations

from importlib.util import find_spec

PACKAGES = {"yaml": "pyyaml", "tree_sitter": "tree-sitter", "tree_sitter_bash": "tree-sitter-bash"}
"""Module -> the package that brings it, where the names differ."""


def need(what: str, *modules: str) -> None:
    """Raise unless every module can be imported, with a command that installs the packages they come from.

    Args:
        what: what needs them, a plural that begins the message.
        modules: top-level names.

    Raises:
        ValueError: one of them is not installed.

    >>> need("arrays", "numpy")
    >>> need("audits", "numpy", "no_such_module")
    Traceback (most recent call last):
    ...
    ValueError: audits need packages that are not installed: pip install no_such_module
    """
    missing = [PACKAGES.get(name, name) for name in modules if find_spec(name) is None]
    if missing:
        raise ValueError(f"{what} need packages that are not installed: pip install {' '.join(missing)}")
