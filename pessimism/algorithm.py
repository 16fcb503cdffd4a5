"""An algorithm: a baseline rule, a gradient coefficient and a level."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import Parameter, signature
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, cast

import numpy as np
from array_api_compat import array_namespace, device, is_array_api_obj

from . import baselines
from .baseline import Baseline, Moments, Statistics, floating_type
from .display import brief, brief_html
from .levels import Composed, Level, known_level
from .solution import Solution
from .solve.numbers import as_float64, check_real
from .solve.simplex import Array, first_index

if TYPE_CHECKING:
    from .bandit import Bandit

Coefficient = Callable[..., Array]
"""(log_ratio, advantage) -> c, all (..., K) with the group on the last axis; numpy or torch."""

ClosedForm = Callable[["Bandit", Moments], "Solution"]
"""A bandit and its moments -> the target, where it has one in closed form."""

ANCHORS = ("reference", "behavior")


@dataclass(frozen=True)
class Algorithm:
    r"""An off-policy objective, by what its update does: $E_{y\sim\mu}[c(\ell(y), A(y))\,\nabla\log\pi(y)]$.

    Only ``coefficient`` is required; everything else has a default, and targets of an algorithm without closed forms
    are found numerically. Catalogue entries are made by :func:`pessimism.algorithm`.

    Attributes:
        coefficient: $c(\ell, A)$: ``f(log_ratio, advantage)``, arrays (..., K) in and out (numpy or torch). A coupled
            one also takes ``behavior=`` (..., K), the weights of the group.
        baseline: a :class:`~pessimism.baseline.Baseline`, a number (a constant baseline), or a function
            ``f(reward, behavior)`` -> V, where behavior is None for a sampled group.
        name: for tables and messages.
        level: which log-ratio of a completion the coefficient takes: of the whole "sequence", of each "token", or
            another one of :mod:`pessimism.levels`. On a bandit, whose arms are whole completions, all coincide. At
            "token vector" the coefficient also takes ``tokens=``.
        coupled: whether the coefficient of one arm looks at the others. It then takes ``behavior=``.
        takes_behavior: whether the coefficient takes ``behavior=``; true of coupled ones, and of arm-wise ones that
            need the arm's own probability.
        switches: whether it is coupled and jumps, not where ``kinks`` could say: its flow is followed in small steps.
        beta: the temperature, if (and only if) the coefficient is the log-ratio regression $A - \beta\ell$.
        on_policy: $u(\ell, A)$: what the coefficient becomes on data from $\pi$ itself, i.e. with its importance weight
            (or what stands for one) replaced by 1: ``f(log_ratio, advantage)``. None: the coefficient carries no weight
            and u = c. The nominal target is where $E_\pi[u\,\nabla\log\pi]$ stops.
        stated: $c(\ell, A)$ as the objective states it: with every importance weight exact, and with the clips, masks,
            trust regions and penalties toward the behavior policy that it states on purpose. None: it states none of
            these, and its stated target is the nominal one. ``stated=coefficient``: all that it does is stated.
        anchor: "reference": the log-ratio is measured from the bandit's reference where it has one; "behavior": it is
            an importance ratio and cannot be measured from anything but the behavior policy.
        kinks: where the coefficient jumps: ``f(advantage)`` -> (..., K, n) log-ratios (NaN: no jump). It takes
            ``behavior=`` if the coefficient does.
        induced, nominal: closed forms ``f(bandit, moments)`` -> Solution, or None.
        scale: minus the derivative of the published loss with respect to $\log\pi$ is ``scale * c``.
        parameters: what it was made with.
        composition: its objective, corrections, masks and KL term, where it is composed of such (see
            :mod:`pessimism.composition`); else None.

    >>> cubic = Algorithm(lambda log_ratio, advantage: advantage - 0.5 * log_ratio**3, baseline=0.25)
    >>> cubic.advantage(np.array([0.0, 1.0]), behavior=np.array([0.5, 0.5]))
    array([-0.25,  0.75])
    """

    coefficient: Coefficient
    baseline: Baseline = field(default_factory=baselines.mean)
    name: str = "custom"
    level: Level = "sequence"
    coupled: bool = False
    takes_behavior: bool = False
    switches: bool = False
    beta: float | None = None
    on_policy: Coefficient | None = None
    stated: Coefficient | None = None
    anchor: Literal["reference", "behavior"] = "reference"
    kinks: Callable[..., np.ndarray] | None = None
    induced: ClosedForm | None = None
    nominal: ClosedForm | None = None
    scale: float = 1.0
    parameters: Mapping[str, Any] = field(default_factory=dict)
    composition: Composed | None = None

    read: ClassVar[Callable[[str], Algorithm]]
    """Makes an algorithm of text. The package sets it: the theory itself knows no objective by name."""

    if TYPE_CHECKING:  # what the generated __init__ takes; the baseline is converted

        def __init__(
            self,
            coefficient: Coefficient,
            baseline: Baseline | float | Callable[..., Array] = ...,
            name: str = ...,
            level: Level = ...,
            coupled: bool = ...,
            takes_behavior: bool = ...,
            switches: bool = ...,
            beta: float | None = ...,
            on_policy: Coefficient | None = ...,
            stated: Coefficient | None = ...,
            anchor: Literal["reference", "behavior"] = ...,
            kinks: Callable[..., np.ndarray] | None = ...,
            induced: ClosedForm | None = ...,
            nominal: ClosedForm | None = ...,
            scale: float = ...,
            parameters: Mapping[str, object] = ...,
            composition: Composed | None = ...,
        ) -> None: ...

    def __post_init__(self) -> None:
        if not callable(self.coefficient):
            raise ValueError(f"coefficient is {self.coefficient!r}; it must be a function of (log_ratio, advantage)")
        known_level(self.level)
        if self.level == "token vector" and not _takes_tokens(self.coefficient):
            raise ValueError("level is 'token vector', but the coefficient takes no tokens=")
        if self.anchor not in ANCHORS:
            raise ValueError(f"anchor is {self.anchor!r}; it must be one of {', '.join(ANCHORS)}")
        object.__setattr__(self, "baseline", as_baseline(self.baseline))
        object.__setattr__(self, "takes_behavior", self.takes_behavior or self.coupled)

    def _contents(self) -> dict[str, Any]:
        solved = "in closed form" if self.induced is not None else "numerically"
        marks = {
            "coupled": self.coupled,
            "takes behavior": self.takes_behavior,
            "states clips or penalties": self.stated is not None,
        }
        return {
            "algorithm": str(self),
            "baseline": self.baseline.formula,
            "level": self.level,
            "target": f"found {solved}",
            "notes": ", ".join(name for name, is_so in marks.items() if is_so) or None,
        }

    __repr__ = brief
    _repr_html_ = brief_html

    def __getstate__(self) -> dict[str, Any]:
        """A read-only view cannot be copied or sent to another process; its values can."""
        return vars(self) | {"parameters": dict(self.parameters)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state | {"parameters": MappingProxyType(state["parameters"])})

    @property
    def carries_ratio(self) -> bool:
        """Whether the coefficient carries an importance weight (or a clipped, truncated or smoothed one)."""
        return self.on_policy is not None

    def weights(self, behavior: Array) -> dict[str, Array]:
        """The keyword arguments that the coefficient takes besides log-ratio and advantage.

        >>> Algorithm(lambda log_ratio, advantage: advantage).weights(np.array([0.5, 0.5]))
        {}
        """
        return {"behavior": behavior} if self.takes_behavior else {}

    def __str__(self) -> str:
        """Its name with its parameters.

        >>> import pessimism as ps
        >>> print(ps.algorithm("oapl", beta1=1, beta2=0.5))
        oapl(beta1=1, beta2=0.5)
        """
        parts = {key: value for key, value in self.parameters.items() if isinstance(value, (int, float, str))}
        values = ", ".join(f"{key}={v if isinstance(v, str) else f'{v:g}'}" for key, v in parts.items())
        return f"{self.name}({values})" if values else self.name

    def advantage(self, reward: Array, behavior: Array | None = None, reference: Array | None = None) -> Array:
        """Advantages (..., K) of rewards (..., K), the same array type.

        Of integers and booleans they are of the library's default floating-point type.
        With ``behavior`` (..., K) the baseline's expectations are exact; without, the last axis is a group of samples
        and they are its averages. ``reference`` matters to baselines that average over reference samples.

        Raises:
            ValueError: non-finite rewards, an invalid policy, a group too small for the rule.

        >>> Algorithm(lambda l, a: a).advantage(np.array([0.0, 1.0]), behavior=np.array([0.75, 0.25]))
        array([-0.25,  0.75])
        """
        if not is_array_api_obj(reward):
            return self.advantage(as_float64("reward", reward), behavior, reference)
        reward = cast("Array", reward)
        check_real("reward", reward)
        xp = array_namespace(reward)
        if behavior is None:
            bad = ~xp.isfinite(reward)
            if bool(xp.any(bad)):
                index = first_index(np.asarray(xp.astype(bad, xp.uint8).tolist()))
                place = ", ".join(map(str, index))
                raise ValueError(f"reward[{place}] is {float(reward[index])}; every entry must be a finite number")
            return self.baseline.group(reward)
        from .bandit import Bandit

        bandit = Bandit(behavior, reward, reference)
        advantage = self.baseline.exact(bandit.reward, bandit.behavior, bandit.reference).advantage
        return xp.asarray(advantage, dtype=floating_type(reward), device=device(reward))


def as_baseline(rule: Baseline | float | Callable[..., Array]) -> Baseline:
    """A Baseline from what users may write for one: itself, a number, or a function (reward, behavior) -> V.

    >>> as_baseline(0.5).formula
    'V = 0.5'
    """
    if isinstance(rule, Baseline):
        return rule
    if callable(rule):
        name = getattr(rule, "__name__", "custom").replace("<lambda>", "custom")
        return Baseline(name, "V = f(r, behavior)", _CustomRule(rule), in_double=True)
    if isinstance(rule, (int, float)):
        return baselines.constant(float(rule))
    raise ValueError(f"baseline is {rule!r}; it must be a Baseline, a number or a function of (reward, behavior)")


def _takes_tokens(coefficient: Coefficient) -> bool:
    parameters = signature(coefficient).parameters.values()
    return any(parameter.name == "tokens" or parameter.kind is Parameter.VAR_KEYWORD for parameter in parameters)


@dataclass(frozen=True)
class _CustomRule:
    function: Callable[..., Array]

    def __call__(self, statistics: Statistics) -> tuple[Array, float]:
        reward = statistics.reward
        value = self.function(reward, statistics.weights)
        xp = array_namespace(reward)
        value = xp.asarray(value)
        if value.ndim == reward.ndim - 1:
            value = value[..., None]
        return value - statistics.mean, 1.0
