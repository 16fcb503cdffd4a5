"""Reading configuration files: every format, lines of keys, and files that are broken or hostile."""

import io
from pathlib import Path

import pytest

from pessimism.lint import lint, linter
from pessimism.trainers import formats
from pessimism.trainers.document import Document, read_document
from pessimism.trainers.hydra import split_override
from pessimism.trainers.reader import Reader

DATA = Path(__file__).parent / "data" / "lint"


def written(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("name", sorted(path.name for path in DATA.iterdir() if path.suffix != ".json"))
def test_lines_are_those_of_the_keys(name):
    found = read_document(DATA / name)
    text = (DATA / name).read_text().splitlines()
    assert found.lines
    for key, line in found.lines.items():
        last = key.rpartition(".")[2]
        assert last.isdecimal() or last in text[line - 1]


def test_every_format_gives_the_same_values(tmp_path):
    nested = {"a": {"b": 2, "c": [1, {"d": "text"}]}}
    yaml = written(tmp_path, "x.yaml", "a:\n  b: 2\n  c:\n    - 1\n    - {d: text}\n")
    json = written(tmp_path, "x.json", '{"a": {"b": 2, "c": [1, {"d": "text"}]}}')
    toml = written(tmp_path, "x.toml", '[a]\nb = 2\nc = [1, {d = "text"}]\n')
    shell = written(tmp_path, "x.sh", "two=2\npython3 -m trainer \\\n  a.b=$two \\\n  'a.c=[1, {d: text}]' $@\n")
    for path in (yaml, json, toml, shell):
        assert read_document(path).values == nested


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.txt", "a: 1", "the suffix is '.txt'; it must be one of .yaml, .yml, .json, .toml, .sh, .bash, "),
        ("x.yaml", "", "the file is empty"),
        ("x.yaml", "  \n", "the file is empty"),
        ("x.yaml", b"a: \xff\xfe", "not UTF-8 text (byte 0xff at position 3)"),
        ("x.yaml", "- 1\n- 2\n", "the outermost value is a list; it must be a mapping of keys to values"),
        ("x.yaml", "just words", "the outermost value is a text"),
        ("x.yaml", "# nothing\n", "the outermost value is empty"),
        ("x.yaml", "a: 1\nb: [1, 2\n", "line 3: not YAML"),
        ("x.yaml", "a: 1\n\tb: 2\n", "line 2: not YAML"),
        ("x.yaml", "a: 1\nb:\n  c: 1\n  c: 2\n", "line 4: the key 'b.c' appears twice"),
        ("x.yaml", "a: 1\n---\nb: 2\n", "not YAML: but found another document"),
        (
            "x.yaml",
            "a: !!python/object/apply:os.system ['true']\n",
            "line 1: tag:yaml.org,2002:python/object/apply:os.system is no plain list or mapping",
        ),
        ("x.yaml", "a: !include other.yaml\n", "line 1: not YAML: could not determine a constructor"),
        ("x.yaml", "? [1, 2]\n: 3\n", "line 1: a key is not a plain text"),
        ("x.yaml", "a: &x [1]\nb:\n  <<: *x\n", "line 3: << merges a number; it must be a mapping"),
        ("x.yaml", "a: \x07\n", "not YAML: unacceptable character"),
        ("x.yaml", "a: " + "[" * 60 + "]" * 60, "nested more than 50 deep"),
        ("x.yaml", "a: " + "[" * 20_000, "nested more than 50 deep"),
        ("x.json", '{"a": 1, "a": 2}', "the key 'a' appears twice"),
        ("x.json", '{"a": 1,', "not JSON: Expecting property name"),
        ("x.json", '{"a": ' + "[" * 100_000, "nested more than 50 deep"),
        ("x.toml", "a = \n", "not TOML: Invalid value (at line 1, column 5)"),
        ("x.toml", "a = 1\na = 2\n", "not TOML: Cannot overwrite a value"),
        ("x.sh", "python3 -m trainer\n", "no word of the script is an override"),
        ("x.sh", "python3 -m trainer a.b='1\n", "line 1: not a shell script"),
        ("x.sh", "python3 -m trainer a.b=1 a.b.c=2\n", "a.b.c: a.b is a number, which has no keys"),
    ],
)
def test_broken_files_are_told_in_one_line(tmp_path, name, content, message):
    path = written(tmp_path, name, content)
    with pytest.raises(ValueError, match=r".") as caught:
        read_document(path)
    told = str(caught.value)
    assert told.startswith(f"{path}: ")
    assert message in told
    assert "\n" not in told


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"gone\.yaml: No such file or directory"):
        read_document(tmp_path / "gone.yaml")
    folder = tmp_path / "folder.yaml"
    folder.mkdir()
    with pytest.raises(ValueError, match=r"folder\.yaml: Is a directory"):
        read_document(folder)


