"""paper_figures: the machinery (cache, manifest, command), and every figure on small settings against the theory."""

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import pessimism as ps
from bandits.settings import Settings
from bandits.sweeps import Sweep, algorithm, bandit
from paper_figures import cli, numbers, run, style
from paper_figures.figures import FIGURES
from paper_figures.fingerprint import fingerprint, reached
from paper_figures.spec import ROOT, FigureSpec
from paper_figures.store import Manifest, from_csv, read_manifest, to_csv, widened


@dataclasses.dataclass(frozen=True)
class Wave:
    """Settings of a figure that is computed in no time."""

    points: int = 5
    seed: int = 3


def wave(settings: Wave) -> pl.DataFrame:
    generator = np.random.default_rng(settings.seed)
    return pl.DataFrame({"x": np.arange(settings.points), "y": generator.normal(size=settings.points)})


def refuse(settings: Wave) -> pl.DataFrame:
    raise AssertionError("computed although the data were there")


def draw_wave(table: pl.DataFrame):
    figure = style.new_figure(style.SINGLE, 2)
    figure.subplots().plot(table["x"], table["y"])
    return figure


SPEC = FigureSpec("wave", "a wave", "A wave.", Wave(), wave, draw_wave)
NOT_AGAIN = dataclasses.replace(SPEC, compute=refuse)


def made(spec: FigureSpec, folder: Path, **options):
    (one,) = run.make([spec], folder, **options)
    return one


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


# --- machinery ------------------------------------------------------------------------------------------------------


def test_two_runs_write_the_same_bytes(tmp_path):
    made(SPEC, tmp_path / "first")
    made(SPEC, tmp_path / "second")
    assert sorted(contents(tmp_path / "first")) == ["manifest.json", "wave.csv", "wave.pdf", "wave.png", "wave.txt"]
    assert contents(tmp_path / "first") == contents(tmp_path / "second")


def test_another_process_with_another_hash_seed_writes_the_same_bytes(tmp_path):
    with style.context():  # as a caller might: it must not matter
        made(FIGURES["target_ratios"], tmp_path / "here")
    environment = os.environ | {"PYTHONHASHSEED": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "paper_figures", "target_ratios", "--jobs", "2", "--out", str(tmp_path / "there")]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    assert contents(tmp_path / "here") == contents(tmp_path / "there")


def test_current_data_are_not_computed_again(tmp_path):
    first = made(SPEC, tmp_path)
    again = made(NOT_AGAIN, tmp_path)
    assert (first.cached, again.cached) == (False, True)
    assert again.table.equals(first.table)


def test_other_settings_are_computed_again(tmp_path):
    made(SPEC, tmp_path)
    other = made(dataclasses.replace(SPEC, settings=Wave(seed=4)), tmp_path)
    assert not other.cached
    assert fingerprint(SPEC) != other.record.fingerprint


def test_recompute_and_missing_data_compute_again(tmp_path):
    made(SPEC, tmp_path)
    assert not made(SPEC, tmp_path, recompute=True).cached
    (tmp_path / "wave.csv").unlink()
    assert not made(SPEC, tmp_path).cached


@pytest.mark.parametrize("damage", [lambda data: data[:-3], lambda data: data.replace(b"0,", b"9,", 1), lambda _: b""])
def test_damaged_data_are_refused_by_name_and_mended(tmp_path, damage):
    before = made(SPEC, tmp_path)
    path = tmp_path / "wave.csv"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"wave\.csv: not the data that were computed.*--recompute"):
        made(SPEC, tmp_path)
    assert made(SPEC, tmp_path, recompute=True).table.equals(before.table)
    assert made(NOT_AGAIN, tmp_path).cached


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 2}', '{"format": 1, "figures": {"wave": {}}}'])
def test_a_damaged_manifest_is_refused_by_name_and_mended(tmp_path, text):
    made(SPEC, tmp_path)
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match=r"manifest\.json: not a manifest of figures.*--recompute") as error:
        made(SPEC, tmp_path)
    assert "\n" not in str(error.value)
    made(SPEC, tmp_path, recompute=True)
    assert made(NOT_AGAIN, tmp_path).cached


