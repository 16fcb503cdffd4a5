"""Every figure, in the order of the tables: adding one is adding its file and its line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from . import (
    asymre_transition,
    bad_prefix,
    catalogue_map,
    confidence_shift,
    convergence,
    counterfactual,
    experiment_deployed,
    experiment_dose,
    experiment_rates,
    experiment_variance,
    lag_and_collapse,
    language_model_lag,
    language_model_settings,
    oapl_plane,
    rare_arms,
    recursion_rate,
    regimes,
    residual_cells,
    residual_noise,
    sequence_levels,
    target_ratios,
    three_policies,
    tied_winners,
    tpo_misalignment,
    trust_region,
    verifier_noise,
)
from .spec import FigureSpec

FIGURES: Mapping[str, FigureSpec] = MappingProxyType(
    {
        spec.name: spec
        for spec in (
            target_ratios.FIGURE,
            regimes.FIGURE,
            rare_arms.FIGURE,
            tied_winners.FIGURE,
            oapl_plane.FIGURE,
            lag_and_collapse.FIGURE,
            three_policies.FIGURE,
            language_model_lag.FIGURE,
            language_model_settings.FIGURE,
            counterfactual.FIGURE,
            asymre_transition.FIGURE,
            sequence_levels.FIGURE,
            bad_prefix.FIGURE,
            verifier_noise.FIGURE,
            catalogue_map.FIGURE,
            convergence.FIGURE,
            tpo_misalignment.FIGURE,
            confidence_shift.FIGURE,
            trust_region.FIGURE,
            recursion_rate.FIGURE,
            residual_cells.FIGURE,
            residual_noise.FIGURE,
            experiment_dose.FIGURE,
            experiment_rates.FIGURE,
            experiment_variance.FIGURE,
            experiment_deployed.FIGURE,
        )
    }
)
"""Name -> figure."""
