"""Comparisons: metrics against their definitions, verdicts in words, and the same content in every rendering."""

from __future__ import annotations

import io
import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from scipy.optimize import brentq

import pessimism as ps
from pessimism.compare import effective_temperature, measure, stated_target
from pessimism.solve.divergences import kl

BANDIT = ps.Bandit([0.5, 0.3, 0.2], [0, 0, 1])
METRICS = ("value", "kl", "reverse_kl", "chi2", "entropy", "ess", "max_ratio", "effective_temperature")


@given(seed=st.integers(0, 1000))
def test_metrics_by_their_definitions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bandit = ps.Bandit(rng.dirichlet(np.ones(5)), rng.normal(size=5))
    policy = rng.dirichlet(np.ones(5))
    found = measure(bandit, policy, np.log(policy))
    mu, ratio = bandit.behavior, policy / bandit.behavior
    assert found.value == pytest.approx(policy @ bandit.reward)
    assert found.kl == pytest.approx(policy @ np.log(ratio), rel=1e-9)
    assert found.reverse_kl == pytest.approx(-mu @ np.log(ratio), rel=1e-9)
    assert found.chi2 == pytest.approx(mu @ (ratio - 1) ** 2)
    assert found.entropy == pytest.approx(-policy @ np.log(policy))
    assert found.ess == pytest.approx(1 / (mu @ ratio**2))
    assert found.max_ratio == pytest.approx(ratio.max())
    assert [name for name, _ in found.items()] == list(METRICS)
    assert all(isinstance(value, float) for _, value in found.items())


@given(seed=st.integers(0, 1000), temperature=st.sampled_from([0.05, 0.4, 3.0, 1e3]))
def test_effective_temperature_inverts_the_divergence(seed: int, temperature: float) -> None:
    rng = np.random.default_rng(seed)
    bandit = ps.Bandit(np.append(rng.dirichlet(np.full(4, 3.0)), 0.0), np.append(rng.normal(size=4), 9.0))
    target = ps.nominal_target(bandit, ps.algorithm("dro", beta=temperature))
    divergence = kl(target.log_ratio, bandit.behavior)
    if divergence < 0.99 * -math.log(bandit.behavior[bandit.reward[:4].argmax()]):
        assert float(effective_temperature(bandit, divergence)) == pytest.approx(temperature, rel=1e-5)


def test_effective_temperature_at_its_ends() -> None:
    def at(divergence: float, bandit: ps.Bandit = BANDIT) -> float:
        return float(effective_temperature(bandit, np.array(divergence)))

    assert at(0.0) == math.inf
    assert at(-math.log(0.2)) == 0
    assert at(5.0) == 0
    assert at(math.inf) == 0
    assert at(0.3, ps.Bandit([0.5, 0.5], [1.0, 1.0])) == math.inf

    def divergence(b: float) -> float:
        weight = BANDIT.behavior * np.exp(BANDIT.reward / b)
        policy = weight / weight.sum()
        return float(policy @ np.log(policy / BANDIT.behavior))

    assert at(0.3) == pytest.approx(brentq(lambda b: divergence(b) - 0.3, 0.1, 10), rel=1e-9)
    batch = ps.Bandit([BANDIT.behavior] * 3, BANDIT.reward)
    found = effective_temperature(batch, np.array([0.3, 0.0, 9.0]))
    np.testing.assert_allclose(found, [at(0.3), math.inf, 0.0])


def test_gaps_and_distance() -> None:
    comparison = ps.compare(BANDIT, ps.algorithm("shifted_mean", beta=0.5))
    gaps = comparison.gaps
    assert tuple(gaps) == METRICS
    for name in METRICS:
        nominal, induced = (getattr(m, name) for m in (comparison.nominal_metrics, comparison.induced_metrics))
        assert gaps[name] == nominal - induced
    expected = np.abs(comparison.induced.policy - comparison.nominal.policy).sum() / 2
    assert comparison.distance == pytest.approx(expected)
    assert comparison.regime == comparison.induced.regime == "positive"
    assert comparison.behavior_metrics.kl == 0
    assert comparison.behavior_metrics.effective_temperature == math.inf
    vertices = ps.compare(BANDIT, ps.algorithm("reinforce"))
    assert vertices.gaps["reverse_kl"] == 0  # both infinite
    assert vertices.induced_metrics.reverse_kl == math.inf


