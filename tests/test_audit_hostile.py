"""Logs that are damaged, hostile or wrong: told with file and place, left out and counted, never a wrong number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import pessimism as ps
from audit_logs import OAPL, groups_of, json_lines, log, of, parquet, per_group, write
from pessimism.audit.run import audit


def rows_with(**changes: list[Any]) -> list[dict[str, Any]]:
    """Twelve good groups of four; ``column=[group, value]`` makes the third sample of that group bad."""
    rows = log(groups=12).to_pylist()
    for column, (group, value) in changes.items():
        rows[4 * group + 2][column] = value
    return rows


FAULTS = [
    ("reward", None, "reward missing or not finite", ""),
    ("reward", float("nan"), "reward missing or not finite", " (reward is nan)"),
    ("reward", float("inf"), "reward missing or not finite", " (reward is inf)"),
    ("reward", float("-inf"), "reward missing or not finite", " (reward is -inf)"),
    ("log_prob", 0.5, "behavior log-probability missing, not finite or above 0", " (log_prob is 0.5)"),
    ("log_prob", float("-inf"), "behavior log-probability missing, not finite or above 0", " (log_prob is -inf)"),
    ("log_prob", float("nan"), "behavior log-probability missing, not finite or above 0", ""),
    ("log_prob", None, "behavior log-probability missing, not finite or above 0", ""),
    ("current_log_prob", 3.0, "current log-probability missing, not finite or above 0", " (current_log_prob is 3)"),
    ("version", 77, "samples of several policy versions", " (version is 77)"),
    ("version", None, "version or step missing", ""),
    ("length", -1, "length missing or negative", " (length is -1)"),
    ("group", None, "no group id", ""),
]


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
@pytest.mark.parametrize(("column", "value", "reason", "shown"), FAULTS, ids=[f"{c}-{v}" for c, v, _, _ in FAULTS])
def test_a_faulty_sample_costs_its_group_and_nothing_else(tmp_path, suffix, column, value, reason, shown):
    """The other groups keep their numbers; the group is counted with file, row and value; --strict stops there."""
    rows = rows_with(**{column: [5, value]})
    broken = {"g5", "(none)"}
    path = write(pa.Table.from_pylist(rows), tmp_path / f"log{suffix}")
    found, whole = per_group(path, OAPL), per_group(write(log(groups=12), tmp_path / "good.parquet"), OAPL)
    assert found.keys() == whole.keys() - broken or column == "group"
    for name in found.keys() - broken:
        np.testing.assert_allclose(found[name]["log_ratio"], whole[name]["log_ratio"], atol=1e-12)
    outcome = of(path)
    assert set(outcome.skipped) >= {reason}
    example = outcome.skipped[reason]["examples"][0]
    unit = "line" if suffix == ".jsonl" else "row"
    assert example.startswith(f"{path}, {unit} 23, group ")
    assert example.split(": ")[-1].startswith(reason)
    if suffix == ".parquet":
        assert example.endswith(shown)
    if column != "group":
        assert outcome.skipped[reason]["groups"] == 1
        assert outcome.skipped[reason]["rows"] == 4
        assert outcome.groups == 11
    with pytest.raises(ValueError, match=f"{unit} 2[0-9], group .*: "):
        of(path, strict=True)


def test_a_sample_without_group_never_joins_another(tmp_path):
    """The group that lost it has one sample less, which nobody can know; the one without id is left out."""
    for missing in (None, ""):
        path = json_lines(tmp_path / "log.jsonl", rows_with(group=[5, missing]))
        found = per_group(path, OAPL)
        assert len(found) == 12
        assert len(found["g5"]["reward"]) == 3
        assert of(path).skipped["no group id"]["rows"] == 1


def test_groups_of_one_sample_are_left_out(tmp_path):
    rows = [*rows_with(), {**rows_with()[0], "group": "alone"}]
    outcome = of(json_lines(tmp_path / "log.jsonl", rows))
    assert outcome.skipped == {
        "a single sample": {
            "groups": 1,
            "rows": 1,
            "examples": [f"{tmp_path / 'log.jsonl'}, line 49, group 'alone': a single sample"],
        }
    }


def test_groups_that_are_logged_twice_are_left_out(tmp_path):
    """The same rows again, in another file or further down; the others keep their numbers."""
    rows = log(groups=12)
    whole = per_group(parquet(tmp_path / "good.parquet", rows), OAPL)
    again = pa.concat_tables([rows, rows.slice(8, 4), rows.slice(20, 8)])
    path = parquet(tmp_path / "log.parquet", again)
    outcome = of(path)
    assert outcome.skipped["the same rows more than once"]["groups"] == 3
    assert outcome.skipped["the same rows more than once"]["rows"] == 24
    found = per_group(path, OAPL)
    assert found.keys() == whole.keys() - {"g2", "g5", "g6"}
    for name, group in found.items():
        assert group["kl"] == pytest.approx(whole[name]["kl"], abs=1e-12)


def test_interleaved_groups_with_equal_values_are_no_duplicates(tmp_path):
    rows = [{"group": f"g{g}", "reward": float(k), "log_prob": -1.0} for k in (0, 0, 1, 1) for g in range(3)]
    outcome = of(json_lines(tmp_path / "log.jsonl", rows))
    assert (outcome.sizes, outcome.skipped) == ({4: 3}, {})


def test_one_token_that_is_too_probable_does_not_hide_behind_the_others(tmp_path):
    rows = [{"group": "ab"[k // 2], "reward": float(k), "log_prob": [-5.0, -1.0]} for k in range(4)]
    rows[3]["log_prob"] = [-5.0, 0.25]
    outcome = of(json_lines(tmp_path / "log.jsonl", rows))
    assert outcome.groups == 1
    assert "log_prob is 0.25" in next(iter(outcome.skipped.values()))["examples"][0]
    rows[3]["log_prob"] = [-5.0, None]
    assert of(json_lines(tmp_path / "log.jsonl", rows)).groups == 1
    rows[3]["log_prob"] = [-5.0, 1e-7]  # rounding in single precision
    assert of(json_lines(tmp_path / "log.jsonl", rows)).groups == 2


def test_a_log_without_one_good_group_is_an_error(tmp_path):
    rows = [{"group": f"g{k}", "reward": 1.0} for k in range(3)]
    with pytest.raises(
        ValueError, match=r"log.jsonl: no group is left; left out: 3, e.g. .*line 1, group .*: a single sample"
    ):
        of(json_lines(tmp_path / "log.jsonl", rows))


GOOD = b'{"group": "a", "reward": 0.0}\n{"group": "a", "reward": 1.0}\n'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (GOOD + b'{"group": "b", "rew', r"line 3: not JSON at character \d+ \(is the file cut off"),
        (GOOD + b"reward: 1\n" + GOOD, "line 3: not JSON at character 1$"),
        (GOOD + b"[1, 2]\n", r"line 3: a JSON list; every line must be an object"),
        (
            GOOD + b'{"group": "a", "reward": "1"}\n',
            r'reward is "1"; in the first lines it is a number',
        ),
        (
            GOOD + b'{"group": {"x": 1}, "reward": 1}\n',
            r'group is {"x": 1}; in the first lines it is text',
        ),
        (GOOD + b'{"group": "a", "reward": 1, "reward": 0}\n', "line 3: the key 'reward' twice"),
        (GOOD + b'{"group": "\xe9", "reward": 1}\n', r"line 3: not UTF-8 text \(byte 0xe9\)"),
        (GOOD.decode().encode("utf-16"), "UTF-16 text; it must be UTF-8"),
        (b"\n\n  \n", "no line with anything in it"),
        (b"", "is empty"),
        (b"[" * 100_000 + b"\n", r"not JSON \(it begins like a JSON array"),
        (GOOD + b'{"group": "a", "reward": ' + b"1" * 5000 + b"}\n", "line 3: not JSON"),
        (
            GOOD + b'{"group": "a", "reward": 1}{"group": "a", "reward": 0}\n',
            "3: not JSON at character 28",
        ),
    ],
)
def test_a_broken_line_is_named(tmp_path, content, message):
    path = tmp_path / "log.jsonl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        of(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_odd_but_right_lines_are_read(tmp_path):
    """A byte order mark, blank lines, Windows line ends, an infinity elsewhere, 3.0 for a whole number."""
    path = tmp_path / "log.jsonl"
    path.write_bytes(
        b'\xef\xbb\xbf{"group": "a", "reward": 0, "version": 3, "x": Infinity}\r\n\r\n'
        b'{"group": "a", "reward": 1.5, "version": 3.0, "y": {"z": []}}\r\n'
    )
    assert groups_of(path) == {"a": [0.0, 1.5]}


def test_a_line_of_100_megabytes_is_named_and_not_kept(tmp_path):
    path = tmp_path / "log.jsonl"
    with path.open("wb") as file:
        file.write(GOOD * 5 + b'{"group": "b", "text": "')
        for _ in range(100):
            file.write(b"x" * (1 << 20))
        file.write(b'", "reward": 1}\n' + GOOD)
    with pytest.raises(ValueError, match=r"log.jsonl, line 11: longer than 64 MiB"):
        of(path)


def test_a_cut_off_or_overwritten_parquet_file_is_told(tmp_path):
    path = parquet(tmp_path / "log.parquet", log(groups=5000))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"log.parquet: not Parquet, damaged or cut off"):
        of(path)
    path.write_bytes(content[:200] + bytes(2000) + content[2200:])
    with pytest.raises(ValueError, match=r"log.parquet: damaged after row \d+"):
        of(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"group,reward\na,1\na,0\nb,x\n", r"log.csv, row 3: reward is 'x'; it must be a number"),
        (b"group,reward\na,1\na\n", r"log.csv, row 2: 1 cells where the header has 2"),
        (b"group,reward\na,1\n\xe9,0\n", r"log.csv, after row \d+: not UTF-8 text \(byte 0xe9\)|not UTF-8 text"),
        (b"group,reward,reward\na,1,2\n", "the column 'reward' appears twice"),
        (b"group,reward,version\na,1,1.5\na,0,2\n", r"row 1: version is '1.5'; it must be a whole number"),
        ("group,reward\na,1\n".encode("utf-16"), "not UTF-8 text"),
        (b"group,reward\n", "no group is left"),
    ],
)
def test_a_broken_csv_row_is_named(tmp_path, content, message):
    path = tmp_path / "log.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        of(path)
    assert "log.csv" in str(caught.value)


def test_csv_cells_may_hold_line_ends(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text('prompt,reward\n"a\nb, ""c""",1\n"a\nb, ""c""",0\n', "utf-8")
    assert groups_of(path, group="prompt") == {'a\nb, "c"': [0.0, 1.0]}


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ({"reward": ["1", "0"]}, r"reward holds (large_)?string; it must hold numbers"),
        ({"version": [1.5, 2.0]}, "version must hold whole numbers"),
        ({"version": ["a", "b"]}, r"version is 'a'; it must be a whole number, or text that ends in one"),
        ({"log_prob": [b"1", b"2"]}, r"log_prob holds binary; it must hold numbers"),
        ({"group": [b"\xe9", b"\xe9"]}, r"group holds binary, and not all of it is UTF-8 text"),
    ],
)
def test_a_column_of_the_wrong_type_is_named(tmp_path, column, message):
    path = parquet(tmp_path / "log.parquet", pa.table({"group": ["a", "a"], "reward": [0.0, 1.0]} | column))
    with pytest.raises(ValueError, match=f"log.parquet: (.*){message}"):
        of(path)


