"""prime-rl before 0.6.0: its keys, and its default losses, which were others.

Read from prime-rl at its tags v0.3.0 to v0.5.0 and at commits 7e2f027 (October 2025), 02bdca2 (March 2026) and ff4b125
(April 2026), ``trainer/rl/loss.py``. Up to March 2026 the default loss weighed tokens by their ratio to the sampler and
left out those whose ratio was outside a range; then came IPO's mask on pi - mu, and in 0.6.0 DPPO's.
"""

from __future__ import annotations

from ...baseline import Baseline
from ..document import Document
from ..reader import Reader
from ..settings import Objective, objective, unknown

ORCHESTRATOR = ("env", "sampling", "buffer", "rollouts_per_example")
"""Keys that stood right below the orchestrator before 0.6.0."""

RATIO_MASKS = (("token_mask_low", "token_mask_high"), ("mask_ratio_low", "mask_ratio_high"))
"""The range's bounds by their name of 0.3.0 and 0.4.0, and by that before."""

OF_COMPLETIONS = ("ratio_type", "geo_mask_low", "geo_mask_high", "sequence_mask_low", "sequence_mask_ratio_low")
NEWER = ("dppo_mask_low", "dppo_mask_high", "ipo_threshold")
IPO = ("ipo_mask_low", "ipo_mask_high")


def is_older(document: Document, orchestrator: str) -> bool:
    """Whether a file is for a release before 0.6.0, by where the orchestrator's settings stand."""
    old = sum(document.has(f"{orchestrator}{key}") for key in ORCHESTRATOR)
    newer = any(document.has(f"{orchestrator}{key}") for key in ("train", "group_size", "algo"))
    return old > 1 and not newer


def objective_of(
    reader: Reader, loss: str, section: str, remarks: tuple[str, ...], baseline: Baseline | None
) -> Objective:
    """The objective that the file's loss has in the releases that it may be for."""
    given = {name: f"{section}.{name}" for name in (*NEWER, *IPO) if reader.given(f"{section}.{name}")}
    masks = next((pair for pair in RATIO_MASKS if any(reader.given(f"{section}.{name}") for name in pair)), None)
    if any(reader.given(f"{section}.{name}") for name in OF_COMPLETIONS):
        return unknown(loss, "a mask or a ratio of completions, as prime-rl had them before 0.5.0, is not read")
    if masks is None and given.keys() & set(IPO):
        bounds = [reader.number(f"{section}.{name}", 0.2) for name in IPO]
        if bounds[0] != bounds[1]:
            return unknown(loss, "IPO's mask with two bounds is not in the catalogue")
        tau = reader.number(f"{section}.kl_tau", 1e-3)
        return objective(loss, "prime_rl.ipo", baseline, "token", remarks, threshold=bounds[0], tau=tau)
    if masks is None:
        return unknown(
            loss,
            "the file is for prime-rl before 0.6.0, whose default loss changed: a mask on ratios outside [0.125, 8] "
            "from October 2025 on, IPO's mask from March 2026, DPPO's from April; name the loss's bounds in the file",
        )
    low, high = (reader.number(f"{section}.{name}", value) for name, value in zip(masks, (0.125, 8.0), strict=True))
    if reader.number(f"{section}.kl_tau", 0.0):
        return unknown(loss, "prime-rl's mask on the ratio with its KL term is not in the catalogue")
    return objective(loss, "verl.icepop", baseline, "token", remarks, low=low, high=high)
