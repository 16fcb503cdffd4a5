"""The command ``pessimism lint``: what it prints, in which format, and its exit status."""

import json
import re
from pathlib import Path

import pytest

from pessimism.lint.command import lint_command
from pessimism.shell.terminal import new_app, run_app

DATA = Path(__file__).parent / "data" / "lint"
RLOO = str(DATA / "trl_rloo.yaml")
A2PO = str(DATA / "trl_a2po.yaml")  # its targets have closed forms, so that these tests are quick
OAPL = str(DATA / "trl_adapter.yaml")


@pytest.fixture
def run(capsys, monkeypatch):
    """Runs the command and returns exit status, output and error output."""
    monkeypatch.setenv("COLUMNS", "120")
    app = new_app("lint")
    app.command()(lint_command)

    def call(*arguments: str):
        status = run_app(app, "pessimism lint", arguments)
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return call


def test_a_clean_configuration(run):
    status, output, errors = run(A2PO)
    assert (status, errors) == (0, "")
    assert "a_star_po(beta1=0.5, beta2=0.001)" in output
    assert re.search(r"1 of 8\s+0\.1250\s+1\.0000\s+1\.0000\s+8\s.*positive\s+interior", output)
    assert output.endswith("no findings\n")
    assert max(map(len, output.splitlines())) <= 120


def test_findings_decide_the_exit_status(run):
    wrong = (A2PO, "beta2=0.5")
    assert run(*wrong)[0] == 1
    assert run(*wrong, "--fail-on", "error")[0] == 1
    assert run(*wrong, "--fail-on", "never")[0] == 0
    dropped = (A2PO, "filter_all_incorrect=true")
    assert run(*dropped)[0] == 0
    assert run(*dropped, "--fail-on", "note")[0] == 1


def test_a_finding_tells_severity_place_reason_fix_and_source(run):
    status, output, _ = run(OAPL, "top_p=0.95")
    assert status == 1
    assert "error truncated-sampling (top_p): top_p is 0.95" in output
    assert "fix: Sample from the policy itself" in output
    assert "source: trl#6789; vllm#42259" in output
    assert output.endswith("1 error\n")


def test_several_files(run):
    status, output, _ = run(A2PO, OAPL, "top_p=0.9")
    assert status == 1
    assert output.count("top_p is 0.9") == 2
    assert output.endswith("2 configurations: 2 errors\n")


def test_json_is_whole_and_says_the_same(run):
    status, output, _ = run(A2PO, "beta2=0.7", "--format", "json")
    assert status == 1
    (report,) = json.loads(output)
    assert report["objective"]["entry"] == "a_star_po"
    assert report["objective"]["parameters"] == {"beta1": 0.5, "beta2": 0.7}
    assert {group["regime"] for group in report["reference_groups"]} == {"negative"}
    assert {group["group_size"] for group in report["reference_groups"]} == {4, 8, 16}
    found = {finding["rule"]: finding for finding in report["findings"]}
    assert set(found) == {"beta-order", "negative-regime"}
    assert found["beta-order"]["severity"] == "error"
    assert found["beta-order"]["key"] == "beta2"
    assert all(finding["reason"] and finding["source"] and finding["fix"] for finding in report["findings"])


def test_github_annotations_point_at_the_line(run, tmp_path):
    path = tmp_path / "odd, name: 100%.yaml"
    path.write_text("beta1: 0.5\nbeta2: 0.5\nfilter_all_incorrect: false\n")
    status, output, _ = run(str(path), "--format", "github")
    assert status == 1
    (line,) = output.splitlines()
    where = str(path).replace("%", "%25").replace(":", "%3A").replace(",", "%2C")
    assert line.startswith(f"::error file={where},line=2,title=pessimism beta-order::beta2: beta2 = 0.5 equals beta1")


