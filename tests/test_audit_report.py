"""What an audit says: on the terminal, as JSON, as Parquet, and as a page in a browser without a network."""

from __future__ import annotations

import hashlib
import html
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import pessimism as ps
from audit_logs import json_lines, log, parquet, table
from pessimism import extras
from pessimism.audit import files
from pessimism.audit.command import algorithm_of
from pessimism.audit.groups import shown_id
from pessimism.audit.page import page
from pessimism.audit.pictures import running
from pessimism.audit.run import audit as run_audit
from pessimism.cli.main import main

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
HOSTILE = '</td></table><script>document.title="owned"</script><img src=x onerror=alert(1)>\x1b[31m&amp;'


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "110")


def run(*arguments: object) -> int:
    return main(["audit", *map(str, arguments)])


def drifting(path: Path, groups: int = 60) -> Path:
    """A log with versions, steps and current log-probabilities, some groups without signal, hostile ids."""
    random = np.random.default_rng(0)
    reward = (random.random((groups, 4)) < 0.5).astype(float)
    reward[:10] = 1.0
    log_prob = -30 - 5 * random.random((groups, 4))
    version = np.repeat(np.arange(groups) // 10, 4)
    rows = table(
        reward,
        log_prob=log_prob,
        current_log_prob=log_prob + 0.2 * (reward - 0.5) + 0.1 * random.normal(size=(groups, 4)),
        version=version,
        step=version + np.repeat(random.integers(0, 3, groups), 4),
        length=random.integers(5, 50, (groups, 4)),
    )
    ids = pa.array([f"{HOSTILE} {name}" for name in rows["group"].to_pylist()])
    return parquet(path, rows.set_column(0, "group", ids))


# --- terminal ---------------------------------------------------------------------------------------------------------


def test_the_terminal_says_what_the_log_holds_and_what_becomes_of_it(tmp_path, capsys):
    path = drifting(tmp_path / "log.parquet")
    assert run(path, "--algorithm", "oapl:beta1=1,beta2=0.5", "--algorithm", "oapl:beta1=0.2,beta2=0.5") == 0
    output = capsys.readouterr().out
    assert "240 samples in 60 groups; samples (groups): 4 (60)" in output
    plain = " ".join(output.split())
    said = r"More conservative than nominal on ([\d.]+)% of 60 groups; the same on ([\d.]+)% \(\2% without signal\)"
    match = re.search(said, plain)
    assert match is not None
    assert float(match[1]) + float(match[2]) == pytest.approx(100)
    assert "Fragile: 100.0% of the groups with signal are in the negative regime" in plain
    for title in ("version", "lag", "realized on predicted log-ratio", "drives the update most"):
        assert re.search(rf"^{title} ", output, re.MULTILINE)
    assert "\x1b" not in output
    assert max(map(len, output.splitlines())) <= 110


def test_faulty_groups_are_told_and_strict_stops(tmp_path, capsys):
    rows = log(groups=12).to_pylist()
    rows[6]["reward"] = float("nan")
    path = json_lines(tmp_path / "log.jsonl", rows)
    assert run(path, "--algorithm", "oapl") == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "left out: 1 group, 4 samples: reward missing or not finite" in output
    assert f"{path}, line 7, group 'g1': reward missing or not finite (reward is nan)" in output
    assert run(path, "--algorithm", "oapl", "--strict") == 2
    caught = capsys.readouterr()
    assert caught.out == ""
    assert caught.err == f"error: {path}, line 7, group 'g1': reward missing or not finite (reward is nan)\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("opal", "unknown algorithm 'opal'; did you mean oapl"),
        ("oapl:beta=1", "oapl has no parameter 'beta'"),
        ("oapl:beta1", "unknown algorithm 'oapl:beta1'|no module 'oapl'"),
        ("oapl:beta1=x", "beta1: 'x' is not a finite number"),
        ("oapl:beta1=1,beta1=2", "the parameter 'beta1' is given twice"),
        ("oapl:beta1=1,2", "'2' is not of the form key=value"),
        ("oapl:beta1=-1", "beta1 is -1"),
    ],
)
def test_wrong_algorithms_are_told_before_anything_is_read(tmp_path, capsys, text, message):
    assert run(tmp_path / "not-there.parquet", "--algorithm", text) == 2
    assert re.search(message, capsys.readouterr().err)


