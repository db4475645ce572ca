"""An LSTM whose gates see the cell.

    i_t = sigmoid(W_ii x_t + W_hi h_{t-1} + p_i * c_{t-1} + b_i)
    f_t = sigmoid(W_if x_t + W_hf h_{t-1} + p_f * c_{t-1} + b_f)
    c_t = f_t * c_{t-1} + i_t * tanh(W_ig x_t + W_hg h_{t-1} + b_g)
    o_t = sigmoid(W_io x_t + W_ho h_{t-1} + p_o * c_t + b_o)
    h_t = o_t * tanh(c_t)

Felix Gers and Juergen Schmidhuber, "Recurrent Nets that Time and Count", IJCNN 2000; in this form Alex Graves,
"Generating Sequences With Recurrent Neural Networks", arXiv:1308.0850, 2013, equations 7 to 11.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.layers.recurrent import RecurrentLayer
from seqmodels.layers.weights import Weights


class PeepholeLSTM(RecurrentLayer):
    """Peepholes `weight_ch` (3 * hidden_size,) in the order i, f, o; gates i, f, g, o. The state is a pair (h, c)."""

    gates = 4
    states = ("h", "c")

    def shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        return super().shapes(input_size) | {"weight_ch": (3 * self.hidden_size,)}

    def step(self, projected: Tensor, state: tuple[Tensor, Tensor], weights: Weights) -> tuple[Tensor, Tensor]:
        hidden, cell = state
        gates = projected + F.linear(hidden, weights.weight_hh, weights.bias_hh)
        input_gate, forget_gate, candidate, output_gate = gates.chunk(4, dim=-1)
        peephole_input, peephole_forget, peephole_output = weights.weight_ch.chunk(3)
        remembered = torch.sigmoid(forget_gate + peephole_forget * cell) * cell
        cell = remembered + torch.sigmoid(input_gate + peephole_input * cell) * torch.tanh(candidate)
        return torch.sigmoid(output_gate + peephole_output * cell) * torch.tanh(cell), cell
