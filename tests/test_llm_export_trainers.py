"""A configuration as the files of verl, TRL and prime-rl: read back they say the same, and nothing is lost unsaid."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars
import pytest
import yaml
from pydantic import BaseModel

from llm import cli
from llm.config import Config, load
from llm.export.rewards import command
from llm.export.said import CONFIG, Machines
from llm.export.write import TRAINERS, write
from llm.samples import Answer
from pessimism import lint
from pessimism.levels import RULES

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = sorted(path.stem for path in (ROOT / "llm" / "configs").glob("*.toml"))
READ = {"verl": "verl.yaml", "trl": "trl.yaml", "prime-rl": "trainer.toml"}
REFUSED = {
    ("dapo_math", "verl"): "optimizer.warmup_steps = 10 with lag.sync_every = 16",
    ("small_gpu", "verl"): "optimizer.warmup_steps = 10 with lag.sync_every = 20",
    ("pmd_mean_dapo_math", "verl"): "steps = 3000 with lag.sync_every = 16",
}
"""What of the shipped configurations a trainer cannot say; prime-rl can say none of their lags."""
NOT_LISTED = {"ray_kwargs.ray_init.runtime_env.env_vars", "post_batch_filters"}
"""Keys that examples/ sets too, and that lint's lists of keys lack: Ray's own, and one of prime-rl 0.8.0."""


def shipped(name, *overrides):
    return load(ROOT / "llm" / "configs" / f"{name}.toml", overrides)


def config(**tables):
    """A configuration of which every trainer can say all."""
    given = {
        "name": "small",
        "steps": 8,
        "model": {"path": "m"},
        "task": {"name": "countdown24"},
        "objective": {"algorithm": "shifted_mean", "parameters": {"beta": 0.1}},
        "rollout": {"prompts": 4, "group_size": 8},
        "evaluation": {"every": 4},
    }
    for name, value in tables.items():
        given[name] = {**given.get(name, {}), **value} if isinstance(value, dict) else value
    return Config.model_validate(given)


def same(read, made):
    """Whether lint reads the objective that a configuration has."""
    found = read.algorithm
    assert found is not None, read.unknown
    assert (found.name, found.level, found.scale) == (made.name, made.level, made.scale)
    assert found.baseline.formula == made.baseline.formula
    assert found.parameters == made.parameters


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("name", SHIPPED)
def test_lint_reads_the_same_run_back(name, trainer, tmp_path):
    made = shipped(name, *(["lag.sync_every=1", "lag.epochs=1"] if trainer == "prime-rl" else []))
    if (name, trainer) in REFUSED:
        with pytest.raises(ValueError, match=REFUSED[name, trainer]) as refused:
            write(made, trainer, tmp_path / "out", Machines())
        assert "\n" not in str(refused.value)
        assert not (tmp_path / "out").exists()
        return
    write(made, trainer, tmp_path / "out", Machines())
    report = lint(tmp_path / "out" / READ[trainer])
    same(report.settings.objective, made.objective.make())
    assert report.settings.trainer == trainer
    assert set(report.settings.unknown) <= NOT_LISTED
    assert load(tmp_path / "out" / CONFIG) == made
    if trainer == "prime-rl":
        report = lint(tmp_path / "out" / "orchestrator.toml")
        assert set(report.settings.unknown) <= NOT_LISTED
        assert report.settings.lag.bound == 0
    else:
        assert report.settings.lag.steps == made.lag.sync_every
        assert (report.settings.aggregation == "sequence mean") == RULES[made.objective.make().level].averaged
    assert report.settings.group_size == made.rollout.group_size
    sampling = report.settings.sampling
    assert (sampling.temperature, sampling.trained_at) == (made.rollout.temperature, made.rollout.temperature)
    assert (sampling.top_p, sampling.top_k in (0, -1), sampling.min_p) == (1, True, 0)
    assert [finding for finding in report.findings if finding.rule.severity == "error"] == []


@pytest.mark.parametrize("name", SHIPPED)
def test_prime_rl_refuses_a_lag(name, tmp_path):
    with pytest.raises(ValueError, match=r"prime-rl cannot say lag.sync_every = \d+"):
        write(shipped(name), "prime-rl", tmp_path / "out", Machines())


OTHER = {
    "name": "other",
    "seed": 5,
    "steps": 16,
    "checkpoint_every": 7,
    "deterministic": True,
    "hardware": {"gpu": True, "card": "H100-80GB"},
    "model": {
        "path": "other",
        "dtype": "bfloat16",
        "compile": True,
        "gradient_checkpointing": True,
        "lora": {"rank": 3, "alpha": 5.0, "dropout": 0.5, "targets": "q_proj"},
    },
    "task": {
        "name": "enumerable",
        "options": {"digits": 3},
        "false_positive": 0.5,
        "false_negative": 0.5,
        "judges": 3,
        "cut_off": "wrong",
        "soft_limit": 2,
        "soft_penalty": 0.5,
        "equal_groups": "dropped",
    },
    "objective": {"algorithm": "opmd", "parameters": {"beta": 0.7}},
    "rollout": {
        "engine": "transformers",
        "place": "colocated",
        "prompts": 6,
        "group_size": 4,
        "temperature": 0.5,
        "max_tokens": 65,
        "probe_tolerance": 0.5,
        "timeout": 5.0,
        "restarts": 1,
        "options": {"gpu_memory_utilization": 0.3, "swap_space": 2},
    },
    "lag": {"sync_every": 2, "max_staleness": 9},
    "optimizer": {
        "learning_rate": 2e-3,
        "betas": (0.8, 0.9),
        "epsilon": 1e-5,
        "weight_decay": 0.25,
        "clip_norm": 0.5,
        "warmup_steps": 2,
        "moments": "bfloat16",
        "tokens_per_pass": 512,
    },
    "evaluation": {"every": 8, "before": False, "prompts": 9, "samples": 3},
    "watch": {"tensorboard": True, "wandb": "w", "trackio": "t"},
}
"""Another value for everything that a configuration has."""
TOGETHER = {"rollout.servers": {"servers": ["http://a:1"], "weights": "/w"}}


def leaves(kind: type[BaseModel] = Config, outer=()):
    for name, field in kind.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from leaves(inner, (*outer, name))
        else:
            yield (*outer, name)


def changes():
    for path in leaves():
        dotted = ".".join(path)
        if dotted in ("warmup", "hardware.count", "rollout.weights", "lag.epochs"):
            # The model's own; one value only; goes with servers; is in test_verl_s_file and its like.
            continue
        if dotted in TOGETHER:
            yield pytest.param({path[0]: TOGETHER[dotted]}, id=dotted)
            continue
        value = OTHER
        for name in path:
            value = value[name]
        if dotted == "model.lora":
            for one, inner in value.items():
                yield pytest.param({"model": {"lora": {one: inner}}}, id=f"{dotted}.{one}")
        elif dotted == "objective.parameters":
            yield pytest.param({"objective": {"parameters": {"beta": 0.7}}}, id=dotted)
        elif dotted == "objective.algorithm":
            yield pytest.param({"objective": OTHER["objective"]}, id=dotted)
        elif dotted == "task.soft_penalty":
            yield pytest.param({"task": {"soft_penalty": value}}, id=dotted)
        elif len(path) == 1:
            yield pytest.param({path[0]: value}, id=dotted)
        else:
            yield pytest.param({path[0]: {path[1]: value}}, id=dotted)


@pytest.mark.parametrize("trainer", TRAINERS)
@pytest.mark.parametrize("change", list(changes()))
def test_no_setting_is_dropped_without_a_word(change, trainer, tmp_path):
    """Every setting moves the trainer's own files, or a note, or is refused by its name."""
    key, value = next(iter(change.items()))
    inner = next(iter(value)) if isinstance(value, dict) else key
    base = {"model": {"lora": {}}} if key == "model" and inner == "lora" else {}
    base = {"watch": {"tensorboard": False}} | base
    before = TRAINERS[trainer](config(**base), tmp_path, Machines())
    try:
        after = TRAINERS[trainer](config(**change), tmp_path, Machines())
    except ValueError as error:
        told = str(error)
    else:
        told = ""
    if told:
        assert inner in told
        return
    files = [{name: text for name, text in one.files.items() if name != CONFIG} for one in (before, after)]
    if key == "name":
        files = [{name: text.partition("\n")[2] for name, text in one.items()} for one in files]
        assert trainer == "prime-rl" or files[0] != files[1]
        return
    assert files[0] != files[1]


