"""Sweeps as data: a grid is declared once, computed cell by cell on all cores or a Ray cluster, and kept in Parquet.

A :class:`Sweep` (:mod:`bandits.sweeps.grid`) is plain data: bandits, algorithms, settings and how many seeds. Nothing
that computes one imports a particular experiment; those that ship are in :mod:`bandits.sweeps.grids`.

    from bandits.sweeps import load, run
    from bandits.sweeps.grids import SWEEPS

    table = run(SWEEPS["smoke"], "results")  # computes what is missing, returns a polars.DataFrame
    table = load("results", "smoke")  # only reads; an error if there is nothing, or something damaged or incomplete

The table is long: one row per cell, record (``sync``), seed and world, with the cell's key and parameters in columns
(:mod:`bandits.sweeps.cell`). On the command line: ``python -m bandits sweep smoke``.
"""

from .backends import on_cores, on_ray
from .grid import AlgorithmSpec, BanditSpec, Cell, Sweep, algorithm, bandit, product
from .plan import run
from .results import load

__all__ = [
    "AlgorithmSpec",
    "BanditSpec",
    "Cell",
    "Sweep",
    "algorithm",
    "bandit",
    "load",
    "on_cores",
    "on_ray",
    "product",
    "run",
]
