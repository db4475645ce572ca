"""The model around a layer: encoder -> layer -> head."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence


class SequenceModel(nn.Module):
    """Encode the inputs, run a recurrent layer over them, and read the answers off its states.

    Tokens are encoded one-hot, or embedded where an `embedding_size` is given; numbers go in as they are. The head
    is an `nn.Linear` on the last layer's final state, `hidden[-1]`, or with `every_step` on the output of each step.

    A batch of sequences of several lengths comes padded at the end, with its lengths. A layer that reads packed
    sequences gets them packed. To any other, padding lies in the future, which a causal layer does not see. Either way
    the one answer is read where its own sequence ends, and what is answered to padding means nothing.

    Args:
        layer: makes the layer when called with `input_size=`, such as `partial(nn.RNN, hidden_size=64,
            batch_first=True)`. The layer is called as `torch.nn.RNN` is, with (batch, time, features), and says so by
            an attribute `batch_first`; one with two directions has an attribute `bidirectional`.
        input_size: features of an input step, or with `tokens` the size of the vocabulary.
        output_size: how many numbers an answer has.
        tokens: inputs are token ids (batch, time) rather than numbers (batch, time, input_size).
        every_step: each step has an answer, rather than only the last.
        embedding_size: features of a learned embedding of the tokens.

    Raises:
        ValueError: the layer is not `batch_first`, or an embedding is asked for where there are no tokens.
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
            raise ValueError(f"embedding_size={embedding_size} is for tokens, and this task's inputs are numbers")
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
                f"the model reads (batch, time, features); {type(made).__name__} says false, or nothing"
            )
        self.layer: nn.Module = made
        self.directions = 2 if getattr(made, "bidirectional", False) else 1
        # What a layer gives has the width that a dry run shows, by whatever names the layer was told so.
        with torch.no_grad():
            output, state = made.eval()(torch.zeros(1, 1, embedding_size or input_size))
            self.packs = reads_packed(made, embedding_size or input_size)
        made.train()
        features = output.size(-1) if every_step else self.directions * last_hidden(state).size(-1)
        self.head = nn.Linear(features, output_size)

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Answers (batch, output_size), with `every_step` (batch, time, output_size).

        Raises:
            ValueError: a length is not from 1 to the number of steps, or the layer cannot do with several.
        """
        sequence = self.encoder(inputs).to(self.head.weight.dtype)
        if lengths is None:
            return self._read(*self.layer(sequence))
        if lengths.min() < 1 or lengths.max() > inputs.size(1):
            raise ValueError(f"lengths should be from 1 to {inputs.size(1)}, got {lengths.tolist()}")
        if self.packs:
            packed = pack_padded_sequence(sequence, lengths.cpu(), batch_first=True, enforce_sorted=False)
            output, state = self.layer(packed)
            return self._read(pad_packed_sequence(output, batch_first=True, total_length=inputs.size(1))[0], state)
        if not self.takes_lengths:
            raise ValueError(
                f"{type(self.layer).__name__} reads backwards, and no packed sequences: it needs one length"
            )
        output, _ = self.layer(sequence)
        return self.head(output if self.every_step else output[torch.arange(len(output)), lengths.cpu() - 1])

    @property
    def takes_lengths(self) -> bool:
        """Whether a batch may have sequences of several lengths."""
        return self.packs or self.directions == 1

    def _read(self, output: Tensor, state: Any) -> Tensor:
        if self.every_step:
            return self.head(output)
        last_layer = last_hidden(state)[-self.directions :]  # one (batch, hidden) for each direction it reads in
        return self.head(torch.cat(tuple(last_layer), dim=-1))


def last_hidden(state: Any) -> Tensor:
    """h (layers, batch, hidden) of a state: the state itself, or the first one of several."""
    return state[0] if isinstance(state, tuple) else state


def reads_packed(layer: Any, features: int) -> bool:
    """Whether a layer reads packed sequences; as with its width, a dry run shows it, whoever wrote the layer."""
    packed = pack_padded_sequence(torch.zeros(2, 2, features), torch.tensor([2, 1]), batch_first=True)
    try:
        return isinstance(layer(packed)[0], PackedSequence)
    except Exception:  # whatever somebody's layer does to an input that it was not made for
        return False


class OneHot(nn.Module):
    """Token ids (batch, time) to unit vectors (batch, time, vocabulary)."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.vocabulary = vocabulary

    def forward(self, tokens: Tensor) -> Tensor:
        return F.one_hot(tokens, self.vocabulary)

    def extra_repr(self) -> str:
        return str(self.vocabulary)
