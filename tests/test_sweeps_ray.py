"""A sweep on a real Ray cluster of two nodes on this machine, one of which is killed half way."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from bandits.sweeps import on_cores, run
from sweep_objects import SLEEPY

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_a_killed_node_costs_neither_cells_nor_copies(tmp_path):
    """In a process of its own: Ray warns and starts threads. Its bytes are those of one core of this machine."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # or it warns of its next release
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    done = subprocess.run(
        [sys.executable, ROOT / "tests" / "two_node_sweep.py", tmp_path / "ray"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert 4 <= int((tmp_path / "ray" / "killed").read_text()) < 12
    assert "12 cells: 0 computed before, 12 computed now, 0 failed" in done.stdout

    table = run(SLEEPY, tmp_path / "here", on_cores(1))
    there, here = tmp_path / "ray", tmp_path / "here"
    assert (there / "sleepy.parquet").read_bytes() == (here / "sleepy.parquet").read_bytes()
    cells = {path.name for path in there.glob("sleepy/cells/*")}
    assert cells == {path.name for path in here.glob("sleepy/cells/*")}
    assert len(cells) == 12
    assert table.select("cell", "seed", "world", "sync").is_duplicated().sum() == 0
    manifest = json.loads((there / "sleepy" / "manifest.json").read_text())
    assert set(manifest["seconds"]) == set(pl.read_parquet(there / "sleepy.parquet")["cell"])
