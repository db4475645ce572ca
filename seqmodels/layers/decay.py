"""The decay of Mamba-2 and the gated delta rule: a rate of each head, times a time step that depends on the input.

    Delta_t = softplus(x_t + b_dt)                                   time step
    w_t = exp(-exp(A) Delta_t)                                       decay

Tri Dao and Albert Gu, "Transformers are SSMs: Generalized Models and Efficient Algorithms Through Structured State
Space Duality", ICML 2024.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.layers.cell import Weights


def decay_shapes(heads: int) -> dict[str, tuple[int, ...]]:
    """The names and shapes of A and b_dt."""
    return {"log_rate": (heads,), "bias_dt": (heads,)}


def time_step(x: Tensor, weights: Weights) -> Tensor:
    """Delta_t, from (..., heads) to (..., heads, 1), which broadcasts over the features of a head."""
    return F.softplus(x + weights.bias_dt).unsqueeze(-1)


def log_decay(time_step: Tensor, weights: Weights) -> Tensor:
    """log w_t, from Delta_t (..., heads, 1)."""
    return -weights.log_rate.exp().unsqueeze(-1) * time_step


def draw_decay(layer: nn.Module) -> None:
    """Draw exp(A) from U(1, 16), and b_dt by `draw_time_steps`, if the layer has them."""
    for name, parameter in layer.named_parameters():
        if name.startswith("log_rate"):
            nn.init.uniform_(parameter, 1, 16).data.log_()
        elif name.startswith("bias_dt"):
            draw_time_steps(parameter)


@torch.no_grad()
def draw_time_steps(bias: Tensor) -> None:
    """Draw b_dt such that its softplus lies between 0.001 and 0.1, uniform in its logarithm."""
    steps = bias.uniform_(math.log(1e-3), math.log(0.1)).exp()
    bias.copy_(steps + torch.log(-torch.expm1(-steps)))  # the inverse of softplus
