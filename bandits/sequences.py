"""Sequence bandits: a small autoregressive policy whose completions are enumerated exactly.

A completion is an arm. The policy has a softmax over the vocabulary after every prefix, so any distribution over
completions can be reached; what differs between objectives is the level at which they take their log-ratio.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike
from scipy.integrate import solve_ivp
from scipy.special import log_softmax

import pessimism as ps
from pessimism.levels import PaddedTokens, check_level, known_level, token_coefficients, token_weight
from pessimism.shell import understood_algorithm
from pessimism.solve import check_finite

LARGEST = 5_000
"""Most completions that are enumerated."""


@dataclass(frozen=True, eq=False)
class SequenceTree:
    """All completions over a vocabulary whose token 0 ends them, at most ``longest`` tokens long.

    Attributes:
        vocabulary: number of tokens V, the end token included.
        longest: number of tokens after which a completion is cut off, T.
        node: (K, T) index of the prefix at which each token of each completion is chosen; 0 beyond its end.
        token: (K, T) the token chosen there; 0 beyond its end.
        present: (K, T) bool, False beyond the end.
        prefixes: number of prefixes P at which a token is chosen.

    Raises:
        ValueError: fewer than two tokens, no length, or more completions than 5000.

    >>> tree = SequenceTree(vocabulary=3, longest=2)
    >>> tree.completions, tree.prefixes, tree.length.tolist()
    (7, 3, [1, 2, 2, 2, 2, 2, 2])
    """

    vocabulary: int
    longest: int
    node: np.ndarray
    token: np.ndarray
    present: np.ndarray
    prefixes: int

    def __init__(self, vocabulary: int, longest: int) -> None:
        for name, value, least in (("vocabulary", vocabulary, 2), ("longest", longest, 1)):
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{name} is {value!r}; it must be a whole number >= {least}")
        words = vocabulary - 1  # tokens that do not end a completion
        total = sum(words**length for length in range(longest + 1))
        if total > LARGEST:
            raise ValueError(f"vocabulary {vocabulary}, longest {longest} make {total} completions; at most {LARGEST}")
        prefixes: list[tuple[int, ...]] = [()]
        ended: list[tuple[int, ...]] = []
        number: dict[tuple[int, ...], int] = {}
        for _ in range(longest):
            for prefix in prefixes:
                number[prefix] = len(number)
            ended += [(*prefix, 0) for prefix in prefixes]
            prefixes = [(*prefix, token) for prefix in prefixes for token in range(1, vocabulary)]
        completions = ended + prefixes
        node, token = (np.zeros((len(completions), longest), dtype=int) for _ in range(2))
        present = np.zeros((len(completions), longest), dtype=bool)
        for arm, completion in enumerate(completions):
            size = len(completion)
            node[arm, :size] = [number[completion[:position]] for position in range(size)]
            token[arm, :size] = completion
            present[arm, :size] = True
        values = (vocabulary, longest, node, token, present, len(number))
        for name, value in zip(self.__dataclass_fields__, values, strict=True):
            object.__setattr__(self, name, value)

    @property
    def completions(self) -> int:
        """Number of completions K, the arms of the bandit."""
        return len(self.node)

    @property
    def length(self) -> np.ndarray:
        """(K,) number of tokens of every completion, the end token included."""
        return self.present.sum(axis=-1)

    def token_log_probabilities(self, logits: np.ndarray) -> np.ndarray:
        """log-probability of every token of every completion (K, T) under logits (P, V); 0 beyond the end."""
        conditional = log_softmax(logits, axis=-1)
        return np.where(self.present, conditional[self.node, self.token], 0.0)

    def policy(self, logits: np.ndarray) -> np.ndarray:
        """Distribution over completions (K,): products of conditionals."""
        return np.exp(self.token_log_probabilities(logits).sum(axis=-1))


@dataclass(frozen=True)
class SequenceBandit:
    """A tree of completions, the logits of the behavior policy, and a reward for every completion.

    Attributes:
        tree: the completions.
        logits: (P, V), of the behavior policy after every prefix.
        reward: (K,).
    """

    tree: SequenceTree
    logits: np.ndarray
    reward: np.ndarray

    def __post_init__(self) -> None:
        shapes = {"logits": (self.tree.prefixes, self.tree.vocabulary), "reward": (self.tree.completions,)}
        for name, shape in shapes.items():
            array = np.asarray(getattr(self, name), dtype=np.float64)
            if array.shape != shape:
                raise ValueError(f"{name} has shape {array.shape}; it must be {shape}")
            check_finite(name, array)
            object.__setattr__(self, name, array)

    @property
    def bandit(self) -> ps.Bandit:
        """The bandit whose arms are the completions."""
        behavior = self.tree.policy(self.logits)
        return ps.Bandit(behavior / behavior.sum(), self.reward)


def random_sequences(vocabulary: int = 3, longest: int = 4, seed: int = 0) -> SequenceBandit:
    """Standard normal logits at every prefix, and rewards uniform on [0, 1].

    >>> random_sequences().bandit.arms
    31
    """
    tree = SequenceTree(vocabulary, longest)
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(tree.prefixes, vocabulary))
    return SequenceBandit(tree, logits, generator.uniform(size=tree.completions))


BAD_PREFIX = 2
"""Prefix of :func:`bad_prefix` after which next to nothing can be earned."""


def bad_prefix(tokens: Sequence[float] = (0.3, 0.5, 0.2), worth: Sequence[float] = (0.02, 0.0, 0.0)) -> SequenceBandit:
    """Two tokens of three kinds: the first ends with reward 0, leads to reward 1 for sure, or into a bad prefix.

    Args:
        tokens: (3,) probabilities of the next token after the bad prefix.
        worth: (3,) rewards of its completions.

    >>> bad_prefix().reward.tolist()
    [0.0, 1.0, 0.02, 1.0, 1.0, 0.0, 0.0]
    """
    tree = SequenceTree(3, 2)
    first = np.where(tree.length == 2, tree.token[:, 0], 0)
    reward = np.where(first == 1, 1.0, np.where(first == BAD_PREFIX, np.asarray(worth)[tree.token[:, 1]], 0.0))
    return SequenceBandit(tree, np.log([[0.1, 0.6, 0.3], [0.3, 0.5, 0.2], tokens]), reward)


def next_token(logits: np.ndarray, prefix: int) -> np.ndarray:
    """Probabilities (V,) of the token after a prefix, of logits (P, V)."""
    return np.exp(log_softmax(logits[prefix]))


@dataclass(frozen=True)
class Reached:
    r"""Where an update on token logits stopped.

    Attributes:
        policy: (K,) distribution over completions.
        logits: (P, V).
        time: when, in units of 1 / coefficient.
        residual: largest $|d\pi_y/d\log t|$ then: for an approach like 1/t, the distance left to go.
        converged: whether it is below the tolerance.
    """

    policy: np.ndarray
    logits: np.ndarray
    time: float
    residual: float
    converged: bool


def population_update(
    world: SequenceBandit, algorithm: ps.Algorithm | str, level: str | None = None
) -> Callable[[ArrayLike], np.ndarray]:
    r"""The expected update of the logits (P, V) as a function of them.

    It is $E_\mu[\sum_t w\,c_t\,\nabla\log\pi(y_t|y_{<t})]$ with the $c_t$ and w of the level, see
    :mod:`pessimism.levels`.

    Args:
        world: behavior policy and rewards.
        algorithm: or text that names one; its baseline is exact. A coupled coefficient compares completions, so it has
            no token level.
        level: one of :data:`pessimism.levels.LEVELS`; the algorithm's own where None.

    Raises:
        ValueError: an unknown level, or a coupled coefficient at a level that looks at tokens.
    """
    algorithm = understood_algorithm(algorithm)
    algorithm = algorithm if level is None else replace(algorithm, level=known_level(level))
    check_level(algorithm)
    tree, bandit = world.tree, world.bandit
    tokens = PaddedTokens(tree.present)
    start = tree.token_log_probabilities(world.logits)
    advantage = algorithm.baseline.exact(bandit.reward, bandit.behavior).advantage
    mass = bandit.behavior * token_weight(algorithm.level, tokens)

    def update(logits: ArrayLike) -> np.ndarray:
        logits = np.asarray(logits).reshape(world.logits.shape)
        log_ratio = tree.token_log_probabilities(logits) - start
        values = token_coefficients(
            algorithm, log_ratio, advantage, tokens, behavior_log_prob=start, weight=bandit.behavior
        )
        pull = mass[:, None] * values
        chosen, visited = np.zeros_like(logits), np.zeros(tree.prefixes)
        np.add.at(chosen, (tree.node, tree.token), pull)
        np.add.at(visited, tree.node, pull)
        return chosen - visited[:, None] * np.exp(log_softmax(logits, axis=-1))

    return update


def run_to_convergence(
    world: SequenceBandit,
    algorithm: ps.Algorithm | str,
    level: str | None = None,
    time: float = 1e10,
    tolerance: float = 1e-9,
) -> Reached:
    r"""Where the update on token logits ends, from the behavior policy.

    At sequence level an induced target that keeps all arms is reached: $\mu c = \lambda\pi$ for every completion makes
    the update vanish whatever the parametrisation. Where the target drops arms (AsymRE), the update never vanishes, and
    its limit depends on the parametrisation too: a prefix is judged by all that may follow it, good and bad.

    The flow $\dot\theta$ = update is followed by an implicit method until the policy stands still.

    Args:
        world, algorithm, level: see :func:`population_update`.
        time: when to give up, in units of 1 / coefficient.
        tolerance: largest $|d\pi_y/d\log t|$ that counts as standing still.

    Raises:
        ValueError: see :func:`population_update`; or the integration fails.

    >>> world, algorithm = random_sequences(longest=3), ps.algorithm("shifted_mean", beta=0.3)
    >>> target = ps.induced_target(world.bandit, algorithm).policy
    >>> for level in ("sequence", "token", "sequence mean"):
    ...     reached = run_to_convergence(world, algorithm, level)
    ...     print(level, float((abs(reached.policy - target).sum() / 2).round(4)))
    sequence 0.0
    token 0.0103
    sequence mean 0.084
    """
    update = population_update(world, algorithm, level)
    tree = world.tree

    def movement(at: float, flat: np.ndarray) -> float:
        logits = flat.reshape(world.logits.shape)
        change = update(logits)
        change -= (np.exp(log_softmax(logits, axis=-1)) * change).sum(axis=-1, keepdims=True)
        per_token = np.where(tree.present, change[tree.node, tree.token], 0.0)
        return at * float(np.abs(tree.policy(logits) * per_token.sum(axis=-1)).max())

    def still(at: float, flat: np.ndarray) -> float:
        return movement(at, flat) - tolerance

    still.terminal, still.direction = True, -1.0  # type: ignore[attr-defined]
    path = solve_ivp(
        lambda _, flat: update(flat).ravel(),
        (0.0, time),
        world.logits.ravel(),
        method="BDF",
        events=still,
        rtol=1e-8,
        atol=1e-10,
    )
    if not path.success:
        raise ValueError(f"the flow could not be followed to time {time:g}: {path.message}")
    logits = path.y[:, -1].reshape(world.logits.shape)
    end = float(path.t[-1])
    residual = movement(end, path.y[:, -1])
    return Reached(tree.policy(logits), logits, end, residual, path.status == 1 or residual <= tolerance)
