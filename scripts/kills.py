"""SIGKILL at random moments: what a run on two ranks and two servers writes, however often it is killed and begun anew.

python -m scripts.kills RUNS        until there are RUNS trials of each kind; interrupted, the same command goes on
python -m scripts.kills RUNS KIND   of one kind only
python -m scripts.kills             only rewrite the table of docs/training_on_many_gpus.md
python -m scripts.kills --check     change nothing; status 1 if the table is out of date

A trial holds when metrics.jsonl is byte for byte that of one process that nobody stops, and the buffer has the same
rows, each once. Servers are the tests' (tests/completion_server.py), not vLLM's. ``launcher`` kills torchrun itself.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from .documents import ROOT, grid, refresh

RESULTS = ROOT / "paper_figures" / "data" / "kills.jsonl"
PAGE = ROOT / "docs" / "training_on_many_gpus.md"
STEPS = 6
MOST = 3
"""Kills in one trial, at most."""

AFTER = 20.0
"""Seconds that a rank has to end by itself when another was killed."""

PATIENCE = 300.0
"""Seconds after which a trial is given up, and counted as failed."""


def described(model: Path, weights: Path | None = None, servers: Path | None = None) -> dict[str, Any]:
    """Two groups and a coupled objective: one process has the passes of two ranks, one group each."""
    rollout: dict[str, Any] = {"prompts": 2, "group_size": 4, "max_tokens": 17, "timeout": 60.0}
    if weights is None:
        rollout |= {"engine": "transformers", "place": "colocated", "options": {"batch_size": 1}}
    else:
        rollout |= {"servers": str(servers), "weights": str(weights)}
    return {
        "name": "kills",
        "steps": STEPS,
        "checkpoint_every": 2,
        "deterministic": True,
        "model": {"path": str(model)},
        "task": {"name": "countdown24", "soft_limit": 16},  # rewards that differ, whatever the answers are
        "objective": {"algorithm": "pairwise_regression"},
        "rollout": rollout,
        "lag": {"sync_every": 3},
        "optimizer": {"learning_rate": 3e-3, "tokens_per_pass": 110},
        "evaluation": {"every": 4, "prompts": 3, "samples": 2},
    }


# --- what runs in processes of its own --------------------------------------------------------------------------------


class _Paced:
    """A screen that holds the run up for a moment, so that more moments are between steps than inside them."""

    def update(self, step: int, numbers: Any, timing: Any) -> None:
        time.sleep(0.05)


def rank(table: dict[str, Any], folder: Path) -> None:
    """What `python -m llm train` does on a rank."""
    from llm.config import Config
    from llm.run.follow import follow
    from llm.run.train import opened, train
    from llm.run.watch import Watcher
    from llm.update.ranks import joined

    config = Config.model_validate(table)
    with joined() as ranks:
        if not ranks.leads:
            follow(config, ranks)
            return
        with opened(folder), Watcher(folder, _Paced()) as watcher:
            train(config, folder, watcher, ranks)


def serve(model: Path, port: int) -> None:
    """A server, until it is killed."""
    from tests.completion_server import CompletionServer

    CompletionServer(str(model), port)
    while True:
        time.sleep(60)


def make_model(folder: Path) -> None:
    """One layer, random weights."""
    from llm import tasks
    from llm.update.models import build_model, build_tokenizer

    symbols = tasks.load("countdown24", {}).symbols
    assert symbols is not None
    tokenizer = build_tokenizer(symbols)
    build_model(tokenizer, width=32, layers=1, heads=1).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


# --- a trial ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stage:
    """What all trials of a call share.

    Attributes:
        model: its folder.
        metrics: bytes of metrics.jsonl of the run that nobody stopped.
        rows: of its buffer.
        seconds: that a run on two ranks takes.
    """

    model: Path
    metrics: bytes
    rows: pl.DataFrame
    seconds: float


def started(function: Callable[..., None], size: int, *arguments: Any) -> Sequence[Any]:
    """Processes forked from one that has imported everything once, as the tests start ranks."""
    from tests import ranks_start

    return ranks_start.started(function, size, *arguments)


@contextmanager
def served(model: Path, listed: Path, count: int) -> Iterator[list[Any]]:
    """Some servers, listed in a file; each entry of what is given is [process, port]."""
    from tests.ranks_start import free_port

    servers = [[None, free_port()] for _ in range(count)]
    try:
        for server in servers:
            (server[0],) = started(serve, 1, model, server[1])
        listed.write_text("".join(f"http://127.0.0.1:{port}\n" for _, port in servers))
        yield servers
    finally:
        for process, _ in servers:
            process.kill()
            process.join()


def rows(folder: Path) -> pl.DataFrame:
    """Every row of a run's buffer, without the batches that were set aside."""
    return pl.concat([pl.read_parquet(path) for path in sorted((folder / "buffer").glob("batch-??????.parquet"))])


