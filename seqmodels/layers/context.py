"""Layers without recurrence, which look back at the inputs themselves; called as `torch.nn.RNN` is.

Their state is a pair (h, past): h is the output of the last step, (1, batch, hidden_size), and past the inputs that
they may look back at, (time, batch, input_size). Sequences of one batch may have pasts of different lengths: each ends
at the last row, and the rows before its first step are NaN.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from seqmodels.checks import check_flag, check_probability, check_whole
from seqmodels.layers.checks import check_dimensions, check_features

State = tuple[Tensor, Tensor]


class ContextLayer(nn.Module):
    """Base class of layers without recurrence; a subclass defines `read`, and `context` if its view is limited.

    Batch order, single and packed sequences, and continuing from a state work as in a recurrent layer.

    Args:
        input_size: features of one input step.
        hidden_size: features of one output step.
        batch_first: inputs and outputs are (batch, time, features) instead of (time, batch, features).

    Raises:
        TypeError: a size is not a whole number, or a flag neither True nor False.
        ValueError: a size is not positive, or `dropout` is not a probability.
    """

    def __init__(self, input_size: int, hidden_size: int, num_layers: int, dropout: float, batch_first: bool) -> None:
        super().__init__()
        for name, size in [("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)]:
            check_whole(name, size, 1)
        check_probability("dropout", dropout)
        check_flag("batch_first", batch_first)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.batch_first = batch_first

    @property
    def context(self) -> int | None:
        """The number of inputs before the present one that `read` may look at; None for all."""
        return None

    def read(self, sequence: Tensor, begun: Tensor) -> Tensor:
        """The outputs (batch, time, hidden_size) of a sequence (batch, time, input_size).

        `begun` (batch, time) is False in the rows before the first step of a sequence, which must not be looked at.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no read")

    def forward(self, input: Tensor | PackedSequence, hx: State | None = None) -> tuple[Any, State]:
        """Read whole sequences, or the next steps of sequences whose state so far is given.

        Args:
            input: (time, batch, input_size), or (batch, time, input_size) with `batch_first`, or
                (time, input_size) for a single sequence, or a PackedSequence.
            hx: the state (h, past) that an earlier call returned.

        Returns:
            `output`, shaped like `input` with hidden_size features, and the state.

        Raises:
            TypeError, ValueError, RuntimeError: as `RecurrentLayer.forward`.
        """
        if isinstance(input, PackedSequence):
            sequence, lengths = pad_packed_sequence(input, batch_first=True)
            output, state = self._run(sequence, lengths.to(sequence.device), hx)
            packed = pack_padded_sequence(output, lengths, batch_first=True, enforce_sorted=False)
            return PackedSequence(packed.data, input.batch_sizes, input.sorted_indices, input.unsorted_indices), state
        check_dimensions(input)
        if input.dim() == 2:
            given = None if hx is None else (hx[0].unsqueeze(1), hx[1].unsqueeze(1))
            output, (hidden, past) = self._run(input.unsqueeze(0), None, given)
            return output.squeeze(0), (hidden.squeeze(1), past.squeeze(1))
        output, state = self._run(input if self.batch_first else input.transpose(0, 1), None, hx)
        return (output if self.batch_first else output.transpose(0, 1)), state

    def _run(self, sequence: Tensor, lengths: Tensor | None, hx: State | None) -> tuple[Tensor, State]:
        """The outputs of new steps (batch, time, features), and the state; `lengths` are those of the sequences."""
        batch, time, features = sequence.shape
        check_features(self, sequence, next(self.parameters()).dtype)
        if time == 0:
            raise RuntimeError("expected a sequence of at least one step, got length 0")
        if hx is not None:
            if not isinstance(hx, tuple | list) or len(hx) != 2:
                found = f"a tuple of {len(hx)}" if isinstance(hx, tuple | list) else type(hx).__name__
                raise RuntimeError(f"the state hx should be a tuple (h, past), got {found}")
            if hx[1].dim() != 3 or hx[1].shape[1:] != (batch, features):
                raise RuntimeError(f"the past should be of size [time, {batch}, {features}], got {list(hx[1].shape)}")
            sequence = torch.cat([hx[1].transpose(0, 1), sequence], dim=1)

        # Shift each sequence to the right, so that all of them end at the last row.
        total = sequence.size(1)
        shift = sequence.new_zeros(batch, 1, dtype=torch.long) if lengths is None else (time - lengths).unsqueeze(1)
        rows = torch.arange(total, device=sequence.device) - shift  # (batch, total): where a row comes from
        if lengths is not None:
            source = rows.clamp(min=0).unsqueeze(2).expand_as(sequence)
            sequence = sequence.gather(1, source).masked_fill((rows < 0).unsqueeze(2), torch.nan)
        new = torch.arange(total, device=sequence.device) >= total - time + shift  # the same row in every sequence
        begun = (rows >= 0) & ((~sequence.isnan().all(2)).cumsum(1) > 0) | new
        output = self.read(sequence.masked_fill(~begun.unsqueeze(2), 0.0), begun)

        past = sequence if self.context is None else sequence[:, max(total - self.context, 0) :]
        state = output[:, -1].unsqueeze(0), past.transpose(0, 1)
        first = (torch.arange(time, device=sequence.device) + total - time) + shift  # back to the left
        return output.gather(1, first.clamp(max=total - 1).unsqueeze(2).expand(-1, -1, self.hidden_size)), state

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}, num_layers={self.num_layers}, batch_first={self.batch_first}"
