"""A task's problems and rewards for another trainer, which knows them as rows of a table and as a function.

A problem travels as JSON text, so that its reward is that of ``llm`` itself. Its text, chat template included, is
what the model reads there too: rows hold it as one message, and :data:`PLAIN` writes a message as it is.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import polars

from .. import tasks
from ..config import Config, load
from ..sample.evaluate import choose
from ..samples import Answer, Prompt
from ..tasks.shaping import shaped

PLAIN = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
"""A chat template that adds nothing."""

TRAIN, TEST = "train.parquet", "test.parquet"


@dataclass(frozen=True)
class Problems:
    """The task of a configuration.

    Attributes:
        path: of the configuration's file.
    """

    path: Path

    @cached_property
    def config(self) -> Config:
        """The configuration."""
        return load(self.path)

    @cached_property
    def tokenizer(self) -> Any:
        """Of the model."""
        from transformers import AutoTokenizer

        return AutoTokenizer.from_pretrained(self.config.model.path)

    @cached_property
    def task(self) -> tasks.Task:
        """The task, its prompts written by the model's chat template if it has one."""
        config = self.config
        return tasks.load(config.task.name, config.task.options, self.tokenizer, config.task.judges)

    def rows(self, held_out: bool = False) -> Iterator[dict[str, Any]]:
        """The problems, as verl and TRL read them."""
        count = self.config.evaluation.prompts
        for index, prompt in enumerate(choose(self.task.held_out, count) if held_out else self.task.train):
            yield {
                "data_source": self.task.name,
                "prompt": [{"role": "user", "content": prompt.text}],
                "problem": json.dumps(asdict(prompt)),
                "reward_model": {"style": "rule", "ground_truth": json.dumps(asdict(prompt))},
                "extra_info": {"index": index},
            }

    @cached_property
    def _shaped(self) -> Any:
        return shaped(self.task.reward, self.config.task, self.config.rollout.max_tokens)

    def score(self, problem: str, answer: Answer) -> float:
        """The reward of an answer to a problem that is written as JSON."""
        return float(self._shaped(Prompt(**json.loads(problem)), answer))

    def compute_score(self, data_source: str, solution_str: str, ground_truth: str, **_: Any) -> float:
        """verl's reward function: it knows the answer's text only."""
        return self.score(ground_truth, Answer(solution_str))

    def reward(self, completion_ids: Sequence[Sequence[int]], problem: Sequence[str], **_: Any) -> list[float]:
        """TRL's reward function."""
        from transformers import AutoConfig, GenerationConfig

        from ..sample.rollout import stop_tokens

        described = AutoConfig.from_pretrained(self.config.model.path)
        stop = stop_tokens(GenerationConfig.from_model_config(described), self.tokenizer)
        return [
            self.score(one, Answer(self.tokenizer.decode(ids, skip_special_tokens=True), tuple(ids), ids[-1] in stop))
            for one, ids in zip(problem, completion_ids, strict=True)
        ]


def write_rows(problems: Problems, folder: Path) -> int:
    """Write both parts of a task into a folder; the number of tokens of the longest prompt."""
    folder.mkdir(parents=True, exist_ok=True)
    longest = 0
    for name, held_out in ((TRAIN, False), (TEST, True)):
        rows = list(problems.rows(held_out))
        polars.DataFrame(rows).write_parquet(folder / name)
        texts = [row["prompt"][0]["content"] for row in rows]
        ids = problems.tokenizer(texts, add_special_tokens=False)["input_ids"]
        longest = max(longest, *map(len, ids))
    return longest


def command(problems: Problems) -> None:
    """The command ``python rewards.py DIR`` of an export."""
    print(write_rows(problems, Path(sys.argv[1])))
