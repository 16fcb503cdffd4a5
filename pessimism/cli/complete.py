"""Words that a shell may complete: names of the catalogue, its families, ids of claims."""

from __future__ import annotations

from collections.abc import Iterable, Iterator


def algorithms(incomplete: str) -> Iterator[tuple[str, str]]:
    """Names of the catalogue that begin so, each with its title."""
    from ..objectives.catalogue import catalogue

    return ((name, entry.title) for name, entry in catalogue().items() if name.startswith(incomplete))


def families(incomplete: str) -> list[str]:
    """Families of the catalogue that begin so."""
    from ..objectives.catalogue import catalogue

    return _beginning(incomplete, dict.fromkeys(entry.family for entry in catalogue().values()))


def claims(incomplete: str) -> list[str]:
    """Ids of the package's claims that begin so."""
    from ..claims import CLAIMS

    return _beginning(incomplete, CLAIMS)


def _beginning(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]
