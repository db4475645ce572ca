"""S4D: each channel is filtered by a complex diagonal recurrence of its own; a nonlinear layer then mixes them.

    u_t = W_ih x_t + b_ih                                            one number for each of hidden_size channels
    s_t = exp(dt A) * s_{t-1} + (exp(dt A) - 1) / A * u_t            state, state_size / 2 complex numbers a channel
    v_t = gelu(2 Re sum_n C_n s_tn + D u_t)
    y_t = a_t * sigmoid(g_t)                                         output; a_t, g_t = W_ho v_t + b_ho

Albert Gu, Ankit Gupta, Karan Goel and Christopher Ré, "On the Parameterization and Initialization of Diagonal State
Space Models", NeurIPS 2022, sections 3 and 4; this is S4D-Lin, with the zero-order hold and B fixed at 1.

The first equation is not part of S4D: it lets inputs and outputs differ in width. As in the published code, A and dt
are learned, and the real part of A is -exp(.), so that all factors stay inside the unit circle.
"""

import math
from typing import Unpack

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.checks import check_whole
from seqmodels.layers.cell import Weights, without_autocast
from seqmodels.layers.diagonal.filter import filter_channels
from seqmodels.layers.stack import LayerSettings, RecurrentLayer


class S4D(RecurrentLayer):
    """The states are (y, Re s, Im s); the recurrence does not use y, which comes first as in every layer.

    Single or double precision only, as torch has no complex arithmetic below that. A_n starts at -1/2 + i pi n with
    n = 0 .. state_size / 2 - 1, dt between 0.001 and 0.1, C complex normal, D normal.

    Args:
        state_size: twice the complex numbers of a channel's state; of each conjugate pair one number is kept.
        others: see `RecurrentLayer`. Without `bias` there is no b_ih and no b_ho.
    """

    states = ("y", "re", "im")
    precise_part = "complex numbers"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        state_size: int = 64,
        **settings: Unpack[LayerSettings],
    ) -> None:
        check_whole("state_size", state_size, 2)
        if state_size % 2:
            raise ValueError(f"state_size should be even, as each complex number stands for two, got {state_size}")
        self.state_size = state_size
        super().__init__(input_size, hidden_size, **settings)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        return self.hidden_size, *2 * [self.hidden_size * self.state_size // 2]

    def shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        size, pair = self.hidden_size, (self.hidden_size, self.state_size // 2)
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (size, input_size), "weight_ho": (2 * size, size)}
        shapes |= {"bias_ih": (size,), "bias_ho": (2 * size,)} if self.bias else {}
        return shapes | {
            "log_dt": (size,),
            "log_rate": pair,
            "frequency": pair,
            "c_real": pair,
            "c_imag": pair,
            "skip": (size,),
        }

    @torch.no_grad()
    def reset_parameters(self) -> None:
        super().reset_parameters()
        for name, parameter in self.named_parameters():
            if name.startswith("log_dt"):
                parameter.uniform_(math.log(1e-3), math.log(0.1))
            elif name.startswith("log_rate"):
                parameter.fill_(math.log(0.5))
            elif name.startswith("frequency"):
                parameter.copy_(math.pi * torch.arange(parameter.size(1)).expand_as(parameter))
            elif name.startswith(("c_", "skip")):
                parameter.normal_(std=0.5**0.5 if name.startswith("c_") else 1)

    def step(self, projected: Tensor, state: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, ...]:
        exponents, drive, read, before, inputs = self._parts(projected, state, weights)
        hidden = torch.exp(exponents) * before + drive * inputs.unsqueeze(-1)
        output = self._mix((read * hidden).sum(-1).real, inputs, weights)
        return output, hidden.real.flatten(-2), hidden.imag.flatten(-2)

    def scan(self, projected: Tensor, state: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, tuple]:
        exponents, drive, read, before, inputs = self._parts(projected, state, weights)
        with without_autocast(inputs):
            sums, last = filter_channels(exponents, drive, read, inputs, before)
        output = self._mix(sums, inputs, weights)
        return output, (output[-1], last.real.flatten(-2), last.imag.flatten(-2))

    def _parts(self, projected: Tensor, state: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, ...]:
        """dt A, (exp(dt A) - 1) / A, 2 C, the state before, and u_t."""
        rates = torch.complex(-weights.log_rate.exp(), weights.frequency)
        exponents = weights.log_dt.exp().unsqueeze(-1) * rates
        read = 2 * torch.complex(weights.c_real, weights.c_imag)
        before = torch.complex(*(part.unflatten(-1, (self.hidden_size, -1)) for part in state[1:]))
        # torch has no complex numbers of half precision, which autocast would make
        return exponents, torch.expm1(exponents) / rates, read, before, projected.to(weights.log_dt.dtype)

    def _mix(self, sums: Tensor, inputs: Tensor, weights: Weights) -> Tensor:
        return F.glu(F.linear(F.gelu(sums + weights.skip * inputs), weights.weight_ho, weights.bias_ho))
