"""Logs in the forms that people have: masks of tokens, nested log-probabilities, arrays, lists of samples, text."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from audit_logs import groups_of, json_lines, of, parquet
from pessimism.audit.fields import MASKS, parse_columns
from pessimism.audit.standard_input import with_standard_input

ENVIRONMENT = -9.0


def masked_rows(name: str = "loss_mask", kind: type = int, seed: int = 0) -> list[dict[str, Any]]:
    """Two groups of four completions, the environment's tokens among the policy's."""
    random, rows = np.random.default_rng(seed), []
    for group in range(2):
        for sample in range(4):
            own = random.random(6) < 0.6
            log_prob = np.where(own, -random.random(6), ENVIRONMENT)
            row = {"group": f"g{group}", "reward": float(sample % 2), "log_prob": log_prob.tolist()}
            row |= {"current_log_prob": np.where(own, log_prob - 0.1, ENVIRONMENT / 2).tolist()}
            rows.append(row | {name: [kind(value) for value in own]})
    return rows


def sums(rows: list[dict[str, Any]], column: str, name: str = "loss_mask") -> dict[str, Any]:
    """A plain loop: the sum over the tokens of the policy, by group."""
    found: dict[str, list[float]] = {}
    for row in rows:
        total = sum(value for value, own in zip(row[column], row[name], strict=True) if own)
        found.setdefault(row["group"], []).append(total)
    return {group: pytest.approx(sorted(values)) for group, values in found.items()}


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
@pytest.mark.parametrize(
    ("name", "kind"), [*((name, int) for name in MASKS), ("loss_mask", bool), ("loss_mask", float)]
)
def test_tokens_that_the_environment_wrote_never_count(tmp_path, name, kind, suffix):
    rows = masked_rows(name, kind)
    path = tmp_path / f"log{suffix}"
    path = json_lines(path, rows) if suffix == ".jsonl" else parquet(path, pa.Table.from_pylist(rows))
    for column in ("log_prob", "current_log_prob"):
        assert groups_of(path, column) == sums(rows, column, name)
    own = {
        f"g{group}": sorted(float(sum(row[name])) for row in rows if row["group"] == f"g{group}") for group in (0, 1)
    }
    assert groups_of(path, "length") == own


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), noise=st.floats(-50.0, 0.0))
def test_what_is_masked_changes_nothing(tmp_path_factory, seed, noise):
    """Whatever stands at the environment's tokens, missing and impossible values included."""
    rows = masked_rows(seed=seed)
    folder = tmp_path_factory.mktemp("log")
    found = groups_of(json_lines(folder / "a.jsonl", rows), "log_prob")
    for fill in (noise, 5.0, None):
        other = [
            row | {"log_prob": [x if m else fill for x, m in zip(row["log_prob"], row["loss_mask"], strict=True)]}
            for row in rows
        ]
        assert groups_of(json_lines(folder / "b.jsonl", other), "log_prob") == found


def test_a_token_counts_where_every_mask_says_so(tmp_path):
    rows = [{"group": "a", "reward": float(k), "log_prob": [-1.0, -2.0, -4.0]} for k in range(2)]
    both = [row | {"completion_mask": [1, 1, 0], "tool_mask": [0, 1, 1]} for row in rows]
    path = json_lines(tmp_path / "log.jsonl", both)
    assert groups_of(path, "log_prob") == {"a": [-2.0, -2.0]}
    assert groups_of(path, "log_prob", mask="tool_mask") == {"a": [-6.0, -6.0]}
    assert groups_of(path, "log_prob", mask="tool_mask+completion_mask") == {"a": [-2.0, -2.0]}


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ([0, 1], "loss_mask has 2 values and log_prob 3 at 2; a mask needs one for every log-probability"),
        ([0, 1, 2], "loss_mask holds 2; a mask holds 0 and 1"),
        ([0, 1, None], "loss_mask holds nan"),
        (None, "loss_mask has 0 values"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(tmp_path, mask, message):
    rows = [{"group": "a", "reward": float(k), "log_prob": [-1.0] * 3, "loss_mask": [1, 1, 0]} for k in range(3)]
    rows[1]["loss_mask"] = mask
    with pytest.raises(ValueError, match=message):
        of(json_lines(tmp_path / "log.jsonl", rows))


def test_lists_of_different_lengths_make_no_pairs(tmp_path):
    rows = masked_rows()
    rows[2]["current_log_prob"] = rows[2]["current_log_prob"][:-1]
    for row in rows:
        del row["loss_mask"]
    outcome = of(json_lines(tmp_path / "log.jsonl", rows))
    assert outcome.groups == 1
    assert list(outcome.skipped) == ["as many behavior as current log-probabilities are needed, one pair per token"]


NESTED = (
    lambda values: {"content": [{"token": "a", "logprob": value, "bytes": [97]} for value in values]},
    lambda values: {"tokens": ["a"] * len(values), "token_logprobs": values},
    lambda values: [{"logprob": value, "rank": 1, "decoded_token": "a"} for value in values],
)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".json"])
@pytest.mark.parametrize("form", NESTED)
def test_log_probabilities_as_engines_give_them(tmp_path, form, suffix):
    values = [[-0.5, -0.25 * k] for k in range(4)]
    rows = [{"group": "a", "reward": float(k > 1), "log_prob": form(row)} for k, row in enumerate(values)]
    path = tmp_path / f"log{suffix}"
    if suffix == ".parquet":
        parquet(path, pa.Table.from_pylist(rows))
    else:
        path.write_text(json.dumps(rows) if suffix == ".json" else "".join(json.dumps(r) + "\n" for r in rows))
    assert groups_of(path, "log_prob") == {"a": sorted(map(sum, values))}
    assert groups_of(path, "length") == {"a": [2.0] * 4}