def test_an_objective_of_ones_own_can_be_audited(tmp_path, monkeypatch, capsys):
    (tmp_path / "mine.py").write_text(
        "import pessimism as ps\n"
        "def cubic(strength=0.5):\n"
        "    return ps.Algorithm(lambda l, a: a - strength * l**3, name='cubic')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert algorithm_of("mine:cubic:strength=2").name == "cubic"
    assert run(parquet(tmp_path / "log.parquet", log(groups=12)), "--algorithm", "mine:cubic") == 0
    assert "cubic" in capsys.readouterr().out
    (tmp_path / "wrong.py").write_text("import pessimism as ps\nbad = ps.Algorithm(lambda l, a: a.nope, name='bad')\n")
    assert run(tmp_path / "log.parquet", "--algorithm", "wrong:bad") == 2
    assert re.search(r"log.parquet, row 1: bad: AttributeError: .*'nope'", capsys.readouterr().err)


def test_a_level_other_than_the_sequence_is_said_to_be_an_approximation(tmp_path, capsys):
    path = parquet(tmp_path / "log.parquet", log(groups=12))
    assert run(path, "--algorithm", "grpo.no_ratio", "--algorithm", "oapl") == 0
    output = " ".join(capsys.readouterr().out.split())
    level = ps.algorithm("grpo.no_ratio").level
    assert output.count("treats each completion as one arm") == (level != "sequence")


def test_ids_are_cut_and_carry_no_control_characters():
    assert shown_id("a\x1b]0;owned\x07\n") == "'a\\x1b]0;owned\\x07\\n'"
    assert len(shown_id("x" * 1000)) == 62


def test_a_log_without_any_signal_says_so(tmp_path, capsys):
    path = parquet(tmp_path / "log.parquet", table(np.ones((5, 4))))
    assert run(path, "--algorithm", "oapl:beta1=1,beta2=0.5", "--html", tmp_path / "a.html") == 0
    assert "No signal: within every group all rewards agree" in " ".join(capsys.readouterr().out.split())


# --- JSON and Parquet -------------------------------------------------------------------------------------------------


def test_json_holds_what_the_python_result_holds(tmp_path, capsys):
    path = drifting(tmp_path / "log.parquet")
    assert run(path, "--algorithm", "oapl:beta1=1,beta2=0.5", "--json", "-") == 0
    text = capsys.readouterr().out
    found = json.loads(text)
    mine = run_audit([path], [ps.algorithm("oapl", beta1=1, beta2=0.5)])
    assert found["groups"] == 60
    assert found["sizes"] == {"4": 60}
    assert found["algorithms"][0]["regimes"] == mine.algorithms[0].regimes
    assert found["algorithms"][0]["quantiles"]["kl"]["50%"] == mine.algorithms[0].quantiles["kl"]["50%"]
    assert found["algorithms"][0]["realized"]["within groups"]["slope"] == pytest.approx(
        mine.algorithms[0].realized["within groups"]["slope"]  # type: ignore[index]
    )
    assert found["algorithms"][0]["top"][0]["group"].startswith("</td>")
    target = tmp_path / "out.json"
    assert run(path, "--algorithm", "oapl:beta1=1,beta2=0.5", "--json", target) == 0
    assert target.read_text() == text


@pytest.mark.parametrize("shuffled", [False, True])
def test_parquet_holds_every_group_and_sample(tmp_path, shuffled):
    rows = log(groups=30)
    if shuffled:  # a second pass begins the file anew
        rows = rows.take(pa.array(np.random.default_rng(0).permutation(len(rows))))
    path, target = parquet(tmp_path / "log.parquet", rows), tmp_path / "groups.parquet"
    arguments = ("--algorithm", "oapl:beta1=1,beta2=0.5", "--algorithm", "shifted_mean:beta=0.3")
    assert run(path, *arguments, "--parquet", target) == 0
    written = pq.read_table(target).to_pylist()
    assert len(written) == 60
    truth: dict[str, list[float]] = {}
    for row in rows.to_pylist():
        truth.setdefault(row["group"], []).append(row["reward"])
    by_name = {"oapl": ps.algorithm("oapl", beta1=1, beta2=0.5), "shifted_mean": ps.algorithm("shifted_mean", beta=0.3)}
    for row in written:
        target_of = ps.induced_target(
            ps.Bandit(np.full(4, 0.25), truth[row["group"]]), by_name[row["algorithm"].split("(")[0]]
        )
        assert row["reward"] == truth[row["group"]]
        np.testing.assert_allclose(row["log_ratio"], target_of.log_ratio, atol=1e-10)
        assert row["normalizer"] == pytest.approx(target_of.normalizer, abs=1e-10)
        assert row["regime"] == target_of.regime
        assert row["size"] == 4
    assert sorted(p.name for p in tmp_path.iterdir()) == ["groups.parquet", "log.parquet"]


def test_a_run_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, capsys):
    rows = log(groups=30).to_pylist()
    path = json_lines(tmp_path / "log.jsonl", rows)
    path.write_text(path.read_text() + "broken\n")
    target = tmp_path / "groups.parquet"
    target.write_bytes(b"old")
    assert run(path, "--algorithm", "oapl", "--parquet", target, "--html", tmp_path / "a.html") == 2
    assert "line 121: not JSON" in capsys.readouterr().err
    assert target.read_bytes() == b"old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["groups.parquet", "log.jsonl"]


