"""What the audit reads: every format and trainer's layout as it is, groups wherever their rows are."""

from __future__ import annotations

import json
import sqlite3
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from audit_logs import OAPL, expected, groups_of, json_lines, log, of, parquet, per_group, write
from pessimism.audit import files, lines
from pessimism.audit.fields import parse_columns
from pessimism.audit.files import open_sources
from pessimism.audit.groups import Scattered, whole_groups

# --- formats ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_every_format_gives_the_same_audit(tmp_path, suffix):
    rows = log()
    mine = of(write(rows, tmp_path / f"log{suffix}")).to_dict()
    reference = of(write(rows, tmp_path / "reference.parquet")).to_dict()
    for part in (mine, reference):
        del part["files"]
        for algorithm in part["algorithms"]:
            for row in algorithm["top"]:
                row["where"] = row["where"].split(" ")[-1]
    assert mine == reference


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
@pytest.mark.parametrize("rows_at_once", [1, 3, 7, 1000])
def test_groups_survive_the_pieces_that_files_are_read_in(tmp_path, suffix, rows_at_once, monkeypatch):
    monkeypatch.setattr(files, "PIECE_ROWS", rows_at_once)
    monkeypatch.setattr(lines, "BLOCK", 100 * rows_at_once)
    rows = log()
    path = write(rows, tmp_path / f"log{suffix}")
    found = per_group(path, OAPL)
    assert {name: sorted(group["reward"]) for name, group in found.items()} == expected(rows)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_compressed_json_lines_are_read(tmp_path, suffix):
    plain = write(log(), tmp_path / "log.jsonl")
    path = tmp_path / f"log.jsonl{suffix}"
    with pa.CompressedOutputStream(str(path), {".gz": "gzip", ".zst": "zstd"}[suffix]) as file:
        file.write(plain.read_bytes())
    assert groups_of(path) == groups_of(plain)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ValueError, match=r"log\.jsonl\.\w+: damaged or cut off|not JSON"):
        of(path)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_rewards_of_tokens_are_summed(tmp_path, suffix):
    rows = [{"group": "a", "reward": [0.0, 0.25, 0.5 * k]} for k in range(4)]
    assert groups_of(write(pa.Table.from_pylist(rows), tmp_path / f"log{suffix}")) == {"a": [0.25, 0.75, 1.25, 1.75]}
    rows[2]["reward"] = [0.0, None]
    with pytest.raises(ValueError, match=r"reward holds list\(float64\)"):
        of(write(pa.Table.from_pylist(rows), tmp_path / f"bad{suffix}"))


