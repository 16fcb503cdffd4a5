"""The entries of the catalogue, one file per family; a new objective is added to one of these tables."""

from . import policy_gradient, preference, ratio, regression, variants, weighted

ENTRIES = (
    *policy_gradient.ENTRIES,
    *ratio.ENTRIES,
    *regression.ENTRIES,
    *weighted.ENTRIES,
    *preference.ENTRIES,
    *variants.ENTRIES,
)
