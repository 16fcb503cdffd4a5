"""Reading Axolotl's configuration: ``rl: grpo`` and a section ``trl`` with TRL's own keys.

Read from axolotl at commit 0068191: ``utils/schemas/trl.py``, ``core/trainers/grpo``.
"""

from __future__ import annotations

from dataclasses import replace

from ..document import Document
from ..settings import Settings, unknown
from ..trl.config import read_trl

VERSION = "axolotl 0068191"


def is_axolotl(document: Document) -> bool:
    """Whether it has Axolotl's ``rl`` and a section of TRL's keys."""
    return "rl" in document.values and isinstance(document.values.get("trl"), dict)


def read_axolotl(document: Document) -> Settings:
    """The settings of an Axolotl configuration: those of TRL's GRPO.

    Raises:
        ValueError: there is no section ``trl``.
    """
    if not is_axolotl(document):
        raise ValueError(f"{document.path}: no section trl beside rl; only Axolotl's GRPO is read")
    settings = replace(read_trl(document.section("trl"), "trl-grpo"), trainer="axolotl", version=VERSION)
    kind = document.values["rl"]
    if kind == "grpo":
        return settings
    return replace(settings, objective=unknown(str(kind), f"rl is {kind!r}; only Axolotl's grpo is read"))
