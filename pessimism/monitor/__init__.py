"""Monitors: what the audit says of a log, said of every step while a trainer runs, without changing its objective.

:class:`Monitor` takes rewards and log-probabilities as arrays and knows no trainer.
"""

from .monitor import Bounds, Monitor, Told

__all__ = ["Bounds", "Monitor", "Told"]
