"""The loss of every catalogue entry as its source or public trainer writes it, in torch, stop-gradients included.

This is the independent statement that `tests/test_coefficients.py` differentiates: it imports nothing from `pessimism`.
A loss is a function of a group of samples and of the entry's parameters and returns one number: an average over the
group's weights, or an expression over all its pairs. Formulas are those of the sources named in the catalogue.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Group:
    """All arms under a known behavior policy (weights = exp(log_behavior)), or samples from it (equal weights)."""

    log_policy: Tensor  # (K,), the only thing a loss is differentiated by
    log_behavior: Tensor  # (K,), log mu(y) of each arm or sample
    advantage: Tensor  # (K,)
    weights: Tensor  # (K,), sums to 1

    @property
    def log_ratio(self) -> Tensor:
        return self.log_policy - self.log_behavior

    @property
    def ratio(self) -> Tensor:
        return self.log_ratio.exp()

    def average(self, values: Tensor) -> Tensor:
        return (self.weights * values).sum()

    def by_sign(self, positive: Tensor, first: float, second: float) -> Tensor:
        """`first` where positive, else `second`, in the type of the group."""
        return torch.where(positive, torch.full_like(self.weights, first), torch.full_like(self.weights, second))

    def over_pairs(self, values: Tensor) -> Tensor:
        """Expectation of (K, K) values over ordered pairs (a, b) drawn independently from the group."""
        return (self.weights[:, None] * self.weights[None, :] * values).sum()

    def preferred(self) -> Tensor:
        """(K, K): probability that a wins against b under Bradley-Terry with the advantages as utilities."""
        return torch.sigmoid(_differences(self.advantage))


@dataclass(frozen=True)
class Completions:
    """B completions of at most T tokens, for losses that look at tokens."""

    log_policy: Tensor  # (B, T) of tokens, the only thing a loss is differentiated by
    log_behavior: Tensor  # (B, T)
    advantage: Tensor  # (B,)
    mask: Tensor  # (B, T) bool

    @property
    def log_ratio(self) -> Tensor:
        return self.log_policy - self.log_behavior

    @property
    def length(self) -> Tensor:
        return self.mask.sum(-1)

    def mean(self, values: Tensor) -> Tensor:
        """(B,): mean over each completion's tokens."""
        return (values * self.mask).sum(-1) / self.length


Loss = Callable[..., Tensor]


def one_token(loss: Loss) -> Loss:
    """A loss of completions as a loss of a group whose arms are one token long."""

    def of_group(group: Group, **parameters: float) -> Tensor:
        log_policy, log_behavior = group.log_policy[:, None], group.log_behavior[:, None]
        single = Completions(log_policy, log_behavior, group.advantage, torch.ones_like(log_policy, dtype=torch.bool))
        return group.average(loss(single, **parameters))

    return of_group


def _differences(values: Tensor) -> Tensor:
    return values[:, None] - values[None, :]


# --- policy gradients -------------------------------------------------------------------------------------------------


def reinforce(group: Group, **_: float) -> Tensor:
    """-A log pi; the parameters of its variants all sit in the baseline."""
    return group.average(-group.advantage * group.log_policy)


def red_weight(group: Group, temperature: float) -> Tensor:
    weight = torch.exp(group.advantage / temperature)
    return group.average(-weight * group.advantage * group.log_policy)


def red_drop(group: Group) -> Tensor:
    """Drops negatives at random down to the number of the others: here averaged over every way to do so.

    Under a policy, whose probabilities are no counts, the share of negatives kept is the limit of large groups.
    """
    negative = group.advantage < 0
    terms = -group.advantage * group.log_policy
    if not torch.all(group.weights == group.weights[0]):
        surplus = group.weights[negative].sum()
        kept = min(1.0, float((1 - surplus) / surplus)) if negative.any() else 1.0
        return group.average(torch.where(negative, kept * terms, terms))
    others = [i for i in range(len(terms)) if not negative[i]]
    candidates = [i for i in range(len(terms)) if negative[i]]
    choices = list(itertools.combinations(candidates, min(len(candidates), len(others))))
    sums = [terms[[*others, *choice]].sum() for choice in choices]
    return torch.stack(sums).mean() / len(terms)


def topr(group: Group) -> Tensor:
    weight = torch.where(group.advantage > 0, 1.0, group.ratio.clamp(max=1.0)).detach()
    return group.average(-weight * group.advantage * group.log_policy)


