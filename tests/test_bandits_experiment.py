"""The experiment in bandits: the compiled run is the simulation's, cells are the catalogue's, statistics do as told."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

import pessimism as ps
from bandits.experiment import design
from bandits.experiment.compute import compiled, simulated
from bandits.experiment.design import BETA, DELTA, GROUP_SIZE, WEIGHTS, WORLDS, Cell, Group, groups, side_by_side
from bandits.experiment.kernel import MEASURED
from bandits.learners import autoregressive, softmax
from bandits.sequences import SequenceTree, random_sequences
from bandits.settings import Settings
from bandits.simulate import simulate
from paper_figures.contrasts import Crossing, contrasts, effect, pairs, rank_correlation, shares, trend

CELLS = (Cell(), Cell(dose=0.0, weight="ρ"), Cell(dose=2.0, weight="min(ρ, 2)"), Cell(dose=0.5, offset=-2.0))


@pytest.mark.parametrize(
    ("world", "optimizer", "rate"), [("binary", "sgd", 8.0), ("noise 1", "adam", 0.05), ("sequences", "adam", 0.05)]
)
def test_the_compiled_run_is_the_simulation(world, optimizer, rate):
    group = Group(world, optimizer, rate, 5, 3, CELLS)
    made = WORLDS[world].instances(3)
    bandit = ps.Bandit(made.behavior[:2], made.reward[:2])
    settings = replace(group.settings(), syncs=3, record_every=2)
    own, other = compiled(group, bandit, settings), simulated(group, bandit, settings)
    for name in MEASURED:
        np.testing.assert_allclose(own[name], getattr(other, name)[..., 0], rtol=1e-9, atol=1e-12)
    assert np.ptp(own["value"][-1], axis=0).max() > 1e-4  # cells differ


def test_cells_side_by_side_are_those_of_the_catalogue():
    generator = np.random.default_rng(0)
    log_ratio, reward = generator.normal(size=(2, len(CELLS), 3, GROUP_SIZE))
    log_ratio[0, 0, 0], reward[1, 0, :4] = 0.0, 1.0  # ratio one, and ties
    own = side_by_side(CELLS, 1)
    advantage = own.baseline.group(reward)
    found = own.coefficient(log_ratio, advantage)
    for place, cell in enumerate(CELLS):
        power, cap = WEIGHTS[cell.weight]
        entry = ps.algorithm(
            "residual_regression.weighted",
            beta=BETA, delta=DELTA, dose=cell.dose, power=power, cap=cap, group_size=GROUP_SIZE,
        )  # fmt: skip
        wanted = entry.coefficient(log_ratio[place], entry.baseline.group(reward[place]))
        wanted = wanted + cell.offset * np.exp(log_ratio[place])
        np.testing.assert_allclose(found[place], wanted, rtol=1e-12, atol=1e-13)


def test_a_landmark_runs_alone():
    with pytest.raises(ValueError, match="oapl"):
        side_by_side([Cell("oapl"), Cell()], 1)


def test_every_design_cell_is_there_once_and_lag_one_has_one():
    listed = [
        (group.world, group.optimizer, group.rate, group.lag, cell) for group in groups(0) for cell in group.cells
    ]
    assert len(listed) == len(set(listed))
    on_policy = [cell for *_, lag, cell in listed if lag == 1 and cell.objective == "residual" and not cell.offset]
    assert set(on_policy) == {Cell()}
    for group in groups(0):
        assert group.settings().epochs == 1
        assert group.settings().syncs * group.lag == design.STEPS


def test_autoregressive_policies_start_at_the_behavior_policy_and_have_its_gradient():
    tree = SequenceTree(3, 3)
    behavior = np.stack([random_sequences(3, 3, seed).bandit.behavior for seed in range(2)])
    learner = autoregressive(tree, behavior)
    np.testing.assert_allclose(softmax(learner.logits(learner.start)).probability, behavior, rtol=1e-12)
    generator = np.random.default_rng(0)
    parameters, toward = generator.normal(size=(2, *learner.start.shape))
    weights = generator.normal(size=behavior.shape)
    step = 1e-6
    ends = [(weights * learner.logits(parameters + sign * step * toward)).sum() for sign in (1, -1)]
    along = (learner.gradient(parameters, weights) * toward).sum()
    np.testing.assert_allclose(along, (ends[0] - ends[1]) / (2 * step), rtol=1e-6)


def test_an_autoregressive_run_ends_at_the_target():
    world, algorithm = random_sequences(3, 2), ps.algorithm("shifted_mean", beta=0.5)
    settings = Settings(lag=2000, learning_rate=1.0, targets=False)
    run = simulate(world.bandit, algorithm, settings, features=world.tree)
    np.testing.assert_allclose(run.policy[0], ps.induced_target(world.bandit, algorithm).policy, atol=1e-3)
    with pytest.raises(ValueError, match="completions"):
        simulate(world.bandit, algorithm, settings, features=SequenceTree(3, 3))


# --- statistics -----------------------------------------------------------------------------------------------------

DOSES, LAGS = (0.0, 0.5, 1.0, 2.0), (20, 100, 400)


def made(dose=0.0, weight=0.0, both=0.0, noise=0.0, blocks=9):
    """Outcomes with these effects per unit of dose, per step of the weight and of their product."""
    s, h = np.array(DOSES)[:, None, None], np.arange(3.0)[:, None]
    values = dose * s + weight * h + both * s * h + np.zeros((4, 3, 3))
    return Crossing(values + noise * np.random.default_rng(0).normal(size=(blocks, 4, 3, 3)), DOSES, LAGS)


def test_contrasts_find_what_was_put_in():
    found = {name: values.mean() for name, values in contrasts(made(dose=0.1, weight=-0.2)).items()}
    assert found == pytest.approx({"dose": 0.1, "weight": -0.4, "interaction": 0.0})
    found = {name: values.mean() for name, values in contrasts(made(both=0.1)).items()}
    assert found == pytest.approx({"dose": 0.1, "weight": 0.2, "interaction": -0.2})
    assert pairs(made(dose=0.1))["nominal, h = 1"] == pytest.approx(np.full(9, -0.1))


def test_equivalence_needs_power():
    assert effect(contrasts(made(noise=0.001))["dose"]).equivalent(0.02)
    assert not effect(contrasts(made(noise=0.5))["dose"]).equivalent(0.02)
    assert not effect(contrasts(made(dose=0.05, noise=0.001))["dose"]).equivalent(0.02)
    assert not effect(np.array([0.0])).equivalent(0.02)  # one block shows nothing


@pytest.mark.parametrize("slope", [0.1, -0.1])
def test_trends_have_their_direction(slope):
    way, p = trend(made(dose=slope, noise=0.02), "1", 400)
    assert way == np.sign(slope)
    assert p < 0.01
    assert trend(made(noise=1.0), "1", 400)[1] > 0.01
    values = made(dose=slope).values[:, :, 0, 0]
    np.testing.assert_allclose(rank_correlation(values, np.tile(DOSES, (9, 1))), np.sign(slope))
    np.testing.assert_array_equal(rank_correlation(np.zeros((2, 4)), np.tile(DOSES, (2, 1))), 0)


def test_shares_are_those_of_a_balanced_analysis_of_variance():
    one, other = np.array([-1.0, 0.0, 1.0])[:, None], np.array([-2.0, 2.0])
    found = shares(one + other + one * other, ["a", "b"])
    squares = np.array([2 * (one**2).sum(), 3 * (other**2).sum(), ((one * other) ** 2).sum()])
    np.testing.assert_allclose(list(found.values()), squares / squares.sum())


def test_rates_are_chosen_on_the_other_half(monkeypatch):
    from paper_figures import experiment

    base = {"world": "binary", "optimizer": "sgd", "lag": 20, "objective": "residual", "dose": 1.0, "weight": "1"}
    rows = [
        base | {"offset": 0.0, "rate": rate, "half": half, "block": half, "value": value}
        for rate, half, value in [(0.5, 0, 0.9), (2.0, 0, 0.1), (0.5, 1, 0.2), (2.0, 1, 0.8)]
    ]
    monkeypatch.setattr(experiment, "bandits", lambda: pl.DataFrame(rows))
    experiment.tuned.cache_clear()
    found = experiment.tuned().sort("half")
    experiment.tuned.cache_clear()
    assert found["value"].to_list() == [0.1, 0.2]  # what is best on one half is worst on the other
