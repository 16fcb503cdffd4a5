"""The configuration of a run: a TOML file, checked in full before anything starts.

Unknown keys are errors. What a file leaves out has the default that stands here.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

import pessimism as ps
from pessimism.compose import check_two_policies
from pessimism.shell import is_object_name, load_object, near

from .sample.engines.base import check_options

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Checked = TypeVar("Checked", bound=BaseModel)


class Part(BaseModel):
    """A table of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Lora(Part):
    """Low-rank adapters instead of all weights (peft)."""

    rank: Count = 16
    alpha: Positive = 32.0
    dropout: Share = 0.0
    targets: str | tuple[str, ...] = "all-linear"


class Model(Part):
    """What is trained. Its policy is softmax(logits / rollout.temperature)."""

    path: str = Field(description="folder or hub name, as from_pretrained takes it")
    dtype: Literal["float32", "bfloat16"] = Field(
        default="float32", description="of matrix products, and of the engine; trained weights are float32 in any case"
    )
    lora: Lora | None = None
    compile: bool = False
    gradient_checkpointing: bool = False


class Task(Part):
    """What is asked, and how answers are judged."""

    name: str = Field(description="a name of llm.tasks, such as 'countdown24', 'reasoning_gym' or 'math'")
    options: dict[str, Any] = Field(default_factory=dict, description="as that task takes them")
    false_positive: Share = Field(default=0.0, description="share of failing answers that training takes for passing")
    false_negative: Share = Field(default=0.0, description="share of passing answers that training takes for failing")
    judges: Count = Field(default=1, description="answers judged at a time")
    cut_off: Literal["judged", "wrong", "masked"] = Field(
        default="judged",
        description="answers that reached max_tokens: judged like others, worth 0, or left out of the gradient",
    )
    soft_limit: Annotated[int, Field(ge=0)] = Field(
        default=0, description="last tokens before max_tokens, over which a penalty grows to soft_penalty; 0: none"
    )
    soft_penalty: Positive = Field(default=1.0, description="what is taken off the reward at max_tokens")
    equal_groups: Literal["kept", "dropped"] = Field(
        default="kept",
        description="groups whose rewards are all equal; dropped, the others count more, and a regression no longer "
        "holds the policy where it has no signal",
    )


class Objective(Part):
    """An algorithm with its parameters: an entry of the catalogue, or one of your own.

    Corrections, masks and a KL term are parameters too, as text: correction = "truncate(cap=2, level=sequence)".
    Your own is named as ``module:name`` or ``file.py:name``: an Algorithm, or a function that returns one.
    """

    algorithm: str
    parameters: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _exists(self) -> Objective:
        check_two_policies(self.make(), "llm")
        return self

    def make(self) -> ps.Algorithm:
        """The algorithm.

        Raises:
            ValueError: no such entry or object, or parameters it does not take.
        """
        if is_object_name(self.algorithm):
            return load_object(self.algorithm, ps.Algorithm, **self.parameters)
        return ps.algorithm(self.algorithm, **self.parameters)

    def described(self) -> str:
        """Its name with all parameters.

        >>> Objective(algorithm="shifted_mean", parameters={"beta": 0.2}).described()
        'shifted_mean(beta=0.2, delta=1)'
        """
        parameters = self.parameters if is_object_name(self.algorithm) else self.make().parameters
        given = ", ".join(f"{name}={_number(value)}" for name, value in parameters.items())
        return f"{self.algorithm}({given})" if given or not is_object_name(self.algorithm) else self.algorithm


def _number(value: Any) -> str:
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)


class Rollout(Part):
    """How data are sampled. There is no top-p, top-k or min-p: cutting the distribution biases every log-ratio."""

    engine: Literal["vllm", "transformers"] = "vllm"
    place: Literal["process", "colocated"] = Field(
        default="process", description="process: generation goes on beside training, in a process of its own"
    )
    prompts: Count = Field(default=32, description="prompts in a batch (one optimizer step)")
    group_size: Count = Field(default=8, description="completions of each prompt")
    temperature: Positive = 1.0
    max_tokens: Count = 64
    probe_tolerance: Positive = Field(
        default=1e-3, description="largest gap, in nats per token, between engine and trainer on the probe after a sync"
    )
    timeout: Positive = Field(default=600.0, description="seconds after which a silent engine is restarted")
    restarts: Annotated[int, Field(ge=0)] = Field(default=3, description="restarts in a row before giving up")
    options: dict[str, Any] = Field(default_factory=dict, description="passed to the engine (vLLM's LLM(...))")
    servers: tuple[str, ...] | str = Field(
        default=(),
        description="URLs of vLLM servers that sample instead of an engine here, or a file with one in each line, "
        "which is read again and again",
    )
    weights: str | None = Field(
        default=None, description="folder that weights go to servers through, by the same path on all machines"
    )

    @model_validator(mode="after")
    def _unbiased(self) -> Rollout:
        check_options(self.options)
        return self

    @model_validator(mode="after")
    def _servers_are_whole(self) -> Rollout:
        if bool(self.servers) != (self.weights is not None):
            raise ValueError("servers and weights go together: the folder weights is where servers read weights from")
        if self.servers and (self.engine != "vllm" or self.place != "process" or self.options):
            raise ValueError(
                'servers are vLLM\'s: engine = "vllm" and place = "process", and what would be in options is given to '
                "`vllm serve`"
            )
        for url in self.servers if isinstance(self.servers, tuple) else ():
            if not url.startswith(("http://", "https://")):
                raise ValueError(f"servers: {url!r} is no URL; it must begin with http:// or https://")
        return self


