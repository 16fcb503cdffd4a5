"""Servers as an engine: what is sampled does not depend on who answers, and nothing is lost when one fails."""

import time

import pytest
import torch
from safetensors.torch import save_file

from completion_server import CompletionServer
from engine_facts import STOP, TEMPERATURE, plain, scorer, tiny_model
from llm.config import Config, Rollout
from llm.run.train import opened, train
from llm.run.watch import METRICS, Watcher
from llm.sample.engines.base import EngineError, Settings, check_probe
from llm.sample.engines.local import LocalEngine
from llm.sample.engines.servers import Servers
from llm.sample.rollout import listed_servers
from llm.sample.weights import check_weights, write_weights
from llm.samples import Request
from llm.update.models import EngineWeights, build_tokenizer

REQUESTS = [Request(tuple(range(1 + i % 4)), 2, seed=i, max_tokens=16) for i in range(6)]
PROBE = Request((3, 1, 4, 1, 5), 3, seed=0, max_tokens=8)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    tiny_model().save_pretrained(folder)
    build_tokenizer("0123456789").save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def new():
    return tiny_model(seed=3)


@pytest.fixture(scope="module")
def expected(model_folder, new):
    """What an engine in this process answers with the new weights, sample by sample."""
    engine = LocalEngine(settings(model_folder, options={"batch_size": 1}))
    engine.sync(EngineWeights(new), 5)
    yield engine.generate(REQUESTS)
    engine.close()


@pytest.fixture
def server(model_folder):
    started: list[CompletionServer] = []

    def start(model=model_folder):
        started.append(CompletionServer(model))
        return started[-1]

    yield start
    for one in started:
        if one.state != "dead":
            one.close()


@pytest.fixture
def engine(model_folder, tmp_path):
    started = []

    def start(urls, **options):
        started.append(
            Servers(settings(model_folder), urls, tmp_path / "weights", timeout=options.get("timeout", 60.0), again=0.1)
        )
        return started[-1]

    yield start
    for one in started:
        one.close()


class Silent:
    def update(self, step, numbers, timing):
        pass


def settings(folder, **options):
    return Settings("transformers", folder, TEMPERATURE, 32, 200, (STOP,), **options)


def soon(what, seconds=60.0):
    began = time.monotonic()
    while not what():
        assert time.monotonic() - began < seconds
        time.sleep(0.01)


@pytest.mark.parametrize("count", [1, 3])
def test_who_answers_does_not_matter(server, engine, new, expected, count):
    servers = [server() for _ in range(count)]
    found = engine(lambda: [one.url for one in servers])
    found.sync(EngineWeights(new), 5)
    assert found.version == 5
    assert check_probe(found, PROBE, scorer(new), 1e-4) < 1e-4
    answers = found.generate(REQUESTS)
    assert plain(answers) == plain(expected)
    assert all(one.asked > PROBE.samples for one in servers)  # each was asked the probe, and worked
    assert sum(one.asked for one in servers) == sum(request.samples for request in REQUESTS) + count * PROBE.samples


@pytest.mark.parametrize("state", ["dead", "hung"])
def test_samples_of_a_server_that_fails_are_asked_of_another(server, engine, new, expected, state):
    failing, other = server(), server()
    found = engine(lambda: [failing.url, other.url], timeout=3.0)
    found.sync(EngineWeights(new), 5)
    wait = found.submit(REQUESTS)
    soon(lambda: failing.asked > 0)
    failing.state = state
    assert plain(wait()) == plain(expected)
    assert failing.url not in found.alive()
    assert found.restarted >= 1
    failing.state = "well"  # it is taken in again, once it has loaded the weights again
    soon(lambda: len(found.alive()) == 2)
    assert len(failing.loaded) >= 2


def test_servers_come_and_go_while_it_samples(server, engine, new, expected, tmp_path):
    listed = tmp_path / "servers"
    first = server()
    listed.write_text(first.url + "\n\n")
    found = engine(lambda: listed_servers(str(listed)))
    found.sync(EngineWeights(new), 5)
    assert list(found.ask_each(PROBE)) == [first.url]
    more = [server(), server()]
    listed.write_text("\n".join(one.url for one in (first, *more)))
    soon(lambda: len(found.alive()) == 3)
    assert all(one.asked == PROBE.samples for one in more)  # compared with the first before they were taken in
    assert plain(found.generate(REQUESTS)) == plain(expected)
    listed.write_text(more[0].url)
    soon(lambda: found.alive() == [more[0].url])
    assert plain(found.generate(REQUESTS)) == plain(expected)


