"""The audit's numbers: against the package's own targets, against what theory says of simulated logs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp

import pessimism as ps
from audit_logs import json_lines, parquet, per_group, table
from bandits.instances import asymre_100, five_arm, sparse
from pessimism.audit.run import audit, rollouts_bandit
from pessimism.audit.statistics import METHODS, REGIMES, Solver, distinct_rows, solve
from pessimism.audit.totals import Bins, Fit, Sample, Top, quantiles
from pessimism.objectives.catalogue import catalogue

CLOSED = [name for name, entry in catalogue().items() if entry.closed_form]
SEEN_ALIKE = ("mean", "shifted mean", "log mean exp", "constant", "none")
"""Baselines that treat a sample of a group as an arm of probability 1/G."""


def rewards(kind: str, groups: int, size: int, seed: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    if kind == "binary":
        return (random.random((groups, size)) < random.beta(0.5, 0.5, (groups, 1))).astype(float)
    return np.abs(random.normal(size=(groups, size))) + 0.1


PARAMETERS = {"oapl.missing_log_g": {"beta1": 1.0, "beta2": 20.0}}
"""Where defaults leave the closed form, which is then tested elsewhere: values that do not."""


@pytest.mark.parametrize("kind", ["binary", "continuous"])
@pytest.mark.parametrize("name", CLOSED)
def test_predicted_log_ratios_are_those_of_the_targets(tmp_path, name, kind):
    """Every closed form, group by group through the file, against the target of a bandit of G arms."""
    algorithm = ps.algorithm(name, **PARAMETERS.get(name, {}))
    reward = rewards(kind, 60, 6, seed=3)
    path = parquet(tmp_path / "log.parquet", table(reward))
    found = per_group(path, algorithm)
    assert len(found) == 60
    alike = algorithm.baseline.name in SEEN_ALIKE and algorithm.baseline.transform is None
    for index, row in enumerate(reward):
        bandit = ps.Bandit(np.full(6, 1 / 6), row)
        target = ps.induced_target(bandit, algorithm) if alike else ps.group_target(row, algorithm)
        mine = found[f"g{index}"]
        np.testing.assert_array_equal(mine["reward"], row)
        if target.method == "closed form":  # rows without one are found by a flow, to the flow's accuracy
            np.testing.assert_allclose(mine["log_ratio"], target.log_ratio, atol=1e-10, rtol=1e-10)
            np.testing.assert_allclose(mine["normalizer"], target.normalizer, atol=1e-10, rtol=1e-10)
        assert REGIMES[mine["regime"]] == (target.regime or "none")


# --- logs simulated from bandits with known targets -------------------------------------------------------------------


def simulated(bandit: ps.Bandit, groups: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rewards and log-probabilities (groups, size) of samples of the behavior policy."""
    arms = np.random.default_rng(seed).choice(bandit.arms, (groups, size), p=bandit.behavior)
    return bandit.reward[arms], bandit.log_behavior[arms]


def soft_value(reward: np.ndarray, beta: float) -> np.ndarray:
    return beta * (logsumexp(reward / beta, axis=-1) - np.log(reward.shape[-1]))


