"""Linear recurrences whose factors are the same in all steps, with one input and one output for each channel.

    s_t = exp(z) * s_{t-1} + b u_t                                   state, n complex numbers in each channel
    y_t = Re sum_n c_n s_tn                                          output, one number in each channel

Such a channel is a filter: without an initial state, y_t = sum_j K_j u_{t-j} with K_j = Re sum_n c_n exp(j z_n) b_n.
So a chunk of steps takes one product with a triangular matrix of the K, and two more for the state before and after it.
The states of single steps, which are n times as large as the inputs, are never computed.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

CHUNK = 64
"""Steps of a chunk. Longer chunks have fewer calls, but more of the triangular matrix."""


def filter_channels(
    exponents: Tensor, drive: Tensor, read: Tensor, inputs: Tensor, state: Tensor
) -> tuple[Tensor, Tensor]:
    """The outputs y_1 .. y_T (time, batch, channels), and the last state.

    Args:
        exponents, drive, read: z, b and c, complex, (channels, n).
        inputs: u, real, (time, batch, channels).
        state: s_0, complex, (batch, channels, n).
    """
    length = min(CHUNK, len(inputs))
    powers = torch.exp(exponents.unsqueeze(-1) * torch.arange(length + 1, device=inputs.device))  # (channels, n, steps)
    impulse = drive.unsqueeze(-1) * powers[..., :-1]
    kernel = (read.unsqueeze(-2) @ impulse).real.squeeze(-2)
    # A matrix whose rows are the kernel, moved by one step each: row t, column j is K_{t-j}, or 0 for j > t.
    within = F.pad(kernel.flip(-1), (0, length - 1)).unfold(-1, length, 1).flip(-2)
    from_state = (read.unsqueeze(-1) * powers[..., 1:]).mT
    to_state = impulse.flip(-1)
    from_real, from_imag, to_real, to_imag = from_state.real, from_state.imag, to_state.real, to_state.imag
    outputs, state = [], state.permute(1, 2, 0)
    for chunk in inputs.permute(2, 0, 1).split(length, dim=1):
        steps = chunk.size(1)
        seen = from_real[:, :steps] @ state.real - from_imag[:, :steps] @ state.imag
        outputs.append(within[:, :steps, :steps] @ chunk + seen)
        added = torch.complex(to_real[..., length - steps :] @ chunk, to_imag[..., length - steps :] @ chunk)
        state = powers[..., steps].unsqueeze(-1) * state + added
    return torch.cat(outputs, dim=1).permute(1, 2, 0), state.permute(2, 0, 1)
