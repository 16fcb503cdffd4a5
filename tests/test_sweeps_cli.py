"""``python -m bandits``: screens, messages and exit statuses; killed and terminated at any moment, it resumes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from bandits.cli import main
from bandits.sweeps.grids import SWEEPS

ROOT = Path(__file__).resolve().parent.parent
PATIENCE = 120


def told(capsys):
    captured = capsys.readouterr()
    return captured.out, captured.err


def command(*arguments: object) -> subprocess.Popen:
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    return subprocess.Popen(
        [sys.executable, "-m", "bandits", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # What starts the tests in the background may have told them to ignore it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def finished(directory: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in directory.glob("sleepy/cells/*.parquet")}


def stopped(directory: Path, number: int, jobs: int) -> tuple[int, str]:
    """Exit status and error stream of a sweep that gets a signal once two more cells are there."""
    wanted = len(finished(directory)) + 2
    process = command("sweep", "sweep_objects:SLEEPY", "--out", directory, "--jobs", jobs)
    deadline = time.monotonic() + PATIENCE
    while len(finished(directory)) < wanted and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(number)
    _, error = process.communicate(timeout=PATIENCE)
    return process.returncode, error


def test_stopped_by_any_signal_it_loses_only_what_was_unfinished(tmp_path):
    """kill -9, terminate, interrupt; then to the end. No cell that was there is computed again."""
    there: dict[str, int] = {}
    for number, status, jobs in ((signal.SIGKILL, -9, 2), (signal.SIGTERM, 143, 1), (signal.SIGINT, 130, 2)):
        found, error = stopped(tmp_path, number, jobs)
        assert found == status, error
        now = finished(tmp_path)
        assert there.items() <= now.items()
        assert len(there) + 2 <= len(now) < 12
        there = now
    assert not (tmp_path / "sleepy.parquet").exists()
    output, error = command("sweep", "sweep_objects:SLEEPY", "--out", tmp_path).communicate(timeout=PATIENCE)
    assert f"12 cells: {len(there)} computed before, {12 - len(there)} computed now, 0 failed" in output, error
    assert there.items() <= finished(tmp_path).items()
    rows = pl.read_parquet(tmp_path / "sleepy.parquet")
    assert rows["cell"].n_unique() == 12
    assert rows.select("cell", "seed", "world", "sync").is_duplicated().sum() == 0


def test_an_interrupted_sweep_says_how_to_go_on(tmp_path):
    status, error = stopped(tmp_path, signal.SIGINT, 1)
    assert status == 130
    done = len(finished(tmp_path))
    kept = f"interrupted: {done} of 12 cells are done and kept in {tmp_path}/sleepy"
    assert error == f"{kept}; the same command computes the others\n"


def test_a_sweep_is_computed_once(tmp_path, capsys):
    arguments = ["sweep", "smoke", "--out", str(tmp_path), "--jobs", "1"]
    assert main(arguments) == 0
    assert "4 cells: 0 computed before, 4 computed now, 0 failed" in told(capsys)[0]
    assert main(arguments) == 0
    assert "4 cells: 4 computed before, 0 computed now, 0 failed" in told(capsys)[0]
    assert main([*arguments, "--restart"]) == 0
    output, error = told(capsys)
    assert "4 cells: 0 computed before, 4 computed now, 0 failed" in output
    assert output.endswith(f"all rows are in {tmp_path}/smoke.parquet\n")
    assert error == ""


def test_a_damaged_cell_is_named_and_computed_again(tmp_path, capsys):
    arguments = ["sweep", "smoke", "--out", str(tmp_path), "--jobs", "1"]
    assert main(arguments) == 0
    before = (tmp_path / "smoke.parquet").read_bytes()
    path = next(tmp_path.glob("smoke/cells/*"))
    path.write_bytes(path.read_bytes()[:1000])
    told(capsys)
    assert main(arguments) == 0
    output, error = told(capsys)
    assert error.startswith(f"warning: {path}: damaged or half-written")
    assert error.count("\n") == 1
    assert "3 computed before, 1 computed now" in output
    assert (tmp_path / "smoke.parquet").read_bytes() == before


def test_seeds_replace_the_grids(tmp_path, capsys):
    assert main(["sweep", "smoke", "--out", str(tmp_path), "--jobs", "1", "--seeds", "5"]) == 0
    assert pl.read_parquet(tmp_path / "smoke.parquet")["seed"].max() == 4
    assert main(["sweep", "smoke", "--out", str(tmp_path)]) == 2
    assert "holds results computed from another grid" in told(capsys)[1]


def test_a_dry_run_lists_the_cells_and_writes_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert main(["sweep", "smoke", "--out", str(tmp_path), "--dry-run", "--jobs", "2"]) == 0
    output, _ = told(capsys)
    assert "4 of 4 cells to compute: about" in output
    assert "on 2 cores" in output
    assert "grpo.no_ratio" in output
    assert list(tmp_path.iterdir()) == []


def test_a_failing_cell_is_reported_with_its_parameters(tmp_path, capsys):
    assert main(["sweep", "sweep_objects:FAILING", "--out", str(tmp_path), "--jobs", "1"]) == 1
    output, _ = told(capsys)
    assert "3 cells: 0 computed before, 2 computed now, 1 failed" in output
    assert "failed: bandit three_arm, algorithm sweep_objects:failing" in output
    assert "ZeroDivisionError: this coefficient divides by zero" in output
    assert main(["sweep", "sweep_objects:FAILING", "--out", str(tmp_path), "--jobs", "1"]) == 1
    assert "3 cells: 2 computed before, 0 computed now, 1 failed" in told(capsys)[0]


def test_the_list_has_every_sweep(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    assert main(["sweeps"]) == 0
    output, _ = told(capsys)
    for name, sweep in SWEEPS.items():
        assert name in output
        assert sweep.shows in output


def test_without_a_command_there_is_help(capsys):
    assert main([]) == 0
    assert "sweeps" in told(capsys)[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["sweep", "smok"], "unknown sweep 'smok'; did you mean smoke? known: smoke, lag"),
        (["sweep", "no_such_module:SWEEP"], "no module 'no_such_module'"),
        (["sweep", "sweep_objects:sleepy"], "it must be of type Sweep"),
        (["sweep"], "Missing argument 'NAME'"),
        (["sweep", "smoke", "--jobs", "0"], "'--jobs'"),
        (["sweep", "smoke", "--backend", "spark"], "'--backend'"),
        (["sweep", "smoke", "--address", "localhost:1"], "add --backend ray"),
        (["sweep", "smoke", "--restart", "--dry-run"], "give one of them"),
        (["sweep", "smoke", "--backend", "ray", "--address", "nowhere"], "it must be host:port"),
        (["sweep", "smoke", "--backend", "ray", "--address", "127.0.0.1:9"], "no Ray cluster answers at 127.0.0.1:9"),
        (["sweep", "smoke", "--out", "/dev/null"], "/dev/null/smoke: Not a directory"),
        (["swep"], "swep"),
    ],
)
def test_bad_input_gets_one_line_and_status_2(arguments, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    output, error = told(capsys)
    assert output == ""
    assert error.startswith("error: ")
    assert message in error
    assert error.count("\n") == 1


def test_without_ray_the_message_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["sweep", "smoke", "--out", str(tmp_path), "--backend", "ray"]) == 2
    assert "Ray is not installed" in told(capsys)[1]
