"""Sweeps: a cell's rows against the simulation itself; resumed, damaged and failing sweeps; grids that are wrong."""

import ast
import dataclasses
import os
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

import bandits.sweeps
import pessimism as ps
from bandits.instances import sparse, tpo_multi_context
from bandits.noise import VerifierNoise
from bandits.settings import Settings
from bandits.simulate import simulate
from bandits.sweeps import Sweep, algorithm, bandit, load, on_cores, product, run
from bandits.sweeps.backends import BackendLostError
from bandits.sweeps.cell import Job, compute
from bandits.sweeps.estimate import estimate
from bandits.sweeps.grid import MEASURES
from bandits.sweeps.grids import COUNTERFACTUAL, LAG, REGRESSIONS, SPARSE, STEPS, SWEEPS, VERIFIER_NOISE
from bandits.sweeps.plan import execute, make_plan
from bandits.sweeps.provenance import provenance
from bandits.sweeps.results import Store, read_cell

TINY = Sweep(
    "tiny",
    "Six cells in a few milliseconds.",
    [bandit("three_arm"), bandit("sparse", arms=6, draws=2)],
    [algorithm("shifted_mean", beta=0.5), algorithm("reinforce"), algorithm("dro", beta=0.5)],
    Settings(syncs=3, lag=2, group_size=4),
    seeds=2,
)


def here(jobs):
    """The plainest backend there can be."""
    yield from map(compute, jobs)


def backwards(jobs):
    yield from map(compute, reversed(jobs))


def rows_of(cell):
    done = compute(Job(cell, provenance(cell)))
    assert done.content is not None, done.failure
    return pl.read_parquet(done.content)


def whole_bytes(directory):
    return (Path(directory) / "tiny.parquet").read_bytes()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """The folder of the tiny sweep, finished; not to be written to."""
    directory = tmp_path_factory.mktemp("tiny")
    run(TINY, directory, here)
    return directory


# --- rows -------------------------------------------------------------------------------------------------------------


def test_rows_are_the_simulations_measures_averaged_over_contexts():
    spec = bandit("tpo_multi_context", runs=2, contexts=3, arms=4)
    plan = Settings(syncs=5, lag=3, group_size=6, record_every=2)
    (cell,) = Sweep("one", "One.", [spec], [algorithm("oapl", beta1=1.0, beta2=0.5)], plan, seeds=3).cells()
    rows = rows_of(cell)
    wanted = simulate(tpo_multi_context(2, 3, 4), ps.algorithm("oapl", beta1=1.0, beta2=0.5), plan, range(3))
    assert rows.height == len(wanted.sync) * 3 * 2
    for record, sync in enumerate(wanted.sync):
        for seed in range(3):
            for world in range(2):
                row = rows.row(
                    by_predicate=(pl.col("sync") == sync) & (pl.col("seed") == seed) & (pl.col("world") == world),
                    named=True,
                )
                for measure in MEASURES:
                    assert row[measure] == pytest.approx(
                        sum(getattr(wanted, measure)[record, seed, world]) / 3, rel=1e-14
                    )
    assert rows["bandit.runs"].unique().to_list() == [2]
    assert rows["algorithm.beta1"].unique().to_list() == [1.0]
    assert rows["lag"].unique().to_list() == [3]


def test_draws_are_worlds_of_their_own():
    """With exact gradients a world's rows are those of its instance simulated alone."""
    (cell,) = Sweep("one", "One.", [bandit("sparse", arms=8, draws=3)], [algorithm("tpo")], Settings(syncs=4)).cells()
    rows = rows_of(cell)
    for world in range(3):
        alone = simulate(sparse(arms=8, seed=world), ps.algorithm("tpo"), Settings(syncs=4))
        np.testing.assert_array_equal(rows.filter(world=world)["entropy"], alone.entropy[:, 0])


