"""prime-rl 0.8.0: the files of its trainer and its orchestrator, from ours.

prime-rl hands weights to its sampler after every step and bounds the age of samples only: a lag cannot be said. Its
problems come from environments of its own kind, which are not written here.
"""

from __future__ import annotations

from pathlib import Path
from pprint import pformat

from pessimism.trainers.tokens import refuse_coupled

from ..config import Config, Optimizer, toml_lines
from .said import (
    Exported,
    Machines,
    Settings,
    common_files,
    header,
    left_out,
    objective_settings,
    refuse,
    target_modules,
)

TRAINER = "prime-rl"
FILE, ORCHESTRATOR, PROGRAM = "trainer.toml", "orchestrator.toml", "orchestrator.py"
LEFT_OUT = {
    "seed": "prime-rl has a seed for its data only",
    "deterministic": "prime-rl promises no such thing",
    "hardware": "nothing compares it with the machine",
    "model.dtype": "prime-rl's own precision is used",
    "model.compile": "set model.compile there",
    "task.judges": "prime-rl's environments judge",
    "rollout.engine": "prime-rl samples with vLLM",
    "rollout.place": "prime-rl's inference runs beside its trainer",
    "rollout.probe_tolerance": "prime-rl does not compare engine and trainer after a sync",
    "rollout.timeout": "prime-rl has its own",
    "rollout.restarts": "prime-rl has its own",
    "rollout.options": "they belong to the command `inference`",
    "rollout.servers": "they belong to the command `inference`",
    "rollout.weights": "prime-rl hands weights over by itself",
    "lag.max_staleness": "max_off_policy_steps is 0",
    "optimizer.tokens_per_pass": "a pass has model.seq_len tokens",
    "watch": "prime-rl's own trackers are set there",
}
ALWAYS = (
    "The environment is not written: add [[train.source]] with one that asks rewards.py's problems and is worth its "
    "rewards.",
    "prime-rl divides an update by its number of tokens, not of completions, which changes its scale.",
    "The order of prompts and the seeds of samples are prime-rl's own; there is no probe after a sync.",
)


def export(config: Config, folder: Path, machines: Machines) -> Exported:
    """prime-rl's files for a configuration.

    Args:
        config: the run.
        folder: where the files will stand.
        machines: unused: prime-rl's commands say where they run.

    Raises:
        ValueError: what prime-rl cannot say, or the adapter cannot run there.
    """
    _check(config)
    notes = (*ALWAYS, *left_out(config, LEFT_OUT))
    settings = objective_settings(config)
    program = f'''"""prime-rl's orchestrator with the objective's advantages: python {PROGRAM} @ {ORCHESTRATOR}."""

from prime_rl.entrypoints.orchestrator import main
from prime_rl.orchestrator.algo import ALGORITHM_CLASSES

from pessimism.trainers.prime_rl.adapter import algorithm_class

ALGORITHM_CLASSES["grpo"] = algorithm_class({pformat(settings)})

if __name__ == "__main__":
    main()
'''
    head = header(config, "prime-rl 0.8.0", notes)
    files = common_files(config) | {
        FILE: f"{head}\n{toml_lines(_trainer(config))}",
        ORCHESTRATOR: f"{head}\n{toml_lines(_orchestrator(config))}",
        PROGRAM: program,
    }
    return Exported(files, notes)


def _check(config: Config) -> None:
    task, rollout, lag, optimizer = config.task, config.rollout, config.lag, config.optimizer
    refuse_coupled(config.objective.make(), TRAINER)
    epsilon = Optimizer().epsilon
    refuse(
        TRAINER,
        {
            f"lag.sync_every = {lag.sync_every}: it hands over weights after every step and bounds the age of samples "
            "only (lag.sync_every=1 can be said)": lag.sync_every > 1,
            f"task.cut_off = {task.cut_off!r}: its environments judge": task.cut_off != "judged",
            f"task.soft_limit = {task.soft_limit}: its environments judge": task.soft_limit > 0,
            f"task.equal_groups = {task.equal_groups!r}: the files keep all groups": task.equal_groups != "kept",
            f"optimizer.moments = {optimizer.moments!r}: AdamW's are float32 there": optimizer.moments != "float32",
            f"optimizer.epsilon = {optimizer.epsilon:g}: it is {epsilon:g} there": optimizer.epsilon != epsilon,
            f"rollout.group_size = {rollout.group_size}: it needs groups of at least 2": rollout.group_size < 2,
        },
    )


def _trainer(config: Config) -> Settings:
    model, optimizer = config.model, config.optimizer
    described: Settings = {"name": model.path}
    if model.gradient_checkpointing:
        described["ac"] = {"freq": 1}
    if (lora := model.lora) is not None:
        described["lora"] = {
            "rank": lora.rank,
            "alpha": lora.alpha,
            "dropout": lora.dropout,
            "target_modules": target_modules(lora),
        }
    return {
        "max_steps": config.steps,
        "model": described,
        "loss": {
            "type": "custom",
            "import_path": "pessimism.trainers.prime_rl.adapter.loss",
            "kwargs": objective_settings(config),
        },
        "optim": {
            "type": "adamw",
            "lr": optimizer.learning_rate,
            "betas1": optimizer.betas[0],
            "betas2": optimizer.betas[1],
            "weight_decay": optimizer.weight_decay,
            "max_norm": optimizer.clip_norm,
        },
        "scheduler": {"type": "constant", "warmup_steps": optimizer.warmup_steps},
        "ckpt": {"interval": config.checkpoint_every},
    }


def _orchestrator(config: Config) -> Settings:
    rollout, evaluation = config.rollout, config.evaluation
    sampling = {"temperature": rollout.temperature, "max_completion_tokens": rollout.max_tokens}
    evaluated: Settings = {}
    if evaluation.every:
        evaluated = {
            "eval": {
                "interval": evaluation.every,
                "group_size": evaluation.samples,
                "num_examples": evaluation.prompts,
                "skip_first_step": not evaluation.before,
                "sampling": sampling,
            }
        }
    return {
        "max_steps": config.steps,
        "batch_size": rollout.prompts * rollout.group_size,
        "group_size": rollout.group_size,
        "max_off_policy_steps": 0,
        "post_batch_filters": [],
        "model": {"name": config.model.path},
        "algo": {"type": "grpo"},
        "train": {"sampling": sampling},
        **evaluated,
    }
