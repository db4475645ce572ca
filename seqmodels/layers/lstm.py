"""Long short-term memory, from scratch, with an optional projection of its output.

    i_t = sigmoid(W_ii x_t + b_ii + W_hi h_{t-1} + b_hi)             input gate
    f_t = sigmoid(W_if x_t + b_if + W_hf h_{t-1} + b_hf)             forget gate
    g_t = tanh(W_ig x_t + b_ig + W_hg h_{t-1} + b_hg)                candidate
    o_t = sigmoid(W_io x_t + b_io + W_ho h_{t-1} + b_ho)             output gate
    c_t = f_t * c_{t-1} + i_t * g_t
    h_t = o_t * tanh(c_t)                                            with a projection W_hr (o_t * tanh(c_t))

Sepp Hochreiter and Juergen Schmidhuber, "Long Short-Term Memory", Neural Computation 9(8), 1997; the forget gate is
from Felix Gers, Juergen Schmidhuber and Fred Cummins, "Learning to Forget: Continual Prediction with LSTM", Neural
Computation 12(10), 2000; the projection from Hasim Sak, Andrew Senior and Francoise Beaufays, arXiv:1402.1128, 2014.

Gates are stacked in the order i, f, g, o, as in `torch.nn.LSTM`.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.checks import check_whole
from seqmodels.layers.bptt import LSTMKernel
from seqmodels.layers.cell import Weights
from seqmodels.layers.stack import RecurrentLayer


class ManualLSTM(RecurrentLayer):
    """`torch.nn.LSTM` written out: same arguments, parameters, initialisation, shapes and numbers.

    Args:
        proj_size: features that the output h is projected to; 0 for no projection.
        others: see `RecurrentLayer`. The state is a pair (h, c).

    Raises:
        TypeError, ValueError: as `RecurrentLayer`; and if `proj_size` is negative, or not smaller than `hidden_size`.
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
        backend: Literal["auto", "autograd", "bptt", "compiled"] = "auto",
    ) -> None:
        check_whole("proj_size", proj_size, 0)
        if isinstance(hidden_size, int) and proj_size >= max(hidden_size, 1):
            raise ValueError(f"proj_size should be smaller than hidden_size={hidden_size}, got {proj_size}")
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
        sums = projected + F.linear(hidden, weights.weight_hh, weights.bias_hh)
        input_sum, forget_sum, candidate_sum, output_sum = sums.chunk(4, dim=-1)
        input_gate, forget_gate = torch.sigmoid(input_sum), torch.sigmoid(forget_sum)
        candidate, output_gate = torch.tanh(candidate_sum), torch.sigmoid(output_sum)
        cell = forget_gate * cell + input_gate * candidate
        hidden = output_gate * torch.tanh(cell)
        return (F.linear(hidden, weights.weight_hr) if self.proj_size else hidden), cell

    def extra_repr(self) -> str:
        return super().extra_repr() + (f", proj_size={self.proj_size}" if self.proj_size else "")
