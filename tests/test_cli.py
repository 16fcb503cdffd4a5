"""The command line: what it prints, what it writes, how it fails. Numbers are compared with the package's own."""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

import pessimism as ps
from pessimism.claims import CLAIMS
from pessimism.claims.case import Case
from pessimism.claims.claim import Claim, Outcome
from pessimism.cli.compare import _written
from pessimism.cli.main import COMMANDS, app, main
from pessimism.cli.options import with_json_target
from pessimism.comparison import compare
from pessimism.shell.terminal import _lines
from pessimism.views.comparison_plot import LOOKS, comparison_image, notes, plot_comparison
from pessimism.views.tables import encode

ROOT = Path(__file__).resolve().parent.parent
INLINE = ["--behavior", "1/2,0.3,0.2", "--reward", "0,0,1"]
BANDIT = ps.Bandit([0.5, 0.3, 0.2], [0, 0, 1])

MODULE = """
import time
from dataclasses import replace
import pessimism as ps
from pessimism.claims import CLAIMS

claims = [replace(CLAIMS["awr.target"], id="my.claim")]

def cubic(power=3.0, baseline=0.0):
    return ps.Algorithm(lambda l, a: a - 0.5 * l**power, baseline=baseline, name="cubic")

finished = cubic()
markup = ps.Algorithm(lambda l, a: a - l, name="[red]$x$ :smile: \\u03c1[/]")
broken = ps.Algorithm(lambda l, a: undefined_name)
world = ps.Bandit([0.5, 0.3, 0.2], [0, 0, 1])

def slow():
    print("started", flush=True)
    time.sleep(60)
"""


def strict_json(text: str):
    def refuse(name):
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("COLUMNS", raising=False)
    yield tmp_path
    sys.modules.pop("mine", None)


@pytest.fixture
def run(capsys):
    """Run the command in this process: (status, output, error stream)."""

    def call(*arguments: str) -> tuple[int, str, str]:
        status = main(arguments)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def process(*arguments: str, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "pessimism", *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True,
        timeout=60,
    )


def typed(content: bytes) -> io.TextIOWrapper:
    """A standard input that holds the content."""
    return io.TextIOWrapper(io.BytesIO(content))


# --- compare --------------------------------------------------------------------------------------------------------


def test_compare_prints_the_table_and_the_verdict(folder, run):
    status, output, errors = run("compare", "oapl", "beta1=1", "beta2=0.5", *INLINE)
    comparison = compare(BANDIT, ps.algorithm("oapl", beta1=1.0, beta2=0.5))
    assert (status, errors) == (0, "")
    assert output.splitlines()[0] == "oapl(beta1=1, beta2=0.5)"
    assert output.splitlines()[-1] == comparison.verdict
    value = next(line for line in output.splitlines() if "value E" in line)
    metrics = (comparison.behavior_metrics, comparison.induced_metrics, comparison.nominal_metrics)
    assert [float(cell) for cell in value.split()[-5:-2]] == pytest.approx([m.value for m in metrics], abs=5e-5)


def test_compare_as_json_holds_the_same_numbers(folder, run):
    status, output, errors = run("compare", "grpo.no_ratio", *INLINE, "--json")
    expected = compare(BANDIT, ps.algorithm("grpo.no_ratio"))
    found = strict_json(output)
    assert (status, errors) == (0, "")
    assert found["verdict"] == expected.verdict
    assert found["induced"]["policy"] == expected.induced.policy.tolist()
    np.testing.assert_array_equal(np.array(found["induced"]["log_ratio"], dtype=float), expected.induced.log_ratio)
    assert found["induced"]["reverse_kl"] == "inf"


@pytest.mark.parametrize("where", ["world.json", "world.csv", "world.npz", "mine:world"])
def test_every_way_to_give_a_bandit_is_the_same(folder, run, where):
    (folder / "world.json").write_text('{"behavior": [0.5, 0.3, 0.2], "reward": [0, 0, 1]}')
    (folder / "world.csv").write_text("behavior,reward\n0.5,0\n0.3,0\n0.2,1\n")
    np.savez(folder / "world.npz", behavior=BANDIT.behavior, reward=BANDIT.reward)
    assert run("compare", "tpo", "--bandit", where, "--json") == run("compare", "tpo", *INLINE, "--json")


