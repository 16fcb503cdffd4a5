"""Monitors: what the audit says of a log, said of every step while a trainer runs, without changing its objective.

:class:`Monitor` takes rewards and log-probabilities as arrays and knows no trainer. What connects it to one is in that
trainer's folder, e.g. ``pessimism.trainers.trl.monitor``.
"""

from .monitor import Bounds, Monitor, Told

__all__ = ["Bounds", "Monitor", "Told"]
