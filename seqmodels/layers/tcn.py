"""A temporal convolutional network, to compare the recurrent layers with.

    a_t = dropout(relu(b_1 + sum_j W_1j x_{t - j d}))                j = 0 .. kernel_size - 1, d = 2^k in block k
    c_t = dropout(relu(b_2 + sum_j W_2j a_{t - j d}))
    y_t = relu(x_t + c_t)                                            or relu(W x_t + b + c_t) if the width changes

Shaojie Bai, J. Zico Kolter and Vladlen Koltun, "An Empirical Evaluation of Generic Convolutional and Recurrent Networks
for Sequence Modeling", arXiv:1803.01271, 2018.

As in the paper, W_1 and W_2 are weight-normalised, and dropout zeroes whole channels.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import weight_norm

from seqmodels.checks import check_whole
from seqmodels.layers.context import ContextLayer


class TCN(ContextLayer):
    """`num_layers` blocks; an output depends on the last 1 + 2 (kernel_size - 1) (2^num_layers - 1) inputs.

    Args:
        kernel_size: steps that one convolution combines.
        dropout: after each convolution, of whole channels, in training.
        others: see `ContextLayer`, also for the state.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 4,
        kernel_size: int = 3,
        dropout: float = 0.0,
        batch_first: bool = False,
    ) -> None:
        super().__init__(input_size, hidden_size, num_layers, dropout, batch_first)
        check_whole("kernel_size", kernel_size, 2)
        self.kernel_size = kernel_size
        self.blocks = nn.ModuleList(
            Block(input_size if layer == 0 else hidden_size, hidden_size, kernel_size, 2**layer, dropout)
            for layer in range(num_layers)
        )

    @property
    def context(self) -> int:
        return 2 * (self.kernel_size - 1) * (2**self.num_layers - 1)

    def read(self, sequence: Tensor, begun: Tensor) -> Tensor:
        channels, begun = sequence.transpose(1, 2), begun.unsqueeze(1)  # convolutions expect (batch, channels, time)
        for block in self.blocks:
            channels = block(channels, begun)
        return channels.transpose(1, 2)


class Block(nn.Module):
    """relu(x + dropout(relu(conv(dropout(relu(conv(x))))))), with a 1 x 1 convolution of x where widths differ."""

    def __init__(self, inputs: int, outputs: int, kernel_size: int, dilation: int, dropout: float) -> None:
        super().__init__()
        self.reach = (kernel_size - 1) * dilation
        self.convolutions = nn.ModuleList(
            weight_norm(nn.Conv1d(width, outputs, kernel_size, dilation=dilation)) for width in (inputs, outputs)
        )
        self.shortcut = nn.Conv1d(inputs, outputs, 1) if inputs != outputs else nn.Identity()
        self.dropout = nn.Dropout1d(dropout)

    def forward(self, channels: Tensor, begun: Tensor) -> Tensor:
        hidden = channels
        for convolution in self.convolutions:
            # Every convolution sees zeros before the first step of a sequence.
            hidden = self.dropout(torch.relu(convolution(F.pad(hidden * begun, (self.reach, 0)))))
        return torch.relu(self.shortcut(channels) + hidden)
