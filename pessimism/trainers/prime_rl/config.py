"""Reading prime-rl's configuration: one TOML file, or those of the orchestrator and the trainer.

Read from prime-rl 0.8.0 (commit 559b447): ``prime_rl.configs``, ``trainer/rl/loss.py``, ``orchestrator/algo``.
"""

from __future__ import annotations

from functools import partial

from ... import baselines
from ...baseline import Baseline
from ...hints import near
from ..document import Document
from ..reader import Reader, Unresolved
from ..settings import Drop, Lag, Objective, Sampling, Settings, adapted, objective, unknown
from ..shared import holding
from .older import is_older, objective_of

VERSION = "prime-rl 0.8.0"
LOSSES = ("default", "ipo", "custom")
OTHER_ADVANTAGES = {
    "rae": "a moving average per agent",
    "hierarchical_grpo": "means over roles and problems",
}
WITHOUT_REWARD = {
    "opd": "distillation from a teacher",
    "opsd": "distillation from the policy itself",
    "sft": "cross-entropy on samples",
}
ALGORITHMS = ("grpo", "echo", "max_rl", *OTHER_ADVANTAGES, *WITHOUT_REWARD)
NEEDS_GROUP = ("grpo", "echo", "max_rl", "hierarchical_grpo")


def read_prime_rl(document: Document) -> Settings:
    """The settings of a prime-rl configuration; a file of the orchestrator or the trainer alone is read as such."""
    reader = Reader(document)
    part = _part(document)
    orchestrator, trainer = ("orchestrator.", "trainer.") if part == "whole" else ("", "")
    source = f"{orchestrator}train.source.0"
    algorithm = _first(reader, f"{source}.algo.type", f"{orchestrator}algo.type")
    kind = reader.name(algorithm, "grpo")
    group = _first(
        reader, f"{source}.group_size", f"{orchestrator}rollouts_per_example", f"{orchestrator}group_size"
    )  # the second is its older name
    sampling, keys = _sampling(reader, f"{source}.sampling", f"{orchestrator}train.sampling")
    bound = reader.integer(f"{orchestrator}max_off_policy_steps", 8, 0)
    loss = reader.name(f"{trainer}loss.type", "default")
    penalized = reader.given(f"{algorithm.removesuffix('type')}length_penalty")
    own = baselines.mean_normalized(0.0) if kind == "max_rl" else baselines.mean()
    baseline = None if part == "trainer" else own
    remarks = _remarks(reader, kind, orchestrator, penalized)
    old = loss == "default" and is_older(document, orchestrator)
    made = (objective_of if old else partial(_objective, kind=kind))(
        reader, loss=loss, section=f"{trainer}loss", remarks=remarks, baseline=baseline
    )
    elsewhere = {
        "trainer": Unresolved("orchestrator", "it has a file of its own", "its defaults"),
        "orchestrator": Unresolved("trainer", "it has a file of its own", "its defaults"),
    }
    return Settings(
        document,
        "prime-rl",
        "prime-rl before 0.6.0" if old else VERSION,
        f"RL, the {part}" if part in elsewhere else "RL",
        made if part else unknown("", "no section is one of prime-rl's RL: orchestrator, trainer, train or loss"),
        _words(kind, part),
        "group mean" if kind == "max_rl" else "",
        "token",
        reader.integer(group, 1, 1) if part in ("whole", "orchestrator") else None,
        kind in NEEDS_GROUP,
        sampling=sampling,
        lag=Lag(1, bound > 0, bound, drops_stale=True) if part in ("whole", "orchestrator") else Lag(),
        drops=_drops(reader, f"{orchestrator}train.source"),
        keys={
            "loss": f"{trainer}loss.type" if kind in ("grpo", "echo", "max_rl") else algorithm,
            "group_size": group,
            "baseline": algorithm,
            "untrained": algorithm if kind in WITHOUT_REWARD else "data",
            "bound": f"{orchestrator}max_off_policy_steps",
            **keys,
        },
        unresolved=(*reader.unresolved, *([elsewhere[part]] if part in elsewhere else [])),
        own_keys=old,
        untrained=WITHOUT_REWARD.get(kind, "" if part or not document.has("data") else "supervised fine-tuning"),
    )


