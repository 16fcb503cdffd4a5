"""One voice: `compare`, `audit` and `lint` say the same sentence of the same rewards, for every entry."""

from __future__ import annotations

import numpy as np
import pytest

import pessimism as ps
from audit_logs import parquet, table
from pessimism.audit.run import audit
from pessimism.reference_groups import RATES, SIZES, reference_targets
from pessimism.standing import Account, Standing
from pessimism.verdict import verdict_of

ENTRIES = [ps.algorithm(name) for name in ps.catalogue()]
CLOSED = [algorithm for algorithm in ENTRIES if algorithm.induced is not None]
OPEN = [algorithm for algorithm in ENTRIES if algorithm.induced is None]
CASES = {
    "one of three passes": ([0.0, 1.0, 0.0], CLOSED),
    "all equal": ([0.5, 0.5], CLOSED),
    "ties and a spread": ([0.3, 0.9, 0.3, 0.1], CLOSED),
    "one of two passes": ([0.0, 1.0], OPEN),
}
"""Groups, and the entries that they are tried on: small ones where every target takes a flow."""


def sentences(tmp_path, rewards, algorithms) -> dict[str, str]:
    found = audit([parquet(tmp_path / "log.parquet", table(np.array(rewards)))], algorithms)
    return {part.name: part.sentence for part in found.algorithms}


def taken(algorithm: ps.Algorithm, reward) -> bool:
    """Whether the objective takes these rewards at all."""
    try:
        ps.group_target(reward, algorithm)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(("reward", "entries"), CASES.values(), ids=CASES)
def test_audit_and_compare_say_the_same_of_a_group(tmp_path, reward, entries):
    algorithms = [algorithm for algorithm in entries if taken(algorithm, reward)]
    assert len(algorithms) > 0.9 * len(entries)
    found = sentences(tmp_path, [reward], algorithms)
    assert found == {str(algorithm): ps.compare_group(reward, algorithm).verdict for algorithm in algorithms}


@pytest.mark.parametrize("name", ["oapl", "shifted_mean", "reinforce", "cql"])
def test_audit_and_compare_say_the_same_of_many_groups(tmp_path, name):
    rewards = np.random.default_rng(0).integers(0, 2, (30, 4)).astype(float)
    algorithm = ps.algorithm(name)
    assert sentences(tmp_path, rewards, [algorithm]) == {str(algorithm): ps.compare_group(rewards, algorithm).verdict}


def test_lint_says_of_its_reference_groups_what_compare_says():
    """The groups are made here: 1/8, 1/2 and 7/8 of 4 and of 16 completions pass, at least one and not all."""
    algorithm, account = ps.algorithm("oapl", beta1=1, beta2=0.5), Account()
    for size in SIZES:
        for passing in sorted({min(size - 1, max(1, round(size * rate))) for rate in RATES}):
            group = [0.0] * (size - passing) + [1.0] * passing
            account.add(Standing.of(ps.compare_group([group], algorithm)))
    assert reference_targets(algorithm).verdict == verdict_of(algorithm, account)


def test_a_temperature_that_decides_nothing_is_said_to_saturate():
    """e^(1/beta) is beyond everything: both targets are uniform on what passes, by direct calculation."""
    comparison = ps.compare_group([0, 0, 0, 1, 1], "oapl:beta1=1,beta2=1e-3")
    assert comparison.verdict.startswith("saturated: beta2 = 0.001 is so small")
    assert f"{np.log(5 / 2):.3f} nats from the behavior policy" in comparison.verdict
    np.testing.assert_allclose(comparison.induced.policy, [0, 0, 0, 0.5, 0.5], atol=1e-12)
    many = ps.compare_group([[0, 0, 0, 1, 1], [1, 1, 1, 1, 1], [0, 0, 0, 0, 1]], "oapl:beta1=1,beta2=1e-3").verdict
    assert "the same on 33.3% (33.3% without signal); saturated on 66.7%: beta2 = 0.001" in many
    assert not ps.compare_group([0, 0, 0, 1, 1], "oapl:beta1=1,beta2=0.5").verdict.startswith("saturated")
    assert "saturated" not in ps.compare_group([0, 0, 0, 1, 1], "reinforce").verdict


@pytest.mark.parametrize("name", ["oapl", "shifted_mean", "dro"])
def test_standings_are_the_metrics_of_a_comparison(name):
    """The same numbers by the other route, and accounts that do not depend on how rows are divided."""
    rewards = np.random.default_rng(1).normal(size=(6, 5)).round(1)
    comparison = ps.compare_group(rewards, ps.algorithm(name))
    standing = Standing.of(comparison)
    induced, nominal = comparison.induced_metrics, comparison.nominal_metrics
    pairs = [(standing.kl, induced.kl), (standing.nominal_kl, nominal.kl), (standing.value, induced.value)]
    pairs += [(np.exp(standing.largest), induced.max_ratio), (standing.nominal_entropy, nominal.entropy)]
    for mine, theirs in pairs:
        np.testing.assert_allclose(mine, theirs, rtol=1e-12)
    whole = Account().add(standing)
    parts = Account()
    for rows in (np.array([4]), np.array([0, 1]), np.array([2, 3, 5])):
        parts.add(standing.take(rows))
    assert parts.lone is None
    assert (parts.counts, parts.kinds, parts.regimes) == (whole.counts, whole.kinds, whole.regimes)
    assert parts.to_dict() == pytest.approx(whole.to_dict())


def test_the_batch_of_one_is_told_as_one():
    assert ps.compare_group([[0, 0, 0, 1]], "oapl:beta2=.5").verdict.startswith("pessimistic (positive regime): KL ")
