"""The linear recurrent unit: a complex diagonal recurrence, and a linear readout.

    lambda = exp(-exp(nu) + i exp(theta))                            decay
    u_t = gamma * (B x_t)                                            drive; gamma starts at sqrt(1 - |lambda|^2)
    s_t = lambda * s_{t-1} + u_t                                     hidden state, hidden_size complex numbers
    y_t = Re(C s_t) + D x_t                                          output

Antonio Orvieto et al., "Resurrecting Recurrent Neural Networks for Long Sequences", ICML 2023, section 3.

This is the recurrence alone. The paper puts a nonlinear layer between two of them; a stack of these is linear. D is a
full matrix, because inputs and outputs may differ in width.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.layers.cell import Weights
from seqmodels.layers.diagonal.scan import linear_scan
from seqmodels.layers.stack import RecurrentLayer


class LRU(RecurrentLayer):
    """`weight_ih` stacks Re B, Im B and D, `weight_hh` is (Re C, -Im C). Arguments: see `RecurrentLayer`.

    The state is (y, Re s, Im s); the recurrence does not use y, which comes first as the output does in every layer.
    Single or double precision only, as torch has no complex arithmetic below that. |lambda| starts uniform (in area)
    between 0.9 and 0.999, its phase between 0 and pi / 10.
    """

    gates = 3
    states = ("y", "re", "im")
    precise_part = "complex numbers"

    def shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        size = self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {"weight_ih": (3 * size, input_size), "weight_hh": (size, 2 * size)}
        shapes |= {"log_nu": (size,), "log_theta": (size,), "log_gamma": (size,)}
        return shapes | ({"bias_ih": (3 * size,)} if self.bias else {})

    def reset_parameters(self) -> None:
        super().reset_parameters()
        for weights in (self.weights(suffix) for layer in range(self.num_layers) for suffix in self.suffixes(layer)):
            with torch.no_grad():
                modulus = torch.empty_like(weights.log_nu).uniform_(0.9**2, 0.999**2).sqrt()
                weights.log_nu.copy_(torch.log(-torch.log(modulus)))
                weights.log_theta.uniform_(1e-3, math.pi / 10).log_()
                weights.log_gamma.copy_(0.5 * torch.log1p(-(modulus**2)))

    def step(self, projected: Tensor, state: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, ...]:
        decay, drive, skip = self._parts(projected, weights)
        hidden = decay * torch.complex(*state[1:]) + drive
        return self._read(hidden, skip, weights), hidden.real, hidden.imag

    def scan(self, projected: Tensor, state: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, tuple]:
        decay, drive, skip = self._parts(projected, weights)
        hidden, last = linear_scan(decay, drive, torch.complex(*state[1:]))
        output = self._read(hidden, skip, weights)
        return output, (output[-1], last.real, last.imag)

    def _parts(self, projected: Tensor, weights: Weights) -> tuple[Tensor, Tensor, Tensor]:
        """lambda, gamma * (B x_t) and D x_t."""
        decay = torch.exp(torch.complex(-weights.log_nu.exp(), weights.log_theta.exp()))
        # torch has no complex numbers of half precision, which autocast would make
        real, imaginary, skip = projected.to(weights.log_nu.dtype).chunk(3, dim=-1)
        return decay, weights.log_gamma.exp() * torch.complex(real, imaginary), skip

    def _read(self, hidden: Tensor, skip: Tensor, weights: Weights) -> Tensor:
        return F.linear(torch.cat([hidden.real, hidden.imag], dim=-1), weights.weight_hh) + skip
