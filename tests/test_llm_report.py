"""The report of a run: complete, self-contained, and safe to open whatever a model wrote."""

import base64
import json
import math
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from llm.config import Config
from llm.run import runs
from llm.run.buffer import Buffer
from llm.run.watch import Watcher
from llm.samples import Completion, Group, Prompt
from llm.show.charts import CHARTS, Chart, draw, draw_pairs
from llm.show.report import write_report
from llm.show.verdict import PASS, verdict

HOSTILE = "<script>alert('x')</script><img src=http://example.org/a.png onerror=alert(1)> & \"quoted\""
STEPS = 12


class Seen:
    def update(self, step, numbers, timing):
        pass

    def say(self, line):
        pass


class Page(HTMLParser):
    """What a browser would make of the page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.sources, self.text = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_data(self, data):
        self.text.append(data)

    @property
    def images(self):
        prefix = "data:image/svg+xml;base64,"
        assert all(source.startswith(prefix) for source in self.sources)
        return [base64.b64decode(source.removeprefix(prefix)) for source in self.sources]


def numbers(step):
    """Of a run whose every number is there at some step."""
    names = {name for chart in CHARTS for name in chart.series.values() if not name.startswith("time/")}
    found = {name: math.sin(step + len(name)) ** 2 for name in names}
    found["lag/steps"] = (step - 1) % 4
    found["ratio/chi2_sequence"] = 10.0**step
    found["theory/r2"] = math.nan
    if step % 4 == 0:
        for part in ("", "left/", "right <b>/"):
            found |= {
                f"evaluation/{part}{name}{end}": step / 100 + shift
                for name in ("reward", "pass@1", "pass@2", "pass@16")
                for end, shift in (("", 0.0), ("_low", -0.01), ("_high", 0.01))
            }
            found |= {f"evaluation/{part}{name}": 3.0 for name in ("prompts", "samples", "length", "entropy")}
            found[f"evaluation/{part}cut"] = 0.25
    return found


@pytest.fixture
def run(tmp_path):
    config = Config.model_validate(
        {
            "name": f"run {HOSTILE}",
            "steps": 20,
            "model": {"path": str(tmp_path / "no model")},
            "task": {"name": "countdown24"},
            "objective": {"algorithm": "shifted_mean", "parameters": {"beta": 0.3}},
            "lag": {"sync_every": 4},
        }
    )
    runs.note_start(tmp_path, config, 0, fresh=True)
    with Watcher(tmp_path, Seen()) as watcher:
        for step in range(1, STEPS + 1):
            watcher.record(step, numbers(step), {"time/tokens_per_second": 100.0 + step, "time/wait": 0.5})
        watcher.keep_pairs(8, np.array([[1.0, -1.0, 2.0], [0.5, -0.5, 1.0]]))
    return tmp_path


def group(rewards, texts):
    completions = tuple(
        Completion(np.array([number], np.int32), np.array([-0.5], np.float32), True) for number in texts
    )
    return Group(Prompt("p", HOSTILE, {}), (1,), completions, np.array(rewards), 0, 0)


def page_of(folder):
    path = write_report(folder)
    return Page(path.read_text("utf-8"))


def test_the_page_is_complete_and_needs_nothing_else(run):
    page = page_of(run)
    text = " ".join(page.text)
    assert {"script", "link", "iframe"} & set(page.tags) == set()
    assert len(page.images) == len(CHARTS) + 2  # pass@k, and the completions against theory
    for image in page.images:
        assert ElementTree.fromstring(image).tag.endswith("svg")
    for told in ("12 of 20", "optimizer steps", "shifted_mean(beta=0.3, delta=1)", "objective.parameters.beta", "0.3"):
        assert told in text
    assert "0.120 [0.110, 0.130]" in text  # the last evaluation
    assert "left" in text
    assert "torch" in text
    assert "pass@16" in text


def test_nothing_a_model_or_a_user_wrote_is_markup(run):
    Buffer(run / "buffer").append([group([0.0, 1.0], [3, 3]), group([1.0, 1.0], [5, 6])])
    text = write_report(run).read_text("utf-8")
    assert "<script" not in text
    assert "<img src=http" not in text
    assert "&lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;" in text
    assert HOSTILE in "".join(Page(text).text)
    assert "example.org" not in re.sub(r">[^<]*<", "><", text)  # only ever as text


def test_completions_are_shown_even_without_a_tokenizer(run):
    Buffer(run / "buffer").append([group([1.0, 1.0], [5, 6]), group([0.0, 1.0], [3, 3])])
    text = " ".join(page_of(run).text)
    assert "Token ids, because there is no tokenizer" in text
    rows = re.findall(r"(\d)\s+(\d)\s+([\d.]+)\s+1\s+-0\.50", text)
    assert rows == [("3", "2", "1"), ("5", "1", "1"), ("6", "1", "1")]  # reward spread first, equal ones counted


def test_what_eval_found_is_told(run):
    one = {name: 0.5 for name in ("reward", "pass@1", "pass@256", "length", "cut", "entropy")}
    (run / "evaluation.json").write_text(
        json.dumps({"step": 7, "prompts": 9, "samples": 256, **one, "parts": {"p": one}})
    )
    text = " ".join(page_of(run).text)
    assert "eval, step 7" in text
    assert "pass@256" in text
    assert "9 prompts, 256 completions each" in text


@pytest.mark.parametrize("line", ["{", "[]", '{"step": "x"}', "[" * 100_000, "\x00\x01"])
def test_damaged_files_cost_only_themselves(run, line):
    Buffer(run / "buffer").append([group([1.0, 1.0], [5, 6])])
    (run / "buffer" / "batch-000001.parquet").write_bytes(b"PAR1")
    (run / "buffer" / "batch-final.parquet").write_bytes(b"")
    for name in ("starts.jsonl", "metrics.jsonl"):
        path = run / name
        path.write_text(line + "\n" + path.read_text())
    for name in ("evaluation.json", "log_ratios.json"):
        (run / name).write_text(line)
    text = " ".join(page_of(run).text)
    assert "12 of 20" in text
    assert "torch" in text
    for told in ("starts.jsonl: 1 lines", "metrics.jsonl: 1 lines", "evaluation.json", "batch-000001.parquet"):
        assert told in text
    assert "From batch 0" in text


def test_a_sound_run_says_nothing_of_damage(run):
    assert "Damaged" not in " ".join(page_of(run).text)


def test_a_run_without_theory_evaluation_or_timing_has_a_report_too(tmp_path):
    config = Config.model_validate(
        {
            "name": "bare",
            "steps": 1,
            "model": {"path": "m"},
            "task": {"name": "countdown24"},
            "objective": {"algorithm": "grpo"},
        }
    )
    runs.note_start(tmp_path, config, 0, fresh=True)
    with pytest.raises(ValueError, match="has done no step yet"):
        write_report(tmp_path)
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "reward/mean": 0.5, "policy/entropy": null}\n')
    page = page_of(tmp_path)
    assert len(page.images) == 1
    assert "The run kept none." in " ".join(page.text)


def evaluated(step, passed, low, high):
    return {"step": step, PASS: passed, f"{PASS}_low": low, f"{PASS}_high": high}


@pytest.mark.parametrize(
    ("records", "steps", "told"),
    [
        ([{"step": 1}], 1, "was not evaluated on held-out prompts"),
        ([evaluated(0, 0.2, 0.1, 0.3), {"step": 5}], 9, "has not come to an evaluation after training began"),
        ([evaluated(9, 0.2, 0.1, 0.3)], 9, "is 20.0% at step 9; no earlier evaluation"),
        ([evaluated(0, 0.2, 0.1, 0.3), evaluated(9, 0.2, 0.1, 0.3)], 9, "is 20.0% at step 9, as before training; the"),
        ([evaluated(4, 0.5, 0.4, 0.6), evaluated(9, 0.2, 0.1, 0.3)], 9, "fell from 50.0% at step 4 to 20.0% at step 9"),
        ([evaluated(0, 0.5, 0.4, 0.6), evaluated(9, 0.2, 0.1, 0.3)], 9, "the 95% intervals do not overlap."),
        ([evaluated(0, 0.5, 0.2, 0.6), evaluated(9, 0.2, 0.1, 0.3)], 9, "the 95% intervals overlap."),
        ([evaluated(0, 0.5, 0.2, 0.6), evaluated(9, 0.2, 0.1, 0.3)], 1200, " 1,191 of 1,200 steps are still to come."),
        ([{"step": 0, PASS: 0.1}, {"step": 9, PASS: 0.2}], 9, "rose from 10.0% before training to 20.0% at step 9."),
    ],
)
def test_the_verdict_is_what_the_evaluations_say(records, steps, told):
    assert told in verdict(records, steps)


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"is no folder of a run; it has no config\.toml"):
        write_report(tmp_path)


# Charts


def drawn(svg):
    """Texts of a chart."""
    return [element.text or "" for element in ElementTree.fromstring(svg).iter() if element.tag.endswith("text")]


def test_a_chart_without_numbers_is_left_out():
    chart = Chart("title", "unit", {"a": "a", "b": "b"})
    assert draw(chart, [{"step": 1}, {"step": 2, "a": None}], []) is None
    assert draw_pairs([], []) is None
    assert draw_pairs([0.0, 0.0], [1.0, 2.0]) is None  # nothing is predicted


def test_lines_that_would_hide_each_other_are_one():
    records = [{"step": step, "a": step, "b": step, "c": -step} for step in range(1, 5)]
    svg = draw(Chart("title", "unit", {"first": "a", "second": "b", "third": "c"}), records, [2])
    assert svg is not None
    assert {"first, second", "third"} <= set(drawn(svg))


@pytest.mark.parametrize("slope", [0.5, -2.0])
def test_the_fitted_line_is_the_least_squares_one(slope):
    generator = np.random.default_rng(0)
    predicted = generator.normal(size=200)
    noise = generator.normal(size=200)
    noise -= predicted * (predicted @ noise) / (predicted @ predicted)  # has no share in the slope
    svg = draw_pairs(predicted.tolist(), (slope * predicted + noise).tolist())
    assert svg is not None
    assert f"fitted, slope {slope:.2g}" in [text.replace("−", "-") for text in drawn(svg)]


def test_the_same_run_draws_the_same_chart():
    records = [{"step": step, "a": 1 / step} for step in range(1, 5)]
    chart = Chart("title", "unit", {"first": "a"})
    assert draw(chart, records, [2]) == draw(chart, records, [2])
