"""Claims about simulated lagged learning with exact gradients: first steps, where windows end, what lag does."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

import pessimism as ps
from pessimism.claims import NOT_APPLICABLE, Case, claim, claims_in, exact, refuted, small_rationals
from pessimism.claims.families import SMALL, Family
from pessimism.claims.support import HERE, combined, pessimistic, regression, soft_value
from pessimism.claims.symbolic import is_zero
from pessimism.solve import critical_offset, expectation, total_variation

from ..instances import rec_counterexample
from ..recursion import ideal_recursion
from .support import Array, exact_window, finite_log, last_policy, playable, tilted

STEPS = 1e-12
"""What is the same step by step: rounding of a softmax, some tens of times."""


DECAYS = 20.0
"""Steps are as many as shrink the slowest arm's error by e^-20, about 2e-9."""


ENDED = 1e-7


def _steps(rate: float) -> int:
    return int(np.ceil(DECAYS / rate))


def _slowest(*policies: Array) -> float:
    """The smallest positive probability: at its rate the slowest arm moves."""
    return min(float(np.where(policy > 0, policy, 1.0).min()) for policy in policies)


def _ratio_free(case: Case) -> list[ps.Algorithm]:
    beta = case.beta
    return [
        ps.algorithm("reinforce"),
        *pessimistic(case),
        regression(beta, soft_value(beta, 0.5 * beta)),
        ps.algorithm("is_regression", beta=beta),
        ps.algorithm("pairwise_regression", beta=beta),
        ps.algorithm("centered_regression", beta=beta),
    ]


@claim("lag.first_step", HERE, SMALL, STEPS, effort=0.1)
def first_step(case: Case) -> Array:
    """One simulated step from mu is the same for REINFORCE, all log-ratio regressions and their twins.

    Check: One simulated step from mu: all regressions, their twins and REINFORCE arrive at the same policy.
    """
    case = playable(case)
    ends = [exact_window(case.bandit, chosen, 1, 0.7) for chosen in _ratio_free(case)]
    return combined(*(total_variation(end, ends[0]) for end in ends[1:]))


@claim("lag.one", HERE, SMALL, STEPS, effort=0.1)
def lag_one(case: Case) -> Array:
    """Synced at every step, all of them take REINFORCE's path: temperature and baseline act through lag alone.

    Check: Synced at every step they all take REINFORCE's whole path, at any temperature and with any baseline.
    """
    case = playable(case)
    ends = [exact_window(case.bandit, chosen, 1, 0.7, windows=20) for chosen in _ratio_free(case)]
    return combined(*(total_variation(end, ends[0]) for end in ends[1:]))


def _frozen_reinforce_proof() -> bool:
    """The step mu_y A_y - pi_y E A in the logits is mu_y (r_y - E r) at any policy, every time the same; two arms."""
    import sympy as sp

    mu, policy = sp.symbols("mu pi", positive=True)
    one, two = sp.symbols("r1 r2", real=True)
    mean = mu * one + (1 - mu) * two
    average = mu * (one - mean) + (1 - mu) * (two - mean)
    return is_zero(mu * (one - mean) - policy * average - mu * (one - mean))


@claim(
    "lag.frozen_reinforce",
    HERE,
    SMALL,
    STEPS,
    proof=_frozen_reinforce_proof,
    proves="E A = 0 leaves the step mu A, which does not depend on pi; two arms",
    effort=0.1,
)
def frozen_reinforce(case: Case) -> Array:
    """n steps of rate h on frozen data take mean-baseline REINFORCE to mu exp(n h mu (r - E r))/Z: to argmax mu A.

    Check: n exact steps of rate h on frozen data take mean-baseline REINFORCE to mu exp(n h mu (r - E r))/Z.
    """
    bandit, found = playable(case).bandit, []
    centered = bandit.reward - expectation(bandit.behavior, bandit.reward)[:, None]
    for steps, rate in ((1, 0.5), (7, 30.0), (40, 300.0)):
        exact = tilted(bandit, steps * rate * bandit.behavior * centered)
        end = exact_window(bandit, ps.algorithm("reinforce"), steps, rate)
        found.append(total_variation(end, exact) / (1 + steps * rate))
    return combined(*found)


@claim("lag.windows", HERE, SMALL, ENDED, falsify=False)
def windows_reach(case: Case) -> Array:
    """Long windows of exact steps end where the ideal recursion does, sync after sync, for V <= V*.

    Check: Two long windows of exact steps end where two syncs of the ideal recursion do, for V <= V*.
    """
    case = playable(case, low=1.0)
    found = []
    for chosen in pessimistic(case)[:3]:
        ideal = ideal_recursion(case.bandit, chosen, 2)
        first = ideal_recursion(case.bandit, chosen, 1).policy[0]
        steps = _steps(_slowest(case.bandit.behavior, first))
        found.append(
            total_variation(exact_window(case.bandit, chosen, steps, 1 / case.beta, windows=2), ideal.policy[0])
        )
    return combined(*found)


