"""The gated recurrent unit, from scratch.

    r_t = sigmoid(W_ir x_t + b_ir + W_hr h_{t-1} + b_hr)             reset gate
    z_t = sigmoid(W_iz x_t + b_iz + W_hz h_{t-1} + b_hz)             update gate
    n_t = tanh(W_in x_t + b_in + r_t * (W_hn h_{t-1} + b_hn))        candidate
    h_t = (1 - z_t) * n_t + z_t * h_{t-1}

Kyunghyun Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder for Statistical Machine Translation",
EMNLP 2014.

As in `torch.nn.GRU` the reset gate multiplies W_hn h + b_hn rather than h, and the gates are stacked in the order
r, z, n.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.layers.bptt import GRUKernel
from seqmodels.layers.cell import Weights
from seqmodels.layers.stack import RecurrentLayer


class ManualGRU(RecurrentLayer):
    """`torch.nn.GRU` written out: same arguments, parameters, initialisation, shapes and numbers."""

    gates = 3
    reference = nn.GRU
    kernel = GRUKernel

    def step(self, projected: Tensor, state: Tensor, weights: Weights) -> Tensor:
        recurrent = F.linear(state, weights.weight_hh, weights.bias_hh)
        input_reset, input_update, input_candidate = projected.chunk(3, dim=-1)
        recurrent_reset, recurrent_update, recurrent_candidate = recurrent.chunk(3, dim=-1)
        reset_gate = torch.sigmoid(input_reset + recurrent_reset)
        update_gate = torch.sigmoid(input_update + recurrent_update)
        candidate = torch.tanh(input_candidate + reset_gate * recurrent_candidate)
        return candidate + update_gate * (state - candidate)
