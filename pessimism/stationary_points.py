"""All local minima of an objective's loss on the simplex: what a negative regime can run to."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .algorithm import Algorithm
from .bandit import Bandit
from .display import brief, brief_html
from .given import understood
from .solve.divergences import total_variation
from .solve.flow import softmax_flow
from .solve.lambert_minima import regression_minima
from .solve.simplex import expectation, log_expectation_exp

_SAME = 1e-5  # total variation below which two limits of the flow are one
_NODES = 64  # of the Gauss-Legendre rule for the loss


@dataclass(frozen=True, eq=False)
class StationaryPoint:
    r"""A local minimum of the loss.

    Attributes:
        policy, log_ratio: (K,).
        normalizer: $E_\mu[c]$ there.
        loss: $-E_\mu\int_0^{\ell} c\,d\ell$ relative to the behavior policy's, in units of the coefficient; for
            log-ratio regression $E_\mu[(A - \beta\ell)^2 - A^2]/2\beta$.
        rare_arm: for log-ratio regression in the negative regime, the arm that sits on the second branch of its
            equation (its own weight in the loss is negative there), or None.
    """

    policy: np.ndarray
    log_ratio: np.ndarray
    normalizer: float
    loss: float
    rare_arm: int | None = None

    __repr__ = brief
    _repr_html_ = brief_html


def stationary_points(bandit: Bandit, algorithm: Algorithm | str) -> list[StationaryPoint]:
    r"""Every local minimum of the algorithm's loss over the simplex, lowest loss first.

    For log-ratio regression the list is complete: with a baseline up to the soft value $V^*$ there is one minimum;
    beyond it arms may sit, one at a time, on the branch $W_{-1}$ of their equation. For any other arm-wise coefficient
    the flow is started next to every arm and at the behavior policy, and its distinct limits are returned; vertices
    are then given as the flow approached them.

    Raises:
        ValueError: a batch of bandits (ask for one at a time), a reference, or a coefficient that couples the arms
            (which is not the gradient of an arm-wise loss).

    >>> import pessimism as ps
    >>> bandit = ps.Bandit([0.5, 0.3, 0.2], [0, 0, 1])
    >>> [round(point.normalizer, 6) for point in ps.stationary_points(bandit, ps.algorithm("shifted_mean", beta=0.5))]
    [0.534383]
    """
    bandit, algorithm = understood(bandit, algorithm)
    if bandit.batch_shape != ():
        raise ValueError(f"bandit has batch shape {bandit.batch_shape}; stationary points are listed for one bandit")
    if bandit.reference is not None:
        raise ValueError(
            "stationary points are listed for log-ratios from the behavior policy; leave the reference out"
        )
    if algorithm.coupled:
        raise ValueError(f"the coefficient of {algorithm.name!r} couples the arms; it has no arm-wise loss to minimize")
    advantage = algorithm.baseline.exact(bandit.reward, bandit.behavior).advantage
    if algorithm.beta is not None:
        return _regression_points(bandit, advantage, algorithm.beta)
    return _flow_points(bandit, advantage, algorithm)


def _regression_points(bandit: Bandit, advantage: np.ndarray, beta: float) -> list[StationaryPoint]:
    played = bandit.behavior > 0
    scaled = advantage / beta
    offset = -log_expectation_exp(bandit.behavior, scaled)
    points = []
    for minimum in regression_minima(bandit.behavior, scaled + offset, float(offset)):
        log_ratio = minimum.log_ratio
        change = expectation(bandit.behavior, beta * np.where(played, log_ratio, 0.0) ** 2 / 2 - advantage * log_ratio)
        points.append(
            StationaryPoint(
                np.exp(bandit.log_behavior + log_ratio),
                log_ratio,
                beta * float(minimum.kappa),
                float(change),
                minimum.arm,
            )
        )
    return sorted(points, key=lambda point: point.loss)


def _flow_points(bandit: Bandit, advantage: np.ndarray, algorithm: Algorithm) -> list[StationaryPoint]:
    played = np.flatnonzero(bandit.behavior > 0)
    near = 0.02 * bandit.behavior + 0.98 * np.eye(bandit.arms)[played]
    starts = np.concatenate([bandit.behavior[None], near])
    kinks = algorithm.kinks
    if kinks is not None and algorithm.takes_behavior:
        raise ValueError(f"the kinks of {algorithm.name!r} depend on the behavior policy; only its flow is available")
    flow = softmax_flow(
        algorithm.coefficient,
        np.broadcast_to(bandit.behavior, starts.shape),
        np.broadcast_to(advantage, starts.shape),
        start=starts,
        kinks=kinks,
        takes_behavior=algorithm.takes_behavior,
    )
    points: list[StationaryPoint] = []
    for policy, log_ratio, converged in zip(flow.policy, flow.log_ratio, flow.converged, strict=True):
        if not converged or any(total_variation(policy, known.policy) < _SAME for known in points):
            continue
        value = algorithm.coefficient(log_ratio, advantage, **algorithm.weights(bandit.behavior))
        loss = _loss(bandit, advantage, algorithm, log_ratio)
        points.append(StationaryPoint(policy, log_ratio, float(expectation(bandit.behavior, value)), loss))
    return sorted(points, key=lambda point: point.loss)


def _loss(bandit: Bandit, advantage: np.ndarray, algorithm: Algorithm, log_ratio: np.ndarray) -> float:
    """-E_mu of the integral of c from 0 to the log-ratio, by Gauss-Legendre quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    places = log_ratio * (nodes[:, None] + 1) / 2  # (n, K)
    gains = np.broadcast_to(advantage, places.shape)
    behavior = np.broadcast_to(bandit.behavior, places.shape)
    values = algorithm.coefficient(places, gains, **algorithm.weights(behavior))
    integral = log_ratio / 2 * (weights[:, None] * values).sum(axis=0)
    return -float(expectation(bandit.behavior, integral))
