"""Problems of reasoning-gym, any of its data sets by name, judged by its own scorers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from ..config import Part, Positive, Share
from ..samples import Prompt
from .chat import Tokenizer, asked, written
from .final_answers import after_thinking
from .judge import JudgeError, Judges
from .task import Task, is_held_out

CODE = "its scorer runs the answer as code"
REFUSED = {
    "intermediate_integration": CODE,
    "polynomial_multiplication": CODE,
    "simple_integration": CODE,
    "composite": "name the data sets themselves",
    "game_of_life_halting": "its scorer gives full marks to any answer that is not empty",
}


class Options(Part):
    """What may be set."""

    dataset: str = Field(description="as reasoning-gym names it, such as 'countdown' or 'chain_sum'")
    size: Annotated[int, Field(ge=1)] = Field(default=10000, description="problems, held-out ones included")
    seed: Annotated[int, Field(ge=0)] = 0
    config: Mapping[str, Any] = Field(default_factory=dict, description="as the data set takes it")
    held_out: Annotated[Share, Field(gt=0)] = 0.1
    instruction: str = Field(default="", description="follows each problem, after an empty line")
    template: Mapping[str, Any] = Field(default_factory=dict, description="arguments of the tokenizer's chat template")
    limit: Positive = Field(default=5.0, description="processor seconds to judge one answer")


def make(options: Options, tokenizer: Tokenizer | None, judges: int = 1) -> Task:
    """The task.

    Raises:
        ValueError: no such data set, one whose scorer is not safe, or a configuration that it does not take.
    """
    if options.dataset in REFUSED:
        raise ValueError(f"task.options.dataset: {options.dataset} is refused: {REFUSED[options.dataset]}")
    judge = Judges("llm.tasks.reasoning_scorer", judges)
    data = options.model_dump(include={"size", "seed", "config"}) | {"name": options.dataset}
    try:
        questions = judge.call("problems", data)
    except JudgeError as error:
        raise ValueError(f"task.options.dataset: {error}") from None
    first: dict[str, int] = {}
    for index, question in enumerate(questions):
        first.setdefault(question, index)
    train, held_out = [], []
    for question, index in first.items():
        text = written(asked(question, options.instruction), options.template, tokenizer)
        part = held_out if is_held_out(question, options.held_out) else train
        part.append(Prompt(f"{options.dataset}/{index}", text, {"index": index}))
    if not train or not held_out:
        raise ValueError(
            f"task.options: {len(first)} different problems leave {len(train)} to train on and {len(held_out)} held out"
        )

    def reward(prompt: Prompt, text: str) -> float:
        said = after_thinking(prompt.text, text)
        return 0.0 if said is None else judge.score("score", data, prompt.problem["index"], said, options.limit)

    return Task(
        f"reasoning_gym/{options.dataset}",
        tuple(train),
        tuple(held_out),
        reward,
        failures=lambda: dict(judge.failures),
    )
