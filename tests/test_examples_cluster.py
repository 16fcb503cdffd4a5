"""The launchers of examples/cluster: they parse, and what they would start is what the programs take."""

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from llm.cli import CONFIGS
from llm.config import load
from llm.fit.architectures import KNOWN
from llm.start import again

FOLDER = Path(__file__).resolve().parent.parent / "examples" / "cluster"
SERVER = ("--load-format safetensors", "--logprobs-mode processed_logprobs", "--generation-config vllm")
TOOLS = """
scontrol() { printf 'a\\nb\\nc\\n'; }
srun() { echo "srun $*"; }
export -f scontrol srun
"""


def dry(script, *arguments, **environment):
    """What a script prints with SLURM's programs replaced, or with DRY_RUN=1."""
    call = ["bash", "-c", f'{TOOLS} . {FOLDER / script} "$@"', script, *arguments]
    environment = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run(call, capture_output=True, text=True, env=environment)


def configuration(command):
    """The configuration that a printed `llm train` would run, with its KEY=VALUE."""
    ((name, rest),) = re.findall(r"-m llm train (\S+) (.*)", command, re.DOTALL)
    return load(CONFIGS / f"{name}.toml", re.findall(r"[a-z_.]+=\S+", rest))


@pytest.mark.parametrize("script", ["slurm.sh", "ssh.sh"])
def test_scripts_are_shell_and_say_what_is_missing(script):
    assert subprocess.run(["bash", "-n", FOLDER / script]).returncode == 0
    for arguments, name in (([], "1: is missing: a configuration"), (["oapl_math"], "is not set")):
        done = dry(script, *arguments)
        assert done.returncode != 0
        assert name in done.stderr


def test_slurm_trains_on_the_first_machines_and_samples_on_the_others(tmp_path):
    done = dry(
        "slurm.sh", "oapl_math", "lag.sync_every=25", FOLDER=str(tmp_path), MODEL="m", GPUS="2", TRAIN_NODES="2",
        SLURM_JOB_NODELIST="x", SLURM_JOB_ID="7",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "servers").read_text().split() == ["http://c:8000", "http://c:8001"]
    training = next(line for line in done.stdout.splitlines() if "torchrun" in line)
    assert "--nodelist=a,b torchrun --nnodes 2 --nproc-per-node 2" in training
    assert "--rdzv-endpoint a:29500" in training
    assert "--resume" not in training
    made = configuration(training)
    assert (made.lag.sync_every, made.rollout.weights) == (25, str(tmp_path / "weights"))
    assert "--nodelist=c bash -c" in done.stdout
    assert all(option in done.stdout for option in SERVER)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.toml").touch()
    again_done = dry("slurm.sh", "oapl_math", FOLDER=str(tmp_path), MODEL="m", SLURM_JOB_NODELIST="x", SLURM_JOB_ID="7")
    assert "--resume" in again_done.stdout
    alone = dry("slurm.sh", "oapl_math", FOLDER=str(tmp_path), MODEL="m", TRAIN_NODES="3", SLURM_JOB_NODELIST="x")
    assert alone.returncode == 2
    assert "none is left to sample" in alone.stderr


def test_ssh_says_what_it_would_start(tmp_path):
    done = dry(
        "ssh.sh", "oapl_math", "seed=3", TRAINER="one", SAMPLER="two", MODEL="m", GPUS="2", DRY_RUN="1",
        FOLDER=str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    commands = done.stdout.splitlines()
    assert sum(line.startswith("ssh two") and "vllm serve m --port 800" in line for line in commands) == 2
    training = next(line for line in commands if "torchrun" in line)
    assert training.startswith("ssh one ")
    made = configuration(training)
    assert (made.seed, made.rollout.servers) == (3, str(tmp_path / "servers"))
    assert all(option in done.stdout for option in SERVER)


def test_kubernetes_starts_as_many_agents_as_machines():
    parts = list(yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text("utf-8")))
    assert [part["kind"] for part in parts] == ["Service", "Service", "Job", "StatefulSet"]
    job, samplers = parts[2]["spec"], parts[3]["spec"]
    (trainer,), (sampler,) = (one["template"]["spec"]["containers"] for one in (job, samplers))
    (command,), (serving,) = trainer["args"], sampler["args"]
    assert f"--nnodes {job['completions']} --nproc-per-node 8" in command
    assert job["parallelism"] == job["completions"]
    assert trainer["resources"]["limits"]["nvidia.com/gpu"] == 8
    assert job["template"]["spec"]["subdomain"] == parts[0]["metadata"]["name"]
    made = configuration(command)
    assert made.model.path in serving
    assert made.model.path in KNOWN
    (longest,) = re.findall(r"--max-model-len (\d+)", serving)
    assert int(longest) > made.rollout.max_tokens
    assert all(option in " ".join(serving.split()) for option in SERVER)
    for text in (command, serving):
        assert subprocess.run(["bash", "-n", "-c", text]).returncode == 0


def test_the_words_of_how_to_go_on_hold_the_number_of_machines(monkeypatch):
    assert again() == "python"
    for name, value in {"WORLD_SIZE": "16", "LOCAL_WORLD_SIZE": "8", "GROUP_WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert again() == "torchrun --nnodes 2 --nproc-per-node 8"
    monkeypatch.setenv("GROUP_WORLD_SIZE", "1")
    assert again() == "torchrun --nproc-per-node 8"