def test_an_inline_reference_counts(folder, run):
    given = ["--reference", "0.1,0.1,0.8"]
    _, output, _ = run("compare", "shifted_mean", "beta=0.5", *INLINE, *given, "--json")
    anchored = ps.Bandit([0.5, 0.3, 0.2], [0, 0, 1], [0.1, 0.1, 0.8])
    expected = ps.induced_target(anchored, ps.algorithm("shifted_mean", beta=0.5))
    assert strict_json(output)["induced"]["policy"] == expected.policy.tolist()


def test_negative_numbers_and_infinite_parameters_are_read(folder, run):
    _, output, errors = run(
        "compare", "awr", "cap=inf", "beta=1/2", "--reward", "-1,0", "--behavior", ".5,.5", "--json"
    )
    found = strict_json(output)
    assert errors == ""
    assert found["parameters"] == {"beta": 0.5, "cap": "inf"}
    assert found["induced"]["policy"] == pytest.approx([1 / (1 + np.e**2), 1 / (1 + np.e**-2)], rel=1e-12)


def test_an_objective_of_ones_own_takes_parameters(folder, run):
    status, output, _ = run("compare", "mine:cubic", "power=1", "baseline=0.2", *INLINE, "--json")
    linear = ps.Algorithm(lambda log_ratio, advantage: advantage - 0.5 * log_ratio, ps.baselines.constant(0.2))
    expected = ps.induced_target(BANDIT, linear)
    assert status == 0
    assert strict_json(output)["induced"]["policy"] == pytest.approx(expected.policy.tolist(), abs=1e-9)
    assert run("compare", "mine:finished", *INLINE)[1].startswith("cubic\n")


def test_names_are_shown_as_they_are(folder, run):
    status, output, errors = run("compare", "mine:markup", *INLINE, "--plot", "markup.png")
    assert (status, errors) == (0, "")
    assert output.startswith("[red]$x$ :smile: ρ[/]\n")


@pytest.mark.parametrize(("suffix", "magic"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("SVG", b"<?xml")])
def test_plots_are_of_the_kind_asked_for(folder, run, suffix, magic):
    status, _, errors = run("compare", "oapl", *INLINE, "--plot", f"picture.{suffix}")
    assert (status, errors) == (0, "")
    assert (folder / f"picture.{suffix}").read_bytes().startswith(magic)


def test_a_json_file_leaves_the_table(folder, run):
    _, table, _ = run("compare", "oapl", *INLINE)
    _, output, _ = run("compare", "oapl", *INLINE, "--json", "result.json")
    assert output == table
    assert (
        encode(strict_json((folder / "result.json").read_text())) + "\n"
        == run("compare", "oapl", *INLINE, "--json", "-")[1]
    )


# --- catalogue ------------------------------------------------------------------------------------------------------


def test_the_catalogue_lists_every_entry_uncut(folder, run):
    _, output, _ = run("catalogue")
    lines = {line.split()[0]: line for line in output.splitlines() if line.strip()}
    for name, entry in ps.catalogue().items():
        assert entry.coefficient in lines[name]
        assert entry.target in lines[name]
    assert "…" not in output


@pytest.mark.parametrize("name", ps.catalogue())
def test_one_entry_is_shown_in_full(folder, run, name):
    entry = ps.catalogue()[name]
    _, output, _ = run("catalogue", name)
    for text in (entry.title, entry.coefficient, entry.target, entry.source, entry.notes, *entry.parameters):
        assert text in output


def test_the_catalogue_as_json_holds_every_entry(folder, run):
    _, output, _ = run("catalogue", "--json")
    assert [entry["name"] for entry in strict_json(output)] == list(ps.catalogue())
    assert run("catalogue", "--json", "oapl") == run("catalogue", "oapl", "--json", "-")
    _, output, _ = run("catalogue", "--family", "weighted", "--json")
    assert {entry["family"] for entry in strict_json(output)} == {"weighted"}