def test_a_group_may_begin_in_one_file_and_end_in_the_next(tmp_path):
    rows = log()
    parts = [rows.slice(0, 30), rows.slice(30, 1), rows.slice(31)]
    paths = [parquet(tmp_path / f"{index}.parquet", part) for index, part in enumerate(parts)]
    outcome = of(paths)
    assert (outcome.groups, outcome.sizes) == (40, {4: 40})
    whole = of(parquet(tmp_path / "whole.parquet", rows)).algorithms[0]
    assert outcome.algorithms[0].means == pytest.approx(whole.means, rel=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_rows_of_a_group_may_be_anywhere(tmp_path, seed):
    """Shuffled rows in three files: the same groups, by way of temporary files."""
    rows = log(groups=200, seed=seed)
    order = np.random.default_rng(seed).permutation(len(rows))
    parts = np.array_split(order, 3)
    paths = [parquet(tmp_path / f"{i}.parquet", rows.take(pa.array(part))) for i, part in enumerate(parts)]
    with pytest.raises(Scattered):
        list(whole_groups(piece for source in open_sources(paths, {}) for piece, _ in source.pieces(0)))
    mine, reference = of(paths), of(parquet(tmp_path / "sorted.parquet", rows))
    assert (mine.groups, mine.sizes, mine.silent) == (200, {4: 200}, reference.silent)
    assert mine.algorithms[0].regimes == reference.algorithms[0].regimes
    assert mine.algorithms[0].means == pytest.approx(reference.algorithms[0].means, rel=1e-12)
    ours, theirs = (part.algorithms[0].realized for part in (mine, reference))
    assert ours is not None
    assert theirs is not None
    assert ours["all samples"] == pytest.approx(theirs["all samples"], rel=1e-9)


def test_folders_are_read_in_natural_order(tmp_path):
    for step in (10, 9, 1):
        json_lines(tmp_path / f"{step}.jsonl", [{"group": f"{step}", "reward": r} for r in (0, 1)])
    (tmp_path / "notes.txt").write_text("no log")
    assert [source.path.name for source in open_sources([tmp_path], {})] == ["1.jsonl", "9.jsonl", "10.jsonl"]
    assert of(tmp_path).groups == 3


def test_columns_may_have_other_names_and_lie_deeper(tmp_path):
    rows = [
        {"where": {"step": s, "prompt": p}, "right": float(k > 0), "format": 1.0, "lp": [-1.0, -0.5 * k], "v": s}
        for s in range(3)
        for p in "ab"
        for k in range(3)
    ]
    path = json_lines(tmp_path / "log.jsonl", rows)
    columns = parse_columns(
        ["group=where.step+where.prompt", "reward=0.8*right+0.2*format", "log_prob=lp", "version=v"]
    )
    names = {f"{s} / {p}" for s in range(3) for p in "ab"}
    assert groups_of(path, "reward", **columns) == {name: pytest.approx([0.2, 1.0, 1.0]) for name in names}
    assert groups_of(path, "log_prob", **columns) == {name: [-2.0, -1.5, -1.0] for name in names}
    assert groups_of(path, "length", **columns) == {name: [2.0] * 3 for name in names}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("reward", "not of the form ROLE=COLUMN"),
        ("rewards=score", "unknown role 'rewards'; did you mean reward"),
        ("reward=scores", r"no column 'scores'; did you mean score\?"),
        ("group=step+prompts", "no column 'prompts'"),
    ],
)
def test_a_wrong_column_is_told_with_what_there_is(tmp_path, setting, message):
    path = json_lines(tmp_path / "log.jsonl", [{"group": "a", "score": 1, "step": 1, "prompt": "x"}] * 2)
    with pytest.raises(ValueError, match=message):
        of(path, columns=parse_columns([setting]))


def test_a_log_without_a_needed_column_says_how_to_name_it(tmp_path):
    path = json_lines(tmp_path / "log.jsonl", [{"group": "a", "score": 1}] * 2)
    with pytest.raises(ValueError, match=r"log.jsonl: no column 'reward' .*--column reward=NAME"):
        of(path)


# --- trainers' own files ----------------------------------------------------------------------------------------------


def trl_rows(step: int, prompts: list[Any], size: int, seed: int, **more: Any) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)
    return [
        {"step": step, "prompt": prompt, "completion": f"c{random.integers(1 << 30)}"}
        | {"right": float(random.random() < 0.5), **more, "advantage": float(random.normal())}
        for prompt in prompts
        for _ in range(size)
    ]


def test_trl_completions_as_they_are(tmp_path):
    """One file per logging step; a prompt drawn twice makes two groups; a batch logged twice counts once."""
    prompts = ["a", "b", "b", "a", "<b>c</b>"]
    first, second = trl_rows(1, prompts, 4, seed=1), trl_rows(3, ["a", "d"], 4, seed=2)
    again = [row | {"step": 2} for row in first]
    for step, rows in ((1, first), (2, again), (3, second)):
        parquet(tmp_path / f"completions_{step:05d}.parquet", pa.Table.from_pylist(rows))
    outcome = of(tmp_path)
    assert (outcome.groups, outcome.sizes) == (7, {4: 7})
    assert [file["repeats"] != "" for file in outcome.files] == [False, True, False]
    assert {file["layout"] for file in outcome.files} == {"TRL completions (1.16)"}
    found = groups_of(tmp_path / "completions_00001.parquet")
    rewards = np.reshape([row["right"] for row in first], (5, 4))
    assert sorted(found.values()) == sorted(sorted(row) for row in rewards.tolist())