ROWS = [{"group": f"g{k // 4}", "reward": float(k % 3 == 0), "text": "é\n"} for k in range(12)]
DOCUMENTS = {
    "array": json.dumps(ROWS),
    "pretty array": json.dumps(ROWS, indent=1),
    "W&B table": json.dumps({"columns": list(ROWS[0]), "data": [list(row.values()) for row in ROWS], "nrows": 12}),
    "records under data": json.dumps({"data": ROWS}, indent=2),
    "a list for each column": json.dumps({name: [row[name] for row in ROWS] for name in ROWS[0]}, indent=2),
    "the same on one line": json.dumps({name: [row[name] for row in ROWS] for name in ROWS[0]}) + "\n",
    "byte order mark": "\ufeff" + json.dumps(ROWS),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("text", DOCUMENTS.values(), ids=DOCUMENTS)
def test_json_documents_hold_the_rows_of_json_lines(tmp_path, text, packed):
    path = tmp_path / ("log.jsonl.gz" if packed else "log.json")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    assert groups_of(path) == groups_of(json_lines(tmp_path / "plain.jsonl", ROWS))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"group": "a", "reward": 1}, {"group"', "not JSON at character"),
        ("[1, 2]", "line 1: a JSON int; every line must be an object"),
        ('{"columns": ["group", "reward"], "data": [["a", 1], ["a"]]}', r'row 2: 2 columns, but \["a"\]'),
        ('[{"group": "a", "reward": 1, "reward": 0}]', "the key 'reward' twice"),
        ("[]", "no line with anything in it"),
    ],
)
def test_a_broken_document_is_told(tmp_path, text, message):
    path = tmp_path / "log.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        of(path)


def test_a_prompt_names_a_group_where_nothing_else_does(tmp_path):
    chats = [[{"role": "user", "content": text}] for text in ("2+2?", "3+3?")]
    rows = [{"prompt": chat, "reward": float(k)} for chat in chats for k in range(2)]
    assert of(json_lines(tmp_path / "chat.jsonl", rows)).sizes == {2: 2}
    assert of(parquet(tmp_path / "chat.parquet", pa.Table.from_pylist(rows))).sizes == {2: 2}
    again = [row | {"step": step} for step in (1, 2) for row in rows]
    assert of(json_lines(tmp_path / "steps.jsonl", again)).sizes == {2: 4}


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_row_of_lists_is_a_row_per_sample(tmp_path, suffix):
    rows = [
        {"step": [str(step)] * 4, "prompt": [prompt] * 4, "completion": list("abcd"), "advantages": [0.0] * 4}
        | {"right": [0.0, 1.0, float(step), 0.0]}
        for step in (1, 2)
        for prompt in ("x", "y")
    ]
    path = tmp_path / f"completions{suffix}"
    path = json_lines(path, rows) if suffix == ".jsonl" else parquet(path, pa.Table.from_pylist(rows))
    outcome = of(path)
    assert (outcome.sizes, outcome.files[0]["layout"]) == ({4: 4}, "ms-swift completions")
    assert sorted(groups_of(path).values()) == sorted(sorted(row["right"]) for row in rows)
    rows[2]["right"] = [1.0]
    with pytest.raises(ValueError, match=r"at 3: .* has 4 values and right 1"):
        of(json_lines(tmp_path / "broken.jsonl", rows))


def test_a_row_per_group_is_read_where_its_columns_are_marked(tmp_path):
    rows = [{"prompt": p, "scores": [0.0, 1.0, 1.0], "lp": [[-1.0, -2.0], [-1.0], [-3.0]]} for p in "ab"]
    path = json_lines(tmp_path / "log.jsonl", rows)
    columns = parse_columns(["reward=scores[]", "log_prob=lp[]"])
    assert groups_of(path, **columns) == {p: [0.0, 1.0, 1.0] for p in "ab"}
    assert groups_of(path, "log_prob", **columns) == {p: [-3.0, -3.0, -1.0] for p in "ab"}
    with pytest.raises(ValueError, match="a single sample"):
        of(path, columns={"reward": "scores"})