def test_the_manifest_says_where_every_file_came_from(tmp_path):
    made(SPEC, tmp_path)
    made(dataclasses.replace(SPEC, name="another"), tmp_path)
    manifest = read_manifest(tmp_path)
    assert list(manifest.figures) == ["another", "wave"]
    record = manifest.figures["wave"]
    assert record.script == "tests/test_paper_figures.py"
    assert record.script_sha256 == hashlib.sha256(Path(__file__).read_bytes()).hexdigest()
    assert (record.seed, record.settings, record.rows) == (3, {"points": 5, "seed": 3}, 5)
    assert record.versions["numpy"] == np.__version__
    assert record.versions["pessimism"] == ps.__version__
    assert "not a figure of the source paper" in record.origin
    for name, digest in record.files.items():
        assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == digest


def test_a_manifest_without_figures_is_empty(tmp_path):
    assert read_manifest(tmp_path) == Manifest()


def test_tables_come_back_from_csv_bit_for_bit():
    generator = np.random.default_rng(0)
    numbers_of_all_sizes = generator.normal(size=500) * 10.0 ** generator.integers(-300, 300, 500)
    numbers_of_all_sizes[:4] = [np.inf, -np.inf, 0.1 + 0.2, 5e-324]
    table = pl.DataFrame(
        {
            "x": numbers_of_all_sizes,
            "gap": pl.Series([None, 1.0] * 250, dtype=pl.Float64),
            "text": ['a,"b"', "c"] * 250,
            "whole": np.arange(500),
            "yes": np.arange(500) % 2 == 0,
        }
    )
    columns = {name: str(kind) for name, kind in table.schema.items()}
    assert from_csv(to_csv(table), columns).equals(table, null_equal=True)


def test_tables_that_csv_would_change_are_refused():
    with pytest.raises(ValueError, match="column 'x' is List"):
        to_csv(pl.DataFrame({"x": [[1]]}))
    with pytest.raises(ValueError, match="column 'x' has an empty text"):
        to_csv(pl.DataFrame({"x": ["", "a"]}))
    assert widened(pl.DataFrame({"x": pl.Series([1], dtype=pl.Int32)})).schema == {"x": pl.Int64()}


def test_a_script_depends_on_what_it_imports_and_not_on_looks():
    found = {path.relative_to(ROOT).as_posix() for path in reached(ROOT / "paper_figures" / "rare_arms.py")}
    assert {
        "paper_figures/worlds.py",
        "bandits/instances.py",
        "pessimism/stationary_points.py",
        "pessimism/__init__.py",
    } <= found
    assert {"pessimism/objectives/regression.py", "pessimism/solve/lambert_newton.py"} <= found
    assert not found & {"paper_figures/style.py", "paper_figures/rare_arms.py", "bandits/simulate.py"}


def count_rows(settings: Wave, swept: pl.DataFrame) -> pl.DataFrame:
    return swept.group_by("sync").agg(y=pl.col("value").mean()).sort("sync").rename({"sync": "x"})


def test_a_figure_reads_the_sweeps_it_names(tmp_path):
    tiny = Sweep("tiny", "Nothing.", [bandit("three_arm")], [algorithm("reinforce")], Settings(syncs=3, lag=2), seeds=2)
    spec = dataclasses.replace(SPEC, sweeps=(tiny,), compute=count_rows)
    first = made(spec, tmp_path)
    assert first.table["x"].to_list() == [1, 2, 3]
    assert list(first.record.sweeps) == ["tiny"]
    assert made(spec, tmp_path).cached
    other = made(dataclasses.replace(spec, sweeps=(tiny.with_seeds(3),)), tmp_path)  # its old results are discarded
    assert not other.cached
    assert other.record.sweeps != first.record.sweeps


# --- the command ----------------------------------------------------------------------------------------------------