def test_a_narrow_terminal_wraps_and_cuts_nothing(folder, run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    _, output, _ = run("catalogue")
    assert max(map(len, output.splitlines())) <= 80
    assert "…" not in output
    words = set(output.split())
    assert all(set(entry.coefficient.split()) | {name} <= words for name, entry in ps.catalogue().items())


def test_the_bandit_of_a_command_that_names_none_is_said(folder, run):
    status, output, _ = run("compare", "oapl", "beta2=.5")
    assert status == 0
    assert output.splitlines()[-1] == "bandit: 0.5,0.3,0.2 with rewards 0,0,1"
    assert output.splitlines()[:-1] == run("compare", "oapl", "beta2=.5", *INLINE)[1].splitlines()


@pytest.mark.parametrize("kind", ["json", "csv", "npz"])
def test_a_bandit_comes_from_standard_input_too(folder, run, monkeypatch, kind):
    packed = io.BytesIO()
    np.savez(packed, behavior=BANDIT.behavior, reward=BANDIT.reward)
    contents = {
        "json": b'\xef\xbb\xbf {"behavior": [0.5, 0.3, 0.2], "reward": [0, 0, 1]}',
        "csv": b"behavior,reward\n0.5,0\n0.3,0\n0.2,1\n",
        "npz": packed.getvalue(),
    }
    monkeypatch.setattr(sys, "stdin", typed(contents[kind]))
    assert run("compare", "tpo", "--bandit", "-", "--json") == run("compare", "tpo", *INLINE, "--json")


def test_several_objectives_stand_side_by_side(folder, run):
    given = ("oapl:beta1=1", "beta2=.5", "grpo", "mine:finished")
    status, output, errors = run("compare", *given, *INLINE, "--plot", "several.png")
    assert (status, errors) == (0, "")
    assert (folder / "several.png").read_bytes().startswith(b"\x89PNG")
    lines = output.splitlines()
    for text in ("oapl:beta1=1,beta2=.5", "grpo"):
        comparison = ps.compare(BANDIT, text)
        first = lines.index(str(comparison.algorithm))
        found = [[float(cell) for cell in line.split()[1:]] for line in lines[first + 1 : first + 3]]
        metrics = (comparison.induced_metrics, comparison.nominal_metrics)
        assert [row[0] for row in found] == pytest.approx([m.value for m in metrics], abs=5e-5)
        assert [row[1] for row in found] == pytest.approx([m.kl for m in metrics], abs=5e-5)
        assert f"{comparison.algorithm}: {comparison.verdict}" in lines
    _, text, _ = run("compare", *given, *INLINE, "--json")
    assert [each["algorithm"] for each in strict_json(text)] == ["oapl", "grpo", "cubic"]


def test_words_after_an_objective_are_its_settings_and_no_others():
    assert _written(["oapl:beta1=1", "beta2=.5", "dro", "beta=1", "mine.py:robust:beta=2"]) == [
        ("oapl", ["beta1=1", "beta2=.5"]),
        ("dro", ["beta=1"]),
        ("mine.py:robust", ["beta=2"]),
    ]


@pytest.mark.parametrize("style", LOOKS)
def test_pictures_are_as_wide_as_asked_for_and_hold_the_verdict(style):
    from matplotlib.image import imread

    comparisons = [ps.compare(BANDIT, text) for text in ("oapl", "grpo", "dro:beta=.3", "awr")]
    for several in (comparisons[:1], comparisons):
        image = imread(io.BytesIO(comparison_image(several, "png", style, 5.0)))
        assert image.shape[1] == 1000  # at 200 dots per inch
    figure = plot_comparison(comparisons[0], style)
    assert figure.get_figwidth() == LOOKS[style].width
    assert " ".join(figure.axes[0].get_xlabel().split()).endswith(comparisons[0].verdict)


def test_a_picture_says_where_training_can_end_elsewhere():
    fragile = ps.compare(BANDIT, ps.algorithm("dro", beta=0.5, baseline=0.9))
    assert fragile.regime == "negative"
    assert ("Several limits" in notes(fragile)) == (not fragile.induced.unique)
    assert "Several limits" in notes(ps.compare(BANDIT, "grpo"))  # path-dependent: its coefficient jumps
    assert "Several limits" not in notes(ps.compare(BANDIT, "oapl"))


# --- errors ---------------------------------------------------------------------------------------------------------

BAD = {
    ("nothing",): "No such command 'nothing'",
    ("--nothing",): "No such option: --nothing",
    ("catalogue", "--nothing"): "No such option: --nothing",
    ("catalogue", "oap"): "unknown algorithm 'oap'; did you mean oapl",
    ("catalogue", "--family", "none"): "unknown family 'none'; known families: policy gradient",
    ("catalogue", "--family", "ratoi"): "did you mean ratio?",
    ("catalogue", "oapl", "--family", "ratio"): "give a NAME or a --family",
    ("catalogue", "oapl", "dpo"): "unexpected extra argument",
    ("compare",): "Missing argument 'ALGORITHM",
    ("compare", "oapl", "--reward", "1"): "--behavior is missing",
    ("compare", "beta=1", "oapl"): "'beta=1' comes before any objective",
    ("compare", "oapl", "oalp", *INLINE): "unknown algorithm 'oalp'; did you mean oapl",
    ("compare", "oapl", "--bandit", "-"): "standard input: it is empty",
    ("compare", "oapl", *INLINE, "--style", "paper"): "--style goes with --plot",
    ("compare", "oapl", *INLINE, "--width", "3"): "--width goes with --plot",
    ("compare", "oapl", *INLINE, "--plot", "x.png", "--style", "papre"): "unknown style 'papre'; did you mean paper?",
    ("compare", "oapl", *INLINE, "--plot", "x.png", "--width", "0"): "width is 0; it must be between 1 and 40 inches",
    ("compare", "oapl", "--behavior", "1"): "--reward is missing",
    ("compare", "oap", *INLINE): "unknown algorithm 'oap'",
    (
        "compare",
        "oapl",
        "beta=1",
        *INLINE,
    ): "no parameter 'beta'; did you mean beta2 or beta1? known parameters: beta1, beta2, baseline",
    ("compare", "oapl", "beta1=1", "beta1=1", *INLINE): "'beta1' is given twice",
    ("compare", "oapl", "beta1", *INLINE): "unknown algorithm 'beta1'",
    ("compare", "oapl", "beta1=one", *INLINE): "beta1: 'one' is not a finite number",
    ("compare", "oapl", "beta1=-1", *INLINE): "beta1 is -1.0; it must be",
    ("compare", "oapl", "--behavior", "0.5,0.4", "--reward", "0,1"): "behavior sums to 0.9",
    ("compare", "oapl", "--behavior", "0.5,,0.5", "--reward", "0,1"): "behavior[1]: '' is not a finite number",
    ("compare", "oapl", "--behavior", "1,0", "--reward", "0"): "behavior has 2, reward has 1",
    ("compare", "oapl", *INLINE, "--bandit", "x.json"): "give --bandit or --behavior, not both",
    ("compare", "oapl", "--bandit", "x.json"): "x.json: No such file",
    ("compare", "oapl", "--bandit", "mine:cubic"): "returns an object of type Algorithm; it must be of type Bandit",
    ("compare", "mine:world", *INLINE): "is of type Bandit; it must be of type Algorithm",
    ("compare", "mine:finished", "power=1", *INLINE): "finished Algorithm; it takes no power",
    ("compare", "mine:broken", *INLINE): "NameError: name 'undefined_name' is not defined (mine.py, line 14)",
    ("compare", "mine:none", *INLINE): "module 'mine' has no 'none'",
    ("compare", "oapl", *INLINE, "--plot", "x.bmp"): "the suffix is '.bmp'; it must be one of .png, .pdf, .svg",
    ("compare", "oapl", *INLINE, "--plot", "none/x.png"): "there is no folder 'none'",
    ("compare", "oapl", *INLINE, "--json", "none/x.json"): "there is no folder 'none'",
    ("compare", "awr", *INLINE, "--reference", "1,0,0"): "reference[1] is 0 where behavior is positive",
    ("verify", "--claim", "none"): "unknown claim 'none'; `pessimism verify --list` lists them all",
    ("verify", "--claim", "regimes.sing"): "did you mean regimes.sign",
    ("verify", "--claims", "none.claims:CLAIMS"): "none.claims:CLAIMS: no module 'none' in the current directory",
    ("verify", "--claims", "mine:world"): "mine:world is of type Bandit; it must be of type Sequence",
    ("verify", "--claims", "mine"): "'mine' is not of the form module:name",
    ("verify", "--seed", "-1"): "--seed",
    ("verify", "--seed", "one"): "--seed",
    ("verify", "--bandit", "x.npz"): "x.npz: No such file",
    ("verify", "--algorithm", "oalp"): "did you mean oapl",
    ("verify", "--json=none/x.json"): "there is no folder 'none'",
}


@pytest.mark.parametrize(("arguments", "message"), BAD.items(), ids=[" ".join(arguments) for arguments in BAD])
def test_bad_input_is_one_line_and_status_2(folder, run, monkeypatch, arguments, message):
    monkeypatch.setattr(sys, "stdin", typed(b""))
    status, output, errors = run(*arguments)
    assert (status, output) == (2, "")
    assert errors.startswith("error: ")
    assert message in errors
    assert errors.count("\n") == 1


def test_errors_come_before_work_and_leave_no_file(folder, run):
    run("compare", "oapl", *INLINE, "--json", "result.json", "--plot", "x.bmp")
    assert os.listdir(folder) == ["mine.py"]


# --- verify ---------------------------------------------------------------------------------------------------------


def test_verify_reports_and_passes(folder, run):
    status, output, errors = run("verify", "--claim", "regression.normalizer", "--json")
    (outcome,) = strict_json(output)["claims"]
    assert (status, errors) == (0, "")
    assert outcome["verdict"] == "holds"
    assert outcome["worst"] <= outcome["tolerance"]
    assert outcome["instances"] >= 1000


def outcome(name: str, verdict: str, **fields) -> Outcome:
    case = Case("random", ps.Bandit([[0.25, 0.75]], [[0.0, 1.0]]), beta=0.5)
    claim = Claim(name, f"statement of {name}", "derived here", (), lambda case: np.zeros(case.size), tolerance=1e-9)
    defaults = {"worst": 1e-12, "instances": 1234, "seconds": 0.5, "counterexample": case}
    return Outcome(claim, verdict, **(defaults | fields))


HOLDS = outcome("a.holds", "holds", counterexample=None, proof=True)
REFUTED = outcome("b.refuted", "refuted", worst=0.5)


@pytest.mark.parametrize(
    ("found", "status", "shown"),
    [
        (HOLDS, 0, "1 claim: 1 hold (1 proved), 0 refuted as expected, 0 failed; 1,234 instances"),
        (REFUTED, 0, "counterexample: behavior = [0.25, 0.75], reward = [0., 1.], beta = 0.5"),
        (outcome("c.fails", "FAILS", worst=0.125), 1, "worst residual 0.125, allowed 1e-09"),
        (outcome("c.sick", "FAILS", worst=float("nan")), 1, "worst residual nan"),
        (outcome("c.raises", "FAILS", error="TypeError: no"), 1, "raised TypeError: no"),
        (outcome("c.survives", "NOT REFUTED", counterexample=None), 1, "statement of c.survives"),
        (outcome("c.untried", "FAILS", worst=float("nan"), instances=0), 1, "tried on no instance"),
        (outcome("c.unproved", "holds", proof=False), 1, "sympy does not confirm the proof"),
    ],
    ids=lambda found: found.claim.id if isinstance(found, Outcome) else None,
)
def test_verify_tells_what_failed_and_exits_1(folder, run, monkeypatch, found, status, shown):
    monkeypatch.setattr("pessimism.claims.verify", lambda *_, **__: [found])
    assert run("verify", "--json=outcomes.json")[0] == status
    code, output, errors = run("verify")
    assert (code, errors) == (status, "")
    assert shown in output
    row = next(line for line in output.splitlines() if line.startswith(found.claim.id))
    assert found.verdict in row
    assert f"{found.instances:,}" in row
    (written,) = strict_json((folder / "outcomes.json").read_text())["claims"]
    assert written["verdict"] == found.verdict


def test_verify_lists_claims_with_their_statements(folder, run):
    status, output, errors = run("verify", "--list", "--claims", "mine:claims")
    assert (status, errors) == (0, "")
    words = " ".join(output.split())
    assert all(name in words and CLAIMS[name].statement in words for name in CLAIMS)
    assert "my.claim" in words
    _, text, _ = run("verify", "--list", "--claim", "regimes.sign", "--json")
    (listed,) = strict_json(text)
    assert listed["statement"] == CLAIMS["regimes.sign"].statement


def test_quiet_prints_only_what_is_wrong(folder, run, monkeypatch):
    monkeypatch.setattr("pessimism.claims.verify", lambda *_, **__: [HOLDS, REFUTED])
    assert run("verify", "--quiet") == (0, "", "")
    monkeypatch.setattr("pessimism.claims.verify", lambda *_, **__: [HOLDS, outcome("c.fails", "FAILS", worst=0.125)])
    status, output, _ = run("verify", "-q")
    assert status == 1
    assert "c.fails" in output
    assert "a.holds" not in output


def test_statements_of_what_was_asked_for_are_shown(folder, run, monkeypatch):
    monkeypatch.setattr("pessimism.claims.verify", lambda *_, **__: [HOLDS])
    assert "statement of a.holds" not in run("verify")[1]
    assert "statement of a.holds" in run("verify", "--claim", "regimes.sign")[1]


def test_a_shell_completes_commands_names_and_claims():
    def completed(words: str) -> list[str]:
        told = process(_PESSIMISM_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(len(words.split()) - 1))
        return told.stdout.decode().split()

    assert completed("pessimism comp") == ["compare"]
    assert completed("pessimism compare oapl.si") == ["oapl.single_beta"]
    assert completed("pessimism verify --claim regimes.s") == ["regimes.sign"]


def test_verify_hands_on_what_it_was_given(folder, run, monkeypatch):
    calls = []

    def record(claims, seed, **options):
        calls.append((claims, seed, options))
        return [HOLDS]

    monkeypatch.setattr("pessimism.claims.verify", record)
    given = ["--seed", "7", "--bandit", "mine:world", "--algorithm", "mine:cubic", "--claim", "regimes.*"]
    given += ["--claims", "mine:claims"]
    run("verify", *given, "--claim", "cql.fixed_point", "--claim", "my.*")
    ((claims, seed, options),) = calls
    chosen = {name for name in CLAIMS if name.startswith("regimes.")} | {"cql.fixed_point", "my.claim"}
    assert {claim.id for claim in claims} == chosen
    assert seed == 7
    assert [bandit.reward.tolist() for bandit in options["extra_bandits"]] == [[0, 0, 1]]
    assert options["algorithm"].name == "cubic"
    assert options["places"] == ["mine:claims"]


# --- parts ----------------------------------------------------------------------------------------------------------


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=10,
    )
)
def test_json_is_strict_and_holds_what_it_was_given(value):
    def plain(part):
        if isinstance(part, float) and not np.isfinite(part):
            return {np.inf: "inf", -np.inf: "-inf"}.get(part, "nan")
        if isinstance(part, list):
            return [plain(inner) for inner in part]
        return {key: plain(inner) for key, inner in part.items()} if isinstance(part, dict) else part

    assert strict_json(encode(value)) == plain(value)