@claim("lag.twins", HERE, SMALL, ENDED, falsify=False)
def twins_reach(case: Case) -> Array:
    """Exact steps of importance-weighted, pairwise and centered regression and AWR end at the nominal target.

    Check: Exact steps of the twins and of AWR end at mu exp(r/beta)/Z, with baselines below and above V*.
    """
    case = playable(case, low=1.0)
    beta, target = case.beta, tilted(case.bandit, case.bandit.reward / case.beta)
    slowest, found = _slowest(case.bandit.behavior, target), []
    for offset in (-1.0, 0.5):
        baseline = soft_value(beta, offset * beta)
        for name in ("is_regression", "pairwise_regression", "centered_regression"):
            chosen = ps.algorithm(name, beta=beta, baseline=baseline)
            found.append(total_variation(exact_window(case.bandit, chosen, _steps(slowest), 1 / beta), target))
        # AWR's coefficient exp(A/beta) averages e^-offset: that is its rate.
        awr = ps.algorithm("awr", beta=beta, cap=float("inf"), baseline=baseline)
        found.append(total_variation(exact_window(case.bandit, awr, _steps(slowest), float(np.exp(offset))), target))
    return combined(*found)


@claim("lag.negative_within", HERE, SMALL, ENDED, falsify=False)
def negative_within(case: Case) -> Array:
    """From mu, exact steps end at the principal solution while V* < V < V* + d_c."""
    case = playable(case, low=1.0)
    at_boundary = regression(case.beta, soft_value(case.beta))
    nominal = at_boundary.advantage(case.bandit.reward, case.bandit.behavior) / case.beta
    nearest = float(critical_offset(case.bandit.behavior, nominal).min())  # of all instances, in units of beta
    found = []
    for fraction in (0.3, 0.8):
        chosen = regression(case.beta, soft_value(case.beta, fraction * nearest * case.beta))
        target = ps.induced_target(case.bandit, chosen)
        # Next to d_c the solution loses its stability: rates shrink with 1 - |kappa| rho.
        slack = 1 + (np.asarray(target.normalizer)[:, None] / case.beta * np.exp(target.log_ratio)).min()
        steps = _steps(_slowest(case.bandit.behavior) * float(slack))
        found.append(total_variation(exact_window(case.bandit, chosen, steps, 1 / case.beta), target.policy))
    return combined(*found)


def _beyond(case: Case, offset: float) -> tuple[ps.Algorithm, Array]:
    """Regression with V = V* + offset beta, and where exact steps from mu end."""
    chosen = regression(case.beta, soft_value(case.beta, offset * case.beta))
    steps = _steps(_slowest(case.bandit.behavior) / 2)
    return chosen, exact_window(case.bandit, chosen, steps, 0.5 / case.beta)


