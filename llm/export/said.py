"""What the exports to all trainers share: what is refused, what is told, and the files beside the trainer's own."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config import Config, Lora, flat, to_toml

ROOT = Path(__file__).resolve().parents[2]
"""Of the checkout: ``llm`` is in no wheel, so other trainers find it by this path."""

CONFIG, REWARDS, LAUNCH = "config.toml", "rewards.py", "launch.sh"

Settings = dict[str, Any]


@dataclass(frozen=True)
class Machines:
    """Where the other trainer is to run.

    Attributes:
        gpus: of each machine.
        nodes: machines.
    """

    gpus: int = 1
    nodes: int = 1

    @property
    def ranks(self) -> int:
        """Processes that train."""
        return self.gpus * self.nodes


@dataclass(frozen=True)
class Exported:
    """The files of an export.

    Attributes:
        files: name in the folder -> text.
        notes: what the trainer does otherwise, or leaves out, one sentence each.
    """

    files: Mapping[str, str]
    notes: tuple[str, ...]


def refuse(trainer: str, problems: Mapping[str, bool]) -> None:
    """Raise a ValueError if anything holds that the trainer cannot say.

    >>> refuse("verl", {"task.soft_limit = 0": False})
    >>> refuse("verl", {"lag.epochs = 3: no": True, "task.soft_limit = 4: no": True})
    Traceback (most recent call last):
        ...
    ValueError: verl cannot say lag.epochs = 3: no; task.soft_limit = 4: no
    """
    if found := [problem for problem, holds in problems.items() if holds]:
        raise ValueError(f"{trainer} cannot say {'; '.join(found)}")


def left_out(config: Config, words: Mapping[str, str]) -> list[str]:
    """A sentence for each setting that is not its default and that a trainer does without.

    Args:
        config: the run.
        words: dotted key, or the table that it stands in -> what becomes of it there.
    """
    default = dict(flat(Config.model_validate(_least(config)).model_dump()))
    found: list[str] = []
    for key, value in flat(config.model_dump()):
        table = next((name for name in words if key == name or key.startswith(f"{name}.")), None)
        if table is not None and value != default.get(key):
            found.append(f"{key} = {value if isinstance(value, str) else json.dumps(value)}: {words[table]}.")
    return found


def _least(config: Config) -> Settings:
    """The smallest configuration of the same objective; what it leaves out has its default."""
    objective = {"algorithm": config.objective.algorithm, "parameters": dict(config.objective.parameters)}
    return {"name": "", "steps": 1, "model": {"path": ""}, "task": {"name": ""}, "objective": objective}


def header(config: Config, trainer: str, notes: Iterable[str], mark: str = "#") -> str:
    """The comment at the head of a trainer's file."""
    task = ", ".join(f"{key} = {json.dumps(value)}" for key, value in flat(config.task.model_dump()))
    lines = [
        f"{config.name} for {trainer}, written by `python -m llm export`: {config.objective.described()}, "
        f"weights synced every {config.lag.sync_every} steps.",
        f"Problems and rewards are those of config.toml, through rewards.py: {task}; "
        f"{config.evaluation.prompts} held-out problems are evaluated on.",
        *notes,
    ]
    return "".join(f"{mark} {line}\n" for line in lines)


def objective_settings(config: Config) -> Settings:
    """The objective as the adapters take it."""
    return {"name": config.objective.algorithm, **config.objective.parameters}


def target_modules(lora: Lora) -> list[str]:
    """The modules that adapters are put on, as a list."""
    return [lora.targets] if isinstance(lora.targets, str) else list(lora.targets)


def loggers(config: Config) -> dict[str, str | None]:
    """Trackers that metrics go to -> project, if it has one."""
    watch = config.watch
    found = {"tensorboard": None} if watch.tensorboard else {}
    return found | {name: project for name in ("wandb", "trackio") if (project := getattr(watch, name)) is not None}


def common_files(config: Config) -> dict[str, str]:
    """The configuration, and the module of its rewards."""
    rewards = f'''"""Problems and rewards of {config.name}, as config.toml beside this file says.

Needs {ROOT} on PYTHONPATH.

    python rewards.py DIR    # writes DIR/train.parquet and DIR/test.parquet; prints the longest prompt in tokens
"""

from pathlib import Path

from llm.export.rewards import Problems, command

PROBLEMS = Problems(Path(__file__).with_name("{CONFIG}"))
compute_score = PROBLEMS.compute_score  # for verl
reward = PROBLEMS.reward  # for TRL

if __name__ == "__main__":
    command(PROBLEMS)
'''
    return {CONFIG: to_toml(config), REWARDS: rewards}


def launcher(config: Config, *commands: str) -> str:
    """A shell script that makes the model if the configuration says how, and then runs some commands."""
    path = config.model.path
    made = "" if config.warmup is None else f'[ -e {path} ] || python -m llm warmup "$here/{CONFIG}"\n'
    return (
        "#!/usr/bin/env bash\n# Further arguments go to the trainer.\nset -euo pipefail\n"
        'here="$(cd "$(dirname "$0")" && pwd)"\n'
        f'export PYTHONPATH="$here:{ROOT}${{PYTHONPATH:+:$PYTHONPATH}}"\n' + made + "\n".join(commands) + "\n"
    )
