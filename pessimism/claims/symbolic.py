"""Symbols and judgments for symbolic proofs with sympy, which is imported when a proof runs."""

from __future__ import annotations

from typing import Any

__all__ = ["is_nonnegative", "is_positive", "is_zero", "positive_symbols", "real_symbols", "target_slope"]


def is_zero(expression: Any) -> bool:
    """Whether sympy reduces an expression to 0."""
    import sympy as sp

    return sp.simplify(sp.expand(expression)) == 0


def is_positive(expression: Any) -> bool:
    """Whether sympy shows an expression positive from the assumptions on its symbols."""
    import sympy as sp

    return sp.factor(sp.simplify(expression)).is_positive is True


def is_nonnegative(expression: Any) -> bool:
    """Whether sympy shows an expression nonnegative from the assumptions on its symbols."""
    import sympy as sp

    return sp.factor(sp.simplify(expression)).is_nonnegative is True


def positive_symbols(names: str) -> Any:
    """Positive symbols of sympy, by names apart by spaces: one, or a tuple."""
    import sympy as sp

    return sp.symbols(names, positive=True)


def real_symbols(names: str) -> Any:
    """Real symbols of sympy, by names apart by spaces: one, or a tuple."""
    import sympy as sp

    return sp.symbols(names, real=True)


def target_slope() -> Any:
    """d log rho/dr from beta log rho + lambda rho = r - V, by implicit differentiation."""
    import sympy as sp

    beta, normalizer, rho = positive_symbols("beta lambda rho")
    reward, baseline = real_symbols("r V")
    equation = beta * sp.log(rho) + normalizer * rho - (reward - baseline)
    return sp.simplify(-sp.diff(equation, reward) / sp.diff(equation, rho) / rho)