def test_noise_and_borrowed_baselines_have_columns():
    spec = algorithm("is_regression", beta=0.5, baseline_of=algorithm("shifted_mean", beta=0.5))
    plan = Settings(group_size=8, noise=VerifierNoise(0.25, 0.0))
    rows = rows_of(Sweep("one", "One.", [bandit("sparse", arms=5)], [spec], plan).cells()[0])
    assert rows.row(0, named=True)["noise"] == "VerifierNoise"
    assert rows["noise.false_positive"][0] == 0.25
    assert (rows["algorithm"][0], rows["baseline_of"][0], rows["baseline_of.beta"][0]) == (
        "is_regression",
        "shifted_mean",
        0.5,
    )
    reward, behavior = np.array([0.0, 1.0, 0.0]), np.array([0.2, 0.3, 0.5])
    wanted = ps.algorithm("shifted_mean", beta=0.5).advantage(reward, behavior)
    np.testing.assert_array_equal(spec.build().advantage(reward, behavior), wanted)


def test_distances_that_are_not_recorded_are_missing_not_numbers():
    plan = Settings(targets=False)
    rows = rows_of(Sweep("one", "One.", [bandit("three_arm")], [algorithm("reinforce")], plan).cells()[0])
    assert rows["induced_distance"].null_count() == rows.height
    assert rows["value"].null_count() == 0


def test_a_diverging_run_says_when():
    plan = Settings(syncs=4, lag=3, learning_rate=1e308, targets=False)
    cell = Sweep("one", "One.", [bandit("three_arm")], [algorithm("dro", beta=1.0)], plan).cells()[0]
    rows = rows_of(cell)
    left = rows["diverged"].unique().item()
    assert left >= 1
    assert rows["value"].is_nan().to_list() == [sync >= left for sync in rows["sync"]]


# --- the same numbers whatever computes them --------------------------------------------------------------------------


@pytest.mark.parametrize("backend", [backwards, on_cores(1), on_cores(2)], ids=["backwards", "one core", "two cores"])
def test_bytes_do_not_depend_on_what_computes_them(backend, tiny, tmp_path):
    table = run(TINY, tmp_path, backend)
    assert whole_bytes(tmp_path) == whole_bytes(tiny)
    assert table["cell"].unique(maintain_order=True).to_list() == [cell.key(provenance(cell)) for cell in TINY.cells()]


@given(st.lists(st.sampled_from(["keep", "lose", "cut", "flip", "swap", "empty"]), min_size=6, max_size=6), st.data())
@hypothesis_settings(max_examples=15)
def test_whatever_happens_to_cells_only_those_are_computed_again(tiny, tmp_path_factory, fates, data):
    directory = tmp_path_factory.mktemp("damaged")
    shutil.copytree(tiny, directory, dirs_exist_ok=True)
    paths = sorted((directory / "tiny" / "cells").iterdir())
    kept = [path for path, fate in zip(paths, fates, strict=True) if fate == "keep"]
    for path, fate in zip(paths, fates, strict=True):
        content = bytearray(path.read_bytes())
        place = data.draw(st.integers(0, len(content) - 1))
        if fate == "lose":
            path.unlink()
        elif fate == "swap":
            os.rename(path, path.with_name(path.name.replace("-", "0-")))
        elif fate != "keep":
            flipped = bytes([*content[:place], content[place] ^ 1 << place % 8, *content[place + 1 :]])
            path.write_bytes({"cut": bytes(content[:place]), "flip": flipped, "empty": b""}[fate])
    before = {path: path.stat().st_mtime_ns for path in kept}
    plan = make_plan(TINY, directory)
    assert len(plan.missing) == 6 - len(kept)
    assert len(plan.damaged) == sum(fate in ("cut", "flip", "empty") for fate in fates)
    (directory / "tiny.parquet").unlink()
    execute(plan, here)
    assert {path: path.stat().st_mtime_ns for path in kept} == before
    assert whole_bytes(directory) == whole_bytes(tiny)


def test_every_flipped_byte_is_noticed(tiny, tmp_path):
    path = Path(shutil.copy(next((tiny / "tiny" / "cells").iterdir()), tmp_path))
    content = path.read_bytes()
    read_cell(path)
    for place in range(0, len(content), 41):
        path.write_bytes(bytes([*content[:place], content[place] ^ 16, *content[place + 1 :]]))
        with pytest.raises(ValueError, match="damaged or half-written"):
            read_cell(path)


def test_a_cell_under_another_cells_name_is_noticed(tmp_path):
    run(TINY, tmp_path, here)
    first, second, *_ = sorted((tmp_path / "tiny" / "cells").iterdir())
    renamed = first.rename(first.with_name(f"{second.name.partition('-')[0]}-{first.name.partition('-')[2]}"))
    with pytest.raises(ValueError, match="it holds cell"):
        read_cell(renamed)


