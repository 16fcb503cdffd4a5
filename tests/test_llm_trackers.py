"""W&B and trackio themselves, which live in ``.venv-peers``: what they have written down is what a run told them."""

from __future__ import annotations

import importlib
import json
import math
import sqlite3
import struct

import pytest

from llm.run.watch import Watcher, trackers
from llm_configs import described


class Unseen:
    def update(self, step, numbers, timing):
        pass


def watched(folder, config):
    """Three steps, one number of which is not finite."""
    with Watcher(folder, Unseen(), trackers(config, folder)) as watcher:
        for step in (1, 2, 3):
            watcher.record(step, {"reward/mean": step / 8, "gradient/norm": math.nan}, {"time/sync": 0.25})


BLOCK, FILE_HEADER, HEADER = 2**15, 7, struct.Struct("<IHB")


def records(content):
    """Of a log in LevelDB's format: a record is one part, or a first, middle ones and a last; no header is split."""
    place, parts = FILE_HEADER, b""
    while place + HEADER.size <= len(content):
        if BLOCK - place % BLOCK < HEADER.size:
            place += BLOCK - place % BLOCK
        _, length, kind = HEADER.unpack_from(content, place)
        place += HEADER.size + length
        parts += content[place - length : place]
        if kind in (1, 4):
            yield parts
            parts = b""


def test_trackio_holds_every_finite_number_and_the_configuration(tmp_path, monkeypatch):
    pytest.importorskip("trackio", reason="trackio is in .venv-peers")
    sqlite_storage = importlib.import_module("trackio.sqlite_storage")
    monkeypatch.setattr(sqlite_storage, "TRACKIO_DIR", tmp_path / "trackio")
    watched(tmp_path, described(name="tracked", watch={"trackio": "project"}))
    (database,) = tmp_path.rglob("project.db")
    with sqlite3.connect(database) as connection:
        metrics = connection.execute("select run_name, step, metrics from metrics order by step").fetchall()
        ((configuration,),) = connection.execute("select config from configs").fetchall()
    expected = [("tracked", step, {"reward/mean": step / 8, "time/sync": 0.25}) for step in (1, 2, 3)]
    assert [(name, step, json.loads(numbers)) for name, step, numbers in metrics] == expected
    assert json.loads(configuration)["lag"]["sync_every"] == 10


@pytest.fixture
def wandb():
    """The library, without what it keeps of an environment it has seen."""
    library = pytest.importorskip("wandb", reason="wandb is in .venv-peers")
    library.teardown()
    yield library
    library.teardown()


def test_wandb_offline_holds_every_finite_number_and_the_configuration(tmp_path, monkeypatch, wandb):
    wandb_internal_pb2 = importlib.import_module("wandb.proto.wandb_internal_pb2")
    monkeypatch.setenv("WANDB_MODE", "offline")
    watched(tmp_path, described(name="tracked", watch={"wandb": "project"}))
    (file,) = tmp_path.rglob("*.wandb")
    told, configuration = [], {}
    for content in records(file.read_bytes()):
        record = wandb_internal_pb2.Record.FromString(content)
        items = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        if items:
            told.append((items["_step"], {name: items[name] for name in items if not name.startswith("_")}))
        configuration |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
    assert told == [(step, {"reward/mean": step / 8, "time/sync": 0.25}) for step in (1, 2, 3)]
    assert configuration["lag"]["sync_every"] == 10


@pytest.mark.parametrize(("project", "reason"), [("a/b", "Invalid project name"), ("project", "No API key configured")])
def test_wandb_that_does_not_start_says_why_in_one_line(tmp_path, monkeypatch, wandb, project, reason):
    for name in ("WANDB_API_KEY", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with pytest.raises(ValueError, match=rf"^watch\.wandb: .*({reason}).*$") as caught:
        trackers(described(watch={"wandb": project}), tmp_path)
    assert "\n" not in str(caught.value)
