"""A recurrent cell: the part in which recurrent layers differ, and all that the author of one has to know.

A layer reads a sequence x_1 .. x_T in one direction. Its work is split as

    p_t = W_ih x_t + b_ih        for all steps at once, one matrix product         (`project`)
    s_t = cell(p_t, s_{t-1})     one step after the other                          (`step`)

so a cell is its number of gates, its states and its `step`. Where the recurrence allows it, `scan` computes all steps
at once. Stacking, directions, packing and batch order come from `RecurrentLayer` in stack.py, the class to derive from.

Parameter names, shapes, order and initialisation are those of `torch.nn.RNN`: `weight_ih_l0`, `weight_hh_l0`,
`bias_ih_l0`, `bias_hh_l0`, then `..._l0_reverse` for a second direction, then `..._l1`. A cell works with the weights
of one layer in one direction, whose names have no ending.
"""

import math
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

States = tuple[Tensor, ...]
"""The states of a cell, in the order of `Cell.states`; the first one is the output of a step."""


BIASES = ("bias_ih", "bias_hh", "bias_ho", "bias_conv")
"""Parameters that a layer may lack; they are None there."""


class Weights:
    """The parameters of one layer in one direction, by name: `weights.weight_hh` and so on.

    A plain namespace, because `torch.compile` cannot follow `types.SimpleNamespace`.
    """

    def __init__(self, **weights: Any) -> None:
        for name, weight in weights.items():
            setattr(self, name, weight)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"expected one of the weights {', '.join(vars(self))}, got {name}")


class Cell(nn.Module):
    """The contract of a cell. A subclass defines `step`, and overrides the rest only where it differs."""

    gates: int = 1
    """Rows of the weights in units of `hidden_size`."""

    states: tuple[str, ...] = ("h",)
    """The names of the states. With more than one, `hx` and `h_n` are tuples in this order, as in `torch.nn.LSTM`."""

    reference: type[nn.Module] | None = None
    """The class whose numbers this one reproduces, if any."""

    precise_part: str | None = None
    """What the cell computes with that half precision cannot represent, such as "complex numbers", if anything."""

    hidden_size: int
    bias: bool
    parameter_names: tuple[str, ...]
    """The names in `shapes`, set once by the constructor of `RecurrentLayer`."""

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """Features of each state; those of the first one are the features of the output."""
        return (self.hidden_size,) * len(self.states)

    def shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        """The names and shapes of the parameters of one layer in one direction, in their order."""
        rows = self.gates * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, input_size),
            "weight_hh": (rows, self.state_sizes[0]),
        }
        return shapes | ({"bias_ih": (rows,), "bias_hh": (rows,)} if self.bias else {})

    def reset_parameters(self) -> None:
        """Draw every parameter from U(-1/sqrt(hidden_size), 1/sqrt(hidden_size))."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def initial_state(self, like: Tensor, rows: int, batch: int) -> States:
        """The states (rows, batch, features) before the first step: zeros of the dtype and device of `like`.

        There is a row for each layer and direction.
        """
        return tuple(like.new_zeros(rows, batch, size) for size in self.state_sizes)

    def project(self, sequence: Tensor, weights: Weights) -> Tensor:
        """The part of every step that the inputs alone determine, W_ih x_t + b_ih.

        From (..., features) to (..., gates * hidden_size).
        """
        return F.linear(sequence, weights.weight_ih, weights.bias_ih)

    def step(self, projected: Tensor, state: Any, weights: Weights) -> Any:
        """The equations of the cell.

        Args:
            projected: W_ih x_t + b_ih, (batch, gates * hidden_size).
            state: the previous state (batch, features), or a tuple of them if `states` has more than one name.
            weights: the parameters by their names in `shapes`: `weights.weight_hh`, `weights.bias_hh` and so on.
                A bias is None where there is none.

        Returns:
            The next state, of the same form as `state`.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no step")

    def scan(self, projected: Tensor, state: States, weights: Weights) -> tuple[Tensor, States]:
        """All steps: from (time, batch, gates * hidden_size) to the outputs (time, batch, features) and the last state.

        One step after the other; a cell whose recurrence can be computed for all steps at once overrides this.
        """
        outputs = []
        for step_input in projected.unbind(0):
            state = self.advance(step_input, state, weights)
            outputs.append(state[0])
        return torch.stack(outputs), state

    def advance(self, projected: Tensor, state: States, weights: Weights) -> States:
        """`step` with a tuple of states, even if there is only one.

        Raises:
            RuntimeError: `step` returned another number of states, or other shapes.
        """
        after = self.step(projected, state if len(state) > 1 else state[0], weights)
        after = after if isinstance(after, tuple) else (after,)
        if [part.shape for part in after] != [part.shape for part in state]:
            expected, found = ([list(part.shape) for part in parts] for parts in (state, after))
            raise RuntimeError(f"{type(self).__name__}.step should return the states {expected}, got {found}")
        return after

    def weights(self, suffix: str = "_l0") -> Weights:
        """The parameters whose names end in `suffix`, without this ending; None for a missing bias."""
        names = self.parameter_names
        try:
            present: dict[str, Any] = {name: self._parameters[name + suffix] for name in names}
        except KeyError:  # a parametrization computes it, as an attribute, which takes longer
            present = {name: getattr(self, name + suffix) for name in names}
        return Weights(**(dict.fromkeys(BIASES) | present))


def without_autocast(tensor: Tensor) -> AbstractContextManager[Any]:
    """No autocast on the device of a tensor; the meta device, among others, knows none."""
    device = tensor.device.type
    return torch.autocast(device, enabled=False) if device in ("cpu", "cuda") else nullcontext()
