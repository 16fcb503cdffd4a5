"""TRL 1.16: the YAML of our adapter's ``Config`` and a program that trains by it, from ours.

``steps_per_generation`` passes are made on what one policy sampled, ``gradient_accumulation_steps`` of them for an
optimizer step; ``num_iterations`` is how often.
"""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from pessimism.trainers.tokens import usual_aggregation

from ..config import Config
from .said import (
    LAUNCH,
    Exported,
    Machines,
    Settings,
    common_files,
    header,
    launcher,
    left_out,
    loggers,
    refuse,
    target_modules,
)

TRAINER = "TRL"
FILE, PROGRAM = "trl.yaml", "train.py"
LEFT_OUT = {
    "deterministic": "TRL promises no such thing",
    "hardware": "nothing compares it with the machine",
    "task.judges": "TRL calls the reward function in its training loop",
    "rollout.probe_tolerance": "TRL does not compare engine and trainer after a sync",
    "rollout.timeout": "TRL does not restart a silent engine",
    "rollout.restarts": "TRL does not restart a silent engine",
    "rollout.place": "TRL samples and trains in turns, on the same GPUs",
    "rollout.servers": "TRL's servers are its own (trl vllm-serve), and are set by vllm_mode: server",
    "rollout.weights": "TRL hands weights over by itself",
    "lag.max_staleness": "what one policy sampled has this lag at most by its size",
}
ALWAYS = (
    "The order of prompts and the seeds of samples are TRL's own; completions are mixed over the steps on them.",
    "There is no probe of the engine after a sync, and a run that stops inside a window draws it anew.",
)
PLAIN_OPTIONS = {
    "gpu_memory_utilization": "vllm_gpu_memory_utilization",
    "tensor_parallel_size": "vllm_tensor_parallel_size",
    "max_model_len": "vllm_max_model_length",
}
"""vLLM's options that TRL has a setting for."""


def export(config: Config, folder: Path, machines: Machines) -> Exported:
    """TRL's files for a configuration.

    Args:
        config: the run.
        folder: where the files will stand.
        machines: that TRL is to run on.

    Raises:
        ValueError: what TRL cannot say, or the adapter cannot run there.
    """
    size = _per_pass(config, machines)
    _check(config, machines, size)
    notes = [*ALWAYS, *left_out(config, LEFT_OUT)]
    if config.optimizer.warmup_steps:
        notes.append("optimizer.warmup_steps: TRL's n-th step, counted from 0, has n / warmup_steps of the rate.")
    if config.optimizer.weight_decay:
        notes.append("optimizer.weight_decay: Transformers' trainer leaves biases and norms out of it.")
    options = dict(config.rollout.options)
    theirs = {key: options.pop(name) for name, key in PLAIN_OPTIONS.items() if name in options}
    if config.rollout.engine != "vllm":
        theirs, options = {}, dict(config.rollout.options)
    if options:
        notes.append(f"rollout.options = {json.dumps(options)}: TRL has no setting for them.")
    values = _settings(config, folder, machines, size) | theirs
    files = common_files(config) | {
        FILE: header(config, "TRL 1.16", notes) + "\n" + yaml.safe_dump(values, sort_keys=False, width=120),
        PROGRAM: _program(config),
        LAUNCH: launcher(
            config,
            f"exec accelerate launch --num_processes {machines.ranks} --num_machines {machines.nodes} \\",
            f'  "$here/{PROGRAM}" --config "$here/{FILE}" "$@"',
        ),
    }
    return Exported(files, tuple(notes))


