"""Tools of the repository; run from a checkout, never part of the wheel."""