def test_an_interrupted_sweep_goes_on_where_it_stopped(tiny, tmp_path):
    def stops(jobs):
        for count, job in enumerate(jobs):
            if count == 2:
                raise BackendLostError("gone")
            yield compute(job)

    for left in (6, 4, 2):
        assert len(make_plan(TINY, tmp_path).missing) == left
        with pytest.raises(BackendLostError) if left > 2 else pytest.raises(ValueError, match="not finished"):
            run(TINY, tmp_path, stops) if left > 2 else load(tmp_path, "tiny")
    run(TINY, tmp_path, stops)
    assert whole_bytes(tmp_path) == whole_bytes(tiny)


def test_progress_counts_every_cell_once(tmp_path):
    told = []
    run(TINY, tmp_path, here, lambda *counts: told.append(counts))
    assert told == [(count, 6) for count in range(1, 7)]
    told.clear()
    run(TINY, tmp_path, here, lambda *counts: told.append(counts))
    assert told == []


# --- what goes wrong --------------------------------------------------------------------------------------------------


def test_a_failing_cell_is_told_of_and_does_not_end_the_sweep(tmp_path):
    from sweep_objects import FAILING

    with pytest.raises(RuntimeError, match=r"1 of 3 cells failed.*failing.*ZeroDivisionError: this coefficient"):
        run(FAILING, tmp_path, here)
    assert len(make_plan(FAILING, tmp_path).missing) == 1
    with pytest.raises(ValueError, match="not finished; finish it: python -m bandits sweep failing"):
        load(tmp_path, "failing")


def test_readers_get_one_line_about_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match="no results of sweep tiny"):
        load(tmp_path, "tiny")
    run(TINY, tmp_path, here)
    assert load(tmp_path, "tiny").equals(run(TINY, tmp_path, here))
    whole = Store(tmp_path, "tiny").whole
    whole.write_bytes(whole.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"damaged or half-written.*mend it from its cells"):
        load(tmp_path, "tiny")
    run(TINY, tmp_path, here)
    load(tmp_path, "tiny")
    Store(tmp_path, "tiny").manifest.write_text('{"sweep": "tiny"')
    with pytest.raises(ValueError, match="no manifest of a sweep"):
        load(tmp_path, "tiny")
    assert len(make_plan(TINY, tmp_path).missing) == 0


def test_results_of_another_grid_or_code_are_refused_until_discarded(tmp_path, monkeypatch):
    run(TINY, tmp_path, here)
    more = TINY.with_seeds(3)
    with pytest.raises(ValueError, match=r"holds results computed from another grid; .*--restart"):
        run(more, tmp_path, here)
    monkeypatch.setattr(bandits.sweeps.plan, "provenance", lambda cell: "of another day")
    with pytest.raises(ValueError, match="with other code or library versions"):
        make_plan(TINY, tmp_path)
    monkeypatch.undo()
    assert run(more, tmp_path, here, restart=True)["seed"].max() == 2
    assert len(list((tmp_path / "tiny" / "cells").iterdir())) == 6


def test_a_worker_with_other_code_computes_nothing():
    done = compute(Job(TINY.cells()[0], "another checkout"))
    assert done.content is None
    assert "other sources or versions" in str(done.failure)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"file/tiny: Not a directory"):
        run(TINY, tmp_path / "file", here)


def test_a_killed_worker_is_told_of():
    import sweep_objects

    assert sweep_objects  # on the path of the workers too
    cells = Sweep("one", "One.", [bandit("three_arm")], [algorithm("sweep_objects:deadly")]).cells
    with pytest.raises(BackendLostError, match="a worker process was killed"):
        list(on_cores(2)([Job(cell, provenance(cell)) for cell in [_unchecked(cells)] * 2]))