def test_progress_in_a_pipe_is_a_line_now_and_then(monkeypatch, capsys):
    now = [0.0]
    monkeypatch.setattr("pessimism.shell.terminal.time.monotonic", lambda: now[0])
    tell = _lines()
    for now[0] in range(0, 101):
        tell(int(now[0]), 101, "cells")
    assert capsys.readouterr().err.splitlines() == [
        "10 of 101 done after 10 s: cells",
        "70 of 101 done after 70 s: cells",
    ]


def test_the_file_of_json_may_be_left_out():
    assert with_json_target(["--json"]) == ["--json", "-"]
    assert with_json_target(["--json", "-"]) == ["--json", "-"]
    assert with_json_target(["--json", "--seed", "1"]) == ["--json", "-", "--seed", "1"]
    assert with_json_target(["--json=x.txt", "y"]) == ["--json=x.txt", "y"]


# --- as a process ---------------------------------------------------------------------------------------------------


def test_version_and_help():
    assert process("--version").stdout.decode().split() == ["pessimism", ps.__version__]
    for arguments in ([], ["--help"]):
        finished = process(*arguments)
        assert finished.returncode == 0
        assert all(name in finished.stdout.decode() for name in ("verify", "compare", "catalogue"))


def test_statuses_of_the_process(folder):
    finished = process("compare", "oapl", "--bandit", "missing.json", cwd=folder)
    assert (finished.returncode, finished.stdout) == (2, b"")
    assert finished.stderr.decode() == "error: missing.json: No such file or directory\n"


