"""Public objects behave as objects of their kind do: they copy, travel, show themselves, and are indexed."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import pessimism as ps
from bandits.settings import Settings
from bandits.simulate import simulate
from pessimism.shell.objects import load_object

BANDIT = ps.Bandit([0.5, 0.3, 0.2], [0, 0, 1])
BATCH = ps.Bandit([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7]], [[0, 0, 1], [0, 2, 1]])
OAPL = ps.algorithm("oapl", beta1=1.0, beta2=0.5)


@pytest.fixture(scope="module")
def pool() -> Iterator[ProcessPoolExecutor]:
    """One fresh process, to which things are sent, and from which they come back."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as made:
        yield made


@pytest.mark.parametrize("name", ps.catalogue())
def test_every_entry_and_its_algorithm_travel(name: str, pool: ProcessPoolExecutor) -> None:
    entry = ps.catalogue()[name]
    algorithm = entry.algorithm()
    assert copy.deepcopy(entry) is entry
    entry_back, algorithm_back = pool.submit(copy.copy, (entry, algorithm)).result()
    assert entry_back is entry
    log_ratio = np.linspace(-0.3, 0.4, 3)
    advantage = algorithm.advantage(BANDIT.reward, BANDIT.behavior)
    given = (log_ratio, advantage)
    expected = algorithm.coefficient(*given, **algorithm.weights(BANDIT.behavior))
    for again in (algorithm_back, copy.deepcopy(algorithm)):
        assert again is not algorithm
        assert again.parameters == algorithm.parameters
        np.testing.assert_array_equal(again.advantage(BANDIT.reward, BANDIT.behavior), advantage)
        np.testing.assert_array_equal(again.coefficient(*given, **again.weights(BANDIT.behavior)), expected)
        with pytest.raises(TypeError):
            again.parameters["new"] = 1.0  # type: ignore[index]


def test_an_entry_of_ones_own_travels_by_its_maker(pool: ProcessPoolExecutor) -> None:
    entry = ps.Entry("own", "t", "c", "t", "regression", "sequence", "here", ps.residual)
    again = pool.submit(copy.copy, entry).result()
    assert again == entry
    assert again is not entry


def test_comparisons_go_through_a_pool_of_fresh_processes(pool: ProcessPoolExecutor) -> None:
    comparison = pool.submit(ps.compare, BATCH, OAPL).result()
    here = ps.compare(BATCH, OAPL)
    assert comparison.verdict == here.verdict
    np.testing.assert_array_equal(comparison.induced.policy, here.induced.policy)
    assert not comparison.bandit.reward.flags.writeable


def everything() -> list[Any]:
    """One object of every public class, the batches large."""
    rng = np.random.default_rng(0)
    wide = ps.Bandit(rng.dirichlet(np.ones(500)), rng.normal(size=500))
    many = ps.Bandit(rng.dirichlet(np.ones(40), size=300), rng.normal(size=(300, 40)))
    own = ps.Algorithm(lambda log_ratio, advantage: advantage - log_ratio, baseline=lambda reward, behavior: 0.5)
    comparisons = [ps.compare(bandit, OAPL) for bandit in (BANDIT, wide, many)]
    entry = ps.catalogue()["grpo"]
    made: list[Any] = [wide, many, own, own.baseline, OAPL, entry, entry.parameters["low"], *comparisons]
    made += [comparison.induced for comparison in comparisons]
    made += [comparison.induced_metrics for comparison in comparisons]
    made += [ps.lcb(wide, 0.5, 0.1, 3000), ps.prescribe(wide.reward, nats=0.5, beta=1.0)]
    made += ps.stationary_points(wide, OAPL)
    made.append(simulate(BATCH, OAPL, Settings(lag=5, syncs=3), seeds=range(2)))
    return made


def test_every_object_shows_what_it_holds_in_one_screen() -> None:
    for thing in everything():
        for text in (repr(thing), *([thing._repr_html_()] if hasattr(thing, "_repr_html_") else [])):
            assert not re.search(r"0x[0-9a-f]{6}|<function|functools\.partial|lambda", text)
            assert len(text) < 4000
            assert text.count("\n") < 24
    assert "oapl(beta1=1, beta2=0.5)" in repr(OAPL)
    assert "E exp(r/1)" in repr(OAPL)


def test_html_is_escaped() -> None:
    shown = ps.Algorithm(lambda log_ratio, advantage: advantage, name="<script>")._repr_html_()
    assert "<script>" not in shown
    assert "&lt;script&gt;" in shown


def test_batches_are_indexed_by_row() -> None:
    target = ps.induced_target(BATCH, OAPL)
    assert (len(BATCH), len(target)) == (2, 2)
    for row in range(2):
        one = target[row]
        alone = ps.induced_target(BATCH[row], OAPL)
        np.testing.assert_allclose(one.policy, alone.policy, rtol=1e-13)
        assert (one.kind, one.regime, one.method) == (alone.kind, alone.regime, alone.method)
        assert isinstance(one.normalizer, float)
    assert target[:1].policy.shape == (1, 3)
    assert BATCH[1:].batch_shape == (1,)
    with pytest.raises(IndexError):
        BATCH[2]
    with pytest.raises(IndexError):
        target[0, 1]  # the second axis is of arms


