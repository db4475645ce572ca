"""Blocks around any layer: norm, mixer and residual, with or without an MLP and a short convolution.

    x_t = W input_t + b                                              before the first block
    u_t = norm(x_t)                                                  a block:
    u_t = silu(conv(u_{t - k + 1} .. u_t))                           only with a kernel of k steps
    x_t = x_t + mixer(u_1 .. u_t)                                    the layer
    x_t = x_t + W_2 gelu(W_1 norm(x_t) + b_1) + b_2                  only with an MLP
    y_t = norm(x_t)                                                  after the last block
    norm(x) = g * x / sqrt(mean(x^2) + 1e-5)

Ruibin Xiong et al., "On Layer Normalization in the Transformer Architecture", ICML 2020: the norm comes before the
mixer and the MLP, and once more at the end.

The norm is that of Biao Zhang and Rico Sennrich, "Root Mean Square Layer Normalization", NeurIPS 2019. The convolution
and its SiLU stand before the mixer as in Albert Gu and Tri Dao, "Mamba: Linear-Time Sequence Modeling with Selective
State Spaces", arXiv:2312.00752, 2023; there they lie within the layer.
"""

from collections.abc import Callable
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from seqmodels.checks import check_whole
from seqmodels.layers.checks import check_dimensions, check_features, check_makes_layers, check_states, given_states
from seqmodels.layers.context import ContextLayer
from seqmodels.layers.convolution import causal_convolution

States = tuple[Tensor, ...]

EPSILON = 1e-5


