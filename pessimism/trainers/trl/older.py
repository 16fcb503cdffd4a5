"""What GRPOConfig was in older releases of TRL: its defaults by release, read from their ``grpo_config.py``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..document import Document
from ..hydra import MAX_UP
from ..reader import Unresolved
from ..releases import Fit, fitting, order, releases, texts

CHANGES: Mapping[str, tuple[tuple[str, Any], ...]] = {
    "beta": (("0.14.0", 0.04), ("0.19.1", 0.0)),
    "temperature": (("0.14.0", 0.9), ("0.18.2", 1.0)),
    "top_k": (("0.14.0", 0), ("0.16.1", 50), ("0.18.2", 0)),
    "loss_type": (("0.14.0", "grpo"), ("0.16.1", "bnpo"), ("0.22.2", "dapo")),
    "vllm_importance_sampling_correction": (("0.14.0", False), ("0.23.1", True)),
    "vllm_importance_sampling_mode": (("0.14.0", "token_truncate"), ("0.26.2", "sequence_mask")),
    "vllm_importance_sampling_cap": (("0.14.0", 2.0), ("0.26.2", 3.0)),
}
"""A key -> from which release on it has which default. Before 0.17 there was no ``loss_type``, and the loss was
averaged as the value here names it; before 0.23 there was no correction for vLLM."""

UNCLIPPED = "0.15.2"
"""The last release without a clip, as every batch was used for one step, where the ratio is 1; it also took
log-probabilities at temperature 1, whatever the samples were drawn at."""

VLLM = "vllm_importance_sampling_"


PINS = ("requirements.txt", "setup.py", "pyproject.toml", "setup.sh")
"""Files of a repository that say which release of TRL it installs."""

PIN = re.compile(r"\btrl(?:\[[\w, -]*\])?\s*==\s*['\"]?(\d+\.\d+(?:\.\d+)?)")


def fit_of(document: Document, newest: str) -> Fit:
    """The releases that a file for GRPOConfig may be for: the one that its repository installs, or by its keys."""
    known = releases("trl", newest)
    pinned = _pinned(document)
    before = [release for release in known if pinned and release.order <= order(pinned)]
    return fitting(document.values, tuple(before[-1:]) or known, known)


def _pinned(document: Document) -> str:
    """The release that the nearest file above asks for; "" where none does."""
    if not document.suffix or not Path(document.path).is_file():
        return ""
    folders = Path(document.path).resolve().parents[: MAX_UP + 1]
    inside = next((place for place, folder in enumerate(folders) if (folder / ".git").exists()), -1)
    for place, folder in enumerate(folders):
        beside = sorted(folder.glob("*/setup.py"))[:MAX_BESIDE] if place <= inside else []
        for text in texts((*(folder / name for name in PINS), *beside)):
            found = PIN.search(text)
            if found:
                return found[1]
    return ""


MAX_BESIDE = 20
"""How many packages of a repository, beside the file's folder or one above it, are looked at."""


def defaults(fit: Fit) -> dict[str, Any]:
    """The defaults of the release that a file is read as, where they are not those of the newest."""
    return {} if fit.newest else {key: _default(key, fit.read_as) for key in CHANGES}


def _default(key: str, number: str) -> Any:
    return [value for since, value in CHANGES[key] if order(since) <= order(number)][-1]


def open_defaults(document: Document, fit: Fit) -> tuple[Unresolved, ...]:
    """Keys that the file leaves out, and whose defaults differ among the releases that it may be for."""
    if fit.newest:
        return ()
    found = []
    for key in CHANGES:
        relevant = not key.startswith(VLLM) or (
            key != f"{VLLM}cap" and str(document.values.get("use_vllm")).lower() == "true"
        )
        named = {_default(key, release.number) for release in fit.releases}
        if len(named) > 1 and relevant and key != "loss_type" and not document.has(key):
            why = "; ".join(f"{value} from trl {since} on" for since, value in CHANGES[key])
            found.append(Unresolved(key, f"its default depends on the release ({why})", _default(key, fit.read_as)))
    return tuple(found)


def one_average(document: Document, fit: Fit) -> bool:
    """Whether it can be told how tokens are averaged: the default of ``loss_type`` changed."""
    return (
        fit.newest or document.has("loss_type") or len({_default("loss_type", one.number) for one in fit.releases}) < 2
    )
