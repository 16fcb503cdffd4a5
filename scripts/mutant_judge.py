"""pytest plugin that collects the tests once and judges every mutant in a fork of that process."""

from __future__ import annotations

import json
import os
import resource
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import hypothesis
import pytest
from _pytest.runner import runtestprotocol

from .mutants import Mutant

LEAST, PATIENCE, MEMORY = 2, 10, 2**31
"""A mutant is stopped after ``LEAST`` seconds of processor time and ``PATIENCE`` times what its tests take, or when it
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
        self, mutants: list[Mutant], jobs: int, budget: float, report: Callable[[Mutant], None], measured: Path
    ):
        self.mutants, self.jobs, self.budget, self.report, self.measured = mutants, jobs, budget, report, measured
        self.killers: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def pytest_collection(self) -> None:
        """A failing property is a verdict; its smallest example is not needed."""
        quick = (hypothesis.Phase.explicit, hypothesis.Phase.generate)
        hypothesis.settings.register_profile("mutants", hypothesis.settings.default, phases=quick)
        hypothesis.settings.load_profile("mutants")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        runs = self._measure(session)
        tests = {item.nodeid: item for item in session.items}

        def tasks() -> Iterator[tuple[Mutant, Callable[[], Any], float]]:
            for mutant in self.mutants:
                names = self._order(mutant, runs)
                limit = LEAST + PATIENCE * sum(runs[name].seconds for name in names)
                yield mutant, lambda names=names, mutant=mutant: _verdict(session, mutant, map(tests.get, names)), limit

        for mutant, answer in _forks(tasks(), self.jobs):
            self._add(mutant, answer)
        return True

    def _measure(self, session: pytest.Session) -> dict[str, Run]:
        """Every test once, in forks, so that no mutant finds a cache that another test has filled."""
        known = json.loads(self.measured.read_text("utf-8")) if self.measured.exists() else {}
        items = [item for item in session.items if item.nodeid not in known]
        shares = [items[start :: 8 * self.jobs] for start in range(8 * self.jobs)]
        tasks = ((share, lambda share=share: _measured(session, share), 0.0) for share in shares)
        for _, answer in _forks(tasks, self.jobs):
            if not isinstance(answer, dict):
                raise pytest.UsageError(f"a test fails without a mutant: {answer}")
            known |= answer
            self.measured.write_text(json.dumps(known), "utf-8")
        names = [item.nodeid for item in session.items]
        return {name: Run(known[name][0], frozenset(known[name][1])) for name in names}

    def _order(self, mutant: Mutant, runs: dict[str, Run]) -> list[str]:
        """Tests that run the mutant's function, as many as fit into ``budget`` seconds.

        First those that killed other mutants of it; then by the time that a test function has had with all its cases,
        so that none takes the time of the others.
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
        names.sort(key=lambda name: (-killers[name], until[name]))
        total = accumulate(runs[name].seconds for name in names)
        return [name for name, seconds in zip(names, total, strict=True) if seconds <= self.budget]

    def _add(self, mutant: Mutant, answer: Any) -> None:
        status, killer, seconds = answer if isinstance(answer, list) else ("timeout", "", 0.0)
        if killer:
            self.killers[mutant.name.partition("__mutmut_")[0]][killer] += 1
        self.report(replace(mutant, status=status, killer=killer, seconds=round(seconds, 3)))


def _measured(session: pytest.Session, items: Iterable[pytest.Item]) -> dict[str, tuple[float, list[str]]] | str:
    from mutmut.mutation.trampoline import set_mutant_under_test
    from mutmut.state import state

    set_mutant_under_test("stats")
    runs = {}
    for item in items:
        state()._stats.clear()
        before = time.process_time()
        if text := _failure(session, item):
            return f"{item.nodeid}\n{text}"
        runs[item.nodeid] = (time.process_time() - before, sorted(state()._stats))
    return runs


def _verdict(session: pytest.Session, mutant: Mutant, items: Iterable[Any]) -> list[Any]:
    from mutmut.mutation.trampoline import set_mutant_under_test

    set_mutant_under_test(mutant.name)
    before, ran = time.process_time(), False
    for item in items:
        ran = True
        if _failure(session, item):
            return ["killed", item.nodeid, time.process_time() - before]
    return ["survived" if ran else "not run", "", time.process_time() - before]


def _failure(session: pytest.Session, item: pytest.Item) -> str:
    """Runs a test: what it failed with, or nothing."""
    reports = runtestprotocol(item, nextitem=None, log=False)
    return next((report.longreprtext or "failed" for report in reports if report.failed), "")


def _forks(tasks: Iterable[tuple[Any, Callable[[], Any], float]], jobs: int) -> Iterator[tuple[Any, Any]]:
    """Runs (subject, function, processor seconds or 0) in forks, ``jobs`` at a time; yields (subject, answer).

    The answer is None where the fork died: out of time, out of memory or by a signal.
    """
    with TemporaryDirectory() as folder:
        running: dict[int, Any] = {}
        for subject, function, limit in tasks:
            if len(running) == jobs:
                yield _ended(running, folder)
            running[_fork(function, limit, folder)] = subject
        while running:
            yield _ended(running, folder)


def _fork(function: Callable[[], Any], limit: float, folder: str) -> int:
    if pid := os.fork():
        return pid
    try:
        _confine(limit)
        Path(folder, f"{os.getpid()}").write_text(json.dumps(function()), "utf-8")
    finally:
        os._exit(0)


def _confine(limit: float) -> None:
    """In the fork: nothing to the terminal, and where ``limit`` is not 0, an end to its processor time and memory."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    if limit:
        seconds = int(limit) + 1
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    if limit and MEMORY_USED.exists():
        used = int(MEMORY_USED.read_text("ascii").split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))


def _ended(running: dict[int, Any], folder: str) -> tuple[Any, Any]:
    """Waits for one fork to end: its subject and answer."""
    pid, _ = os.wait()
    answer = Path(folder, f"{pid}")
    subject = running.pop(pid)
    return subject, json.loads(answer.read_text("utf-8")) if answer.exists() else None
