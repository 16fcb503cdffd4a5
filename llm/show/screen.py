"""What a run shows while it goes on: one live panel on a terminal, a line now and then anywhere else."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderResult
from rich.live import Live
from rich.measure import Measurement
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import TimeRemainingColumn as Remaining
from rich.table import Table
from rich.text import Text

from ..config import Config
from ..run.schedule import place

BARS = "▁▂▃▄▅▆▇█"
HISTORY = 32
EVERY = 10
"""Steps between two lines where there is no terminal."""

Numbers = Mapping[str, float]


@dataclass(frozen=True)
class Row:
    """A number of the panel.

    Attributes:
        label: what it is.
        name: its name among a step's numbers.
        written: how it is written.
        limits: what the lowest and the highest bar stand for; None for the least and the largest value shown.
    """

    label: str
    name: str
    written: Callable[[float], str]
    limits: tuple[float, float] | None = None


def share(value: float) -> str:
    """A share as percent.

    >>> share(0.4567)
    '45.7%'
    """
    return f"{value:.1%}"


def figure(value: float) -> str:
    """A number in four digits.

    >>> figure(0.0123456), figure(12345.678), figure(2.0)
    ('0.01235', '1.235e+04', '2')
    """
    return f"{value:.4g}"


def count(value: float) -> str:
    """A whole number with separators.

    >>> count(12345.6)
    '12,346'
    """
    return f"{value:,.0f}"


LEFT = (
    Row("reward", "reward/mean", figure),
    Row("pass rate", "reward/pass_rate", share),
    Row("held-out pass@1", "evaluation/pass@1", share),
    Row("entropy per token", "policy/entropy", figure),
    Row("completion tokens", "completion/length", figure),
    Row("gradient norm", "gradient/norm", figure),
    Row("tokens/s", "time/tokens_per_second", count),
)
RIGHT = (
    Row("lag, steps", "lag/steps", count),
    Row("KL(μ‖π), nats", "kl/k1_sequence", figure),
    Row("effective samples", "ratio/ess_sequence", share, (0, 1)),
    Row("λ at the target", "target/normalizer", figure),
    Row("groups, positive", "target/positive", share, (0, 1)),
    Row("groups, boundary", "target/boundary", share, (0, 1)),
    Row("groups, negative", "target/negative", share, (0, 1)),
)


def sparkline(values: Sequence[float], limits: tuple[float, float] | None = None) -> str:
    """Values as bars; what is not finite is left blank.

    >>> sparkline([0.0, 1.0, math.nan, 2.0]), sparkline([0.0, 0.5], limits=(0, 1))
    ('▁▅ █', '▁▅')

    Args:
        values: at least one.
        limits: of the bars; None for the least and the largest value.
    """
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = limits or (min(finite), max(finite))
    top = len(BARS) - 1

    def bar(value: float) -> str:
        if not math.isfinite(value):
            return " "
        return BARS[min(max(round((value - low) / (high - low) * top), 0), top)] if high > low else BARS[top // 2]

    return "".join(map(bar, values))


@dataclass(frozen=True)
class Sparkline:
    """The latest values, as many as there is room for."""

    values: Sequence[float]
    limits: tuple[float, float] | None

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Text(sparkline(self.values[-options.max_width :], self.limits), style="cyan", no_wrap=True)

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, min(HISTORY, options.max_width))


class Lines:
    """A line every so many steps, for logs and pipes."""

    def __init__(self, config: Config, console: Console, every: int = EVERY) -> None:
        self._config, self._console, self._every = config, console, every

    def update(self, step: int, numbers: Numbers, timing: Numbers) -> None:
        evaluated = "evaluation/reward" in numbers
        if step % self._every and step != self._config.steps and not evaluated:
            return
        found = {**numbers, **timing}
        shown = [f"{row.label} {row.written(found[row.name])}" for row in (*LEFT, *RIGHT) if row.name in found]
        self._console.print(f"step {step}/{self._config.steps}  " + "  ".join(shown))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class Panels:
    """One panel that is redrawn in place and stays, as it last was, when the run ends."""

    def __init__(self, config: Config, console: Console) -> None:
        self._config = config
        self._history: dict[str, deque[float]] = {}
        columns = (BarColumn(bar_width=None), MofNCompleteColumn(), TextColumn("steps"))
        times = (TimeElapsedColumn(), TextColumn("elapsed"), Remaining(), TextColumn("to go"))
        self._progress = Progress(*columns, *times, console=console, expand=True)
        self._task: TaskID = self._progress.add_task("", total=config.steps)
        self._step = 0
        self._live = Live(console=console, refresh_per_second=4, get_renderable=self.panel)

    def update(self, step: int, numbers: Numbers, timing: Numbers) -> None:
        for name, value in {**numbers, **timing}.items():
            self._history.setdefault(name, deque(maxlen=HISTORY)).append(value)
        if self._step == 0 and step > 1:  # of a run that goes on: what is done already says nothing of the speed
            self._progress.reset(self._task, total=self._config.steps, completed=step - 1)
        self._step = step
        self._progress.update(self._task, completed=step)

    def panel(self) -> Panel:
        """The panel as it is now."""
        config, lag = self._config, self._config.lag
        here = place(max(self._step - 1, 0), lag)
        where = (
            f"window {here.window + 1} of {math.ceil(config.steps / lag.sync_every)}, "
            f"step {here.lag + 1} of {lag.sync_every} since weights were synced"
        )
        numbers = Table.grid(padding=(0, 3), expand=True)
        numbers.add_column(ratio=1)
        numbers.add_column(ratio=1)
        numbers.add_row(self._table(LEFT), self._table(RIGHT))
        waits = Text("sampling the first batch ..." if not self._step else where, style="dim")
        title = Text(f"{config.name} · {config.objective.described()}", style="bold")
        return Panel(Group(self._progress, waits, numbers), title=title, title_align="left", box=box.ROUNDED)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop_task(self._task)
        self._live.stop()

    def _table(self, rows: tuple[Row, ...]) -> Table:
        table = Table.grid(padding=(0, 2, 0, 0), expand=True)
        table.add_column(style="dim", no_wrap=True, min_width=max(len(row.label) for row in rows))
        table.add_column(justify="right", no_wrap=True, min_width=9)
        table.add_column(ratio=1)
        for row in rows:
            history = list(self._history.get(row.name, ()))
            now = row.written(history[-1]) if history and math.isfinite(history[-1]) else "-"
            table.add_row(row.label, now, Sparkline(history, row.limits))
        return table


def screen(config: Config, console: Console) -> Lines | Panels:
    """What fits the console. A context manager."""
    return Panels(config, console) if console.is_terminal else Lines(config, console)
