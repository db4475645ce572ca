"""The short causal convolution: each channel of a step is a weighted sum of its own last few inputs.

    y_t = b + sum_j w_j * x_{t - j}                                  j = 0 .. kernel_size - 1, channel by channel

Many layers since 2023 have one in front of their recurrence. It lets a step see what came just before it, which a
recurrence whose gates depend on the present input alone cannot.
"""

import torch
from torch import Tensor


def causal_convolution(
    sequence: Tensor, past: Tensor, weight: Tensor, bias: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The convolution of the steps given, and the inputs that later steps will look back at.

    Args:
        sequence: x, (time, batch, channels).
        past: the last kernel_size - 1 inputs before, oldest first, (batch, (kernel_size - 1) * channels); zeros at the
            start of a sequence.
        weight: (channels, kernel_size) with kernel_size >= 2; as in `torch.nn.Conv1d`, the last column is w_0, the
            weight of the present step.
        bias: (channels,).

    Returns:
        y, shaped like `sequence`, and the next `past`.
    """
    reach = weight.size(1) - 1
    seen = torch.cat([past.unflatten(-1, (reach, -1)).movedim(-2, 0), sequence])
    output = sequence * weight[:, reach]
    for column in range(reach):
        output = torch.addcmul(output, seen[column : column + len(sequence)], weight[:, column])
    if bias is not None:
        output = output + bias
    return output, seen[len(sequence) :].movedim(0, -2).flatten(-2)
