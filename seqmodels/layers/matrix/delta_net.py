"""DeltaNet: writes correct what the state already holds under a key.

    q_t, k_t, v_t = silu(conv(W x_t)),  q and k of length 1          query, key, value of each head
    beta_t = sigmoid(W_beta x_t)                                     write strength; 2 sigmoid for eigenvalues [-1, 1]
    S_t = S_{t-1} + beta_t k_t (v_t - S_{t-1}^T k_t)^T               state
    y_t = W_ho norm(S_t^T q_t / sqrt(K))                             norm: RMSNorm over each head

Songlin Yang, Bailin Wang, Yu Zhang, Yikang Shen and Yoon Kim, "Parallelizing Linear Transformers with the Delta Rule
over Sequence Length", NeurIPS 2024, section 3; the rule is from Imanol Schlag, Kazuki Irie and Juergen Schmidhuber,
"Linear Transformers Are Secretly Fast Weight Programmers", ICML 2021; the eigenvalues from Riccardo Grazzi et al.,
"Unlocking State-Tracking in Linear RNNs Through Negative Eigenvalues", ICLR 2025.

S_{t-1} is multiplied by I - beta k k^T, whose eigenvalue in the direction of the key is 1 - beta. As in the code of
Grazzi et al., a beta up to 2 also doubles what is written.
"""

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.layers.cell import States, Weights
from seqmodels.layers.checks import check_eigenvalues
from seqmodels.layers.matrix.layer import MatrixLayer, MatrixSettings, Update, unit


class DeltaNet(MatrixLayer):
    """Args:
    eigenvalues: the range of those of a transition, (0, 1) or (-1, 1).
    others: see `MatrixLayer`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        eigenvalues: Sequence[int] = (0, 1),
        **settings: Unpack[MatrixSettings],
    ) -> None:
        self.eigenvalues = check_eigenvalues(eigenvalues)
        super().__init__(input_size, hidden_size, **settings)

    def projections(self) -> dict[str, tuple[int, ...]]:
        return super().projections() | {"beta": (self.heads,)}

    def update(self, weights: Weights, carried: States, q: Tensor, k: Tensor, v: Tensor, beta: Tensor) -> Update:
        q, k = unit(F.silu(q), self.key_size**-0.5), unit(F.silu(k))
        low, high = self.eigenvalues
        written = (high - low) * torch.sigmoid(beta).unsqueeze(-1) * k
        return Update(q, written, F.silu(v), a=k, b=-written)