def test_files_that_are_not_there_or_nobodys_are_told(tmp_path):
    with pytest.raises(ValueError, match=r"none.jsonl: there is no such file"):
        of(tmp_path / "none.jsonl")
    (tmp_path / "log.txt").write_text("x")
    with pytest.raises(ValueError, match=r"the suffix is '.txt'; it must be one of .jsonl"):
        of(tmp_path / "log.txt")
    with pytest.raises(ValueError, match=r"no .jsonl, .* file in it"):
        of(tmp_path)
    path = parquet(tmp_path / "log.parquet", log())
    with pytest.raises(ValueError, match="is given twice"):
        of([path, tmp_path / "." / "log.parquet"])


def test_files_with_different_columns_are_not_mixed(tmp_path):
    one = parquet(tmp_path / "a.parquet", log())
    other = parquet(tmp_path / "b.parquet", log(seed=1).drop_columns(["log_prob"]))
    with pytest.raises(ValueError, match="some files have log_prob and others do not; audit them apart"):
        of([one, other])


def test_rewards_that_an_objective_does_not_take_are_named(tmp_path):
    rows = [{"group": f"g{k // 2}", "reward": float(k)} for k in range(20)]
    rows[13]["reward"] = -1.0
    with pytest.raises(ValueError, match=r"log.jsonl, line 13: ls: reward\[.*\] is -1; logarithmic smoothing needs"):
        audit([json_lines(tmp_path / "log.jsonl", rows)], [ps.algorithm("ls")])


