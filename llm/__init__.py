"""Language models trained with the objectives of `pessimism`; run from a checkout, never part of the wheel."""
