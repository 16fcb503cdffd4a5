"""What a rank does that does not lead: wait to be told what to call, and call it, until the run ends."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ..config import Config
from ..update import learner as collective
from ..update.batch import batch_from
from ..update.learner import Learner, make_learner
from ..update.ranks import END, Ranks

Arrays = Mapping[str, np.ndarray]


def _descend(learner: Learner, values: Mapping[str, Any], arrays: Arrays) -> None:
    collective.descend(learner, batch_from(arrays), values["step"])


def _log_probs(learner: Learner, values: Mapping[str, Any], arrays: Arrays) -> None:
    collective.log_probs(learner, arrays["prompt"].tolist(), arrays["completion"])


def _load_snapshot(learner: Learner, values: Mapping[str, Any], arrays: Arrays) -> None:
    collective.load_snapshot(learner, {})


def _load_moments(learner: Learner, values: Mapping[str, Any], arrays: Arrays) -> None:
    collective.set_moments(learner, values["names"], values["small"], {})


CALLS: Mapping[str, Callable[[Learner, Mapping[str, Any], Arrays], Any]] = {
    "descend": _descend,
    "log_probs": _log_probs,
    "load_snapshot": _load_snapshot,
    "load_moments": _load_moments,
    "snapshot": lambda learner, values, arrays: collective.snapshot(learner),
    "moments": lambda learner, values, arrays: collective.moments(learner),
    "frozen": lambda learner, values, arrays: collective.frozen(learner),
    "engine_weights": lambda learner, values, arrays: collective.engine_weights(learner),
}
"""What the leading rank may tell the others to call, by the names that :meth:`llm.update.ranks.Ranks.tell` is given."""


def follow(config: Config, ranks: Ranks) -> None:
    """Train beside the leading rank until it says that the run has ended.

    Signals that ask to stop are the leading rank's to hear: torchrun sends them to all.

    Raises:
        ValueError: the configuration or the model does not work.
        RunError: the gradient is not finite; the leading rank says so too.
        LostRankError: another rank has ended.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    obey(make_learner(config, ranks))


def obey(learner: Learner) -> None:
    """Call what the leading rank calls, until it says that it has ended."""
    while True:
        call, values, arrays = learner.ranks.listen()
        if call == END:
            return
        CALLS[call](learner, values, arrays)
