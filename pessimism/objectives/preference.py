"""Preference losses in expectation over Bradley-Terry pairs drawn from the behavior policy, rewards as utilities."""

from __future__ import annotations

from functools import partial

import numpy as np
from array_api_compat import array_namespace
from scipy.special import expit

from .. import baselines
from ..algorithm import Algorithm
from ..bandit import Bandit
from ..baseline import Moments
from ..solution import Solution, gibbs, mixed_link, tilted
from ..solve.simplex import Array, expectation
from .arrays import average
from .entry import Entry, positive

__all__ = ["identity_preference", "identity_preference_target", "mixed_preference", "preference"]


def _preferred(score: Array, behavior: Array | None) -> Array:
    """E_b sigma(s_a - s_b): how often each member of the group beats another one drawn from it."""
    xp = array_namespace(score)
    beats = 0.5 * (1 + xp.tanh((score[..., :, None] - score[..., None, :]) / 2))
    weights = None if behavior is None else xp.broadcast_to(behavior[..., None, :], beats.shape)
    return average(beats, weights)[..., 0]


def preference(log_ratio: Array, advantage: Array, *, beta: float, behavior: Array | None = None) -> Array:
    r"""DPO in expectation over Bradley-Terry pairs. Coupled.

    $c_a = E_b[\sigma(A_a - A_b) - \sigma(\beta(\ell_a - \ell_b))]$.
    """
    return _preferred(advantage, behavior) - _preferred(beta * log_ratio, behavior)


DPO = Entry(
    name="dpo",
    title="Direct preference optimization",
    coefficient="E_b[s(A_a - A_b) - s(beta (l_a - l_b))], s the logistic function",
    target="pi ~ mu exp(r/beta)",
    family="preference",
    level="sequence",
    source="DPO, arXiv 2305.18290",
    make=lambda beta: Algorithm(
        partial(preference, beta=beta),
        baselines.none(),
        coupled=True,
        anchor="behavior",
        induced=partial(gibbs, beta=beta, centered=True),
        nominal=partial(gibbs, beta=beta, centered=True),
        scale=2 * beta,
    ),
    parameters={"beta": positive(0.1, "temperature", unit=1, example=0.5, anchors=True)},
    notes="Link log z (claim preference.links).",
)


def identity_preference(log_ratio: Array, advantage: Array, *, tau: float, behavior: Array | None = None) -> Array:
    r"""IPO in expectation over Bradley-Terry pairs: $c_a = E_b\sigma(A_a - A_b) - 1/2 - \tau(\ell_a - E\ell)$. Coupled.

    Minus the derivative of $E[(\ell_w - \ell_l - 1/2\tau)^2]$ over pairs (winner w, loser l), times $\tau/4$.
    """
    return _preferred(advantage, behavior) - 0.5 - tau * (log_ratio - average(log_ratio, behavior))


def identity_preference_target(bandit: Bandit, moments: Moments, *, tau: float) -> Solution:
    r"""IPO's target $\pi \propto \mu\,e^{p/\tau}$, $p(y) = E_{b\sim\mu}\,\sigma(r(y) - r(b))$ (arXiv 2310.12036)."""
    rows = moments.advantage.reshape(-1, bandit.arms)
    weights = bandit.behavior.reshape(-1, bandit.arms)
    wins = np.empty_like(rows)
    for arm in range(bandit.arms):  # one arm at a time keeps memory at the size of the input
        wins[:, arm] = expectation(weights, expit(rows[:, arm : arm + 1] - rows))
    return tilted(bandit, wins.reshape(moments.advantage.shape) / tau)


IPO = Entry(
    name="ipo",
    title="Identity preference optimization",
    coefficient="E_b s(A_a - A_b) - 1/2 - tau (l_a - E l)",
    target="pi ~ mu exp(p/tau), p(y) = E_b s(r(y) - r(b)) the win rate",
    family="preference",
    level="sequence",
    source="IPO, arXiv 2310.12036",
    make=lambda tau: Algorithm(
        partial(identity_preference, tau=tau),
        baselines.none(),
        coupled=True,
        anchor="behavior",
        induced=partial(identity_preference_target, tau=tau),
        nominal=partial(identity_preference_target, tau=tau),
        scale=4 / tau,
    ),
    parameters={"tau": positive(0.1, "temperature, in units of win rate", example=0.4, anchors=True)},
    notes="Link log z, on win rates.",
    own_unit=True,
)


def mixed_preference(log_ratio: Array, advantage: Array, *, beta: float, behavior: Array | None = None) -> Array:
    r"""$\chi$PO: DPO with the link $\phi = \rho + \ell$. Coupled.

    $c_a = (1 + \rho_a)\,E_b[\sigma(A_a - A_b) - \sigma(\beta(\phi_a - \phi_b))]$.
    """
    ratio = array_namespace(log_ratio).exp(log_ratio)
    link = beta * (ratio + log_ratio)
    return (1 + ratio) * (_preferred(advantage, behavior) - _preferred(link, behavior))


CHI_PO = Entry(
    name="chi_po",
    title="chi-squared preference optimization",
    coefficient="(1 + rho_a) E_b[s(A_a - A_b) - s(beta (phi_a - phi_b))], phi = rho + l",
    target="beta (rho + log rho) = r - v",
    family="preference",
    level="sequence",
    source="chi-PO, arXiv 2407.13399",
    make=lambda beta: Algorithm(
        partial(mixed_preference, beta=beta),
        baselines.none(),
        coupled=True,
        anchor="behavior",
        induced=partial(mixed_link, beta=beta, alpha=beta, carries_ratio=False),
        nominal=partial(mixed_link, beta=beta, alpha=beta, carries_ratio=False),
        scale=2 * beta,
    ),
    parameters={"beta": positive(0.1, "temperature", unit=1, example=0.5, anchors=True)},
    notes="Link z + log z: the Lambert-tempered target with lambda = beta (claim preference.links). Its clipping is "
    "left out.",
)

ENTRIES = (
    DPO,
    IPO,
    CHI_PO,
)