def logarithmic_smoothing(group: Group, t: float) -> Tensor:
    return group.average(-torch.log(1 + t * group.ratio * group.advantage) / t)


def trpo(group: Group, delta: float) -> Tensor:
    """Lagrangian of max E[rho A] subject to KL(mu|pi) <= delta, at its multiplier (found here by plain bisection).

    Optimum: rho = nu/(tau - A) with tau above every advantage, KL(mu|pi) decreasing in tau.
    """
    advantage = group.advantage.detach()
    top = float(advantage.max())

    def divergence(gap: float) -> float:
        inverse = 1 / (top + gap - advantage)
        return float((group.weights * torch.log(1 / inverse)).sum() + torch.log((group.weights * inverse).sum()))

    low, high = 1e-12, 1e12
    for _ in range(300):
        middle = math.sqrt(low * high)
        low, high = (middle, high) if divergence(middle) > delta else (low, middle)
    multiplier = 1 / float((group.weights / (top + high - advantage)).sum())
    return -group.average(group.ratio * advantage) + multiplier * (group.average(-group.log_ratio) - delta)


def pevi(group: Group, bonus: float, samples: float) -> Tensor:
    lower = group.advantage - bonus / torch.sqrt(samples * group.log_behavior.exp())
    return group.average(-group.ratio * lower)


def cql(group: Group, alpha: float, beta: float) -> Tensor:
    """Entropy-regularized actor on the conservative values Q = A - alpha (pi/mu - 1), which the actor holds fixed."""
    values = (group.advantage - alpha * (group.ratio - 1)).detach()
    temperature = (beta * group.log_ratio).detach()
    return group.average(-group.ratio * (values - temperature))


# --- ratios -----------------------------------------------------------------------------------------------------------


def ppo(group: Group, low: float, high: float, **_: float) -> Tensor:
    clipped = group.ratio.clamp(1 - low, 1 + high)
    return group.average(-torch.minimum(group.ratio * group.advantage, clipped * group.advantage))


def ppo_dual_clip(group: Group, low: float, high: float, cap: float) -> Tensor:
    clipped = group.ratio.clamp(1 - low, 1 + high)
    surrogate = torch.minimum(group.ratio * group.advantage, clipped * group.advantage)
    dual = torch.where(group.advantage < 0, torch.maximum(surrogate, cap * group.advantage), surrogate)
    return group.average(-dual)


def ce_gppo(group: Group, low: float, high: float, below: float, above: float, cap: float, epsilon: float) -> Tensor:
    """Surrogates whose value is that of PPO's clip times a constant, and whose gradient is that of the ratio."""
    through = group.ratio / group.ratio.detach()
    kept = torch.where(
        (group.advantage < 0) & (group.ratio < 1 - low),
        below * (1 - low) * through,
        torch.where((group.advantage > 0) & (group.ratio > 1 + high), above * (1 + high) * through, group.ratio),
    )
    surrogate = kept * group.advantage
    return group.average(-torch.where(group.advantage < 0, torch.maximum(surrogate, cap * group.advantage), surrogate))


def aspo(group: Group, low: float, high: float, cap: float, epsilon: float) -> Tensor:
    """As in Archer2.0: gains have their ratio turned over, and beyond the cap a weight that is held fixed."""
    held, raised = group.ratio.clamp(min=1 - low), group.ratio.clamp(max=1 + high)
    losing = torch.where(held > cap, cap * group.log_policy, held)
    turned = (raised / raised.detach()) / raised.detach()
    gaining = torch.where(1 / raised > cap, cap * group.log_policy, turned)
    return group.average(-torch.where(group.advantage < 0, losing, gaining) * group.advantage)


def luffy(group: Group, gamma: float) -> Tensor:
    """The shaped probability of an off-policy sample, of whose sampler nothing is known."""
    probability = group.log_policy.exp()
    return group.average(-probability / (probability + gamma) * group.advantage)


def gspo(batch: Completions, low: float, high: float, **_: float) -> Tensor:
    """(B,): PPO's clip of the geometric mean of the tokens' ratios."""
    ratio = batch.mean(batch.log_ratio).exp()
    return -torch.minimum(ratio * batch.advantage, ratio.clamp(1 - low, 1 + high) * batch.advantage)