@pytest.mark.parametrize(
    "bandit", [five_arm(), sparse(arms=100, rewarded=30), asymre_100()], ids=["five", "sparse", "hundred"]
)
@pytest.mark.parametrize("size", [4, 8])
def test_regimes_are_those_that_theory_gives_simulated_logs(tmp_path, bandit, size):
    """By the sign of V* - V, from a logsumexp of its own; no group away from the boundary is wrong."""
    reward, log_prob = simulated(bandit, 4000, size, seed=size)
    path = parquet(tmp_path / "log.parquet", table(reward, log_prob=log_prob))
    value = float(np.quantile(reward, 0.6)) + 0.01
    mean = reward.mean(axis=-1)
    cases = [
        (ps.algorithm("oapl", beta1=2.0, beta2=0.4), soft_value(reward, 2.0), 0.4),
        (ps.algorithm("oapl", beta1=0.3, beta2=0.4), soft_value(reward, 0.3), 0.4),
        (ps.algorithm("shifted_mean", beta=0.4), mean - 0.4, 0.4),
        (ps.algorithm("oapl", beta2=0.4, baseline=ps.baselines.mean()), mean, 0.4),
        (ps.algorithm("oapl", beta2=20.0, baseline=value), np.full(len(mean), value), 20.0),
    ]
    for algorithm, baseline, beta in cases:
        found = per_group(path, algorithm)
        height = soft_value(reward, beta) - baseline
        away = np.abs(height) > 1e-9
        expected = np.where(height > 0, "positive", "negative")
        mine = np.array([REGIMES[found[f"g{index}"]["regime"]] for index in range(len(reward))])
        assert away.mean() > 0.3
        assert (mine[away] == expected[away]).all()
        assert (mine[~away] == "boundary").all()
        np.testing.assert_allclose(
            [found[f"g{index}"]["baseline"] for index in range(len(reward))], baseline, atol=1e-9
        )


def test_the_same_temperature_twice_is_the_boundary_everywhere(tmp_path):
    reward, _ = simulated(asymre_100(), 500, 8, seed=1)
    found = per_group(parquet(tmp_path / "log.parquet", table(reward)), ps.algorithm("oapl", beta1=0.3, beta2=0.3))
    assert {REGIMES[group["regime"]] for group in found.values()} == {"boundary"}


@pytest.mark.parametrize("gain", [0.25, 1.0])
def test_realized_against_predicted_finds_how_far_a_policy_has_gone(tmp_path, gain):
    """Current log-probabilities that are `gain` of the way to the target, and drift by a constant in every group."""
    reward = rewards("binary", 300, 8, seed=5)
    algorithm = ps.algorithm("shifted_mean", beta=0.5)
    weights = np.full(reward.shape, 1 / 8)
    target = ps.induced_target(ps.Bandit(weights, reward), algorithm)
    random = np.random.default_rng(0)
    log_prob = -50 - random.random(reward.shape)
    drift = random.normal(size=(300, 1))
    log = table(reward, log_prob=log_prob, current_log_prob=log_prob + gain * target.log_ratio + drift)
    outcome = audit([parquet(tmp_path / "log.parquet", log)], [algorithm]).algorithms[0]
    assert outcome.realized is not None
    fit = outcome.realized["within groups"]
    assert fit["slope"] == pytest.approx(gain, abs=1e-9)
    assert fit["r2"] == pytest.approx(1.0, abs=1e-9)
    assert outcome.realized["all samples"]["r2"] < 0.9
    pooled = np.polyfit(target.log_ratio.ravel(), (gain * target.log_ratio + drift).ravel(), 1)
    assert outcome.realized["all samples"]["slope"] == pytest.approx(pooled[0], abs=1e-9)
    assert outcome.realized["all samples"]["intercept"] == pytest.approx(pooled[1], abs=1e-9)


@pytest.mark.parametrize("depth", [6, 2000])
@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("oapl", {"beta1": 1.0, "beta2": 0.5}),
        ("oapl.missing_log_g", {"beta1": 1.0, "beta2": 0.5}),
        ("oapl.single_beta", {"beta": 0.5}),
        ("shifted_mean", {"beta": 0.5}),
        ("pmd_mean", {"tau": 0.5}),
    ],
)
def test_what_samples_would_hold_of_a_larger_world_is_what_their_advantages_say(tmp_path, name, parameters, depth):
    algorithm = ps.algorithm(name, **parameters)
    generator = np.random.default_rng(3)
    reward = generator.integers(0, 2, (60, 4)).astype(float)
    log_prob = -generator.uniform(depth / 10, depth, reward.shape)
    found = audit([parquet(tmp_path / "log.parquet", table(reward, log_prob=log_prob))], [algorithm]).algorithms[0]
    signal = np.ptp(reward, axis=1) > 0
    assert algorithm.beta is not None
    tilted = log_prob + algorithm.advantage(reward) / algorithm.beta
    held, claimed = (np.logaddexp.reduce(values[signal], axis=1) for values in (log_prob, tilted))
    assert found.leakage is not None
    assert found.leakage["groups"] == signal.sum()
    assert found.leakage["open"] == (claimed < 0).sum() > 0
    expected = np.quantile((claimed - held)[claimed < 0], 0.5, method="inverted_cdf")
    assert found.leakage["nats"]["50%"] == pytest.approx(expected)
    assert f"would change by {expected:+.3g} nats (median)" in found.verdict