@pytest.mark.parametrize("rows_at_once", [1, 5, 1000])
def test_trl_runs_survive_pieces(tmp_path, rows_at_once, monkeypatch):
    monkeypatch.setattr(files, "PIECE_ROWS", rows_at_once)
    path = parquet(tmp_path / "c.parquet", pa.Table.from_pylist(trl_rows(1, ["a", "a", "b", "c", "c", "c"], 6, seed=0)))
    assert of(path).sizes == {6: 6}


def test_trl_rows_that_were_shuffled_group_by_step_and_prompt(tmp_path):
    rows = pa.Table.from_pylist(trl_rows(1, ["a", "b", "c"], 5, seed=0))
    path = parquet(tmp_path / "c.parquet", rows.take(pa.array(np.random.default_rng(0).permutation(15))))
    assert of(path).sizes == {5: 3}


def test_trl_chats_group_by_their_messages(tmp_path):
    chats = [[{"role": "user", "content": text}] for text in ("2+2?", "3+3?")]
    path = parquet(tmp_path / "c.parquet", pa.Table.from_pylist(trl_rows(1, chats, 4, seed=0)))
    assert of(path).sizes == {4: 2}


def test_trl_with_several_rewards_asks_how_they_add_up(tmp_path):
    rows = trl_rows(1, ["a", "b"], 4, seed=0, short=-0.5)
    rows[0]["short"] = None  # a reward function that did not apply: TRL sums the others
    path = parquet(tmp_path / "c.parquet", pa.Table.from_pylist(rows))
    with pytest.raises(ValueError, match=r"right, short could each be rewards.*--column 'reward=right\+short'"):
        of(path)
    found = groups_of(path, reward="right+2*short")
    plain = np.array([row["right"] - 1 for row in rows])
    plain[0] += 1
    assert sorted(found.values()) == sorted(sorted(part) for part in plain.reshape(2, 4).tolist())


@pytest.mark.parametrize("extra", [{}, {"uid": "{q}ab-{step}_{k}_0"}], ids=["ray_trainer", "v1"])
def test_verl_rollout_dumps_as_they_are(tmp_path, extra):
    """Rows in any order, as its balancing over workers leaves them."""
    random = np.random.default_rng(0)
    truth: dict[str, list[float]] = {}
    for step in (1, 2):
        rows = []
        for q in range(5):
            for k in range(4):
                score = float(random.random() < 0.5)
                ids = {name: text.format(q=q, step=step, k=k) for name, text in extra.items()}
                row = {"input": f"q{q}", "output": "é", "gts": None, "score": score, "step": step, "acc": 1.0}
                rows.append(row | ids)
                key = f"{step} / {q}ab-{step}" if extra else f"{step} / q{q}"
                truth.setdefault(key, []).append(score)
        random.shuffle(rows)
        text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        (tmp_path / f"{step}.jsonl").write_text(text, "utf-8")
    outcome = of(tmp_path)
    assert {file["layout"] for file in outcome.files} == {"verl rollout dump (0.9)"}
    assert outcome.sizes == {4: 10}
    found = groups_of(tmp_path / "1.jsonl") | groups_of(tmp_path / "2.jsonl")
    assert found == {key: sorted(values) for key, values in truth.items()}


def episode(group: str, score: float, log_probs: list[float], **more: Any) -> dict[str, Any]:
    def trace(trainable: bool, score: float) -> dict[str, Any]:
        sampled = {"message": {"role": "assistant", "content": "4"}, "sampled": True, "mask": [False, True, True]}
        return {
            "agent": {"name": "solver", "trainable": trainable},
            "nodes": [
                {"message": {"role": "user", "content": "<i>2+2?</i>"}, "logprobs": [], "mask": [False]},
                sampled | {"logprobs": log_probs, "trainer_logprobs": [x - 0.1 for x in log_probs]},
                sampled | {"logprobs": log_probs, "trainer_logprobs": [x - 0.1 for x in log_probs]},
            ],
            "rewards": {"right": {"score": score, "weight": 1.0}, "format": {"score": 1.0, "weight": 0.1}},
            "ok": more.get("ok", True),
        }

    return {
        "id": "x",
        "env": {"id": "gsm8k"},
        "task": {"type": "T"},
        "group": {"id": group},
        "run": {"type": "train", "id": "r", "work": {"type": "train", "step": 5, "policy": {"start": 4, "end": 5}}},
        "ok": True,
        "traces": [trace(True, score), trace(False, 100.0)],
    }


