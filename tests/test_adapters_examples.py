"""The example configs are ones that the trainers read, and name objectives that exist."""

import importlib
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import pessimism as ps
from pessimism.trainers.tokens import aggregations, objective

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "examples"
OAPL = {"beta1": 1.0, "beta2": 0.001}


def omegaconf():
    return pytest.importorskip("omegaconf", reason="verl and Trinity-RFT need it, and neither is installed")


def primary(name):
    """A config of verl with what it builds on: its own in base.yaml, verl's where Hydra would find it."""
    conf = omegaconf().OmegaConf
    config = pytest.importorskip("verl.trainer.config", reason="verl is not installed")
    theirs = conf.load(Path(config.__file__).parent / "_generated_ppo_trainer.yaml")
    mine = [conf.load(EXAMPLES / "verl" / f"{file}.yaml") for file in ("base", name)]
    for part, inherited in zip(mine, ("ppo_trainer", "base"), strict=True):
        assert part.pop("defaults") == [inherited, "_self_"]
    assert mine[1].pop("hydra") == {"searchpath": ["pkg://verl.trainer.config"]}
    return theirs, conf.merge(*mine)


def keys(config, path=()):
    """Paths of all leaves."""
    for name, value in config.items():
        if isinstance(value, dict) and value:
            yield from keys(value, (*path, name))
        else:
            yield (*path, name)


@pytest.mark.parametrize("name", ["oapl", "two_nodes"])
def test_verl_knows_every_setting(name):
    theirs, mine = primary(name)
    conf = omegaconf().OmegaConf
    known = {".".join(path) for path in keys(conf.to_container(theirs))}
    own = ("algorithm.objective", "actor_rollout_ref.actor.policy_loss.objective", "ray_kwargs.ray_init.runtime_env")
    chosen = {".".join(path) for path in keys(conf.to_container(mine))}
    assert [path for path in chosen - known if not path.startswith(own)] == []
    merged = conf.merge(theirs, mine)
    actor = merged.actor_rollout_ref.actor
    assert actor.policy_loss.objective == merged.algorithm.objective
    made = objective(merged.algorithm.objective)
    assert actor.loss_agg_mode in aggregations(made)
    assert merged.data.train_batch_size % actor.ppo_mini_batch_size == 0


def test_verl_makes_the_loss_of_its_config():
    """As its workers do: the class that ``_target_`` names, from the section, then the registered loss."""
    adapter = pytest.importorskip("pessimism.trainers.verl.adapter")
    theirs, mine = primary("oapl")
    section = omegaconf().OmegaConf.merge(theirs, mine).actor_rollout_ref.actor.policy_loss
    module, _, name = section.pop("_target_").rpartition(".")
    assert (module, getattr(adapter, name)) == (adapter.__name__, adapter.PolicyLoss)
    made = adapter.PolicyLoss(**section)
    assert objective(made.objective).parameters == OAPL


def test_the_two_node_script_says_how_it_is_used():
    script = EXAMPLES / "verl" / "two_nodes.sh"
    done = subprocess.run(["bash", script], capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"})
    assert done.returncode != 0
    assert "HEAD_ADDRESS" in done.stderr
    environment = {"PATH": "/usr/bin:/bin", "HEAD_ADDRESS": "10.0.0.1"}
    done = subprocess.run(["bash", script], capture_output=True, text=True, env=environment)
    assert done.returncode == 2
    assert "head|worker|train" in done.stderr


def test_trinity_takes_its_config():
    conf = pytest.importorskip("trinity.common.config", reason="trinity-rft is not installed")
    validators = pytest.importorskip("trinity.common.config_validator")
    losses = pytest.importorskip("trinity.trainer.verl.losses")
    config = conf.load_config(str(EXAMPLES / "trinity" / "oapl.yaml"))
    validators.AlgorithmConfigValidator().validate(config)
    assert "PolicyLoss" in repr(losses.build_trinity_loss(config.algorithm))
    for arguments in (config.algorithm.policy_loss_fn_args, config.algorithm.advantage_fn_args):
        assert objective(arguments["objective"]).parameters == OAPL


def test_prime_rl_s_configs_name_what_exists():
    trainer = tomllib.loads((EXAMPLES / "prime_rl" / "oapl.toml").read_text("utf-8"))
    assert trainer["loss"]["type"] == "custom"
    module, _, name = trainer["loss"]["import_path"].rpartition(".")
    assert callable(getattr(__import__(module, fromlist=[name]), name))
    assert objective(trainer["loss"]["kwargs"]).parameters == OAPL
    orchestrator = tomllib.loads((EXAMPLES / "prime_rl" / "orchestrator.toml").read_text("utf-8"))
    assert orchestrator["post_batch_filters"] == []
    started = (EXAMPLES / "prime_rl" / "orchestrator.py").read_text("utf-8")
    settings = re.search(r"algorithm_class\((\{.*\})\)", started)
    assert settings is not None
    assert settings[1] == str({"name": "oapl"} | OAPL).replace("'", '"')
    assert orchestrator["model"] == trainer["model"]


def test_the_objectives_of_the_page_exist():
    page = (ROOT / "docs" / "adapters.md").read_text("utf-8")
    named = set(re.findall(r"name: (\w[\w.]*)", page))
    assert named
    assert named <= set(ps.catalogue())
    links = [target for target in re.findall(r"\]\(([^)#]+)\)", page) if "://" not in target]
    assert [target for target in links if not (ROOT / "docs" / target).exists()] == []


def test_the_page_shows_what_the_commands_print():
    page = (ROOT / "docs" / "adapters.md").read_text("utf-8")
    shown = re.findall(r"```text\n\$ pessimism (compare .*)\n((?:.*\n)*?)```", page)
    assert len(shown) == 2
    for command, output in shown:
        environment = os.environ | {"COLUMNS": "100", "NO_COLOR": "1"}
        call = [sys.executable, "-m", "pessimism", *command.split()]
        printed = subprocess.run(call, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
        assert [line.rstrip() for line in printed.splitlines()] == output.rstrip("\n").split("\n")


@pytest.mark.parametrize("name", ["oapl", "two_nodes"])
def test_verl_starts_from_its_config(name):
    """What its entry point does before any machine is asked for: Hydra, the actor's settings, its own checks."""
    hydra = pytest.importorskip("hydra", reason="verl reads configs by Hydra, which is not installed")
    adapter = pytest.importorskip("pessimism.trainers.verl.adapter")
    reading = importlib.import_module("verl.utils.config")
    needs = importlib.import_module("verl.trainer.ppo.utils")
    ray = importlib.import_module("verl.trainer.constants_ppo")
    with hydra.initialize_config_dir(config_dir=str(EXAMPLES / "verl"), version_base=None):
        config = hydra.compose(config_name=name)
    reading.validate_config(config, needs.need_reference_policy(config), needs.need_critic(config))
    assert not needs.need_reference_policy(config)
    actor = reading.omega_conf_to_dataclass(config.actor_rollout_ref.actor)
    assert type(actor.policy_loss) is adapter.PolicyLoss
    assert objective(actor.policy_loss.objective) == objective(config.algorithm.objective)
    defaults = omegaconf().OmegaConf.create(ray.get_ppo_ray_runtime_env(config))
    runtime = omegaconf().OmegaConf.merge(defaults, config.ray_kwargs.ray_init.runtime_env)
    assert adapter.__name__ == runtime.env_vars.VERL_USE_EXTERNAL_MODULES
    assert "TOKENIZERS_PARALLELISM" in runtime.env_vars
