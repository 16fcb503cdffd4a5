"""Numerical methods that know no objective by name: Lambert systems, fixed points, flows, the simplex, divergences."""