def test_prime_rl_episodes_as_they_are(tmp_path):
    folder = tmp_path / "rollouts" / "step_7" / "train" / "effective"
    folder.mkdir(parents=True)
    rows = [episode(f"u{g}", float(k > g), [-0.5, -0.25 * (k + 1)]) for g in range(3) for k in range(4)]
    rows.append(episode("u0", 7.0, [-1.0], ok=False))  # failed: not trained on
    path = json_lines(folder / "traces.jsonl", rows)
    assert groups_of(path) == {
        f"u{g}": pytest.approx(sorted(0.1 + float(k > g) for k in range(4)), abs=1e-12) for g in range(3)
    }
    outcome = of(path)
    assert outcome.files[0]["layout"].startswith("prime-rl episodes")
    assert outcome.ranges["version"] == (4.0, 4.0)
    assert outcome.algorithms[0].by_lag[0]["from"] == 3
    # two messages of two tokens each: KL(mu | current) = 4 * 0.1
    assert outcome.quantiles["realized_kl"]["50%"] == pytest.approx(0.4)
    assert outcome.quantiles["length"]["50%"] == 4.0


def test_prime_rl_token_exports_are_refused_with_the_file_that_will_do(tmp_path):
    row = {"step": 1, "token_ids": [1], "loss_mask": [True], "inference_logprobs": [-1.0], "trainer_logprobs": [-1.0]}
    with pytest.raises(ValueError, match=r"neither rewards nor groups; audit rollouts/step_\*/train"):
        of(json_lines(tmp_path / "rank_0.jsonl", [row]))


def experience(batch: int, task: int, run: int, reward: float, version: int) -> dict[str, Any]:
    return {
        "eid": {"batch": batch, "task": task, "run": run, "step": 0, "suffix": "abc"},
        "type": "single_turn",
        "prompt_length": 5,
        "response_length": 3 + run,
        "info": {"model_version": version, "use_count": 0},
        "metrics": {},
        "prompt_text": "<b>",
        "reward": reward,
    }


