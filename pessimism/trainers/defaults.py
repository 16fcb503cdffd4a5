"""What trainers optimize where nothing is configured: their defaults as objectives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from ..algorithm import Algorithm
from .document import Document
from .trainer import trainers


def defaults() -> Iterator[Algorithm]:
    """The objective of an empty configuration of every trainer and kind of run, where it is one that is known.

    The name says whose default it is and which entry it is.

    >>> [one.name for one in defaults() if one.name.startswith("trl-a2po")]
    ['trl-a2po default (a_star_po)']
    """
    seen = set()
    for trainer in trainers():
        for name, read in trainer.readers.items():
            try:
                settings = read(Document(name, {}))
            except ValueError:  # a reader that needs to see its section
                continue
            made = settings.objective.algorithm
            if made is None:
                continue
            identity = (settings.trainer, made.name, str(made.parameters), made.baseline.formula)
            if identity in seen:
                continue
            seen.add(identity)
            yield replace(made, name=f"{name} default ({made.name})")
