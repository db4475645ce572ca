"""An LSTM that normalises its sums at each step.

    a_i, a_f, a_g, a_o = LN(W_ih x_t) + LN(W_hh h_{t-1}) + b
    i_t = sigmoid(a_i),  f_t = sigmoid(a_f)                          input and forget gate
    g_t = tanh(a_g)                                                  candidate
    o_t = sigmoid(a_o)                                               output gate
    c_t = f_t * c_{t-1} + i_t * g_t
    h_t = o_t * tanh(LN(c_t) + b_c)
    LN(a) = gain * (a - mean(a)) / sqrt(var(a) + 1e-5)               over all gates together, each LN with its own gain

Jimmy Lei Ba, Jamie Ryan Kiros and Geoffrey Hinton, "Layer Normalization", arXiv:1607.06450, 2016, equations 20 to 22.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.layers.cell import Weights
from seqmodels.layers.stack import RecurrentLayer


class LayerNormLSTM(RecurrentLayer):
    """Gates in the order i, f, g, o; gains start at one. The state is a pair (h, c). Arguments: `RecurrentLayer`."""

    gates = 4
    states = ("h", "c")

    def shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        rows, cells = (4 * self.hidden_size,), (self.hidden_size,)
        shapes = super().shapes(input_size) | {"gain_ih": rows, "gain_hh": rows, "gain_c": cells}
        return shapes | ({"bias_c": cells} if self.bias else {})

    def reset_parameters(self) -> None:
        super().reset_parameters()
        for name, parameter in self.named_parameters():
            if name.startswith("gain"):
                torch.nn.init.ones_(parameter)

    def project(self, sequence: Tensor, weights: Weights) -> Tensor:
        sums = F.linear(sequence, weights.weight_ih)
        return F.layer_norm(sums, sums.shape[-1:], weights.gain_ih, weights.bias_ih)

    def step(self, projected: Tensor, state: tuple[Tensor, Tensor], weights: Weights) -> tuple[Tensor, Tensor]:
        hidden, cell = state
        recurrent = F.linear(hidden, weights.weight_hh)
        recurrent = F.layer_norm(recurrent, recurrent.shape[-1:], weights.gain_hh, weights.bias_hh)
        input_sum, forget_sum, candidate_sum, output_sum = (projected + recurrent).chunk(4, dim=-1)
        input_gate, forget_gate = torch.sigmoid(input_sum), torch.sigmoid(forget_sum)
        candidate, output_gate = torch.tanh(candidate_sum), torch.sigmoid(output_sum)
        cell = forget_gate * cell + input_gate * candidate
        normalised = F.layer_norm(cell, cell.shape[-1:], weights.gain_c, getattr(weights, "bias_c", None))
        return output_gate * torch.tanh(normalised), cell
