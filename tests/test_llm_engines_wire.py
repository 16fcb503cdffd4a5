"""What the trainer's process and the engine's say to each other arrives as it was sent."""

import io
import json
import os
import weakref
from collections.abc import Mapping
from itertools import chain

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from llm.sample.engines.base import Settings
from llm.sample.engines.wire import (
    Weights,
    answers_from_arrays,
    answers_to_arrays,
    read_weights,
    receive,
    requests_from_json,
    requests_to_json,
    send,
    settings_from_json,
    settings_to_json,
)
from llm.samples import Completion, Request

REQUESTS = st.lists(
    st.builds(
        Request,
        tokens=st.lists(st.integers(0, 2**31 - 1), min_size=1, max_size=5).map(tuple),
        samples=st.integers(1, 4),
        seed=st.integers(0, 2**64 - 1),
        max_tokens=st.none() | st.integers(1, 9),
    ),
    max_size=5,
)


def sent(message, arrays=None) -> bytes:
    pipe = io.BytesIO()
    send(pipe, message, arrays)
    return pipe.getvalue()


@given(REQUESTS)
def test_requests_arrive(requests):
    message, _ = receive(io.BytesIO(sent({"requests": requests_to_json(requests)})))
    assert requests_from_json(message["requests"]) == requests


@given(REQUESTS, st.integers(0, 2**32 - 1))
def test_answers_arrive(requests, seed):
    generator = np.random.default_rng(seed)

    def sample() -> Completion:
        length = generator.integers(1, 6)
        tokens = generator.integers(0, 2**31 - 1, length, dtype=np.int32)
        return Completion(tokens, generator.normal(size=length).astype(np.float32), bool(generator.integers(2)))

    answers = [[sample() for _ in range(request.samples)] for request in requests]
    _, arrays = receive(io.BytesIO(sent({}, answers_to_arrays(answers))))
    arrived = answers_from_arrays(arrays, requests)
    assert [len(group) for group in arrived] == [len(group) for group in answers]
    for there, here in zip(chain(*arrived), chain(*answers), strict=True):
        assert there.tokens.dtype == np.int32
        assert there.log_probs.dtype == np.float32
        assert there.tokens.tolist() == here.tokens.tolist()
        assert there.log_probs.tolist() == here.log_probs.tolist()
        assert there.finished is here.finished
        assert there.tokens.flags.writeable
        assert there.log_probs.flags.writeable


def test_settings_arrive():
    settings = Settings("vllm", "some/model", 0.7, 8, 16, (3, 4), "bfloat16", {"max_num_seqs": 8})
    assert settings_from_json(json.loads(json.dumps(settings_to_json(settings)))) == settings


def test_a_message_cut_off_anywhere_is_an_end_of_file():
    content = sent({"kind": "answers"}, {"tokens": np.arange(3), "none": np.empty(0)})
    assert receive(io.BytesIO(content))[1]["none"].shape == (0,)
    for length in range(len(content)):
        with pytest.raises(EOFError):
            receive(io.BytesIO(content[:length]))


def test_nothing_is_unpickled():
    with pytest.raises(ValueError, match="cannot create an OBJECT array from memory buffer"):
        receive(io.BytesIO(sent({}, {"tokens": np.array([object()])})))


def weights(seed: int, width: int = 5) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(width, 3, generator=generator)
    return {
        "embed.weight": table,
        "lm_head.weight": table,
        "half": torch.randn(7, generator=generator).bfloat16(),
        "transposed": torch.randn(2, 3, generator=generator).T,
        "scalar": torch.tensor(1.5),
        "counts": torch.arange(3),
    }


def test_weights_arrive_bit_for_bit_and_are_replaced():
    shared = Weights()
    for seed, width in ((0, 5), (1, 5), (2, 50), (3, 2)):
        expected = weights(seed, width)
        layout = json.loads(json.dumps(shared.write(expected)))
        arrived = dict(read_weights(shared.descriptor, layout))
        assert list(arrived) == list(expected)
        for name, weight in expected.items():
            assert arrived[name].dtype == weight.dtype
            assert torch.equal(arrived[name], weight)
    shared.close()


def test_tied_weights_are_sent_once():
    table = torch.randn(1000, 10)
    shared = Weights()
    layout = shared.write({"embed.weight": table, "lm_head.weight": table, "other": table.clone()})
    assert [entry[3] for entry in layout].count(layout[0][3]) == 2
    assert table.nbytes * 2 <= os.fstat(shared.descriptor).st_size < table.nbytes * 2.1
    shared.close()


class Made(Mapping):
    """Weights that are made when asked for, each where the last one lay."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.alive: list[weakref.ref[torch.Tensor]] = []

    def __getitem__(self, name):
        made = torch.full((1000,), float(name))
        self.alive.append(weakref.ref(made))
        return made

    def __iter__(self):
        return map(str, range(self._count))

    def __len__(self):
        return self._count


def test_weights_that_are_made_when_asked_for_are_neither_kept_nor_taken_for_each_other():
    shared, made = Weights(), Made(20)
    layout = shared.write(made)
    assert len(made.alive) == 20
    assert sum(one() is not None for one in made.alive) <= 1
    arrived = dict(read_weights(shared.descriptor, layout))
    assert all(torch.equal(arrived[name], torch.full((1000,), float(name))) for name in made)
    shared.close()


def test_weights_are_handed_over_in_the_type_that_the_engine_keeps():
    given = weights(0)
    shared = Weights()
    arrived = dict(read_weights(shared.descriptor, shared.write(given, torch.bfloat16)))
    for name, weight in given.items():
        assert torch.equal(arrived[name], weight.bfloat16() if weight.is_floating_point() else weight)
    shared.close()


def test_shared_weights_leave_no_file_behind():
    before = set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()
    shared = Weights()
    shared.write(weights(0))
    assert (set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()) == before
    assert "deleted" in os.readlink(f"/proc/self/fd/{shared.descriptor}")
    shared.close()
