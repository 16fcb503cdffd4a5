"""The run over a folder of repositories, and the metadata by which others use lint: hook and action."""

import csv
import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from scripts import lint_corpus, lint_verdicts

ROOT = Path(__file__).resolve().parent.parent
A2PO = "beta1: 0.5\nbeta2: 0.5\nnum_value_samples: 8\n"


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    files = {
        "one/run.yaml": A2PO,
        "one/compose.yaml": "services: {}\n",
        "one/broken.json": "{",
        "one/wrong.yaml": "num_generations: 8\nbeta: high\n",
        "one/model.py": "x = Config\n",
        "one/train.py": "config = SFTConfig(lr=1)\n",
        "one/node_modules/run.yaml": A2PO,
        "two/roll.yaml": "actor_train: {}\nactor_infer: {}\n",
        "two/notes.txt": "no",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_what_is_tabulated(corpus, tmp_path, capsys):
    lines = tmp_path / "lines.jsonl"
    assert lint_corpus.main([str(corpus), "--jobs", "1", "--lines", str(lines)]) == 0
    output = capsys.readouterr().out
    assert output.startswith("6 files of 2 repositories; 1 read (1 configurations), 5 refused, 0 tracebacks\n")
    assert "| one | not known | 5 | 1 | trl 1 |" in output
    assert "| beta-order | error | trl | 1 |" in output
    assert "| another framework, by name | ROLL | 1 |" in output
    assert "| told to be none's |  | 1 |" in output
    assert "| a value of the wrong kind |  | 1 |" in output
    assert "| not of its format |  | 1 |" in output
    outcomes = [json.loads(line) for line in lines.read_text().splitlines()]
    assert {one["path"] for one in outcomes if one["readings"]} == {"run.yaml"}


def test_the_draw_is_that_of_the_seed_and_of_each_repository(tmp_path, capsys):
    """Every repository offers its own files, each content once, whatever other repositories there are."""
    for name in ("a+one", "b+two"):
        for place in range(12):
            path = tmp_path / name / f"run{place}.yaml"
            path.parent.mkdir(exist_ok=True)
            path.write_text(
                f"{A2PO}num_generations: {place % 6 + 2}\n"
            )  # every content twice, and in both repositories
        (tmp_path / name / "compose.yaml").write_text("services: {}\n")
    drawn = lint_corpus.draw(tmp_path, 100, 1, 3)
    assert drawn == lint_corpus.draw(tmp_path, 100, 1, 3) != lint_corpus.draw(tmp_path, 100, 2, 3)
    contents = [(tmp_path / one.repository / one.path).read_text() for one in drawn]
    assert len(drawn) == len(set(contents)) == 6
    assert [one.repository for one in drawn].count("a+one") == 3
    alone = tmp_path / "alone"
    alone.mkdir()
    (tmp_path / "a+one").rename(alone / "a+one")
    assert lint_corpus.draw(alone, 100, 1, 3) == [one for one in drawn if one.repository == "a+one"]
    assert lint_corpus.draw(alone, 2, 1, 3) == lint_corpus.draw(alone, 100, 1, 3)[:2]
    assert lint_corpus.main([str(alone), "--sample", "2", "--seed", "1"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("1. [not known]\na+one/run")
    assert "beta-order" in output
    assert "\n3. " not in output


def test_a_traceback_is_told_and_fails(corpus, capsys, monkeypatch):
    def broken(path):
        raise KeyError("gone")

    monkeypatch.setattr(lint_corpus, "_readings", broken)
    outcome = lint_corpus.examine(str(corpus), "one", "run.yaml")
    assert "KeyError: 'gone'" in outcome.broken
    monkeypatch.setattr(lint_corpus, "examine_all", lambda root, jobs: ([outcome], {"one": "not known"}))
    assert lint_corpus.main([str(corpus)]) == 1
    assert "KeyError: 'gone'" in capsys.readouterr().out


def test_an_empty_folder_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit):
        lint_corpus.main([str(tmp_path)])
    assert "holds no file" in capsys.readouterr().err


def test_the_hook_starts_a_command_that_exists():
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    assert {"id", "name", "entry", "language"} <= set(hook)
    program, command, *options = shlex.split(hook["entry"])
    settings = (ROOT / "pyproject.toml").read_text()
    assert f'{program} = "pessimism.__main__:main"' in settings
    assert command == "lint"
    source = (ROOT / "pessimism" / "lint" / "command.py").read_text()
    assert all(f'"{option}"' in source for option in options)
    extra = (
        settings[settings.index("\nlint = ") :].partition("\n\n")[0]
        + settings[settings.index("\ncli = ") :].partition("]")[0]
    )
    assert all(f'"{needed}"' in extra for needed in hook["additional_dependencies"])


def test_the_action_is_composed_of_commands_that_bash_can_read():
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    assert action["runs"]["using"] == "composite"
    assert all(value["description"] and "default" in value for value in action["inputs"].values())
    for step in action["runs"]["steps"]:
        assert subprocess.run(["bash", "-n", "-c", step["run"]], capture_output=True).returncode == 0
        for text in step.get("env", {}).values():  # values reach the script as variables, never as its text
            assert text.removeprefix("${{ inputs.").removesuffix(" }}") in action["inputs"]
        assert "${{" not in step["run"]


COUNTS = [100, 60, 50, 48, 46, 46, 44, 46]


def test_a_sample_can_be_drawn_again_from_what_is_listed():
    text = (ROOT / "scripts" / "lint_samples.csv").read_text(encoding="utf-8")
    listed = list(csv.DictReader(text.splitlines()))
    given = lint_verdicts.verdicts()
    for sample, count in zip(lint_verdicts.SAMPLES[3:], COUNTS[3:], strict=True):
        own = [one for one in listed if one["sample"] == sample]
        assert {one["files"] for one in own} == {str(count)}
        assert len({(one["seed"], one["most"]) for one in own}) == 1
        commits = {one["repository"]: one["commit"] for one in own}
        assert len(commits) == len(own) >= 15
        drawn = [one for one in given if one.sample == sample]
        assert all(commits[one.repository] == one.commit for one in drawn)
        places = [lint_corpus.place_of(own[0]["seed"], one.repository.replace("/", "+"), one.path) for one in drawn]
        assert places == sorted(places)


def test_verdicts_are_whole_and_tabulated():
    given = lint_verdicts.verdicts()
    places = [(one.repository, one.path) for one in given]
    assert len(set(places)) == len(places)
    for one in given:
        assert one.sample in lint_verdicts.SAMPLES, one
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", one.repository), one
        assert re.fullmatch(r"[0-9a-f]{12}", one.commit), one
        assert {one.found, one.mended} <= {"right", "wrong"}, one
        assert one.why, one
        assert not (one.found == "right" and one.mended == "wrong"), one  # what was right is not made wrong
    samples = [{one.repository for one in given if one.sample == name} for name in lint_verdicts.SAMPLES]
    assert len(set().union(*samples)) == sum(len(one) for one in samples)  # every sample is of other repositories
    assert [sum(one.sample == name for one in given) for name in lint_verdicts.SAMPLES] == COUNTS
    text = "\n".join(lint_verdicts.summary(given))
    right = sum(one.sample == "second" and one.found == "right" for one in given)
    assert f"| second | 60 | {len(samples[1])} | {right} ({right / 60:.0%}) |" in text


def test_a_verdict_of_other_columns_is_refused(tmp_path):
    path = tmp_path / "verdicts.csv"
    path.write_text("sample,repository,commit,path,found,mended,why\nfirst,a/b,0,run.sh,right\n")
    with pytest.raises(ValueError, match=r"verdicts\.csv, line 2: the columns must be sample, repository"):
        lint_verdicts.verdicts(path)
    path.write_text("sample,repository,commit,path,found,mended,why\nfirst,a/b,c,d,right,maybe,\n", encoding="utf-8")
    with pytest.raises(ValueError, match="line 2: found and mended must be right or wrong"):
        lint_verdicts.verdicts(path)
