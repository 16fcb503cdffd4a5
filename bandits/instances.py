"""Named bandit instances: the ones worked out by hand, the published ones, and one from real data.

Each is a function that returns a `pessimism.Bandit`; called without arguments it gives the instance that the
documentation quotes. `INSTANCES` lists them by name. On the command line:
`--bandit bandits.instances:digits`.
"""

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np
from scipy.special import softmax

import pessimism as ps

from .noise import VerifierNoise, observed

__all__ = [
    "INSTANCES",
    "asymre_100",
    "digits",
    "five_arm",
    "huge",
    "noisy_sparse",
    "rec_counterexample",
    "sparse",
    "three_arm",
    "tpo_multi_context",
    "tpo_single_context",
]


def three_arm() -> ps.Bandit:
    """One rewarded arm of three; meant for beta = 0.5.

    The smallest instance on which the induced and the nominal target of a log-ratio regression differ.
    behavior, reward: (3,). Source: derived here.

    >>> bandit = three_arm()
    >>> bandit.behavior @ bandit.reward
    np.float64(0.2)
    """
    return ps.Bandit(behavior=np.array([0.5, 0.3, 0.2]), reward=np.array([0.0, 0.0, 1.0]))


def five_arm() -> ps.Bandit:
    """Five arms, an irregular behavior policy and rewards of both signs; meant for beta = 0.7.

    With a baseline 3 above V* = beta log E_mu exp(r / beta), log-ratio regression has five local minima, one
    per arm, and the lowest loss puts almost all mass on the arm that the behavior policy plays least
    (mu = 0.0211), although its reward is below average. behavior, reward: (5,). Source: derived here.

    >>> bandit = five_arm()
    >>> int(bandit.behavior.argmin()), bool(bandit.reward[3] < bandit.behavior @ bandit.reward)
    (3, True)
    """
    return ps.Bandit(
        behavior=np.array([0.118, 0.273, 0.0989, 0.0211, 0.489]),
        reward=np.array([0.914, -0.02, -1.249, -0.314, 0.054]),
    )


def rec_counterexample() -> ps.Bandit:
    """Three arms on which group-mean REINFORCE without importance weights picks the wrong one.

    The flow ends on argmax_y mu(y) (r(y) - E_mu r), here arm 1 (counting from 0), while arm 2 has the highest
    reward. behavior, reward: (3,). Source: the three-arm example of REC, arXiv 2509.24203.

    >>> bandit = rec_counterexample()
    >>> advantage = bandit.reward - bandit.behavior @ bandit.reward
    >>> int((bandit.behavior * advantage).argmax()), int(bandit.reward.argmax())
    (1, 2)
    """
    return ps.Bandit(behavior=np.array([0.3, 0.6, 0.1]), reward=np.array([0.0, 0.8, 1.0]))


def asymre_100(seed: int = 0) -> ps.Bandit:
    """A hundred arms, rewards uniform on [0, 1], behavior = softmax(y / 10) over the arm's index y = 0..99.

    The behavior policy knows nothing of the rewards and gives nine tenths of its mass to the last 23 arms, so
    the best arm is usually rare. behavior, reward: (100,). `seed` draws the rewards; the published draw is
    not known. Source: AsymRE, arXiv 2506.20520 (the bandit of its experiments).

    Raises ValueError for a negative seed.

    >>> bandit = asymre_100()
    >>> bandit.reward.shape, float(bandit.behavior[-23:].sum().round(2))
    ((100,), 0.9)
    """
    if seed < 0:
        raise ValueError(f"seed: must be a non-negative integer, got {seed}")
    return ps.Bandit(
        behavior=softmax(np.arange(100) / 10.0),
        reward=np.random.default_rng(seed).uniform(size=100),
    )


def digits(temperature: float = 1.0, fraction: float = 0.05, seed: int = 0) -> ps.Bandit:
    """Handwritten digits as a contextual bandit: 1,797 contexts (images), 10 arms (labels).

    reward[n, k] = 1 if k is the label of image n, else 0. The behavior policy is the softmax of a multinomial
    logistic regression (L2 penalty 1, L-BFGS run to a gradient of 1e-8) that has seen only `fraction` of the
    labeled images, every class among them; its logits are divided by `temperature`, so a larger one explores
    more. Nothing is mixed in: no probability is 0 unless it underflows, but some are tiny. `seed` picks the
    images shown.
    behavior, reward: (1797, 10), dimensionless.

    Source: scikit-learn's bundled digits (UCI, Alpaydin and Kaynak); classification data turned into a bandit
    with a logging policy fitted on 5% of them is the usual protocol of off-policy learning.

    Raises ValueError for temperature <= 0 or not finite, a fraction that does not leave as many images as
    there are classes on either side, and a negative seed. Needs the extra `bandits`.

    >>> bandit = digits()
    >>> bandit.behavior.shape, bool(bandit.behavior.min() > 0)
    ((1797, 10), True)
    >>> bool(0.62 < (bandit.behavior * bandit.reward).sum(axis=-1).mean() < 0.65)
    True
    """
    # Here, not at the top: the other instances must not need the extra `bandits`.
    from sklearn.datasets import load_digits
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import train_test_split

    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature: must be positive and finite, got {temperature}")
    if seed < 0:
        raise ValueError(f"seed: must be a non-negative integer, got {seed}")
    images, labels = load_digits(return_X_y=True)
    classes = np.unique(labels)
    count = round(fraction * labels.size) if math.isfinite(fraction) else 0
    if not classes.size <= count <= labels.size - classes.size:
        lowest, highest = classes.size / labels.size, 1 - classes.size / labels.size
        raise ValueError(f"fraction: must lie in [{lowest:.4f}, {highest:.4f}], got {fraction}")

    images = images / 16.0  # pixels are 0..16
    shown, _ = train_test_split(np.arange(labels.size), train_size=count, stratify=labels, random_state=seed)
    model = LogisticRegression(C=1.0, tol=1e-8, max_iter=10_000).fit(images[shown], labels[shown])
    logits = model.decision_function(images)
    return ps.Bandit(
        behavior=softmax(logits / temperature, axis=-1),
        reward=(labels[:, None] == classes).astype(float),
    )


