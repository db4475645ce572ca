"""The scalar cell of xLSTM: exponential gates, a normaliser, and a stabiliser that keeps them finite.

    ~i_t, ~f_t, ~z_t, ~o_t = W_ih x_t + W_hh h_{t-1} + b
    z_t = tanh(~z_t)                                                    candidate
    o_t = sigmoid(~o_t)                                                 output gate
    m_t = max(log sigmoid(~f_t) + m_{t-1}, ~i_t)                        stabiliser
    i_t = exp(~i_t - m_t)                                               input gate, exponential
    f_t = exp(log sigmoid(~f_t) + m_{t-1} - m_t)                        forget gate
    c_t = f_t * c_{t-1} + i_t * z_t
    n_t = f_t * n_{t-1} + i_t                                           normaliser
    h_t = o_t * c_t / n_t

Maximilian Beck et al., "xLSTM: Extended Long Short-Term Memory", NeurIPS 2024, section 2.2.

The forget gate is a sigmoid, where the paper also allows exp. There is one head, so W_hh is dense, and no block around
the cell.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.layers.cell import Weights
from seqmodels.layers.stack import RecurrentLayer


class SLSTM(RecurrentLayer):
    """Gates are stacked in the order i, f, z, o; the state is (h, c, n, m). Arguments: see `RecurrentLayer`.

    m starts at minus infinity, so the first step sets the input gate and n to 1. As one of the two gates is 1 in every
    step, n stays above 0 for all inputs.
    """

    gates = 4
    states = ("h", "c", "n", "m")

    def initial_state(self, like: Tensor, rows: int, batch: int) -> tuple[Tensor, ...]:
        *zeros, stabiliser = super().initial_state(like, rows, batch)
        return *zeros, stabiliser.fill_(-torch.inf)

    def step(self, projected: Tensor, state: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, ...]:
        hidden, cell, normaliser, stabiliser = state
        sums = projected + F.linear(hidden, weights.weight_hh, weights.bias_hh)
        input_sum, forget_sum, candidate_sum, output_sum = sums.chunk(4, dim=-1)
        candidate, output_gate = torch.tanh(candidate_sum), torch.sigmoid(output_sum)
        log_remembered = F.logsigmoid(forget_sum) + stabiliser
        stabiliser = torch.maximum(log_remembered, input_sum)
        input_gate, forget_gate = torch.exp(input_sum - stabiliser), torch.exp(log_remembered - stabiliser)
        cell = forget_gate * cell + input_gate * candidate
        normaliser = forget_gate * normaliser + input_gate
        return output_gate * cell / normaliser, cell, normaliser, stabiliser
