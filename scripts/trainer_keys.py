"""The keys that the installed trainers take, written where lint looks them up.

python -m scripts.trainer_keys [NAME ...]

verl's and Trinity-RFT's need the environment of tests/peers.txt, TRL's the main one. A key that ends in ``.*`` takes
anything below it.
"""

from __future__ import annotations

import dataclasses
import sys
import typing
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent.parent / "pessimism" / "trainers"
VERL_FILES = (
    "trainer/config/_generated_ppo_trainer.yaml",
    "trainer/config/_generated_ppo_megatron_trainer.yaml",
    "trainer/config/_generated_ppo_torchtitan_trainer.yaml",
    "trainer/config/_generated_ppo_veomni_trainer.yaml",
    "experimental/fully_async_policy/config/fully_async_ppo_trainer.yaml",
    "experimental/one_step_off_policy/config/one_step_off_ppo_trainer.yaml",
)
VERL_CLASSES = {
    "actor_rollout_ref.actor": ("ActorConfig", "FSDPActorConfig", "McoreActorConfig"),
    "actor_rollout_ref.actor.policy_loss": ("PolicyLossConfig",),
    "actor_rollout_ref.rollout": ("RolloutConfig",),
}
TRL_CLASSES = (
    ("trl", "GRPOConfig"),
    ("trl", "RLOOConfig"),
    ("trl", "ScriptArguments"),
    ("trl", "ModelConfig"),
    ("trl.experimental.a2po", "A2POConfig"),
    ("trl.experimental.async_grpo", "AsyncGRPOConfig"),
    ("pessimism.trainers.trl.adapter", "Config"),
)


def main(names: list[str]) -> None:
    """Write the keys of every named trainer."""
    makers: dict[str, Callable[[], set[str]]] = {"verl": verl_keys, "trinity": trinity_keys, "trl": trl_keys}
    for name in names or makers:
        (FOLDER / name / "keys.txt").write_text("\n".join(sorted(makers[name]())) + "\n", "utf-8")


def verl_keys() -> set[str]:
    """verl's keys: those of its complete configurations and of the classes that they become."""
    import yaml
    from verl import __file__ as package  # pyright: ignore[reportMissingImports]

    found = {
        "algorithm.objective.*",
        "actor_rollout_ref.actor.policy_loss.objective.*",
        "ray_kwargs.ray_init.runtime_env.*",
        "hydra.*",
        "defaults.*",
    }  # ours, the environment that Ray takes as it is, and Hydra's
    for name in VERL_FILES:
        text = (Path(package or "").parent / name).read_text("utf-8")
        found.update(
            key for key in of_values(yaml.safe_load(text)) if key.partition(".")[0] not in ("hydra", "defaults")
        )
    config = import_module("verl.workers.config")
    for prefix, classes in VERL_CLASSES.items():
        found.update(f"{prefix}.{key}" for name in classes for key in _of_class(getattr(config, name)))
    return found


def trinity_keys() -> set[str]:
    """Trinity-RFT's keys: the fields of its Config, and of the classes inside it."""
    return set(_of_class(import_module("trinity.common.config").Config))


def trl_keys() -> set[str]:
    """The fields of TRL's configurations, with those of its scripts."""
    classes = (getattr(import_module(module), name) for module, name in TRL_CLASSES)
    return {field.name for made in classes for field in dataclasses.fields(made)}


def of_values(values: Any, prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        key = f"{prefix}{name}"
        if isinstance(value, dict) and value:
            yield from of_values(value, f"{key}.")
        else:
            yield f"{key}.*" if value is None or isinstance(value, (dict, list)) else key


def _of_class(made: Any, prefix: str = "", above: tuple[Any, ...] = ()) -> Iterator[str]:
    hints = typing.get_type_hints(made)
    for field in dataclasses.fields(made):
        key = f"{prefix}{field.name}"
        options = [hints[field.name], *typing.get_args(hints[field.name])]
        inner = next((one for one in options if dataclasses.is_dataclass(one)), None)
        listed = typing.get_origin(hints[field.name]) in (list, dict, tuple)
        if inner is not None and not listed and inner not in above:
            yield from _of_class(inner, f"{key}.", (*above, made))
        else:
            yield key if set(options) <= {int, float, str, bool, type(None)} else f"{key}.*"


if __name__ == "__main__":
    main(sys.argv[1:])