def test_a_change_beyond_floating_point_is_told_in_nats(tmp_path):
    reward = np.array([[0.0, 0.0, 0.0, 1.0]])
    path = parquet(tmp_path / "log.parquet", table(reward, log_prob=np.full((1, 4), -2000.0)))
    found = audit([path], [ps.algorithm("dro", beta=1e-3, baseline=0.0)]).algorithms[0]
    assert found.leakage is not None
    assert found.leakage["open"] == 1
    assert found.leakage["nats"]["50%"] == pytest.approx(1 / 1e-3 - np.log(4))


@pytest.mark.parametrize(("name", "columns"), [("oapl", {}), ("grpo", {"log_prob": np.full((3, 4), -2.0)})])
def test_nothing_is_said_of_a_larger_world_where_nothing_is_known(tmp_path, name, columns):
    reward = np.array([[0.0, 0.0, 0.0, 1.0]] * 3)
    path = parquet(tmp_path / "log.parquet", table(reward, **columns))
    found = audit([path], [ps.algorithm(name)]).algorithms[0]
    assert found.leakage is None
    assert "nobody sampled" not in found.verdict


def test_summary_statistics_are_those_of_a_plain_loop(tmp_path):
    reward = np.concatenate([rewards("continuous", 40, 4, seed=1), np.ones((10, 4))])
    version = np.repeat(np.arange(50) // 10, 4)
    log = table(reward, version=version, step=version + np.repeat(np.arange(50) % 3, 4), length=np.full(200, 7))
    algorithm = ps.algorithm("oapl", beta1=1, beta2=0.5)
    outcome = audit([parquet(tmp_path / "log.parquet", log)], [algorithm])
    comparisons = [ps.compare(ps.Bandit(np.full(4, 0.25), row), algorithm) for row in reward]
    mine = outcome.algorithms[0]
    kl = np.array([part.induced_metrics.kl for part in comparisons])
    gain = np.array([part.induced_metrics.value - part.behavior_metrics.value for part in comparisons])
    assert (outcome.rows, outcome.groups, outcome.silent, outcome.sizes) == (200, 50, 10, {4: 50})
    assert mine.regimes == {"positive": 40, "boundary": 10}
    assert mine.regimes_with_signal == {"positive": 40}
    assert mine.means["kl"] == pytest.approx(kl.mean(), rel=1e-9)
    assert mine.means["value_change"] == pytest.approx(gain.mean(), rel=1e-9)
    entropy = np.mean([part.induced_metrics.entropy - part.behavior_metrics.entropy for part in comparisons])
    assert mine.means["entropy_change"] == pytest.approx(entropy, rel=1e-9)
    assert mine.quantiles["kl"]["100%"] == pytest.approx(kl.max(), rel=1e-9)
    assert mine.quantiles["kl"]["50%"] == pytest.approx(np.sort(kl[:40])[19], rel=1e-9)
    assert [(row["from"], row["groups"]) for row in mine.by_version] == [(v, 10.0) for v in range(5)]
    assert mine.by_version[1]["kl"] == pytest.approx(kl[10:20].sum(), rel=1e-9)
    assert "Groups without signal go from 0% in the earlier half of the versions to 33% in the later." in mine.verdict
    assert [row["groups"] for row in mine.by_lag] == [17.0, 17.0, 16.0]
    spread = reward.std(axis=-1)  # the first update's coefficient is the advantage
    assert [row["group"] for row in mine.top] == [f"g{index}" for index in np.argsort(-spread)[:10]]
    assert mine.drive_shares["10%"] == pytest.approx(np.sort(spread)[-4:].sum() / spread.sum())
    assert outcome.ranges["version"] == (0.0, 4.0)


# --- parts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["oapl", "tpo", "ppo", "grpo.no_ratio"])
def test_a_remembered_group_has_the_target_of_a_fresh_one(name):
    """Groups with the same rewards in another order, batch after batch, closed form or not."""
    algorithm = ps.algorithm(name)
    solver = Solver(algorithm)
    for seed in range(2):
        reward = rewards("binary", 12, 3, seed)
        mine = solver(reward)
        for index, row in enumerate(reward):
            fresh = solve(row[None], algorithm)
            np.testing.assert_allclose(mine.log_ratio[index], fresh.log_ratio[0], atol=1e-6)
            assert mine.regime[index] == fresh.regime[0]
            assert METHODS[mine.method[index]] == METHODS[fresh.method[0]]


def test_a_full_memory_starts_anew():
    algorithm = ps.algorithm("oapl", beta1=1, beta2=0.5)
    reward = np.repeat(rewards("continuous", 20, 4, seed=0), 6, axis=0)
    solver = Solver(algorithm, capacity=30)
    for _ in range(2):
        for part in (reward, reward[::-1] + 1):
            np.testing.assert_allclose(solver(part).log_ratio, solve(part, algorithm).log_ratio, atol=1e-12)


def test_distinct_rows_survive_equal_marks(monkeypatch):
    from pessimism.audit import statistics

    monkeypatch.setattr(statistics, "_ODD", np.zeros(8, dtype=np.uint64))  # every row has the same mark
    rows = np.array([[0.0, 1.0], [0.0, 0.0], [-0.0, 1.0]])
    first, inverse = distinct_rows(rows)
    np.testing.assert_array_equal(rows[first][inverse] + 0.0, rows + 0.0)
    assert len(first) == 2


def test_a_sample_keeps_all_groups_while_they_fit_and_a_fair_part_after():
    sample = Sample(("x",), capacity=1000)
    for start in range(0, 1000, 100):
        sample.add({"x": np.arange(start, start + 100.0)})
    assert sorted(sample.values()["x"]) == list(range(1000))
    for start in range(1000, 100_000, 1000):
        sample.add({"x": np.arange(start, start + 1000.0)})
    kept = sample.values()["x"]
    assert len(kept) == 1000
    assert sample.seen == 100_000
    # uniform on [0, 1e5): its mean has a standard error of 1e5 / sqrt(12 * 1000) = 913
    assert abs(kept.mean() - 50_000) < 4 * 913


def test_quantiles_keep_infinities_and_leave_nan_out():
    found = quantiles(np.array([-np.inf, 0.0, np.nan, 1.0, np.inf]))
    assert (found["0%"], found["25%"], found["100%"]) == (-np.inf, -np.inf, np.inf)
    assert np.isnan(quantiles(np.array([np.nan]))["50%"])


def test_bins_widen_and_lose_nothing():
    bins = Bins(("groups", "x"))
    keys = np.random.default_rng(0).integers(-5000, 5000, 3000)
    for part in np.split(keys, 30):
        bins.add(part, {"groups": np.ones(len(part)), "x": part.astype(float)})
    rows = bins.rows()
    assert len(rows) <= 512
    assert sum(row["groups"] for row in rows) == 3000
    assert sum(row["x"] for row in rows) == keys.sum()
    for row in rows:
        inside = (keys >= row["from"]) & (keys <= row["to"])
        assert row["groups"] == inside.sum()


def test_a_fit_in_parts_is_that_of_the_whole():
    random = np.random.default_rng(0)
    x = 1e6 + random.normal(size=1000)
    y = 3 * x + random.normal(size=1000)
    fit = Fit()
    for part in np.split(np.arange(1000), [3, 500, 501]):
        fit.add(x[part], y[part])
    slope, intercept = np.polyfit(x - 1e6, y, 1)
    assert fit.to_dict()["slope"] == pytest.approx(slope, rel=1e-9)
    assert fit.to_dict()["r2"] == pytest.approx(np.corrcoef(x, y)[0, 1] ** 2, rel=1e-9)
    assert fit.to_dict()["intercept"] + 1e6 * fit.to_dict()["slope"] == pytest.approx(intercept, rel=1e-9)


def test_the_top_is_that_of_all_batches():
    values = np.random.default_rng(0).random(1000)
    top = Top(7)
    for start in range(0, 1000, 50):
        part = values[start : start + 50]
        top.add(part, lambda chosen, start=start: [{"index": start + int(i)} for i in chosen])
    assert [row["index"] for row in top.rows] == np.argsort(-values)[:7].tolist()


def test_names_of_algorithms_say_their_parameters_and_none_comes_twice(tmp_path):
    path = parquet(tmp_path / "log.parquet", table(np.array([[0.0, 1.0]])))
    algorithm = ps.algorithm("shifted_mean", beta=0.5)
    assert str(algorithm) == "shifted_mean(beta=0.5, delta=1)"
    with pytest.raises(ValueError, match=r"shifted_mean\(beta=0.5, delta=1\).*each once"):
        audit([path], [algorithm, algorithm])
    with pytest.raises(ValueError, match="give one or more"):
        audit([path], [])


# --- a logged group as the bandit, and a share of a log ---------------------------------------------------------------


def test_a_logged_group_is_a_bandit(tmp_path):
    reward = rewards("continuous", 5, 3, seed=0)
    rows = table(reward)
    path = parquet(tmp_path / "log.parquet", rows.take(np.random.default_rng(0).permutation(15)))
    one = rollouts_bandit([path], group="g3")
    assert one.behavior.tolist() == [1 / 3] * 3
    assert sorted(one.reward) == sorted(reward[3])
    batch = rollouts_bandit([path])
    assert batch.reward.shape == (5, 3)
    assert sorted(map(sorted, batch.reward.tolist())) == sorted(map(sorted, reward.tolist()))
    with pytest.raises(ValueError, match="no group 'g7'"):
        rollouts_bandit([path], group="g7")


def test_groups_that_make_no_batch_or_are_faulty_are_refused(tmp_path):
    rows = table(rewards("continuous", 5, 3, seed=0)).to_pylist()
    rows[4]["reward"] = float("nan")
    path = json_lines(tmp_path / "log.jsonl", rows)
    assert rollouts_bandit([path], group="g0").arms == 3
    with pytest.raises(ValueError, match="line 5, group 'g1': reward missing"):
        rollouts_bandit([path], group="g1")
    with pytest.raises(ValueError, match="line 5, group 'g1': reward missing"):
        rollouts_bandit([path])
    del rows[4]
    with pytest.raises(ValueError, match=r"2 to 3 samples, which makes no batch; choose one with --group, e.g. 'g"):
        rollouts_bandit([json_lines(path, rows)])


def test_a_share_of_the_groups_is_drawn_and_told(tmp_path):
    reward = rewards("continuous", 2000, 2, seed=0)
    path = parquet(tmp_path / "log.parquet", table(reward))
    algorithm = ps.algorithm("oapl", beta1=1, beta2=0.5)
    outcome = audit([path], [algorithm], share=0.1)
    # binomial with mean 200 and standard deviation 13.4
    assert abs(outcome.groups - 200) < 4 * 13.4
    assert outcome.share == 0.1
    for share in (0.0, 1.5, float("nan")):
        with pytest.raises(ValueError, match=r"share is .*; it must be > 0 and <= 1"):
            audit([path], [algorithm], share=share)