@pytest.mark.parametrize("name", ps.catalogue())
def test_the_two_parts_of_the_gap_add_up(name: str) -> None:
    """For every entry; and what an objective states is its nominal target, its induced one, or has exact weights."""
    bandit = ps.Bandit([[0.5, 0.3, 0.2], [0.3, 0.3, 0.4]], [[0.0, 0.4, 1.0], [1.0, 1.0, 0.0]])
    made = ps.algorithm(name)
    comparison = ps.compare(bandit, made)
    for metric, gap in comparison.gaps.items():
        parts = comparison.implicit_gaps[metric] + comparison.explicit_gaps[metric]
        np.testing.assert_allclose(parts, gap, atol=1e-12)
    if made.stated is None:
        assert comparison.stated is comparison.nominal
    elif made.stated is made.coefficient:
        assert comparison.stated is comparison.induced
        assert comparison.at_stated.all()
    else:
        probe = np.zeros((1, 2)), np.array([[1.0, -1.0]])
        np.testing.assert_array_equal(np.sign(made.stated(*probe)), np.sign(made.coefficient(*probe)))
    np.testing.assert_array_equal(stated_target(bandit, made).policy, comparison.stated.policy)


def test_a_clip_without_the_ratio_is_compared_with_the_same_clip_with_it() -> None:
    bandit = ps.Bandit([0.5, 0.3, 0.2], [0.0, 0.4, 1.0])
    bare, whole = (ps.compare(bandit, ps.algorithm(f"rec_oneside_{kind}")) for kind in ("nois", "is"))
    np.testing.assert_allclose(bare.stated.policy, whole.induced.policy, atol=1e-12)
    assert whole.at_stated
    assert not whole.at_nominal


def test_an_own_objective_states_what_it_says_it_states() -> None:
    """Everything is implicit by default, and nothing is with ``stated=coefficient``."""

    def held(log_ratio: np.ndarray, advantage: np.ndarray) -> np.ndarray:
        return np.exp(log_ratio) * (advantage - 0.5 * log_ratio**3)

    def free(log_ratio: np.ndarray, advantage: np.ndarray) -> np.ndarray:
        return advantage

    unsaid = ps.compare(BANDIT, ps.Algorithm(held, on_policy=free, anchor="behavior"))
    said = ps.compare(BANDIT, ps.Algorithm(held, on_policy=free, anchor="behavior", stated=held))
    assert unsaid.explicit_gaps["value"] == said.implicit_gaps["value"] == 0
    assert unsaid.implicit_gaps["value"] == said.explicit_gaps["value"] > 0.1
    assert unsaid.verdict.startswith("pessimistic")
    assert said.verdict.startswith("explicit pessimism only")


def test_mass_without_data_is_infinitely_far() -> None:
    bandit = ps.Bandit([0.6, 0.4, 0.0], [0.0, 1.0, 2.0])
    leaked = measure(bandit, np.array([0.5, 0.3, 0.2]), np.log([0.5, 0.3, 0.2]))
    assert (leaked.kl, leaked.chi2, leaked.ess, leaked.max_ratio) == (math.inf, math.inf, 0.0, math.inf)
    assert leaked.effective_temperature == 0
    inside = measure(bandit, np.array([0.5, 0.5, 0.0]), np.array([math.log(0.5), math.log(0.5), -math.inf]))
    assert inside.chi2 == pytest.approx(0.6 * (5 / 6 - 1) ** 2 + 0.4 * (5 / 4 - 1) ** 2)
    assert inside.max_ratio == pytest.approx(1.25)


VERDICTS = {
    "pessimistic (positive regime)": (BANDIT, "shifted_mean", {"beta": 0.5}),
    "no implicit pessimism (boundary regime)": (BANDIT, "opmd", {"tau": 0.5}),
    "no implicit pessimism: the induced target is the nominal one": (BANDIT, "rebel", {}),
    "fragile (negative regime)": (BANDIT, "oapl", {"beta1": 0.4, "beta2": 0.5}),
    "explicit pessimism only (path-dependent)": (BANDIT, "ppo", {}),
    "explicit pessimism only: it stops where it states; KL from": (BANDIT, "cql", {}),
    "no implicit pessimism: the induced target is the nominal one,": (BANDIT, "verl.icepop", {}),
    "collapse onto arm 1, not the most rewarding one": (
        ps.Bandit([0.3, 0.6, 0.1], [0.0, 0.8, 1.0]),
        "reinforce",
        {},
    ),
}


@pytest.mark.parametrize("start", VERDICTS)
def test_verdicts(start: str) -> None:
    bandit, name, parameters = VERDICTS[start]
    comparison = ps.compare(bandit, ps.algorithm(name, **parameters))
    assert comparison.verdict.startswith(start), comparison.verdict
    assert "\n" not in comparison.verdict


def test_verdict_of_a_batch_counts_rows() -> None:
    bandit = ps.Bandit([[0.5, 0.3, 0.2], [0.5, 0.3, 0.2]], [[0, 0, 1], [1, 1, 1]])
    comparison = ps.compare(bandit, ps.algorithm("dro", beta=0.5))
    assert "50.0% of 2 rows" in comparison.verdict
    assert "the same on 50.0%" in comparison.verdict
    assert comparison.distance.shape == (2,)


