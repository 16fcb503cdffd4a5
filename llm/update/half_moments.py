"""AdamW whose two moments are kept in bfloat16: half of their memory, for a little noise."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

MOMENTS = ("exp_avg", "exp_avg_sq")

SLICE = 2**24
"""Numbers that are worked on at a time, so that the float32 copies of a large weight's moments are not all there."""


class HalfMomentsAdamW(torch.optim.Optimizer):
    r"""AdamW in float32 from moments that are kept in bfloat16, rounded up or down at random.

    The step is that of ``torch.optim.AdamW``. Only what is kept of $m$ and $v$ is rounded, up with a probability
    proportional to the distance, so that it is right on average. Rounding to the nearest would not do: with
    $\beta_2 = .999$ a step changes $v$ by a thousandth, and bfloat16 numbers are .4% to .8% apart, so that $v$ would
    stay where it is. Random numbers are those of the device's global generator.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._move(parameter, parameter.grad, group)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        super().load_state_dict(state_dict)  # gives every tensor the parameter's own type
        for values in self.state.values():
            values |= {name: values[name].to(torch.bfloat16) for name in MOMENTS}
            values["step"] = int(values["step"])  # a checkpoint holds tensors only

    def _move(self, parameter: Tensor, slope: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = 0
            for name in MOMENTS:
                state[name] = torch.zeros_like(parameter, dtype=torch.bfloat16)
        state["step"] += 1
        first, second = group["betas"]
        to_mean, to_square = 1 - first ** state["step"], math.sqrt(1 - second ** state["step"])
        flat = (parameter.view(-1), slope.contiguous().view(-1), *(state[n].view(-1) for n in MOMENTS))
        for weight, gradient, mean, square in zip(*(tensor.split(SLICE) for tensor in flat), strict=True):
            m = mean.float().lerp_(gradient, 1 - first)
            v = square.float().mul_(second).addcmul_(gradient, gradient, value=1 - second)
            weight.mul_(1 - group["lr"] * group["weight_decay"])
            weight.addcdiv_(m, v.sqrt().div_(to_square).add_(group["eps"]), value=-group["lr"] / to_mean)
            mean.copy_(rounded(m))
            square.copy_(rounded(v))


def rounded(values: Tensor) -> Tensor:
    """Float32 values in bfloat16, up or down at random, right on average.

    >>> _ = torch.manual_seed(0)
    >>> found = rounded(torch.full((100000,), 1.001))
    >>> sorted(set(found.tolist())), round(float(found.double().mean()), 4)
    ([1.0, 1.0078125], 1.001)
    """
    # The upper 16 bits of a float32 are a bfloat16; noise below carries over as often as the rest is large.
    noise = torch.randint(0, 1 << 16, values.shape, dtype=torch.int32, device=values.device)
    return ((values.view(torch.int32) + noise) & -(1 << 16)).view(torch.float32).to(torch.bfloat16)
