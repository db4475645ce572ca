"""An LSTM whose gates see the cell.

    f_t = sigmoid(W_if x_t + W_hf h_{t-1} + p_f * c_{t-1} + b_f)     forget gate
    i_t = sigmoid(W_ii x_t + W_hi h_{t-1} + p_i * c_{t-1} + b_i)     input gate
    g_t = tanh(W_ig x_t + W_hg h_{t-1} + b_g)                        candidate
    c_t = f_t * c_{t-1} + i_t * g_t
    o_t = sigmoid(W_io x_t + W_ho h_{t-1} + p_o * c_t + b_o)         output gate
    h_t = o_t * tanh(c_t)

Felix Gers and Juergen Schmidhuber, "Recurrent Nets that Time and Count", IJCNN 2000; in this form Alex Graves,
"Generating Sequences With Recurrent Neural Networks", arXiv:1308.0850, 2013, equations 7 to 11.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.layers.cell import Weights
from seqmodels.layers.stack import RecurrentLayer


class PeepholeLSTM(RecurrentLayer):
    """Peepholes `weight_ch` (3 * hidden_size,) in the order i, f, o; gates i, f, g, o. The state is a pair (h, c)."""

    gates = 4
    states = ("h", "c")

    def shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        return super().shapes(input_size) | {"weight_ch": (3 * self.hidden_size,)}

    def step(self, projected: Tensor, state: tuple[Tensor, Tensor], weights: Weights) -> tuple[Tensor, Tensor]:
        hidden, cell = state
        sums = projected + F.linear(hidden, weights.weight_hh, weights.bias_hh)
        input_sum, forget_sum, candidate_sum, output_sum = sums.chunk(4, dim=-1)
        peephole_input, peephole_forget, peephole_output = weights.weight_ch.chunk(3)
        forget_gate = torch.sigmoid(forget_sum + peephole_forget * cell)
        remembered = forget_gate * cell
        input_gate = torch.sigmoid(input_sum + peephole_input * cell)
        candidate = torch.tanh(candidate_sum)
        cell = remembered + input_gate * candidate
        output_gate = torch.sigmoid(output_sum + peephole_output * cell)
        return output_gate * torch.tanh(cell), cell