@claim("lag.negative_beyond", HERE, SMALL, ENDED, falsify=False)
def negative_ends(case: Case) -> Array:
    """Well beyond V* + d_c exact steps from mu end at one of the listed local minima, one arm on the branch W_-1.

    Check: Far beyond V* exact steps from mu end at a listed local minimum, with one arm on the second branch.
    """
    case = playable(case)
    found = np.zeros(case.size)
    for offset in (2.5, 5.0):
        chosen, end = _beyond(case, offset)
        bandit, seen = case.bandit, case.bandit.behavior > 0
        x = np.where(seen, finite_log(end) - finite_log(bandit.behavior), 0.0)
        kappa = expectation(bandit.behavior, chosen.advantage(bandit.reward, bandit.behavior) / case.beta - x)[:, None]
        one = ((-kappa * np.exp(x) > 1) & seen).sum(axis=-1) == 1
        varied = np.ptp(np.where(seen, bandit.reward, 0.0), axis=-1) > 0
        found = np.maximum(found, np.where(one | ~varied, 0.0, 1.0))
        for row in range(0, case.size, max(1, case.size // 12)):
            if varied[row]:
                points = ps.stationary_points(ps.Bandit(bandit.behavior[row], bandit.reward[row]), chosen)
                nearest = min(float(total_variation(point.policy, end[row])) for point in points)
                found[row] = max(found[row], nearest)
    return np.where((case.bandit.behavior > 0).sum(axis=-1) > 1, found, NOT_APPLICABLE)


def _flow_end(case: Case) -> Array:
    """Where the flow from mu ends at V = V* + 4 beta, by an adaptive integrator instead of steps: (K,)."""
    chosen = regression(case.beta, soft_value(case.beta, 4.0 * case.beta))
    return ps.gradient_flow(case.bandit, chosen).policy[0]


def _confirm_negative_arm(case: Case) -> bool:
    """The flow's largest arm is not one of highest reward."""
    reward = case.bandit.reward[0]
    return bool(reward[_flow_end(case).argmax()] < reward.max())


@refuted(
    "lag.negative_best_arm",
    search=partial(small_rationals, arms=(2, 3), betas=(1.0,)),
    confirm=_confirm_negative_arm,
    tolerance=0.1,
    families=(),
)
def negative_best_arm(case: Case) -> Array:
    """Beyond V* + d_c exact steps from mu end with most mass on an arm of highest reward.

    Check: Beyond V* exact steps from mu end with most mass on an arm of highest reward, which is false.
    """
    bandit = case.bandit
    _, end = _beyond(case, 4.0)
    best = bandit.reward == bandit.reward.max(axis=-1, keepdims=True)
    return np.where(best, 0.0, end).max(axis=-1) - np.where(best, end, 0.0).sum(axis=-1)


def _confirm_negative_global(case: Case) -> bool:
    """Some policy next to a vertex has a lower loss than the flow's end, which is then not the lowest minimum."""
    chosen = regression(case.beta, soft_value(case.beta, 4.0 * case.beta))
    end, behavior = _flow_end(case), case.bandit.behavior[0]
    advantage = chosen.advantage(case.bandit.reward, case.bandit.behavior)[0]

    def loss(policy: Array) -> float:
        return float(behavior @ (case.beta * np.log(policy / behavior) - advantage) ** 2)

    rivals = [
        (1 - share) * vertex + share / len(end) for vertex in np.eye(len(end)) for share in np.geomspace(1e-4, 0.5)
    ]
    return min(map(loss, rivals)) < loss(end)


@refuted(
    "lag.negative_global",
    search=partial(small_rationals, arms=(2, 3), betas=(1.0,)),
    confirm=_confirm_negative_global,
    tolerance=0.1,
    families=(),
)
def negative_global(case: Case) -> Array:
    """Beyond V* + d_c exact steps from mu end at the local minimum of lowest loss.

    Check: Beyond V* exact steps from mu end at the minimum of lowest loss, which is false; the first rows of a
    case.
    """
    found = np.full(case.size, NOT_APPLICABLE)
    chosen, end = _beyond(case, 4.0)
    for row in range(min(case.size, 12)):
        best = ps.stationary_points(ps.Bandit(case.bandit.behavior[row], case.bandit.reward[row]), chosen)[0]
        found[row] = total_variation(best.policy, end[row])
    return found


def _rec(generator: np.random.Generator, count: int) -> Iterator[Case]:
    """REC's bandit with its arms permuted and its rewards moved and scaled a little."""
    made = rec_counterexample()
    order = generator.permuted(np.tile(np.arange(3), (count, 1)), axis=-1)
    unit, shift = generator.uniform(0.5, 2, size=(count, 1)), generator.uniform(-1, 1, size=(count, 1))
    reward = unit * (made.reward[order] + shift)
    yield Case("REC's arms, in other units and orders", ps.Bandit(made.behavior[order], reward), 1.0)


@claim("lag.rec", "bandit of arXiv 2509.24203; lag derived here", (Family("REC", _rec),), 0.01, falsify=False)
def rec_lag(case: Case) -> Array:
    """On REC's three arms REINFORCE ends on the arm of 0.8 with frozen data, on the best one if synced every step."""
    bandit, chosen = case.bandit, ps.algorithm("reinforce")
    ranks = bandit.reward.argsort(axis=-1)
    frozen = exact_window(bandit, chosen, 400, 5.0)
    synced = exact_window(bandit, chosen, 1, 5.0, windows=400)
    lost = [1 - np.take_along_axis(p, ranks[:, [r]], axis=-1)[:, 0] for p, r in ((frozen, 1), (synced, 2))]
    return combined(*lost)


@exact.precisely
def _confirm_grpo(case: Case) -> bool:
    """No best arm has the largest mu (r - E r); dividing by a deviation changes no order."""
    behavior, reward, _ = exact.numbers(case)
    center = exact.mean(behavior, reward)
    pull = [p * (r - center) for p, r in zip(behavior, reward, strict=True)]
    best = max(p for p, r in zip(pull, reward, strict=True) if r == max(reward))
    return max(pull) - best > exact.margin()


@refuted(
    "lag.grpo_best_arm",
    search=small_rationals,
    confirm=_confirm_grpo,
    source="counterexample of the kind of REC, arXiv 2509.24203",
    families=(),
)
def grpo_best_arm(case: Case) -> Array:
    """GRPO without ratio, trained to the end between syncs, ends on an arm of highest reward.

    Check: GRPO without ratio, trained to the end between syncs, ends on an arm of highest reward, which is false.
    """
    policy = last_policy(case.bandit, ps.algorithm("grpo.no_ratio"), 2)
    best = case.bandit.reward == case.bandit.reward.max(axis=-1, keepdims=True)
    return 1 - np.where(best, policy, 0.0).sum(axis=-1)


CLAIMS = claims_in(vars())