def held(stage: Stage, folder: Path) -> bool:
    """Whether a finished run wrote what the undisturbed one did, every row of the buffer once."""
    found = rows(folder)
    keys = found.select("batch", "group", "sample")
    return (
        (folder / "metrics.jsonl").read_bytes() == stage.metrics
        and keys.unique().height == keys.height
        and found.equals(stage.rows)
    )


def until_done(ranks: Sequence[Any], after: float, victim: Any) -> bool:
    """Kill one of some processes after so many seconds, if they have not ended; whether it was killed."""
    began = time.monotonic()
    while time.monotonic() - began < after:
        if all(not one.is_alive() for one in ranks):
            return False
        time.sleep(0.005)
    if not victim.is_alive():
        return False
    os.kill(victim.pid, signal.SIGKILL)
    return True


def ended(ranks: Sequence[Any], patience: float = PATIENCE) -> bool:
    """Wait for ranks, and kill what has not ended then, as torchrun does; whether all ended well."""
    limit = time.monotonic() + patience
    for one in ranks:
        one.join(max(0.0, limit - time.monotonic()))
    well = [one.exitcode for one in ranks] == [0] * len(ranks)
    for one in ranks:
        one.kill()
        one.join()
    return well


def of_rank(number: int) -> Callable[[Stage, Path, random.Random], tuple[int, int, bool]]:
    """Trials that kill one of two ranks, again and again, and start both anew each time."""

    def trial(stage: Stage, folder: Path, chance: random.Random) -> tuple[int, int, bool]:
        kills = starts = 0
        with served(stage.model, folder / "servers", 2):
            table = described(stage.model, folder / "weights", folder / "servers")
            while True:
                starts += 1
                ranks = started(rank, 2, table, folder / "run")
                struck = kills < MOST and until_done(ranks, chance.uniform(0, stage.seconds), ranks[number])
                well = ended(ranks, AFTER if struck else PATIENCE)
                kills += ranks[number].exitcode == -signal.SIGKILL
                if well:
                    return kills, starts, held(stage, folder / "run")
                if starts > 2 * MOST:
                    return kills, starts, False

    return trial


def of_server(number: int) -> Callable[[Stage, Path, random.Random], tuple[int, int, bool]]:
    """Trials that kill one of two servers, and start it anew a moment later; the ranks are started once."""

    def trial(stage: Stage, folder: Path, chance: random.Random) -> tuple[int, int, bool]:
        kills = 0
        with served(stage.model, folder / "servers", 2) as servers:
            table = described(stage.model, folder / "weights", folder / "servers")
            ranks = started(rank, 2, table, folder / "run")
            for _ in range(MOST):
                if not until_done(ranks, chance.uniform(0, stage.seconds / 2), servers[number][0]):
                    break
                kills += 1
                time.sleep(chance.uniform(0, 0.5))
                (servers[number][0],) = started(serve, 1, stage.model, servers[number][1])
            return kills, 1, ended(ranks) and held(stage, folder / "run")

    return trial