def render(comparison: ps.Comparison) -> str:
    file = io.StringIO()
    Console(width=200, file=file).print(comparison)
    return file.getvalue()


@pytest.mark.parametrize("name", ["shifted_mean", "reinforce", "ppo", "dpo"])
def test_every_rendering_holds_the_same_numbers(name: str) -> None:
    comparison = ps.compare(BANDIT, ps.algorithm(name))
    text, html, plain = render(comparison), comparison._repr_html_(), comparison.to_dict()
    assert comparison.verdict in " ".join(text.split())
    assert f"{comparison.induced_metrics.value:.4f}" in text
    assert f"{comparison.induced_metrics.value:.4f}" in html
    assert html.count("<tr>") == html.count("</tr>") > len(METRICS)
    assert plain["algorithm"] == name
    assert plain["verdict"] == comparison.verdict
    assert plain["induced"]["policy"] == comparison.induced.policy.tolist()
    assert plain["nominal"]["value"] == comparison.nominal_metrics.value
    assert json.loads(json.dumps(plain))["induced"]["kind"] == comparison.induced.kind


def test_html_is_escaped() -> None:
    made = ps.Algorithm(lambda log_ratio, advantage: advantage - log_ratio, name="<script>")
    html = ps.compare(BANDIT, made)._repr_html_()
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_a_batch_shows_means_and_shares() -> None:
    rng = np.random.default_rng(0)
    bandit = ps.Bandit(rng.dirichlet(np.ones(15), size=4), rng.normal(size=(4, 15)))
    comparison = ps.compare(bandit, ps.algorithm("dro", beta=0.5))
    text = render(comparison)
    assert "mean over 4 rows" in text
    assert f"{comparison.induced_metrics.value.mean():.4f}" in text
    single = ps.compare(ps.Bandit(bandit.behavior[0], bandit.reward[0]), ps.algorithm("dro", beta=0.5))
    assert "3 more arms" in render(single)


def test_plot_draws_every_policy() -> None:
    import matplotlib as mpl
    from matplotlib.patches import Rectangle

    mpl.use("Agg")
    figure = ps.compare(BANDIT, ps.algorithm("shifted_mean", beta=0.5)).plot()
    axes = figure.axes[0]
    heights = {round(patch.get_height(), 4) for patch in axes.patches if isinstance(patch, Rectangle)}
    offsets = [np.round(np.asarray(c.get_offsets(), dtype=float), 4) for c in axes.collections]
    lines = [np.round(np.asarray(line.get_ydata(), dtype=float), 4) for line in axes.lines]
    drawn = heights | {float(v) for array in [*offsets, *lines] for v in np.ravel(array)}
    assert {0.3932, 0.2359, 0.3709} <= drawn


@given(seed=st.integers(0, 10_000))
def test_effective_temperature_against_bracketing_row_by_row(seed: int) -> None:
    """Rare arms, tied best arms and KL near both ends, beside a bracketing root finder on the same divergence."""
    rng = np.random.default_rng(seed)
    behavior = 10.0 ** -rng.uniform(0, 12, size=(20, 4))
    behavior /= behavior.sum(axis=-1, keepdims=True)
    reward = rng.integers(3, size=(20, 4)).astype(float)
    reward[:, :2] = 0, 1  # never all equal
    best = behavior * (reward == reward.max(axis=-1, keepdims=True))
    wanted = -np.log(best.sum(axis=-1)) * rng.uniform(1e-6, 1 - 1e-6, size=20)
    found = effective_temperature(ps.Bandit(behavior, reward), wanted)

    def divergence(row: int, log_inverse: float) -> float:
        exponent = math.exp(log_inverse) * (reward[row] - reward[row].max())
        return float(kl(exponent - np.log(behavior[row] @ np.exp(exponent)), behavior[row]))

    for row in range(20):
        root = float(brentq(lambda x, row=row: divergence(row, x) - wanted[row], -40, 40, xtol=1e-14))  # type: ignore[arg-type]
        # The divergence is known to rounding: its slope there says how well that fixes the temperature.
        slope = (divergence(row, root + 1e-4) - divergence(row, root - 1e-4)) / 2e-4
        assert abs(math.log(found[row]) + root) <= 1e-10 + 1e-14 / slope


def test_nothing_is_measured_before_it_is_asked_for() -> None:
    comparison = ps.compare(BANDIT, ps.algorithm("shifted_mean", beta=0.5))
    assert set(vars(comparison)) == {"bandit", "algorithm", "induced", "nominal", "stated", "sampled"}
    assert comparison.verdict
    assert "effective_temperature" not in vars(comparison.induced_metrics)