@pytest.mark.parametrize("thing", [BANDIT, ps.induced_target(BANDIT, OAPL)])
def test_what_is_no_batch_has_no_rows(thing: Any) -> None:
    assert thing  # and is nevertheless true
    with pytest.raises(TypeError, match="not a batch"):
        len(thing)
    with pytest.raises(TypeError, match="not a batch"):
        thing[0]


def test_tables() -> None:
    comparison = ps.compare(BATCH, OAPL)
    frame = comparison.induced.to_polars()
    assert frame.shape[0] == 6
    np.testing.assert_array_equal(frame["policy"].to_numpy().reshape(2, 3), comparison.induced.policy)
    assert frame["kind"].to_list() == np.repeat(comparison.induced.kind, 3).tolist()
    frame = comparison.to_polars()
    for which in ("behavior", "induced", "nominal", "stated"):
        rows = frame.filter(frame["policy"] == which)
        for name, values in getattr(comparison, f"{which}_metrics").items():
            np.testing.assert_array_equal(rows[name].to_numpy(), values)
    assert "row" not in ps.compare(BANDIT, OAPL).to_polars().columns
    assert comparison.induced.to_dict()["policy"] == comparison.induced.policy.tolist()


def test_trajectories() -> None:
    run = simulate(BATCH, OAPL, Settings(lag=5, syncs=3), seeds=range(2))
    frame = run.to_polars()
    assert frame.shape[0] == 3 * 2 * 2
    np.testing.assert_array_equal(frame["kl"].to_numpy().reshape(3, 2, 2), run.kl)
    assert frame["sync"].to_list() == np.repeat(run.sync, 4).tolist()
    assert run.to_dict()["value"] == run.value.tolist()
    [axes] = run.plot("kl").axes
    np.testing.assert_allclose(np.asarray(axes.lines[0].get_ydata(), float), run.kl.reshape(3, -1).mean(axis=1))
    with pytest.raises(ValueError, match="did you mean entropy"):
        run.plot("entrpy")


def test_algorithms_are_understood_from_text(tmp_path: Path) -> None:
    expected = ps.induced_target(BANDIT, OAPL).policy
    (tmp_path / "mine.py").write_text(
        "import pessimism as ps\n\n\ndef made(beta=0.5):\n    return ps.algorithm('oapl', beta1=1, beta2=beta)\n"
    )
    for text in ("oapl:beta1=1,beta2=1/2", f"{tmp_path}/mine.py:made", f"{tmp_path}/mine.py:made:beta=.5"):
        np.testing.assert_array_equal(ps.induced_target(BANDIT, text).policy, expected)
    first, second = (load_object(f"{tmp_path}/mine.py:made", ps.Algorithm) for _ in range(2))
    assert str(first) == str(second)
    np.testing.assert_array_equal(
        ps.group_target([0.0, 1.0], "dro").policy, ps.group_target([0.0, 1.0], ps.algorithm("dro")).policy
    )


@pytest.mark.parametrize(
    "function", [ps.induced_target, ps.nominal_target, ps.compare, ps.gradient_flow, ps.stationary_points]
)
def test_what_is_not_understood_is_told_in_one_sentence(function: Any) -> None:
    for arguments, message in (
        (("oapl", BANDIT), "swapped"),
        ((OAPL, BANDIT), "swapped"),
        (([0.5, 0.5], "oapl"), "bandit is of type list"),
        ((BANDIT, 3), "algorithm is of type int"),
        ((BANDIT, "oalp"), "did you mean oapl"),
        ((BANDIT, "no_such_module:name"), "no module 'no_such_module'"),
        ((BANDIT, "nowhere/mine.py:name"), "there is no file nowhere/mine.py"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            function(*arguments)
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("arms", [2, 64, 100_000])
def test_policies_normalized_in_their_own_precision_are_taken(kind: torch.dtype, arms: int) -> None:
    logits = torch.randn(3, arms, generator=torch.Generator().manual_seed(arms), requires_grad=True)
    policy = logits.softmax(-1).to(kind)
    bandit = ps.Bandit(policy, torch.zeros(arms, dtype=kind))
    np.testing.assert_allclose(bandit.behavior.sum(axis=-1), 1, rtol=1e-14)
    exact = policy.detach().double().numpy()
    np.testing.assert_allclose(bandit.behavior, exact / exact.sum(axis=-1, keepdims=True), rtol=1e-12)
    with pytest.raises(ValueError, match="divide by the sum"):
        ps.Bandit(policy * 1.02, torch.zeros(arms))


def test_double_precision_is_taken_as_it_is() -> None:
    behavior = np.array([0.5, 0.5 + 1e-10])
    np.testing.assert_array_equal(ps.Bandit(behavior, [0, 1]).behavior, behavior)
    np.testing.assert_array_equal(ps.Bandit(np.array([0.5, 0.5], np.float32), [0, 1]).behavior, [0.5, 0.5])
