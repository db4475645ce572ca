"""Tasks with a given set of examples: images, texts, measured series."""

import torch
from torch import Tensor

from seqmodels.tasks.task import Split, Task


class FiniteTask(Task):
    """Base class of the tasks with a fixed number of examples; a subclass sets `data`.

    A training batch is drawn with replacement, so it depends on its generator alone, and there are no epochs to count.
    Validation and test read their examples once, in order.
    """

    data: dict[Split, tuple[Tensor, Tensor]]
    """The inputs and targets of each split, examples first."""

    def examples(self, split: Split) -> int:
        return len(self.data[split][1])

    def batch(self, split: Split, index: int, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        inputs, targets = self.data[split]
        if split == "train":
            chosen = torch.randint(0, len(targets), (size,), generator=generator)
        else:
            chosen = torch.arange(index * size, min((index + 1) * size, len(targets)))
        return inputs[chosen], targets[chosen]
