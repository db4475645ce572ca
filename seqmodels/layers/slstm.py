"""The scalar cell of xLSTM: exponential gates, a normaliser, and a stabiliser that keeps them finite.

    z_t = tanh(~z_t),  o_t = sigmoid(~o_t)           where ~i, ~f, ~z, ~o = W_ih x_t + W_hh h_{t-1} + b
    m_t = max(log sigmoid(~f_t) + m_{t-1}, ~i_t)                        stabiliser
    i_t = exp(~i_t - m_t)                                               input gate, exponential
    f_t = exp(log sigmoid(~f_t) + m_{t-1} - m_t)                        forget gate
    c_t = f_t * c_{t-1} + i_t * z_t
    n_t = f_t * n_{t-1} + i_t                                           normaliser
    h_t = o_t * c_t / n_t

Maximilian Beck et al., "xLSTM: Extended Long Short-Term Memory", NeurIPS 2024, section 2.2, with the sigmoid as forget
gate (the paper allows it or exp). One head, so W_hh is dense; no block around the cell.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.layers.recurrent import RecurrentLayer
from seqmodels.layers.weights import Weights


class SLSTM(RecurrentLayer):
    """Gates are stacked in the order i, f, z, o; the state is (h, c, n, m). Arguments: see `RecurrentLayer`.

    m starts at minus infinity, where no step has been: the first one sets the input gate and n to 1, and since one of
    the two gates is 1 in every step, n stays above 0 whatever the inputs are.
    """

    gates = 4
    states = ("h", "c", "n", "m")

    def initial_state(self, like: Tensor, rows: int, batch: int) -> tuple[Tensor, ...]:
        *zeros, stabiliser = super().initial_state(like, rows, batch)
        return *zeros, stabiliser.fill_(-torch.inf)

    def step(self, projected: Tensor, state: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, ...]:
        hidden, cell, normaliser, stabiliser = state
        gates = projected + F.linear(hidden, weights.weight_hh, weights.bias_hh)
        log_input_gate, forget_gate, candidate, output_gate = gates.chunk(4, dim=-1)
        log_remembered = F.logsigmoid(forget_gate) + stabiliser
        stabiliser = torch.maximum(log_remembered, log_input_gate)
        input_gate, forget_gate = torch.exp(log_input_gate - stabiliser), torch.exp(log_remembered - stabiliser)
        cell = forget_gate * cell + input_gate * torch.tanh(candidate)
        normaliser = forget_gate * normaliser + input_gate
        return torch.sigmoid(output_gate) * cell / normaliser, cell, normaliser, stabiliser