def luspo(batch: Completions, low: float, high: float, **_: float) -> Tensor:
    """(B,): GSPO's loss times the completion's length."""
    ratio = torch.exp(batch.mean(batch.log_ratio))
    clipped = torch.clamp(ratio, 1 - low, 1 + high)
    return -batch.length * torch.minimum(ratio * batch.advantage, clipped * batch.advantage)


def gmpo(batch: Completions, low: float, high: float, **_: float) -> Tensor:
    """(B,): the geometric mean of the tokens' ratios, each clipped on the side that the advantage pushes to."""
    sign = torch.sign(batch.advantage)[:, None]
    clamped = batch.log_ratio.clamp(-low, high)
    clipped = sign * torch.minimum(sign * batch.log_ratio, sign * clamped)
    return -batch.advantage * batch.mean(clipped).exp()


def cispo(group: Group, cap: float, **_: float) -> Tensor:
    return group.average(-group.ratio.clamp(max=cap).detach() * group.advantage * group.log_policy)


def trl_cispo(group: Group, epsilon_high: float, epsilon: float) -> Tensor:
    return cispo(group, cap=epsilon_high)


def verl_cispo(group: Group, low: float, high: float, epsilon: float) -> Tensor:
    weight = group.ratio.clamp(1 - low, 1 + high).detach()
    return group.average(-weight * group.advantage * group.log_policy)


def trinity_cispo(group: Group, high: float, epsilon: float) -> Tensor:
    return cispo(group, cap=1.0 + high)


def trinity_cispo_masked(group: Group, high: float, epsilon: float) -> Tensor:
    weight = group.ratio.clamp(0.0, 1.0 + high).detach()
    masked = (group.advantage > 0) & (group.ratio > 1.0 + high)
    return group.average(-weight * group.advantage * group.log_policy * ~masked)


def sapo(group: Group, tau_positive: float, tau_negative: float, epsilon: float) -> Tensor:
    tau = group.by_sign(group.advantage > 0, tau_positive, tau_negative)
    return group.average(-4 / tau * torch.sigmoid(tau * (group.ratio - 1)) * group.advantage)


def trinity_sapo(group: Group, tau_positive: float, tau_negative: float, epsilon: float) -> Tensor:
    tau = group.by_sign(group.advantage > 0, tau_positive, tau_negative)
    gate = 4 / tau * torch.sigmoid(tau * (group.ratio - 1))
    return group.average(-gate.detach() * group.advantage * group.log_policy)


def vespo(
    group: Group, k_positive: float, lambda_positive: float, k_negative: float, lambda_negative: float, epsilon: float
) -> Tensor:
    k = group.by_sign(group.advantage >= 0, k_positive, k_negative)
    rate = group.by_sign(group.advantage >= 0, lambda_positive, lambda_negative)
    weight = torch.exp(rate) * group.ratio**k * torch.exp(-rate * group.ratio)
    return group.average(-weight.detach() * group.advantage * group.log_policy)


def dppo_tv(group: Group, low: float, high: float, cap: float) -> Tensor:
    """sail-sg/Stable-RL and verl: probabilities, not ratios, are compared with the thresholds."""
    gained = group.log_policy.exp() - group.log_behavior.exp()
    drop = torch.where(group.advantage > 0, gained > high, gained < -low)
    weight = group.ratio.clamp(max=cap).detach()
    return group.average(-group.advantage * weight * group.log_policy * ~drop)


def dppo_kl(group: Group, low: float, high: float, cap: float) -> Tensor:
    """The same with a binary KL divergence (without the code's 1e-8 in both logarithms)."""
    new, old = group.log_policy.exp(), group.log_behavior.exp()
    divergence = old * (group.log_behavior - group.log_policy) + (1 - old) * torch.log(
        (1 - old) / (1 - new).clamp(min=0)
    )
    valid = torch.where(group.advantage > 0, (divergence <= high) | (new <= old), (divergence <= low) | (new >= old))
    weight = group.ratio.clamp(max=cap).detach()
    return group.average(-group.advantage * weight * group.log_policy * valid)


def prime_rl_default(group: Group, low: float, high: float, tau: float) -> Tensor:
    gained = group.log_policy.exp() - group.log_behavior.exp()
    drop = torch.where(group.advantage > 0, gained > high, gained < -low).detach()
    return group.average(-group.advantage * group.ratio * ~drop + tau * group.log_ratio**2)


