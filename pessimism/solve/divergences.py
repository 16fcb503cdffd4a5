r"""f-divergences $D_f(\pi\|\mu) = E_\mu f(\rho)$, each by its generator as a function of the log-ratio.

Generators are centered, $f(1) = f'(1) = 0$, so each term is nonnegative and small divergences keep full relative
accuracy. (Total variation has a kink there instead.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from scipy.special import xlogy

from .simplex import expectation, expm1_minus


@dataclass(frozen=True)
class Divergence:
    """A divergence: its generator f and derivative f', both as functions of the log-ratio (arrays of any shape)."""

    name: str
    formula: str
    generator: Callable[[np.ndarray], np.ndarray]
    derivative: Callable[[np.ndarray], np.ndarray]

    def __call__(self, log_ratio: np.ndarray, behavior: np.ndarray) -> np.ndarray:
        r"""$E_\mu f(\rho)$ over the last axis: (..., K), (..., K) -> (...), in nats where a logarithm is involved.

        Infinite where an arm that the generator cannot forgive has lost (or gained) all its mass. Arms that the
        behavior policy never plays must not carry mass: then every divergence here but total variation is infinite.

        >>> bool(DIVERGENCES["kl"](np.log([1.5, 0.5]), np.array([0.5, 0.5])).round(6) == 0.130812)
        True
        """
        with np.errstate(over="ignore", invalid="ignore"):
            return expectation(behavior, self.generator(log_ratio))


def _kl(log_ratio: np.ndarray) -> np.ndarray:
    finite = np.where(log_ratio == -np.inf, 0.0, log_ratio)
    # rho log rho - rho + 1 = rho phi(-l); for very negative l, phi(-l) overflows while the product tends to one.
    deep = finite < -30
    near = np.where(deep, 0.0, finite)
    value = np.exp(near) * expm1_minus(-near)
    return np.where(log_ratio == -np.inf, 1.0, np.where(deep, 1 + np.exp(finite) * (finite - 1), value))


def _jensen_shannon(log_ratio: np.ndarray) -> np.ndarray:
    ratio = np.exp(log_ratio)
    half = np.log1p(np.expm1(log_ratio) / 2)  # log((1 + rho)/2)
    return (xlogy(ratio, ratio) - ratio * half - half) / 2


DIVERGENCES: Mapping[str, Divergence] = MappingProxyType(
    {
        d.name: d
        for d in (
            Divergence("kl", "KL(pi|mu) = E rho log rho", _kl, lambda x: x),
            Divergence("reverse_kl", "KL(mu|pi) = -E log rho", expm1_minus, lambda x: -np.expm1(-x)),
            Divergence("chi2", "E (rho - 1)^2", lambda x: np.expm1(x) ** 2, lambda x: 2 * np.expm1(x)),
            Divergence(
                "hellinger",
                "E (sqrt(rho) - 1)^2",
                lambda x: np.expm1(x / 2) ** 2,
                lambda x: -np.expm1(-x / 2),
            ),
            Divergence(
                "total_variation",
                "E |rho - 1| / 2",
                lambda x: np.abs(np.expm1(x)) / 2,
                lambda x: np.sign(x) / 2,
            ),
            Divergence(
                "jensen_shannon",
                "(KL(pi|m) + KL(mu|m))/2, m = (pi + mu)/2",
                _jensen_shannon,
                lambda x: (x - np.log1p(np.expm1(x) / 2)) / 2,
            ),
            Divergence(
                "neyman",
                "E (rho - 1)^2 / rho",
                lambda x: np.expm1(x) * -np.expm1(-x),
                lambda x: -np.expm1(-2 * x),
            ),
        )
    }
)
"""The divergences by name."""


def kl(log_ratio: np.ndarray, behavior: np.ndarray) -> np.ndarray:
    r"""$\mathrm{KL}(\pi\|\mu)$ in nats, (...)."""
    return DIVERGENCES["kl"](log_ratio, behavior)


def reverse_kl(log_ratio: np.ndarray, behavior: np.ndarray) -> np.ndarray:
    r"""$\mathrm{KL}(\mu\|\pi)$ in nats, (...)."""
    return DIVERGENCES["reverse_kl"](log_ratio, behavior)


def chi_squared(log_ratio: np.ndarray, behavior: np.ndarray) -> np.ndarray:
    r"""$\chi^2(\pi\|\mu) = E_\mu(\rho - 1)^2$, (...)."""
    return DIVERGENCES["chi2"](log_ratio, behavior)


def entropy(policy: np.ndarray) -> np.ndarray:
    """Shannon entropy in nats over the last axis, (...).

    >>> float(entropy(np.array([0.5, 0.5, 0.0])).round(6))
    0.693147
    """
    return -xlogy(policy, policy).sum(axis=-1)


def total_variation(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    r"""$\frac12\sum_y|\pi(y) - \pi'(y)|$ of policies (..., K), (...).

    >>> float(total_variation(np.array([0.5, 0.5]), np.array([0.75, 0.25])))
    0.25
    """
    return np.abs(first - second).sum(axis=-1) / 2