def test_trl_s_file_has_the_passes_over_a_window(tmp_path):
    made = config(lag={"sync_every": 6, "epochs": 3}, optimizer={"tokens_per_pass": 512})
    found = yaml.safe_load(TRAINERS["trl"](made, tmp_path, Machines()).files["trl.yaml"])
    names = ("per_device_train_batch_size", "gradient_accumulation_steps", "steps_per_generation", "num_iterations")
    assert [found[name] for name in names] == [8, 4, 8, 3]


def test_verl_s_file_says_what_stands_in_ours(tmp_path):
    made = config(lag={"sync_every": 4, "epochs": 2}, watch={"wandb": "mine"}, optimizer={"epsilon": 1e-6})
    write(made, "verl", tmp_path / "out", Machines(2, 1))
    found = yaml.safe_load((tmp_path / "out" / "verl.yaml").read_text("utf-8"))
    actor, rollout = (found["actor_rollout_ref"][part] for part in ("actor", "rollout"))
    assert found["data"]["train_batch_size"] // actor["ppo_mini_batch_size"] * actor["ppo_epochs"] == 4
    assert found["trainer"]["total_training_steps"] * made.lag.sync_every == made.steps
    assert actor["optim"]["override_optimizer_config"] == {"eps": 1e-6}
    assert found["algorithm"]["rollout_correction"]["bypass_mode"] is True
    assert rollout["calculate_log_probs"] is True
    assert found["trainer"]["logger"] == ["console", "wandb"]
    assert (found["trainer"]["project_name"], found["trainer"]["n_gpus_per_node"]) == ("mine", 2)


