"""AdamW with bfloat16 moments against torch's own."""

import math

import pytest
import torch

from llm.update import half_moments
from llm.update.half_moments import HalfMomentsAdamW, rounded

SETTINGS = {"lr": 1e-2, "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.1}


def pair(values):
    ours, theirs = (torch.nn.Parameter(values.clone()) for _ in range(2))
    return (ours, HalfMomentsAdamW([ours], **SETTINGS)), (theirs, torch.optim.AdamW([theirs], **SETTINGS))


def test_the_first_step_is_adamws_whatever_the_slices(monkeypatch):
    monkeypatch.setattr(half_moments, "SLICE", 7)
    generator = torch.Generator().manual_seed(0)
    pairs = pair(torch.randn(5, 10, generator=generator))
    gradient = torch.randn(5, 10, generator=generator)
    for parameter, optimizer in pairs:
        parameter.grad = gradient.clone()
        optimizer.step()
    torch.testing.assert_close(pairs[0][0], pairs[1][0], rtol=1e-6, atol=1e-7)


def test_many_steps_stay_near_adamws():
    torch.manual_seed(0)
    target = torch.randn(200)
    pairs = pair(torch.zeros(200))
    for _ in range(300):
        for parameter, optimizer in pairs:
            parameter.grad = (parameter - target).detach()
            optimizer.step()
    (ours, _), (theirs, _) = pairs
    assert (ours - theirs).abs().max() < 0.02
    assert (theirs - target).abs().max() > 0.02  # there is something left to differ in


def test_the_second_moment_does_not_stand_still():
    """With a constant gradient v is (1 - .999^n) g^2; rounded to the nearest it would stay far below."""
    torch.manual_seed(0)
    parameter = torch.nn.Parameter(torch.zeros(500))
    optimizer = HalfMomentsAdamW([parameter], **SETTINGS)
    nearest, steps = torch.zeros((), dtype=torch.bfloat16), 1500
    for _ in range(steps):
        parameter.grad = torch.ones(500)
        optimizer.step()
        nearest = (nearest.float() * 0.999 + 0.001).bfloat16()
    expected = 1 - 0.999**steps
    assert float(optimizer.state[parameter]["exp_avg_sq"].float().mean()) == pytest.approx(expected, rel=0.02)
    assert float(nearest) < 0.5 * expected


@pytest.mark.parametrize("value", [1.001, -3.3e-5, 7e20, 1.0, 0.0])
def test_rounding_is_to_a_neighbor_and_right_on_average(value):
    torch.manual_seed(0)
    found = rounded(torch.full((20_000,), value)).double()
    exact = float(torch.tensor(value))
    apart = abs(exact) * 2.0**-7
    assert (found - exact).abs().max() <= apart
    assert float(found.mean()) == pytest.approx(exact, abs=5 * apart / math.sqrt(20_000) + 1e-12 * abs(exact))


def test_a_state_that_is_loaded_goes_on_bit_for_bit():
    torch.manual_seed(0)
    parameter = torch.nn.Parameter(torch.randn(50))
    optimizer = HalfMomentsAdamW([parameter], **SETTINGS)
    gradients = torch.randn(6, 50)
    for gradient in gradients[:3]:
        parameter.grad = gradient
        optimizer.step()
    other = torch.nn.Parameter(parameter.detach().clone())
    again = HalfMomentsAdamW([other], **SETTINGS)
    again.load_state_dict(optimizer.state_dict())
    assert again.state[other]["exp_avg"].dtype == torch.bfloat16
    state = torch.get_rng_state()
    for one, its in ((parameter, optimizer), (other, again)):
        torch.set_rng_state(state)
        for gradient in gradients[3:]:
            one.grad = gradient
            its.step()
    assert torch.equal(parameter, other)