def _per_pass(config: Config, machines: Machines) -> int:
    """Completions of a pass on one GPU: as many as fit ``optimizer.tokens_per_pass`` and divide its share of a step;
    whole groups, all of them, where the objective compares them."""
    rollout = config.rollout
    share = max(1, rollout.prompts * rollout.group_size // machines.ranks)
    if config.objective.make().coupled:
        return share
    fitting = max(1, config.optimizer.tokens_per_pass // rollout.max_tokens)
    return max(size for size in range(1, share + 1) if share % size == 0 and size <= fitting)


def _check(config: Config, machines: Machines, size: int) -> None:
    task, rollout, lag, optimizer = config.task, config.rollout, config.lag, config.optimizer
    samples, lora = rollout.prompts * rollout.group_size, config.model.lora
    coupled = config.objective.make().coupled
    refuse(
        TRAINER,
        {
            f"lag.epochs = {lag.epochs} with lag.sync_every = {lag.sync_every}: it passes over a whole window as often "
            "each time": lag.sync_every % lag.epochs != 0,
            f"task.cut_off = {task.cut_off!r}: it takes baselines over all completions": task.cut_off == "masked",
            f"task.equal_groups = {task.equal_groups!r}: it keeps all groups": task.equal_groups != "kept",
            f"optimizer.moments = {optimizer.moments!r}: AdamW's are float32 there": optimizer.moments != "float32",
            f"rollout.prompts = {rollout.prompts} with rollout.group_size = {rollout.group_size} on {machines.ranks} "
            "GPUs: they do not share a step's samples evenly": samples % machines.ranks != 0,
            f"rollout.group_size = {rollout.group_size}: it needs groups of at least 2": rollout.group_size < 2,
            f"model.lora.alpha = {lora and lora.alpha}: it takes whole numbers": lora is not None
            and not float(lora.alpha).is_integer(),
            f"objective.algorithm = {config.objective.algorithm!r} with lag.sync_every = {lag.sync_every}: it compares "
            "the completions of a group, which TRL keeps together for one step only": coupled
            and (lag.sync_every > 1 or size % rollout.group_size != 0),
        },
    )


def _settings(config: Config, folder: Path, machines: Machines, size: int) -> Settings:
    """Ours, by the names of the adapter's ``Config`` and of TRL's ``ModelConfig``."""
    rollout, lag, optimizer, evaluation, model = (
        config.rollout,
        config.lag,
        config.optimizer,
        config.evaluation,
        config.model,
    )
    passes = rollout.prompts * rollout.group_size // (machines.ranks * size)
    stored = model.dtype if model.lora is not None else "float32"
    adapters: Settings = {}
    if (lora := model.lora) is not None:
        adapters = {
            "use_peft": True,
            "lora_r": lora.rank,
            "lora_alpha": int(lora.alpha),
            "lora_dropout": lora.dropout,
            "lora_target_modules": target_modules(lora),
        }
    track = loggers(config)
    sampler: Settings = {"use_vllm": False}
    if rollout.engine == "vllm":
        sampler = {"use_vllm": True, "vllm_mode": "colocate"}
    evaluated: Settings = {"eval_strategy": "no"}
    if evaluation.every:
        evaluated = {
            "eval_strategy": "steps",
            "eval_steps": evaluation.every,
            "eval_on_start": evaluation.before,
            "num_generations_eval": evaluation.samples,
            "per_device_eval_batch_size": evaluation.samples,
        }
    return {
        "model_name_or_path": model.path,
        **adapters,
        "objective": config.objective.algorithm,
        "objective_parameters": json.dumps(dict(config.objective.parameters)),
        "aggregation": usual_aggregation(config.objective.make()),
        "output_dir": str(folder / "run"),
        "run_name": config.name,
        "seed": config.seed,
        "max_steps": config.steps,
        "save_steps": config.checkpoint_every,
        "bf16": model.dtype == "bfloat16",
        "model_init_kwargs": json.dumps({"dtype": stored}),
        "torch_compile": model.compile,
        "gradient_checkpointing": model.gradient_checkpointing,
        "num_generations": rollout.group_size,
        "temperature": rollout.temperature,
        "max_completion_length": rollout.max_tokens,
        **sampler,
        "per_device_train_batch_size": size,
        "gradient_accumulation_steps": passes,
        "steps_per_generation": passes * lag.batches,
        "num_iterations": lag.epochs,
        "learning_rate": optimizer.learning_rate,
        "adam_beta1": optimizer.betas[0],
        "adam_beta2": optimizer.betas[1],
        "adam_epsilon": optimizer.epsilon,
        "weight_decay": optimizer.weight_decay,
        "max_grad_norm": optimizer.clip_norm,
        "lr_scheduler_type": "constant_with_warmup" if optimizer.warmup_steps else "constant",
        "warmup_steps": optimizer.warmup_steps,
        **evaluated,
        "logging_steps": 1,
        "report_to": list(track) or "none",
    }


def _program(config: Config) -> str:
    projects = "".join(
        f'os.environ.setdefault("{name.upper()}_PROJECT", {json.dumps(project)})\n'
        for name, project in loggers(config).items()
        if project
    )
    return f'''"""{config.name} in TRL 1.16: accelerate launch train.py --config {FILE}."""

import os

from datasets import Dataset
from transformers import AutoTokenizer
from trl import ModelConfig, TrlParser, get_peft_config

from llm.export.rewards import PLAIN
from pessimism.trainers.trl.adapter import Config, Trainer
from rewards import PROBLEMS

{projects}args, model = TrlParser((Config, ModelConfig)).parse_args_and_config()
tokenizer = AutoTokenizer.from_pretrained(model.model_name_or_path, padding_side="left")
tokenizer.chat_template = PLAIN  # the problems' texts hold the model's own already
Trainer(
    model.model_name_or_path,
    PROBLEMS.reward,
    args=args,
    train_dataset=Dataset.from_list(list(PROBLEMS.rows())),
    eval_dataset=None if args.eval_strategy == "no" else Dataset.from_list(list(PROBLEMS.rows(held_out=True))),
    processing_class=tokenizer,
    peft_config=get_peft_config(model),
).train()
'''
