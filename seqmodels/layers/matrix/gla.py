"""Gated linear attention: a decay for each row of the state, which depends on the input.

    q_t = W_q x_t,  k_t = W_k x_t,  v_t = W_v x_t                    query, key, value of each head
    w_t = sigmoid(W_w2 (W_w1 x_t) + b_w)^(1/16)                      decay; W_w1 has 16 rows
    S_t = diag(w_t) S_{t-1} + k_t v_t^T                              state
    y_t = W_ho (norm(S_t^T q_t / sqrt(K)) * silu(W_g x_t))           norm: RMSNorm over each head

Songlin Yang, Bailin Wang, Yikang Shen, Rameswar Panda and Yoon Kim, "Gated Linear Attention Transformers with
Hardware-Efficient Training", ICML 2024, sections 4.1 and 4.4.
"""

from torch import Tensor
from torch.nn import functional as F

from seqmodels.layers.cell import States, Weights
from seqmodels.layers.matrix.layer import MatrixLayer, Update

RANK = 16
"""Features between the two matrices of the decay."""

SLOWNESS = 16
"""The root of the sigmoid that a decay is: decays are closer to 1 than gates."""


class GLA(MatrixLayer):
    """`weight_ih` has the rows of q, k, v, the gate and W_w1. Arguments: see `MatrixLayer`; the paper has
    `expand_k=0.5`."""

    def projections(self) -> dict[str, tuple[int, ...]]:
        return super().projections() | {"gate": (self.heads, self.value_size), "low": (RANK,)}

    def shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        features = self.heads * self.key_size
        return super().shapes(input_size) | {"weight_w": (features, RANK), "bias_w": (features,)}

    def update(
        self, weights: Weights, carried: States, q: Tensor, k: Tensor, v: Tensor, gate: Tensor, low: Tensor
    ) -> Update:
        log_w = F.logsigmoid(F.linear(low, weights.weight_w, weights.bias_w)) / SLOWNESS
        return Update(q / self.key_size**0.5, k, v, log_w.unflatten(-1, q.shape[-2:]), gate=F.silu(gate))
