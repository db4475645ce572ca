"""Tasks with a given set of examples: images, texts, measured series."""

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor

from seqmodels.tasks.task import Split, Task


class FiniteTask(Task):
    """Base class of the tasks with a fixed number of examples; a subclass sets `data`, or defines
    `digest`, `examples` and `read`.

    A training batch is drawn with replacement, so it depends on its generator alone, and there are no epochs to count.
    Validation and test read their examples once, in order.
    """

    data: Mapping[Split, tuple[Tensor, ...]]
    """The inputs and targets of each split, examples first."""

    def digest(self) -> str:
        """The SHA-256 digest of all examples, by which a run that is resumed knows that they are still the same."""
        digest = hashlib.sha256()
        for tensor in (tensor for split in sorted(self.data) for tensor in self.data[split]):
            digest.update(f"{list(tensor.shape)} {tensor.dtype}".encode())
            digest.update(tensor.flatten().contiguous().view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    def examples(self, split: Split) -> int:
        return len(self.data[split][1])

    def batch(self, split: Split, index: int, size: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        return self.read(split, self.chosen(split, index, size, generator))

    def chosen(self, split: Split, index: int, size: int, generator: torch.Generator) -> Tensor:
        """The numbers of the examples in a batch."""
        count = self.examples(split)
        if split == "train":
            return torch.randint(0, count, (size,), generator=generator)
        return torch.arange(index * size, min((index + 1) * size, count))

    def read(self, split: Split, chosen: Tensor) -> tuple[Tensor, ...]:
        """The batch of the examples with these numbers."""
        inputs, targets = self.data[split]
        return inputs[chosen], targets[chosen]
