"""Whole training steps against TRL's, as a ratio. `python -m benchmarks.bench_llm_run`.

Sampling with transformers, judging, update and optimizer: GRPO on the same model, prompts, group size and length, one
thread, processor time per step, the fastest of each. The model hardly ever ends a completion before its limit, so both
sides sample and train on completions of equal length.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from benchmarks.bench_targets import show
from llm import tasks
from llm.config import Config
from llm.run.train import opened, train
from llm.run.watch import Watcher
from llm.show.output import quiet_libraries
from llm.tasks import Task
from llm.update.models import build_model, build_tokenizer

PROBLEMS, PROMPTS, SIZE = 4, 8, 8
TOKENS = 67  # of an answer to four problems
STEPS = 8
TASK: dict[str, Any] = {"name": "countdown24", "options": {"problems": PROBLEMS, "size": 2000}}


class Clock:
    """Processor time between steps."""

    def __init__(self) -> None:
        self._marks = [time.process_time()]

    def update(self, step: int, numbers: Mapping[str, float], timing: Mapping[str, float]) -> None:
        """A step has ended."""
        self._marks.append(time.process_time())

    @property
    def fastest(self) -> float:
        """Seconds of the fastest step; the first also loads and compiles what is used first."""
        return min(later - earlier for earlier, later in zip(self._marks[1:], self._marks[2:], strict=False))


def make_model(folder: Path, task: Task) -> None:
    """A random model that mostly repeats itself; the end, whose logit is always 0, is hardly ever drawn."""
    assert task.symbols is not None
    tokenizer = build_tokenizer(task.symbols)
    model = build_model(tokenizer, width=128, layers=4, heads=4)
    with torch.no_grad():
        embedding = model.model.embed_tokens.weight
        embedding *= 4
        embedding[tokenizer.eos_token_id] = 0  # type: ignore[index]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def ours(model: Path, folder: Path) -> float:
    """Seconds of one of our steps."""
    config = Config.model_validate(
        {
            "name": "bench",
            "steps": STEPS,
            "checkpoint_every": 10 * STEPS,
            "model": {"path": str(model)},
            "task": TASK,
            "objective": {"algorithm": "grpo"},
            "rollout": {
                "engine": "transformers",
                "place": "colocated",
                "prompts": PROMPTS,
                "group_size": SIZE,
                "max_tokens": TOKENS,
            },
            "evaluation": {"every": 0},
        }
    )
    clock = Clock()
    with opened(folder), Watcher(folder, clock) as watcher:
        train(config, folder, watcher)
    return clock.fastest


def trl(model: Path, folder: Path, task: Task) -> float:
    """Seconds of one of TRL's steps."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about vLLM's version
        from datasets import Dataset
        from transformers import AutoTokenizer, TrainerCallback
        from trl.trainer.grpo_config import GRPOConfig
        from trl.trainer.grpo_trainer import GRPOTrainer

        clock = Clock()

        class Marks(TrainerCallback):
            def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
                clock.update(state.global_step, {}, {})

        asked = {prompt.text: prompt for prompt in task.train}
        config = GRPOConfig(
            output_dir=str(folder),
            per_device_train_batch_size=PROMPTS * SIZE,
            num_generations=SIZE,
            max_completion_length=TOKENS,
            max_steps=STEPS,
            learning_rate=1e-6,
            bf16=False,
            gradient_checkpointing=False,
            use_cpu=True,
            report_to=[],
            save_strategy="no",
            logging_strategy="no",
            disable_tqdm=True,
            model_init_kwargs={"dtype": "float32"},
        )
        trainer = GRPOTrainer(
            model=str(model),
            reward_funcs=lambda prompts, completions, **_: [
                task.reward(asked[prompt], completion) for prompt, completion in zip(prompts, completions, strict=True)
            ],
            args=config,
            train_dataset=Dataset.from_list([{"prompt": prompt.text} for prompt in task.train]),
            processing_class=AutoTokenizer.from_pretrained(model),
            callbacks=[Marks()],
        )
        trainer.train()
    return clock.fastest


def main() -> None:
    """Print the ratio."""
    torch.set_num_threads(1)
    quiet_libraries()
    task = tasks.load(TASK["name"], TASK["options"])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_model(folder / "model", task)
        found: dict[str, list[float]] = {"ours": [], "TRL": []}
        for number in range(3):  # interleaved: neighbors on the machine come and go
            found["ours"].append(ours(folder / "model", folder / f"ours-{number}"))
            found["TRL"].append(trl(folder / "model", folder / f"trl-{number}", task))
    ratio = min(found["ours"]) / min(found["TRL"])
    show([(f"whole step / TRL's, {PROMPTS} x {SIZE} completions of {TOKENS} tokens", f"{ratio:.3f}", "<= 1.0")])


if __name__ == "__main__":
    main()