def test_large_files_are_not_read(tmp_path):
    fits = written(tmp_path, "fits.toml", "a = 1\n".ljust(formats.MAX_BYTES))
    assert read_document(fits).values == {"a": 1}
    with pytest.raises(ValueError, match="larger than 256 KiB"):
        read_document(written(tmp_path, "large.toml", "a = 1\n".ljust(formats.MAX_BYTES + 1)))


def test_what_only_a_shell_can_know_is_left_as_it_is(tmp_path):
    path = written(
        tmp_path, "x.sh", 'n=2\npython3 -m t a.b=$((n * 4)) a.c=$(nproc) a.d=`date` a.e="$HOME/x" a.f=${X:-3}\n'
    )
    values = read_document(path).values["a"]
    assert values == {"b": 8, "c": "${computed}", "d": "${computed}", "e": "$HOME/x", "f": 3}


def test_aliases_do_not_expand_without_bound(tmp_path):
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 12)
    )
    merges = "m0: &m0 {k: 1}\n" + "".join(
        f"m{level}: &m{level}\n  <<: [{', '.join([f'*m{level - 1}'] * 9)}]\n" for level in range(1, 12)
    )
    for content in (laughs, merges):
        with pytest.raises(ValueError, match="aliases expand to more than 100,000 values"):
            read_document(written(tmp_path, "bomb.yaml", content))
    with pytest.raises(ValueError, match="nested more than 50 deep"):
        read_document(written(tmp_path, "circle.yaml", "a: &a [*a]\n"))


def test_merged_keys_yield_to_their_own(tmp_path):
    path = written(tmp_path, "x.yaml", "base: &base {a: 1, b: 2}\nrun:\n  b: 3\n  <<: *base\n")
    assert read_document(path).values["run"] == {"a": 1, "b": 3}


def test_files_that_a_file_builds_on_are_read_where_they_are_next_to_it(tmp_path):
    written(tmp_path, "base.yaml", "defaults: [ppo_trainer, lowest, _self_]\na: {b: 1, c: 1}\nd: 1\n")
    written(tmp_path, "lowest.yaml", "a: {b: 0, e: 0}\nd: 0\n")
    top = written(tmp_path, "top.yaml", "defaults:\n  - base\n  - _self_\na: {c: 2}\n")
    found = read_document(top)
    assert (found.values["a"], found.values["d"], found.missing) == ({"b": 1, "c": 2, "e": 0}, 1, ())
    assert set(found.lines) == {"defaults", "a", "a.c"}  # of this file only
    first = written(tmp_path, "first.yaml", "defaults: [_self_, base]\nd: 3\n")
    assert read_document(first).values["d"] == 1
    script = written(tmp_path, "run.sh", "python3 -m verl.trainer.main_ppo --config-name 'top' a.c=5 $@\n")
    assert read_document(script).values["a"] == {"b": 1, "c": 5, "e": 0}


