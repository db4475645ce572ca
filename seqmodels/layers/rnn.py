"""The Elman network, from scratch.

    h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)          or relu in place of tanh

Jeffrey L. Elman, "Finding Structure in Time", Cognitive Science 14, 1990.

There are two biases although one would do, as in `torch.nn.RNN`, so that weights load from one to the other.
"""

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.checks import check_choice
from seqmodels.layers.bptt import ElmanKernel
from seqmodels.layers.cell import Weights
from seqmodels.layers.stack import RecurrentLayer

ACTIVATIONS = {"tanh": torch.tanh, "relu": torch.relu}


class ManualRNN(RecurrentLayer):
    """`torch.nn.RNN` written out: same arguments, parameters, initialisation, shapes and numbers.

    Args:
        nonlinearity: "tanh" or "relu".
        identity: start as an IRNN: the recurrent weights as this multiple of the identity, the biases at zero and
            the input weights with standard deviation 0.001 (Quoc Le, Navdeep Jaitly and Geoffrey Hinton, "A Simple
            Way to Initialize Recurrent Networks of Rectified Linear Units", arXiv:1504.00941, 2015).
        others: see `RecurrentLayer`; in the order of `torch.nn.RNN`, which has neither `identity` nor `backend`.

    Example:
        >>> layer = ManualRNN(input_size=5, hidden_size=2, batch_first=True)
        >>> output, h_n = layer(torch.ones(1, 3, 5))
        >>> output.shape, h_n.shape
        (torch.Size([1, 3, 2]), torch.Size([1, 1, 2]))
    """

    reference = nn.RNN
    kernel = ElmanKernel

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        identity: float | None = None,
        backend: Literal["auto", "autograd", "bptt", "compiled"] = "auto",
    ) -> None:
        check_choice("nonlinearity", nonlinearity, ACTIVATIONS)
        self.identity = identity  # before the base class draws the weights
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
        self.nonlinearity = nonlinearity

    def reset_parameters(self) -> None:
        super().reset_parameters()
        if self.identity is not None:
            for name, parameter in self.named_parameters():
                if name.startswith("weight_hh"):
                    nn.init.eye_(parameter).data.mul_(self.identity)
                elif name.startswith("weight_ih"):
                    nn.init.normal_(parameter, std=0.001)
                else:
                    nn.init.zeros_(parameter)

    def step(self, projected: Tensor, state: Tensor, weights: Weights) -> Tensor:
        return ACTIVATIONS[self.nonlinearity](projected + F.linear(state, weights.weight_hh, weights.bias_hh))

    def extra_repr(self) -> str:
        relu = ", nonlinearity=relu" if self.nonlinearity == "relu" else ""
        return super().extra_repr() + relu
