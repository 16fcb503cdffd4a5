"""A whole verl run on CPUs from what `llm export` wrote: `make verl`, which `make test` leaves out.

verl's own main_ppo, Ray, TransferQueue, agent loop, reward loop and two FSDP2 workers; its platform and its rollout are
those of verl_cpu.py. What its workers trained on is trained on once more by `llm`'s own update.
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from llm import tasks
from llm.config import Config
from llm.export.rewards import Problems
from llm.export.said import CONFIG, Machines
from llm.export.write import write
from llm.samples import Answer, Completion, Group
from llm.update.batch import Batch, make_batch
from llm.update.learner import descend, make_learner
from llm.update.models import build_model, build_tokenizer

ROOT = Path(__file__).resolve().parent.parent
PROMPTS, SIZE, LAG, STEPS = 4, 4, 2, 4
OVERRIDES = (
    "trainer.device=cpu",
    "trainer.resume_mode=disable",
    "actor_rollout_ref.model.use_remove_padding=false",
    "+actor_rollout_ref.model.override_config.attn_implementation=sdpa",
    "actor_rollout_ref.rollout.name=llm_cpu",
    "actor_rollout_ref.rollout.agent.num_workers=1",
    "actor_rollout_ref.rollout.free_cache_engine=false",
    "data.dataloader_num_workers=0",
    "reward.num_workers=1",
    "transfer_queue.backend.SimpleStorage.num_data_storage_units=1",
    "+ray_kwargs.ray_init.num_gpus=2",
    "ray_kwargs.ray_init.num_cpus=8",
    "+ray_kwargs.ray_init.include_dashboard=false",
)
"""What a machine without a GPU needs; nothing of it concerns the objective or the optimizer."""


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A run of two windows. Its judge errs half the time: a model without any skill has rewards to learn from."""
    folder = tmp_path_factory.mktemp("verl")
    symbols = tasks.load("countdown24", {}).symbols
    assert symbols is not None
    tokenizer = build_tokenizer(symbols + "\n")
    tokenizer.add_tokens(["<|im_end|>"], special_tokens=True)  # verl asks for both as single tokens
    for part in (build_model(tokenizer, width=64, layers=2, heads=2), tokenizer):
        part.save_pretrained(folder / "model")
    return Config.model_validate(
        {
            "name": "tiny",
            "steps": STEPS,
            "checkpoint_every": 1000,
            "model": {"path": str(folder / "model")},
            "task": {"name": "countdown24", "false_positive": 0.5},
            "objective": {"algorithm": "oapl", "parameters": {"beta1": 1.0, "beta2": 0.1}},
            "rollout": {"prompts": PROMPTS, "group_size": SIZE, "max_tokens": 17, "engine": "transformers"},
            "lag": {"sync_every": LAG},
            "optimizer": {"learning_rate": 3e-3, "tokens_per_pass": 4096, "clip_norm": 0.05},
            "evaluation": {"every": 0},
        }
    )


@pytest.fixture(scope="module")
def run(config, tmp_path_factory):
    """The folder of a finished run, and of what was recorded of it."""
    pytest.importorskip("verl")
    folder = tmp_path_factory.mktemp("run")
    write(config, "verl", folder / "export", Machines(gpus=2))
    modules = "verl_cpu,pessimism.trainers.verl.adapter"
    paths = f"{ROOT / 'tests'}:{ROOT}"
    inner = {
        "VERL_USE_EXTERNAL_MODULES": modules,
        "VERL_CPU_RECORD": str(folder / "record"),
        "PYTHONPATH": paths,
        "OMP_NUM_THREADS": "1",
    }
    environment = {key: value for key, value in os.environ.items() if key != "CUDA_VISIBLE_DEVICES"}
    environment |= inner | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HYDRA_FULL_ERROR": "1",
        "RAY_DISABLE_DASHBOARD": "1",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_worker_niceness": "0",  # else workers give way to whatever else runs here
        "TOKENIZERS_PARALLELISM": "false",
    }
    call = [
        str(folder / "export" / "launch.sh"),
        *OVERRIDES,
        f"hydra.run.dir={folder / 'hydra'}",
        f"trainer.default_local_dir={folder / 'checkpoints'}",
        "++ray_kwargs.ray_init.runtime_env.env_vars={"
        + ",".join(f'{key}: "{one}"' for key, one in inner.items())
        + "}",
    ]
    with (folder / "log.txt").open("w") as log:
        done = subprocess.run(call, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, timeout=1500)
    text = (folder / "log.txt").read_text("utf-8", "replace")
    assert done.returncode == 0, text[-4000:]
    return folder


