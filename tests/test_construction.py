"""Which objectives the source paper's construction recovers: forms found by evaluation, and the page's table."""

import json

import numpy as np
import pytest

import pessimism as ps
from pessimism.cli.main import main
from pessimism.construction import FORMS, form_of, recovery
from pessimism.trainers.defaults import defaults
from pessimism.views.recovery import cells
from scripts import recovered

KNOWN = {
    "shifted_mean": "regression",
    "oapl.missing_log_g": "regression",
    "rebel": "centered regression",
    "is_regression": "weighted regression",
    "reinforce": "linear",
    "asymre": "linear",
    "awr": "projection",
    "grpo": "jumps",
    "pevi": "weighted",
    "cispo": "other",
    "trpo": "coupled",
}
FAST = [name for name in KNOWN if KNOWN[name] != "jumps"]


@pytest.mark.parametrize("name", KNOWN)
def test_known_forms(name):
    assert form_of(ps.algorithm(name))[0] == KNOWN[name]


def test_every_form_is_described_and_every_entry_has_one():
    assert {form_of(entry.algorithm())[0] for entry in ps.catalogue().values()} == set(FORMS)


@pytest.mark.parametrize("beta", [1e-6, 0.3, 40.0])
@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
def test_a_regression_of_one_s_own_is_recovered_with_its_temperature(beta, scale):
    form, found = form_of(ps.Algorithm(lambda x, a: scale * (a - beta * x - 0.7)))
    assert form == "regression"
    assert found == pytest.approx(beta, rel=1e-7)


@pytest.mark.parametrize(
    ("coefficient", "form"),
    [
        (lambda x, a: a + 0.3 * x, "other"),  # pushes away from mu
        (lambda x, a: a - 0.3 * np.tanh(x), "other"),
        (lambda x, a: -a - 0.3 * x, "other"),
        (lambda x, a: np.exp(x) * (2 * a - 0.3 * x), "weighted regression"),
        (lambda x, a: np.exp(a), "projection"),
        (lambda x, a: 0 * a, "other"),
    ],
)
def test_what_only_looks_like_it_is_not(coefficient, form):
    assert form_of(ps.Algorithm(coefficient))[0] == form


def test_counts_are_those_of_single_groups():
    algorithm = ps.algorithm("kimi_k15", tau=0.1)
    account = recovery(algorithm, (5,)).groups[5]
    single = [ps.group_target([0] * (5 - passing) + [1] * passing, algorithm) for passing in range(1, 5)]
    assert account.rows == 4
    assert account.regimes["positive"] == sum(str(target.regime) == "positive" for target in single)


def test_groups_of_one_are_refused():
    with pytest.raises(ValueError, match=r"sizes has 1; a group needs 2 samples"):
        recovery(ps.algorithm("grpo"), (1,))


def test_defaults_of_trainers_are_told_apart_and_named():
    names = [one.name for one in defaults()]
    assert len(names) == len(set(names))
    assert "trl default (dapo)" in names


@pytest.mark.parametrize("name", FAST)
def test_the_page_says_what_is_found(name):
    row = f"| {' | '.join(cells(recovery(ps.algorithm(name))))} |"
    assert row in recovered.PAGE.read_text("utf-8").splitlines()


def test_the_page_has_a_row_for_every_entry_and_default():
    rows = [line.split(" | ")[0] for line in recovered.PAGE.read_text("utf-8").splitlines() if line.startswith("| ")]
    assert rows[1:] == [f"| {name}" for name in (*ps.catalogue(), *(one.name for one in defaults()))]


def test_the_command_prints_the_forms_that_it_shows_and_json(capsys):
    assert main(["catalogue", "shifted_mean", "--map"]) == 0
    shown = capsys.readouterr().out
    assert "regression: ratio-free" in shown
    assert "projection" not in shown
    assert main(["catalogue", "shifted_mean", "--map", "--json"]) == 0
    [found] = json.loads(capsys.readouterr().out)
    assert found["recovered"] is True
    assert found["groups"]["8"]["regimes"] == {"positive": 7, "boundary": 0, "negative": 0}