def test_files_that_are_not_next_to_it_are_told(tmp_path):
    outside = written(tmp_path, "outside.yaml", "algorithm: {adv_estimator: rloo}\n")
    folder = tmp_path / "configs"
    folder.mkdir()
    path = written(
        folder,
        "x.yaml",
        f"defaults: [../outside, {outside.with_suffix('')}, gone, ppo_megatron_trainer]\nactor_rollout_ref: {{}}\n",
    )
    found = read_document(path)
    assert "algorithm" not in found.values
    assert found.missing == ("../outside.yaml", f"{outside}", "gone.yaml")
    told = [finding.message for finding in lint(path).findings if finding.rule.id == "unresolved"]
    assert told[-1] == "cannot tell defaults: gone.yaml is not next to the file; taken for the trainer's own defaults"


def test_files_do_not_build_on_one_another_without_end(tmp_path):
    path = written(tmp_path, "a.yaml", "defaults: [a]\n")
    with pytest.raises(ValueError, match=r"a\.yaml builds on itself"):
        read_document(path)
    broken = written(tmp_path, "b.yaml", "defaults: [c]\n")
    written(tmp_path, "c.yaml", "x: [1\n")
    with pytest.raises(ValueError, match=r"b\.yaml: in c\.yaml: line 2: not YAML"):
        read_document(broken)


def test_overrides_come_after_the_file(tmp_path):
    path = written(tmp_path, "x.yaml", "a:\n  b: 1\n")
    found = read_document(path, ["a.b=2", "+a.c.d=[1,2]", "e=null", "f="])
    assert found.values == {"a": {"b": 2, "c": {"d": [1, 2]}}, "e": None, "f": ""}
    assert "a.b" not in found.lines
    for wrong in ("a.b", "a b=1", "=1", "a..b=1"):
        with pytest.raises(ValueError, match=r"is not of the form key\.path=value"):
            split_override(wrong)


@pytest.mark.parametrize(
    ("method", "value", "allowed"),
    [
        ("number", "much", "a number"),
        ("number", True, "a number"),
        ("number", [1], "a number"),
        ("number", float("nan"), "a number"),
        ("integer", 1.5, "a whole number"),
        ("integer", float("inf"), "a whole number"),
        ("integer", "8.5", "a whole number"),
        ("flag", "perhaps", "true or false"),
        ("flag", 1, "true or false"),
        ("name", 3, "a text"),
        ("section", [], "a mapping of keys to values"),
    ],
)
def test_values_of_the_wrong_kind(method, value, allowed):
    reader = Reader(Document("x.yaml", {"a": {"b": value}}, {"a.b": 7}))
    arguments = ("a.b",) if method == "section" else ("a.b", False if method == "flag" else None)
    with pytest.raises(ValueError, match=rf"^x\.yaml, line 7: a\.b is .*; it must be {allowed}$"):
        getattr(reader, method)(*arguments)


def test_long_values_are_shortened_in_messages():
    with pytest.raises(ValueError, match=r"\.\.\.; it must be a number") as caught:
        Reader(Document("x.yaml", {"a": "x" * 100_000})).number("a", 1)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("value", "number"), [("1e-6", 1e-6), ("8", 8), (8, 8), (0.5, 0.5), ("none", 3), (None, 3), ("", 3)]
)
def test_numbers_as_yaml_writes_them(value, number):
    assert Reader(Document("x.yaml", {"a": value})).number("a", 3) == number


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        ("trl_grpo.yaml", "epsilon=wide", "epsilon is 'wide'; it must be a number"),
        ("trl_grpo.yaml", "num_generations=2.5", "num_generations is 2.5; it must be a whole number"),
        ("trl_grpo.yaml", "use_vllm=2", "use_vllm is 2; it must be true or false"),
        ("trl_grpo.yaml", "gradient_accumulation_steps=0", "gradient_accumulation_steps is 0; it must be at least 1"),
        ("trl_grpo.yaml", "vllm_importance_sampling_mode=token", "known modes: token_truncate"),
        ("verl_grpo.sh", "actor_rollout_ref.actor.ppo_mini_batch_size=0", "it must be at least 1"),
        ("verl_grpo.sh", "algorithm.rollout_correction.rollout_is_threshold=1_2_3_x", "or two as in 0.5_5.0"),
        ("verl_grpo.sh", "algorithm.adv_estimator=[grpo]", "algorithm.adv_estimator is ['grpo']; it must be a text"),
        ("prime_rl.toml", "orchestrator.group_size=many", "orchestrator.group_size is 'many'"),
        ("trinity_grpo.yaml", "algorithm.repeat_times=x", "algorithm.repeat_times is 'x'; it must be a number"),
    ],
)
def test_bad_values_name_the_key_and_what_is_allowed(name, override, message):
    with pytest.raises(ValueError, match=r".") as caught:
        lint(DATA / name, [override])
    assert str(caught.value).startswith(str(DATA / name))
    assert message in str(caught.value)


