"""pytest plugin that collects the tests once and judges every mutant in a fork of that process."""

from __future__ import annotations

import gc
import json
import os
import resource
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hypothesis
import pytest
from _pytest.runner import runtestprotocol

from .mutant import Mutant

LEAST, PATIENCE, MEMORY = 1, 10, 2**31
"""A mutant is stopped when a test takes ``LEAST`` processor seconds more than ``PATIENCE`` times its own, or when it
needs so many bytes more than the tests have taken by then."""

MEMORY_USED = Path("/proc/self/statm")


@dataclass(frozen=True)
class Run:
    """What one test does without a mutant: processor seconds, and the functions with mutants that it runs."""

    seconds: float
    functions: frozenset[str]


class Judge:
    """Judges mutants with the tests that pytest collects, and hands each verdict to ``report``."""

    def __init__(
        self,
        mutants: list[Mutant],
        jobs: int,
        budget: float,
        report: Callable[[Mutant], None],
        measured: Path,
        version: Callable[[str, Iterable[str]], str],
    ):
        self.mutants, self.jobs, self.budget, self.report = mutants, jobs, budget, report
        self.measured, self.version = measured, version
        self.killers: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def pytest_collection(self) -> None:
        """A failing property is a verdict; its smallest example is not needed, and a slow machine is no failure."""
        quick = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
        patient = [hypothesis.HealthCheck.too_slow]
        hypothesis.settings.register_profile(
            "mutants", hypothesis.settings.default, phases=quick, deadline=None, suppress_health_check=patient
        )
        hypothesis.settings.load_profile("mutants")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        gc.collect()
        gc.freeze()  # so that a fork's garbage collection does not copy all that has been imported
        runs = self._measure(session)
        tests = {item.nodeid: item for item in session.items}

        def tasks() -> Iterator[tuple[Mutant, Callable[[], Any]]]:
            for mutant in self.mutants:
                chosen = [(tests[name], runs[name].seconds) for name in self._order(mutant, runs)]
                yield mutant, partial(_verdict, session, mutant, chosen)

        for mutant, answer in _forks(tasks(), self.jobs):
            self._add(mutant, answer)
        return True

    def _measure(self, session: pytest.Session) -> dict[str, Run]:
        """Every test once, in forks, so that no mutant finds a cache that another test has filled."""
        known = json.loads(self.measured.read_text("utf-8")) if self.measured.exists() else {}
        files = {item.nodeid: item.nodeid.partition("::")[0] for item in session.items}
        current = {
            name for name in files if name in known and known[name][2] == self.version(files[name], known[name][1])
        }
        items = [item for item in session.items if item.nodeid not in current]
        shares = [items[start :: 8 * self.jobs] for start in range(8 * self.jobs)]
        failures: list[str] = []
        tasks = ((share, partial(_measured, session, share)) for share in shares)
        for share, answer in _forks(tasks, self.jobs):
            if answer is None:
                raise pytest.UsageError(f"the process died that ran {[item.nodeid for item in share]}")
            failures += answer.pop("failures")
            known |= {name: [*run, self.version(files[name], run[1])] for name, run in answer.items()}
            self.measured.write_text(json.dumps(known), "utf-8")
        if failures:
            raise pytest.UsageError("\n".join(["a test fails without a mutant:", *failures]))
        names = [item.nodeid for item in session.items]
        return {name: Run(known[name][0], frozenset(known[name][1])) for name in names}

    def _order(self, mutant: Mutant, runs: dict[str, Run]) -> list[str]:
        """Tests that run the mutant's function, as many as fit into ``budget`` seconds.

        First those that killed other mutants of it; then the file's own tests before others; then by the time that a
        test function has had with all its cases, so that none takes the time of the others.
        """
        function = mutant.name.partition("__mutmut_")[0]
        killers = self.killers[function]
        spent: defaultdict[str, float] = defaultdict(float)
        names = sorted((name for name, run in runs.items() if function in run.functions), key=lambda n: runs[n].seconds)
        until = {}
        for name in names:
            test = name.partition("[")[0]
            spent[test] += runs[name].seconds
            until[name] = spent[test]
        own = f"tests/test_{Path(mutant.file).stem.partition('_')[0]}"
        names.sort(key=lambda name: (-killers[name], not name.startswith(own), until[name]))
        total = accumulate(runs[name].seconds for name in names)
        return [name for name, seconds in zip(names, total, strict=True) if seconds <= self.budget]

    def _add(self, mutant: Mutant, answer: Any) -> None:
        status, killer, seconds = answer if isinstance(answer, list) else ("timeout", "", 0.0)
        if killer:
            self.killers[mutant.name.partition("__mutmut_")[0]][killer] += 1
        self.report(replace(mutant, status=status, killer=killer, seconds=round(seconds, 3)))