def sparse(arms: int = 100, rewarded: int = 1, spread: float = 1.0, seed: int = 0) -> ps.Bandit:
    """Reward 1 on a few arms, 0 on all others; behavior = softmax of independent normal logits.

    behavior, reward: (arms,). `spread` is the standard deviation of the logits (0: uniform behavior); `seed` draws
    them and picks the rewarded arms. Source: derived here.

    Raises ValueError unless 1 <= rewarded <= arms, spread >= 0 and seed >= 0.

    >>> bandit = sparse(arms=50, rewarded=3)
    >>> bandit.arms, float(bandit.reward.sum())
    (50, 3.0)
    """
    if not 1 <= rewarded <= arms:
        raise ValueError(f"rewarded: must lie in 1..{arms} (the number of arms), got {rewarded}")
    if not (math.isfinite(spread) and spread >= 0):
        raise ValueError(f"spread: must be finite and non-negative, got {spread}")
    generator = np.random.default_rng(_checked(seed))
    reward = np.zeros(arms)
    reward[generator.choice(arms, size=rewarded, replace=False)] = 1.0
    return ps.Bandit(behavior=softmax(spread * generator.normal(size=arms)), reward=reward)


def huge(arms: int = 20_000, share: float = 0.1, seed: int = 0) -> ps.Bandit:
    """Far more arms than any group has samples: behavior falls off as 1/rank, each arm is right with chance `share`.

    Most draws of a small group are arms never seen before, as completions of a language model are.
    behavior, reward: (arms,), rewards 0 or 1. Source: derived here.

    Raises ValueError unless arms >= 1, 0 <= share <= 1 and seed >= 0.

    >>> bandit = huge()
    >>> float(bandit.behavior[0].round(3)), bool(abs(bandit.reward.mean() - 0.1) < 0.01)
    (0.095, True)
    """
    if arms < 1:
        raise ValueError(f"arms: must be at least 1, got {arms}")
    if not 0 <= share <= 1:
        raise ValueError(f"share: must lie in [0, 1], got {share}")
    falling = 1.0 / np.arange(1, arms + 1)
    reward = np.random.default_rng(_checked(seed)).random(arms) < share
    return ps.Bandit(behavior=falling / falling.sum(), reward=reward.astype(float))


def noisy_sparse() -> ps.Bandit:
    """`sparse` with ten rewarded arms as a verifier reports it that errs on a tenth of all answers, on average.

    reward: (100,), 0.9 or 0.1. A simulation draws a verdict for each sample instead: `Settings(noise=...)`.
    Source: derived here.

    >>> sorted({float(reward) for reward in noisy_sparse().reward})
    [0.1, 0.9]
    """
    return observed(sparse(rewarded=10), VerifierNoise(false_positive=0.1, false_negative=0.1))


def tpo_single_context(arms: int = 100) -> ps.Bandit:
    """One right arm of a hundred (the first), uniform behavior. behavior, reward: (arms,).

    Source: TPO, arXiv 2604.06159, section 3.1, where it is learned on-policy from 100 samples a step by normalized
    steps of length 0.1. `bandits.published` runs it.

    Raises ValueError for arms < 1.

    >>> tpo_single_context().behavior[0]
    np.float64(0.01)
    """
    if arms < 1:
        raise ValueError(f"arms: must be at least 1, got {arms}")
    return ps.Bandit(behavior=np.full(arms, 1 / arms), reward=np.arange(arms) == 0)


def tpo_multi_context(runs: int = 1, contexts: int = 100, arms: int = 10, seed: int = 0) -> ps.Bandit:
    """A hundred contexts with one right arm of ten each (the first), behavior = softmax of standard normal logits.

    behavior, reward: (runs, contexts, arms); each run has logits of its own. Source: TPO, arXiv 2604.06159, section
    3.2, learned with exact gradients and one normalized step of length 0.1 for all contexts together. Its random
    draws (JAX's) are not reproduced. `bandits.published` runs it.

    Raises ValueError for runs, contexts or arms < 1 and a negative seed.

    >>> tpo_multi_context().behavior.shape
    (1, 100, 10)
    """
    for name, value in {"runs": runs, "contexts": contexts, "arms": arms}.items():
        if value < 1:
            raise ValueError(f"{name}: must be at least 1, got {value}")
    logits = np.random.default_rng(_checked(seed)).normal(size=(runs, contexts, arms))
    return ps.Bandit(behavior=softmax(logits, axis=-1), reward=np.arange(arms) == 0)


def _checked(seed: int) -> int:
    if seed < 0:
        raise ValueError(f"seed: must be a non-negative integer, got {seed}")
    return seed


INSTANCES: Mapping[str, Callable[[], ps.Bandit]] = MappingProxyType(
    {
        instance.__name__: instance
        for instance in (
            three_arm,
            five_arm,
            rec_counterexample,
            asymre_100,
            digits,
            sparse,
            huge,
            noisy_sparse,
            tpo_single_context,
            tpo_multi_context,
        )
    }
)
"""Name -> what makes the instance with its defaults."""
