"""In-context recall: keys have values that hold for one sequence only; recall the value when a key comes again.

Michael Poli et al., "Mechanistic Design and Scaling of Hybrid Architectures", ICML 2024 (MAD), in its multi-query form.
With noise it is the paper's noisy recall.
"""

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from seqmodels.checks import check_whole
from seqmodels.tasks.drawn import DrawnTask
from seqmodels.tasks.lengths import LengthSettings
from seqmodels.tasks.task import IGNORED


class InContextRecall(DrawnTask):
    """Inputs (batch, length or length - 1) of tokens: key, value, key, value, ..., and a key at the end. Keys (0 to
    vocabulary / 2 - 1) are uniform and repeat, within a sequence always with the same value (vocabulary / 2 to
    `vocabulary` - 1). Targets: the value at each key that has occurred before, nothing elsewhere.

    Each pair is replaced with probability `noise` by two noise tokens (`vocabulary` to `vocabulary` +
    `noise_vocabulary` - 1), except one pair, drawn uniformly, whose key is the one at the end. Values are uniform, so
    chance is 2 / `vocabulary`.

    Args:
        length: see `DrawnTask`; at least 3, and rounded down to an odd number.
        vocabulary: the number of keys and values together, an even number.
        noise: the share of pairs that are noise.
        noise_vocabulary: the number of noise tokens.

    Example:
        >>> task = InContextRecall(length=9, vocabulary=8)
        >>> task.solve(torch.tensor([[2, 7, 0, 4, 2, 7, 1, 4, 0]]))
        tensor([[-100, -100, -100, -100,    7, -100, -100, -100,    4]])
    """

    tokens = True
    every_step = True
    predicts_next = True
    metric_name = "accuracy"
    solved_at = 0.99
    min_length = 3

    def __init__(
        self,
        length: int | Sequence[int],
        vocabulary: int = 16,
        noise: float = 0.0,
        noise_vocabulary: int = 0,
        **lengths: Unpack[LengthSettings],
    ) -> None:
        super().__init__(length, **lengths)
        check_whole("vocabulary", vocabulary, 4)
        if vocabulary % 2:
            raise ValueError(f"vocabulary should be even, half keys and half values, got {vocabulary}")
        if not 0 <= noise < 1:
            raise ValueError(f"noise should be a share from 0 to less than 1, got {noise}")
        check_whole("noise_vocabulary", noise_vocabulary, 1 if noise > 0 else 0)
        self.vocabulary, self.noise, self.noise_vocabulary = vocabulary, noise, noise_vocabulary
        self.keys = vocabulary // 2
        self.input_size = vocabulary + noise_vocabulary
        self.output_size = vocabulary

    def chance_at(self, length: int) -> float:
        return 1 / self.keys

    def fitting(self, length: int) -> int:
        return length - 1 + length % 2

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        pairs = (length - 1) // 2
        value_of = torch.randint(self.keys, self.vocabulary, (size, self.keys), generator=generator)
        keys = torch.randint(0, self.keys, (size, pairs), generator=generator)
        inputs = torch.stack([keys, value_of.gather(1, keys)], dim=2)
        kept = torch.randint(0, pairs, (size, 1), generator=generator)
        if self.noise > 0:
            noisy = torch.rand(size, pairs, generator=generator).scatter_(1, kept, 1.0) < self.noise
            noise = torch.randint(self.vocabulary, self.input_size, inputs.shape, generator=generator)
            inputs = torch.where(noisy.unsqueeze(2), noise, inputs)
        return torch.cat([inputs.flatten(1), keys.gather(1, kept)], dim=1)

    def solve(self, inputs: Tensor) -> Tensor:
        size, length = inputs.shape
        steps = torch.arange(length)
        # The last column is for tokens that are not keys.
        keys = torch.where(inputs < self.keys, inputs, self.keys)
        first = torch.full((size, self.keys + 1), length)
        first.scatter_reduce_(1, keys, steps.expand_as(keys), "amin")
        first = first.gather(1, keys)  # where each step's key first occurred
        values = inputs.gather(1, (first + 1).clamp(max=length - 1))
        return torch.where((inputs < self.keys) & (first < steps), values, IGNORED)
