"""Trinity-RFT's policy losses and advantages, as trinity-rft 0.6.0 implements them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ... import baselines
from ...hints import near
from ...levels import Level
from ..reader import Reader
from ..settings import Advantage, Clip, Objective, Penalty, adapted, objective, own_advantage, policy_gradient, unknown
from ..shared import holding

LOSS_ARGUMENTS = "algorithm.policy_loss_fn_args"
ADVANTAGE_ARGUMENTS = "algorithm.advantage_fn_args"
ADAPTER = "pessimism.trainers.trinity.adapter"

NOT_IN_CATALOGUE = {
    "importance_sampling": "the ratio times the advantage, without a clip, is not in the catalogue; it is greedy",
    "sppo": "the log-ratio times the advantage, inside a range, is not in the catalogue",
    "mix": "a mixture with supervised learning on expert data",
    "mix_chord": "a mixture with supervised learning on expert data",
    "sft": "cross-entropy on samples, not a policy optimization of a reward",
    "sft_is": "cross-entropy on samples, not a policy optimization of a reward",
    "sft_phi": "cross-entropy on samples, not a policy optimization of a reward",
}
OTHER_BASELINES = {
    "reinforceplusplus": "mean of the batch, not of the prompt",
    "remax": "reward of the greedy completion",
    "step_wise_grpo": "means per step of a trajectory",
    "gigpo": "means per state of a trajectory",
    "on_policy_distill": "the log-ratio to a teacher",
    "jsd": "a divergence to a teacher",
    "clipb": "the group mean, with tokens left out by entropy",
    "clipv": "the group mean, with tokens left out by entropy",
}
REC_ENTRIES: dict[tuple[str, str], tuple[str, Level]] = {
    ("one-side", "none"): ("rec_oneside_nois", "token"),
    ("one-side", "importance_sampling"): ("rec_oneside_is", "token"),
    ("two-side", "importance_sampling"): ("rec_twoside", "token"),
    ("ring", "none"): ("rec_ring", "token"),
    ("gspo-one-side", "gspo_importance_sampling"): ("rec_gspo_is", "sequence mean"),
    ("gspo-one-side", "none"): ("rec_gspo_nois", "sequence mean"),
}


def advantage_of(reader: Reader, name: str) -> Advantage:
    if name in ("grpo", "grpo_verl"):
        batch = reader.name(f"{ADVANTAGE_ARGUMENTS}.std_cal_level", "group") == "batch"
        penalized = reader.number(f"{ADVANTAGE_ARGUMENTS}.rank_penalty", None) is not None
        remarks = ("the penalty on likely completions is left out",) if penalized else ()
        if batch:
            return Advantage(baselines.mean(), "group mean, divided by the batch's std", "batch std", remarks=remarks)
        words = "group mean, divided by the group's std + 1e-6"
        return Advantage(baselines.standardized(1e-6), words, "group std", remarks=remarks)
    if name == "rec":
        if reader.flag(f"{ADVANTAGE_ARGUMENTS}.std_normalize", False):
            words = "group mean, divided by the group's std + 1e-6"
            return Advantage(baselines.standardized(1e-6), words, "group std")
        return Advantage(baselines.mean(), "group mean")
    if name in ("opmd", "opmd_verl"):
        tau = reader.number(f"{ADVANTAGE_ARGUMENTS}.tau", 1.0)
        if reader.name(f"{ADVANTAGE_ARGUMENTS}.opmd_baseline", "mean") == "mean":
            return Advantage(baselines.mean(), "group mean")
        return Advantage(baselines.log_mean_exp(tau), f"{tau:g} log mean exp(r/{tau:g}) of the group")
    if name in ("asymre", "asymre_verl"):
        shift = reader.number(f"{ADVANTAGE_ARGUMENTS}.baseline_shift", -0.1)
        return Advantage(baselines.shifted_mean(shift), f"group mean {shift:+g}")
    if name == "rloo":
        return Advantage(baselines.leave_one_out(), "mean of the other completions (leave one out)")
    if name == f"{ADAPTER}.Advantage":
        return own_advantage(reader.section(f"{ADVANTAGE_ARGUMENTS}.objective"))
    if name == "reinforce":
        return Advantage(baselines.none(), "none: the reward itself", needs_group=False)
    if name == "ppo":
        remark = "the critic is taken to know the mean reward; gamma, lambda and whitening are left out"
        return Advantage(baselines.mean(), "a critic's value", "batch std", False, (remark,))
    return Advantage(None, OTHER_BASELINES.get(name, name or "none"), needs_group=False)


def objective_of(reader: Reader, loss: str, name: str, advantage: Advantage, penalty: Penalty | None) -> Objective:
    if loss == f"{ADAPTER}.PolicyLoss":
        return adapted(reader.section(f"{LOSS_ARGUMENTS}.objective"), advantage.baseline)
    if loss in NOT_IN_CATALOGUE:
        return unknown(loss, NOT_IN_CATALOGUE[loss])
    if loss == "dpo":
        if reader.number(f"{LOSS_ARGUMENTS}.label_smoothing", 0.0):
            return unknown(loss, "label smoothing is not in the catalogue's dpo")
        return objective(loss, "dpo", beta=reader.number(f"{LOSS_ARGUMENTS}.beta", 0.1))
    makers: dict[str, Callable[[], Objective]] = {
        "ppo": lambda: _ppo(reader, advantage),
        "opmd": lambda: _opmd(reader, name, advantage, penalty),
        "topr": lambda: _topr(reader, advantage),
        "cispo": lambda: _cispo(reader, advantage),
        "gspo": lambda: _gspo(reader, advantage),
        "sapo": lambda: _sapo(reader, advantage),
        "rec": lambda: _rec(reader, advantage),
    }
    if loss not in makers:
        return unknown(loss, f"policy_loss_fn is {loss!r}; {near(loss, (*makers, *NOT_IN_CATALOGUE), 'losses')}")
    made = makers[loss]()
    if advantage.baseline is None and made.entry:
        known = name in OTHER_BASELINES
        why = f"its baseline, {advantage.words}, is not in the catalogue" if known else f"advantage_fn is {name!r}"
        return unknown(loss, f"its coefficient is that of {made.entry}, but {why}")
    return replace(made, remarks=tuple(dict.fromkeys((*advantage.remarks, *made.remarks))))


def _ppo(reader: Reader, advantage: Advantage) -> Objective:
    if reader.flag(f"{LOSS_ARGUMENTS}.fallback_to_policy_gradient", False):
        return policy_gradient("ppo", advantage)
    clip = clip_range(reader, 0.2, 0.2)
    if clip is None:
        return unknown("ppo", _no_range())
    masked = reader.flag(f"{LOSS_ARGUMENTS}.enable_sequence_masking", False)
    own_cap = reader.given(f"{LOSS_ARGUMENTS}.clip_ratio_c")
    remarks = holding(
        {
            "negative completions far from the sampler are masked": masked,
            "the cap is a default of trinity-rft 0.6.0; 0.3 had none": not own_cap,
        }
    )
    cap = reader.number(f"{LOSS_ARGUMENTS}.clip_ratio_c", 3.0)
    bounds = {"low": clip.low, "high": clip.high, "cap": cap}
    return objective("ppo", "ppo_dual_clip", advantage.baseline, "token", remarks, **bounds)


def _gspo(reader: Reader, advantage: Advantage) -> Objective:
    clip = clip_range(reader, 3e-4, 4e-4)
    if clip is None:
        return unknown("gspo", _no_range())
    return objective("gspo", "gspo", advantage.baseline, low=clip.low, high=clip.high)


def _no_range() -> str:
    return f"{LOSS_ARGUMENTS} is given without clip_range; Trinity-RFT then has no range and stops"


def _opmd(reader: Reader, name: str, advantage: Advantage, penalty: Penalty | None) -> Objective:
    tau = reader.number(f"{LOSS_ARGUMENTS}.tau", 1.0)
    squared = penalty is not None and penalty.estimator == "k2"
    if name.startswith("asymre") and penalty is None:
        return objective("opmd", "asymre", shift=reader.number(f"{ADVANTAGE_ARGUMENTS}.baseline_shift", -0.1))
    remark = "the penalty is to the frozen reference; the targets are those of data from it"
    coefficient = penalty.coefficient if penalty is not None and squared else 0.0
    remarks = (remark,) if squared else ()
    made = objective("opmd", "trinity.opmd", advantage.baseline, "token", remarks, tau=tau, kl=coefficient)
    return replace(made, penalized=squared)


def _topr(reader: Reader, advantage: Advantage) -> Objective:
    if reader.number(f"{LOSS_ARGUMENTS}.advantage_threshold", 0.0):
        return unknown("topr", "advantage_threshold is not 0, which the catalogue's topr does not have")
    return objective("topr", "topr", advantage.baseline, "token")


def _cispo(reader: Reader, advantage: Advantage) -> Objective:
    low = reader.number(f"{LOSS_ARGUMENTS}.clip_range_low", 1.0)
    high = reader.number(f"{LOSS_ARGUMENTS}.clip_range_high", 0.28)
    if reader.flag(f"{LOSS_ARGUMENTS}.enable_mask_clip", False):
        mask_low = reader.number(f"{LOSS_ARGUMENTS}.mask_clip_range_low", 1.0)
        mask_high = reader.number(f"{LOSS_ARGUMENTS}.mask_clip_range_high", 0.28)
        if low < 1 or mask_low < 1 or mask_high != high:
            return unknown(
                "cispo", "its mask has a range of its own, which the catalogue's trinity.cispo_masked does not have"
            )
        return objective("cispo", "trinity.cispo_masked", advantage.baseline, "token", high=high)
    if low >= 1:
        return objective("cispo", "trinity.cispo", advantage.baseline, "token", high=high)
    return objective("cispo", "verl.cispo", advantage.baseline, "token", low=low, high=high)


def _sapo(reader: Reader, advantage: Advantage) -> Objective:
    taus = {
        "tau_positive": reader.number(f"{LOSS_ARGUMENTS}.tau_pos", 1.0),
        "tau_negative": reader.number(f"{LOSS_ARGUMENTS}.tau_neg", 1.05),
    }
    return objective("sapo", "trinity.sapo", advantage.baseline, "token", **taus)


def _rec(reader: Reader, advantage: Advantage) -> Objective:
    def option(name: str, default: str) -> str:
        return reader.name(f"{LOSS_ARGUMENTS}.{name}", default)

    def number(name: str, default: float) -> float:
        return reader.number(f"{LOSS_ARGUMENTS}.{name}", default)

    mode, weight, regularizer = option("clip_mode", "none"), option("weight", "none"), option("regularizer", "none")
    coefficient = number("regularizer_coef", 0.0)
    drop = reader.name(f"{ADVANTAGE_ARGUMENTS}.drop", None)
    baseline = advantage.baseline
    combination = f"clip_mode {mode}, weight {weight}, regularizer {regularizer}"
    regularized = regularizer != "none" and coefficient > 0
    if (mode, weight) in REC_ENTRIES and not regularized and drop is None:
        entry, level = REC_ENTRIES[mode, weight]
        bounds = {"low": number("epsilon_low", 0.2), "high": number("epsilon_high", 0.2)}
        if entry == "rec_ring":
            # The defaults of the class apply as soon as the file has any arguments; those of default_args else.
            given = reader.given(LOSS_ARGUMENTS)
            bounds["low_outer"] = number("epsilon_low_prime", 0.4 if given else 0.6)
            bounds["high_outer"] = number("epsilon_high_prime", 0.4 if given else 2.0)
        return objective("rec", entry, baseline, level, (), **bounds)
    if mode == "none" and weight == "advantage" and not regularized and drop is None:
        return objective("rec", "red_weight", baseline, "token", temperature=number("temp", 1.0))
    if (mode, weight) != ("none", "none"):
        return unknown("rec", f"{combination} is not in the catalogue")
    if drop == "balance" and not regularized:
        remark = "Trinity-RFT takes the mean anew over the samples that it keeps, which the targets leave out"
        return objective("rec", "red_drop", baseline, "token", (remark,))
    if drop is not None:
        return unknown("rec", f"{combination}, drop {drop} is not in the catalogue")
    if regularized and regularizer == "k2":
        return objective("rec", "opmd.rec", baseline, "token", tau=coefficient)
    if regularized and regularizer == "forward-kl":
        if advantage.scaling:
            return unknown("rec", "a forward KL on standardized advantages is not in the catalogue")
        return objective("rec", "asymre", level="token", shift=-coefficient)
    return policy_gradient("rec", advantage)


def clip_range(reader: Reader, low: float, high: float) -> Clip | None:
    """The clip range; None where arguments are given without one, since defaults apply only where none are."""
    shared = reader.number(f"{LOSS_ARGUMENTS}.clip_range", None)
    given = reader.given(LOSS_ARGUMENTS)
    below = reader.number(f"{LOSS_ARGUMENTS}.clip_range_low", shared if given else low)
    above = reader.number(f"{LOSS_ARGUMENTS}.clip_range_high", shared if given else high)
    return None if below is None or above is None else Clip(below, above)
