"""One entry of the catalogue: an objective with its formula, parameters, source and notes on public implementations."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any, Literal, TypedDict, Unpack

from ..algorithm import Algorithm, as_baseline
from ..display import brief, brief_html
from ..hints import near
from ..levels import Level

SMALLEST, LARGEST = 1e-100, 1e100
"""How small and how large a parameter may be, in magnitude: three of them can be multiplied."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of an entry: its published default and what values are allowed.

    ``low`` and ``high`` bound it, exclusively unless ``closed``; infinite values need ``infinite``. The rest are facts
    that tests and figures rest on.

    Attributes:
        unit: the power of the reward's unit that it carries: with rewards and parameters scaled together the target
            stays.
        example: a value at which targets lie well inside the simplex, where the default's may touch its edge.
        anchors: whether the target goes to the behavior policy as the parameter goes to infinity.
    """

    default: float
    description: str
    low: float = -math.inf
    high: float = math.inf
    closed: bool = False
    infinite: bool = False
    unit: int = 0
    example: float | None = None
    anchors: bool = False

    def check(self, entry: str, name: str, value: object) -> float:
        """The value as a float, or a ValueError that says what is allowed."""
        number = _as_float(value)
        inside = self.low <= number <= self.high if self.closed else self.low < number < self.high
        if (math.isfinite(number) and inside) or (self.infinite and number == math.inf):
            if number == 0 or SMALLEST <= abs(number) <= LARGEST or number == math.inf:
                return number
            raise ValueError(
                f"{entry}: {name} is {value!r}; numbers beyond {LARGEST:g}, or nearer to 0 than {SMALLEST:g}, "
                "leave floating point in products"
            )
        raise ValueError(f"{entry}: {name} is {value!r}; it must be {self.allowed}")

    @property
    def allowed(self) -> str:
        """What values are allowed, in words."""
        kind = "a number" if self.infinite else "a finite number"
        more, less = (">=", "<=") if self.closed else (">", "<")
        bounds = [f"{more} {self.low:g}"] * math.isfinite(self.low) + [f"{less} {self.high:g}"] * math.isfinite(
            self.high
        )
        return " ".join([kind, " and ".join(bounds)]).strip()


def _as_float(value: object) -> float:
    """A Python number as a float; NaN for anything else, and for integers beyond the floats."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.nan


class Facts(TypedDict, total=False):
    """The facts of a :class:`Parameter`."""

    unit: int
    example: float | None
    anchors: bool


def positive(default: float, description: str, infinite: bool = False, **facts: Unpack[Facts]) -> Parameter:
    """A parameter that must be > 0."""
    return Parameter(default, description, low=0.0, infinite=infinite, **facts)


def nonnegative(default: float, description: str, **facts: Unpack[Facts]) -> Parameter:
    """A parameter that must be >= 0."""
    return Parameter(default, description, low=0.0, closed=True, **facts)


def fraction(default: float, description: str, **facts: Unpack[Facts]) -> Parameter:
    """A parameter strictly between 0 and 1."""
    return Parameter(default, description, low=0.0, high=1.0, **facts)


def real(default: float, description: str, **facts: Unpack[Facts]) -> Parameter:
    """Any finite number."""
    return Parameter(default, description, **facts)


EPSILON = positive(1e-4, "added to the standard deviation", unit=1)
"""Of standardized advantages (r - mean)/(std + epsilon)."""


@dataclass(frozen=True)
class Entry:
    """One objective of the catalogue.

    Attributes:
        name: what ``ps.algorithm`` takes.
        title: the objective's name in full.
        coefficient: its gradient coefficient as a formula, l for the log-ratio, A for the advantage, rho = exp(l).
        target: its induced target as a formula or in words.
        family: "regression", "policy gradient", "ratio", "weighted", "preference" or "value".
        level: where the source takes its log-ratio.
        parameters: name -> Parameter, with the published defaults.
        source: where it was published.
        make: parameters -> Algorithm (without name, level and parameters, which the entry fills in).
        notes: what public implementations do differently, and facts with the claim that checks them. What names
            neither a source nor a claim is our interpretation.
        regime: "boundary" where the induced target is the nominal one on every bandit, "negative" where its baseline
            puts every sampled group of two or more in the negative regime, else "".
        bounded: for which advantages the coefficient is bounded in the ratio: "all", "gains" (A > 0) or "none".
        feels_splits: whether two equal halves of an arm get together something else than the whole arm, because the
            coefficient acts on the behavior policy itself. Also so of all that jump, whose limits depend on the path.
        absolute: whether rewards count by their level, which every other entry subtracts or divides out.
        own_unit: whether the objective has a unit of reward of its own, such as the logistic function's.
        aliases: other names that ``ps.algorithm`` takes for it.
    """

    name: str
    title: str
    coefficient: str
    target: str
    family: str
    level: Level
    source: str
    make: Callable[..., Algorithm]
    parameters: Mapping[str, Parameter] = field(default_factory=dict)
    notes: str = ""
    regime: Literal["", "boundary", "negative"] = ""
    bounded: Literal["all", "gains", "none"] = "none"
    feels_splits: bool = False
    absolute: bool = False
    own_unit: bool = False
    aliases: tuple[str, ...] = ()

    @property
    def examples(self) -> dict[str, float]:
        """Parameters at which targets lie well inside the simplex, where the defaults' may not."""
        return {name: each.example for name, each in self.parameters.items() if each.example is not None}

    def _contents(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "title": self.title,
            "aliases": ", ".join(self.aliases) or None,
            "coefficient": self.coefficient,
            "target": self.target,
            "parameters": {name: parameter.default for name, parameter in self.parameters.items()} or None,
            "level": self.level,
            "source": self.source,
            "notes": self.notes or None,
        }

    __repr__ = brief
    _repr_html_ = brief_html

    def algorithm(self, baseline: object = None, **values: object) -> Algorithm:
        """The algorithm with these parameters; see :func:`pessimism.algorithm`."""
        for name in values:
            if name not in self.parameters:
                hint = near(name, [*self.parameters, "baseline"], "parameters")
                raise ValueError(f"{self.name} has no parameter {name!r}; {hint}")
        filled = {
            name: parameter.check(self.name, name, values.get(name, parameter.default))
            for name, parameter in self.parameters.items()
        }
        made = replace(self.make(**filled), name=self.name, level=self.level, parameters=MappingProxyType(filled))
        return made if baseline is None else replace(made, baseline=as_baseline(baseline))  # type: ignore[arg-type]

    @property
    def closed_form(self) -> bool:
        """Whether the induced target has a closed form (else it is found numerically)."""
        return self.algorithm().induced is not None

    @property
    def is_variant(self) -> bool:
        """Whether this is an implementation that differs from its source (``where.name``)."""
        return "." in self.name
