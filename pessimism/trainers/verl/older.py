"""verl up to 0.3.0, which many repositories hold a copy of: how it is told, and what it did otherwise.

Read from verl 0.2.0 and 0.3.0: ``trainer/config/ppo_trainer.yaml``, ``trainer/ppo/ray_trainer.py``, ``core_algos.py``.
It took the KL penalty off the rewards unless ``actor.use_kl_loss`` was on, had one clip range and no cap, and always
divided by the group's standard deviation.
"""

from __future__ import annotations

from pathlib import Path

from ..document import Document
from ..hydra import MAX_UP
from ..reader import Reader, Unresolved
from ..releases import Fit, fitting, order, releases, texts
from ..settings import Clip, Penalty

LAST = "0.3.0"
"""The last release that did so."""

COPIES = ("verl/trainer/config/ppo_trainer.yaml", "verl/verl/trainer/config/ppo_trainer.yaml")
"""Where a repository's own copy of verl has its defaults, from a folder above the file."""

SWITCH = "use_kl_in_reward"
"""A key that came with the change."""

COEFFICIENT = "algorithm.kl_ctrl.kl_coef"
BY_RELEASE = (
    f"up to verl {LAST} it takes the KL penalty off the rewards unless actor.use_kl_loss is on, later only with "
    "algorithm.use_kl_in_reward"
)


def fit_of(document: Document, newest: str) -> Fit:
    """The releases that a file may be for: by the copy of verl that lies beside it, and by its keys."""
    every = known = releases("verl", newest)
    copy = _copy(document)
    if copy:
        switched = SWITCH in copy or "\ndefaults:" in copy
        known = tuple(release for release in every if (release.order > order(LAST)) == switched)
    return fitting(document.values, known, every)


def _copy(document: Document) -> str:
    """The text of the nearest copy of verl's defaults; "" where there is none."""
    if not document.path or not document.suffix:
        return ""
    folders = Path(document.path).resolve().parents[: MAX_UP + 1]
    return next(texts(folder / name for folder in folders for name in COPIES), "")


def penalty(reader: Reader, estimators: dict[str, str]) -> Penalty | None:
    """The penalty in the loss, or else the one in the reward, which is on by default."""
    if reader.flag("actor_rollout_ref.actor.use_kl_loss", False):
        kind = reader.name("actor_rollout_ref.actor.kl_loss_type", "low_var_kl")
        coefficient, place = reader.number("actor_rollout_ref.actor.kl_loss_coef", 1e-3), "loss"
    else:
        kind = reader.name("algorithm.kl_penalty", "kl")
        coefficient, place = reader.number(COEFFICIENT, 1e-3), "reward"
    return Penalty(coefficient, estimators.get(kind, ""), place) if coefficient else None


def clip(reader: Reader) -> Clip:
    """The one range of the ratio; a copy that was given two bounds has them under the names of later releases."""
    shared = reader.number("actor_rollout_ref.actor.clip_ratio", 0.2)
    low, high = (reader.number(f"actor_rollout_ref.actor.clip_ratio_{side}", shared) for side in ("low", "high"))
    return Clip(low, high)


def open_penalty(reader: Reader, fit: Fit) -> tuple[Unresolved, ...]:
    """That a coefficient means one thing in older releases and another in newer ones, where both fit."""
    value = reader.number(COEFFICIENT, None)
    in_loss = reader.flag("actor_rollout_ref.actor.use_kl_loss", False)
    if not value or in_loss or not fit.ever(LAST) or reader.given(f"algorithm.{SWITCH}"):
        return ()
    return (Unresolved(COEFFICIENT, BY_RELEASE, "no penalty in the reward"),)
