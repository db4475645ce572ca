"""Linear attention: attention without the softmax, as a recurrence.

    q_t = phi(W_q x_t),  k_t = phi(W_k x_t),  v_t = W_v x_t          phi(x) = elu(x) + 1, of each head
    S_t = S_{t-1} + k_t v_t^T                                        state
    z_t = z_{t-1} + k_t                                              normaliser
    y_t = W_ho (S_t^T q_t / (z_t^T q_t + 1e-10))

Angelos Katharopoulos, Apoorv Vyas, Nikolaos Pappas and Francois Fleuret, "Transformers are RNNs: Fast Autoregressive
Transformers with Linear Attention", ICML 2020, section 3.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.layers.cell import States, Weights
from seqmodels.layers.matrix.layer import MatrixLayer, Update


class LinearAttention(MatrixLayer):
    """The normaliser z is one more column of the state: the sum of values that are always 1. Arguments: see
    `MatrixLayer`."""

    @property
    def state_shape(self) -> tuple[int, int, int]:
        return self.heads, self.key_size, self.value_size + 1

    def shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        return {name: shape for name, shape in super().shapes(input_size).items() if name != "gain"}

    def update(self, weights: Weights, carried: States, q: Tensor, k: Tensor, v: Tensor) -> Update:
        return Update(F.elu(q) + 1, F.elu(k) + 1, torch.cat([v, torch.ones_like(v[..., :1])], dim=-1))

    def read(self, output: Tensor, update: Update, weights: Weights) -> Tensor:
        weighted_sum, normaliser = output.split([self.value_size, 1], dim=-1)
        return F.linear((weighted_sum / (normaliser + 1e-10)).flatten(-2), weights.weight_ho, weights.bias_ho)
