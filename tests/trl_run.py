"""A short run of the TRL adapter on a tiny model made here, whose reward is how many sevens it writes.

As a program, ``python tests/trl_run.py FOLDER``, the completions come from vLLM, and what the tests ask is printed as
JSON: vLLM changes a process for good, so it has one of its own.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from datasets import Dataset

from llm.update.models import build_model, build_tokenizer

SETTINGS: dict[str, Any] = {
    "bf16": False,
    "use_cpu": True,
    "per_device_train_batch_size": 32,
    "num_generations": 8,
    "max_completion_length": 8,
    "learning_rate": 3e-3,
    "logging_steps": 1,
    "report_to": [],
    "save_strategy": "no",
    "seed": 0,
}


def sevens(completions: list[str], **_: Any) -> list[float]:
    """Reward: the share of eight characters that are sevens."""
    return [text.count("7") / 8 for text in completions]


def make_trainer(folder: Path, **settings: Any) -> Any:
    """A trainer of a model that starts at random."""
    from pessimism.trainers.trl.adapter import Config, Trainer

    tokenizer = build_tokenizer("0123456789 ")
    for part in (build_model(tokenizer, width=64, layers=2, heads=2), tokenizer):
        part.save_pretrained(folder / "model")
    prompts = Dataset.from_dict({"prompt": [f"{first} {second} " for first in range(10) for second in range(10)]})
    return Trainer(
        str(folder / "model"),
        sevens,
        args=Config(output_dir=str(folder / "out"), **SETTINGS | settings),
        train_dataset=prompts,
        processing_class=tokenizer,
    )


def make_plain(folder: Path, **settings: Any) -> Any:
    """TRL's own GRPOTrainer on the same model and prompts."""
    from trl.trainer.grpo_config import GRPOConfig
    from trl.trainer.grpo_trainer import GRPOTrainer

    reward: Any = sevens
    tokenizer = build_tokenizer("0123456789 ")
    for part in (build_model(tokenizer, width=64, layers=2, heads=2), tokenizer):
        part.save_pretrained(folder / "model")
    return GRPOTrainer(
        str(folder / "model"),
        reward,
        args=GRPOConfig(output_dir=str(folder / "out"), **SETTINGS | settings),
        train_dataset=Dataset.from_dict({"prompt": [f"{first} {first} " for first in range(10)] * 8}),
        processing_class=tokenizer,
    )


def logged(trainer: Any, name: str) -> list[float]:
    """What a trainer logged under that name, step by step."""
    return [entry[name] for entry in trainer.state.log_history if name in entry]


def with_vllm(folder: Path) -> dict[str, Any]:
    """The run with vLLM in the trainer's process."""
    trainer = make_trainer(
        folder,
        objective="oapl",
        objective_parameters={"beta1": 1.0, "beta2": 0.1},
        max_steps=24,
        steps_per_generation=4,
        use_vllm=True,
        vllm_mode="colocate",
        vllm_gpu_memory_utilization=0.12,
        vllm_max_model_length=64,
    )
    engine = trainer.vllm_generation

    def sync_weights() -> None:
        # TRL's own way to hand weights over fails in vLLM's build for CPUs, which repacks its parameters.
        weights = iter(trainer.model.state_dict().items())
        engine.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": weights})
        engine.llm.reset_prefix_cache()

    engine.sync_weights = sync_weights
    trainer.train()
    return {
        "log_ratio": logged(trainer, "pessimism/log_ratio"),
        "reward": logged(trainer, "reward"),
        "left_out": logged(trainer, "pessimism/left_out"),
    }


if __name__ == "__main__":
    facts = with_vllm(Path(sys.argv[1]))
    print(json.dumps(facts))
