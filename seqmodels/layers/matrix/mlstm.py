"""The matrix cell of xLSTM: exponential gates, a normaliser, and a stabiliser that keeps them finite.

    q_t = W_q x_t,  k_t = W_k x_t / sqrt(K),  v_t = W_v x_t          query, key, value of each head
    ~i_t = w_i x_t + b_i,  ~f_t = w_f x_t + b_f                      gates before their activation, of each head
    m_t = max(log sigmoid(~f_t) + m_{t-1}, ~i_t)                     stabiliser
    i_t = exp(~i_t - m_t)                                            input gate, exponential
    f_t = exp(log sigmoid(~f_t) + m_{t-1} - m_t)                     forget gate
    C_t = f_t C_{t-1} + i_t k_t v_t^T                                state
    n_t = f_t n_{t-1} + i_t k_t                                      normaliser
    h_t = sigmoid(W_o x_t) * C_t^T q_t / (max(|n_t^T q_t|, exp(-m_t)) + 1e-6)

Maximilian Beck et al., "xLSTM: Extended Long Short-Term Memory", NeurIPS 2024, section 2.3.

The forget gate is a sigmoid, where the paper also allows exp. There is no block around the cell. The state begins at
zero, m included, and 1e-6 is added to the denominator, both as in the published code: where the query is 0 and m is
large, the equation of the paper is 0 / 0.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.layers.cell import States, Weights
from seqmodels.layers.matrix.layer import MatrixLayer, Update


class MLSTM(MatrixLayer):
    """The states are (y, S, m), where y is h, and n is the last column of S. Arguments: see `MatrixLayer`.

    `weight_ih` has the rows of q, k, v, the input gate, the forget gate and the output gate. As published, the weights
    of the first two gates start at zero, b_f between 3 and 6, and b_i with a standard deviation of 0.1.
    """

    @property
    def state_shape(self) -> tuple[int, int, int]:
        return self.heads, self.key_size, self.value_size + 1

    @property
    def state_sizes(self) -> tuple[int, ...]:
        return self.heads * self.value_size, *super().state_sizes[1:]

    @property
    def carried(self) -> dict[str, int]:
        return {"m": self.heads}

    def projections(self) -> dict[str, tuple[int, ...]]:
        return super().projections() | {"i": (self.heads,), "f": (self.heads,), "o": (self.heads, self.value_size)}

    def shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        kept = {"weight_ih", "bias_ih", "weight_conv", "start"}
        shapes = {name: shape for name, shape in super().shapes(input_size).items() if name in kept}
        return shapes | {"bias_i": (self.heads,), "bias_f": (self.heads,)}

    def reset_parameters(self) -> None:
        super().reset_parameters()
        first = self.heads * (2 * self.key_size + self.value_size)
        for name, parameter in self.named_parameters():
            if name.startswith("weight_ih"):
                nn.init.zeros_(parameter.data[first : first + 2 * self.heads])
            elif name.startswith("bias_i_"):
                nn.init.normal_(parameter, std=0.1)
            elif name.startswith("bias_f_"):
                parameter.data.copy_(torch.linspace(3, 6, self.heads))

    def update(
        self, weights: Weights, carried: States, q: Tensor, k: Tensor, v: Tensor, i: Tensor, f: Tensor, o: Tensor
    ) -> Update:
        i, log_f = i + weights.bias_i, F.logsigmoid(f + weights.bias_f)
        m = running_maxima(log_f, i, *carried)
        before = torch.cat([carried[0].unsqueeze(0), m[:-1]])
        k = (torch.exp(i - m) / math.sqrt(self.key_size)).unsqueeze(-1) * k
        v = torch.cat([v, torch.ones_like(v[..., :1])], dim=-1)
        # Where m is far below 0 the bound only has to be large; it must not become infinite.
        bound = torch.exp((-m).clamp(max=80)).unsqueeze(-1)
        log_w = (log_f + before - m).unsqueeze(-1)
        return Update(q, k, v, log_w, gate=torch.sigmoid(o), bound=bound, carried=(m[-1],))

    def read(self, output: Tensor, update: Update, weights: Weights) -> Tensor:
        weighted_sum, normaliser = output.split([self.value_size, 1], dim=-1)
        return (update.gate * weighted_sum / (torch.maximum(normaliser.abs(), update.bound) + 1e-6)).flatten(-2)


def running_maxima(slopes: Tensor, heights: Tensor, start: Tensor) -> Tensor:
    """m_t = max(slope_t + m_{t-1}, height_t) for all steps, in log2(T) rounds; (time, batch, heads)."""
    maxima = torch.cat([torch.maximum(slopes[0] + start, heights[0]).unsqueeze(0), heights[1:]])
    reach = 1
    while reach < len(maxima):
        reached = torch.maximum(slopes[reach:] + maxima[:-reach], maxima[reach:])
        maxima = torch.cat([maxima[:reach], reached])
        slopes = torch.cat([slopes[:reach], slopes[reach:] + slopes[:-reach]])
        reach *= 2
    return maxima
