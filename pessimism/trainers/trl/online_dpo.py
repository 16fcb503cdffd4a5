"""Reading TRL's OnlineDPOConfig: two completions a prompt, ranked by a reward model or a judge.

Read from trl 1.16.0, ``experimental/online_dpo``. A pair is told only which of its completions is the better one. DPO's
closed form, the catalogue's ``dpo``, is of pairs whose order is drawn with Bradley-Terry's chance, so it is not this.
"""

from __future__ import annotations

from ...hints import near
from ..document import Document
from ..reader import Reader
from ..settings import Lag, Sampling, Settings, unknown

LOSSES = ("sigmoid", "ipo")


def read_online_dpo(document: Document, version: str) -> Settings:
    """The settings of online DPO."""
    reader = Reader(document)
    loss = reader.name("loss_type", "sigmoid")
    temperature = reader.number("temperature", 0.9)
    why = "which of two completions is better is told, not drawn: DPO's closed form is not where it drives"
    if loss not in LOSSES:
        why = f"loss_type is {loss!r}; {near(loss, LOSSES, 'losses')}"
    return Settings(
        document,
        "trl",
        version,
        document.entry or "OnlineDPOConfig",
        unknown(loss, why),
        f"none: the loss compares two completions, held to a reference with beta = {_beta(reader)}",
        group_size=2,
        sampling=Sampling(temperature, temperature),  # no ratio to the sampler is taken
        lag=Lag(),
        keys={"loss": "loss_type", "temperature": "temperature", "length": "max_new_tokens", "penalty": "beta"},
        unresolved=tuple(reader.unresolved),
        own_keys=True,
    )


def _beta(reader: Reader) -> str:
    """One number, or one for every epoch."""
    found = reader.raw("beta", 0.1)
    return ", ".join(f"{value:g}" for value in found) if isinstance(found, list) else f"{reader.number('beta', 0.1):g}"
