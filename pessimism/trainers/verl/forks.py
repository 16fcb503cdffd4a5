"""What verl's forks and recipes, and verl's other programs, write where the trainer has something else."""

from __future__ import annotations

from ..reader import Reader, Unresolved

ROLLOUT = "actor_rollout_ref.rollout"
ACTOR = "actor_rollout_ref.actor"
OWN_LOSSES = (
    ("spin", "dpo_beta", "SPIN's, DPO on pairs of the policy's own samples"),
    ("sppo", "sppo_eta", "SPPO's, a square of the log-ratio minus the advantage"),
)
"""Recipe, a key of its actor, and what its loss is."""

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


def ragen_batch(reader: Reader) -> float:
    """RAGEN's trajectories in a batch: its groups of environments, times their size, times the share that is kept."""
    groups = reader.integer("es_manager.train.env_groups", 1, 1) * reader.integer("es_manager.train.group_size", 1, 1)
    return groups * reader.number(f"{ROLLOUT}.rollout_filter_ratio", 1.0)


def group_key(reader: Reader) -> str:
    """The key that sets it."""
    return next((key for key in GROUP_SIZES if reader.given(key)), f"{ROLLOUT}.n")


def is_prime(reader: Reader) -> bool:
    """Whether it is a recipe of PRIME, whose estimator has the name of another (rloo)."""
    started = reader.document.entry.removesuffix(".py").endswith("main_prime")
    trained = reader.given("reward_model.model.beta_train") or reader.given("reward_model.model.update")
    return (
        started or trained or "prime" in (reader.raw("reward_model.rm_type"), reader.raw("reward_model.model.rm_type"))
    )


def own_loss(reader: Reader) -> str:
    """The loss of a recipe that has one of its own, in words; "" of all others."""
    entry = reader.document.entry.removesuffix(".py")
    return next(
        (words for name, key, words in OWN_LOSSES if entry.endswith(f"main_{name}") or reader.given(f"{ACTOR}.{key}")),
        "",
    )


def open_defaults(reader: Reader) -> tuple[Unresolved, ...]:
    """What a program that is not verl's own may have other defaults for, where the command leaves it out."""
    entry = reader.document.entry.removesuffix(".py").replace("/", ".")
    if not entry or "." not in entry or entry.startswith("verl."):
        return ()
    why = f"{entry} is a program of its own, whose defaults may be others than verl's"
    named = (("algorithm.adv_estimator", "gae"), (f"{ROLLOUT}.n", 1))
    return tuple(Unresolved(key, why, value) for key, value in named if not reader.given(key))


def program(reader: Reader) -> str:
    """What one of verl's programs does that train on no reward; "" for its trainers."""
    entry = reader.document.entry.removesuffix(".py").replace("/", ".")
    words = entry.rpartition(".")[2].split("_")
    if entry.startswith("verl.model_merger"):
        return OTHER_PROGRAMS["merger"]
    return next((what for word, what in OTHER_PROGRAMS.items() if word in words), "")
