"""minGRU: a GRU whose gate and candidate see the input alone, so that all steps can be computed at once.

    z_t = sigmoid(W_z x_t + b_z)                     update gate
    n_t = W_n x_t + b_n                              candidate
    h_t = (1 - z_t) * h_{t-1} + z_t * n_t

Leo Feng, Frederick Tung, Mohamed Osama Ahmed, Yoshua Bengio and Hossein Hajimirsadeghi, "Were RNNs All We Needed?",
arXiv:2410.01201, 2024, section 3.1. The paper trains a variant with positive candidates in log space; the scan here
needs no logarithms, and so keeps this equation for candidates of any sign.
"""

import torch
from torch import Tensor

from seqmodels.layers.linear_scan import linear_scan
from seqmodels.layers.recurrent import RecurrentLayer
from seqmodels.layers.weights import Weights


class MinGRU(RecurrentLayer):
    """Weights in the order z, n, and none for the state. Whole sequences take log2(T) rounds; see `linear_scan`."""

    gates = 2

    def shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        return {name: shape for name, shape in super().shapes(input_size).items() if name.endswith("_ih")}

    def step(self, projected: Tensor, state: Tensor, weights: Weights) -> Tensor:
        update_gate, candidate = projected.chunk(2, dim=-1)
        return state + torch.sigmoid(update_gate) * (candidate - state)

    def scan(self, projected: Tensor, state: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, tuple]:
        update_gate, candidate = projected.chunk(2, dim=-1)
        hidden = linear_scan(torch.sigmoid(-update_gate), torch.sigmoid(update_gate) * candidate, *state)
        return hidden, (hidden[-1],)
