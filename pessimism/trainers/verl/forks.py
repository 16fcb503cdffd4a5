"""What verl's forks and recipes, and verl's other programs, write where the trainer has something else."""

from __future__ import annotations

from ..reader import Reader

ROLLOUT = "actor_rollout_ref.rollout"
GROUP_SIZES = (f"{ROLLOUT}.n_agent", "env.rollout.n", "data.n_samples", "es_manager.train.group_size")
"""Keys by which forks repeat every prompt, on top of verl's own: Search-R1, verl-agent, SimpleVLA-RL, RAGEN."""

OTHER_PROGRAMS = {
    "generation": "completions are generated only",
    "eval": "completions are judged only",
    "sft": "supervised fine-tuning",
    "merger": "weights are converted only",
}
"""Words in the names of verl's programs that train on no reward, and have keys of their own -> what they do."""


def group_size(reader: Reader) -> int:
    """Completions of a prompt: verl's own number times that of a fork."""
    size: int = reader.integer(f"{ROLLOUT}.n", 1, 1)
    for key in GROUP_SIZES:
        size *= reader.integer(key, 1, 1)
    return size


def group_key(reader: Reader) -> str:
    """The key that sets it."""
    return next((key for key in GROUP_SIZES if reader.given(key)), f"{ROLLOUT}.n")


def is_prime(reader: Reader) -> bool:
    """Whether it is a recipe of PRIME, whose estimator has the name of another (rloo)."""
    started = reader.document.entry.removesuffix(".py").endswith("main_prime")
    return started or "prime" in (reader.raw("reward_model.rm_type"), reader.raw("reward_model.model.rm_type"))


def program(reader: Reader) -> str:
    """What one of verl's programs does that train on no reward; "" for its trainers."""
    entry = reader.document.entry.removesuffix(".py").replace("/", ".")
    words = entry.rpartition(".")[2].split("_")
    if entry.startswith("verl.model_merger"):
        return OTHER_PROGRAMS["merger"]
    return next((what for word, what in OTHER_PROGRAMS.items() if word in words), "")
