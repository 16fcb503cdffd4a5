"""Preference losses in expectation over Bradley-Terry pairs drawn from the behavior policy, rewards as utilities."""

from __future__ import annotations

from functools import partial

from .. import baselines, closed_forms, coefficients
from ..algorithm import Algorithm
from .entry import Entry, positive

ENTRIES = (
    Entry(
        "dpo",
        "Direct preference optimization",
        "E_b[s(A_a - A_b) - s(beta (l_a - l_b))], s the logistic function",
        "pi ~ mu exp(r/beta)",
        "preference",
        "sequence",
        "DPO, arXiv 2305.18290",
        lambda beta: Algorithm(
            partial(coefficients.preference, beta=beta),
            baselines.none(),
            coupled=True,
            anchor="behavior",
            induced=partial(closed_forms.gibbs, beta=beta, centered=True),
            nominal=partial(closed_forms.gibbs, beta=beta, centered=True),
            scale=2 * beta,
        ),
        {"beta": positive(0.1, "temperature")},
        "Link log z (claim preference.links).",
    ),
    Entry(
        "ipo",
        "Identity preference optimization",
        "E_b s(A_a - A_b) - 1/2 - tau (l_a - E l)",
        "pi ~ mu exp(p/tau), p(y) = E_b s(r(y) - r(b)) the win rate",
        "preference",
        "sequence",
        "IPO, arXiv 2310.12036",
        lambda tau: Algorithm(
            partial(coefficients.identity_preference, tau=tau),
            baselines.none(),
            coupled=True,
            anchor="behavior",
            induced=partial(closed_forms.win_rate_gibbs, tau=tau),
            nominal=partial(closed_forms.win_rate_gibbs, tau=tau),
            scale=4 / tau,
        ),
        {"tau": positive(0.1, "temperature, in units of win rate")},
        "Link log z, on win rates.",
    ),
    Entry(
        "chi_po",
        "chi-squared preference optimization",
        "(1 + rho_a) E_b[s(A_a - A_b) - s(beta (phi_a - phi_b))], phi = rho + l",
        "beta (rho + log rho) = r - v",
        "preference",
        "sequence",
        "chi-PO, arXiv 2407.13399",
        lambda beta: Algorithm(
            partial(coefficients.mixed_preference, beta=beta),
            baselines.none(),
            coupled=True,
            anchor="behavior",
            induced=partial(closed_forms.mixed_link, beta=beta, alpha=beta, carries_ratio=False),
            nominal=partial(closed_forms.mixed_link, beta=beta, alpha=beta, carries_ratio=False),
            scale=2 * beta,
        ),
        {"beta": positive(0.1, "temperature")},
        "Link z + log z: the Lambert-tempered target with lambda = beta (claim preference.links). Its clipping is left "
        "out.",
    ),
)
