"""Both engines, real ones, in this process and in their own: the distribution, the seeds, the sync and the faults."""

import fcntl
import importlib.util
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from engine_facts import LONG, PAIRS, REQUESTS, STOP, plain, scorer, settings, tiny_model, tokens_of
from llm.sample.engines.base import (
    EngineError,
    Settings,
    check_options,
    check_probe,
    check_requests,
    probe,
    sample_seeds,
)
from llm.sample.engines.local import LocalEngine
from llm.sample.engines.process import ProcessEngine
from llm.samples import Completion, Request

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("vllm", "transformers")


@pytest.fixture(scope="session", params=KINDS)
def facts(request, tmp_path_factory) -> dict[str, Any]:
    """What the engine did, measured once for all test workers."""
    if importlib.util.find_spec(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    folder = tmp_path_factory.getbasetemp().parent / f"engine-{os.environ.get('PYTEST_XDIST_TESTRUNUID', os.getpid())}"
    folder /= request.param
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until it is closed
        if not (folder / "facts.json").exists():
            program = [sys.executable, ROOT / "tests" / "engine_facts.py", request.param, folder]
            done = subprocess.run(program, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr[-4000:]
    return {"kind": request.param, **json.loads((folder / "facts.json").read_text())}


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    tiny_model().save_pretrained(folder / "model")
    return folder


# What is sampled


def test_log_probs_are_those_of_the_model(facts):
    assert facts["sampling"]["gap"] < 1e-4


def test_the_same_seeds_give_the_same_completions(facts):
    assert facts["sampling"]["again"]


def test_a_sample_does_not_depend_on_its_batch(facts):
    assert facts["sampling"]["alone"]


def test_a_full_cache_changes_nothing(facts):
    """More long prompts than vLLM's cache holds: some wait, some are computed twice."""
    assert facts["sampling"]["crowd_gap"] < 1e-4
    assert facts["sampling"]["crowd_alone"]


def test_samples_follow_the_policy(facts):
    """Chi-squared test over every completion of at most two tokens; cells expected below five are one cell."""
    observed = Counter(dict(facts["sampling"]["pairs"]))
    exact = facts["exact_pairs"]
    assert set(observed) <= set(exact)
    assert sum(exact.values()) == pytest.approx(1, abs=1e-5)
    counts = np.array([observed[pair] for pair in exact])
    expected = PAIRS * np.array(list(exact.values())) / sum(exact.values())
    rare = expected < 5
    test = stats.chisquare([*counts[~rare], counts[rare].sum()], [*expected[~rare], expected[rare].sum()])
    assert (~rare).sum() > 80
    assert test.pvalue > 1e-3


def test_samples_of_neighboring_seeds_differ(facts):
    samples = [tuple(sample) for group in facts["sampling"]["neighbors"] for sample in group if len(sample) > 5]
    assert len(samples) > 40
    assert len(set(samples)) == len(samples)


def test_completions_end_where_they_should(facts):
    for request, group, ended in zip(REQUESTS, facts["sampling"]["tokens"], facts["sampling"]["finished"], strict=True):
        assert len(group) == request.samples
        for tokens, finished in zip(group, ended, strict=True):
            assert finished == (tokens[-1] == STOP)
            assert STOP not in tokens[:-1]
            limit = request.max_tokens or 32
            assert len(tokens) <= limit
            assert finished or len(tokens) == limit
    assert any(finished for ended in facts["sampling"]["finished"] for finished in ended)
    assert not all(finished for ended in facts["sampling"]["finished"] for finished in ended)


def test_an_engine_leaves_the_random_state_alone(facts):
    assert facts["random_state_kept"]


# Weights


def test_a_sync_changes_the_policy_exactly_and_reversibly(facts):
    assert facts["probe"]["moved"]
    assert facts["probe"]["synced_gap"] < 1e-4
    assert facts["probe"]["restored"]
    assert facts["probe"]["version"] == 7


def test_the_probe_passes_where_engine_and_trainer_agree(facts):
    assert facts["probe"]["before"] == ""
    assert facts["probe"]["synced"] == ""


@pytest.mark.parametrize("mistake", ["no_sync", "temperature", "dtype"])
def test_the_probe_finds(facts, mistake):
    assert "engine and trainer disagree by up to" in facts["probe"][mistake]


def test_weights_without_the_tied_head_are_refused(facts):
    assert "lm_head.weight" in facts["probe"]["headless"]


def test_weights_that_are_not_finite_are_reported(facts):
    assert "the weights have diverged" in facts["diverged"]


def test_what_vllm_does_not_report_is_found(facts):
    if facts["kind"] != "vllm":
        pytest.skip("about vLLM's reload_weights")
    assert "disagree by up to" in facts["vllm"]["stale_cache"]
    assert "disagree by up to" in facts["vllm"]["tied_head"]
    assert "kept its old weights" in facts["vllm"]["silent_sync"]


def test_an_unknown_option_is_an_error(facts):
    assert "no_such_option" in facts["unknown_option"]


# In a process of its own


def test_a_process_gives_the_same_numbers(facts):
    assert facts["process"]["same"]
    assert facts["process"]["version"] == 7


def test_a_killed_process_loses_and_doubles_nothing(facts):
    assert facts["process"]["first"]
    assert facts["process"]["after_kill"] == [True] * 4
    assert facts["process"]["restarted"] == 1


def test_a_hung_process_is_replaced(model_folder, caplog):
    engine = ProcessEngine(settings("transformers", model_folder), timeout=8.0)
    try:
        model = tiny_model(seed=1)
        engine.sync(model.state_dict(), 3)
        expected = engine.generate(REQUESTS)
        hung = engine.identity
        assert hung is not None
        os.kill(hung, signal.SIGSTOP)
        waiting = [engine.submit(REQUESTS), engine.submit(REQUESTS[:2])]
        assert plain(waiting[0]()) == plain(expected)
        assert tokens_of(waiting[1]()) == tokens_of(expected[:2])
        assert engine.restarted == 1
        assert gone(hung)
        assert "said nothing for 8 s" in caplog.text
        # The weights of its one sync are in the new process too, and it still takes others.
        assert check_probe(engine, LONG, scorer(model), 1e-4) < 1e-4
        engine.sync(tiny_model().state_dict(), 4)
        assert check_probe(engine, LONG, scorer(tiny_model()), 1e-4) < 1e-4
    finally:
        engine.close()
    assert gone(engine.identity or hung)


def test_an_engine_that_keeps_dying_is_given_up(model_folder):
    engine = ProcessEngine(settings("transformers", model_folder), restarts=0)
    try:
        engine.generate(REQUESTS[:1])
        assert engine.identity is not None
        os.kill(engine.identity, signal.SIGKILL)
        with pytest.raises(EngineError, match="the engine ended with SIGKILL; restarted 0 times to no avail"):
            engine.generate(REQUESTS[:1])
    finally:
        engine.close()


def test_a_missing_model_is_one_line(tmp_path):
    engine = ProcessEngine(replace(settings("transformers", tmp_path), model=str(tmp_path / "nothing")))
    try:
        with pytest.raises(EngineError, match="nothing") as caught:
            engine.generate(REQUESTS[:1])
        assert "\n" not in str(caught.value)
    finally:
        engine.close()


@pytest.mark.parametrize(
    ("program", "complaint"),
    [
        (
            "echo one >&2; echo two; exit 3",
            r"ended with exit status 3 before .*; its last words: one \| two$",
        ),
        ("kill -SEGV $$", r"the engine ended with SIGSEGV before it had started; its last words: \(nothing\)$"),
        ("exec sleep 100", r"the engine said nothing for 0\.5 s before it had started"),
    ],
)
def test_a_process_that_does_not_start_is_not_started_again(tmp_path, monkeypatch, program, complaint):
    (tmp_path / "python").write_text(f"#!/bin/sh\n{program}\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    engine = ProcessEngine(settings("transformers", tmp_path), start_timeout=0.5)
    try:
        for _ in range(2):
            with pytest.raises(EngineError, match=complaint):
                engine.generate(REQUESTS[:1])
    finally:
        engine.close()


def test_weights_that_find_no_room_are_one_line(tmp_path, monkeypatch):
    def full(descriptor: int, content: bytes, offset: int) -> int:
        raise OSError(28, "No space left on device")

    (tmp_path / "python").write_text("#!/bin/sh\nexec sleep 100\n")
    (tmp_path / "python").chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(os, "pwrite", full)
    engine = ProcessEngine(settings("transformers", tmp_path), start_timeout=0.5)
    try:
        with pytest.raises(EngineError, match=r"no room to hand the weights .*: No space left on device"):
            engine.sync(tiny_model().state_dict(), 1)
    finally:
        engine.close()


def test_closing_interrupts_whoever_waits(model_folder):
    engine = ProcessEngine(settings("transformers", model_folder))
    answers = engine.submit(REQUESTS)
    seen = []

    def wait() -> None:
        with pytest.raises(EngineError, match=r"was closed before it answered|before it had started"):
            answers()
        seen.append(True)

    waiting = threading.Thread(target=wait)
    waiting.start()
    while engine.identity is None:
        time.sleep(0.01)
    engine.close()
    waiting.join(timeout=20)
    assert seen == [True]


def test_the_process_ends_with_its_parent(model_folder):
    program = (
        "import sys, time; from pathlib import Path; from engine_facts import *\n"
        "engine = ProcessEngine(settings('transformers', Path(sys.argv[1])))\n"
        "engine.generate(REQUESTS[:1]); print(engine.identity, flush=True); time.sleep(600)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
    with subprocess.Popen(
        [sys.executable, "-c", program, model_folder], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert not gone(child)
        parent.kill()
    end = time.monotonic() + 20
    while not gone(child) and time.monotonic() < end:
        time.sleep(0.05)
    assert gone(child)


def gone(process: int) -> bool:
    """Whether a process has ended; nobody may have collected it yet."""
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except FileNotFoundError:
        return True
    return status.rpartition(")")[2].split()[0] == "Z"


# What is refused


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("top_p", "every log-ratio would be biased"),
        ("top_k", "every log-ratio would be biased"),
        ("min_p", "every log-ratio would be biased"),
        ("repetition_penalty", "every log-ratio would be biased"),
        ("logit_bias", "every log-ratio would be biased"),
        ("min_tokens", "every log-ratio would be biased"),
        ("override_generation_config", "every log-ratio would be biased"),
        ("temperature", "rollout.temperature"),
        ("stop", "by their text"),
        ("dtype", "set by the run itself"),
        ("tensor_parallel_size", "several processes"),
    ],
)
def test_options_that_bias_are_refused(option, reason):
    with pytest.raises(ValueError, match=f"^{option} .*{reason}"):
        check_options({"max_num_seqs": 8, option: 1})
    with pytest.raises(ValueError, match=f"^{option} .*{reason}"):
        Settings("vllm", "model", 1.0, 8, 16, options={option: 1})


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("inf"), float("nan")])
def test_temperatures_that_are_none_are_refused(temperature):
    with pytest.raises(ValueError, match="temperature is"):
        Settings("vllm", "model", temperature, 8, 16)


def test_vllm_would_raise_a_tiny_temperature():
    with pytest.raises(EngineError, match=r"temperature is 0\.005; vLLM samples at 0\.01 or above"):
        LocalEngine(Settings("vllm", "model", 0.005, 8, 16))


def test_a_completion_must_leave_room_for_a_prompt():
    with pytest.raises(ValueError, match="leave room for a prompt"):
        Settings("vllm", "model", 1.0, 16, 16)


@pytest.mark.parametrize(
    ("request_", "problem"),
    [
        (Request((), 1, 0), "request 1: the prompt has no tokens"),
        (Request((1,), 0, 0), "request 1: 0 samples"),
        (Request((1,), 1, -1), "request 1: the seed is -1"),
        (Request((1,), 1, 0, max_tokens=0), "request 1: max_tokens is 0"),
        (Request((1,), 1, 0, max_tokens=9), "request 1: max_tokens is 9; it must be from 1 to 8"),
        (Request((1,) * 9, 1, 0), "request 1: 9 prompt tokens and 8 of completion"),
    ],
)
def test_impossible_requests_are_refused(request_, problem):
    chosen = Settings("vllm", "model", 1.0, 8, 16)
    check_requests([Request((1,) * 8, 1, 0), Request((1,) * 15, 1, 0, max_tokens=1)], chosen)
    with pytest.raises(ValueError, match=problem):
        check_requests([Request((1,), 1, 0), request_], chosen)


@pytest.mark.parametrize(("option", "value"), [("batch_size", 0), ("batch_size", "many"), ("max_num_seqs", 4)])
def test_the_transformers_engine_names_the_option_it_cannot_take(model_folder, option, value):
    with pytest.raises(EngineError, match=option):
        LocalEngine(replace(settings("transformers", model_folder), options={option: value}))


def test_a_local_engine_answers_with_the_weights_it_was_asked_under(model_folder):
    engine = LocalEngine(settings("transformers", model_folder))
    answers = engine.submit(REQUESTS[:1])
    engine.sync(tiny_model().state_dict(), 5)
    with pytest.raises(EngineError, match="submitted at version 0 were called for at version 5"):
        answers()


# Small parts


def test_sample_seeds_of_different_requests_never_meet():
    seeds = [seed for request in range(200) for seed in sample_seeds(Request((1,), 16, seed=request))]
    assert len(set(seeds)) == len(seeds)
    assert sample_seeds(Request((1,), 4, seed=3)) == sample_seeds(Request((2, 2), 9, seed=3))[:4]


def test_the_probe_asks_for_the_longest_prompt():
    asked = probe([(1,), (1, 2, 3), (4, 5)], max_tokens=64)
    assert (asked.tokens, asked.max_tokens) == ((1, 2, 3), 16)
    assert probe([(1,)], max_tokens=2).max_tokens == 2


@pytest.mark.parametrize("error", [0.5, float("nan")])
def test_the_probe_compares_every_token(error):
    class Fixed:
        version = 4

        def ask_each(self, request):
            sample = Completion(np.array([1, 2], np.int32), np.array([-1.0, -2.0], np.float32), True)
            return {"the engine": [sample, sample]}

    engine: Any = Fixed()
    assert check_probe(engine, LONG, lambda prompt, tokens: np.array([-1.0, -2.25]), 0.25) == 0.25
    with pytest.raises(EngineError, match=r"weights of step 4: .* by up to (0\.5|nan) nats"):
        check_probe(engine, LONG, lambda prompt, tokens: np.array([-1.0, -2.0 - error]), 0.25)


def test_bfloat16_log_probs_are_computed_in_float32(model_folder):
    engine = LocalEngine(replace(settings("transformers", model_folder), dtype="bfloat16"))
    model = tiny_model()
    model.bfloat16()
    assert check_probe(engine, LONG, scorer(model), 0.1) > 0
    total = sum(np.exp(sample.log_probs[0]) for sample in one_of_each(engine))
    assert total == pytest.approx(1, abs=1e-5)


def one_of_each(engine: LocalEngine) -> list[Completion]:
    """A completion for every first token, out of many."""
    many = engine.generate([Request((3, 1, 4), 400, seed=0, max_tokens=1)])[0]
    found = {int(sample.tokens[0]): sample for sample in many}
    assert len(found) == 12
    return list(found.values())


def test_a_model_that_cannot_end_fills_every_completion(model_folder):
    engine = LocalEngine(replace(settings("transformers", model_folder), stop_tokens=()))
    samples = engine.generate(REQUESTS[:2])
    assert {len(sample.tokens) for group in samples for sample in group} == {32}
    assert not any(sample.finished for group in samples for sample in group)
    assert engine.generate([]) == []
    assert torch.is_grad_enabled()
