"""Claims about any objective: the whole catalogue, or a user's own algorithm."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from .. import targets
from ..algorithm import Algorithm
from ..bandit import Bandit
from ..objectives.catalogue import catalogue
from ..solve.divergences import total_variation
from ..target import Target
from .case import NOT_APPLICABLE, Case
from .claim import Claim
from .families import SMALL, TIES, ZERO_PROBABILITY
from .regression import policy_fault
from .support import Array, advantages, coefficient, induced, mass, mean, nominal, over_arms, relative, stationarity

Algorithms = Callable[[], Sequence[Algorithm]]
EVERY = 16  # a flow is followed on one case in so many, on a larger share of its rows
JUMP_ROWS = 4  # and across jumps on so many rows: the slowest row's steps are all rows' steps
FLOW_DIGITS = 1e-3  # a flow stops at moves of 1e-8 per factor e of time: 1e-6 is asked of it as of nominal targets
FAMILIES = (*SMALL, TIES, ZERO_PROBABILITY)


def _published() -> list[Algorithm]:
    """Every entry of the catalogue with its published defaults."""
    return [entry.algorithm() for entry in catalogue().values()]


def _settled(bandit: Bandit) -> Bandit:
    """Rewards moved and scaled into [0, 1], as published defaults expect them, and no reference."""
    low, high = bandit.reward.min(axis=-1, keepdims=True), bandit.reward.max(axis=-1, keepdims=True)
    spread = high - low
    return Bandit(bandit.behavior, (bandit.reward - low) / np.where(spread > 0, spread, 1.0))


def _over(algorithms: Algorithms, judge: Callable[[Bandit, Algorithm], Array], case: Case) -> Array:
    """The worst violation over algorithms, each in turn given its share of the rows where it has no closed form."""
    made = algorithms()
    bandit = _settled(case.bandit)
    found = np.full(case.size, NOT_APPLICABLE)
    for number, chosen in enumerate(made):
        # Where the coefficient jumps the target is a flow's limit: costly, compared with itself, and never interior.
        jumps = chosen.kinks is not None
        if jumps and judge in (_flow_distance, _fixed_point):
            continue
        if jumps and len(made) > 1 and case.bandit.arms > 3:
            continue  # sliding along the jumps of many arms takes a flow thousands of steps
        follows_flow = judge is _flow_distance or (chosen.induced is None and judge in (_policy, _fixed_point))
        turns = min(EVERY, len(made)) if follows_flow and not case.alone else 1
        if (number + case.seed) % turns:
            continue
        part = len(made) // turns
        own_share = (np.arange(case.size) % part == (number // turns) % part) | case.alone
        quick = _in_closed_form(bandit, chosen) & (judge is not _flow_distance)
        rows = np.flatnonzero(quick | own_share)
        if jumps and judge is _policy and len(made) > 1:
            rows = rows[:JUMP_ROWS]
        if rows.size:
            chosen_rows = Bandit(bandit.behavior[rows], bandit.reward[rows])
            if chosen.induced is None:
                chosen_rows = _populated(chosen_rows)
            found[rows] = np.maximum(found[rows], judge(chosen_rows, chosen))
    return found


def _populated(bandit: Bandit) -> Bandit:
    """With mu kept away from 0 on the arms it plays: these move at rates mu, and a flow cannot wait 1/mu for them."""
    seen = bandit.behavior > 0
    return Bandit(0.9 * bandit.behavior + 0.1 * seen / seen.sum(axis=-1, keepdims=True), bandit.reward)


def _in_closed_form(bandit: Bandit, chosen: Algorithm) -> Array:
    """Rows whose induced target needs no numeric route, (n,)."""
    if chosen.induced is None:
        return np.zeros(len(bandit.behavior), bool)
    return chosen.induced(bandit, chosen.baseline.exact(bandit.reward, bandit.behavior)).solved


def _policy(bandit: Bandit, chosen: Algorithm) -> Array:
    worst = np.zeros(len(bandit.behavior))
    for target in (induced(bandit, chosen), nominal(bandit, chosen)):
        fields = np.isfinite(np.asarray(target.normalizer)) & ~np.isnan(target.log_policy).any(axis=-1)
        worst = np.maximum(worst, np.where(fields, policy_fault(bandit, target), np.nan))
    return worst


def _interior(target: Target) -> Array:
    return np.asarray(target.kind) == "interior"


def _fixed_point(bandit: Bandit, chosen: Algorithm) -> Array:
    target = induced(bandit, chosen)
    # A coefficient that cancels to nothing on every arm (as coupled ones do) is compared with what it cancels from.
    values = stationarity(bandit, chosen, target)
    seen = bandit.behavior > 0
    x = np.where(seen, target.log_ratio, 0.0)
    c = coefficient(bandit, chosen, x)
    start = mean(np.abs(coefficient(bandit, chosen, np.zeros_like(c))), bandit)
    ratio = np.where(seen, np.exp(x), 0.0)
    normal = mean(c, bandit)[:, None]
    size = (
        start[:, None]
        + mean(np.abs(c), bandit)[:, None]
        + mean(np.abs(advantages(bandit, chosen)) * ratio, bandit)[:, None]
    )
    values = np.minimum(values, over_arms(relative(bandit.behavior * (c - normal * ratio), size), seen))
    # What no fixed point was found for is where the flow came to rest: known to fewer digits, whatever the coefficient.
    values = np.where(np.asarray(target.method) == "flow", values * FLOW_DIGITS, values)
    return np.where(_interior(target), values, NOT_APPLICABLE)


def _nominal_rest(bandit: Bandit, chosen: Algorithm) -> Array:
    """E_pi[u grad log pi] = 0: u constant on the support, u the coefficient as it is on data from pi."""
    target = nominal(bandit, chosen)
    on_policy = chosen.on_policy or chosen.coefficient
    seen = bandit.behavior > 0
    # Data from pi: a coefficient that looks at its group sees one drawn from pi; preferences keep opponents from mu.
    group = np.where((np.asarray(target.method) == "flow")[:, None], target.policy, bandit.behavior)
    arguments = {"behavior": group} if chosen.takes_behavior and chosen.on_policy is None else {}
    x = np.where(seen & target.support, target.log_ratio, 0.0)
    u = np.where(seen, on_policy(x, advantages(bandit, chosen), **arguments), 0.0)
    level = mass(u, target.policy)[:, None]
    moved = np.where(seen, target.policy * (u - level), 0.0)
    terms = mass(np.abs(u), target.policy)[:, None] + np.abs(advantages(bandit, chosen)).max(axis=-1, keepdims=True)
    settled = np.asarray(target.kind) != "not converged"
    return np.where(settled, over_arms(relative(moved, terms), seen), NOT_APPLICABLE)


def _flow_distance(bandit: Bandit, chosen: Algorithm) -> Array:
    """Total variation to the limit of the flow from mu, less what the flow says it had still to go."""
    bandit = _populated(bandit)
    target = induced(bandit, chosen)
    values = np.full(len(bandit.behavior), NOT_APPLICABLE)
    # A closed form that is one of several limits says so; a fixed point is meant to be the one the flow finds.
    one = np.asarray(target.unique) | (np.asarray(target.method) == "fixed point")
    # Tied arms that lose fall too slowly to wait for; the claims ``ties.*`` are about them.
    rows = np.flatnonzero(one & ~target.face.any(axis=-1))
    if rows.size:
        part = Bandit(bandit.behavior[rows], bandit.reward[rows])
        flow = targets.gradient_flow(part, chosen)
        distance = total_variation(flow.policy, target.policy[rows])
        left = np.maximum(distance - 10 * flow.residual * bandit.arms, 0.0)
        values[rows] = np.where(flow.converged, left, NOT_APPLICABLE)
    return values


def _contract(bandit: Bandit, chosen: Algorithm) -> Array:
    """c keeps its shape, is finite within three nats of mu, and does not look at other rows."""
    generator = np.random.default_rng(0)
    x = generator.uniform(-3, 3, size=bandit.behavior.shape)
    advantage = advantages(bandit, chosen)
    arguments = {"behavior": bandit.behavior} if chosen.takes_behavior else {}
    values = chosen.coefficient(x, advantage, **arguments)
    if np.shape(values) != x.shape:
        raise ValueError(f"coefficient of {chosen.name!r} returned shape {np.shape(values)} for {x.shape}")
    turned = {"behavior": bandit.behavior[::-1]} if chosen.takes_behavior else {}
    again = np.asarray(chosen.coefficient(x[::-1], advantage[::-1], **turned))[::-1]
    seen = bandit.behavior > 0
    finite = np.where(seen, np.isfinite(values), True).all(axis=-1)
    return np.where(finite, over_arms(relative(values - again, np.abs(values) + 1e-300), seen), np.nan)


def generic_claims(algorithms: Algorithms, whose: str) -> tuple[Claim, ...]:
    """The claims that any algorithm must satisfy, about the given ones."""

    def claim(
        name: str, statement: str, judge: Callable[[Bandit, Algorithm], Array], tolerance: float, effort: float
    ) -> Claim:
        check = partial(_over, algorithms, judge)
        return Claim(
            f"objective.{name}", f"{statement} ({whose}).", "derived here", FAMILIES, check, tolerance, effort=effort
        )

    return (
        claim("contract", "The coefficient keeps its shape, is finite and treats rows apart", _contract, 1e-12, 0.2),
        # Numeric targets come from flows whose logits are normalized to rounding.
        claim("policy", "Induced and nominal targets are policies, without NaN anywhere", _policy, 1e-11, 0.1),
        # Fixed points are solved to 1e-12 of the log-ratio; at beta = 1e-3 that is 1e-9 of an advantage of one.
        claim(
            "fixed_point",
            "Where the target is interior, mu c = lambda pi by the coefficient itself",
            _fixed_point,
            1e-9,
            0.1,
        ),
        # Numeric nominal targets stop at moves of 1e-8 per factor e of time.
        claim("nominal", "At the nominal target E_pi[u grad log pi] = 0", _nominal_rest, 1e-6, 0.1),
        # The flow integrates with errors of 1e-6 per step in log-ratios, which contraction keeps from adding up.
        claim(
            "flow", "The induced target is the limit of the softmax gradient flow from mu", _flow_distance, 1e-5, 0.1
        ),
    )


def _with_nominal_by_flow() -> list[Algorithm]:
    """Weighted likelihoods (AWR, RoiRL, TPO) claim the policy they project onto, not where u is constant."""
    table = catalogue()
    return [entry.algorithm() for entry in table.values() if entry.family not in ("weighted",)]


def catalogue_claims() -> tuple[Claim, ...]:
    """The generic claims about every entry of the catalogue."""
    made = generic_claims(_published, "every entry of the catalogue")
    rest = generic_claims(_with_nominal_by_flow, "every entry but weighted likelihoods, which claim a projection")
    return tuple(rest[i] if one.id == "objective.nominal" else one for i, one in enumerate(made))


CLAIMS = catalogue_claims()
