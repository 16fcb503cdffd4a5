"""The objectives that people train with: formulas, parameters, sources, closed forms; one file a family."""
