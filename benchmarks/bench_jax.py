"""The published bandits' updates as compiled JAX scans, to be timed against: methods in float64 or float32.

The same updates as :mod:`bandits.published`, written as one would in JAX: ``lax.scan`` over steps, ``vmap`` over seeds,
``jit`` around both. ``actions`` draws every action of a batch, as TPO's public code does; ``counts`` draws how often
each arm came up, which is the same in distribution. With exact gradients and one right arm per context the public code
takes a shortcut, that E[c grad log pi] is a number times the supervised direction; so does this.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

jax.config.update("jax_enable_x64", True)

SINGLE = ("tpo", "delightful", "grpo", "policy gradient")
MULTI = ("cross-entropy", "tpo", "grpo", "delightful", "policy gradient")
DRAWS = ("actions", "counts")

Array = Any
Scan = Callable[[Array], Array]
"""Starting points of all runs -> errors (runs, steps)."""


def single_context(method: str, draws: str, arms: int = 100, batch: int = 100, steps: int = 150) -> Scan:
    """TPO's single-context bandit: keys (seeds, ...) -> errors after every step."""

    def shares(key: Array, logits: Array) -> Array:
        """How large a part of the batch each arm is, (K,)."""
        if draws == "counts":
            trials = jnp.asarray(batch, logits.dtype)
            return jax.random.multinomial(key, trials, jax.nn.softmax(logits), dtype=logits.dtype) / batch
        actions = jax.random.categorical(key, logits, shape=(batch,))
        return jax.nn.one_hot(actions, arms, dtype=logits.dtype).mean(axis=0)

    def step(logits: Array, key: Array) -> tuple[Array, Array]:
        policy = jax.nn.softmax(logits)
        share = shares(key, logits)
        right = jnp.zeros_like(policy).at[0].set(1)
        if method == "tpo":
            direction = _tilted(policy, share * (right - 0.5)) - policy
        else:
            pull = share * _coefficient(method, right, policy, share @ right)
            direction = pull - pull.sum() * policy
        logits = logits + 0.1 * direction / _length(direction)
        return logits, 1 - jax.nn.softmax(logits)[0]

    def run(key: Array, start: Array) -> Array:
        return jax.lax.scan(step, start, jax.random.split(key, steps))[1]

    return jax.jit(jax.vmap(run))


def multi_context(method: str, steps: int = 1000) -> Scan:
    """TPO's multi-context bandit: initial logits (runs, N, K) -> errors after every step, averaged over contexts."""

    def step(logits: Array, _: None) -> tuple[Array, Array]:
        policy = jax.nn.softmax(logits)
        right = jnp.zeros_like(policy).at[..., 0].set(1)
        p = policy[..., :1]
        if method == "tpo":
            direction = _tilted(policy, right) - policy
        else:
            weight = {
                "cross-entropy": 1.0,
                "grpo": jnp.sqrt(p / (1 - p + 1e-12)),
                "delightful": p * jax.nn.sigmoid(-jnp.log(p)),
                "policy gradient": p,
            }[method]
            direction = weight * (right - policy)
        logits = logits + 0.1 * direction / _length(direction)
        return logits, 1 - jax.nn.softmax(logits)[..., 0].mean()

    def run(start: Array) -> Array:
        return jax.lax.scan(step, start, None, length=steps)[1]

    return jax.jit(jax.vmap(run))


def _coefficient(method: str, right: Array, policy: Array, mean: Array) -> Array:
    if method == "grpo":
        return (right - mean) / jnp.sqrt(mean * (1 - mean) + 1e-12)
    if method == "delightful":
        return (right - 0.5) * jax.nn.sigmoid(-(right - 0.5) * jnp.log(policy))
    return right - 0.5


def _tilted(policy: Array, scores: Array) -> Array:
    spread = scores.std(axis=-1, keepdims=True) + 1e-12
    return jax.nn.softmax(jnp.log(policy) + (scores - scores.mean(axis=-1, keepdims=True)) / spread)


def _length(direction: Array) -> Array:
    return jnp.sqrt((direction**2).sum() + 1e-30)


def timed(scan: Scan, *starts: Array) -> tuple[float, Callable[[], object], float]:
    """Seconds to compile a scan, a call that runs it compiled, and the mean of its final errors."""
    started = time.perf_counter()
    compiled = scan.lower(*starts).compile()  # type: ignore[attr-defined]
    seconds = time.perf_counter() - started
    return seconds, lambda: jax.block_until_ready(compiled(*starts)), float(compiled(*starts)[:, -1].mean())


def single_context_scan(method: str, draws: str, dtype: str, seeds: int) -> tuple[float, Callable[[], object], float]:
    """:func:`timed` of :func:`single_context` from a uniform policy."""
    keys = jax.random.split(jax.random.key(0), seeds)
    return timed(single_context(method, draws), keys, jnp.zeros((seeds, 100), dtype))


def multi_context_scan(method: str, logits: Array, dtype: str) -> tuple[float, Callable[[], object], float]:
    """:func:`timed` of :func:`multi_context` from logits (runs, N, K)."""
    return timed(multi_context(method), jnp.asarray(logits, dtype))