def test_values_cannot_write_workflow_commands(run, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text('num_generations: 8\nloss_type: "x\\n::error::gone\\r::set-output name=a::b"\n')
    _, output, _ = run(str(path), "--format", "github")
    assert all(line.startswith(("::warning file=", "::notice file=", "::error file=")) for line in output.splitlines())
    assert len(output.splitlines()) == len(re.findall(r"title=pessimism", output))


def test_an_objective_that_cannot_be_told_still_has_findings(run, tmp_path):
    path = tmp_path / "run.yaml"
    path.write_text("loss_type: mine\ntop_p: 0.9\nnum_generations: 8\n")
    status, output, _ = run(str(path))
    assert status == 1
    assert "cannot tell what the objective is: loss_type is 'mine'; known GRPO losses: grpo" in " ".join(output.split())
    assert "top_p is 0.9" in output
    assert "Where it drives" not in output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no configuration is given"),
        (("beta=1",), "no configuration is given"),
        (("missing.yaml",), "missing.yaml: No such file or directory"),
        ((A2PO, "--format", "xml"), "--format xml: known formats: text, json, github, sarif"),
        ((A2PO, "--fail-on", "errors"), "--fail-on errors: did you mean error?"),
        ((A2PO, "--trainer", "trk"), "unknown trainer 'trk'; did you mean trl?"),
        ((A2PO, "a b=1"), "'a b=1' is not of the form key.path=value"),
        ((A2PO, "beta2=high"), "beta2 is 'high'; it must be a number"),
        ((A2PO, "beta2=[1"), "not YAML"),
    ],
)
def test_bad_input_is_one_line_and_status_2(run, arguments, message):
    status, output, errors = run(*arguments)
    assert status == 2
    assert output == ""
    assert message in errors
    assert errors.count("\n") == 1


def test_a_file_whose_name_has_an_equals_sign_is_a_file(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("beta=1.yaml").write_text("num_value_samples: 4\nbeta2: 1e-3\n")
    status, output, _ = run("beta=1.yaml")
    assert "A2POConfig" in output
    assert status == 0


def test_rules_can_be_listed(run):
    status, output, _ = run("--rules", "--format", "json")
    assert status == 0
    listed = json.loads(output)
    assert "cispo-cap" in {rule["id"] for rule in listed}
    assert all(rule["severity"] in ("note", "warning", "error") for rule in listed)
    status, output, _ = run("--rules")
    assert status == 0
    assert "truncated-sampling" in output


def test_another_kind_of_trl_configuration_can_be_asked_for(run):
    _, output, _ = run(RLOO, "--trainer", "trl-grpo", "--format", "json", "epsilon=1e-4")
    assert json.loads(output)[0]["configuration"] == "GRPOConfig"


def test_sarif_has_what_code_scanning_asks_for(run, tmp_path, monkeypatch):
    """The properties that SARIF 2.1.0 requires, and the ties between results and rules."""
    monkeypatch.chdir(tmp_path)
    Path("odd name#1.yaml").write_text("beta1: 0.5\nbeta2: 0.5\nfilter_all_incorrect: false\n")
    Path("other.yaml").write_text("services: {}\n")
    status, output, _ = run("./odd name#1.yaml", "other.yaml", A2PO, "top_p=0.9", "--only-known", "--format", "sarif")
    assert status == 1
    log = json.loads(output)
    assert log["version"] == "2.1.0"
    (one,) = log["runs"]
    driver = one["tool"]["driver"]
    assert driver["name"] == "pessimism"
    ids = [rule["id"] for rule in driver["rules"]]
    assert len(set(ids)) == len(ids)
    for text in (
        rule[part]["text"] for rule in driver["rules"] for part in ("shortDescription", "fullDescription", "help")
    ):
        assert text.strip()
    (invocation,) = one["invocations"]
    assert invocation["executionSuccessful"] is True
    (passed,) = invocation["toolExecutionNotifications"]
    assert passed["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "other.yaml"
    places = {}
    for result in one["results"]:
        assert ids[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in ("note", "warning", "error")
        assert result["message"]["text"]
        (location,) = result["locations"]
        physical = location["physicalLocation"]
        assert physical["region"]["startLine"] >= 1
        places[result["ruleId"], physical["artifactLocation"]["uri"]] = physical["region"]["startLine"]
    assert places["beta-order", "odd%20name%231.yaml"] == 2
    assert places["truncated-sampling", Path(A2PO).as_uri()] == 1


def test_only_known_passes_over_what_is_no_configuration(run, tmp_path):
    other, broken = tmp_path / "compose.yaml", tmp_path / "template.yaml"
    other.write_text("services: {}\n")
    broken.write_text("a: {{ value }}\n  b\n")
    assert run(A2PO, str(other))[0] == 2
    status, output, errors = run(A2PO, str(other), str(broken), "--only-known")
    assert (status, errors) == (0, "")
    assert output.endswith("2 files are no configuration that is read, and passed over\n")
    assert run(str(other), "--only-known")[0] == 0
    assert run(A2PO, "beta2=high", "--only-known")[0] == 2  # one of ours, with a wrong value