def _part(document: Document) -> str:
    """Whether a file is of the "whole" run, of the "orchestrator" or the "trainer" alone, or ("") of neither."""
    if "orchestrator" in document.values or "trainer" in document.values:
        return "whole"
    if "train" in document.values:
        return "orchestrator"
    return "trainer" if "loss" in document.values else ""


def _words(kind: str, part: str) -> str:
    if part == "trainer":
        return "the orchestrator's, in a file of its own"
    if kind == "max_rl":
        return "group mean, divided by the group mean"
    return "group mean" if kind in ("grpo", "echo") else OTHER_ADVANTAGES.get(kind, "none")


def _first(reader: Reader, *keys: str) -> str:
    """The first of the keys that the file sets, else the last."""
    return next((key for key in keys if reader.given(key)), keys[-1])


def _objective(
    reader: Reader, kind: str, loss: str, section: str, remarks: tuple[str, ...], baseline: Baseline | None
) -> Objective:
    if kind in WITHOUT_REWARD:
        return unknown(kind, f"algo.type {kind} is {WITHOUT_REWARD[kind]}, not a policy optimization of a reward")
    if kind in OTHER_ADVANTAGES:
        return unknown(loss, f"the advantage of algo.type {kind}, {OTHER_ADVANTAGES[kind]}, is not in the catalogue")
    if kind not in ALGORITHMS:
        return unknown(loss, f"algo.type is {kind!r}; {near(kind, ALGORITHMS, 'algorithms')}")
    if loss == "custom":
        where = reader.name(f"{section}.import_path", "not given")
        if where == "pessimism.trainers.prime_rl.adapter.loss":
            return adapted(reader.section(f"{section}.kwargs"), baseline)
        return unknown(loss, f"the loss is your own, {where}; put it through `pessimism compare module:name`")
    if loss not in LOSSES:
        return unknown(loss, f"loss.type is {loss!r}; {near(loss, LOSSES, 'losses')}")
    scale = reader.number(f"{section}.adv_tau", 1.0)
    if scale == 0:
        return unknown(loss, f"{section}.adv_tau is 0: no advantage is trained on")
    tau = reader.number(f"{section}.kl_tau", 1e-3) / scale  # a common factor of both terms moves no target
    if loss == "ipo":
        threshold = reader.number(f"{section}.ipo_threshold", 0.1)
        return objective(loss, "prime_rl.ipo", baseline, "token", remarks, threshold=threshold, tau=tau)
    return objective(
        loss,
        "prime_rl.default",
        baseline,
        "token",
        remarks,
        low=reader.number(f"{section}.dppo_mask_low", 0.2),
        high=reader.number(f"{section}.dppo_mask_high", 0.2),
        tau=tau,
    )


def _remarks(reader: Reader, kind: str, orchestrator: str, penalized: bool) -> tuple[str, ...]:
    sources = reader.raw(f"{orchestrator}train.source", [])
    several = isinstance(sources, list) and len(sources) > 1
    remarks = {
        "the length penalty on the reward is left out": penalized,
        "echo's cross-entropy on the environment's tokens is left out": kind == "echo",
        "of several train sources the first is shown": several,
    }
    return holding(remarks)


def _sampling(reader: Reader, own: str, shared: str) -> tuple[Sampling, dict[str, str]]:
    """The trainer takes log-probabilities at ``sampling.temperature``; ``extra_body`` reaches the sampler only."""
    if not reader.given(shared) and reader.given(shared.replace("train.sampling", "sampling")):
        shared = shared.replace("train.sampling", "sampling")  # its older place
    trained_at = reader.number(_first(reader, f"{own}.temperature", f"{shared}.temperature"), 1.0)
    defaults = {"temperature": trained_at, "top_p": 1.0, "top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
    keys = {name: _first(reader, f"{own}.extra_body.{name}", f"{shared}.extra_body.{name}") for name in defaults}
    values = {name: reader.number(keys[name], default) for name, default in defaults.items()}
    if not reader.given(keys["temperature"]):
        keys["temperature"] = _first(reader, f"{own}.temperature", f"{shared}.temperature")
    return Sampling(trained_at=trained_at, **values), keys


def _drops(reader: Reader, sources: str) -> tuple[Drop, ...]:
    key = f"{sources}.0.curriculum.gates"
    if not reader.section(key):
        return ()
    return (Drop(key, "groups outside a range of advantages are not trained on"),)
