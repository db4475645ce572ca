"""RetNet: linear attention whose state decays at a fixed rate, another one for each head.

    q_t = R^t W_q x_t,  k_t = R^t W_k x_t,  v_t = W_v x_t            R rotates pairs of features, each at its own speed
    S_t = (1 - 2^(-5-h)) S_{t-1} + k_t v_t^T                         state; h = 0, 1, .. counts the heads
    y_t = W_ho (norm(S_t^T q_t / sqrt(K)) * silu(W_g x_t))           norm: RMSNorm over each head

Yutao Sun et al., "Retentive Network: A Successor to Transformer for Large Language Models", arXiv:2307.08621, 2023,
section 2.

The state counts the steps, because R^t depends on the position. Its speeds are 10000^(-2i/K) per step for pair i, and
pair i is made of the features i and i + K/2. The paper also divides by sums of weights, which the norm undoes.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.layers.cell import States, Weights
from seqmodels.layers.matrix.layer import MatrixLayer, Update


class RetNet(MatrixLayer):
    """The states are (y, S, position). Arguments: see `MatrixLayer`; each head needs an even number of key features.

    Single or double precision only: in half precision a count stops at 256 or 2048, where adding 1 changes nothing.
    """

    precise_part = "positions of any size"

    def projections(self) -> dict[str, tuple[int, ...]]:
        if self.key_size % 2:
            raise ValueError(f"expand_k * hidden_size / heads should be even, to be rotated, got {self.key_size}")
        return super().projections() | {"gate": (self.heads, self.value_size)}

    @property
    def carried(self) -> dict[str, int]:
        return {"position": 1}

    def update(self, weights: Weights, carried: States, q: Tensor, k: Tensor, v: Tensor, gate: Tensor) -> Update:
        (start,) = carried
        positions = start + torch.arange(len(q), dtype=q.dtype, device=q.device).view(-1, 1, 1)  # (time, batch, 1)
        pairs = torch.arange(self.key_size // 2, dtype=q.dtype, device=q.device)
        angles = (positions * 10000 ** (-2 * pairs / self.key_size)).unsqueeze(-2)
        heads = torch.arange(self.heads, dtype=q.dtype, device=q.device)
        log_w = torch.log1p(-(2.0 ** (-5 - heads))).unsqueeze(-1).expand(*q.shape[:-1], 1)
        q, k = rotated(q, angles) / self.key_size**0.5, rotated(k, angles)
        return Update(q, k, v, log_w, gate=F.silu(gate), carried=(positions[-1] + 1,))


def rotated(vectors: Tensor, angles: Tensor) -> Tensor:
    """Each pair of features, i and i + K/2, rotated by its angle."""
    first, second = vectors.chunk(2, dim=-1)
    cosine, sine = angles.cos(), angles.sin()
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=-1)
