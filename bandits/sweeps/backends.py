"""Where cells are computed: on the cores of this machine, or on a Ray cluster. The numbers do not depend on it."""

from __future__ import annotations

from pathlib import Path

import bandits
import pessimism as ps
from pessimism import studies
from pessimism.studies import Backend, BackendLostError

from .cell import compute

__all__ = ["Backend", "BackendLostError", "on_cores", "on_ray"]


def on_cores(jobs: int | None = None) -> Backend:
    """Cells side by side in processes of their own; see :func:`pessimism.studies.on_cores`."""
    return studies.on_cores(compute, jobs)


def on_ray(address: str | None = None, jobs: int | None = None) -> Backend:
    """Cells as Ray tasks; see :func:`pessimism.studies.on_ray`."""
    packages = [str(Path(package.__file__ or "").parent) for package in (ps, bandits)]
    return studies.on_ray(compute, packages, address, jobs)