def prime_rl_ipo(group: Group, threshold: float, tau: float) -> Tensor:
    drop = (group.log_policy.exp() - group.log_behavior.exp()).abs() > threshold
    return group.average(-group.advantage * group.ratio * ~drop + tau * group.log_ratio**2)


def kimi_k25(group: Group, low: float, high: float, tau: float) -> Tensor:
    """Equation 1 of the report: the objective is maximized; outside the range the clip has no gradient."""
    clipped = group.ratio.clamp(low, high)
    return -group.average(clipped * group.advantage - tau * group.log_ratio**2)


def _rec(group: Group, weight: Tensor, keep: Tensor) -> Tensor:
    return group.average(-group.advantage * weight.detach() * keep * group.log_policy)


def _one_side_range(group: Group, low: float, high: float) -> Tensor:
    upper = (group.advantage >= 0) & (group.ratio <= 1 + high)
    lower = (group.advantage <= 0) & (group.ratio >= 1 - low)
    return upper | lower


def _two_side_range(group: Group, low: float, high: float) -> Tensor:
    return (group.ratio >= 1 - low) & (group.ratio <= 1 + high)


def rec_oneside_nois(group: Group, low: float, high: float) -> Tensor:
    return _rec(group, torch.ones_like(group.ratio), _one_side_range(group, low, high))


def rec_oneside_is(group: Group, low: float, high: float) -> Tensor:
    return _rec(group, group.ratio, _one_side_range(group, low, high))


def rec_twoside(group: Group, low: float, high: float) -> Tensor:
    return _rec(group, group.ratio, _two_side_range(group, low, high))


def rec_ring(group: Group, low: float, high: float, low_outer: float, high_outer: float) -> Tensor:
    pulled_up = (group.advantage >= 0) & (group.ratio <= 1 - low_outer)
    pulled_down = (group.advantage <= 0) & (group.ratio >= 1 + high_outer)
    return _rec(group, torch.ones_like(group.ratio), _two_side_range(group, low, high) | pulled_up | pulled_down)


def rec_twoside_nois(group: Group, low: float, high: float) -> Tensor:
    return _rec(group, torch.ones_like(group.ratio), _two_side_range(group, low, high))


def rec_ring_is(group: Group, low: float, high: float, low_outer: float, high_outer: float) -> Tensor:
    weighted = Group(group.log_policy, group.log_behavior, group.advantage * group.ratio.detach(), group.weights)
    return rec_ring(weighted, low, high, low_outer, high_outer)


def rec_gspo(batch: Completions, low: float, high: float, weighted: bool = False) -> Tensor:
    """(B,): Trinity's loss, the ratio of the whole completion without gradient, averaged over its tokens."""
    ratio = batch.mean(batch.log_ratio).exp().detach()
    inside = torch.where(batch.advantage >= 0, ratio <= 1 + high, ratio >= 1 - low)
    return -batch.advantage * inside * (ratio if weighted else 1.0) * batch.mean(batch.log_policy)


def rec_gspo_is(batch: Completions, low: float, high: float) -> Tensor:
    return rec_gspo(batch, low, high, weighted=True)


def truncated_importance_sampling(group: Group, cap: float) -> Tensor:
    return group.average(
        -torch.minimum(group.ratio, torch.full_like(group.ratio, cap)).detach() * group.advantage * group.log_policy
    )


def icepop(group: Group, low: float, high: float) -> Tensor:
    keep = ((group.ratio >= low) & (group.ratio <= high)).detach()
    return group.average(-torch.where(keep, group.ratio * group.advantage, 0.0))


# --- regressions ------------------------------------------------------------------------------------------------------


def squared_error(temperature: str) -> Loss:
    """(beta l - A)^2, as OAPL, A*-PO and QRPO print it; `temperature` names the parameter that is beta."""

    def loss(group: Group, **parameters: float) -> Tensor:
        return group.average((parameters[temperature] * group.log_ratio - group.advantage) ** 2)

    return loss


def half_squared_error(temperature: str) -> Loss:
    """tau/2 (A/tau - l)^2, as PMD-mean and OpenKimi print it (per sequence of length one)."""

    def loss(group: Group, **parameters: float) -> Tensor:
        tau = parameters[temperature]
        return group.average(tau / 2 * (group.advantage / tau - group.log_ratio) ** 2)

    return loss