def test_the_command_writes_a_figure_and_uses_its_data_again(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cli, "FIGURES", {"wave": SPEC})
    assert cli.main(["wave", "--out", str(tmp_path), "--jobs", "1"]) == 0
    assert "5 rows computed" in capsys.readouterr().out
    assert cli.main(["wave", "--out", str(tmp_path), "--jobs", "1"]) == 0
    assert "data as they were" in capsys.readouterr().out


def test_the_command_lists_every_figure(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    assert cli.main(["--list"]) == 0
    printed = capsys.readouterr().out
    for name, spec in FIGURES.items():
        assert name in printed
        assert spec.shows in printed


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["regime"], "unknown figure 'regime'; did you mean regimes?"),
        (["--jobs", "0"], "jobs"),
        (["--nonsense"], "nonsense"),
        (["target_ratios", "--out", "/dev/null/figures"], "/dev/null/figures"),
    ],
)
def test_bad_input_gets_one_line(arguments, said, capsys):
    assert cli.main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert captured.err.count("\n") == 1


def test_damaged_data_end_the_command_with_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(cli, "FIGURES", {"wave": SPEC})
    cli.main(["wave", "--out", str(tmp_path), "--jobs", "1"])
    (tmp_path / "wave.csv").write_text("x,y\n")
    capsys.readouterr()
    assert cli.main(["wave", "--out", str(tmp_path), "--jobs", "1"]) == 2
    assert "wave.csv" in capsys.readouterr().err


# --- style ----------------------------------------------------------------------------------------------------------


def test_every_objective_has_a_look_of_its_own():
    assert set(style.STYLES) == set(ps.catalogue())
    looks = [(look.color, str(look.line), look.marker) for look in style.STYLES.values()]
    assert len(set(looks)) == len(looks)


def test_objectives_drawn_together_differ_in_greyscale_or_line():
    together = ("shifted_mean", "pmd_mean", "oapl", "opmd", "oapl.single_beta", "oapl.missing_log_g", "asymre",
                "grpo", "grpo.no_ratio", "is_regression", "tpo")  # fmt: skip
    for index, name in enumerate(together):
        for other in together[:index]:
            first, second = style.STYLES[name], style.STYLES[other]
            apart = abs(style.luminance(first.color) ** (1 / 2.2) - style.luminance(second.color) ** (1 / 2.2))
            assert apart > 0.1 or first.line != second.line or first.marker != second.marker, (name, other)


def test_labels_are_spread_by_their_gaps():
    places = style.spread(np.array([0.1, 0.1, 0.12, 0.9]), np.full(3, 0.2))
    assert (np.diff(places) >= 0.2 - 1e-12).all()
    assert places[:3].mean() == pytest.approx(np.mean([0.1, 0.1, 0.12]))
    assert places[3] == pytest.approx(0.9)


# --- numbers --------------------------------------------------------------------------------------------------------


def test_numbers_are_filled_into_texts_and_unknown_ones_refused():
    text = "a <!-- number one -->?<!-- end --> b <!-- number two --><!-- end -->"
    once = numbers.filled(text, {"one": "1", "two": "2.5"})
    assert once == "a <!-- number one -->1<!-- end --> b <!-- number two -->2.5<!-- end -->"
    assert numbers.filled(once, {"one": "1", "two": "2.5"}) == once
    with pytest.raises(ValueError, match="there is no number 'one'; known: two"):
        numbers.filled(text, {"two": "2.5"})


def test_numbers_name_figures_that_exist_and_differ_in_name():
    assert len({number.name for number in numbers.NUMBERS}) == len(numbers.NUMBERS)
    assert set(numbers.figures_read()) <= set(FIGURES)


def test_numbers_are_written_as_they_are_printed(tmp_path):
    read = {"wave": wave(Wave())}
    asked = numbers.Number(
        "top", "the highest point", lambda tables: tables["wave"]["y"].to_numpy().max(), ".2f", ("wave",)
    )
    quoted = numbers.evaluate(read, [asked])
    written = json.loads(numbers.write_numbers(tmp_path, quoted).read_text())
    assert written["top"]["text"] == format(np.random.default_rng(3).normal(size=5).max(), ".2f")
    assert written["top"]["figures"] == ["wave"]