def torchrun(stage: Stage, folder: Path, log: str, *options: str) -> subprocess.Popen[bytes]:
    """torchrun with `llm train`; the configuration samples with the engine of rank 0."""
    from llm.config import Config, to_toml

    config = folder / "kills.toml"
    config.write_text(to_toml(Config.model_validate(described(stage.model))))
    again = ["--resume"] if (folder / "run" / "config.toml").exists() else []
    command = [str(Path(sys.executable).parent / "torchrun"), *options, "-m", "llm", "train", str(config)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    with (folder / log).open("a") as out:
        return subprocess.Popen(
            [*command, "--out", str(folder / "run"), *again],
            cwd=ROOT,
            env=environment,
            stdout=out,
            stderr=out,
        )


def of_launcher(stage: Stage, folder: Path, chance: random.Random) -> tuple[int, int, bool]:
    """A trial that kills torchrun itself; its ranks, if there were any yet, end by themselves before the next start."""
    from tests.ranks_start import free_port

    kills = starts = 0
    while starts <= MOST:
        process = torchrun(stage, folder, "log.txt", "--nproc-per-node", "2", "--master-port", str(free_port()))
        starts += 1
        if kills == 0:
            with suppress(subprocess.TimeoutExpired):
                process.wait(chance.uniform(0, stage.seconds + chance.uniform(0, 25)))
            if process.poll() is None:
                process.kill()
                kills += 1
        process.wait(PATIENCE)
        _wait_for(str(folder / "run"))
        if process.returncode == 0 or (process.returncode > 0 and kills == 0):
            break
    return kills, starts, process.returncode == 0 and held(stage, folder / "run")


def of_node(number: int) -> Callable[[Stage, Path, random.Random], tuple[int, int, bool]]:
    """Trials with two torchrun agents that meet by c10d and share a folder, as on two machines: one is lost with its
    rank while they train, the other must say so in one line and end; both are started anew."""

    def trial(stage: Stage, folder: Path, chance: random.Random) -> tuple[int, int, bool]:
        first = _two_agents(stage, folder)
        metrics, wanted = folder / "run" / "metrics.jsonl", chance.randint(1, STEPS - 1)
        limit = time.monotonic() + PATIENCE
        while time.monotonic() < limit and not (metrics.exists() and metrics.read_bytes().count(b"\n") >= wanted):
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.2))
        for pid in [first[number].pid, *_children(first[number].pid)]:
            os.kill(pid, signal.SIGKILL)
        other = first[1 - number]
        told = other.wait(PATIENCE) != 0 and "another rank has ended" in (folder / f"node-{1 - number}.txt").read_text()
        _wait_for(str(folder / "run"))
        ends = [agent.wait(PATIENCE) for agent in _two_agents(stage, folder)]
        return 1, 2, told and ends == [0, 0] and held(stage, folder / "run")

    return trial


def _children(pid: int) -> list[int]:
    """Processes that a process has started; torchrun gives its ranks sessions of their own."""
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _two_agents(stage: Stage, folder: Path) -> list[subprocess.Popen[bytes]]:
    from tests.ranks_start import free_port

    endpoint = f"127.0.0.1:{free_port()}"
    options = ["--nnodes", "2", "--nproc-per-node", "1", "--rdzv-backend", "c10d", "--rdzv-id", "kills"]
    options += ["--rdzv-endpoint", endpoint, "--local-addr", "127.0.0.1"]
    return [torchrun(stage, folder, f"node-{node}.txt", *options) for node in range(2)]


def _wait_for(text: str) -> None:
    """Wait until no process has a text in its command line."""
    limit = time.monotonic() + PATIENCE
    while time.monotonic() < limit and any(text in command for command in _commands()):
        time.sleep(0.1)