def test_any_name_prints_in_any_locale(folder):
    finished = process("compare", "mine:markup", *INLINE, cwd=folder, PYTHONIOENCODING="ascii", PYTHONUTF8="0")
    assert (finished.returncode, finished.stderr) == (0, b"")
    assert finished.stdout.startswith(rb"[red]$x$ :smile: \u03c1[/]")
    assert finished.stdout.isascii()


def test_a_reader_that_stops_is_no_error():
    program = f"{sys.executable} -m pessimism catalogue --json | head -n 1; echo ${{PIPESTATUS[0]}} >&2"
    finished = subprocess.run(["bash", "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert finished.stdout == "[\n"
    assert finished.stderr in ("141\n", "0\n")  # 0 where the pipe took everything before head left


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_line():
    program = f"{sys.executable} -m pessimism catalogue > /dev/full"
    finished = subprocess.run(["bash", "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert finished.returncode == 2
    assert finished.stderr == "error: [Errno 28] No space left on device\n"


def test_an_interrupt_is_quiet(folder):
    command = [sys.executable, "-m", "pessimism", "compare", "mine:slow", *INLINE]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # Where the tests run in the background the signal is ignored, and a child would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"started\n"
        running.send_signal(signal.SIGINT)
        _, errors = running.communicate(timeout=30)
    assert (running.returncode, errors) == (130, b"")


def test_help_and_catalogue_load_nothing_heavy():
    program = (
        "import sys; from pessimism.cli.main import main; main(['catalogue']); main(['--help']); "
        "print({'sympy', 'hypothesis', 'matplotlib', 'torch'} & set(sys.modules), file=sys.stderr)"
    )
    finished = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert finished.stderr == "set()\n"


def test_a_command_loads_only_what_it_needs():
    program = (
        "import sys; from pessimism.cli.main import main; main(['--help']); main(['compare', 'oapl:beta2=.5']); "
        "print([name for name in sys.modules if name.endswith('.command') or name == 'pessimism.lint.linter' "
        "or name == 'pessimism.cli.verify'], file=sys.stderr)"
    )
    finished = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert finished.stderr == "['pessimism.audit.command']\n"  # compare takes bandits from logs


def test_every_command_that_is_listed_is_there():
    group = typer.main.get_command(app)
    assert list(group.commands) == list(COMMANDS)  # type: ignore[attr-defined]
    for name in COMMANDS:
        assert group.commands[name].callback.__doc__  # type: ignore[attr-defined]


def test_an_objective_is_written_in_one_way_or_with_its_parameters_apart(run):
    _, together, _ = run("compare", "oapl:beta1=1,beta2=.5", *INLINE)
    _, apart, _ = run("compare", "oapl", "beta1=1", "beta2=1/2", *INLINE)
    assert together == apart
    assert "oapl(beta1=1, beta2=0.5)" in together
    status, _, error = run("compare", "oapl:beta1=1", "beta1=2", *INLINE)
    assert status == 2
    assert "'beta1' is given twice" in error
