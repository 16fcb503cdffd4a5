r"""Mathematics problems from data sets, judged by comparing final answers with math-verify.

Rows may be written as any of these data sets writes them; which one is seen from the columns:

============================  ========================================================================
``question``, ``answer``      GSM8K (the answer follows ``####``), AIME 2025, or a plain final answer
``problem``, ``answer``       DeepScaleR, AIME 2025, MATH-500
``problem``, ``solution``     MATH: the answer stands in the last ``\boxed{}``
``prompt``, ``reward_model``  DAPO-Math: chat messages that say how to answer, and a ``ground_truth``
============================  ========================================================================
"""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import polars
from pydantic import Field

from ..config import Count, Part, Positive, Share
from ..samples import Prompt
from .chat import Messages, Tokenizer, asked, written
from .final_answers import after_thinking, final_answer
from .judge import Judges
from .task import Task, is_held_out

PARTS = ("subject", "type", "level")  # columns that name a part, the first one wins


class Source(Part):
    """Where rows come from."""

    data: str = Field(description="a .jsonl or .parquet file, a folder, or a data set of the Hugging Face hub")
    name: str | None = Field(default=None, description="configuration of a data set on the hub, such as 'main'")
    split: str | None = Field(default=None, description="of a data set in several parts; 'train' if left out")
    size: Count | None = Field(default=None, description="use only so many problems, the first ones")


class Options(Part):
    """What may be set."""

    train: Source
    held_out: Source | Annotated[Share, Field(gt=0)] = Field(
        default=0.05, description="another source, or the share of the training rows to hold out"
    )
    instruction: str = Field(
        default="Please reason step by step, and put your final answer within \\boxed{}.",
        description="follows each problem that does not come as chat messages",
    )
    template: Mapping[str, Any] = Field(default_factory=dict, description="arguments of the tokenizer's chat template")
    limit: Positive = Field(default=2.0, description="processor seconds to judge one answer")


def make(options: Options, tokenizer: Tokenizer | None, judges: int = 1) -> Task:
    """The task.

    Raises:
        ValueError: data that are not there, or a row of another form; says which. Or math-verify is not installed.
    """
    if importlib.util.find_spec("math_verify") is None:  # found out here, not at the first answer
        raise ValueError("task.name: 'math' needs math-verify, which is not installed")
    judge = Judges("llm.tasks.math_scorer", judges)

    def prompts(source: Source) -> dict[str, Prompt]:
        """By what is asked; the first of several rows that ask the same."""
        found: dict[str, Prompt] = {}
        for number, row in enumerate(rows(source)):
            try:
                messages, answer = problem(row, options.instruction)
            except (KeyError, TypeError, ValueError) as error:
                raise ValueError(f"{source.data}: row {number}: {error}") from None
            question = messages[-1]["content"]
            if question not in found:
                identity = hashlib.sha256(question.encode()).hexdigest()[:16]
                text = written(messages, options.template, tokenizer)
                found[question] = Prompt(identity, text, {"answer": answer} | _part(row))
            if len(found) == source.size:
                break
        return found

    train, held_out = parted(options.train, options.held_out, prompts)

    def reward(prompt: Prompt, text: str) -> float:
        said = after_thinking(prompt.text, text)
        return 0.0 if said is None else judge.score("equal", prompt.problem["answer"], said, options.limit)

    return Task("math", train, held_out, reward, failures=lambda: dict(judge.failures))


def parted(
    train: Source, held_out: Source | float, prompts: Callable[[Source], dict[str, Prompt]]
) -> tuple[tuple[Prompt, ...], tuple[Prompt, ...]]:
    """Prompts to train on and prompts held out, which are another source's, or a share of the first one's.

    Args:
        train: the source to train on.
        held_out: the other source, or the share.
        prompts: reads a source: what is asked -> prompt.

    Raises:
        ValueError: one of the two is empty.
    """
    asked_in_training = prompts(train)
    if isinstance(held_out, Source):
        kept_back = prompts(held_out)
    else:
        kept_back = {
            question: prompt for question, prompt in asked_in_training.items() if is_held_out(question, held_out)
        }
    left = {question: prompt for question, prompt in asked_in_training.items() if question not in kept_back}
    for part, found in (("training", left), ("held-out", kept_back)):
        if not found:
            raise ValueError(f"{train.data}: no {part} problems are left")
    return tuple(left.values()), tuple(kept_back.values())


def problem(row: Mapping[str, Any], instruction: str) -> tuple[Messages, str]:
    r"""The conversation that asks a row's question, and its final answer.

    >>> problem({"question": "2 + 3?", "answer": "2 + 3 = 5\n#### 5"}, "")
    ([{'role': 'user', 'content': '2 + 3?'}], '5')

    Raises:
        ValueError: the row has other columns, or no final answer.
    """
    match row:
        case {"prompt": list(messages), "reward_model": {"ground_truth": answer}}:
            return [{"role": one["role"], "content": one["content"]} for one in messages], _final(answer)
        case {"question": str(question), "answer": answer} | {"problem": str(question), "answer": answer}:
            return asked(question, instruction), _final(answer)
        case {"problem": str(question), "solution": str(answer)}:
            if final_answer(answer) is None:
                raise ValueError("the solution has no \\boxed{} answer")
            return asked(question, instruction), _final(answer)
    raise ValueError(
        f"has the columns {', '.join(row)}; it must have question and answer, problem and answer, problem and "
        "solution, or prompt and reward_model"
    )


def _part(row: Mapping[str, Any]) -> dict[str, str]:
    """Which part of the data set a row belongs to, if it says so: MATH's subjects, for example."""
    return next(({"part": row[name]} for name in PARTS if isinstance(row.get(name), str)), {})


def _final(answer: Any) -> str:
    if isinstance(answer, bool) or not isinstance(answer, str | int | float):
        raise ValueError(f"the answer is {answer!r}; it must be text or a number")
    text = str(answer).strip()
    found = final_answer(text) or text
    if not found:
        raise ValueError("the answer is empty")
    return found


def rows(source: Source) -> Iterator[Mapping[str, Any]]:
    """The rows of a file, a folder or a data set of the hub.

    Raises:
        ValueError: it cannot be read; says why.
    """
    path = Path(source.data)
    try:
        if path.is_file():
            if source.name is not None or source.split is not None:
                raise ValueError("a single file has no name and no split")
            yield from _file(path).iter_rows(named=True)
        else:
            yield from _data_set(source)
    except Exception as error:  # readers raise whatever they like
        raise ValueError(f"{source.data}: {' '.join(str(error).split())[:300]}") from error


def _file(path: Path) -> polars.DataFrame:
    match path.suffix:
        case ".jsonl":
            return polars.read_ndjson(path, infer_schema_length=None)
        case ".parquet":
            return polars.read_parquet(path)
    raise ValueError("the name of a file must end in .jsonl or .parquet")


def _data_set(source: Source) -> Iterator[Mapping[str, Any]]:
    import datasets  # takes a second, and most runs do without

    part = source.split or "train"
    if (Path(source.data) / "dataset_dict.json").is_file():
        loaded: Any = datasets.load_from_disk(source.data)[part]
    else:
        loaded = datasets.load_dataset(source.data, source.name, split=part)
    yield from loaded