def _measured(session: pytest.Session, items: Iterable[pytest.Item]) -> dict[str, Any]:
    """Processor seconds and functions by test; "failures" are texts about the tests that failed instead."""
    from mutmut.mutation.trampoline import set_mutant_under_test
    from mutmut.state import state

    set_mutant_under_test("stats")
    runs: dict[str, Any] = {"failures": []}
    for item in items:
        state()._stats.clear()
        before = time.process_time()
        if text := _failure(session, item):
            runs["failures"].append(f"{item.nodeid}\n{text}")
        else:
            runs[item.nodeid] = (time.process_time() - before, sorted(state()._stats))
    return runs


def _verdict(session: pytest.Session, mutant: Mutant, tests: Sequence[tuple[pytest.Item, float]]) -> list[Any]:
    from mutmut.mutation.trampoline import set_mutant_under_test

    set_mutant_under_test(mutant.name)
    _bound_memory()
    before = time.process_time()
    for item, seconds in tests:
        _bound_time(seconds)
        if _failure(session, item):
            return ["killed", item.nodeid, time.process_time() - before]
    return ["survived" if tests else "not run", "", time.process_time() - before]


def _bound_time(seconds: float) -> None:
    """An end to this process when it has taken much more processor time, from now on, than ``seconds``."""
    end = int(time.process_time() + LEAST + PATIENCE * seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (end, resource.RLIM_INFINITY))


def _bound_memory() -> None:
    if MEMORY_USED.exists():
        used = int(MEMORY_USED.read_text("ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))


def _failure(session: pytest.Session, item: pytest.Item) -> str:
    """Runs a test: what it failed with, or nothing."""
    reports = runtestprotocol(item, nextitem=None, log=False)
    return next((report.longreprtext or "failed" for report in reports if report.failed), "")


def _forks(tasks: Iterable[tuple[Any, Callable[[], Any]]], jobs: int) -> Iterator[tuple[Any, Any]]:
    """Runs (subject, function) in forks, ``jobs`` at a time; yields (subject, answer).

    The answer is None where the fork died: out of time, out of memory or by a signal.
    """
    with TemporaryDirectory() as folder:
        running: dict[int, Any] = {}
        for subject, function in tasks:
            if len(running) == jobs:
                yield _ended(running, folder)
            running[_fork(function, folder)] = subject
        while running:
            yield _ended(running, folder)


def _fork(function: Callable[[], Any], folder: str) -> int:
    """Process that writes the function's answer to a file of the folder, and nothing to the terminal."""
    if pid := os.fork():
        return pid
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        Path(folder, f"{os.getpid()}").write_text(json.dumps(function()), "utf-8")
    finally:
        os._exit(0)


def _ended(running: dict[int, Any], folder: str) -> tuple[Any, Any]:
    """Waits for one fork to end: its subject and answer."""
    pid, _ = os.wait()
    answer = Path(folder, f"{pid}")
    subject = running.pop(pid)
    return subject, json.loads(answer.read_text("utf-8")) if answer.exists() else None