def _commands() -> Iterable[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            yield path.read_bytes().replace(b"\0", b" ").decode(errors="replace")


def elastic(stage: Stage, folder: Path, chance: random.Random) -> tuple[int, int, bool]:
    """Two ranks and one server, killed; one rank and three servers from their checkpoint on; then two and one again."""
    table = described(stage.model, folder / "weights", folder / "servers")
    metrics = folder / "run" / "metrics.jsonl"
    with served(stage.model, folder / "servers", 1):
        ranks = started(rank, 2, table, folder / "run")
        limit = time.monotonic() + PATIENCE
        while time.monotonic() < limit and not (metrics.exists() and metrics.read_bytes().count(b"\n") > 3):
            time.sleep(0.005)
        kills = int(until_done(ranks, 0, ranks[chance.randrange(2)]))
        ended(ranks, AFTER)
    with served(stage.model, folder / "servers", 3):
        if not ended(started(rank, 1, table | {"steps": 4}, folder / "run")):
            return kills, 2, False
    with served(stage.model, folder / "servers", 1):
        return kills, 3, ended(started(rank, 2, table, folder / "run")) and held(stage, folder / "run")


KINDS: dict[str, Callable[[Stage, Path, random.Random], tuple[int, int, bool]]] = {
    "rank 0": of_rank(0),
    "rank 1": of_rank(1),
    "server 0": of_server(0),
    "server 1": of_server(1),
    "ranks 2, 1, 2 and servers 1, 3, 1": elastic,
    "launcher": of_launcher,
    "node 0 of 2": of_node(0),
    "node 1 of 2": of_node(1),
}


def prepared(folder: Path) -> Stage:
    """A model, and what one process and then two ranks write that nobody stops."""
    model = folder / "model"
    make_model(model)
    assert ended(started(rank, 1, described(model), folder / "one"))
    began = time.monotonic()
    assert ended(started(rank, 2, described(model), folder / "two"))
    seconds = time.monotonic() - began
    stage = Stage(model, (folder / "one" / "metrics.jsonl").read_bytes(), rows(folder / "one"), seconds)
    assert held(stage, folder / "two")
    return stage


def run(trials: int, kinds: Iterable[str]) -> None:
    """Do what is missing, one trial of each kind after the other."""
    done = {(one["kind"], one["trial"]) for one in stored()}
    missing = [(kind, trial) for trial in range(trials) for kind in kinds if (kind, trial) not in done]
    with tempfile.TemporaryDirectory() as name:
        stage = prepared(Path(name) / "stage")
        for kind, trial in missing:
            folder = Path(name) / "trial"
            (folder / "run").mkdir(parents=True)
            began = time.monotonic()
            kills, starts, same = KINDS[kind](stage, folder, random.Random(f"{kind} {trial}"))
            line = {"kind": kind, "trial": trial, "kills": kills, "starts": starts, "same": same}
            line["seconds"] = round(time.monotonic() - began, 1)
            with RESULTS.open("a") as file:
                file.write(json.dumps(line) + "\n")
            print(line, flush=True)
            if not same:
                shutil.copytree(folder, Path(tempfile.mkdtemp(prefix="kills-")) / "trial")
            shutil.rmtree(folder)


def stored() -> list[dict[str, Any]]:
    """The trials that were done."""
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def tables() -> dict[str, str]:
    """The table of the page."""
    found = stored()
    table: list[list[str]] = []
    for kind in KINDS:
        own = [one for one in found if one["kind"] == kind]
        counts = [sum(one[name] for one in own) for name in ("kills", "starts")]
        table.append([kind, str(len(own)), *map(str, counts), str(sum(not one["same"] for one in own))])
    return {"kills": grid(["killed", "runs", "SIGKILLs", "starts", "runs with other metrics or rows"], table)}


def main() -> int:
    """Do trials if a number is given, and rewrite or check the table; return the exit status."""
    if len(sys.argv) > 1 and sys.argv[1].isdigit():
        kinds = sys.argv[2:] or list(KINDS)
        if unknown := [kind for kind in kinds if kind not in KINDS]:
            raise SystemExit(f"unknown kind {unknown[0]!r}; there are {', '.join(KINDS)}")
        run(int(sys.argv[1]), kinds)
        sys.argv = sys.argv[:1]
    return refresh(PAGE, tables, "python -m scripts.kills", __doc__)


if __name__ == "__main__":
    sys.exit(main())
