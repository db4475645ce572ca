"""minLSTM: an LSTM whose gates and candidate see the input alone, so that all steps can be computed at once.

    f_t = sigmoid(W_f x_t + b_f),  i_t = sigmoid(W_i x_t + b_i)      forget and input gate
    n_t = W_n x_t + b_n                                              candidate
    h_t = f_t / (f_t + i_t) * h_{t-1} + i_t / (f_t + i_t) * n_t

Leo Feng et al., "Were RNNs All We Needed?", arXiv:2410.01201, 2024, section 3.2. See `MinGRU` for the scan.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.layers.linear_scan import linear_scan
from seqmodels.layers.recurrent import RecurrentLayer
from seqmodels.layers.weights import Weights


class MinLSTM(RecurrentLayer):
    """Weights in the order f, i, n, and none for the state. Whole sequences take log2(T) rounds; see `linear_scan`."""

    gates = 3

    def shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        return {name: shape for name, shape in super().shapes(input_size).items() if name.endswith("_ih")}

    def step(self, projected: Tensor, state: Tensor, weights: Weights) -> Tensor:
        keep, term = self._shares(projected)
        return keep * state + term

    def scan(self, projected: Tensor, state: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, tuple]:
        hidden = linear_scan(*self._shares(projected), *state)
        return hidden, (hidden[-1],)

    def _shares(self, projected: Tensor) -> tuple[Tensor, Tensor]:
        """What is kept of the state, and what is added to it."""
        forget_gate, input_gate, candidate = projected.chunk(3, dim=-1)
        # f / (f + i) is sigmoid(log f - log i), which is finite even where both gates are shut
        odds = F.logsigmoid(forget_gate) - F.logsigmoid(input_gate)
        return torch.sigmoid(odds), torch.sigmoid(-odds) * candidate
