"""What needs a GPU, and that the check for one runs without: reduced, on a CPU."""

import json

import pytest
import torch

from llm import cli
from llm.check import gpucheck


def test_the_check_runs_without_a_gpu_and_says_what_it_left_out(tmp_path, capsys):
    assert cli.main(["gpucheck", "--device", "cpu", "--out", str(tmp_path / "found.json")]) == 0
    told = capsys.readouterr().out
    assert "only a GPU can tell" in told
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["device"] == "CPU"
    names = " ".join(row["name"] for row in found["rows"])
    for part in (
        "gradient against the CPU's",
        "bridge",
        "selftest",
        "cross-entropy",
        "resumed run",
        "ages of the data",
    ):
        assert part in names
    assert {row["verdict"] for row in found["rows"]} == {"holds", ""}


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_check_says_so(capsys):
    assert cli.main(["gpucheck"]) == 2
    assert "there is no GPU that torch sees; --device cpu" in capsys.readouterr().err


def test_what_fails_is_a_row_and_the_other_checks_go_on():
    def broken():
        yield gpucheck.Row("first", "1", "1", "holds")
        raise RuntimeError("no\nkernel")

    first, second = gpucheck._told(broken)
    assert (first.verdict, second.verdict) == ("holds", "FAILS")
    assert second.found == "no kernel"
    assert not gpucheck.Found("x", "", (first, second), 1.0).holds


@pytest.mark.gpu
def test_everything_holds_on_a_gpu():
    found = gpucheck.gpucheck("cuda")
    assert [row for row in found.rows if row.verdict == "FAILS"] == []
    assert found.seconds < 480