def test_nothing_is_left_behind_in_the_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    rows = log(groups=50)
    path = parquet(tmp_path / "log.parquet", rows.take(pa.array(np.random.default_rng(0).permutation(len(rows)))))
    assert of(path).groups == 50
    assert list((tmp_path / "temporary").iterdir()) == []


def test_strict_waits_for_rows_that_come_later(tmp_path, monkeypatch):
    """Sorted by sample, so that every group has one row in the first pieces: no fault, once all rows are read."""
    from pessimism.audit import files

    monkeypatch.setattr(files, "PIECE_ROWS", 12)
    rows = log(groups=12)
    by_sample = rows.take(pa.array(np.arange(48).reshape(12, 4).T.ravel()))
    assert of(parquet(tmp_path / "log.parquet", by_sample), strict=True).sizes == {4: 12}
    alone = pa.concat_tables([rows, rows.slice(0, 1).set_column(0, "group", pa.array(["alone"]))])
    with pytest.raises(ValueError, match="row 49, group 'alone': a single sample"):
        of(parquet(tmp_path / "alone.parquet", alone), strict=True)


def test_an_id_that_comes_back_at_a_later_step_is_no_larger_group(tmp_path):
    rows = [{"prompt": p, "reward": float(k), "step": s} for s in (1, 2) for p in "ab" for k in range(3)]
    path = json_lines(tmp_path / "log.jsonl", rows)
    with pytest.raises(ValueError, match=r"samples of several trainer steps \(if .* say --column group=step\+NAME"):
        of(path, columns={"group": "prompt"})
    assert of(path, columns={"group": "step+prompt"}).sizes == {3: 4}


