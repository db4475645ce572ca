"""RWKV-7: a delta rule with a decay of each row, whose gates see each input and the one before it.

    p_t = W_ih x_t                                                   features
    p^i_t = p_t + mu_i * (p_{t-1} - p_t)                             token shift, for i in r, k, v, w, a and g
    r_t = W_r p^r_t,  k_t = W_k p^k_t,  v_t = W_v p^v_t              receptance (a query), key, value of each head
    w_t = exp(-exp(-1/2) sigmoid(W_w2 tanh(W_w1 p^w_t) + b_w))       decay
    a_t = sigmoid(W_a2 W_a1 p^a_t + b_a)                             rate of removal
    g_t = W_g2 sigmoid(W_g1 p^g_t)                                   gate
    kappa_t = k_t * k_k / |k_t * k_k|                                direction of removal
    ~k_t = k_t * (1 + (a_t - 1) * k_a)                               key to write under
    S_t = diag(w_t) S_{t-1} - (kappa_t * a_t) (kappa_t^T S_{t-1}) + ~k_t v_t^T
    y_t = W_ho (g_t * (norm(S_t^T r_t) + (r_t^T (r_k * ~k_t)) v_t))  norm: LayerNorm over each head

Bo Peng et al., "RWKV-7 'Goose' with Expressive Dynamic State Evolution", arXiv:2503.14456, 2025, section 4.

This is the time mixer, without the channel mixer. The first equation is not part of it: it lets inputs and outputs
differ in width. Values are not mixed with those of the first layer of the stack, and the square of |k_t * k_k| is
increased by 1e-6.

As in the published code, W_w1 and W_a1 have 2.5 sqrt(hidden_size) rows and W_g1 5 sqrt(hidden_size), rounded to
multiples of 32. mu, b_w, b_a, k_k, k_a and r_k start as in its first layer, and W_k ten times smaller than W_r and W_v.
But W_ho, W_w1, W_a1 and W_g1 start at 0 there, which presumes a residual connection; here they are drawn as in the
other layers. The eigenvalues of a transition lie between -0.46 and 1.
"""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.layers.cell import States, Weights
from seqmodels.layers.matrix.layer import MatrixLayer, Update, unit

EPSILON = 64e-5
"""Added to the variance by which an output is normalised."""

POWERS = {"r": 0.2, "k": 0.7, "v": 0.7, "w": 0.9, "a": 0.9, "g": 0.2}
"""mu_i of feature n starts at 1 - (n / hidden_size)^power."""


class RWKV7(MatrixLayer):
    """The states are (y, S, p). Arguments: see `MatrixLayer`; a convolution, which the paper lacks, acts on p."""

    convolved = ("p",)

    @property
    def carried(self) -> dict[str, int]:
        return {"p": self.hidden_size}

    def projections(self) -> dict[str, tuple[int, ...]]:
        return {"p": (self.hidden_size,)}

    def shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        size, key, value = self.hidden_size, (self.heads, self.key_size), (self.heads, self.value_size)
        keys, values = math.prod(key), math.prod(value)
        low, low_gate = (max(1, round(factor * math.sqrt(size) / 32)) * 32 for factor in (2.5, 5))
        shapes = super().shapes(input_size) | {"gain": value, "bias_norm": value, "k_k": key, "k_a": key, "r_k": key}
        shapes |= {"weight_r": (keys, size), "weight_k": (keys, size), "weight_v": (values, size)}
        shapes |= {"weight_w1": (low, size), "weight_w2": (keys, low), "bias_w": (keys,)}
        shapes |= {"weight_a1": (low, size), "weight_a2": (keys, low), "bias_a": (keys,)}
        shapes |= {"weight_g1": (low_gate, size), "weight_g2": (values, low_gate)}
        return shapes | {f"mu_{name}": (size,) for name in POWERS}

    @torch.no_grad()
    def reset_parameters(self) -> None:
        super().reset_parameters()
        line = torch.linspace(-0.5, 0.5, self.heads * self.key_size)
        zigzag = torch.linspace(-1, 1, self.key_size).repeat(self.heads)
        zigzag *= zigzag.abs()
        places = torch.arange(self.hidden_size) / self.hidden_size
        starts: dict[str, Any] = {f"mu_{name}": 1 - places**power for name, power in POWERS.items()}
        starts |= {"k_k": (0.71 - 0.1 * line).view(self.heads, -1), "k_a": 1.02, "r_k": -0.04, "bias_norm": 0}
        starts |= {"bias_w": 6 * line - 2.5 + 2.5 * zigzag, "bias_a": 0.4 * line - 0.19 + 0.3 * zigzag}
        for suffix in (suffix for layer in range(self.num_layers) for suffix in self.suffixes(layer)):
            weights = self.weights(suffix)
            weights.weight_k.mul_(0.1)
            for name, start in starts.items():
                getattr(weights, name)[:] = start

    def update(self, weights: Weights, carried: States, p: Tensor) -> Update:
        change = torch.cat([carried[0].unsqueeze(0), p[:-1]]) - p
        r = F.linear(p + weights.mu_r * change, weights.weight_r)
        k = F.linear(p + weights.mu_k * change, weights.weight_k)
        v = F.linear(p + weights.mu_v * change, weights.weight_v)
        low_w = F.linear(p + weights.mu_w * change, weights.weight_w1).tanh()
        low_a = F.linear(p + weights.mu_a * change, weights.weight_a1)
        low_g = F.linear(p + weights.mu_g * change, weights.weight_g1).sigmoid()
        log_w = -(F.logsigmoid(F.linear(low_w, weights.weight_w2, weights.bias_w)) - 0.5).exp()
        a = F.linear(low_a, weights.weight_a2, weights.bias_a).sigmoid()
        g = F.linear(low_g, weights.weight_g2)
        r, k, v, log_w, a, g = (part.unflatten(-1, (self.heads, -1)) for part in (r, k, v, log_w, a, g))
        kappa = unit(k * weights.k_k)
        return Update(r, k * (1 + (a - 1) * weights.k_a), v, log_w, -kappa, kappa * a, gate=g, carried=(p[-1],))

    def read(self, output: Tensor, update: Update, weights: Weights) -> Tensor:
        normalised = F.layer_norm(output, output.shape[-1:], eps=EPSILON) * weights.gain + weights.bias_norm
        present = (update.q * weights.r_k * update.k).sum(-1, keepdim=True) * update.v
        return F.linear((update.gate * (normalised + present)).flatten(-2), weights.weight_ho, weights.bias_ho)
