"""Time and memory of one optimizer step on a language model, as ratios. `python -m benchmarks.bench_llm`.

One thread, processor time, runs interleaved, the fastest of five, as neighbors on the machine only ever slow a step
down. The supervised steps see the same passes as ours; TRL's trainer gets the same samples, and the better of two
micro-batch sizes. Memory is the growth of the resident peak in a process of its own (Linux).
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel, Qwen3Config, Qwen3ForCausalLM

import pessimism as ps
from benchmarks.bench_targets import show
from llm.samples import Completion, Group, Prompt
from llm.update.batch import Batch, cut, make_batch, make_pass
from llm.update.loss import accumulate
from llm.update.models import build_tokenizer
from llm.update.policy import token_values

OBJECTIVES = ("shifted_mean", "grpo", "gspo", "tpo", "prime_rl.default")
TOKENS_PER_PASS = 4096
PROMPT, GROUPS, SIZE = 16, 8, 8

Step = Callable[[], None]


def make_model(vocabulary: int, width: int = 128, layers: int = 4) -> PreTrainedModel:
    """A Qwen3-architecture model with random weights."""
    torch.manual_seed(0)
    config = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 32,
        num_key_value_heads=width // 32,
        head_dim=32,
        max_position_embeddings=1024,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=0,
        pad_token_id=0,
    )
    return Qwen3ForCausalLM(config).train()


def make_groups(vocabulary: int, lengths: Sequence[int]) -> list[Group]:
    """Groups of random tokens with these completion lengths, pass or fail, near the policy of a fresh model."""
    generator = np.random.default_rng(0)
    groups = []
    for first in range(0, len(lengths), SIZE):
        completions = tuple(
            Completion(
                generator.integers(1, vocabulary, length).astype(np.int32),
                (-np.log(vocabulary) + 0.01 * generator.standard_normal(length)).astype(np.float32),
                True,
            )
            for length in lengths[first : first + SIZE]
        )
        prompt = tuple(generator.integers(1, vocabulary, PROMPT).tolist())
        rewards = generator.permutation(np.arange(SIZE) % 2).astype(float)
        groups.append(Group(Prompt(str(first), "", {}), prompt, completions, rewards, version=0, batch=0))
    return groups


def mixed_lengths(longest: int, kind: str) -> list[int]:
    """Lengths from 8 to ``longest``: "uniform", or "log-uniform", as answers that sometimes ramble."""
    generator = np.random.default_rng(1)
    if kind == "uniform":
        return generator.integers(8, longest + 1, GROUPS * SIZE).tolist()
    return np.exp(generator.uniform(np.log(8), np.log(longest), GROUPS * SIZE)).astype(int).tolist()


def ours(model: PreTrainedModel, groups: Sequence[Group], name: str) -> Step:
    """A step of an objective: groups to batch, update, clip, AdamW."""
    algorithm = ps.algorithm(name)

    def gradients() -> None:
        accumulate(model, make_batch(groups, algorithm), algorithm, TOKENS_PER_PASS)

    return _with_optimizer(model, gradients)


def supervised(model: PreTrainedModel, batch: Batch, chunked: bool) -> Step:
    """A step of cross-entropy on the completions: transformers' own loss, or from log-probabilities made by chunks."""
    count = int(batch.length.sum())

    def gradients() -> None:
        for blocks in cut(batch, TOKENS_PER_PASS, whole_groups=False):
            part = make_pass(batch, blocks, torch.device("cpu"))
            (block,) = part.blocks
            if chunked:
                loss = -token_values(model, block.input_ids, block.predicting, part.labels).log_probs.sum()
            else:
                labels = torch.full((block.input_ids.numel(),), -100)
                labels[block.predicting] = part.labels
                labels = labels.view_as(block.input_ids)
                loss = model(input_ids=block.input_ids, shift_labels=labels, labels=labels).loss * len(part.labels)
            (loss / count).backward()

    return _with_optimizer(model, gradients)


