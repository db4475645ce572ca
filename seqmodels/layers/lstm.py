"""Long short-term memory, from scratch, with the optional projection of its output.

    i_t = sigmoid(W_ii x_t + b_ii + W_hi h_{t-1} + b_hi)             input gate
    f_t = sigmoid(W_if x_t + b_if + W_hf h_{t-1} + b_hf)             forget gate
    g_t = tanh(W_ig x_t + b_ig + W_hg h_{t-1} + b_hg)                candidate
    o_t = sigmoid(W_io x_t + b_io + W_ho h_{t-1} + b_ho)             output gate
    c_t = f_t * c_{t-1} + i_t * g_t
    h_t = o_t * tanh(c_t),  with a projection  W_hr (o_t * tanh(c_t))

Sepp Hochreiter and Juergen Schmidhuber, Neural Computation 9(8), 1997, with the forget gate of Felix Gers et al., 2000;
projection: Hasim Sak, Andrew Senior and Francoise Beaufays, arXiv:1402.1128, 2014. Gates are stacked in the order
i, f, g, o, as in `torch.nn.LSTM`.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.layers.fused import LSTMKernel
from seqmodels.layers.recurrent import RecurrentLayer
from seqmodels.layers.weights import Weights


class ManualLSTM(RecurrentLayer):
    """`torch.nn.LSTM` written out: same arguments, parameters, initialisation, shapes and numbers.

    Args:
        proj_size: features of h where the output is projected to fewer; 0 for no projection.
        others: see `RecurrentLayer`. The state is a pair (h, c).

    Raises:
        ValueError: `proj_size` is negative, or not smaller than `hidden_size`.
    """

    gates = 4
    states = ("h", "c")
    reference = nn.LSTM
    kernel = LSTMKernel

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: Any = None,
        dtype: Any = None,
        *,
        backend: Literal["auto", "loop", "fused"] = "auto",
    ) -> None:
        if not isinstance(proj_size, int) or isinstance(proj_size, bool):
            raise TypeError(f"proj_size should be a whole number, got {proj_size!r}")
        if isinstance(hidden_size, int) and not 0 <= proj_size < max(hidden_size, 1):
            raise ValueError(f"proj_size should be 0 or smaller than hidden_size={hidden_size}, got {proj_size}")
        self.proj_size = proj_size  # before the base class asks for the sizes of the states
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            device,
            dtype,
            backend=backend,
        )

    @property
    def state_sizes(self) -> tuple[int, ...]:
        return self.proj_size or self.hidden_size, self.hidden_size

    def shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        projection = {"weight_hr": (self.proj_size, self.hidden_size)} if self.proj_size else {}
        return super().shapes(input_size) | projection

    def step(self, projected: Tensor, state: tuple[Tensor, Tensor], weights: Weights) -> tuple[Tensor, Tensor]:
        hidden, cell = state
        gates = projected + F.linear(hidden, weights.weight_hh, weights.bias_hh)
        input_gate, forget_gate, candidate, output_gate = gates.chunk(4, dim=-1)
        cell = torch.sigmoid(forget_gate) * cell + torch.sigmoid(input_gate) * torch.tanh(candidate)
        hidden = torch.sigmoid(output_gate) * torch.tanh(cell)
        return (F.linear(hidden, weights.weight_hr) if self.proj_size else hidden), cell

    def extra_repr(self) -> str:
        return super().extra_repr() + (f", proj_size={self.proj_size}" if self.proj_size else "")
