"""minLSTM: an LSTM whose gates and candidate depend on the input alone, so that all steps can be computed at once.

    a_t = sigmoid(W_f x_t + b_f),  b_t = sigmoid(W_i x_t + b_i)
    f_t = a_t / (a_t + b_t)                                          forget gate
    i_t = b_t / (a_t + b_t)                                          input gate
    n_t = W_n x_t + b_n                                              candidate
    h_t = f_t * h_{t-1} + i_t * n_t

Leo Feng, Frederick Tung, Mohamed Osama Ahmed, Yoshua Bengio and Hossein Hajimirsadeghi, "Were RNNs All We Needed?",
arXiv:2410.01201, 2024, section 3.2.

As in `MinGRU` candidates keep either sign.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.layers.cell import Weights
from seqmodels.layers.diagonal.scan import linear_scan
from seqmodels.layers.stack import RecurrentLayer


class MinLSTM(RecurrentLayer):
    """Weights are stacked in the order f, i, n; there are none for the state. Arguments: see `RecurrentLayer`."""

    gates = 3

    def shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        return {name: shape for name, shape in super().shapes(input_size).items() if name.endswith("_ih")}

    def step(self, projected: Tensor, state: Tensor, weights: Weights) -> Tensor:
        forget_gate, input_gate, candidate = self._gates(projected)
        return forget_gate * state + input_gate * candidate

    def scan(self, projected: Tensor, state: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, tuple]:
        forget_gate, input_gate, candidate = self._gates(projected)
        hidden, last = linear_scan(forget_gate, input_gate * candidate, *state)
        return hidden, (last,)

    def _gates(self, projected: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        forget_sum, input_sum, candidate = projected.chunk(3, dim=-1)
        # a / (a + b) is sigmoid(log a - log b), which is finite even where both are zero
        odds = F.logsigmoid(forget_sum) - F.logsigmoid(input_sum)
        return torch.sigmoid(odds), torch.sigmoid(-odds), candidate