class Lag(Part):
    """How old the data get."""

    sync_every: Count = Field(default=1, description="L: optimizer steps between weight syncs; 1 is on-policy")
    epochs: Count = Field(default=1, description="passes over a window's batches between two syncs")
    max_staleness: Count | None = Field(
        default=None, description="largest allowed age of a sample in optimizer steps; a schedule beyond it is refused"
    )

    @model_validator(mode="after")
    def _possible(self) -> Lag:
        if self.epochs > self.sync_every:
            raise ValueError(f"epochs is {self.epochs}, but sync_every leaves only {self.sync_every} steps for them")
        if self.max_staleness is not None and self.sync_every - 1 > self.max_staleness:
            raise ValueError(
                f"sync_every = {self.sync_every} makes samples up to {self.sync_every - 1} steps old, "
                f"beyond max_staleness = {self.max_staleness}"
            )
        return self

    @property
    def batches(self) -> int:
        """Different batches drawn per window."""
        return -(-self.sync_every // self.epochs)


class Optimizer(Part):
    """AdamW with a linear warm-up."""

    learning_rate: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1e-6
    betas: tuple[Share, Share] = (0.9, 0.999)
    epsilon: Positive = 1e-8
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    clip_norm: Annotated[float, Field(gt=0)] = Field(default=1.0, description="largest gradient norm; inf: no limit")
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    moments: Literal["float32", "bfloat16"] = Field(
        default="float32", description="how AdamW's two are kept; bfloat16, rounded at random, is half the memory"
    )
    tokens_per_pass: Count = Field(default=16384, description="padded tokens of one forward pass; sets memory")


class Evaluation(Part):
    """Held-out evaluation; 0 for never."""

    every: Annotated[int, Field(ge=0)] = 100
    before: bool = Field(default=True, description="also before the first step, unless there is no evaluation at all")
    prompts: Count = 128
    samples: Count = Field(default=8, description="completions per prompt; pass@k for k = 1, 2, 4, ... up to this")


class Watch(Part):
    """Where metrics go besides metrics.jsonl."""

    tensorboard: bool = False
    wandb: str | None = Field(default=None, description="project name")
    trackio: str | None = Field(default=None, description="project name")


class Hardware(Part):
    """What the run is made for."""

    gpu: bool = Field(default=False, description="whether it is refused where there is no GPU")
    card: Literal["RTX4090-24GB", "L40S-48GB", "A100-80GB", "H100-80GB", "H200-141GB", "B200-180GB"] | None = Field(
        default=None, description="the card that it fits on, engine included; --dry-run shows the account"
    )
    count: Literal[1] = Field(default=1, description="of those cards; trainer and engine share one")


class Config(Part):
    """A whole run."""

    name: str
    seed: Annotated[int, Field(ge=0)] = 0
    steps: Count = Field(description="optimizer steps")
    checkpoint_every: Count = 50
    deterministic: bool = Field(default=False, description="bit-for-bit repeatable, resumed runs included; slower")
    hardware: Hardware = Hardware()
    model: Model
    task: Task
    objective: Objective
    rollout: Rollout = Rollout()
    lag: Lag = Lag()
    optimizer: Optimizer = Optimizer()
    evaluation: Evaluation = Evaluation()
    watch: Watch = Watch()
    warmup: dict[str, Any] | None = Field(
        default=None,
        description="how to make the model of model.path where it is not there yet: as llm.run.warmup.WarmUp takes it, "
        "on this task unless it names another",
    )


def load(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """The configuration in a TOML file, with "key.subkey=value" overrides, whose values are TOML too.

    Raises:
        ValueError: no such file, broken TOML, an unknown key, or a value that is not allowed.
    """
    try:
        text = Path(path).read_text("utf-8")
        table = tomllib.loads(text)
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path}: {error}") from None
    for override in overrides:
        set_value(table, override)
    return checked(Config, table, str(path))


def shipped(name: str, folder: Path) -> Path:
    """The file of a configuration that ships in the folder.

    Raises:
        ValueError: there is none of that name; the message says which there are.
    """
    if (folder / f"{name}.toml").is_file():
        return folder / f"{name}.toml"
    known = sorted(path.stem for path in folder.glob("*.toml"))
    hint = near(name, known, "configurations", see="`python -m llm configs`")
    raise ValueError(f"{name}: no file or configuration of that name; {hint}")


def checked(kind: type[Checked], table: Mapping[str, Any], where: str) -> Checked:
    """A table as a part of a configuration.

    Raises:
        ValueError: an unknown key, or a value that is not allowed; one line that begins with ``where``.
    """
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        raise ValueError(f"{where}: {problems(error, kind)}") from None


def to_toml(config: Config) -> str:
    """The whole configuration, defaults included, as a file that :func:`load` reads: one line per value.

    >>> described = {"name": "a", "steps": 2, "model": {"path": "m"}, "task": {"name": "math"}}
    >>> text = to_toml(Config.model_validate(described | {"objective": {"algorithm": "grpo"}}))
    >>> print("".join(text.splitlines(keepends=True)[:6]))
    name = "a"
    seed = 0
    steps = 2
    checkpoint_every = 50
    deterministic = false
    hardware.gpu = false
    """
    return toml_lines(config.model_dump())


def toml_lines(table: Mapping[str, Any]) -> str:
    """Nested tables as TOML, one line per value; None is left out.

    >>> print(toml_lines({"lag": {"sync_every": 4, "max_staleness": None}, "names": [{"a": 1}]}), end="")
    lag.sync_every = 4
    names = [{"a" = 1}]
    """
    return "".join(f"{name} = {_toml(value)}\n" for name, value in flat(table) if value is not None)


def flat(table: Mapping[str, Any], outer: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of nested tables; an empty table is a value.

    >>> list(flat({"lag": {"epochs": 2}, "options": {}}))
    [('lag.epochs', 2), ('options', {})]
    """
    for key, value in table.items():
        name = outer + (key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else _toml(key))
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{name}.")
        else:
            yield name, value


def _toml(value: Any) -> str:
    """A value as TOML writes it; where JSON writes it otherwise, it is not JSON."""
    match value:
        case float() if not math.isfinite(value):
            return str(value)
        case list() | tuple():
            return f"[{', '.join(map(_toml, value))}]"
        case dict():
            return "{" + ", ".join(f"{_toml(key)} = {_toml(one)}" for key, one in value.items()) + "}"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def set_value(table: dict[str, Any], override: str) -> None:
    """Set a value of nested tables by "key.subkey=value"; the value is TOML, or a bare word.

    >>> table = {"lag": {"epochs": 1}}
    >>> set_value(table, "lag.sync_every=20")
    >>> table
    {'lag': {'epochs': 1, 'sync_every': 20}}

    Raises:
        ValueError: another form, or a subkey of what is no table.
    """
    key, equals, value = override.partition("=")
    if not equals or not key:
        raise ValueError(f"{override!r} is no override; write key.subkey=value")
    *outer, last = key.split(".")
    for name in outer:
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            raise ValueError(f"{override!r}: {name!r} is a value, not a table")
    try:
        table[last] = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        table[last] = value  # a bare word is a string, as the shell strips quotes


def problems(error: ValidationError, kind: type[BaseModel]) -> str:
    """What is wrong with a table that was to become a ``kind``, in one line."""
    return "; ".join(_told(problem, kind) for problem in error.errors())


def _told(problem: Any, kind: type[BaseModel]) -> str:
    place = ".".join(str(part) for part in problem["loc"]) or "the file"
    if problem["type"] == "extra_forbidden":
        *outer, last = problem["loc"]
        return f"{place}: no such key{_hint(last, _inner(kind, outer))}"
    return f"{place}: {problem['msg'].removeprefix('Value error, ')}"


def _inner(kind: type[BaseModel], names: Sequence[Any]) -> type[BaseModel] | None:
    """The part of a configuration at these keys, if it is one."""
    for name in names:
        field = kind.model_fields.get(str(name))
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return None
        kind = field.annotation
    return kind


def _hint(key: Any, kind: type[BaseModel] | None) -> str:
    return "" if kind is None else f"; {near(key, kind.model_fields, 'keys')}"