@pytest.mark.parametrize("algorithm", ["tpo", "rebel"])
def test_objectives_of_whole_groups_go_to_trl_only(algorithm, tmp_path):
    made = config(objective={"algorithm": algorithm, "parameters": {}})
    for trainer in ("verl", "prime-rl"):
        with pytest.raises(ValueError, match="compares the completions of a group"):
            TRAINERS[trainer](made, tmp_path, Machines())
    found = yaml.safe_load(TRAINERS["trl"](made, tmp_path, Machines()).files["trl.yaml"])
    assert found["per_device_train_batch_size"] == made.rollout.prompts * made.rollout.group_size
    lagged = config(objective={"algorithm": algorithm, "parameters": {}}, lag={"sync_every": 2})
    with pytest.raises(ValueError, match="keeps together for one step only"):
        TRAINERS["trl"](lagged, tmp_path, Machines())


@pytest.mark.parametrize("name", ["oapl_math", "tiny_cpu", "asymre_math"])
def test_trl_s_parser_takes_the_file(name, tmp_path):
    trl = pytest.importorskip("trl")
    adapter = pytest.importorskip("pessimism.trainers.trl.adapter")
    made = shipped(name, "model.dtype=float32")  # TRL refuses bf16 where there is no GPU
    write(made, "trl", tmp_path / "out", Machines())
    parser = trl.TrlParser((adapter.Config, trl.ModelConfig))
    args, model = parser.parse_args_and_config(["--config", str(tmp_path / "out" / "trl.yaml")])
    assert repr(args.algorithm.parameters) == repr(made.objective.make().parameters)
    assert args.algorithm.name == made.objective.make().name
    batch = args.per_device_train_batch_size * args.gradient_accumulation_steps
    assert batch == made.rollout.prompts * made.rollout.group_size
    assert args.per_device_train_batch_size * made.rollout.max_tokens <= made.optimizer.tokens_per_pass
    assert args.max_grad_norm == made.optimizer.clip_norm
    assert args.model_init_kwargs == {"dtype": "float32"}
    assert model.model_name_or_path == made.model.path
    assert (model.lora_r if model.use_peft else None) == (made.model.lora.rank if made.model.lora else None)