def test_slime_samples_as_they_are(tmp_path):
    """Versions are text, one for every stretch of the completion; the oldest is what its lag counts from."""
    random = np.random.default_rng(0)
    rows = [
        {"group_index": k // 4, "index": k, "prompt": "p", "response_length": 3, "reward": int(random.random() < 0.5)}
        | {"loss_mask": [1, 0, 1], "weight_versions": ["4", "5"], "rollout_log_probs": [-1.0, ENVIRONMENT, -0.5]}
        for k in range(8)
    ]
    path = json_lines(tmp_path / "rollout.jsonl", rows)
    outcome = of(path)
    assert (outcome.sizes, outcome.ranges["version"]) == ({4: 2}, (4.0, 4.0))
    assert groups_of(path, "log_prob") == {"0": [-1.5] * 4, "1": [-1.5] * 4}
    for row in rows:
        row["weight_versions"] = []
    assert "version" not in of(json_lines(path, rows)).ranges
    fewer = [{key: value for key, value in row.items() if key != "rollout_log_probs"} for row in rows]
    assert of(json_lines(path, fewer)).sizes == {4: 2}


def test_other_frameworks_files_as_they_are(tmp_path):
    shared = {"seqlen": 9, "prompt_len": 4, "tail_version": 3, "version_rle": [[2, 1], [3, 4]], "prompt": "p"}
    areal = [
        shared
        | {"task_id": str(k // 4), "sample_idx": k % 4, "head_version": 2, "reward": float(k % 2), "completion": "c"}
        for k in range(8)
    ]
    outcome = of(json_lines(tmp_path / "areal.jsonl", areal))
    assert (outcome.sizes, outcome.ranges["version"], outcome.files[0]["layout"]) == (
        {4: 2},
        (2.0, 2.0),
        "AReaL trajectories",
    )
    verl = [{"input": "q", "output": "o", "score": float(k % 2), "step": k // 4} for k in range(8)]
    assert of(json_lines(tmp_path / "1.jsonl", verl)).files[0]["layout"] == "verl rollout dump (to 0.4, and forks)"


@pytest.mark.parametrize(
    ("versions", "expected"),
    [(["3", "v3", "step_3"], 3.0), ([[-1, 3, 4], [3], [5, 3]], 3.0), (["-3", "-3", "-3"], -3.0)],
)
def test_versions_may_be_text_or_one_per_token(tmp_path, versions, expected):
    rows = [{"group": "a", "reward": float(k), "version": version} for k, version in enumerate(versions)]
    for path in (json_lines(tmp_path / "a.jsonl", rows), parquet(tmp_path / "a.parquet", pa.Table.from_pylist(rows))):
        assert of(path).ranges["version"] == (expected, expected)


def test_a_reward_that_is_an_object_asks_for_its_field(tmp_path):
    rows = [{"group": "a", "reward": {"score": float(k), "acc": 0.0}} for k in range(2)]
    with pytest.raises(ValueError, match=r"reward .*--column.*reward\.score"):
        of(json_lines(tmp_path / "a.jsonl", rows))
    with pytest.raises(ValueError, match=r"reward holds objects with score, acc; .*--column reward=reward\.NAME"):
        of(parquet(tmp_path / "a.parquet", pa.Table.from_pylist(rows)))
    assert groups_of(tmp_path / "a.jsonl", reward="reward.score") == {"a": [0.0, 1.0]}


# --- data frames, Arrow, folders ------------------------------------------------------------------------------------


def sentence(log: Any, **options: Any) -> str:
    import pessimism as ps

    return ps.audit(log, "oapl:beta1=1,beta2=0.5", **options).algorithms[0].sentence


def test_frames_of_every_kind_give_what_the_file_gives(tmp_path):
    import polars as pl

    pandas = pytest.importorskip("pandas")
    path = parquet(tmp_path / "log.parquet", pa.Table.from_pylist(ROWS))
    expected = sentence(path)
    frame = pl.DataFrame(ROWS)
    for log in (ROWS, frame, frame.lazy(), pandas.DataFrame(ROWS), pa.Table.from_pylist(ROWS), [frame[:8], frame[8:]]):
        assert sentence(log) == expected
    assert sentence({name: [row[name] for row in ROWS] for name in ROWS[0]}) == expected
    assert sentence(frame.rename({"reward": "score"}), columns={"reward": "score"}) == expected


@pytest.mark.parametrize(
    ("log", "message"),
    [
        ([], "data frame: is empty|give one"),
        ([{"group": "a"}], "data frame: no column 'reward'"),
        (3, "log is of type int; give a path"),
        ([{"group": "a", "reward": "x"}], "data frame: reward holds string"),
    ],
)
def test_frames_that_are_no_logs_are_told(log, message):
    with pytest.raises(ValueError, match=message):
        sentence(log)


@pytest.mark.parametrize("stream", [False, True])
def test_arrow_files_are_read(tmp_path, stream):
    table, path = pa.Table.from_pylist(ROWS), tmp_path / "data-00000-of-00001.arrow"
    new = pa.ipc.new_stream if stream else pa.ipc.new_file
    with new(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=5)
    (tmp_path / "state.json").write_text("{}")
    assert groups_of(path) == groups_of(json_lines(tmp_path.parent / "plain.jsonl", ROWS))
    assert sentence(tmp_path) == sentence(ROWS)
    path.write_bytes(path.read_bytes()[:90])
    with pytest.raises(ValueError, match=r"Arrow|damaged"):
        of(path)


def test_folders_are_read_with_the_folders_in_them(tmp_path):
    for step in (10, 9):
        folder = tmp_path / f"step_{step}" / "rollouts"
        folder.mkdir(parents=True)
        json_lines(folder / "log.jsonl", [{"group": f"{step}", "reward": r} for r in (0, 1)])
    (tmp_path / ".cache").mkdir()
    (tmp_path / ".cache" / "log.jsonl").write_text("no log")
    assert of(tmp_path).groups == 2
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "weights.safetensors").write_text("x")
    with pytest.raises(ValueError, match=r"no .*file in it \(but \.safetensors\)"):
        of(tmp_path / "empty")


def test_a_pickle_is_refused_with_what_to_do(tmp_path):
    path = tmp_path / "rollout.pkl"
    path.write_bytes(b"x")
    with pytest.raises(ValueError, match="runs code when it is read"):
        of(path)


SLIME = [
    {"group_index": group, "index": 4 * group + i, "reward": float(i > group), "response_length": 2,
     "rollout_log_probs": torch.tensor([-0.5, -0.25 * i]), "tokens": [1, 2], "status": "completed", "metadata": {}}
    for group in range(2) for i in range(4)
]  # fmt: skip


@pytest.mark.parametrize(
    "wrapped",
    [
        SLIME,
        {"rollout_id": 3, "samples": SLIME},
        {"group": [row["group_index"] for row in SLIME], "reward": [row["reward"] for row in SLIME]},
        {"group": torch.arange(8) // 4, "reward": torch.tensor([row["reward"] for row in SLIME])},
    ],
)
def test_what_torch_saved_is_read_as_the_records_that_it_holds(tmp_path, wrapped):
    path = tmp_path / "rollout_3.pt"
    torch.save(wrapped, path)
    plain = [{"group": f"{row['group_index']}", "reward": row["reward"]} for row in SLIME]
    assert sentence(path) == sentence(plain)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"rollout_3\.pt: .*damaged or cut off"):
        of(path)


class Runs:
    """What a pickle can do to whoever loads it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_no_file_of_torch_runs_code_or_fills_memory(tmp_path):
    path, mark = tmp_path / "a.pt", tmp_path / "owned"
    repeated: list[object] = [1.0] * 64
    for _ in range(8):
        repeated = [repeated] * 64
    for content, message in (
        ([{"group": 1, "reward": Runs(mark)}], "would run code"),
        (repeated, "more than 33,554,432 values"),
        ([{"group": 1, "reward": torch.zeros(1).expand(1 << 40)}], "more than 33,554,432 values"),
        ({"weight": torch.zeros(2, 2), "step": 3}, "no list of records|one length|group"),
        (3, "no list of records in it, but a int"),
        ([], "no list of records"),
    ):
        torch.save(content, path)
        with pytest.raises(ValueError, match=message):
            of(path)
    assert not mark.exists()


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".csv", ".parquet", ".jsonl.gz"])
def test_standard_input_is_read_as_what_it_is(tmp_path, suffix):
    text = json.dumps(ROWS) if suffix == ".json" else "".join(json.dumps(row) + "\n" for row in ROWS)
    if suffix == ".parquet":
        data = parquet(tmp_path / "a.parquet", pa.Table.from_pylist(ROWS)).read_bytes()
    elif suffix == ".csv":
        data = "".join(["group,reward\n", *(f"{row['group']},{row['reward']}\n" for row in ROWS)]).encode()
    else:
        data = gzip.compress(text.encode()) if suffix.endswith(".gz") else text.encode()
    with with_standard_input(["-"], io.BytesIO(data)) as logs:
        assert sentence(logs) == sentence(ROWS)
    assert not Path(logs[0]).exists()
    for names, message in ((["-", "-"], "once"), (["-"], "nothing on standard input")):
        with pytest.raises(ValueError, match=message), with_standard_input(names, io.BytesIO(b"")):
            pass
