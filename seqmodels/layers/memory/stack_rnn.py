"""The stack RNN: an inner RNN that reads the top of a stack, and pushes and pops by differentiable actions.

    h_t = relu(W_ih x_t + b_ih + W_mh S_{t-1}[0] + W_hh h_{t-1} + b_hh)   inner cell; S[0] is the top
    a_t = softmax(W_ha h_t + b_ha)                                        push, pop and no-op
    v_t = W_hv h_t + b_hv                                                 value to be pushed
    S_t[0] = push * v_t + pop * S_{t-1}[1] + no-op * S_{t-1}[0]
    S_t[i] = push * S_{t-1}[i-1] + pop * S_{t-1}[i+1] + no-op * S_{t-1}[i]

Grégoire Delétang et al., "Neural Networks and the Chomsky Hierarchy", ICLR 2023, after Armand Joulin and Tomas
Mikolov, "Inferring Algorithmic Patterns with Stack-Augmented Recurrent Nets", NIPS 2015.

The stack starts with zeros, zeros come up from below its last cell, and what is pushed beyond that cell is lost. With
one stack this is the published code of Delétang et al. With several, that code takes one softmax over the actions of
all stacks, so that those of one stack add up to less than 1 and its content fades; here each stack has a softmax of its
own. Joulin and Mikolov push sigmoid(W_hv h_t) onto stacks of scalars. Weights are initialised as in `torch.nn.RNN`.
"""

from typing import Literal, Unpack

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.checks import check_choice, check_whole
from seqmodels.layers.cell import Weights
from seqmodels.layers.memory.layer import MemoryLayer
from seqmodels.layers.rnn import ACTIVATIONS, ManualRNN
from seqmodels.layers.stack import LayerSettings


class StackSettings(LayerSettings, total=False):
    """The arguments of `StackMemory` beside the sizes, for constructors that pass them on."""

    stack_size: int
    stack_width: int
    stacks: int


class StackMemory(MemoryLayer):
    """Gives stacks to the cell that it is mixed into: `class StackGRU(StackMemory, ManualGRU)`; see `MemoryLayer`.

    Args:
        input_size, hidden_size: see `RecurrentLayer`.
        stack_size: cells of a stack. The parameters do not depend on it, so a trained layer can get larger stacks.
        stack_width: features of a cell.
        stacks: the number of stacks.
        settings: see `RecurrentLayer`.

    Raises:
        TypeError, ValueError: as `RecurrentLayer`; and for a number of the stacks that is not a positive whole number.
    """

    actions = 3

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        stack_size: int = 40,
        stack_width: int = 8,
        stacks: int = 1,
        **settings: Unpack[LayerSettings],
    ) -> None:
        for name, number in [("stack_size", stack_size), ("stack_width", stack_width), ("stacks", stacks)]:
            check_whole(name, number, 1)
        super().__init__(input_size, hidden_size, stacks, stack_size, stack_width, **settings)

    def shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        pushed = (self.memories * self.width,)
        shapes = super().shapes(input_size) | {"weight_hv": (*pushed, self.state_sizes[0])}
        return shapes | ({"bias_hv": pushed} if self.bias else {})

    def value(self, hidden: Tensor, weights: Weights) -> Tensor:
        return F.linear(hidden, weights.weight_hv, getattr(weights, "bias_hv", None))

    def act(self, memory: Tensor, actions: Tensor, value: Tensor) -> Tensor:
        push, pop, stay = actions.split(1, dim=-1)
        beyond = torch.cat([value, memory, torch.zeros_like(value)], dim=-1)
        pushed, popped = beyond[..., : -2 * self.width], beyond[..., 2 * self.width :]
        return push * pushed + pop * popped + stay * memory


class StackRNN(StackMemory, ManualRNN):
    """The state is a pair (h, stack); see `StackMemory`, also for its arguments.

    Args:
        nonlinearity: of the inner RNN, "relu" or "tanh".

    Example:
        >>> layer = StackRNN(input_size=5, hidden_size=2, stack_size=4, stack_width=3)
        >>> output, (h_n, stack) = layer(torch.ones(7, 1, 5))
        >>> output.shape, h_n.shape, stack.shape
        (torch.Size([7, 1, 2]), torch.Size([1, 1, 2]), torch.Size([1, 1, 12]))
    """

    states = ("h", "stack")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        nonlinearity: Literal["relu", "tanh"] = "relu",
        **settings: Unpack[StackSettings],
    ) -> None:
        check_choice("nonlinearity", nonlinearity, ACTIVATIONS)
        super().__init__(input_size, hidden_size, **settings)
        self.nonlinearity = nonlinearity