def trl(model: PreTrainedModel, groups: Sequence[Group], vocabulary: int, rows: int) -> Step:
    """A step of TRL's GRPOTrainer on the same samples, after generation, in micro-batches of some rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about vLLM's version
        from datasets import Dataset
        from trl.trainer.grpo_config import GRPOConfig
        from trl.trainer.grpo_trainer import GRPOTrainer

    tokenizer = build_tokenizer("".join(chr(0x4E00 + token) for token in range(vocabulary - 2)))
    samples = [(group, completion) for group in groups for completion in group.completions]
    longest = max(len(completion.tokens) for _, completion in samples)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = GRPOConfig(
            output_dir=folder,
            per_device_train_batch_size=rows,
            gradient_accumulation_steps=len(samples) // rows,
            num_generations=SIZE,
            max_completion_length=longest,
            bf16=False,
            gradient_checkpointing=False,
            use_cpu=True,
            loss_type="grpo",
            report_to=[],
        )
        prompts = Dataset.from_list([{"prompt": "x"} for _ in groups])
        trainer = GRPOTrainer(
            model=model,  # type: ignore[arg-type]
            reward_funcs=lambda completions, **_: [0.0] * len(completions),
            args=config,
            train_dataset=prompts,
            processing_class=tokenizer,
        )
    trainer.current_gradient_accumulation_steps = len(samples) // rows

    def padded(values: Sequence[np.ndarray], kind: type) -> torch.Tensor:
        out = np.zeros((len(samples), longest), dtype=kind)
        for row, value in enumerate(values):
            out[row, : len(value)] = value
        return torch.tensor(out)

    advantage = make_batch(groups, ps.algorithm("grpo")).advantage
    inputs = {
        "prompt_ids": torch.tensor([group.tokens for group, _ in samples]),
        "prompt_mask": torch.ones(len(samples), PROMPT, dtype=torch.int64),
        "completion_ids": padded([completion.tokens for _, completion in samples], np.int64),
        "completion_mask": padded([np.ones(len(completion.tokens)) for _, completion in samples], np.int64),
        "old_per_token_logps": padded([completion.log_probs for _, completion in samples], np.float32),
        "advantages": torch.tensor(advantage, dtype=torch.float32),
    }

    def gradients() -> None:
        for first in range(0, len(samples), rows):
            micro = {name: values[first : first + rows] for name, values in inputs.items()}
            trainer.compute_loss(trainer.model, micro).backward()

    return _with_optimizer(model, gradients)


def times(steps: Mapping[str, Step], repeats: int = 5) -> dict[str, float]:
    """Least processor time of each step in seconds; a first round warms up."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats + 1):
        for name, step in steps.items():
            gc.collect()
            started = time.process_time()
            step()
            taken[name].append(time.process_time() - started)
    return {name: min(values[1:]) for name, values in taken.items()}


def against_supervised(vocabulary: int, longest: int) -> list[tuple[str, str, str]]:
    """Every objective's step against cross-entropy on the same passes."""
    model = make_model(vocabulary)
    groups = make_groups(vocabulary, mixed_lengths(longest, "uniform"))
    batch = make_batch(groups, ps.algorithm("dro"))
    steps = {name: ours(model, groups, name) for name in OBJECTIVES}
    plain = {"transformers": supervised(model, batch, False), "by chunks": supervised(model, batch, True)}
    found = times(plain | steps)
    peaks = {name: peak(vocabulary, longest, name) for name in [*plain, *OBJECTIVES]}
    lines = []
    for other in plain:
        for what, values in (("time", found), ("memory", peaks)):
            worst = max(OBJECTIVES, key=values.__getitem__)
            lines.append(
                (
                    f"step / supervised {other}, vocabulary {vocabulary}: {what} (worst: {worst})",
                    f"{values[worst] / values[other]:.3f}",
                    "<= 1.05" if other == "transformers" else "",
                )
            )
    return lines


def against_trl(kind: str, longest: int = 256, vocabulary: int = 128) -> list[tuple[str, str, str]]:
    """The update alone, against TRL's."""
    lengths = [longest] * (GROUPS * SIZE) if kind == "equal" else mixed_lengths(longest, kind)
    model, groups = make_model(vocabulary), make_groups(vocabulary, lengths)
    steps = {f"TRL, {rows} rows": trl(model, groups, vocabulary, rows) for rows in (SIZE, GROUPS * SIZE)}
    found = times({"ours": ours(model, groups, "grpo"), **steps})
    best = min(steps, key=found.__getitem__)
    goal = "" if kind == "equal" else "<= 0.6"  # nothing to gain where nothing is padded
    return [(f"update / {best} at a time: {kind} lengths up to {longest}", f"{found['ours'] / found[best]:.3f}", goal)]


def peak(vocabulary: int, longest: int, name: str) -> float:
    """Growth of the resident peak over one step, in MiB, in a fresh process."""
    arguments = [sys.executable, "-m", "benchmarks.bench_llm", "--peak", json.dumps([vocabulary, longest, name])]
    root = Path(__file__).parent.parent
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"}  # freed tensors go back at once
    answer = subprocess.run(arguments, capture_output=True, text=True, check=True, cwd=root, env=environment)
    return float(answer.stdout)


def main(arguments: Sequence[str]) -> None:
    """Print one line per ratio."""
    torch.set_num_threads(1)
    if arguments:
        print(_peak(*json.loads(arguments[1])))
        return
    for vocabulary, longest in ((128, 128), (32768, 32)):
        show(against_supervised(vocabulary, longest))
    for kind in ("log-uniform", "uniform", "equal"):
        show(against_trl(kind))


def _peak(vocabulary: int, longest: int, name: str) -> float:
    model = make_model(vocabulary)
    groups = make_groups(vocabulary, mixed_lengths(longest, "uniform"))
    if name in OBJECTIVES:
        step = ours(model, groups, name)
    else:
        step = supervised(model, make_batch(groups, ps.algorithm("dro")), chunked=name == "by chunks")
    ours(model, make_groups(vocabulary, [8] * SIZE), "dro")()  # loads what is loaded on first use
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
    before = _resident("VmRSS")
    step()
    return _resident("VmHWM") - before


def _resident(what: str) -> float:
    """A line of /proc/self/status in MiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(what))) / 1024


def _with_optimizer(model: PreTrainedModel, gradients: Callable[[], Any]) -> Step:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        gradients()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


if __name__ == "__main__":
    main(sys.argv[1:])