class Blocks(nn.Module):
    """A stack of blocks with a fresh layer in each; called as `torch.nn.RNN` is.

    All blocks have one width, `hidden_size`: the number of features that the layer returns, or with two directions half
    of it. An output of another width is mapped back to it by a matrix.

    The state is a tuple: y first, (1, batch, hidden_size), then for each block the states of its layer and, with a
    convolution, `past`, the last kernel_size - 1 inputs of that, (1, batch, (kernel_size - 1) * hidden_size). With two
    directions y has two rows: the outputs of the last step, and of the first. The next steps do not depend on y.

    Args:
        layer: makes the mixer of a block when called with `input_size=`, such as `partial(nn.GRU, hidden_size=64)`.
            It has the calling contract of `torch.nn.RNN`; `batch_first` and `bidirectional` are those of the mixer.
        input_size: features of one input step.
        num_blocks: the number of blocks.
        expansion: hidden units of the MLP in each block, as a multiple of its width; None for no MLP.
        kernel_size: steps that the convolution in each block combines; None for no convolution.

    Raises:
        TypeError: a size is not a whole number, or the layer is not made or called as `torch.nn.RNN` is.
        ValueError: a size is too small, the layer is itself made of blocks, or its states are not 3D tensors.
    """

    def __init__(
        self,
        layer: Callable[..., nn.Module],
        input_size: int,
        num_blocks: int = 2,
        expansion: int | None = None,
        kernel_size: int | None = None,
    ) -> None:
        super().__init__()
        check_makes_layers(layer)
        check_whole("input_size", input_size, 1)
        check_whole("num_blocks", num_blocks, 1)
        if expansion is not None:
            check_whole("expansion", expansion, 1)
        if kernel_size is not None:
            check_whole("kernel_size", kernel_size, 2)
        # Layers name their sizes differently; a dry run shows how many features the layer returns.
        sample: Any = layer(input_size=input_size)
        if isinstance(sample, ContextLayer | Blocks):
            raise ValueError(f"{type(sample).__name__} is made of blocks already: use it with block=none")
        self.bidirectional = bool(getattr(sample, "bidirectional", False))
        self.batch_first = bool(getattr(sample, "batch_first", False))
        self.input_size = input_size
        self.hidden_size: int = dry_run(sample, input_size)[0].size(-1) // (2 if self.bidirectional else 1)
        self.widen = nn.Linear(input_size, self.hidden_size, **kind_of(sample))
        blocks = [
            Block(layer(input_size=self.hidden_size), self.hidden_size, expansion, kernel_size, self.batch_first)
            for _ in range(num_blocks)
        ]
        self.blocks = nn.ModuleList(blocks)
        self.norm = nn.RMSNorm(self.hidden_size, EPSILON, **kind_of(sample))
        states, self.state_shapes = ["y"], [(2 if self.bidirectional else 1, self.hidden_size)]
        for number, block in enumerate(blocks):
            states += [f"{name}_block{number}" for name in block.states]
            self.state_shapes += block.state_shapes
        self.states = tuple(states)

    def forward(self, input: Tensor | PackedSequence, hx: States | None = None) -> tuple[Any, States]:
        """Read whole sequences, or the next steps of sequences whose state so far is given.

        Args:
            input: (time, batch, input_size), or (batch, time, input_size) with `batch_first`, or
                (time, input_size) for a single sequence, or a PackedSequence if the layer accepts one.
            hx: the state that an earlier call returned.

        Returns:
            `output`, shaped like `input` with hidden_size features, and the state.

        Raises:
            TypeError, ValueError, RuntimeError: as `RecurrentLayer.forward`; also a TypeError if `input` is packed, and
                the layer returns a tensor.
        """
        packed = input if isinstance(input, PackedSequence) else None
        sequence: Any = input if packed is None else packed.data
        if packed is None:
            check_dimensions(input)
        single = packed is None and sequence.dim() == 2
        given = given_states(self, hx, dimensions=2 if single else 3)
        if single:
            sequence = sequence.unsqueeze(0 if self.batch_first else 1)
            given = given and tuple(part.unsqueeze(1) for part in given)
        check_features(self, sequence, self.widen.weight.dtype)
        if packed is None and sequence.size(1 if self.batch_first else 0) == 0:
            raise RuntimeError("expected a sequence of at least one step, got length 0")
        batch = sequence.size(0 if self.batch_first else 1) if packed is None else int(packed.batch_sizes[0])
        if given is not None:
            check_states(self, sequence, given, [(rows, batch, size) for rows, size in self.state_shapes])

        # Under autocast, which reduces the precision of matrix products, the sum of all blocks keeps its precision.
        hidden = self.widen(sequence).to(self.norm.weight.dtype)
        before, after = iter((given or ())[1:]), []
        block: Any
        for block in self.blocks:
            hidden, states = block(hidden, packed, tuple(islice(before, len(block.states))))
            after += states
        output = self.norm(hidden)
        state = (self._ends(output, packed), *after)
        if single:
            return output.squeeze(0 if self.batch_first else 1), tuple(part.squeeze(1) for part in state)
        return (output if packed is None else packed._replace(data=output)), state

    def _ends(self, output: Tensor, packed: PackedSequence | None) -> Tensor:
        """The output of each sequence's last step and, with two directions, of its first, as rows of a state."""
        if packed is None:
            steps = output.transpose(0, 1) if self.batch_first else output
            last = steps[-1]
        else:
            steps, lengths = pad_packed_sequence(packed._replace(data=output))
            last = steps[lengths - 1, torch.arange(len(lengths), device=lengths.device)]
        return torch.stack([last, steps[0]] if self.bidirectional else [last])

    def extra_repr(self) -> str:
        return f"{self.input_size}, {self.hidden_size}, batch_first={self.batch_first}"


