"""Advice: matched movement against root finding of its own and against training in simulated worlds."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from scipy.optimize import brentq

import pessimism as ps
from audit_logs import parquet, table
from pessimism.advice.advice import FAMILIES
from pessimism.advice.matching import GENTLE, Asked, Family, gentle_sign, match, measured, movement
from pessimism.advice.pool import MOST_DISTINCT, PoolBuilder, pool_of_rates
from pessimism.cli.main import main
from pessimism.shell.objects import algorithm_of

RATES = (0.2, 0.5, 0.8)


def gibbs_kl(rewards: np.ndarray, beta: float) -> np.ndarray:
    """KL of the Gibbs policy from equal weights, from its definition."""
    weights = np.exp((rewards - rewards.max(axis=-1, keepdims=True)) / beta)
    policy = weights / weights.sum(axis=-1, keepdims=True)
    return (policy * np.log(np.maximum(policy, 1e-300) * rewards.shape[-1])).sum(axis=-1)


@pytest.mark.parametrize("asked", [0.01, 0.2, 0.5])
def test_the_boundary_is_matched_where_a_direct_search_matches_it(asked):
    rewards = np.random.default_rng(0).normal(size=(40, 6))
    builder = PoolBuilder()
    builder.add(rewards)
    found = match(builder.pool(), Family.read("oapl.single_beta:beta=?"), Asked("kl", asked))
    direct = brentq(lambda beta: gibbs_kl(rewards, beta).mean() - asked, 1e-2, 1e3)
    assert found.value == pytest.approx(direct, rel=1e-3)


@pytest.mark.parametrize(("measure", "value"), [("kl", 0.3), ("ess", 0.6), ("max_ratio", 3.0)])
def test_every_row_moves_as_far_as_asked_or_says_why_not(measure, value):
    found = ps.advise(group_size=4, pass_rates=RATES, objectives=FAMILIES[:-1], **{measure: value})
    matched = [row for row in found.rows if row.value is not None]
    assert len(matched) >= 4
    for row in matched:
        assert getattr(row, measure) == pytest.approx(value, rel=0.02)
    for row in found.rows:
        assert (row.value is None) == ("never as far as asked" in row.fails)
    gains = [row.value_change for row in matched]
    assert gains == sorted(gains, reverse=True)
    assert found.recommended is not None
    assert found.recommended.regimes["positive"] >= 0.99


@pytest.mark.parametrize("family", ["shifted_mean:beta=?", "shifted_mean:beta=0.2,delta=?", "oapl.single_beta:beta=?"])
def test_following_the_advice_reaches_the_movement(tmp_path, family):
    """A log is written, the advice is followed by exact gradients on its groups to the end, and the KL is measured."""
    rewards = (np.random.default_rng(0).random((12, 6)) < 0.4).astype(float)
    path = parquet(tmp_path / "log.parquet", table(rewards))
    found = ps.advise(path, kl=0.2, objectives=[family])
    signal = np.ptp(rewards, axis=-1) > 0
    world = ps.Bandit(np.full(rewards[signal].shape, 1 / 6), rewards[signal])
    algorithm = algorithm_of(found.rows[0].setting)
    flows = [ps.gradient_flow(world[row], algorithm).policy for row in range(int(signal.sum()))]
    policy = np.array(flows)
    reached = (policy * np.log(np.maximum(policy, 1e-300) * 6)).sum(axis=-1).mean()
    assert reached == pytest.approx(0.2, rel=0.1)


def test_a_clip_is_matched_too():
    """Beyond its clip a ratio earns nothing more: the target moves farther the wider it is."""
    [row] = ps.advise(group_size=3, pass_rates=[0.5], kl=0.02, objectives=["ppo:low=?,high=?"]).rows
    assert row.kl == pytest.approx(0.02, rel=0.02)
    assert row.gentler is not None
    assert row.value is not None
    assert row.stronger is not None
    assert row.gentler < row.value < row.stronger


def test_pools_count_groups_whatever_their_order():
    random = np.random.default_rng(1)
    rewards = random.integers(0, 2, (500, 5)).astype(float)
    whole, parts = PoolBuilder(), PoolBuilder()
    whole.add(rewards)
    for part in np.array_split(random.permuted(rewards, axis=1), 7):
        parts.add(part)
    one, two = whole.pool(), parts.pool()
    assert one.distinct == two.distinct == 4
    assert dict(zip(one.rewards[5].sum(axis=1), one.counts[5], strict=True)) == dict(
        zip(two.rewards[5].sum(axis=1), two.counts[5], strict=True)
    )
    passing, counts = np.unique(rewards.sum(axis=1), return_counts=True)
    expected = dict(zip(passing.tolist(), counts.tolist(), strict=True))
    assert one.silent == (expected.get(0.0, 0) + expected.get(5.0, 0)) / 500


def test_pools_of_too_many_groups_are_drawn_fairly():
    random = np.random.default_rng(2)
    builder = PoolBuilder()
    values = random.normal(size=(4 * MOST_DISTINCT, 2))
    builder.add(values[: 2 * MOST_DISTINCT])
    builder.add(values[2 * MOST_DISTINCT :])
    pool = builder.pool()
    assert MOST_DISTINCT / 8 < pool.distinct <= MOST_DISTINCT
    assert pool.drawn <= 0.25
    gaps = np.ptp(pool.rewards[2], axis=1)
    assert gaps.mean() == pytest.approx(np.ptp(values, axis=1).mean(), rel=0.05)


def test_pools_of_rates_are_what_sampling_gives():
    pool = pool_of_rates(6, [0.1, 0.6])
    random = np.random.default_rng(3)
    drawn = random.binomial(6, np.repeat([0.1, 0.6], 40_000))
    for row, share in zip(pool.rewards[6], pool.counts[6], strict=True):
        assert share == pytest.approx((drawn == row.sum()).mean(), abs=0.01)
    assert pool.silent == pytest.approx(np.isin(drawn, (0, 6)).mean(), abs=0.01)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kl": 0.1, "ess": 0.5}, "give one of kl, ess and max_ratio"),
        ({"kl": -1.0}, "kl is -1.0; it must be above 0"),
        ({"ess": 1.5}, "ess is 1.5; it must be above 0 and below 1"),
        ({"kl": 0.1, "objectives": ["oapl"]}, "no parameter is open"),
        ({"kl": 0.1, "objectives": ["oapl:beta3=?"]}, "no parameter 'beta3'"),
        ({"kl": 0.1, "objectives": []}, "objectives is empty"),
        ({"kl": 0.1, "group_size": 1}, "group_size is 1"),
        ({"kl": 0.1, "pass_rates": [1.2]}, "pass_rates are"),
        ({"kl": 0.1, "pass_rates": [1.0]}, "no group has signal"),
        ({"kl": 0.1, "log": "nowhere.parquet"}, "give a log, or"),
    ],
)
def test_what_cannot_be_advised_on_is_told(arguments, message):
    with pytest.raises(ValueError, match=message):
        ps.advise(**{"group_size": 8, "pass_rates": [0.5]} | arguments)


def lagged(path, groups: int = 200, size: int = 4, shift: float = 0.4):
    """A log whose policy moves with age, each version by noise of its own."""
    random = np.random.default_rng(4)
    age = np.repeat(random.integers(0, 4, groups), size)
    log_prob = -20.0 - random.random(groups * size)
    moved = shift * age * random.normal(size=groups * size)
    return parquet(
        path,
        table(
            (random.random((groups, size)) < 0.5).astype(float),
            log_prob=log_prob,
            current_log_prob=np.minimum(log_prob + moved - (shift * age) ** 2 / 2, 0.0),
            version=np.full(groups * size, 3),
            step=3 + age,
        ),
    )


def test_the_log_says_from_which_age_on_data_are_too_old(tmp_path):
    """Log-normal ratios of variance s^2 have an effective sample size of e^-s^2: .85, .53 and .24 at ages 1 to 3."""
    found = ps.advise(lagged(tmp_path / "log.parquet"), kl=0.1, objectives=["shifted_mean:beta=?"], ess_bound=0.4)
    assert any("At age 3 the effective sample size of completions is" in text for text in found.lag)


def test_samples_that_are_nothing_of_what_can_be_said_are_warned_of(tmp_path):
    rows = table(np.array([[0.0, 1.0]] * 5), log_prob=np.full((5, 2), -500.0))
    found = ps.advise(parquet(tmp_path / "log.parquet", rows), kl=0.1, objectives=["shifted_mean:beta=?"])
    assert any(text.startswith("Leakage: in 100.0% of 5 groups") for text in found.warnings)


def test_the_command_prints_what_the_function_returns(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    path = lagged(tmp_path / "log.parquet")
    arguments = ["advise", str(path), "--kl", "0.1", "--algorithm", "shifted_mean:beta=?", "--lag", "3", "--steps", "8"]
    assert main(arguments) == 0
    plain = " ".join(capsys.readouterr().out.split())
    found = ps.advise(path, kl=0.1, objectives=["shifted_mean:beta=?"], lag=3, steps=8)
    for text in (*found.reasons, *found.lag):
        assert " ".join(text.split()) in plain
    assert main([*arguments, "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["recommended"] == found.rows[0].setting


@pytest.mark.parametrize("measure", ["kl", "ess", "max_ratio"])
@pytest.mark.parametrize("text", ["shifted_mean:beta=0.3", "dro:beta=0.4", "asymre:shift=-0.5"])
def test_the_search_measures_what_the_table_says(measure, text):
    pool = pool_of_rates(5, RATES)
    algorithm = algorithm_of(text)
    assert movement(pool, algorithm, measure) == pytest.approx(measured(pool, algorithm).movement(measure), rel=1e-12)


@pytest.mark.parametrize("family", ["shifted_mean:beta=0.1,delta=?", "asymre:shift=?"])
def test_of_two_signs_the_one_that_moves_less_is_searched(family):
    pool = pool_of_rates(2, [0.5])
    far = GENTLE * pool.spread
    moved = {sign: movement(pool, Family.read(family).at(sign * far), "kl") for sign in (1.0, -1.0)}
    assert gentle_sign(pool, Family.read(family)) == min(moved, key=lambda sign: moved[sign])


def test_data_frames_and_shares_of_a_log_are_advised_on():
    rewards = (np.random.default_rng(0).random((400, 4)) < 0.5).astype(float)
    frame = pl.from_arrow(table(rewards))
    whole = ps.advise(frame, kl=0.1, objectives=["dro:beta=?"])
    some = ps.advise(frame, kl=0.1, objectives=["dro:beta=?"], share=0.25)
    assert whole.groups == 400
    assert 60 < some.groups < 140
    assert any("25.00% of the groups" in text for text in some.warnings)
    assert some.rows[0].value == pytest.approx(whole.rows[0].value, rel=0.2)
    with pytest.raises(ValueError, match="share is 0"):
        ps.advise(frame, kl=0.1, share=0)