def penalized(temperature: str) -> Loss:
    """-(A log pi - tau/2 l^2), as Kimi k1.5's gradient and DRO print it."""

    def loss(group: Group, **parameters: float) -> Tensor:
        penalty = parameters[temperature] / 2 * group.log_ratio**2
        return group.average(-(group.advantage * group.log_policy - penalty))

    return loss


def opmd_rec(group: Group, tau: float) -> Tensor:
    return group.average(-group.advantage * group.log_policy + tau * group.log_ratio**2)


def trinity_opmd(group: Group, tau: float, kl: float) -> Tensor:
    k2 = group.log_ratio**2 / 2
    return group.average(-group.advantage * group.log_policy / (1 + tau) + kl * k2)


def rebel(group: Group, eta: float) -> Tensor:
    error = _differences(group.log_ratio) / eta - _differences(group.advantage)
    return group.over_pairs(error**2)


def is_regression(group: Group, beta: float, cap: float) -> Tensor:
    weight = group.ratio.clamp(max=cap).detach()
    return group.average(weight * (beta * group.log_ratio - group.advantage) ** 2 / (2 * beta))


def flowrl(batch: Completions, inverse_temperature: float, epsilon: float) -> Tensor:
    """(B,): squared error of trajectory balance, weighted by the completion's ratio, without gradient."""
    weight = (batch.log_ratio * batch.mask).sum(-1).exp().detach()
    return weight * (batch.mean(batch.log_ratio) - inverse_temperature * batch.advantage) ** 2


def pairwise_regression(group: Group, beta: float) -> Tensor:
    error = beta * _differences(group.log_ratio) - _differences(group.advantage)
    return group.over_pairs(error**2) / (4 * beta)


def centered_regression(group: Group, beta: float) -> Tensor:
    """The log-ratio and the reward are both centered within the group."""
    log_ratio = group.log_ratio - group.average(group.log_ratio)
    advantage = group.advantage - group.average(group.advantage)
    return group.average((beta * log_ratio - advantage) ** 2) / (2 * beta)


def residual_regression(
    group: Group, beta: float, dose: float, group_size: float, power: float = 0.0, cap: float = math.inf, **_: float
) -> Tensor:
    """Squared error of beta l to a corrected advantage that is data: A - lambda - dose lambda (rho - 1).

    lambda is an average over the other G - 1 of G samples; each of the group's own makes up 1/G of its average.
    """
    ratio = group.ratio.detach()
    k3 = ratio - 1 - group.log_ratio.detach()
    others = torch.stack(
        [(group_size * group.average(k3) - one) / (group_size - 1) if group_size < math.inf else group.average(k3)
         for one in k3]
    )  # fmt: skip
    normalizer = group.average(group.advantage) + beta * others
    wanted = group.advantage - normalizer - dose * normalizer * (ratio - 1)
    weight = ratio.clamp(max=cap) ** power
    return group.average(weight * (wanted - beta * group.log_ratio) ** 2) / (2 * beta)


def residual_nominal(group: Group, **parameters: float) -> Tensor:
    return residual_regression(group, dose=0.0, **parameters)


# --- weighted maximum likelihood ----------------------------------------------------------------------------


def awr(group: Group, beta: float, cap: float) -> Tensor:
    return group.average(-torch.exp(group.advantage / beta).clamp(max=cap) * group.log_policy)


def roirl_exponential(group: Group, beta: float) -> Tensor:
    return group.average(-torch.exp(group.advantage / beta) * group.log_policy)


def tpo(group: Group, eta: float, epsilon: float) -> Tensor:
    """Cross-entropy of the group's policy to its tilted behavior policy, which is what the group's weights are."""
    wanted = torch.softmax(torch.log(group.weights) + group.advantage / eta, dim=-1)
    logits = torch.log(group.weights) + group.log_ratio
    return -(wanted * torch.log_softmax(logits, dim=-1)).sum()


# --- preferences: (y1, y2) drawn independently, then labeled by Bradley-Terry --------------------------------


def _labeled(group: Group, loss: Tensor) -> Tensor:
    """Expectation over pairs and labels of a loss (K, K) of (winner, loser)."""
    preferred = group.preferred()
    return group.over_pairs(preferred * loss + preferred.T * loss.T)


def dpo(group: Group, beta: float) -> Tensor:
    return _labeled(group, -torch.nn.functional.logsigmoid(beta * _differences(group.log_ratio)))


def ipo(group: Group, tau: float) -> Tensor:
    return _labeled(group, (_differences(group.log_ratio) - 1 / (2 * tau)) ** 2)


