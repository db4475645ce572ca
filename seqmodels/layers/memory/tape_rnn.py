"""The tape RNN: an inner RNN that overwrites the first cell of a circular tape in every step, then moves the tape.

    h_t = relu(W_ih x_t + b_ih + W_mh T_{t-1}[0] + W_hh h_{t-1} + b_hh)   inner cell; it reads the first cell
    a_t = softmax(W_ha h_t + b_ha)                                        stay, left, right and, with `jump`, two jumps
    v_t = W_wv relu(W_uw relu(W_hu h_t + b_hu) + b_uw) + b_wv             value to be written
    W_t = (v_t, T_{t-1}[1], T_{t-1}[2], ..)                               the tape after writing
    T_t[i] = stay * W_t[i] + left * W_t[i+1] + right * W_t[i-1] + jump left * W_t[i+jump] + jump right * W_t[i-jump]

Grégoire Delétang et al., "Neural Networks and the Chomsky Hierarchy", ICLR 2023.

The tape starts with zeros, and indices are modulo its size. This follows the published code with one exception: there,
a jump is as long as the input, which a layer that reads a stream cannot know. Here its length is an argument, for tasks
of one length, and without it there are no jumps. Weights are initialised as in `torch.nn.RNN`.
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


class TapeSettings(LayerSettings, total=False):
    """The arguments of `TapeMemory` beside the sizes, for constructors that pass them on."""

    tape_size: int
    tape_width: int
    tapes: int
    jump: int | None
    write_size: int


class TapeMemory(MemoryLayer):
    """Gives tapes to the cell that it is mixed into: `class TapeGRU(TapeMemory, ManualGRU)`; see `MemoryLayer`.

    Args:
        input_size, hidden_size: see `RecurrentLayer`.
        tape_size: cells of a tape. The parameters do not depend on it, so a trained layer can get longer tapes.
        tape_width: features of a cell.
        tapes: the number of tapes.
        jump: cells of a jump; None for no jumps.
        write_size: units in each of the two hidden layers that compute the value to be written.
        settings: see `RecurrentLayer`.

    Raises:
        TypeError, ValueError: as `RecurrentLayer`; and for a number of the tapes that is not a positive whole number.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        tape_size: int = 40,
        tape_width: int = 8,
        tapes: int = 1,
        jump: int | None = None,
        write_size: int = 64,
        **settings: Unpack[LayerSettings],
    ) -> None:
        numbers = {"tape_size": tape_size, "tape_width": tape_width, "tapes": tapes, "write_size": write_size}
        for name, number in (numbers | ({} if jump is None else {"jump": jump})).items():
            check_whole(name, number, 1)
        self.actions, self.jump, self.write_size = 3 if jump is None else 5, jump, write_size
        super().__init__(input_size, hidden_size, tapes, tape_size, tape_width, **settings)

    def shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        shapes, read = super().shapes(input_size), self.state_sizes[0]
        for name, rows in [("hu", self.write_size), ("uw", self.write_size), ("wv", self.memories * self.width)]:
            shapes |= {f"weight_{name}": (rows, read)} | ({f"bias_{name}": (rows,)} if self.bias else {})
            read = rows
        return shapes

    def value(self, hidden: Tensor, weights: Weights) -> Tensor:
        first = torch.relu(F.linear(hidden, weights.weight_hu, getattr(weights, "bias_hu", None)))
        second = torch.relu(F.linear(first, weights.weight_uw, getattr(weights, "bias_uw", None)))
        return F.linear(second, weights.weight_wv, getattr(weights, "bias_wv", None))

    def act(self, memory: Tensor, actions: Tensor, value: Tensor) -> Tensor:
        written = torch.cat([value, memory[..., self.width :]], dim=-1)
        stay, left, right, *jumps = actions.split(1, dim=-1)
        moved_left, moved_right = self._moved(written, -1), self._moved(written, 1)
        tape = stay * written + left * moved_left + right * moved_right
        if self.jump is not None:
            far_left, far_right = self._moved(written, -self.jump), self._moved(written, self.jump)
            tape = tape + jumps[0] * far_left + jumps[1] * far_right
        return tape

    def _moved(self, written: Tensor, cells: int) -> Tensor:
        return torch.roll(written, cells * self.width, dims=-1)


class TapeRNN(TapeMemory, ManualRNN):
    """The state is a pair (h, tape); see `TapeMemory`, also for its arguments.

    Args:
        nonlinearity: of the inner RNN, "relu" or "tanh".
    """

    states = ("h", "tape")

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        nonlinearity: Literal["relu", "tanh"] = "relu",
        **settings: Unpack[TapeSettings],
    ) -> None:
        check_choice("nonlinearity", nonlinearity, ACTIVATIONS)
        super().__init__(input_size, hidden_size, **settings)
        self.nonlinearity = nonlinearity
