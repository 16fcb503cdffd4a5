"""verl 0.9.1: its Hydra file, from ours.

A step of verl's trainer is a window here: it draws ``data.train_batch_size`` prompts by one policy and takes
``lag.sync_every`` optimizer steps on them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from pessimism.trainers.tokens import refuse_coupled, usual_aggregation

from ..config import Config
from .rewards import PLAIN, TEST, TRAIN
from .said import (
    LAUNCH,
    REWARDS,
    ROOT,
    Exported,
    Machines,
    Settings,
    common_files,
    header,
    launcher,
    left_out,
    loggers,
    objective_settings,
    refuse,
)

TRAINER = "verl"
BASE = ROOT / "examples" / "verl" / "base.yaml"
"""What every objective of the catalogue needs in verl."""

FILE = "verl.yaml"
PRECISIONS = {"float32": "fp32", "bfloat16": "bf16"}
LEFT_OUT = {
    "deterministic": "verl promises no such thing",
    "hardware": "nothing compares it with the machine",
    "model.lora.dropout": "verl's adapters have none",
    "task.judges": "verl judges in reward.num_workers processes",
    "rollout.engine": "verl samples with vLLM",
    "rollout.place": "verl's trainer and vLLM share the GPUs and take turns",
    "rollout.probe_tolerance": "verl does not compare engine and trainer after a sync",
    "rollout.timeout": "verl does not restart a silent engine",
    "rollout.restarts": "verl does not restart a silent engine",
    "rollout.servers": "verl starts its own servers",
    "rollout.weights": "verl hands weights over by itself",
    "lag.max_staleness": "verl's windows have this lag at most by their size",
}
ALWAYS = (
    "The order of prompts and the seeds of samples are verl's own; a window's completions are mixed over its steps.",
    "There is no probe of the engine after a sync, and a run that stops inside a window draws it anew.",
)


def export(config: Config, folder: Path, machines: Machines) -> Exported:
    """verl's files for a configuration.

    Args:
        config: the run.
        folder: where the files will stand.
        machines: that verl is to run on.

    Raises:
        ValueError: what verl cannot say, or the adapter cannot run there.
    """
    _check(config, machines)
    lag, every = config.lag, config.lag.sync_every
    notes = [*ALWAYS, *left_out(config, LEFT_OUT)]
    for key, steps in (("checkpoint_every", config.checkpoint_every), ("evaluation.every", config.evaluation.every)):
        if steps % every:
            notes.append(f"{key} = {steps}: verl stops for it between windows only, every {_windows(steps, every)}.")
    if config.optimizer.warmup_steps:
        notes.append("optimizer.warmup_steps: verl's n-th step, counted from 0, has n / warmup_steps of the rate.")
    options = dict(config.rollout.options)
    share = options.pop("gpu_memory_utilization", None)
    if options and config.rollout.engine != "vllm":
        notes.append(f"rollout.options = {options}: are another engine's.")
        options = {}
    values = yaml.safe_load(BASE.read_text("utf-8"))
    base = {"hydra": {"searchpath": ["pkg://verl.trainer.config"]}, **values}
    own = _settings(config, folder, machines)
    if share is not None:
        own["actor_rollout_ref"]["rollout"]["gpu_memory_utilization"] = share
    if options:
        own["actor_rollout_ref"]["rollout"]["engine_kwargs"] = {"vllm": options}
    text = yaml.safe_dump(_merged(base, own), sort_keys=False, width=120)
    files = common_files(config) | {
        FILE: header(config, "verl 0.9.1", notes) + f"# {lag.batches} batches of {config.rollout.prompts} prompts are "
        f"drawn by one policy, and {every} steps taken on them.\n\n{text}",
        LAUNCH: launcher(
            config,
            f'longest="$(python "$here/{REWARDS}" "$here/data" | tail -n 1)"',
            'exec python -m verl.trainer.main_ppo --config-path "$here" --config-name verl \\',
            '  data.max_prompt_length="$longest" "$@"',
        ),
    }
    return Exported(files, tuple(notes))


def _windows(steps: int, every: int) -> str:
    return f"{max(1, round(steps / every)) * every} steps"


def _check(config: Config, machines: Machines) -> None:
    task, rollout, lag, optimizer = config.task, config.rollout, config.lag, config.optimizer
    refuse_coupled(config.objective.make(), TRAINER)
    samples, lora = rollout.prompts * rollout.group_size, config.model.lora
    refuse(
        TRAINER,
        {
            f"steps = {config.steps} with lag.sync_every = {lag.sync_every}: it takes whole windows": config.steps
            % lag.sync_every
            != 0,
            f"lag.epochs = {lag.epochs} with lag.sync_every = {lag.sync_every}: it passes over a whole window as often "
            "each time": lag.sync_every % lag.epochs != 0,
            f"task.cut_off = {task.cut_off!r}: its reward sees the text only": task.cut_off != "judged",
            f"task.soft_limit = {task.soft_limit}: its reward sees the text only": task.soft_limit > 0,
            f"task.equal_groups = {task.equal_groups!r}: its trainer keeps all groups": task.equal_groups != "kept",
            f"optimizer.moments = {optimizer.moments!r}: AdamW's are float32 there": optimizer.moments != "float32",
            f"optimizer.warmup_steps = {optimizer.warmup_steps} with lag.sync_every = {lag.sync_every}: it changes the "
            "rate once in a window": optimizer.warmup_steps > 0 and lag.sync_every > 1,
            f"model.lora.dropout = {lora and lora.dropout}: its adapters have none": lora is not None
            and lora.dropout > 0,
            f"rollout.prompts = {rollout.prompts} with rollout.group_size = {rollout.group_size} on {machines.ranks} "
            "GPUs: they do not share a step's samples evenly": samples % machines.ranks != 0,
        },
    )


def _settings(config: Config, folder: Path, machines: Machines) -> Settings:
    """Ours, by verl's keys."""
    model, rollout, lag, optimizer, evaluation = (
        config.model,
        config.rollout,
        config.lag,
        config.optimizer,
        config.evaluation,
    )
    precision = PRECISIONS[model.dtype]
    adapters: Settings = {}
    if model.lora is not None:
        targets = model.lora.targets if isinstance(model.lora.targets, str) else list(model.lora.targets)
        adapters = {"lora_rank": model.lora.rank, "lora_alpha": model.lora.alpha, "target_modules": targets}
    track = loggers(config)
    project = next((name for name in track.values() if name), None)
    return {
        "algorithm": {"objective": objective_settings(config)},
        "actor_rollout_ref": {
            "model": {
                "path": model.path,
                "custom_chat_template": PLAIN,
                "enable_gradient_checkpointing": model.gradient_checkpointing,
                **adapters,
            },
            "actor": {
                "strategy": "fsdp2",
                "loss_agg_mode": usual_aggregation(config.objective.make()),
                "use_torch_compile": model.compile,
                "ppo_mini_batch_size": rollout.prompts,
                "ppo_epochs": lag.epochs,
                "ppo_max_token_len_per_gpu": optimizer.tokens_per_pass,
                "fsdp_config": {
                    "strategy": "fsdp2",
                    "use_torch_compile": model.compile,
                    "seed": config.seed,
                    "mixed_precision": {"param_dtype": precision, "reduce_dtype": "fp32", "buffer_dtype": "fp32"},
                },
                "optim": {
                    "lr": optimizer.learning_rate,
                    "betas": list(optimizer.betas),
                    "weight_decay": optimizer.weight_decay,
                    "clip_grad": optimizer.clip_norm,
                    "lr_warmup_steps": optimizer.warmup_steps,
                    "lr_scheduler_type": "constant",
                    "override_optimizer_config": {"eps": optimizer.epsilon},
                },
            },
            "rollout": {
                "n": rollout.group_size,
                "temperature": rollout.temperature,
                "dtype": model.dtype,
                "seed": config.seed,
                "tensor_model_parallel_size": 1,
                "log_prob_use_dynamic_bsz": True,
                "val_kwargs": {
                    "n": evaluation.samples,
                    "do_sample": True,
                    "temperature": rollout.temperature,
                    "top_p": 1.0,
                    "top_k": -1,
                },
            },
        },
        "data": {
            "train_files": str(folder / "data" / TRAIN),
            "val_files": str(folder / "data" / TEST),
            "train_batch_size": rollout.prompts * lag.batches,
            "max_response_length": rollout.max_tokens,
            "val_max_samples": evaluation.prompts,
            "seed": config.seed,
        },
        "reward": {"custom_reward_function": {"path": str(folder / REWARDS), "name": "compute_score"}},
        "trainer": {
            "n_gpus_per_node": machines.gpus,
            "nnodes": machines.nodes,
            "total_training_steps": config.steps // lag.sync_every,
            "total_epochs": 1_000_000,
            "save_freq": max(1, round(config.checkpoint_every / lag.sync_every)),
            "test_freq": max(1, round(evaluation.every / lag.sync_every)) if evaluation.every else -1,
            "val_before_train": evaluation.before and evaluation.every > 0,
            "experiment_name": config.name,
            "logger": ["console", *track],
            **({"project_name": project} if project else {}),
        },
        "ray_kwargs": {"ray_init": {"runtime_env": {"env_vars": {"PYTHONPATH": str(ROOT)}}}},
    }


def _merged(base: Settings, own: Settings) -> Settings:
    """Nested tables, one upon the other."""

    def one(key: str) -> Any:
        old, new = base.get(key), own.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            return _merged(old, new)
        return new if key in own else old

    return {key: one(key) for key in [*base, *(key for key in own if key not in base)]}
