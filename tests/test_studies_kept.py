"""Studies in one file: nothing is computed twice, nothing is mixed with what other code gives."""

import json
from dataclasses import dataclass

import polars as pl
import pytest

from pessimism.studies import kept
from pessimism.studies.store import as_parquet
from pessimism.studies.workers import Done


@dataclass(frozen=True)
class Job:
    key: str


def backend(seen, fails=(), stops=None):
    def run(jobs):
        for job in jobs:
            if job.key == stops:
                raise KeyboardInterrupt
            seen.append(job.key)
            bad = job.key in fails
            content = None if bad else as_parquet(pl.DataFrame({"cell": [job.key] * 2, "value": [1.0, 2.0]}))
            yield Done(job, content, "went wrong" if bad else None, 0.0)

    return run


def jobs(names):
    return {name: Job(name) for name in names}


def test_what_is_there_is_not_computed_again_and_other_cells_stay(tmp_path):
    path, seen = tmp_path / "study.parquet", []
    assert kept.complete(path, jobs("ab"), backend(seen)) == {}
    assert kept.complete(path, jobs("bc"), backend(seen)) == {}
    assert seen == ["a", "b", "c"]
    table = kept.read(path)
    assert table is not None
    assert table["cell"].to_list() == ["a", "a", "b", "b", "c", "c"]


def test_an_interruption_keeps_what_was_finished(tmp_path):
    path, seen = tmp_path / "study.parquet", []
    with pytest.raises(KeyboardInterrupt):
        kept.complete(path, jobs("abc"), backend(seen, stops="c"))
    kept.complete(path, jobs("abc"), backend(seen))
    assert seen == ["a", "b", "c"]


def test_a_failure_is_told_and_tried_again(tmp_path):
    path, seen = tmp_path / "study.parquet", []
    assert kept.complete(path, jobs("ab"), backend(seen, fails="a")) == {"a": "went wrong"}
    assert kept.complete(path, jobs("ab"), backend(seen)) == {}
    assert seen == ["a", "b", "a"]


def test_progress_counts_what_was_there(tmp_path):
    path, told = tmp_path / "study.parquet", []
    kept.complete(path, jobs("a"), backend([]))
    kept.complete(path, jobs("ab"), backend([]), lambda done, count, total: told.append((done is None, count, total)))
    assert told == [(True, 1, 2), (False, 2, 2)]


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "study.parquet"
    path.write_bytes(b"PAR1 no")
    with pytest.raises(ValueError, match=r"study\.parquet"):
        kept.complete(path, jobs("a"), backend([]))


def test_code_that_gives_other_numbers_is_refused(tmp_path):
    path = tmp_path / "probe.json"
    first = kept.settled(path, {"a": 0.5, "b": 100.0})
    assert kept.settled(path, {"b": 100.00001, "a": 0.5}) == first  # other rounding, other order
    with pytest.raises(ValueError, match="'b'"):
        kept.settled(path, {"a": 0.5, "b": 100.1})
    with pytest.raises(ValueError, match="'b'"):
        kept.settled(path, {"a": 0.5})
    assert json.loads(path.read_text("utf-8")) == {"a": 0.5, "b": 100.0}