def _unchecked(cells):
    """The cell, without building its algorithm here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Sweep, "_check", lambda sweep: None)
        return cells()[0]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"bandits": []}, "sweep tiny: bandits is empty"),
        ({"algorithms": []}, "sweep tiny: algorithms is empty"),
        ({"variations": []}, "sweep tiny: variations is empty"),
        ({"measures": []}, "sweep tiny: measures is empty"),
        ({"measures": ["valu"]}, "unknown measure 'valu'; did you mean value"),
        ({"seeds": 0}, "seeds is 0; it must be a whole number >= 1"),
        ({"name": "a/b"}, "sweep name 'a/b'"),
        ({"bandits": [bandit("spares")]}, "unknown bandit 'spares'; did you mean sparse"),
        ({"bandits": [bandit("sparse", leg=3)]}, r"sparse\(leg=3\).*unexpected keyword argument 'leg'"),
        ({"bandits": [bandit("sparse", arms=0)]}, r"sparse\(arms=0\): rewarded: must lie in 1..0"),
        ({"bandits": [bandit("sparse", draws=0)]}, "draws is 0"),
        ({"bandits": [bandit("sparse", draws=2, seed=1)]}, "draws and a seed"),
        ({"bandits": [bandit("three_arm", draws=2)]}, "unexpected keyword argument 'seed'"),
        ({"algorithms": [algorithm("oapls")]}, "unknown algorithm 'oapls'; did you mean oapl"),
        ({"algorithms": [algorithm("oapl", beta=1)]}, r"oapl\(beta=1\): oapl has no parameter 'beta'"),
        ({"algorithms": [algorithm("tpo", baseline_of=algorithm("oapls"))]}, "unknown algorithm 'oapls'"),
        ({"variations": product(lag=[4, 0])}, r"cell three_arm, shifted_mean\(beta=0.5\), lag=0: lag is 0; it must"),
        ({"variations": product(lagg=[4])}, "unknown setting 'lagg'; did you mean lag"),
        ({"variations": product(lag=[4, 4])}, "two cells are the same: bandit three_arm"),
    ],
)
def test_wrong_grids_get_one_clear_line(changes, told, tmp_path):
    with pytest.raises(ValueError, match=told) as caught:
        run(dataclasses.replace(TINY, **changes), tmp_path, here)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_axis_without_values_is_named():
    with pytest.raises(ValueError, match="axis lag is empty"):
        product(group_size=[8], lag=[])


def test_jobs_must_be_positive():
    with pytest.raises(ValueError, match="jobs is 0"):
        on_cores(0)


# --- the sweeps that ship ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SWEEPS)
def test_every_cell_that_ships_runs(name):
    """Cut to a window or two of a few steps."""
    cells = SWEEPS[name].cells()
    for cell in cells:
        plan = cell.settings
        lag = min(plan.lag, 4)
        short = dataclasses.replace(
            plan, syncs=2, lag=lag, groups=min(plan.groups, lag), minibatches=min(plan.minibatches, lag), record_every=1
        )
        rows = rows_of(dataclasses.replace(cell, settings=short, seeds=1))
        assert rows["value"].is_between(0, 1 + 1e-12).all()
    assert SWEEPS[name].name == name


def test_runs_of_the_lag_sweeps_take_equal_steps():
    for sweep in (LAG, COUNTERFACTUAL):
        assert {cell.settings.lag * cell.settings.syncs for cell in sweep.cells()} == {STEPS}
        assert {cell.settings.groups / cell.settings.lag for cell in sweep.cells()} == {1.0}
    assert len(LAG.algorithms) == 10


def test_the_counterfactual_compares_objectives_of_one_nominal_target():
    world = SPARSE.build()
    targets = [ps.nominal_target(world, spec.build()).policy for spec in COUNTERFACTUAL.algorithms]
    np.testing.assert_allclose(targets, np.broadcast_to(targets[0], np.shape(targets)), rtol=1e-12, atol=1e-15)
    induced = [ps.induced_target(world, spec.build()) for spec in COUNTERFACTUAL.algorithms if spec not in REGRESSIONS]
    for target in induced:
        np.testing.assert_allclose(target.policy, targets[0], rtol=1e-9, atol=1e-12)


def test_estimates_are_positive_whatever_the_windows():
    for cell in (LAG.cells()[0], LAG.cells()[3], VERIFIER_NOISE.cells()[0]):
        assert estimate(dataclasses.replace(cell, bandit=bandit("sparse", arms=10, draws=2))) > 0


def test_nothing_that_computes_sweeps_imports_the_grids():
    folder = Path(bandits.sweeps.__file__).parent
    for path in folder.glob("*.py"):
        imports = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.ImportFrom)]
        if path.name != "grids.py":
            assert not any("grids" in (node.module or "") for node in imports), path
