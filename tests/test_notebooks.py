"""The notebooks, run without a browser: they pass marimo's checks, and what they show is what the package says."""

from __future__ import annotations

import base64
import functools
import html
import importlib.util
import re
import subprocess
import sys
import xml.etree.ElementTree
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import logsumexp

import pessimism as ps
from bandits import instances
from pessimism import baselines

marimo = pytest.importorskip("marimo", reason="the notebooks need marimo")
from notebooks import formula, page  # noqa: E402  (it imports marimo)
from paper_figures.style import STYLES  # noqa: E402

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("[0-9]*.py"))


def load(path: Path) -> ModuleType:
    """A notebook as a module; its name starts with a digit, so that no import statement can do this."""
    spec = importlib.util.spec_from_file_location(f"notebook_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


Ran = tuple[ModuleType, str, Any]
"""A notebook: the module, everything it showed as HTML, and what its cells defined."""


def run(path: Path, **given: Any) -> Ran:
    """Run a notebook, without the cells that define what is given."""
    module = load(path)
    outputs, definitions = module.app.run(defs=given)
    return module, "\n".join(output.text for output in outputs if isinstance(output, marimo.Html)), definitions


@functools.cache
def ran(number: int) -> Ran:
    """The notebook of that number, without the claims of the fourth, which take seconds."""
    return run(NOTEBOOKS[number - 1], **({"outcomes": []} if number == 4 else {}))


def numbers_of(label: str, shown: str) -> list[str]:
    """The cells behind the first one, of the first table row that starts with this label."""
    row, *_ = re.findall(rf"<tr[^>]*><td[^>]*>{re.escape(label)}</td>(.*?)</tr>", shown)
    return re.findall(r"<td[^>]*>(.*?)</td>", row)


def heights(figure) -> dict[str, list[float]]:
    """Bars of a figure by their name in the legend."""
    [axes] = figure.axes
    return {bars.get_label(): [bar.get_height() for bar in bars] for bars in axes.containers}


def lines(figure) -> dict[str, Any]:
    [axes] = figure.axes
    return {line.get_label(): line for line in axes.lines}


# --- all ------------------------------------------------------------------------------------------------------------


def test_there_are_four_numbered_from_one():
    assert [path.name[:3] for path in NOTEBOOKS] == ["01_", "02_", "03_", "04_"]


def test_marimo_finds_nothing_to_complain_about():
    command = [sys.executable, "-m", "marimo", "check", "--strict", *map(str, NOTEBOOKS)]
    checked = subprocess.run(command, capture_output=True, text=True)
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


@pytest.mark.parametrize("number", range(1, 5))
def test_every_picture_has_a_text_and_every_page_one_heading(number):
    _, shown, _ = ran(number)
    pictures = re.findall(r"<img [^>]*>", shown)
    assert pictures
    assert all(re.search(r'alt="[^"]{20,}"', picture) for picture in pictures)
    assert len(re.findall(r"<h1", shown)) == 1
    assert f"{number}. " in re.findall(r"<h1[^>]*>(.*?)</h1>", shown)[0]


# --- 01: induced targets --------------------------------------------------------------------------------------------


def test_induced_targets_show_what_the_package_computes():
    _, shown, defined = ran(1)
    bandit = ps.Bandit([0.5, 0.3, 0.15, 0.05], [0.0, 0.0, 0.5, 1.0])
    expected = ps.compare(bandit, ps.algorithm("shifted_mean", beta=0.3, delta=0.0))
    np.testing.assert_allclose(defined["comparison"].induced.policy, expected.induced.policy, rtol=1e-12)
    for label, name in (("value: expected reward", "value"), ("largest ratio π/μ", "max_ratio")):
        metrics = (expected.behavior_metrics, expected.induced_metrics, expected.nominal_metrics)
        values = [*(getattr(each, name) for each in metrics), expected.gaps[name]]
        assert numbers_of(label, shown) == [page.number(value) for value in values]
    assert expected.verdict[1:] in shown
    soft_value = 0.3 * float(np.log(bandit.behavior @ np.exp(bandit.reward / 0.3)))
    assert f"{soft_value:.3f}" in shown
    assert f"{float(bandit.behavior @ bandit.reward):.3f}" in shown


@pytest.mark.parametrize("name", ["dro", "reinforce", "is_regression"])
def test_bars_are_as_high_as_the_policies(name):
    module, _, _ = ran(1)
    comparison = ps.compare(instances.five_arm(), ps.algorithm(name))
    drawn = heights(module.draw_policies(comparison))
    assert drawn["behavior"] == comparison.bandit.behavior.tolist()
    assert drawn["induced"] == ps.induced_target(comparison.bandit, comparison.algorithm).policy.tolist()
    assert drawn["nominal"] == ps.nominal_target(comparison.bandit, comparison.algorithm).policy.tolist()


@pytest.mark.parametrize("beta", [0.05, 0.5, 5.0])
def test_baselines_are_what_their_names_say(beta):
    module, _, defined = ran(1)
    bandit = instances.five_arm()

    def soft_value(temperature):
        return temperature * logsumexp(bandit.reward / temperature, b=bandit.behavior)

    expected = {
        "mean reward": bandit.behavior @ bandit.reward,
        "soft value V*": soft_value(beta),
        "soft value, at 2β": soft_value(2 * beta),
        "zero": 0.0,
    }
    rules = defined["rule"].options
    assert list(rules) == list(expected)
    for name, value in expected.items():
        assert module.value_of(rules[name](beta), bandit) == pytest.approx(value, abs=1e-12)


# --- 02: regimes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("instance", [instances.five_arm, instances.three_arm, instances.rec_counterexample])
@pytest.mark.parametrize("offset", [-4.0, -0.1, 0.0, 0.1, 6.0])
def test_the_baseline_is_placed_from_the_soft_value(instance, offset):
    module, _, _ = ran(2)
    bandit, beta = instance(), 0.7
    advantage = module.regression(bandit, beta, offset).advantage(bandit.reward, behavior=bandit.behavior)
    soft_value = beta * np.log(bandit.behavior @ np.exp(bandit.reward / beta))
    np.testing.assert_allclose(bandit.reward - advantage, soft_value + offset * beta, atol=1e-12)


def test_normalizers_fall_through_zero_at_the_soft_value():
    module, _, defined = ran(2)
    offsets, sweep = defined["offsets"], defined["sweep"]
    assert all(len(points) == 1 for offset, points in zip(offsets, sweep, strict=True) if offset <= 0)
    figure = module.draw_normalizers(offsets, sweep, 0.7, -1.0)
    x, y = lines(figure)["lowest loss"].get_data()
    at = int(np.argmin(np.abs(x)))
    assert abs(y[at]) < 1e-12
    assert (np.diff(y[: at + 1]) < 0).all()  # a dial: the farther below the soft value, the more pessimistic
    assert (y[at + 1 :] < 0).all()
    others = lines(figure)["other local minima"].get_xdata()
    assert len(others) == sum(len(points) - 1 for points in sweep) > 0
    [axes] = figure.axes
    assert {text.get_text().split()[0] for text in axes.texts} == {str(len(points)) for points in sweep}


def test_far_above_the_soft_value_the_rarest_arm_has_the_lowest_loss():
    _, _, defined = ran(2)
    bandit = instances.five_arm()
    farthest = defined["sweep"][-1]
    assert len(farthest) == bandit.arms
    assert int(farthest[0].policy.argmax()) == int(bandit.behavior.argmin())
    assert farthest[0].loss == min(point.loss for point in farthest)


@pytest.mark.parametrize("offset", [-1.0, 1.0, 4.0])
def test_arms_lie_on_the_curve_of_their_equation(offset):
    module, _, _ = ran(2)
    bandit, beta = instances.five_arm(), 0.7
    algorithm = module.regression(bandit, beta, offset)
    best = ps.stationary_points(bandit, algorithm)[0]
    figure = module.draw_ratios(algorithm, ps.compare(bandit, algorithm), best)
    drawn = lines(figure)
    advantage, ratio = drawn["lowest minimum"].get_data()
    [(arms_at, arms_ratio)] = [line.get_data() for line in figure.axes[0].lines if line.get_marker() == "o"]
    found = np.interp(np.log(arms_ratio), np.log(ratio), advantage)
    np.testing.assert_allclose(found, arms_at, atol=2e-3)  # of the drawn curve, between its points


# --- 03: lag and collapse -------------------------------------------------------------------------------------------


def test_curves_are_means_over_the_runs():
    module, _, defined = ran(3)
    runs, objectives = defined["runs"], defined["OBJECTIVES"]
    drawn = lines(module.draw_curves(runs, objectives, "entropy", "entropy"))
    assert list(drawn) == list(runs)
    for name, run in runs.items():
        np.testing.assert_array_equal(drawn[name].get_ydata(), run.entropy.mean(axis=1))
        assert run.entropy.shape == (defined["settings"].syncs, len(defined["seeds"]))
        assert run.policy.shape == (len(defined["seeds"]), defined["bandit"].arms)


def test_the_table_shows_the_final_policies():
    _, shown, defined = ran(3)
    for name, run in defined["runs"].items():
        value = (run.policy @ defined["bandit"].reward).mean()
        entropy = -np.sum(run.policy * np.log(np.maximum(run.policy, 1e-300)), axis=-1).mean()
        cells = numbers_of(name, shown)
        assert [cell.split(" ± ")[0] for cell in cells[:2]] == [page.number(value, 3), page.number(entropy, 3)]


def test_objectives_have_the_regimes_that_their_names_say():
    _, _, defined = ran(3)
    bandit = defined["bandit"]
    words = {"positive", "boundary", "negative"}
    told = {}
    for label, (entry, parameters) in defined["OBJECTIVES"].items():
        assert entry in STYLES
        for word in words & set(re.findall(r"\w+", label)):
            told[word] = ps.induced_target(bandit, ps.algorithm(entry, **parameters)).regime
    assert told == {word: word for word in words}


# --- 04: your own objective -----------------------------------------------------------------------------------------


def test_your_own_objective_is_analyzed_and_holds():
    _, shown, defined = run(NOTEBOOKS[3])
    yours = defined["yours"]
    flow = ps.gradient_flow(defined["bandit"], yours.algorithm)
    np.testing.assert_allclose(yours.induced.policy, flow.policy, atol=1e-6)
    assert defined["distance"] < 1e-6
    assert yours.verdict[1:] in html.unescape(shown)
    assert [outcome.verdict for outcome in defined["outcomes"]] == ["holds"] * len(defined["outcomes"])
    for outcome in defined["outcomes"]:
        assert numbers_of(html.escape(outcome.claim.statement), shown)[0] == outcome.verdict


def test_a_formula_is_followed():
    _, _, defined = run(NOTEBOOKS[3], outcomes=[], written=marimo.ui.text(value="A"))
    expected = ps.induced_target(defined["bandit"], ps.algorithm("reinforce", baseline=baselines.mean()))
    assert expected.kind == "vertex"
    assert defined["yours"].induced.kind == "vertex"
    assert defined["yours"].induced.policy.argmax() == expected.policy.argmax()


GOOD = {
    "A - beta*l": lambda x, a: a - 0.5 * x,
    " -A ^ 2 / +2 ": lambda x, a: -(a**2) / 2,
    "min(rho*A, clip(rho, 0.8, 1.2)*A)": lambda x, a: np.minimum(np.exp(x) * a, np.clip(np.exp(x), 0.8, 1.2) * a),
    "where(rho > 1.2, 0, A)": lambda x, a: np.where(np.exp(x) > 1.2, 0, a),
    "sigmoid(l)*exp(-abs(A))": lambda x, a: np.exp(-np.abs(a)) / (1 + np.exp(-x)),
    "2": lambda x, a: np.full_like(x, 2.0),
}


@pytest.mark.parametrize("text", GOOD)
def test_formulas_compute_what_they_say(text):
    x, a = np.linspace(-2, 2, 9), np.linspace(-1, 3, 9)
    np.testing.assert_allclose(formula.coefficient(text, 0.5)(x, a), GOOD[text](x, a), rtol=1e-14)


BAD = {
    "": "empty",
    "A -": "not a formula",
    "A; 1": "not a formula",
    "x + A": "'x' has no meaning here; known are l, rho, A, beta",
    "__import__('os')": "only functions are called",
    "A.real": "at character 1: only",
    "(1).__class__": "only",
    "A[0]": "only",
    "lambda: 1": "only",
    "[A for A in l]": "only",
    "'a' * 9": "'a' is no number",
    "True": "True is no number",
    "1j": "is no number",
    "exp(A, l)": "exp takes 1 argument",
    "where(A, x=1)": "where takes 3 arguments",
    "exp(*A)": "exp takes 1 argument",
    "0 < A < 1": "only",
    "A % 2": "only",
    "log(l)": "not finite at l = -3",
    "1/A": "not finite at l = -3, A = 0",
    "+".join(["A"] * 150): "it may have 200",
    "-" * 60 + "A": "more than 30 operations",
    "A\0": "not a formula",
}


@pytest.mark.parametrize("text", BAD)
def test_what_is_no_formula_is_refused_in_a_sentence(text):
    with pytest.raises(ValueError, match=re.escape(BAD[text])):
        formula.coefficient(text, 0.5)


def test_numbers_are_floats_so_that_no_power_takes_long():
    assert formula.coefficient("0 * (9^9^-9) + A", 0.5)(np.zeros(1), np.ones(1)) == 1
    with pytest.raises(ValueError, match="not finite"):
        formula.coefficient("9" * 150 + "^9^9", 0.5)


@given(st.text(alphabet="lrhoAbet_.()[]{}'\"*/+-^<>=:,;@ 0123456789e\n", max_size=40))
def test_no_text_does_anything_but_compute(text):
    try:
        value = formula.coefficient(text, 0.5)(np.zeros(3), np.ones(3))
    except ValueError:
        return
    assert value.shape == (3,)
    assert np.isfinite(value).all()


@pytest.mark.parametrize("name", ["oapl", "grpo", "asymre", "dpo", "reinforce"])
def test_any_objective_of_the_catalogue_can_be_chosen(name):
    _, shown, defined = run(NOTEBOOKS[0], objective=marimo.ui.dropdown([name], value=name))
    bandit = ps.Bandit([0.5, 0.3, 0.15, 0.05], [0.0, 0.0, 0.5, 1.0])
    parameters = {"beta2": 0.3} if name == "oapl" else {"beta": 0.3} if name == "dpo" else {}
    expected = ps.compare(bandit, ps.algorithm(name, **parameters))
    np.testing.assert_allclose(defined["comparison"].induced.policy, expected.induced.policy, rtol=1e-12)
    assert expected.verdict[1:] in html.unescape(shown)


def test_the_verdict_stands_above_the_pictures():
    for number in (1, 4):
        _, shown, _ = ran(number)
        assert shown.index("marimo-callout") < shown.index("<img ")


# --- what the pages are made of -------------------------------------------------------------------------------------


def test_pictures_are_the_same_bytes_every_time_and_carry_their_text():
    def drawn():
        figure, axes = page.new_figure()
        axes.plot([0, 1], [0, 1], label="a line")
        page.legend_above(axes, columns=1)
        return page.picture(figure, 'a "line" & more').text

    first = drawn()
    assert drawn() == first
    assert 'alt="a &quot;line&quot; &amp; more"' in first
    [encoded] = re.findall(r"data:image/svg\+xml;base64,([^\"]+)", first)
    root = xml.etree.ElementTree.fromstring(base64.b64decode(encoded))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"


def test_numbers_have_the_signs_that_readers_know():
    assert [page.number(value) for value in (0.5, -1.25, float("inf"), float("-inf"))] == [
        "0.5000",
        "−1.2500",
        "∞",
        "−∞",
    ]
    assert page.number(-2.0, 1) == "−2.0"


def test_tables_escape_what_they_show():
    shown = page.table(["<b>", "n"], [["a & b", 0.25], ["c", "x < y"]]).text
    assert "<b>" not in shown
    assert "&lt;b&gt;" in shown
    assert numbers_of("a &amp; b", shown) == ["0.2500"]
    assert numbers_of("c", shown) == ["x &lt; y"]
