"""Configurations of the running program: TRL's classes as they are made, mappings, dataclasses, and what is none."""

import subprocess
import sys
from dataclasses import dataclass, field
from types import MappingProxyType

import pytest

import pessimism as ps
from pessimism.lint import READERS, lint


@dataclass
class GRPOConfig:
    """A stand-in with the name of TRL's class, some of its fields, and one that no file could hold."""

    output_dir: str = "run"
    loss_type: str = "dapo"
    num_generations: int = 8
    top_p: float = 1.0
    beta: float = 0.0
    generation_kwargs: dict | None = None
    device: object = field(default_factory=object)


@dataclass
class OwnConfig(GRPOConfig):
    """A class of the user's own on top of TRL's, with a field that TRL lacks."""

    shown_every: int = 10


def rules(report) -> set[str]:
    return {finding.rule.id for finding in report.findings}


@pytest.mark.parametrize("make", [GRPOConfig, OwnConfig])
def test_a_config_object_is_told_by_its_class_or_the_one_above(make):
    report = ps.lint(make(num_generations=4, generation_kwargs={"top_p": 0.9}, beta=0.04))
    assert (report.settings.trainer, report.settings.group_size) == ("trl", 4)
    assert {"truncated-sampling", "kl-too-small"} <= rules(report)
    assert report.settings.document.path == f"{make.__name__} object"
    assert all(finding.line is None for finding in report.findings)


def test_trls_own_class_reads_as_its_arguments_in_a_file(tmp_path):
    """The class fills in what a file leaves out, so that the two must say the same."""
    trl = pytest.importorskip("trl")
    given = {"num_generations": 4, "num_iterations": 2, "epsilon_high": 0.28, "temperature": 0.8}
    made = trl.GRPOConfig(
        output_dir=str(tmp_path), bf16=False, use_cpu=True, per_device_train_batch_size=4, report_to=[], **given
    )
    path = tmp_path / "run.yaml"
    path.write_text("".join(f"{key}: {value}\n" for key, value in given.items()) + "per_device_train_batch_size: 4\n")
    of_object, of_file = ps.lint(made).settings, ps.lint(path).settings
    for name in ("objective", "baseline", "scaling", "aggregation", "group_size", "clip", "penalty", "sampling", "lag"):
        assert getattr(of_object, name) == getattr(of_file, name) or name == "objective", name
    assert of_object.objective.entry == of_file.objective.entry
    assert of_object.parameters == of_file.parameters
    assert not of_object.unknown


def test_mappings_are_read_as_files_are(tmp_path):
    nested = {"algorithm": {"adv_estimator": "grpo"}, "actor_rollout_ref": {"rollout": MappingProxyType({"n": 1})}}
    assert "group-of-one" in rules(ps.lint(nested))
    assert "group-of-one" not in rules(ps.lint(nested, ["actor_rollout_ref.rollout.n=8"]))
    assert nested["actor_rollout_ref"]["rollout"]["n"] == 1
    assert ps.lint({"loss": {}, "max_steps": 3}, trainer="prime-rl").settings.trainer == "prime-rl"
    assert "misspelt-key" in rules(ps.lint({"loss_type": "grpo", "num_generation": 8}))


class Model:
    """What pydantic's models have."""

    def model_dump(self):
        return {"loss_type": "grpo", "num_generations": 1}


def test_pydantic_models_are_dumped():
    assert "group-of-one" in rules(ps.lint(Model(), trainer="trl"))


@pytest.mark.parametrize("config", [8, None, object(), GRPOConfig, [1], {1, 2}])
def test_what_is_no_configuration_is_refused(config):
    with pytest.raises(ValueError, match="it must be a path, a mapping"):
        ps.lint(config)


def test_bad_values_name_their_place_and_strange_trainers_are_refused():
    with pytest.raises(ValueError, match="GRPOConfig object: num_generations is 0; it must be at least 1"):
        ps.lint(GRPOConfig(num_generations=0))
    with pytest.raises(ValueError, match="unknown trainer"):
        ps.lint({"a": 1}, trainer="tlr")
    with pytest.raises(ValueError, match="cannot tell which trainer"):
        ps.lint({"a": 1})
    deep: dict = {}
    for _ in range(200):
        deep = {"a": deep}
    with pytest.raises(ValueError, match="nested more than"):
        ps.lint(deep)


def test_the_package_stays_light_and_its_names_stay_where_they_were():
    """Readers are loaded when something is checked; importing them later does not hide the function."""
    code = (
        "import sys, pessimism as ps\n"
        "assert not any(name.startswith('pessimism.trainers') for name in sys.modules), 'trainers are loaded'\n"
        "ps.lint({'loss_type': 'grpo', 'num_generations': 8})\n"
        "from pessimism.lint import lint_all, Report, Rule, RULES\n"
        "import pessimism.lint.linter\n"
        "assert callable(ps.lint) and isinstance(ps.lint({'loss_type': 'grpo', 'num_generations': 8}), Report)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert lint is ps.lint
    assert "trl" in READERS