# --- page -------------------------------------------------------------------------------------------------------------


def test_the_page_is_the_same_whenever_it_is_made(tmp_path):
    path = drifting(tmp_path / "log.parquet")
    algorithms = [ps.algorithm("oapl", beta1=1, beta2=0.5), ps.algorithm("asymre")]
    assert page(run_audit([path], algorithms)) == page(run_audit([path], algorithms))


def test_the_page_holds_nothing_of_the_log_as_markup(tmp_path):
    text = page(run_audit([drifting(tmp_path / "log.parquet")], [ps.algorithm("oapl", beta1=1, beta2=0.5)]))
    assert "<script" not in text
    assert "<img" not in text
    assert "&lt;script&gt;" in text
    assert "&amp;amp;" in text
    links = re.findall(r'(?:href|src)="(?!#)([^"]{0,40})', text)
    assert all(link.startswith("data:") for link in links)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium found (on Debian: apt install chromium)")
@pytest.mark.parametrize("width", [1200, 390])
def test_the_page_works_in_a_browser_without_a_network(tmp_path, width):
    playwright = pytest.importorskip("playwright.sync_api", reason="the browser tests need playwright")
    target = tmp_path / "audit.html"
    path = drifting(tmp_path / "log.parquet")
    assert run(path, "--algorithm", "oapl:beta1=1,beta2=0.5", "--algorithm", "asymre", "--html", target) == 0
    complaints: list[str] = []
    requests: list[str] = []
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        context = browser.new_context(viewport={"width": width, "height": 800}, offline=True)
        tab = context.new_page()
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("request", lambda request: requests.append(request.url))
        tab.on("dialog", lambda dialog: complaints.append(dialog.message))
        tab.goto(target.as_uri())
        assert tab.title() == "Audit of rollouts"
        assert complaints == []
        assert [url for url in requests if not url.startswith(("data:", target.as_uri()))] == []
        assert tab.locator("h2").all_inner_texts() == [
            "Objectives on these groups",
            "Settings that move as far",
            "oapl(beta1=1, beta2=0.5)",
            "asymre(shift=-0.1)",
        ]
        assert tab.locator("table").first.locator("tbody tr").count() == 2
        assert hashlib.sha256(path.read_bytes()).hexdigest() in tab.locator("footer").inner_text()
        smallest = "elements => Math.min(...elements.map(e => parseFloat(getComputedStyle(e).fontSize)))"
        assert tab.eval_on_selector_all("body *:not(svg *)", smallest) >= 12
        scaled = "e => parseFloat(getComputedStyle(e).fontSize) * Math.hypot(e.getScreenCTM().a, e.getScreenCTM().b)"
        assert tab.eval_on_selector_all(".pictures svg text", f"es => Math.min(...es.map({scaled}))") >= 12
        assert tab.locator("figure svg").count() == 6
        assert tab.locator(".pictures svg").count() == 4  # those of realized log-ratios are with the details
        sizes = [box.bounding_box() for box in tab.locator(".pictures svg").all()]
        assert all(box is not None and box["width"] > 200 and box["height"] > 100 for box in sizes)
        assert tab.evaluate("document.documentElement.scrollWidth") <= width
        shown = tab.get_by_text('<script>document.title="owned"</script>', exact=False)
        assert shown.count() > 0
        ids = tab.eval_on_selector_all("[id]", "elements => elements.map(element => element.id)")
        assert len(ids) == len(set(ids))
        browser.close()


# --- compare --rollouts -----------------------------------------------------------------------------------------------


def test_compare_takes_a_logged_group_as_its_bandit(tmp_path, capsys):
    rows = [{"prompt": p, "score": float(k > 1) + i} for i, p in enumerate("ab") for k in range(4)]
    path = json_lines(tmp_path / "log.jsonl", rows)
    shared = ("compare", "oapl", "beta1=1", "beta2=0.5", "--json", "-")
    columns = ("--column", "group=prompt", "--column", "reward=score")
    assert main([*shared, "--rollouts", str(path), "--group", "b", *columns]) == 0
    logged = json.loads(capsys.readouterr().out)
    assert main([*shared, "--behavior", "1/4,1/4,1/4,1/4", "--reward", "1,1,2,2"]) == 0
    assert logged == json.loads(capsys.readouterr().out)
    assert main([*shared, "--rollouts", str(path), *columns]) == 0
    assert json.loads(capsys.readouterr().out)["regime"] == ["positive", "positive"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rollouts", "x.jsonl", "--reward", "0,1"), "give --rollouts or --reward, not both"),
        (("--rollouts", "x.jsonl", "--bandit", "b.json"), "give --rollouts or --bandit, not both"),
        (("--group", "a", "--bandit", "b.json"), "--group goes with --rollouts"),
        (("--column", "reward=score", "--bandit", "b.json"), "--column goes with --rollouts"),
        (("--rollouts", "x.jsonl"), "x.jsonl: there is no such file"),
    ],
)
def test_compare_takes_rollouts_or_a_bandit(capsys, arguments, message):
    assert main(["compare", "oapl", *arguments]) == 2
    assert capsys.readouterr().err == f"error: {message}\n"