def chi_po(group: Group, beta: float) -> Tensor:
    link = group.ratio + torch.log(group.ratio)
    return _labeled(group, -torch.nn.functional.logsigmoid(beta * _differences(link)))


# Losses (B,) of completions that are not sums over tokens, nor functions of the summed log-ratio.
TOKEN_LOSSES: dict[str, Loss] = {
    "gspo": gspo,
    "rec_gspo_is": rec_gspo_is,
    "rec_gspo_nois": rec_gspo,
    "luspo": luspo,
    "gmpo": gmpo,
    "flowrl": flowrl,
}

PUBLISHED_LOSSES: dict[str, Loss] = {
    "reinforce": reinforce,
    "rloo": reinforce,
    "asymre": reinforce,
    "red_weight": red_weight,
    "red_drop": red_drop,
    "topr": topr,
    "ls": logarithmic_smoothing,
    "trpo": trpo,
    "pevi": pevi,
    "cql": cql,
    "ppo": ppo,
    "ppo_dual_clip": ppo_dual_clip,
    "ce_gppo": ce_gppo,
    "aspo": aspo,
    "luffy": luffy,
    "grpo": ppo,
    "dr_grpo": ppo,
    "dapo": ppo,
    "cispo": cispo,
    "sapo": sapo,
    "vespo": vespo,
    "dppo_tv": dppo_tv,
    "dppo_kl": dppo_kl,
    "prime_rl.default": prime_rl_default,
    "prime_rl.ipo": prime_rl_ipo,
    "kimi_k25": kimi_k25,
    "rec_oneside_nois": rec_oneside_nois,
    "rec_oneside_is": rec_oneside_is,
    "rec_twoside": rec_twoside,
    "rec_twoside_nois": rec_twoside_nois,
    "rec_ring": rec_ring,
    "rec_ring_is": rec_ring_is,
    "opmd": penalized("tau"),
    "kimi_k15": penalized("tau"),
    "pmd_mean": half_squared_error("tau"),
    "pmd_partition": half_squared_error("tau"),
    "a_star_po": squared_error("beta2"),
    "oapl": squared_error("beta2"),
    "shifted_mean": half_squared_error("beta"),
    "dro": penalized("beta"),
    "qrpo": squared_error("beta"),
    "rebel": rebel,
    "is_regression": is_regression,
    "pairwise_regression": pairwise_regression,
    "centered_regression": centered_regression,
    "residual_regression": residual_regression,
    "residual_regression.weighted": residual_regression,
    "residual_nominal": residual_nominal,
    "residual_nominal.weighted": residual_nominal,
    "awr": awr,
    "roirl": reinforce,
    "tpo": tpo,
    "dpo": dpo,
    "ipo": ipo,
    "chi_po": chi_po,
    "grpo.no_ratio": reinforce,
    "oapl.missing_log_g": squared_error("beta2"),
    "oapl.single_beta": squared_error("beta"),
    "opmd.rec": opmd_rec,
    "trinity.opmd": trinity_opmd,
    "qrpo.identity": squared_error("beta"),
    "verl.dro": penalized("beta"),
    "roirl.exponential": roirl_exponential,
    "trl.cispo": trl_cispo,
    "verl.cispo": verl_cispo,
    "trinity.cispo": trinity_cispo,
    "trinity.cispo_masked": trinity_cispo_masked,
    "trinity.sapo": trinity_sapo,
    "verl.tis": truncated_importance_sampling,
    "verl.icepop": icepop,
    **{name: one_token(loss) for name, loss in TOKEN_LOSSES.items()},
}

# Losses whose masks or counts look at mu(y) itself: a sampled group hands that over as behavior=.
NEED_PROBABILITIES = frozenset({"dppo_tv", "dppo_kl", "prime_rl.default", "prime_rl.ipo", "luffy", "pevi"})

# Losses without a stop-gradient, whose minimum over the simplex is the target.
MINIMIZED = [
    "ls", "opmd", "kimi_k15", "pmd_mean", "pmd_partition", "a_star_po", "oapl", "shifted_mean", "dro", "qrpo", "rebel",
    "pairwise_regression", "centered_regression", "awr", "roirl", "tpo", "dpo", "ipo", "chi_po", "oapl.single_beta",
    "opmd.rec", "trinity.opmd", "verl.dro", "roirl.exponential",
]  # fmt: skip
