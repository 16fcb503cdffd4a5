"""The configurations that ship: each is read, whole, and can be run as far as that needs no weights and no download."""

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from llm import tasks
from llm.cli import CONFIGS
from llm.config import Config, load, to_toml
from llm.run.plan import plan
from llm.run.warmup import WarmUp

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = sorted(path.stem for path in CONFIGS.glob("*.toml"))

ROWS = {  # as the data sets write them
    "agentica-org/DeepScaleR-Preview-Dataset": {"problem": "{i} + 1?", "answer": "{j}", "solution": "..."},
    "math-ai/aime25": {"problem": "{i} + 1, of AIME?", "answer": "{j}", "id": "{i}"},
    "openai/gsm8k": {"question": "{i} apples and one?", "answer": "One more.\n#### {j}"},
    "DigitalLearningGmbH/MATH-lighteval": {"problem": "{i} + 1?", "level": "1", "solution": "It is \\boxed{{{j}}}."},
    "BytedTsinghua-SIA/DAPO-Math-17k": {
        "prompt": [{"role": "user", "content": "Solve {i} + 1."}],
        "reward_model": {"ground_truth": "{j}", "style": "rule"},
    },
    "agentica-org/DeepCoder-Preview-Dataset": {
        "problem": "Print {i} + 1.",
        "tests": '[{{"input": "", "output": "{j}", "type": "stdin_stdout"}}]',
    },
    "BytedTsinghua-SIA/AIME-2024": {
        "prompt": [{"role": "user", "content": "Solve {i} + 1, of AIME."}],
        "reward_model": {"ground_truth": "{j}", "style": "rule"},
    },
}


def filled(value, i):
    if isinstance(value, str):
        return value.format(i=i, j=i + 1)
    if isinstance(value, list):
        return [filled(one, i) for one in value]
    return {name: filled(one, i) for name, one in value.items()}


def local(path: Path, folder: Path) -> list[str]:
    """Overrides that put a tiny file of the same form in the place of each data set of the hub."""
    table = tomllib.loads(path.read_text("utf-8"))["task"]
    found = []
    for part in ("train", "held_out"):
        source = table.get("options", {}).get(part)
        if isinstance(source, dict):
            file = folder / f"{part}.jsonl"
            numbers = range(5) if part == "train" else range(5, 8)
            rows = [json.dumps(filled(ROWS[source["data"]], number)) for number in numbers]
            file.write_text("\n".join(rows) + "\n", "utf-8")
            found.append(f"task.options.{part}={{data={json.dumps(str(file))}}}")
    return found


@pytest.mark.parametrize("name", SHIPPED)
def test_a_configuration_is_read_and_written_in_full(name, tmp_path):
    config = load(CONFIGS / f"{name}.toml")
    assert config.name == name
    copy = tmp_path / "copy.toml"
    copy.write_text(to_toml(config), "utf-8")
    assert load(copy) == config


@pytest.mark.parametrize("name", SHIPPED)
def test_a_configuration_is_dry_run(name, tmp_path):
    path = CONFIGS / f"{name}.toml"
    config = load(path, local(path, tmp_path))
    found = plan(config)
    assert found.train > 0
    assert found.held_out > 0
    assert found.samples_per_step == config.rollout.prompts * config.rollout.group_size
    assert found.largest_lag == min(config.lag.sync_every, config.steps) - 1
    if config.warmup is not None:
        WarmUp.model_validate({"task": config.task.model_dump(include={"name", "options"}), **config.warmup})
    task = tasks.load(config.task.name, config.task.options)
    if task.max_tokens is not None:
        assert task.max_tokens <= config.rollout.max_tokens  # a correct answer fits


@pytest.mark.parametrize("name", [name for name in SHIPPED if (CONFIGS / f"{name}.toml").read_text().count("arXiv")])
def test_the_shifted_mean_stands_beside_each_published_setting(name):
    text = (CONFIGS / f"{name}.toml").read_text("utf-8")
    command = re.search(r"python -m llm train (.*?\\\n.*)\n", text)
    assert command is not None
    asked, *overrides = shlex.split(command[1].replace("\\\n#", ""))
    assert asked == name
    published, shifted = load(CONFIGS / f"{name}.toml"), load(CONFIGS / f"{name}.toml", overrides)
    assert shifted.objective.algorithm == "shifted_mean"
    assert shifted.objective.parameters.keys() == {"beta"}
    assert shifted.model_copy(update={"objective": published.objective, "name": name}) == published


def test_oapl_is_the_papers():
    """arXiv 2602.19362, as issue and README of this project quote it."""
    config = load(CONFIGS / "oapl_math.toml")
    assert config.model.path == "Qwen/Qwen3-4B-Thinking-2507"
    assert "DeepScaleR" in config.task.options["train"]["data"]
    assert config.objective.make().parameters == {"beta1": 1.0, "beta2": 1e-3}
    assert (config.lag.sync_every, config.lag.epochs) == (50, 1)
    assert (config.optimizer.learning_rate, config.optimizer.clip_norm) == (1e-6, 1e-3)


def test_a_schedule_that_ends_within_a_window_is_counted_right():
    from llm.run.schedule import place

    for steps, every, epochs in ((7, 3, 2), (20, 20, 1), (5, 9, 4), (9, 4, 3)):
        config = Config.model_validate(
            {
                "name": "a",
                "steps": steps,
                "model": {"path": "m"},
                "task": {"name": "countdown24"},
                "objective": {"algorithm": "rloo"},
                "lag": {"sync_every": every, "epochs": epochs},
            }
        )
        places = [place(step, config.lag) for step in range(steps)]
        found = plan(config)
        assert found.batches == len({one.batch for one in places})
        assert found.windows == len({one.window for one in places})
        assert found.largest_lag == max(one.lag for one in places)


def test_reading_a_configuration_loads_no_torch():
    program = "import sys, llm.config, llm.run.runs; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT).returncode == 0
