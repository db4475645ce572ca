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

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.layers.cell import States, Weights
from seqmodels.layers.delta_net import DeltaNet
from seqmodels.layers.matrix_layer import Update, spread


class GatedDeltaNet(DeltaNet):
    """Arguments: see `DeltaNet`; the paper has `expand_v=2`."""

    def projections(self) -> dict[str, tuple[int, ...]]:
        return super().projections() | {"decay": (self.heads,), "gate": (self.heads, self.value_size)}

    def shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        return super().shapes(input_size) | decay_parameters(self.heads)

    def reset_parameters(self) -> None:
        super().reset_parameters()
        reset_decay(self)

    def update(self, weights: Weights, carried: States, *unused: Tensor, **named: Tensor) -> Update:
        decay, gate = named.pop("decay"), named.pop("gate")
        rule = super().update(weights, carried, **named)
        log_w = log_decay(decay, weights)
        assert rule.a is not None
        return rule._replace(log_w=log_w, a=log_w.exp() * rule.a, gate=F.silu(gate))


def decay_parameters(heads: int) -> dict[str, tuple[int, ...]]:
    """Of a decay exp(-exp(A) softplus(x + b_dt)) for each head: the names and shapes of A and b_dt."""
    return {"log_rate": (heads,), "bias_dt": (heads,)}


def log_decay(x: Tensor, weights: Weights) -> Tensor:
    """-exp(A) softplus(x + b_dt), from (..., heads) to (..., heads, 1)."""
    return spread(-weights.log_rate.exp() * F.softplus(x + weights.bias_dt))


def reset_decay(layer: nn.Module) -> None:
    """Draw exp(A) from U(1, 16), and b_dt so that its softplus lies between 0.001 and 0.1, uniform in its logarithm."""
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.startswith("log_rate"):
                parameter.uniform_(1, 16).log_()
            elif name.startswith("bias_dt"):
                steps = parameter.uniform_(math.log(1e-3), math.log(0.1)).exp()
                parameter.copy_(steps + torch.log(-torch.expm1(-steps)))  # the inverse of softplus
