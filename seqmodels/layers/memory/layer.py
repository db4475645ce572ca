"""What the layers with a stack or a tape share: an inner cell reads one cell of a memory, and decides how it changes.

    m_t = the memory's first cell, before the step
    h_t = inner cell(W_ih x_t + b_ih + W_mh m_t, h_{t-1})
    a_t = softmax(W_ha h_t + b_ha)                                   actions, for each memory its own
    v_t = the value for the memory, computed from h_t
    M_t = sum_k a_t[k] * M_{t-1} after action k                      so that actions can be learned by gradients

Stacks and tapes differ in v_t and in their actions; see stack_rnn.py and tape_rnn.py.
"""

from functools import cached_property
from typing import Any, Unpack

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.layers.cell import Cell, Weights
from seqmodels.layers.stack import LayerSettings, RecurrentLayer


class MemoryLayer(RecurrentLayer):
    """Base class of the memories, to be mixed into an inner cell: `class StackGRU(StackMemory, ManualGRU)`.

    The inner cell starts at zeros, and adds its sums W_ih x_t + b_ih to others, as most do. Its states are followed by
    the memory, so `states` has to be given: `("h", "stack")`. The memory is flat, (batch, memories * size * width),
    cell after cell, and memory after memory. A subclass defines the number of `actions`, `value` and `act`.
    """

    reference: Any = None
    scan = Cell.scan  # not that of the inner cell, which would leave out the memory
    actions: int

    def __init__(
        self, input_size: int, hidden_size: int, memories: int, size: int, width: int, **settings: Unpack[LayerSettings]
    ) -> None:
        self.memories, self.size, self.width = memories, size, width  # before the base class asks for the shapes
        super().__init__(input_size, hidden_size, **settings)

    @property
    def state_sizes(self) -> tuple[int, ...]:
        return *self._inner_sizes, self.memories * self.size * self.width

    @cached_property  # by the constructor, as torch.compile cannot follow super() to a property
    def _inner_sizes(self) -> tuple[int, ...]:
        """Features of the states of the inner cell."""
        return super().state_sizes[: len(self.states) - 1]

    def shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        inner, choices = super().shapes(input_size), self.memories * self.actions
        rows, hidden = inner["weight_ih"][0], self.state_sizes[0]
        shapes = inner | {"weight_mh": (rows, self.memories * self.width), "weight_ha": (choices, hidden)}
        return shapes | ({"bias_ha": (choices,)} if self.bias else {})

    def step(self, projected: Tensor, state: Any, weights: Weights) -> Any:
        *inner, flat = state
        memory = flat.unflatten(-1, (self.memories, -1))
        read = memory[..., : self.width].flatten(-2)
        summed = projected + F.linear(read, weights.weight_mh)
        moved = super().step(summed, tuple(inner) if len(inner) > 1 else inner[0], weights)
        moved = moved if isinstance(moved, tuple) else (moved,)
        logits = F.linear(moved[0], weights.weight_ha, getattr(weights, "bias_ha", None))
        actions = torch.softmax(logits.unflatten(-1, (self.memories, -1)), dim=-1)
        value = self.value(moved[0], weights).unflatten(-1, (self.memories, -1))
        return *moved, self.act(memory, actions, value).flatten(-2)

    def value(self, hidden: Tensor, weights: Weights) -> Tensor:
        """The values (batch, memories * width) for the memories, from the inner cell's output (batch, features)."""
        raise NotImplementedError(f"{type(self).__name__} defines no value")

    def act(self, memory: Tensor, actions: Tensor, value: Tensor) -> Tensor:
        """The memories (batch, memories, size * width) after the step.

        From those before it, the probabilities of the actions (batch, memories, actions), and the values
        (batch, memories, width).
        """
        raise NotImplementedError(f"{type(self).__name__} defines no act")