def test_trinity_experiences_as_they_are(tmp_path):
    rows = [experience(b, t, r, float(r > t), b // 2) for b in range(3) for t in range(2) for r in range(4)]
    found = groups_of(json_lines(tmp_path / "explorer_output.jsonl", rows))
    assert found == {f"{b} / {t}": sorted(float(r > t) for r in range(4)) for b in range(3) for t in range(2)}
    outcome = of(tmp_path / "explorer_output.jsonl")
    assert outcome.ranges["version"] == (0.0, 1.0)
    assert outcome.quantiles["length"]["50%"] == 4.5


def database(path: Path, rows: list[tuple[str, int, float, bytes]]) -> Path:
    with sqlite3.connect(path) as connection:
        connection.execute(
            "create table pipeline_input_meta (id integer primary key, timestamp text, task_id text, run_id integer, "
            "msg_id text, model_version integer, reward float, consumed integer)"
        )
        connection.execute("create table pipeline_input_blob (id integer primary key, experience_bytes blob)")
        for index, (task, version, reward, blob) in enumerate(rows, start=1):
            values = (index, None, task, 0, "x", version, reward, 0)
            connection.execute("insert into pipeline_input_meta values (?, ?, ?, ?, ?, ?, ?, ?)", values)
            connection.execute("insert into pipeline_input_blob values (?, ?)", (index, blob))
    connection.close()
    return path


def serialized(log_probs: list[float], mask: list[bool] | None = None) -> bytes:
    save = pytest.importorskip("safetensors.numpy").save
    masks = {} if mask is None else {"0:action_mask": np.array(mask)}
    tensors = save({"0:tokens": np.arange(9), "0:logprobs": np.array(log_probs, np.float32)} | masks)
    pickle = b"\x80\x05never loaded"
    return b"TRXP\x01" + struct.pack("<QQ", len(pickle), len(tensors)) + pickle + tensors


def test_trinity_database_as_it_is(tmp_path):
    """Task numbers begin anew in every batch: a group is a run of one task."""
    rows = [
        (str(task), 0, float(run > task), serialized([-0.5, -0.25 * run]))
        for _ in range(2)
        for task in range(2)
        for run in range(4)
    ]
    path = database(tmp_path / "explorer_output.db", rows)
    assert list(groups_of(path, "log_prob").values()) == [[-1.25, -1.0, -0.75, -0.5]] * 4
    assert list(groups_of(path, "length").values()) == [[2.0] * 4] * 4
    assert sorted(groups_of(path).values()) == [[0, 0, 1, 1]] * 2 + [[0, 1, 1, 1]] * 2


def test_trinity_tokens_of_the_environment_do_not_count(tmp_path):
    rows = [("0", 0, float(k), serialized([-0.5, -9.0, -0.25], [True, False, True])) for k in range(2)]
    path = database(tmp_path / "explorer_output.db", rows)
    assert groups_of(path, "log_prob") == {"0/0/1": [-0.75, -0.75]}
    assert groups_of(path, "length") == {"0/0/1": [2.0, 2.0]}
    rows = [("0", 0, float(k), serialized([-0.5, -9.0, -0.25], [True])) for k in range(2)]
    with pytest.raises(ValueError, match="row 1: its experience is damaged"):
        of(database(tmp_path / "b.db", rows))


def test_a_damaged_experience_or_another_database_is_told(tmp_path):
    good = serialized([-0.5])
    path = database(tmp_path / "a.db", [("0", 0, 1.0, good), ("0", 0, 0.0, good[:-20])])
    with pytest.raises(ValueError, match=r"a.db, row 2: its experience is damaged"):
        of(path)
    sqlite3.connect(tmp_path / "b.db").execute("create table t (x)").connection.close()
    with pytest.raises(ValueError, match=r"b.db: not a Trinity-RFT experience database.*tables are t"):
        of(tmp_path / "b.db")
    (tmp_path / "c.db").write_bytes(b"x" * 500)
    with pytest.raises(ValueError, match=r"c.db: not a Trinity-RFT experience database"):
        of(tmp_path / "c.db")


def test_the_buffer_of_llm_is_read_as_it_is(tmp_path):
    pytest.importorskip("torch")
    from llm.run.buffer import Buffer
    from llm.samples import Completion, Group, Prompt

    random = np.random.default_rng(0)
    groups = [
        Group(
            Prompt(f"p{index}", "<b>2+2</b>", {}),
            (1, 2),
            tuple(Completion(np.arange(3), -random.random(3).astype(np.float32), True) for _ in range(4)),
            (random.random(4) < 0.5).astype(float),
            version=6,
            batch=0,
        )
        for index in range(5)
    ]
    buffer = Buffer(tmp_path)
    buffer.append(groups)
    outcome = of(tmp_path)
    assert (outcome.sizes, outcome.ranges["version"]) == ({4: 5}, (6.0, 6.0))
    for index, group in enumerate(groups):
        sums = [completion.log_probs.sum(dtype=np.float64) for completion in group.completions]
        assert groups_of(buffer.path(0), "log_prob")[f"0/{index}"] == pytest.approx(sorted(sums))


def test_columns_may_begin_after_the_first_line(tmp_path):
    rows = [{"group": "a", "reward": float(k), "log_prob": -1.0 - k} for k in range(4)]
    rows[0] = {"group": "a", "reward": None}
    path = json_lines(tmp_path / "log.jsonl", [*rows, *({**row, "group": "b"} for row in rows[1:])])
    outcome = of(path)
    assert outcome.groups == 1
    assert outcome.skipped["reward missing or not finite"]["rows"] == 4
