"""The minimal gated unit: a GRU with one gate in place of two.

    f_t = sigmoid(W_if x_t + b_if + W_hf h_{t-1} + b_hf)             forget gate
    n_t = tanh(W_in x_t + b_in + W_hn (f_t * h_{t-1}) + b_hn)        candidate
    h_t = (1 - f_t) * h_{t-1} + f_t * n_t

Guo-Bing Zhou, Jianxin Wu, Chen-Lin Zhang and Zhi-Hua Zhou, "Minimal Gated Unit for Recurrent Neural Networks",
International Journal of Automation and Computing 13(3), 2016.

There are two biases where the paper has one, as in torch.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.layers.cell import Weights
from seqmodels.layers.stack import RecurrentLayer


class MGU(RecurrentLayer):
    """One forget gate; weights are stacked in the order f, n. Arguments: see `RecurrentLayer`."""

    gates = 2

    def step(self, projected: Tensor, state: Tensor, weights: Weights) -> Tensor:
        input_forget, input_candidate = projected.chunk(2, dim=-1)
        weight_forget, weight_candidate = weights.weight_hh.chunk(2)
        bias_forget, bias_candidate = (None, None) if weights.bias_hh is None else weights.bias_hh.chunk(2)
        forget_gate = torch.sigmoid(input_forget + F.linear(state, weight_forget, bias_forget))
        candidate = torch.tanh(input_candidate + F.linear(forget_gate * state, weight_candidate, bias_candidate))
        return state + forget_gate * (candidate - state)
