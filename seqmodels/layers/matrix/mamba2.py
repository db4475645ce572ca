"""Mamba-2: a selective state space whose decay is one number for each head.

    z_t, x_t, B_t, C_t, dt_t = W_ih u_t                              x, B and C then through silu(conv(.)) in time
    Delta_t = softplus(dt_t + b_dt)                                  time step, of each head
    S_t = exp(-exp(A) Delta_t) S_{t-1} + Delta_t B_t x_t^T           state; B and C are shared by all heads
    o_t = S_t^T C_t + D x_t                                          D: one number for each head
    y_t = W_ho norm(o_t * silu(z_t))                                 norm: RMSNorm over all heads together

Tri Dao and Albert Gu, "Transformers are SSMs: Generalized Models and Efficient Algorithms Through Structured State
Space Duality", ICML 2024, sections 5 to 7.

exp(A) starts uniform between 1 and 16, softplus(b_dt) between 0.001 and 0.1, uniform in its logarithm, and D at 1.
"""

from typing import Unpack

from torch import Tensor
from torch.nn import functional as F

from seqmodels.checks import check_whole
from seqmodels.layers.cell import States, Weights
from seqmodels.layers.decay import decay_shapes, log_decay, time_step
from seqmodels.layers.matrix.layer import EPSILON, MatrixLayer, MatrixSettings, Update


class Mamba2(MatrixLayer):
    """Args:
    state_size: features of B and C; the state of each head has as many rows, and `expand_k` has no effect.
    others: see `MatrixLayer`; the paper has `expand_v=2`, `kernel_size=4` and heads of 64 features.
    """

    convolved = ("v", "k", "q")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        state_size: int = 64,
        **settings: Unpack[MatrixSettings],
    ) -> None:
        check_whole("state_size", state_size, 1)
        self.state_size = state_size
        super().__init__(input_size, hidden_size, **settings)

    @property
    def state_shape(self) -> tuple[int, int, int]:
        return self.heads, self.state_size, self.value_size

    def projections(self) -> dict[str, tuple[int, ...]]:
        values = (self.heads, self.value_size)
        return {"v": values, "k": (self.state_size,), "q": (self.state_size,), "gate": values, "dt": (self.heads,)}

    def shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        shapes = super().shapes(input_size) | decay_shapes(self.heads) | {"skip": (self.heads,)}
        shapes["gain"] = (self.heads * self.value_size,)
        return shapes | ({"bias_conv": (self._channels(),)} if self.kernel_size else {})

    def update(
        self, weights: Weights, carried: States, v: Tensor, k: Tensor, q: Tensor, gate: Tensor, dt: Tensor
    ) -> Update:
        delta = time_step(dt, weights)
        v, k, q = F.silu(v), F.silu(k).unsqueeze(-2), F.silu(q).unsqueeze(-2)
        return Update(q.expand(*v.shape[:-1], -1), delta * k, v, log_decay(delta, weights), gate=F.silu(gate))

    def read(self, output: Tensor, update: Update, weights: Weights) -> Tensor:
        gated = ((output + weights.skip.unsqueeze(-1) * update.v) * update.gate).flatten(-2)
        return F.linear(F.rms_norm(gated, gated.shape[-1:], weights.gain, EPSILON), weights.weight_ho, weights.bias_ho)
