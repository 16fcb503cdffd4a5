"""Rules about the sampler's probabilities: shares that a bound leaves out, and bounds of another level's scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pessimism.lint import lint
from pessimism.lint.correction_rules import share_outside

DATA = Path(__file__).parent / "data" / "lint"
CORRECTION = "algorithm.rollout_correction"
SLIME = "python train.py --rollout-batch-size 32 --rollout-max-response-len 8192 --n-samples-per-prompt 8"


def messages(name, overrides, rule):
    return [one.message for one in lint(DATA / name, overrides).findings if one.rule.id == rule]


@pytest.mark.parametrize(("length", "gap"), [(200, 0.05), (1_000, 0.03), (4_000, 0.02)])
@pytest.mark.parametrize(("low", "high"), [(0.0, 2.0), (0.5, 2.0), (0.0, 1.0)])
def test_the_share_is_that_of_drawn_completions(length, gap, low, high):
    """Sums of drawn log-ratios whose ratio has the mean 1."""
    rng = np.random.default_rng(length)
    sums = np.concatenate(
        [rng.normal(-(gap**2) / 2, gap, (1_000, length)).astype(np.float32).sum(axis=1) for _ in range(2)]
    )
    ratios = np.exp(sums.astype(float))
    drawn = np.mean((ratios > high) | (ratios < low))
    assert share_outside(length, gap, low, high) == pytest.approx(drawn, abs=4 * np.sqrt(0.25 / len(ratios)))


def test_a_longer_completion_is_left_out_more_often():
    shares = [share_outside(length, 0.02, 0.5, 2.0) for length in (100, 1_000, 10_000, 100_000)]
    assert shares == sorted(shares)
    assert shares[0] < 1e-3
    assert shares[-1] > 0.9


def test_the_share_is_told_for_the_length_of_the_file():
    mask = [f"{CORRECTION}.rollout_rs=seq_sum_k1", f"{CORRECTION}.rollout_rs_threshold=0.5_2.0"]
    (told,) = messages("verl_grpo.sh", [*mask, "data.max_response_length=16384"], "sequence-mask")
    share = share_outside(16384, 0.03, 0.5, 2.0)
    assert "leaves [0.5, 2] are left out" in told
    assert f"{share:.0%} of 16,384 tokens at a gap of 0.03" in told
    (capped,) = messages(
        "verl_grpo.sh",
        [f"{CORRECTION}.rollout_is=sequence", f"{CORRECTION}.rollout_is_threshold=2", "data.max_response_length=500"],
        "sequence-mask",
    )
    assert "get that weight instead of their own" in capped
    assert " 500 tokens" in capped


def test_one_bound_of_a_ratio_has_its_inverse_below():
    mask = [f"{CORRECTION}.rollout_rs=seq_sum_k1", f"{CORRECTION}.rollout_rs_threshold=4"]
    assert lint(DATA / "verl_grpo.sh", mask).settings.correction.low == 0.25


def test_a_bound_on_a_divergence_is_none_on_a_ratio():
    mask = [f"{CORRECTION}.rollout_rs=seq_mean_k3", f"{CORRECTION}.rollout_rs_threshold=0.01"]
    assert not messages("verl_grpo.sh", mask, "correction-scale")


@pytest.mark.parametrize(
    ("level", "threshold", "told"),
    [
        ("token", "2.0", ""),
        ("token", "0.5", "beyond the bound 0.5"),
        ("token", "1.0005", "by rounding"),
        ("sequence", "1.001", "it bounds a product"),
        ("sequence", "5", ""),
    ],
)
def test_bounds_are_held_against_their_level(level, threshold, told):
    weights = [f"{CORRECTION}.rollout_is={level}", f"{CORRECTION}.rollout_is_threshold={threshold}"]
    found = messages("verl_grpo.sh", weights, "correction-scale")
    assert (told in found[0]) if told else not found


@pytest.mark.parametrize(("delta", "told"), [("1e-4", ""), ("0.5", "all but never reached"), ("0.02", "")])
def test_a_mask_by_the_trainers_own_probabilities_may_be_narrow(tmp_path, delta, told):
    """slime compares two of its own passes, where 1e-4 is much; TRL's threshold is on the distance to the sampler."""
    path = tmp_path / "run.sh"
    path.write_text(f"{SLIME} --use-opsm --opsm-delta {delta}\n")
    found = [one.message for one in lint(path).findings if one.rule.id == "off-policy-mask-scale"]
    assert (told in found[0]) if told else not found
    in_trl = messages("trl_grpo.yaml", [f"off_policy_mask_threshold={delta}"], "off-policy-mask-scale")
    assert bool(in_trl) is (delta != "0.02")


def test_what_engines_disagree_on_is_told_for_long_completions_or_where_it_was_chosen(tmp_path):
    path = tmp_path / "run.sh"
    path.write_text("python3 -m verl.trainer.main_ppo algorithm.adv_estimator=grpo actor_rollout_ref.rollout.n=8\n")
    for overrides, told in (
        ([], False),
        (["data.max_response_length=1024"], False),
        (["data.max_response_length=16384"], True),
        (["data.max_response_length=1024", f"{CORRECTION}.rollout_is=null"], True),
    ):
        assert ("uncorrected-sampler" in {one.rule.id for one in lint(path, overrides).findings}) is told, overrides