def lines(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def windows(folder, problems):
    """The samples of each window, judged, by prompt and completion; engines drew them by the window's own weights."""
    found: list[dict] = [{} for _ in range(STEPS // LAG)]
    by_text = {prompt.text: prompt for prompt in problems.task.train}
    for path in sorted((folder / "record").glob("answers-*.jsonl")):
        for version, prompt, completion, log_probs, ended in lines(path):
            if version is None or version >= len(found):
                continue
            problem = by_text[problems.tokenizer.decode(prompt)]
            text = problems.tokenizer.decode(completion, skip_special_tokens=True)
            reward = problems.score(json.dumps(asdict(problem)), Answer(text))
            sample = Completion(np.array(completion, np.int32), np.array(log_probs, np.float32), ended)
            found[version].setdefault(tuple(prompt), []).append((sample, reward, problem))
    return found


def batches(folder, problems, algorithm):
    """What each optimizer step of verl was made from, as a batch of llm, and its gradient's norm.

    Baselines are those of whole groups; verl spreads a window's completions over its steps as they come.
    """
    judged = windows(folder, problems)
    for step, parts in enumerate(
        zip(*(lines(folder / "record" / f"steps-{rank}.jsonl") for rank in range(2)), strict=True)
    ):
        assert parts[0]["norm"] == parts[1]["norm"]
        window = judged[step // LAG]
        assert [len(group) for group in window.values()] == [SIZE] * PROMPTS * LAG
        groups = [
            Group(group[0][2], prompt, tuple(one[0] for one in group), np.array([one[1] for one in group]), 0, 0)
            for prompt, group in window.items()
        ]
        whole = make_batch(groups, algorithm)
        rows: dict = {}
        for row, tokens in enumerate(whole.tokens):
            rows.setdefault(tuple(tokens.tolist()), []).append(row)
        chosen = [rows[tuple(prompt + completion)][0] for part in parts for prompt, completion in part["rows"]]
        count = len(chosen)
        assert count == PROMPTS * SIZE
        batch = Batch(
            tuple(whole.tokens[row] for row in chosen),
            tuple(whole.behavior_log_probs[row] for row in chosen),
            whole.length[chosen],
            np.arange(count),  # a mean over completions, as groups are not whole here
            whole.reward[chosen],
            whole.advantage[chosen],
            np.ones(count),
        )
        yield batch, parts[0]["norm"]


def test_each_step_is_llm_s_own(config, run):
    """verl's four steps on two ranks, two of them on lagged data, by llm's update on the recorded completions."""
    problems = Problems(run / "export" / CONFIG)
    learner = make_learner(config)
    gaps, lagged = [], []
    for step, (batch, norm) in enumerate(batches(run, problems, learner.algorithm)):
        result, own = descend(learner, batch, step)
        gaps.append(abs(own - norm) / own)
        lagged.append(float(np.abs(result.log_ratio).max()))
        print(f"step {step}: gradient norm {norm:.9f} in verl, {own:.9f} in llm; largest |log-ratio| {lagged[-1]:.2g}")
    assert len(gaps) == STEPS
    assert gaps[0] < 1e-6
    assert max(gaps) < 1e-4  # Adam divides by noise where gradients are tiny
    assert [one > 1e-3 for one in lagged] == [False, True, False, True]
    weights = load_file(run / "record" / f"weights-1-{STEPS // LAG}.safetensors")
    moved = {name: float((weights[name] - one).abs().max()) for name, one in learner.model.state_dict().items()}
    print(f"weights at the end differ by {max(moved.values()):.2g}")
    assert max(moved.values()) < 1e-3
    other = load_file(run / "record" / f"weights-2-{STEPS // LAG}.safetensors")
    assert all(bool((weights[name] == one).all()) for name, one in other.items())
