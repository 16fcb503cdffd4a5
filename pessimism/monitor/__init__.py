"""Monitors: what the audit says of a log, said of every step while a trainer runs, without changing its objective.

:class:`Monitor` takes rewards and log-probabilities as arrays and knows no trainer.
"""

from .monitor import ALERTS, Bounds, Monitor, Told, negative_alert

__all__ = ["ALERTS", "Bounds", "Monitor", "Told", "negative_alert"]