# --- what is not there ------------------------------------------------------------------------------------------------


def test_the_command_says_which_packages_it_lacks(tmp_path, monkeypatch, capsys):
    path = parquet(tmp_path / "log.parquet", log(groups=12))
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "polars" else object())
    for arguments in (["audit", str(path), "--algorithm", "oapl"], ["compare", "oapl", "--rollouts", str(path)]):
        assert main(arguments) == 2
        assert capsys.readouterr().err == "error: audits need packages that are not installed: pip install polars\n"


def test_commands_that_audit_nothing_load_none_of_its_packages():
    code = "import sys, pessimism.cli.main; print(sorted({'polars', 'pyarrow', 'matplotlib'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# --- groups of 0/1 rewards --------------------------------------------------------------------------------------------


def test_binary_groups_are_told_by_passes_and_others_are_not(tmp_path):
    reward = (np.random.default_rng(0).random((200, 4)) < 0.4).astype(float)
    algorithm = ps.algorithm("oapl", beta1=1, beta2=0.5)
    found = run_audit([parquet(tmp_path / "a.parquet", table(reward))], [algorithm]).algorithms[0].by_passes
    passes = reward.sum(axis=1)
    assert [(row["size"], row["passes"], row["groups"]) for row in found] == [
        (4, k, int((passes == k).sum())) for k in np.unique(passes).astype(int)
    ]
    for row in found:
        made = ps.compare_group([[1.0] * row["passes"] + [0.0] * (4 - row["passes"])], algorithm)
        assert row["kl"] == pytest.approx(float(made.induced_metrics.kl[0]), abs=1e-12)
        assert row["nominal_kl"] == pytest.approx(float(made.nominal_metrics.kl[0]), abs=1e-12)
    reward[-1, 0] = 0.5
    assert run_audit([parquet(tmp_path / "b.parquet", table(reward))], [algorithm]).algorithms[0].by_passes == []


def test_a_running_mean_keeps_the_whole_and_leaves_few_bins_alone():
    random = np.random.default_rng(0)
    sums, counts = random.random(200), random.integers(1, 9, 200).astype(float)
    smooth = running(sums, counts)
    width = 2 * (200 // 40) + 1
    expected = [
        sums[max(0, k - width // 2) : k + width // 2 + 1].sum()
        / counts[max(0, k - width // 2) : k + width // 2 + 1].sum()
        for k in range(200)
    ]
    np.testing.assert_allclose(smooth, expected)
    np.testing.assert_allclose(running(sums[:40], counts[:40]), sums[:40] / counts[:40])


def test_groups_of_equal_drive_are_one_row_of_the_page(tmp_path):
    reward = np.array([[0.0, 0.0, 1.0, 1.0]] * 30 + [[0.0, 0.0, 0.0, 1.0]] * 30)
    text = page(
        run_audit([parquet(tmp_path / "log.parquet", table(reward))], [ps.algorithm("oapl", beta1=1, beta2=0.5)])
    )
    assert text.count(" more like it</td>") == 1


@pytest.mark.parametrize("share", ["1", "0.5"])
def test_the_page_and_its_advice_come_from_one_reading(tmp_path, monkeypatch, share):
    """The command's own arguments stand on the page, whatever process it runs in, and the log is gone through once."""
    path = parquet(tmp_path / "log.parquet", table((np.random.default_rng(0).random((200, 4)) < 0.5).astype(float)))
    opened = []
    scanned = files._scanned
    monkeypatch.setattr(files, "_scanned", lambda *given: opened.append(given[-1]) or scanned(*given))
    monkeypatch.setattr(sys, "argv", ["somebody", "else"])
    target = tmp_path / "a page.html"
    arguments = [path, "--algorithm", "oapl:beta1=1,beta2=0.5", "--share", share, "--html", target]
    assert run(*arguments) == 0
    assert opened == [0]
    text = target.read_text("utf-8")
    assert "Settings that move as far" in text
    assert ("50.00% of the groups were looked at" in text) == (share == "0.5")
    assert html.escape(shlex.join(["pessimism", "audit", *map(str, arguments)])) in text
    assert "somebody" not in text
