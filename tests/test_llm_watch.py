"""What a run writes down and shows: every number, at once, and again the same after a resume."""

import io
import json
import math
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from llm.run.watch import METRICS, PAIRS, TIMING, Watcher, cut_back, read, salvage, trackers
from llm.show.screen import BARS, LEFT, RIGHT, Lines, Panels, screen, sparkline
from llm_configs import described


class Seen:
    def __init__(self):
        self.steps = []

    def update(self, step, numbers, timing):
        self.steps.append((step, dict(numbers), dict(timing)))

    def say(self, line):
        pass


def test_every_number_is_on_disk_before_the_next_step(tmp_path):
    shown = Seen()
    with Watcher(tmp_path, shown) as watcher:
        for step in (1, 2):
            watcher.record(step, {"a": step / 3, "b/c": math.inf}, {"time/x": 0.5})
            assert [record["step"] for record in read(tmp_path / METRICS)] == list(range(1, step + 1))
        assert watcher.recorded == 2
    assert read(tmp_path / METRICS)[1] == {"step": 2, "a": 2 / 3, "b/c": None}  # not finite: listed, without a value
    assert read(tmp_path / TIMING)[0] == {"step": 1, "time/x": 0.5}
    assert [step for step, *_ in shown.steps] == [1, 2]


@given(st.lists(st.floats(), max_size=5), st.integers(0, 6))
def test_what_is_cut_back_is_written_the_same_again(tmp_path_factory, values, step):
    folder = tmp_path_factory.mktemp("run")

    def write(first, last):
        with Watcher(folder, Seen()) as watcher:
            for number, value in enumerate(values[first - 1 : last], start=first):
                watcher.record(number, {"value": value}, {"time/x": value})
            return watcher.written()

    written = write(1, step)
    write(step + 1, len(values))
    whole = (folder / METRICS).read_bytes()
    cut_back(folder, written)
    assert len(read(folder / METRICS)) == min(step, len(values))
    write(step + 1, len(values))
    assert (folder / METRICS).read_bytes() == whole


def test_a_half_written_last_line_is_dropped_and_a_damaged_one_told(tmp_path):
    path = tmp_path / METRICS
    with Watcher(tmp_path, Seen()) as watcher:
        watcher.record(1, {"a": 1.0}, {})
        written = watcher.written()
    with path.open("a") as file:
        file.write('{"step": 2, "a"')
    assert read(path) == [{"step": 1, "a": 1.0}]
    cut_back(tmp_path, written)
    assert path.read_text() == '{"step": 1, "a": 1.0}\n'
    for line in ('{"a": 2}', '{"step": "2"}', "[" * 100_000, "\x00"):
        path.write_text('{"step": 1}\n' + line + '\n{"step": 3}\n')
        with pytest.raises(ValueError, match=r"metrics\.jsonl: line 2 is damaged"):
            read(path)
        assert salvage(path) == ([{"step": 1}, {"step": 3}], [2])


@pytest.mark.parametrize("name", [METRICS, TIMING])
@given(place=st.integers(0, 10_000), change=st.integers(0, 255))
def test_what_a_checkpoint_covers_is_checked_to_the_last_bit(tmp_path_factory, name, place, change):
    folder = tmp_path_factory.mktemp("run")
    with Watcher(folder, Seen()) as watcher:
        watcher.record(1, {"a": 1.0}, {"time/x": 1.0})
        written = watcher.written()
        watcher.record(2, {"a": 2.0}, {"time/x": 2.0})
    path, content = folder / name, bytearray((folder / name).read_bytes())
    covered = written[name]["bytes"]
    if change:
        content[place % covered] ^= change
    else:
        del content[place % covered :]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}: is not what the run had written by its last checkpoint"):
        cut_back(folder, written)
    path.unlink()
    with pytest.raises(ValueError, match="put a copy of it back"):
        cut_back(folder, written)


def test_pairs_are_kept_for_the_latest_window(tmp_path):
    with Watcher(tmp_path, Seen()) as watcher:
        watcher.keep_pairs(10, np.zeros((2, 0)))
        watcher.keep_pairs(20, np.array([[1.0, 2.0], [0.5, 1.0]]))
    kept = json.loads((tmp_path / PAIRS).read_text())
    assert kept == {"step": 20, "predicted": [1.0, 2.0], "realized": [0.5, 1.0]}


# Trackers


