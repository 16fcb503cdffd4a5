"""Distances by lag and length, and shifts between trainer and sampler, on logs made with known ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from audit_logs import of, parquet, table
from pessimism.audit.ratios import LOGS, OF_SAMPLES, common_shift, sample_terms
from pessimism.audit.token_sums import SUMS
from pessimism.audit.totals import Bins


def token_log(path: Path, shift, groups: int = 40, size: int = 4, length: int = 30, seed: int = 0, **columns):
    """A log of tokens; ``shift(random, log_prob)`` gives each completion's current log-probabilities."""
    random = np.random.default_rng(seed)
    count = groups * size
    lengths = random.integers(max(2, length // 16), length + 1, count)
    behavior = [-1.0 - random.random(n) for n in lengths]
    current = [shift(random, row) for row in behavior]
    rows = table((random.random((groups, size)) < 0.5).astype(float), **columns)
    lists = {"log_prob": behavior, "current_log_prob": current}
    for name, values in lists.items():
        rows = rows.append_column(name, pa.array([row.tolist() for row in values]))
    return parquet(path, rows), behavior, current


def test_distances_are_those_of_a_plain_loop(tmp_path):
    path, behavior, current = token_log(tmp_path / "a.parquet", lambda r, b: b + 0.1 * r.normal(size=len(b)))
    found = of(path).ratios
    assert found is not None
    sums = np.array([(pi - mu).sum() for mu, pi in zip(behavior, current, strict=True)])
    tokens = np.concatenate([pi - mu for mu, pi in zip(behavior, current, strict=True)])
    for name, x in (("sequence", sums), ("token", tokens)):
        ratio, mine = np.exp(x), found["all"][name]
        assert mine["ess"] == pytest.approx(ratio.sum() ** 2 / (len(x) * (ratio**2).sum()))
        assert mine["chi2"] == pytest.approx(ratio.var() / ratio.mean() ** 2)
        assert mine["k1"] == pytest.approx(-x.mean())
        assert mine["k2"] == pytest.approx((x**2).mean() / 2)
        assert mine["k3"] == pytest.approx((ratio - 1 - x).mean())
    ratio = np.exp(tokens)
    assert found["all"]["token"]["outside"] == pytest.approx(((ratio < 0.8) | (ratio > 1.2)).mean())
    assert sum(row["samples"] for row in found["by_length"]) == 160
    assert all(row["from"] <= 30 for row in found["by_length"])


def test_effective_sample_size_does_not_overflow(tmp_path):
    """Log-ratios of -3,000 nats and more: e^l is 0 in floating point, their ratios to each other are not."""
    log_prob = np.full((10, 4), -5000.0)
    current = log_prob - 3000 - np.tile([0.0, 0.0, np.log(3), np.log(3)], (10, 1))
    path = parquet(
        tmp_path / "a.parquet",
        table(np.tile([0.0, 1.0, 0.0, 1.0], (10, 1)), log_prob=log_prob, current_log_prob=current),
    )
    found = of(path).ratios
    assert found is not None
    assert found["all"]["sequence"]["ess"] == pytest.approx((1 + 1 / 3) ** 2 / 2 / (1 + 1 / 9))


@pytest.mark.parametrize(("power", "words"), [(0.5, "noise of its own"), (1.0, "share a drift")])
def test_growth_with_length_is_found(tmp_path, power, words):
    """Independent noise per token against one number for all tokens of a completion."""

    def moved(random, row):
        noise = random.normal(size=len(row)) if power == 0.5 else random.normal()
        return row + 0.02 * noise

    path, _, _ = token_log(tmp_path / "a.parquet", moved, groups=400, length=120)
    outcome = of(path)
    assert outcome.ratios is not None
    assert outcome.ratios["growth"]["exponent"] == pytest.approx(power, abs=0.15)
    assert any(words in text for text in outcome.warnings)


def one_sided(random, row):
    """A nucleus: where something was cut off, the sampler's log-probability is higher by what was left."""
    return row + np.where(random.random(len(row)) < 0.6, np.log(0.95), 0.0)


SHIFTS = {
    "temperature": (lambda random, row: row * 1.5, "temperature"),
    "nucleus": (one_sided, "top-p"),
    "padding": (lambda random, row: row - 40.0 * (np.arange(len(row)) == 0), "padding"),
}


@pytest.mark.parametrize(("shift", "cause"), SHIFTS.values(), ids=SHIFTS)
def test_a_common_shift_is_named_with_its_likeliest_cause_first(tmp_path, shift, cause):
    path, _, _ = token_log(tmp_path / "a.parquet", shift, version=np.zeros((40, 4), int))
    outcome = of(path)
    assert outcome.ratios is not None
    found = outcome.ratios["common_shift"]
    assert found is not None
    assert found["candidates"][0].startswith(cause)
    assert outcome.warnings[0].startswith("Shift: ")


@pytest.mark.parametrize(
    "shift",
    [lambda random, row: row, lambda random, row: row + 0.05 * random.normal(size=len(row)) - 0.05**2 / 2],
    ids=["none", "precision"],
)
def test_what_noise_explains_is_no_shift(tmp_path, shift):
    path, _, _ = token_log(tmp_path / "a.parquet", shift, version=np.zeros((40, 4), int))
    outcome = of(path)
    assert outcome.ratios is not None
    assert outcome.ratios["common_shift"] is None


def test_old_samples_are_not_asked_for_a_shift(tmp_path):
    path, _, _ = token_log(tmp_path / "a.parquet", lambda r, b: b * 1.5, version=np.full((40, 4), 3))
    outcome = of(path)
    assert outcome.ratios is not None
    assert outcome.ratios["common_shift"] is None


def test_a_shift_is_told_where_rewarded_completions_are_longer():
    """The same shift per token: rewarded completions of 30 tokens differ by half as much again as those of 20."""
    random = np.random.default_rng(0)
    high = np.arange(200) % 2 == 0
    length = np.where(high, 30.0, 20.0)
    x = -0.3 * length + 0.1 * random.normal(size=200)
    bins = Bins((*OF_SAMPLES, *SUMS), LOGS)
    sums = {name: np.zeros(200) for name in SUMS}
    bins.add(np.zeros(200, np.int64), sample_terms(x, length, high) | sums)
    found = common_shift(bins.rows()[0], False)
    assert found is not None
    assert found["per token"] == pytest.approx(-0.3, abs=0.01)
    assert found["rewarded less unrewarded"] < 0.1
    learned = Bins((*OF_SAMPLES, *SUMS), LOGS)
    learned.add(np.zeros(200, np.int64), sample_terms(np.where(high, 0.0, x), length, high) | sums)
    assert common_shift(learned.rows()[0], False) is None
