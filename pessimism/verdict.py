"""Verdict on a comparison: one sentence on whether an objective is pessimistic, and by how much."""

from __future__ import annotations

import numpy as np

from .compare import Comparison
from .prefixes import OF_ONE_TOKEN, has_prefix_regimes, regime_words


def verdict(comparison: Comparison) -> str:
    """One line: is the induced target more conservative than the nominal one, and by how much?"""
    if comparison.induced.policy.ndim == 1:
        return _verdict_one(comparison)
    return _verdict_batch(comparison)


def _verdict_one(comparison: Comparison) -> str:
    induced, nominal = comparison.induced_metrics, comparison.nominal_metrics
    moves = (
        f"KL from the behavior policy {induced.kl:.3f} nats (nominal {nominal.kl:.3f}), "
        f"value {induced.value:.3f} (nominal {nominal.value:.3f})"
    )
    target = comparison.induced
    regime = comparison.regime
    if target.kind == "not converged":
        return "not converged: the flow was still moving when its time was up; " + moves
    if target.kind == "unstable":
        return "at rest, but unstable: rewards agree, and any small deviation from the behavior policy grows"
    if comparison.at_nominal:
        where = f" ({regime_words(comparison.algorithm, regime)})" if regime else ""
        nats = f"{induced.kl:.3f} nats from the behavior policy"
        return f"no implicit pessimism{where}: the induced target is the nominal one, {nats}"
    path = " (path-dependent)" if target.kind == "path-dependent" else ""
    if comparison.at_stated:
        return f"explicit pessimism only{path}: it stops where it states; {moves}"
    if target.kind == "vertex":
        winner = int(np.argmax(target.policy))
        best = comparison.bandit.reward[winner] >= comparison.bandit.reward[comparison.bandit.behavior > 0].max()
        return f"collapse onto arm {winner}, {'the' if best else 'not the'} most rewarding one; {moves}"
    if regime == "negative":
        return f"fragile ({regime_words(comparison.algorithm, regime)}){path}: {moves}"
    stated = comparison.stated_metrics
    claimed = "nominal" if comparison.stated is comparison.nominal else "stated"
    word = "pessimistic" if induced.kl < stated.kl else f"optimistic: beyond its {claimed} target"
    where = f" ({regime_words(comparison.algorithm, regime)})" if regime else path
    part = "" if claimed == "nominal" else f"; {stated.kl:.3f} nats where it states that it stops"
    return f"{word}{where}: {moves}{part}"


def _verdict_batch(comparison: Comparison) -> str:
    induced, nominal = comparison.induced_metrics, comparison.nominal_metrics
    rows = int(np.prod(comparison.bandit.batch_shape))
    same = float(np.mean(comparison.at_nominal))
    closer = float(np.mean((np.asarray(induced.kl) < np.asarray(nominal.kl)) & ~comparison.at_nominal))
    parts = [f"more conservative than nominal on {closer:.1%} of {rows} rows"]
    if same:
        parts.append(f"the same on {same:.1%}")
    if comparison.regime is not None:
        shares = [f"{name} {np.mean(comparison.regime == name):.1%}" for name in ("positive", "boundary", "negative")]
        own = OF_ONE_TOKEN if has_prefix_regimes(comparison.algorithm) else ""
        parts.append(f"regimes{own}: " + ", ".join(shares))
    if comparison.stated is not comparison.nominal:
        less = np.asarray(induced.kl) < np.asarray(comparison.stated_metrics.kl)
        implicit = float(np.mean(less & ~comparison.at_stated))
        parts.append(f"more conservative than it states on {implicit:.1%}")
    parts.append(f"mean KL {np.mean(induced.kl):.3f} nats (nominal {np.mean(nominal.kl):.3f})")
    parts.append(f"mean value {np.mean(induced.value):.3f} (nominal {np.mean(nominal.value):.3f})")
    return "; ".join(parts)
