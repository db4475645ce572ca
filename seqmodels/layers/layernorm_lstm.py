"""An LSTM whose sums are normalised at each step.

    i, f, g, o = LN(W_ih x_t) + LN(W_hh h_{t-1}) + b
    c_t = sigmoid(f) * c_{t-1} + sigmoid(i) * tanh(g)
    h_t = sigmoid(o) * tanh(LN(c_t) + b_c)

where LN(a) = gain * (a - mean(a)) / sqrt(var(a) + 1e-5), over all gates together, with a gain of its own in each place.

Jimmy Lei Ba, Jamie Ryan Kiros and Geoffrey Hinton, "Layer Normalization", arXiv:1607.06450, 2016, equations 20 to 22.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.layers.recurrent import RecurrentLayer
from seqmodels.layers.weights import Weights


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
        gates = projected + F.layer_norm(recurrent, recurrent.shape[-1:], weights.gain_hh, weights.bias_hh)
        input_gate, forget_gate, candidate, output_gate = gates.chunk(4, dim=-1)
        cell = torch.sigmoid(forget_gate) * cell + torch.sigmoid(input_gate) * torch.tanh(candidate)
        bias = getattr(weights, "bias_c", None)
        return torch.sigmoid(output_gate) * torch.tanh(F.layer_norm(cell, cell.shape[-1:], weights.gain_c, bias)), cell
