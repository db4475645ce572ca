"""Mamba: a diagonal recurrence whose step size, input and output weights depend on the input.

    x_t, z_t = W_ih u_t + b_ih                                       2 * expand * hidden_size numbers from the input u_t
    x'_t = silu(convolution of x_{t-3} .. x_t + b_conv)              channel by channel
    d_t, B_t, C_t = W_x x'_t                                         hidden_size / 16, N and N numbers
    Delta_t = softplus(W_dt d_t + b_dt)                              step size of each channel
    h_t = exp(Delta_t A) * h_{t-1} + (Delta_t x'_t) B_t^T            state, channels x N numbers; A = -exp(log_rate)
    y_t = W_ho ((h_t C_t + D x'_t) * silu(z_t)) + b_ho               output

Albert Gu and Tri Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", COLM 2024, section 3; with
eigenvalues in [-1, 1]: Riccardo Grazzi et al., "Unlocking State-Tracking in Linear RNNs Through Negative Eigenvalues",
ICLR 2025, section 4.

The paper discretises B by a zero-order hold (equation 4). The published code multiplies it by Delta instead, and this
layer does the same. It is the mixer alone, without norm and residual connection; its inputs and outputs may differ in
width. The published layer has no b_ih and no b_ho (bias=False). Outside of a block with norms it learns slowly without
them, because its output is then a product of several small numbers.
"""

import math
from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.checks import check_whole
from seqmodels.layers.cell import Weights
from seqmodels.layers.checks import check_eigenvalues
from seqmodels.layers.convolution import causal_convolution
from seqmodels.layers.decay import draw_time_steps
from seqmodels.layers.stack import LayerSettings, RecurrentLayer


class Mamba(RecurrentLayer):
    """The states are (y, h, past): h has expand * hidden_size * state_size numbers, and past the last inputs of the
    convolution. The recurrence does not use y, which comes first as the output does in every layer.

    Weights start as in the published code: A at -1, -2 .. -N in each channel, D at 1, Delta between 0.001 and 0.1.

    Args:
        state_size: N, the numbers of the state in each channel.
        expand: channels in units of hidden_size.
        kernel_size: steps that the convolution sees, at least 2; None for no convolution, and no state `past`.
        eigenvalues: the range of the factors of h, [0, 1] or [-1, 1]. The latter takes 2 exp(Delta A) - 1.
        others: see `RecurrentLayer`. Without `bias` there is no b_ih and no b_ho, as published; the others remain.
    """

    states: tuple[str, ...] = ("y", "h", "past")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        state_size: int = 16,
        expand: int = 2,
        kernel_size: int | None = 4,
        eigenvalues: Sequence[float] = (0, 1),
        **settings: Unpack[LayerSettings],
    ) -> None:
        check_whole("state_size", state_size, 1)
        check_whole("expand", expand, 1)
        if kernel_size is not None:
            check_whole("kernel_size", kernel_size, 2)
        self.eigenvalues = check_eigenvalues(eigenvalues)
        self.state_size, self.expand, self.kernel_size = state_size, expand, kernel_size
        if kernel_size is None:
            self.states = ("y", "h")
        super().__init__(input_size, hidden_size, **settings)

    @property
    def channels(self) -> int:
        return self.expand * self.hidden_size

    @property
    def state_sizes(self) -> tuple[int, ...]:
        past = () if self.kernel_size is None else ((self.kernel_size - 1) * self.channels,)
        return self.hidden_size, self.channels * self.state_size, *past

    def shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        size, channels, rank = self.hidden_size, self.channels, math.ceil(self.hidden_size / 16)
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (2 * channels, input_size), "weight_ho": (size, channels)}
        shapes |= {"bias_ih": (2 * channels,), "bias_ho": (size,)} if self.bias else {}
        if self.kernel_size is not None:
            shapes |= {"weight_conv": (channels, self.kernel_size), "bias_conv": (channels,)}
        shapes |= {"weight_x": (rank + 2 * self.state_size, channels), "weight_dt": (channels, rank)}
        return shapes | {"bias_dt": (channels,), "log_rate": (channels, self.state_size), "skip": (channels,)}

    @torch.no_grad()
    def reset_parameters(self) -> None:
        for name, parameter in self.named_parameters():
            if name.startswith("weight"):
                for part in (parameter, getattr(self, name.replace("weight", "bias"), None)):
                    if part is not None:
                        part.uniform_(-(parameter.size(1) ** -0.5), parameter.size(1) ** -0.5)
            elif name.startswith("bias_dt"):
                draw_time_steps(parameter)
            elif name.startswith("log_rate"):
                parameter.copy_(torch.arange(1, self.state_size + 1).log().expand_as(parameter))
            elif name.startswith("skip"):
                parameter.fill_(1)

    def step(self, projected: Tensor, state: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, ...]:
        return self.scan(projected.unsqueeze(0), state, weights)[1]

    def scan(self, projected: Tensor, state: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, tuple]:
        """All products with weights for all steps at once, and the recurrence one step after the other.

        A step of the recurrence is large, so this is faster than `linear_scan`, and needs less memory.
        """
        _, hidden, *past = state
        hidden = hidden.unflatten(-1, (-1, self.state_size))
        x, gate = projected.chunk(2, dim=-1)
        if past:
            x, *past = causal_convolution(x, past[0], weights.weight_conv, weights.bias_conv)
        x, rates = F.silu(x), -weights.log_rate.exp()
        low_rank, write, read = F.linear(x, weights.weight_x).split(
            [weights.weight_dt.size(1), *2 * [self.state_size]], -1
        )
        delta = F.softplus(F.linear(low_rank, weights.weight_dt, weights.bias_dt))
        sums = []
        for delta_t, drive_t, write_t, read_t in zip(delta, delta * x, write, read, strict=True):
            decay = torch.exp(delta_t.unsqueeze(-1) * rates)
            decay = 2 * decay - 1 if self.eigenvalues[0] == -1 else decay
            hidden = torch.addcmul(drive_t.unsqueeze(-1) * write_t.unsqueeze(-2), decay, hidden)
            sums.append((hidden @ read_t.unsqueeze(-1)).squeeze(-1))
        y = (torch.stack(sums) + weights.skip * x) * F.silu(gate)
        output = F.linear(y, weights.weight_ho, weights.bias_ho)
        return output, (output[-1], hidden.flatten(-2), *past)
