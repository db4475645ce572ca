"""minGRU: a GRU whose gate and candidate depend on the input alone, so that all steps can be computed at once.

    z_t = sigmoid(W_z x_t + b_z)                                     update gate
    n_t = W_n x_t + b_n                                              candidate
    h_t = (1 - z_t) * h_{t-1} + z_t * n_t

Leo Feng, Frederick Tung, Mohamed Osama Ahmed, Yoshua Bengio and Hossein Hajimirsadeghi, "Were RNNs All We Needed?",
arXiv:2410.01201, 2024, section 3.1.

The paper trains a variant with positive candidates, in log space. The scan here needs no logarithms, so candidates keep
either sign.
"""

import torch
from torch import Tensor

from seqmodels.layers.cell import Weights
from seqmodels.layers.diagonal.scan import linear_scan
from seqmodels.layers.stack import RecurrentLayer


class MinGRU(RecurrentLayer):
    """Weights are stacked in the order z, n; there are none for the state. Arguments: see `RecurrentLayer`."""

    gates = 2

    def shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        return {name: shape for name, shape in super().shapes(input_size).items() if name.endswith("_ih")}

    def step(self, projected: Tensor, state: Tensor, weights: Weights) -> Tensor:
        update_sum, candidate = projected.chunk(2, dim=-1)
        update_gate = torch.sigmoid(update_sum)
        return state + update_gate * (candidate - state)

    def scan(self, projected: Tensor, state: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, tuple]:
        update_sum, candidate = projected.chunk(2, dim=-1)
        hidden, last = linear_scan(torch.sigmoid(-update_sum), torch.sigmoid(update_sum) * candidate, *state)
        return hidden, (last,)
