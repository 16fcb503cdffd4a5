r"""From bandits to transformers: training where completions can be enumerated, against the targets of their bandit.

A completion is an arm, so a model trained at sequence level on data from a fixed behavior policy $\mu$ must end at
:func:`pessimism.induced_target` of the bandit over all completions: the same update, through batches, passes, a
transformer and Adam. `python -m llm bridge` prints how close every objective comes.

Targets that drop completions are left out: where an update then ends depends on the parametrisation.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import numpy as np
import torch
from transformers import PreTrainedModel, Qwen3Config

import pessimism as ps
from pessimism.solve import total_variation

from ..config import Objective
from ..samples import Completion, Group, Prompt
from ..update.batch import Batch, make_batch
from ..update.loss import accumulate
from ..update.models import seeded

END = 0
"""The token that ends a completion."""

CLOSE = 0.02
"""Total variation within which a policy counts as having reached a target."""

EXACT_ONLY = ("oapl.missing_log_g",)
"""Baselines that grow with the group: on groups of another size they have another target."""


@dataclass(frozen=True, eq=False)
class World:
    """P prompts, the K completions of a small vocabulary, what they are worth and the model that plays them first.

    Attributes:
        prompts: P prompts. Each starts with the end token, which no completion can contain before its end: attention
            over equal tokens is the same however many there are, so that without it some prefixes look alike.
        completions: K of them, ended by the token 0 or cut off at the length limit; prefixes in lexical order.
        log_probs: for every prompt the first model's token log-probabilities of every completion, nats.
        reward: (P, K).
        model: what every run starts from and what data are drawn from; never changed.
    """

    prompts: tuple[tuple[int, ...], ...]
    completions: tuple[np.ndarray, ...]
    log_probs: tuple[tuple[np.ndarray, ...], ...]
    reward: np.ndarray
    model: PreTrainedModel

    @property
    def bandit(self) -> ps.Bandit:
        """The bandit (P, K) whose arms are the completions."""
        return ps.Bandit(_policy(self.log_probs), self.reward)


@dataclass(frozen=True)
class Draws:
    """Sampled data: fresh groups from the behavior policy at every step."""

    group_size: int = 2048
    groups: int = 1  # of each prompt


@dataclass(frozen=True, eq=False)
class BridgeResult:
    """Where a run ended. Distances are total variations, the largest over prompts.

    Attributes:
        name: of the objective.
        data: "exact" or "sampled".
        policy: (P, K) at the end.
        to_induced, to_nominal: distance from the bandit's targets.
        apart: distance between the two targets.
    """

    name: str
    data: str
    policy: np.ndarray
    to_induced: float
    to_nominal: float
    apart: float

    @property
    def holds(self) -> bool:
        """At the induced target, and at the nominal one only if that is as close to the induced one."""
        return self.to_induced <= CLOSE and (self.apart <= CLOSE or self.to_nominal > CLOSE)


def make_world(seed: int = 0, vocabulary: int = 3, longest: int = 3, prompts: int = 2) -> World:
    """A random model, and rewards uniform on [0, 2].

    Args:
        seed: of both.
        vocabulary: tokens, the end token included; more than ``prompts``.
        longest: tokens after which a completion is cut off.
        prompts: how many.
    """
    model = _random_model(vocabulary, seed)
    words = range(1, vocabulary)
    ended = [(*text, END) for size in range(longest) for text in itertools.product(words, repeat=size)]
    texts = [*ended, *itertools.product(words, repeat=longest)]
    completions = tuple(np.array(text, dtype=np.int32) for text in texts)
    asked = tuple((END, word) for word in words[:prompts])
    reward = np.random.default_rng(seed).uniform(0, 2, size=(prompts, len(completions)))
    return World(asked, completions, _log_probs(model, asked, completions), reward, model)


def reach(
    algorithm: ps.Algorithm,
    world: World,
    draws: Draws | None = None,
    steps: int = 150,
    learning_rate: float = 1e-3,
    seed: int = 0,
    device: str = "cpu",
) -> BridgeResult:
    """Train the world's model on data from its own first policy and say where it ends.

    Args:
        algorithm: what to train with.
        world: see :func:`make_world`.
        draws: how groups are sampled; None for exact data: all completions, weighted by their probability.
        steps: of Adam, at a rate that falls to 0 along a cosine.
        learning_rate: the largest.
        seed: of the draws.
        device: to train on.
    """
    model = copy.deepcopy(world.model)
    torch.nn.Module.to(model, device)
    optimizer = torch.optim.Adam(model.parameters(), lr=learning_rate, betas=(0.9, 0.99))
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = np.random.default_rng(seed)
    batch = exact_batch(world, algorithm)
    for _ in range(steps):
        if draws is not None:
            batch = merged(make_batch(draw_groups(world, draws, generator), algorithm))
        optimizer.zero_grad()
        accumulate(model, batch, algorithm, tokens_per_pass=2**14)
        optimizer.step()
        rate.step()
    policy = _policy(_log_probs(model, world.prompts, world.completions))
    induced = ps.induced_target(world.bandit, algorithm).policy
    nominal = ps.nominal_target(world.bandit, algorithm).policy
    return BridgeResult(
        algorithm.name,
        "exact" if draws is None else "sampled",
        policy,
        _distance(policy, induced),
        _distance(policy, nominal),
        _distance(induced, nominal),
    )


def exact_batch(world: World, algorithm: ps.Algorithm) -> Batch:
    """Every completion of every prompt, weighted by its probability under the first model."""
    everything = range(len(world.completions))
    groups = [_group(world, prompt, everything) for prompt in range(len(world.prompts))]
    return make_batch(groups, algorithm, weights=list(world.bandit.behavior))


def draw_groups(world: World, draws: Draws, generator: np.random.Generator) -> list[Group]:
    """Groups of every prompt, sampled from the first model."""
    behavior = world.bandit.behavior
    return [
        _group(world, prompt, generator.choice(behavior.shape[1], draws.group_size, p=behavior[prompt]))
        for prompt in range(len(world.prompts))
        for _ in range(draws.groups)
    ]


def merged(batch: Batch) -> Batch:
    """Equal completions of a group as one sample that counts as much as all of them: the same update, in less time."""
    keys = [(group, tokens.tobytes()) for group, tokens in zip(batch.group, batch.tokens, strict=True)]
    first: dict[tuple[int, bytes], int] = {}
    for at, key in enumerate(keys):
        first.setdefault(key, at)
    kept = list(first.values())
    weight = np.zeros(len(keys))
    np.add.at(weight, [first[key] for key in keys], batch.weight)
    return Batch(
        tuple(batch.tokens[at] for at in kept),
        tuple(batch.behavior_log_probs[at] for at in kept),
        batch.length[kept],
        batch.group[kept],
        batch.reward[kept],
        batch.advantage[kept],
        weight[kept],
    )


def reach_all(names: Sequence[str], progress: Callable[[int, int, str], None]) -> Iterator[BridgeResult]:
    """Objectives on exact and on sampled data, a few seconds each.

    Args:
        names: keys of :func:`objectives`, or objectives of one's own as ``module:name`` or ``file.py:name``.
        progress: called with (runs done, runs in all, the next).
    """
    world = make_world()
    runs = [(name, None, 150) for name in names] + [(name, Draws(), 200) for name in names if name not in EXACT_ONLY]
    for done, (name, draws, steps) in enumerate(runs):
        progress(done, len(runs), name)
        yield reach(Objective(algorithm=name, parameters=objectives().get(name, {})).make(), world, draws, steps)


@cache
def objectives() -> Mapping[str, dict[str, float]]:
    """Entries that are trained here, with the parameters at which their targets differ from their nominal ones.

    Those of whole completions that have a closed form and keep every completion.
    """
    bandit = make_world().bandit
    examples = {name: entry.examples for name, entry in ps.catalogue().items() if entry.level == "sequence"}
    return MappingProxyType({name: given for name, given in examples.items() if _keeps_all(bandit, name, given)})


def _keeps_all(bandit: ps.Bandit, name: str, parameters: dict[str, float]) -> bool:
    made = ps.algorithm(name, **parameters)
    return made.induced is not None and set(ps.induced_target(bandit, made).kind) == {"interior"}


def _random_model(vocabulary: int, seed: int) -> PreTrainedModel:
    config = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=16,
        max_position_embeddings=16,
        tie_word_embeddings=False,
        initializer_range=0.3,  # the usual 0.02 makes attention uniform and prefixes hard to tell apart
    )
    model = seeded(config, seed)
    model.lm_head.weight.data.mul_(0.3)  # with that range the policy would be all but deterministic
    return model


@torch.no_grad()
def _log_probs(
    model: PreTrainedModel, prompts: Iterable[tuple[int, ...]], completions: tuple[np.ndarray, ...]
) -> tuple[tuple[np.ndarray, ...], ...]:
    """Token log-probabilities of every completion of every prompt, from the model's own logits."""
    found = []
    for prompt in prompts:
        rows = []
        for completion in completions:
            tokens = torch.tensor([[*prompt, *completion.tolist()]], device=model.device)
            log_policy = model(input_ids=tokens[:, :-1], use_cache=False).logits[0, len(prompt) - 1 :].log_softmax(-1)
            rows.append(log_policy.gather(1, tokens[0, len(prompt) :, None])[:, 0].cpu().numpy())
        found.append(tuple(rows))
    return tuple(found)


def _policy(log_probs: tuple[tuple[np.ndarray, ...], ...]) -> np.ndarray:
    """(P, K); float32 log-probabilities leave sums off one by 1e-7."""
    policy = np.exp([[completion.sum(dtype=np.float64) for completion in row] for row in log_probs])
    return policy / policy.sum(axis=-1, keepdims=True)


def _group(world: World, prompt: int, arms: Iterable[int]) -> Group:
    arms = list(arms)
    completions = (
        Completion(world.completions[arm], world.log_probs[prompt][arm], bool(world.completions[arm][-1] == END))
        for arm in arms
    )
    asked = Prompt(str(prompt), "", {})
    return Group(asked, world.prompts[prompt], tuple(completions), world.reward[prompt, arms], version=0, batch=0)


def _distance(first: np.ndarray, second: np.ndarray) -> float:
    return float(total_variation(first, second).max())
