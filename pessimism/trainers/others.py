"""Frameworks that are known by name and not read: how their files are told, and which of the readers is nearest."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .document import Document


@dataclass(frozen=True)
class Other:
    """A framework whose files are recognized, and refused.

    Attributes:
        name: as it writes it.
        entry: a pattern of what its commands start.
        keys: sets of keys, all of one of which only its files have.
        read: a key whose files are read all the same; "" for none.
    """

    name: str
    entry: str = r"(?!)"
    keys: tuple[tuple[str, ...], ...] = ()
    read: str = ""


OTHERS = (
    Other("rLLM", r"(?:.*[./])?rllm[./].*", (("rllm",), ("agent", "workflow"), ("tinker_base_url",))),
    Other("ms-swift's commands other than rlhf", r"swift|megatron", read="rlhf_type"),
    Other("AReaL's files without gconfig", r"(?:.*/)?areal.*", (("allocation_mode",),), read="gconfig"),
    Other("ROLL", keys=(("actor_train", "actor_infer"),)),
    Other("Tinker cookbook's other programs", r"tinker_cookbook\.(?!recipes\.|rl\.).*"),
    Other(
        "open-instruct's programs other than grpo.py and grpo_fast.py",
        r"(?:.*/)?open_instruct[./](?!grpo(?:_fast)?(?:\.py)?$).*",
    ),
    Other("oat", r"(?:oat\..*|.*/oat/.*)", (("oracle_type", "pretrain"), ("critic_type", "num_ppo_epochs"))),
    Other("RL2", r"RL2\..*", (("adv.estimator", "rollout"),)),
    Other("Prime Intellect's hosted training", keys=(("model", "env", "rollouts_per_example"),), read="orchestrator"),
    Other("torchforge", keys=(("policy.engine_args", "policy.sampling_params"),)),
    Other("LLaMA-Factory", r"llamafactory(?:-cli)?", (("stage", "finetuning_type"),)),
    Other("TRL's commands other than grpo and rloo", r"trl .*"),
    Other("TRL's trainers of preferences", r"(?:DPO|KTO|CPO|ORPO|NashMD|XPO)Config"),
    Other("TRL's PPO", r"PPOConfig"),
    Other("TRL's supervised fine-tuning", r"SFTConfig"),
)


def framework_of(document: Document) -> str:
    """The name of the framework that a file is for, where it is one that is not read; else "".

    >>> framework_of(Document("run.yaml", {"actor_train": {}, "actor_infer": {}}))
    'ROLL'
    """
    for other in OTHERS:
        named = re.fullmatch(other.entry, document.entry) is not None
        if other.read and document.has(other.read):
            continue
        if named or any(all(document.has(key) for key in keys) for keys in other.keys):
            return other.name
    return ""