def test_a_file_of_no_known_trainer(tmp_path):
    path = written(tmp_path, "x.yaml", "a: 1\n")
    with pytest.raises(ValueError, match=r"cannot tell which trainer this is for; give --trainer with one of .*verl"):
        lint(path)
    with pytest.raises(ValueError, match=r"unknown trainer 'very'; did you mean verl\?"):
        lint(path, trainer="very")
    assert lint(path, trainer="trl-rloo").settings.kind == "RLOOConfig"


ODD = (
    "null",
    "[]",
    "{}",
    "x",
    "-1",
    "0",
    "1e400",
    ".inf",
    "true",
    "[1, 2]",
    "{a: 1}",
    "'${a.b}'",
    "1e-300",
    "2026-01-01",
)


@pytest.mark.parametrize("name", sorted(path.name for path in DATA.iterdir()))
def test_no_odd_value_ends_in_anything_but_a_message(name, monkeypatch):
    """Every key that a reader looks at, with every odd value: a report, or a ValueError of one line."""
    asked: set[str] = set()
    find = Document.find

    def noted(self, key):
        asked.add(key)
        return find(self, key)

    monkeypatch.setattr(linter, "_outlines", lambda target, group_size: ())  # which remembers what it was given
    with monkeypatch.context() as patch:
        patch.setattr(Document, "find", noted)
        lint(DATA / name)
    reports, messages = 0, []
    for key in sorted(key for key in asked if not any(part.isdecimal() for part in key.split("."))):
        for value in ODD:
            try:
                lint(DATA / name, [f"{key}={value}"])
                reports += 1
            except ValueError as error:
                messages.append(str(error))
    assert reports
    assert messages
    assert all(message.startswith(str(DATA / name)) and "\n" not in message for message in messages)
    assert len(asked) > 10


@pytest.mark.parametrize(
    ("text", "trainer"),
    [
        ("loss_type: grpo\nnum_generations: 1\n", "trl"),
        ('{"loss_type": "grpo", "num_generations": 1}', "trl"),
        ('[orchestrator]\ngroup_size = 1\n[trainer.loss]\ntype = "ipo"\n', "prime-rl"),
        ("config = GRPOConfig(num_generations=1)\n", "trl"),
        ("python -m verl.trainer.main_ppo algorithm.adv_estimator=grpo \\\n actor_rollout_ref.rollout.n=1\n", "verl"),
        ("#!/bin/sh\ntrl grpo --num_generations 1\n", "trl"),
    ],
)
def test_standard_input_is_read_in_every_format(text, trainer, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
    report = lint("-")
    assert report.settings.trainer == trainer
    assert "group-of-one" in {finding.rule.id for finding in report.findings}


def test_standard_input_has_the_bounds_of_a_file(monkeypatch):
    for text, message in ((" ", "-: the file is empty"), ("a: 1\n" * 60_000, "larger than 256 KiB")):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        with pytest.raises(ValueError, match=message):
            lint("-")