def rewards_module(folder):
    spec = importlib.util.spec_from_file_location("exported_rewards", folder / "rewards.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rows_and_rewards_are_the_task_s_own(countdown_model, tmp_path, monkeypatch, capsys):
    made = config(model={"path": str(countdown_model)}, task={"false_negative": 0.5}, evaluation={"prompts": 5})
    write(made, "verl", tmp_path / "out", Machines())
    module = rewards_module(tmp_path / "out")
    monkeypatch.setattr(sys, "argv", ["rewards.py", str(tmp_path / "data")])
    command(module.PROBLEMS)
    assert capsys.readouterr().out == "8\n"  # 1234>56: in characters
    train, test = (polars.read_parquet(tmp_path / "data" / f"{part}.parquet") for part in ("train", "test"))
    task = module.PROBLEMS.task
    assert (len(train), len(test)) == (len(task.train), 5)
    row = train.row(0, named=True)
    problem = row["reward_model"]["ground_truth"]
    assert row["prompt"] == [{"role": "user", "content": task.train[0].text}]
    assert json.loads(problem)["id"] == task.train[0].id
    right = task.draw(task.train[:40], np.random.default_rng(0))
    judged = [
        module.compute_score("countdown24", text, one["ground_truth"])
        for text, one in zip(right, train["reward_model"][:40], strict=True)
    ]
    assert set(judged) == {0.0, 1.0}  # the judge that errs is the run's own
    ids = [module.PROBLEMS.tokenizer(text, add_special_tokens=False)["input_ids"] for text in right]
    assert module.reward(completion_ids=ids, problem=train["problem"][:40].to_list()) == judged


def test_trl_s_rewards_know_what_was_cut_off(countdown_model, tmp_path):
    made = config(model={"path": str(countdown_model)}, task={"cut_off": "wrong"}, rollout={"max_tokens": 17})
    write(made, "trl", tmp_path / "out", Machines())
    module = rewards_module(tmp_path / "out")
    problems = module.PROBLEMS
    row = next(iter(problems.rows()))
    (text,) = problems.task.draw(problems.task.train[:1], np.random.default_rng(0))
    ids = problems.tokenizer(text, add_special_tokens=False)["input_ids"]
    whole = [*ids, problems.tokenizer.eos_token_id]
    assert module.reward(completion_ids=[ids, whole], problem=[row["problem"]] * 2) == [0.0, 1.0]
    assert problems.score(row["problem"], Answer(text)) == 1.0


def test_launch_scripts_are_shell(tmp_path):
    for trainer in ("verl", "trl"):
        write(config(warmup={"steps": 3}), trainer, tmp_path / trainer, Machines())
        script = tmp_path / trainer / "launch.sh"
        assert subprocess.run(["bash", "-n", script]).returncode == 0
        assert os.access(script, os.X_OK)
        assert "llm warmup" in script.read_text("utf-8")


def test_the_command(tmp_path, capsys):
    out = tmp_path / "out"
    call = ["export", "rec_gsm8k", "--to", "verl", "lag.sync_every=4", "--out", str(out), "--gpus", "8"]
    assert cli.main(call) == 0
    printed = capsys.readouterr().out
    assert "note: checkpoint_every" not in printed
    assert "note: hardware.card = H100-80GB: nothing compares it with the machine." in printed
    assert printed.split()[-1] == str(out)
    assert cli.main(call) == 2
    assert "exists already" in capsys.readouterr().err
    assert cli.main(["export", "rec_gsm8k", "--to", "verl", "--step", "3"]) == 2
    assert cli.main(["export", "rec_gsm8k", "--to", str(tmp_path / "weights"), "--gpus", "2"]) == 2
    assert "not with a folder" in capsys.readouterr().err
