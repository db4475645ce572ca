"""In-context recall: keys come with values that hold for this sequence only; say the value when a key comes again.

Michael Poli et al., "Mechanistic Design and Scaling of Hybrid Architectures", ICML 2024 (MAD), in its multi-query form.
With noise it is the paper's noisy recall.
"""

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from seqmodels.tasks.drawn import DrawnTask, Lengths
from seqmodels.tasks.task import IGNORED, check_whole


class InContextRecall(DrawnTask):
    """Inputs (batch, length or length - 1) of tokens: key, value, key, value, ..., and a key at the end. Keys (0 to
    vocabulary / 2 - 1) are uniform and come again and again, within a sequence always with the same value (vocabulary /
    2 to `vocabulary` - 1). Targets: at each key that was there before its value, nothing elsewhere.

    A pair is replaced with probability `noise` by two of the `noise_vocabulary` tokens from `vocabulary` on. One pair,
    which is drawn uniformly, never is, and its key is the one at the end. Values are uniform, so that a guess is right
    twice in `vocabulary` times.

    Args:
        length: see `DrawnTask`, and there for `lengths`; at least 3, and rounded down to an odd number.
        vocabulary: how many keys and values there are together, an even number.
        noise: the share of pairs that are noise.
        noise_vocabulary: how many tokens there are that noise is made of.

    Example:
        >>> task = InContextRecall(length=9, vocabulary=8)
        >>> task.solve(torch.tensor([[2, 7, 0, 4, 2, 7, 1, 4, 0]]))
        tensor([[-100, -100, -100, -100,    7, -100, -100, -100,    4]])
    """

    tokens = True
    every_step = True
    answers_follow = True
    metric_name = "accuracy"
    solved_at = 0.99
    min_length = 3

    def __init__(
        self,
        length: int | Sequence[int],
        vocabulary: int = 16,
        noise: float = 0.0,
        noise_vocabulary: int = 0,
        **lengths: Unpack[Lengths],
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
        # One column more than there are keys takes what is no key.
        keys = torch.where(inputs < self.keys, inputs, self.keys)
        first = torch.full((size, self.keys + 1), length)
        first.scatter_reduce_(1, keys, steps.expand_as(keys), "amin")
        first = first.gather(1, keys)  # where each step's key first came
        values = inputs.gather(1, (first + 1).clamp(max=length - 1))
        return torch.where((inputs < self.keys) & (first < steps), values, IGNORED)