@pytest.mark.parametrize(
    "columns", [["group", "reward"], ["group", "reward", "length"], ["group", "reward", "log_prob"]]
)
def test_a_file_that_is_a_copy_of_another_is_found_out(tmp_path, columns):
    rows = log(groups=40).select(columns)
    paths = [parquet(tmp_path / name, rows) for name in ("a.parquet", "b.parquet")]
    with pytest.raises(ValueError, match=r"no group is left; left out: 40, e.g. .*: the same rows more than once"):
        of(paths)


def test_a_column_that_names_no_groups_is_told(tmp_path, monkeypatch):
    from pessimism.audit import files, groups

    monkeypatch.setattr(groups, "LARGEST", 20)
    monkeypatch.setattr(files, "PIECE_ROWS", 12)
    rows = log(groups=12)
    for order in (np.arange(48), np.random.default_rng(0).permutation(48)):
        kinds = pa.array(["math", "code"]).take(pa.array(np.arange(48) // 24)).take(pa.array(order))
        path = parquet(tmp_path / "log.parquet", rows.set_column(0, "group", kinds))
        with pytest.raises(ValueError, match=r"group '(math|code)' has more than 20 samples; say what names a group"):
            of(path)


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv"])
def test_damaged_bytes_are_refused_in_one_line_or_read(tmp_path, suffix):
    """Bytes changed, cut off, lost or put in: never anything but an audit or one line that names the file."""
    random = np.random.default_rng(0)
    path = write(log(groups=30), tmp_path / f"log{suffix}")
    good = path.read_bytes()
    refused = 0
    for trial in range(40):
        content = bytearray(good)
        place = int(random.integers(len(content)))
        if trial % 4 == 0:
            content[place] = int(random.integers(256))
        elif trial % 4 == 1:
            del content[place:]
        elif trial % 4 == 2:
            del content[place : place + int(random.integers(1, 200))]
        else:
            content[place:place] = random.bytes(int(random.integers(1, 50)))
        path.write_bytes(content)
        told = refusal(path)
        refused += told is not None
        assert told is None or (told.startswith(str(path)) and "\n" not in told)
    assert refused > 20


def refusal(path: Path) -> str | None:
    try:
        of(path)
    except ValueError as error:
        return str(error)
    return None