class Block(nn.Module):
    """One block of `width` features around a mixer, whose states it returns together with its own."""

    def __init__(
        self, mixer: nn.Module, width: int, expansion: int | None, kernel_size: int | None, batch_first: bool
    ) -> None:
        super().__init__()
        self.batch_first = batch_first
        kind = kind_of(mixer)
        self.norm = nn.RMSNorm(width, EPSILON, **kind)
        # Its weights and their initialisation; `causal_convolution` computes it.
        self.convolution = None if kernel_size is None else nn.Conv1d(width, width, kernel_size, groups=width, **kind)
        self.mixer = mixer
        output, state = dry_run(mixer, width)
        wide = output.size(-1)
        self.map_back = nn.Identity() if wide == width else nn.Linear(wide, width, bias=False, **kind)
        self.mlp: nn.Module | None = None
        if expansion is not None:
            hidden = expansion * width
            self.mlp = nn.Sequential(
                nn.RMSNorm(width, EPSILON, **kind),
                nn.Linear(width, hidden, **kind),
                nn.GELU(),
                nn.Linear(hidden, width, **kind),
            )

        self.in_a_tuple = isinstance(state, tuple | list)
        parts = state if self.in_a_tuple else (state,)
        if not all(isinstance(part, Tensor) and part.dim() == 3 for part in parts):
            raise ValueError(f"the states of {type(mixer).__name__} should be 3D tensors, as those of torch.nn.RNN are")
        self.mixer_states = len(parts)
        names = getattr(mixer, "states", ("h", "c"))  # torch's layers do not name theirs
        self.states = tuple(names[: len(parts)]) if len(names) >= len(parts) else tuple(map(str, range(len(parts))))
        self.state_shapes = [(part.size(0), part.size(2)) for part in parts]
        if kernel_size is not None:
            self.states = (*self.states, "past")
            self.state_shapes.append((1, (kernel_size - 1) * width))

    def forward(self, hidden: Tensor, packed: PackedSequence | None, state: States) -> tuple[Tensor, States]:
        """The block's output and next state.

        Args:
            hidden: all steps of a batch, as the mixer expects them, or the data of the packed sequences `packed`.
            state: empty at the start of the sequences.
        """
        mixed = self.norm(hidden)
        pasts: States = ()
        if self.convolution is not None:
            mixed, past = self._convolved(mixed, packed, state[-1] if state else None)
            mixed, pasts = F.silu(mixed), (past,)
        mixed = mixed if packed is None else packed._replace(data=mixed)
        before = state[: self.mixer_states]
        mixed, after = self.mixer(mixed, *([before if self.in_a_tuple else before[0]] if state else []))
        if packed is not None:
            if not isinstance(mixed, PackedSequence):
                raise TypeError(f"input should be a Tensor for {type(self.mixer).__name__}, got a PackedSequence")
            mixed = mixed.data
        hidden = hidden + self.map_back(mixed)
        if self.mlp is not None:
            hidden = hidden + self.mlp(hidden)
        return hidden, (*(after if self.in_a_tuple else (after,)), *pasts)

    def _convolved(self, sequence: Tensor, packed: PackedSequence | None, past: Tensor | None) -> tuple[Tensor, Tensor]:
        """The convolution of a sequence, and the inputs that its continuation looks back at."""
        assert self.convolution is not None
        weight, bias = self.convolution.weight.squeeze(1), self.convolution.bias
        if packed is not None:
            sequence, lengths = pad_packed_sequence(packed._replace(data=sequence))
        elif self.batch_first:
            sequence = sequence.transpose(0, 1)
        rows = sequence.new_zeros(sequence.size(1), self.state_shapes[-1][1]) if past is None else past[0]
        output, last = causal_convolution(sequence, rows, weight, bias)
        if packed is None:
            return (output.transpose(0, 1) if self.batch_first else output), last.unsqueeze(0)
        # Each sequence has its own last step, and the steps before that are its past.
        reach = weight.size(1) - 1
        seen = torch.cat([rows.unflatten(-1, (reach, -1)).movedim(-2, 0), sequence])
        columns = torch.arange(len(lengths), device=lengths.device)
        last = seen[lengths + torch.arange(reach, device=lengths.device).unsqueeze(1), columns]
        order = columns if packed.sorted_indices is None else packed.sorted_indices.to(lengths.device)
        output = pack_padded_sequence(output[:, order], lengths[order]).data
        return output, last.movedim(0, -2).flatten(-2).unsqueeze(0)


def mixers_in(layer: Any) -> list[Any]:
    """The layers inside blocks, one for each; of any other layer, the layer itself."""
    return [block.mixer for block in layer.blocks] if isinstance(layer, Blocks) else [layer]


def kind_of(layer: nn.Module) -> dict[str, Any]:
    """The dtype and the device of a layer's weights, as arguments of a constructor; torch's own if it has none."""
    weights = (parameter for parameter in layer.parameters() if parameter.is_floating_point())
    weight = next(weights, torch.empty(()))
    return {"dtype": weight.dtype, "device": weight.device}


def dry_run(layer: nn.Module, features: int) -> tuple[Tensor, Any]:
    """The output and the state of a layer after one step of zeros.

    Raises:
        TypeError: it returns anything else.
    """
    with torch.no_grad():
        returned = layer.eval()(torch.zeros(1, 1, features, **kind_of(layer)))
    layer.train()
    if not isinstance(returned, tuple | list) or len(returned) != 2 or not isinstance(returned[0], Tensor):
        name = type(layer).__name__
        raise TypeError(f"layer should return an output and a state, as torch.nn.RNN does, which {name} does not")
    return returned[0], returned[1]
