"""Where the arguments of a pass lie. It depends on their sizes alone, and is computed once for them."""

from collections.abc import Iterable, Sequence

import numpy as np
from torch import Tensor

from seqmodels.layers.compiled.codegen import Source

ALIGNMENT = 16
"""Numbers between which buffers start that share a tensor."""


class Layout:
    """The buffers of a pass, most of which share one tensor of `numbers` numbers.

    Args:
        source: that of the pass.
        item: the bytes of a number.
        sizes: the first sizes that the pass takes.
        slots: the steps that each state has room for.
        shared: the name, the steps and the numbers of a step of each buffer in the shared tensor.
        own: the tensor, and the bytes from one step to the next, of each other buffer. A tensor is given by its place
            among those that `run` gets, in which the shared one is the first.
        others: the places of the tensors that follow the buffers among the addresses.
        within: the place of a tensor that another pass has filled, and the layout of that.
    """

    def __init__(
        self, source: Source, item: int, sizes: Sequence[int], slots: Sequence[int],
        shared: Iterable[tuple[str, int, int]], own: dict[str, tuple[int, int]], others: Iterable[int],
        within: "tuple[int, Layout] | None" = None,
    ) -> None:  # fmt: skip
        self.source = source
        self.starts: dict[str, int] = {}
        self.strides = {name: stride for name, (_, stride) in own.items()}
        self.numbers = 0
        for name, steps, numbers in shared:
            self.starts[name] = self.numbers
            self.numbers += -(-steps * numbers // ALIGNMENT) * ALIGNMENT
            self.strides[name] = numbers * item if steps > 1 else 0
        places = {name: (0, start * item, self.strides[name]) for name, start in self.starts.items()}
        places |= {name: (tensor, 0, stride) for name, (tensor, stride) in own.items()}
        if within is not None:
            tensor, other = within
            places = {
                name: (tensor, start * item, other.strides[name]) for name, start in other.starts.items()
            } | places
        owners, offsets, strides = zip(*(places[name] for name in source.buffers), strict=True)
        self.owners = np.array([*owners, *others], np.int64)
        self.offsets = np.array([*offsets, *(0 for _ in self.owners[len(offsets) :])], np.int64)
        states = (slots[at] for at in source.states)
        self.sizes = np.array([*sizes, *strides, *states, *source.numbers], np.int64)

    def run(self, tensors: Iterable[Tensor | None]) -> None:
        """Run the pass. None stands for a tensor that is not given, or not wanted."""
        starts = np.array([0 if part is None else part.data_ptr() for part in tensors], np.int64)
        self.source.run(starts, self.owners, self.offsets, self.sizes)
