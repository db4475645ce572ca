"""The model around a layer: encoder, layer, head."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence


class SequenceModel(nn.Module):
    """Encode the inputs, run a recurrent layer over them, and compute the answers from its states.

    Tokens are encoded one-hot, or embedded if `embedding_size` is given; numbers are used as they are. The head is an
    `nn.Linear` on the last layer's final state, `hidden[-1]`, or with `every_step` on the output of each step.

    A batch of sequences of several lengths is padded at the end and comes with its lengths. A layer that accepts packed
    sequences receives them packed. For any other layer the padding lies in the future, which a causal layer does not
    see. Either way a single answer is computed where its own sequence ends, and answers to padding have no meaning.

    Args:
        layer: makes the layer when called with `input_size=`, such as `partial(nn.RNN, hidden_size=64,
            batch_first=True)`. The layer has the calling contract of `torch.nn.RNN`, with inputs (batch, time,
            features) and an attribute `batch_first` that is true; with two directions, also `bidirectional`.
        input_size: features of an input step; with `tokens`, the size of the vocabulary.
        output_size: classes, or numbers, of an answer.
        tokens: inputs are token ids (batch, time) rather than numbers (batch, time, input_size).
        every_step: there is an answer at each step, rather than one at the end.
        embedding_size: features of a learned embedding of the tokens.

    Raises:
        ValueError: the layer is not `batch_first`, or `embedding_size` is given although the inputs are numbers.
    """

    def __init__(
        self,
        layer: Callable[..., nn.Module],
        input_size: int,
        output_size: int,
        tokens: bool = False,
        every_step: bool = False,
        embedding_size: int | None = None,
    ) -> None:
        super().__init__()
        if embedding_size is not None and not tokens:
            raise ValueError(f"embedding_size={embedding_size} is for tokens, but this task's inputs are numbers")
        self.arguments = {
            "input_size": input_size,
            "output_size": output_size,
            "tokens": tokens,
            "every_step": every_step,
            "embedding_size": embedding_size,
        }
        self.every_step = every_step
        self.encoder: nn.Module = nn.Identity()
        if embedding_size is not None:
            self.encoder = nn.Embedding(input_size, embedding_size)
        elif tokens:
            self.encoder = OneHot(input_size)
        made: Any = layer(input_size=embedding_size or input_size)
        if not getattr(made, "batch_first", False):
            raise ValueError(
                "batch_first should be true, as an argument and as an attribute of the layer: "
                f"the model reads (batch, time, features); that of {type(made).__name__} is false or missing"
            )
        self.layer: nn.Module = made
        self.directions = 2 if getattr(made, "bidirectional", False) else 1
        # Layers name their sizes differently; a dry run shows the width of the output and of the state.
        with torch.no_grad():
            output, state = made.eval()(torch.zeros(1, 1, embedding_size or input_size))
            self.packs = accepts_packed(made, embedding_size or input_size)
        made.train()
        features = output.size(-1) if every_step else self.directions * last_hidden(state).size(-1)
        self.head = nn.Linear(features, output_size)

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """The answers (batch, output_size); with `every_step` (batch, time, output_size).

        Args:
            inputs: token ids (batch, time), or numbers (batch, time, input_size).
            lengths: how many steps of each sequence are not padding, (batch,); all of them if not given.

        Raises:
            ValueError: a length is below 1 or above the number of steps, or the layer cannot read several lengths.
        """
        sequence = self.encode(inputs)
        if lengths is None:
            return self.answer(*self.layer(sequence))
        if lengths.min() < 1 or lengths.max() > inputs.size(1):
            raise ValueError(f"lengths should be between 1 and {inputs.size(1)}, got {lengths.tolist()}")
        if self.packs:
            packed = pack_padded_sequence(sequence, lengths.cpu(), batch_first=True, enforce_sorted=False)
            output, state = self.layer(packed)
            return self.answer(pad_packed_sequence(output, batch_first=True, total_length=inputs.size(1))[0], state)
        if not self.takes_lengths:
            raise ValueError(
                f"lengths should be None for {type(self.layer).__name__}, which reads backwards and accepts no packed "
                f"sequences, got {lengths.tolist()}"
            )
        output, _ = self.layer(sequence)
        return self.head(output if self.every_step else output[torch.arange(len(output)), lengths.cpu() - 1])

    @property
    def takes_lengths(self) -> bool:
        """Whether a batch may contain sequences of several lengths."""
        return self.packs or self.directions == 1

    def step(self, inputs: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """The answers (batch, output_size) after one more step of sequences, and the state that the next step needs.

        Args:
            inputs: one step of each sequence: token ids (batch,), or numbers (batch, input_size).
            state: what the step before returned; None for the first one. A layer that reads backwards has none.
        """
        sequence = self.encode(inputs.unsqueeze(1))
        output, after = self.layer(sequence) if state is None else self.layer(sequence, state)
        return self.head(output[:, 0] if self.every_step else last_hidden(after)[-1]), after

    def encode(self, inputs: Tensor) -> Tensor:
        """The encoded inputs, which the layer reads, (batch, time, features)."""
        return self.encoder(inputs).to(self.head.weight.dtype)

    def answer(self, output: Tensor, state: Any) -> Tensor:
        """The model's answers, from the output and the final state of the layer."""
        if self.every_step:
            return self.head(output)
        last_layer = last_hidden(state)[-self.directions :]  # (directions, batch, hidden)
        return self.head(torch.cat(tuple(last_layer), dim=-1))


def last_hidden(state: Any) -> Tensor:
    """h (layers, batch, hidden) of a state: the state itself, or the first of several."""
    return state[0] if isinstance(state, tuple) else state


def accepts_packed(layer: Any, features: int) -> bool:
    """Whether any layer accepts packed sequences, found out by a dry run."""
    lengths = torch.tensor([2, 1], device="cpu")  # where packing expects them, also while torch.device("meta") is on
    packed = pack_padded_sequence(torch.zeros(2, 2, features), lengths, batch_first=True)
    try:
        return isinstance(layer(packed)[0], PackedSequence)
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):  # the layer expects a tensor
        return False


class OneHot(nn.Module):
    """Turns token ids (batch, time) into unit vectors (batch, time, vocabulary)."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary

    def forward(self, tokens: Tensor) -> Tensor:
        return F.one_hot(tokens, self.vocabulary)

    def extra_repr(self) -> str:
        return str(self.vocabulary)
