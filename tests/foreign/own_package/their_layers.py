"""A leaky RNN: each state moves only a part of the way to its new value.

h_t = (1 - a) * h_{t-1} + a * tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.layers.cell import Weights
from seqmodels.layers.stack import RecurrentLayer


class LeakyRNN(RecurrentLayer):
    """a = 1/2. Arguments: see `RecurrentLayer`."""

    def step(self, projected: Tensor, state: Tensor, weights: Weights) -> Tensor:
        candidate = torch.tanh(projected + F.linear(state, weights.weight_hh, weights.bias_hh))
        return torch.lerp(state, candidate, 0.5)