def test_tensorboard_gets_every_number_and_forgets_what_a_resume_repeats(tmp_path):
    from tensorboard.backend.event_processing import event_accumulator as accumulators

    config = described(watch={"tensorboard": True})
    for first, last, value in ((0, 4, 1.0), (2, 3, 2.0)):  # stopped after step 4, goes on from step 2
        with Watcher(tmp_path, Seen(), trackers(config, tmp_path, first)) as watcher:
            for step in range(first + 1, last + 1):
                watcher.record(step, {"reward/mean": value}, {"time/sync": 0.25})
    found = accumulators.EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in found.Scalars("reward/mean")] == [(1, 1.0), (2, 1.0), (3, 2.0)]
    assert {event.value for event in found.Scalars("time/sync")} == {0.25}


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_logger_gets_configuration_and_finite_numbers(tmp_path, monkeypatch, name):
    logged, started, finished = [], [], []
    run = SimpleNamespace(log=lambda numbers, step: logged.append((step, numbers)), finish=lambda: finished.append(1))

    def init(**options):
        started.append(options)
        return run

    monkeypatch.setitem(sys.modules, name, SimpleNamespace(init=init))
    config = described(watch={name: "project"})
    with Watcher(tmp_path, Seen(), trackers(config, tmp_path)) as watcher:
        watcher.record(1, {"a": 1.0, "b": math.nan}, {"time/x": 2.0})
    assert started[0]["project"] == "project"
    assert started[0]["config"]["lag"]["sync_every"] == 10
    assert logged == [(1, {"a": 1.0, "time/x": 2.0})]
    assert finished == [1]


@pytest.mark.parametrize(
    ("option", "module"), [("wandb", "wandb"), ("trackio", "trackio"), ("tensorboard", "torch.utils.tensorboard")]
)
def test_a_tracker_that_is_not_installed_is_named(tmp_path, monkeypatch, option, module):
    monkeypatch.setitem(sys.modules, module, None)
    value = True if option == "tensorboard" else "project"
    with pytest.raises(ValueError, match=rf"^watch\.{option}: the package '{option}' is not installed$"):
        trackers(described(watch={option: value}), tmp_path)


def test_a_tracker_that_lacks_something_is_not_called_missing(tmp_path, monkeypatch):
    (tmp_path / "trackio.py").write_text("import nothing_of_that_name")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "trackio", raising=False)
    reason = r"^watch\.trackio: the package 'trackio' cannot be imported: No module named 'nothing_of_that_name'$"
    with pytest.raises(ValueError, match=reason):
        trackers(described(watch={"trackio": "project"}), tmp_path)


# The screen


NUMBERS = {row.name: 0.25 for row in (*LEFT, *RIGHT)} | {"lag/steps": 4.0, "target/normalizer": math.nan}


def test_no_terminal_gets_a_line_now_and_then():
    stream = io.StringIO()
    console = Console(file=stream, width=10_000)
    with screen(described(), console) as shown:
        assert isinstance(shown, Lines)
        for step in range(1, 31):
            evaluated = {"evaluation/reward": 0.5, "evaluation/pass@1": 0.5} if step == 17 else {}
            shown.update(step, {"reward/pass_rate": step / 100, **evaluated}, {"time/tokens_per_second": 1234.5})
    lines = stream.getvalue().splitlines()
    assert [line.split()[1] for line in lines] == ["10/30", "17/30", "20/30", "30/30"]
    assert "pass rate 10.0%" in lines[0]
    assert "held-out pass@1 50.0%" in lines[1]
    assert "tokens/s 1,23" in lines[0]
    assert "\x1b" not in stream.getvalue()


def test_a_terminal_gets_one_panel_that_shows_where_the_run_stands():
    console = Console(file=io.StringIO(), force_terminal=True, width=120, height=40)
    with screen(described(), console) as shown:
        assert isinstance(shown, Panels)
        for step in range(1, 16):
            shown.update(step, NUMBERS | {"reward/pass_rate": step / 100}, {})
        with console.capture() as captured:
            console.print(shown.panel())
    text = captured.get()
    assert "window 2 of 3, step 5 of 10 since weights were synced" in text
    assert "15/30" in text
    assert "shifted_mean(beta=0.1, delta=1)" in text
    assert "15.0%" in text
    assert BARS[0] in text
    assert BARS[-1] in text
    row = next(line for line in text.splitlines() if "λ at the target" in line)
    assert " - " in row  # NaN
    assert all(label in text for label in (row.label for row in (*LEFT, *RIGHT)))


@pytest.mark.parametrize("width", [60, 80, 200])
def test_the_panel_fits_any_width(width):
    console = Console(file=io.StringIO(), force_terminal=True, width=width, height=40, color_system=None)
    shown = Panels(described(name="a name that is much longer than a narrow terminal is wide " * 3), console)
    for step in range(1, 50):
        shown.update(step, NUMBERS, {})
    with console.capture() as captured:
        console.print(shown.panel())
    assert {len(line) for line in captured.get().splitlines()} == {width}


@given(st.lists(st.floats(-1e300, 1e300) | st.just(math.nan) | st.just(math.inf), max_size=40))
def test_a_sparkline_keeps_order_and_leaves_gaps(values):
    line = sparkline(values)
    assert len(line) == len(values)
    levels = [(value, BARS.index(bar)) for value, bar in zip(values, line, strict=True) if bar != " "]
    assert len(levels) == sum(map(math.isfinite, values))
    for value, level in levels:
        assert all(level <= other for larger, other in levels if larger >= value)
