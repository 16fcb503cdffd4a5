"""Arguments as users give them: a bandit first, then an algorithm or the text that names one."""

from __future__ import annotations

from .algorithm import Algorithm
from .bandit import Bandit


def understood(bandit: object, algorithm: object) -> tuple[Bandit, Algorithm]:
    """What a function of a bandit and an algorithm was given: the algorithm may be written as text.

    Raises:
        ValueError: something else, the two in the other order, or text that :attr:`Algorithm.read` does not understand.

    >>> import pessimism as ps  # which says how text is read
    >>> print(understood(Bandit([0.5, 0.5], [0, 1]), "oapl:beta2=.5")[1])
    oapl(beta1=1, beta2=0.5)
    >>> understood("oapl", Bandit([0.5, 0.5], [0, 1]))
    Traceback (most recent call last):
    ...
    ValueError: the arguments are swapped: first the bandit, then the algorithm
    """
    if isinstance(algorithm, Bandit) and isinstance(bandit, (Algorithm, str)):
        raise ValueError("the arguments are swapped: first the bandit, then the algorithm")
    if not isinstance(bandit, Bandit):
        raise ValueError(
            f"bandit is of type {type(bandit).__name__}; it must be a Bandit, e.g. Bandit(behavior=[0.5, 0.5], "
            "reward=[0, 1])"
        )
    return bandit, understood_algorithm(algorithm)


def understood_algorithm(algorithm: object) -> Algorithm:
    """An algorithm, or what text of the form NAME[:KEY=VALUE,...] names; anything else is a ValueError."""
    if isinstance(algorithm, str):
        return Algorithm.read(algorithm)
    if not isinstance(algorithm, Algorithm):
        raise ValueError(
            f"algorithm is of type {type(algorithm).__name__}; it must be an Algorithm, or text such as "
            "'oapl:beta2=.5', 'module:name' or 'file.py:name'"
        )
    return algorithm
