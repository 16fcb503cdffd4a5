"""Log-probabilities and their gradients against the model's own logits, whole."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import Gemma2Config, Gemma2ForCausalLM

from llm.update.policy import _HeadLogProbs, check_model, token_values
from llm_batches import VOCABULARY, gradient, tiny_model

INPUT = torch.randint(VOCABULARY, (3, 9), generator=torch.Generator().manual_seed(1))
PREDICTING = torch.tensor([3, 4, 5, 10, 11, 20, 24, 25, 26])
LABELS = torch.randint(VOCABULARY, PREDICTING.shape, generator=torch.Generator().manual_seed(2))
PULL = torch.randn(PREDICTING.shape, generator=torch.Generator().manual_seed(3))


def whole_log_policy(model, temperature):
    logits = model(input_ids=INPUT, use_cache=False).logits.flatten(0, 1)[PREDICTING]
    return torch.log_softmax(logits.float() / temperature, dim=-1)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("temperature", [1.0, 0.6])
@pytest.mark.parametrize("rows", [1, 2, 4, 100])
def test_values_and_gradients_are_those_of_the_whole_softmax(tied, temperature, rows):
    model = tiny_model(tied)
    log_policy = whole_log_policy(model, temperature)
    expected = log_policy.gather(1, LABELS[:, None])[:, 0]
    (PULL * expected).sum().backward()
    expected_gradient = gradient(model)
    found = token_values(model, INPUT, PREDICTING, LABELS, temperature, chunk_logits=rows * VOCABULARY)
    (PULL * found.log_probs).sum().backward()
    torch.testing.assert_close(found.log_probs, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(found.entropies, torch.distributions.Categorical(logits=log_policy.detach()).entropy())
    assert not found.entropies.requires_grad
    torch.testing.assert_close(gradient(model), expected_gradient, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rows", [2, 3, 5, 100])
@pytest.mark.parametrize("with_bias", [True, False])
def test_the_head_s_gradient_passes_gradcheck(rows, with_bias):
    torch.manual_seed(0)
    hidden = torch.randn(7, 4, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(5, dtype=torch.float64, requires_grad=True) if with_bias else None
    labels = torch.randint(5, (7,))

    def log_probs(*parameters):
        return _HeadLogProbs.apply(*parameters, *([] if with_bias else [None]), labels, 0.7, rows)[0]

    assert torch.autograd.gradcheck(log_probs, (hidden, weight) if bias is None else (hidden, weight, bias))


def test_a_frozen_head_takes_no_gradient_and_changes_no_other():
    model = tiny_model(tied=False)
    gradients = []
    for trained in (True, False):
        model.get_output_embeddings().weight.requires_grad_(trained)
        (PULL * token_values(model, INPUT, PREDICTING, LABELS).log_probs).sum().backward()
        assert (model.get_output_embeddings().weight.grad is None) is not trained
        gradients.append([p.grad.clone() for p in model.model.parameters()])
        model.zero_grad()
    torch.testing.assert_close(*gradients, rtol=0, atol=0)


def test_padding_reaches_nothing_that_is_read():
    model = tiny_model()
    padded = torch.cat([INPUT, torch.full((3, 4), 7)], dim=1)
    places = PREDICTING // 9 * 13 + PREDICTING % 9
    alone = token_values(model, INPUT, PREDICTING, LABELS)
    found = token_values(model, padded, places, LABELS)
    torch.testing.assert_close(found.log_probs, alone.log_probs, rtol=0, atol=1e-5)


class Largest(TorchDispatchMode):
    """Records the largest tensor with a vocabulary-sized last axis that any operation returns."""

    size = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        found = function(*arguments, **(options or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, torch.Tensor) and tensor.ndim and tensor.shape[-1] == 1009:
                self.size = max(self.size, tensor.numel())
        return found


def test_logits_are_held_a_chunk_at_a_time():
    torch.manual_seed(0)
    hidden, weight = torch.randn(64, 2, requires_grad=True), torch.randn(1009, 2, requires_grad=True)
    with Largest() as seen:
        log_probs, _ = _HeadLogProbs.apply(hidden, weight, None, torch.arange(64), 1.0, 4)  # type: ignore[misc]
        log_probs.sum().backward()
    assert seen.size == 4 * 1009


@pytest.mark.parametrize("weights", [torch.float32, torch.bfloat16])
def test_bfloat16_stays_near_float32(weights):
    exact = tiny_model()
    expected = token_values(exact, INPUT, PREDICTING, LABELS)
    (PULL * expected.log_probs).sum().backward()
    model = tiny_model(dtype=weights)
    found = token_values(model, INPUT, PREDICTING, LABELS, precision=torch.bfloat16)
    (PULL * found.log_probs).sum().backward()
    assert found.log_probs.dtype == torch.float32
    assert {p.grad.dtype for p in model.parameters() if p.grad is not None} == {weights}
    assert 1e-6 < (found.log_probs - expected.log_probs).detach().abs().max().item() < 0.15
    first, second = gradient(exact), gradient(model).float()
    assert torch.nn.functional.cosine_similarity(first, second, dim=0) > 0.99


def test_models_with_a_plain_head_pass_and_stay_as_they_were():
    model = tiny_model().train()
    check_model(model)
    assert model.training
    assert model(input_ids=INPUT).logits.abs().max() < 100  # nothing is left hooked


def test_capped_logits_are_refused():
    config = Gemma2Config(
        vocab_size=11,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=1,
        num_key_value_heads=1,
        head_dim=16,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    with pytest.raises(ValueError, match=r"^Gemma2ForCausalLM caps or scales the logits of its head"):
        check_model(Gemma2ForCausalLM(config))


def test_a_head_that_is_no_linear_layer_is_refused():
    model = tiny_model()
    model.set_output_embeddings(torch.nn.Sequential(model.get_output_embeddings()))
    with pytest.raises(ValueError, match=r"^the head of Qwen3ForCausalLM is a Sequential; it must be a plain"):
        check_model(model)


def test_a_head_that_reads_something_else_is_refused():
    model = tiny_model()
    model.get_output_embeddings().register_forward_pre_hook(lambda head, inputs: (2 * inputs[0],))
    with pytest.raises(ValueError, match=r"^the head of Qwen3ForCausalLM does not read its decoder's output"):
        check_model(model)
