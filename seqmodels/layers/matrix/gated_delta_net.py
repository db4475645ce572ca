"""Gated DeltaNet: the delta rule, after the whole state has decayed.

    q_t, k_t, v_t, beta_t                                            as in DeltaNet
    g_t = exp(-exp(A) softplus(W_a x_t + b_dt))                      decay, one number for each head
    S_t = g_t S_{t-1} + beta_t k_t (v_t - g_t S_{t-1}^T k_t)^T       state
    y_t = W_ho (norm(S_t^T q_t / sqrt(K)) * silu(W_g x_t))           norm: RMSNorm over each head

Songlin Yang, Jan Kautz and Ali Hatamizadeh, "Gated Delta Networks: Improving Mamba2 with Delta Rule", ICLR 2025,
section 3.

exp(A) starts uniform between 1 and 16, and softplus(b_dt) between 0.001 and 0.1, uniform in its logarithm, as in
Mamba-2.
"""

from dataclasses import replace
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from seqmodels.layers.cell import States, Weights
from seqmodels.layers.decay import decay_shapes, log_decay, time_step
from seqmodels.layers.matrix.delta_net import DeltaNet
from seqmodels.layers.matrix.layer import Update


class GatedDeltaNet(DeltaNet):
    """Arguments: see `DeltaNet`; the paper has `expand_v=2`."""

    def projections(self) -> dict[str, tuple[int, ...]]:
        return super().projections() | {"decay": (self.heads,), "gate": (self.heads, self.value_size)}

    def shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        return super().shapes(input_size) | decay_shapes(self.heads)

    def update(self, weights: Weights, carried: States, *unused: Tensor, **named: Tensor) -> Update:
        decay, gate = named.pop("decay"), named.pop("gate")
        rule = super().update(weights, carried, **named)
        return replace(decayed(rule, log_decay(time_step(decay, weights), weights)), gate=F.silu(gate))


def decayed(rule: Update, log_w: Tensor) -> Update:
    """The delta rule after a decay: a reads the state that has decayed."""
    a: Any = rule.a
    return replace(rule, log_w=log_w, a=log_w.exp() * a)
