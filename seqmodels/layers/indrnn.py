"""The independently recurrent network: each unit sees only its own past, and units meet in the next layer.

    h_t = relu(W x_t + u * h_{t-1} + b)

Shuai Li, Wanqing Li, Chris Cook, Ce Zhu and Yanbo Gao, "Independently Recurrent Neural Network (IndRNN): Building A
Longer and Deeper RNN", CVPR 2018.
"""

import torch
from torch import Tensor

from seqmodels.layers.cell import Weights
from seqmodels.layers.stack import RecurrentLayer


class IndRNN(RecurrentLayer):
    """The recurrent weight u is a vector, `weight_hh` of shape (hidden_size,). Arguments: see `RecurrentLayer`.

    As in the paper u starts uniform in [0, 1], so that states do not grow.
    """

    def shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        shapes = super().shapes(input_size) | {"weight_hh": (self.hidden_size,)}
        shapes.pop("bias_hh", None)
        return shapes

    def reset_parameters(self) -> None:
        super().reset_parameters()
        for name, parameter in self.named_parameters():
            if name.startswith("weight_hh"):
                torch.nn.init.uniform_(parameter, 0, 1)

    def step(self, projected: Tensor, state: Tensor, weights: Weights) -> Tensor:
        return torch.relu(projected + weights.weight_hh * state)