@pytest.mark.parametrize("mistake", ["stubborn", "temperature"])
def test_a_server_that_samples_from_another_policy_is_refused(server, engine, new, mistake):
    right, wrong = server(), server()
    if mistake == "stubborn":
        wrong.state = "stubborn"
    else:
        wrong.temperature = 1.0
    both = engine(lambda: [right.url, wrong.url])
    both.sync(EngineWeights(new), 5)
    with pytest.raises(EngineError, match=f"weights of step 5: {wrong.url} and trainer disagree"):
        check_probe(both, PROBE, scorer(new), 1e-4)
    urls = [right.url]
    late = engine(lambda: urls)
    late.sync(EngineWeights(new), 5)
    check_probe(late, PROBE, scorer(new), 1e-4)
    urls.append(wrong.url)
    soon(lambda: wrong.url in late._servers and late._servers[wrong.url].tried)
    assert late.alive() == [right.url]
    assert "the probe" in late._servers[wrong.url].reason


def test_without_any_server_it_says_what_each_said(server, engine, new):
    short = server()
    short.length = 100
    gone = server()
    gone.close()
    found = engine(lambda: [short.url, gone.url], timeout=0.3)
    with pytest.raises(EngineError, match=r"no server has been there .*--max-model-len is 100; .* 200.*ConnectError"):
        found.sync(EngineWeights(new), 5)
    short.length = 256
    found.sync(EngineWeights(new), 5)
    wait = found.submit(REQUESTS)
    short.state = "dead"
    with pytest.raises(EngineError, match="no server has been there"):
        wait()


def test_weights_are_there_whole_or_not_at_all(tmp_path, new):
    weights = dict(EngineWeights(new))
    path = write_weights(tmp_path, weights, 3, torch.float32, per_file=10_000)
    assert len(list(path.glob("*.safetensors"))) > 2
    assert check_weights(path) == 3
    newer = write_weights(tmp_path, weights, 4, torch.bfloat16)
    assert check_weights(newer) == 4
    assert [one.name for one in tmp_path.iterdir()] == ["step-000004"]
    with pytest.raises(ValueError, match=r"lack lm_head\.weight"):
        write_weights(tmp_path, {name: weights[name] for name in weights if name != "lm_head.weight"}, 5, torch.float32)
    for damage in (
        lambda: next(newer.glob("*.safetensors")).write_bytes(b"half"),
        lambda: save_file({"foreign": torch.zeros(2)}, newer / "part-00001.safetensors"),
        lambda: (newer / "weights.json").unlink(),
    ):
        again = write_weights(tmp_path, weights, 4, torch.bfloat16)
        assert again == newer
        damage()
        with pytest.raises(ValueError, match=r"step-000004: (its files|holds no whole)"):
            check_weights(newer)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"servers": ["http://a:8000"]}, "servers and weights go together"),
        ({"weights": "/w"}, "servers and weights go together"),
        ({"servers": ["a:8000"], "weights": "/w"}, "is no URL"),
        ({"servers": "list", "weights": "/w", "place": "colocated"}, "servers are vLLM's"),
        ({"servers": "list", "weights": "/w", "options": {"max_num_seqs": 4}}, "given to `vllm serve`"),
    ],
)
def test_servers_that_cannot_work_are_refused(changes, told):
    with pytest.raises(ValueError, match=told):
        Rollout.model_validate(changes)


def test_a_run_does_not_depend_on_where_its_samples_come_from(server, countdown_model, tmp_path, monkeypatch):
    """In this process, or from two servers, one of which dies while it samples."""
    table = {
        "name": "served",
        "steps": 4,
        "deterministic": True,
        "model": {"path": str(countdown_model)},
        "task": {"name": "countdown24", "soft_limit": 16},
        "objective": {"algorithm": "shifted_mean", "parameters": {"beta": 0.1}},
        "lag": {"sync_every": 2},
        "optimizer": {"learning_rate": 3e-3},
        "evaluation": {"every": 2, "prompts": 3, "samples": 2},
    }
    size = {"prompts": 3, "group_size": 4, "max_tokens": 17}
    here = {"engine": "transformers", "place": "colocated", "options": {"batch_size": 1}}
    servers = [server(str(countdown_model)) for _ in range(2)]
    there = {"servers": [one.url for one in servers], "weights": str(tmp_path / "weights")}
    complete = servers[0].complete

    def dying(body):
        if servers[0].asked == 20:
            servers[0].state = "dead"
        return complete(body)

    monkeypatch.setattr(servers[0], "complete", dying)
    written = []
    for name, rollout in (("here", here), ("there", there)):
        config = Config.model_validate(table | {"rollout": size | rollout})
        with opened(tmp_path / name), Watcher(tmp_path / name, Silent()) as watcher:
            assert train(config, tmp_path / name, watcher) == 4
        written.append((tmp_path / name / METRICS).read_bytes())
    assert servers[0].state == "dead"
    assert written[0] == written[1]
