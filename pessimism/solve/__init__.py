"""Numerical methods that know no objective by name: Lambert systems, fixed points, flows, the simplex, divergences."""

from .divergences import DIVERGENCES, Divergence, chi_squared, entropy, kl, reverse_kl, total_variation
from .fixed_point import FixedPoint, solve_fixed_point
from .flow import Flow, softmax_flow
from .lambert import LambertSolution, critical_offset, solve_fixed_kappa, solve_lambert
from .lambert_functions import own_solution
from .simplex import check_finite, expectation, log
from .stepped import stepped_flow

__all__ = [
    "DIVERGENCES",
    "Divergence",
    "FixedPoint",
    "Flow",
    "LambertSolution",
    "check_finite",
    "chi_squared",
    "critical_offset",
    "entropy",
    "expectation",
    "kl",
    "log",
    "own_solution",
    "reverse_kl",
    "softmax_flow",
    "solve_fixed_kappa",
    "solve_fixed_point",
    "solve_lambert",
    "stepped_flow",
    "total_variation",
]
