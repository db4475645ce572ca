"""Multi-query associative recall: pairs of keys and values, then the keys again, each to be answered by its value.

Simran Arora et al., "Zoology: Measuring and Improving Recall in Efficient Language Models", ICLR 2024, and the
generator in its code (without its option of random tokens in place of the blanks).
"""

from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor

from seqmodels.checks import check_whole
from seqmodels.tasks.drawn import DrawnTask
from seqmodels.tasks.lengths import LengthSettings
from seqmodels.tasks.task import IGNORED


class MQAR(DrawnTask):
    """Inputs (batch, length) of tokens: `pairs` times a key (1 to vocabulary / 2 - 1) and its value (vocabulary / 2 to
    `vocabulary` - 1), then each key once more, at places 2, 4, 6, ... steps after the pairs, among blanks (0). Targets:
    the value at each repeated key, nothing elsewhere.

    Within a sequence all keys are different, and so are all values. The places are drawn one after the other without
    replacement, the i-th place with a probability proportional to i^(power - 1): a small power favours early places, 1
    none. The values are uniform, so chance is 2 / `vocabulary`.

    Args:
        length: see `DrawnTask`; at least 4 * `pairs`.
        pairs: the number of keys with a value.
        vocabulary: the number of tokens, an even number.
        power: see above, greater than 0.

    Example:
        >>> task = MQAR(length=8, pairs=2, vocabulary=8)
        >>> task.solve(torch.tensor([[1, 6, 3, 5, 3, 0, 1, 0]]))
        tensor([[-100, -100, -100, -100,    5, -100,    6, -100]])
    """

    tokens = True
    every_step = True
    metric_name = "accuracy"
    solved_at = 0.99

    def __init__(
        self,
        length: int | Sequence[int],
        pairs: int = 8,
        vocabulary: int = 8192,
        power: float = 0.01,
        **lengths: Unpack[LengthSettings],
    ) -> None:
        check_whole("pairs", pairs, 1)
        check_whole("vocabulary", vocabulary, 2 * pairs + 2)  # a blank and at least as many keys as pairs
        if vocabulary % 2:
            raise ValueError(f"vocabulary should be even, half keys and half values, got {vocabulary}")
        if not power > 0:
            raise ValueError(f"power should be greater than 0, got {power}")
        self.pairs, self.power = pairs, power
        self.min_length = 4 * pairs
        super().__init__(length, **lengths)
        self.input_size = self.output_size = vocabulary

    def chance_at(self, length: int) -> float:
        return 2 / self.output_size

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        half, context = self.input_size // 2, 2 * self.pairs

        def distinct(choices: int) -> Tensor:
            """`pairs` of the numbers 0 to choices - 1, all different."""
            return torch.rand(size, choices, generator=generator).topk(self.pairs, dim=1).indices

        keys, values = 1 + distinct(half - 1), half + distinct(half)
        # The largest of log(uniform) / weight are a draw without replacement with these weights.
        places = torch.arange(1, 1 + (length - context + 1) // 2, dtype=torch.float64)
        uniform = torch.rand(size, len(places), generator=generator, dtype=torch.float64)
        chosen = (uniform.log() * places ** (1 - self.power)).topk(self.pairs, dim=1).indices
        inputs = torch.zeros(size, length, dtype=torch.long)
        inputs[:, 0:context:2] = keys
        inputs[:, 1:context:2] = values
        return inputs.scatter_(1, context + 2 * chosen, keys)

    def solve(self, inputs: Tensor) -> Tensor:
        context = 2 * self.pairs
        keys, values = inputs[:, 0:context:2], inputs[:, 1:context:2]
        asked = inputs[:, None, context:] == keys.unsqueeze(2)  # (batch, pair, step)
        answers = (asked * values.unsqueeze(2)).sum(dim=1)  # 0, which is not a value, where no key is asked for
        targets = torch.full_like(inputs, IGNORED)
        targets[:, context:] = torch.where(answers > 0, answers, IGNORED)
        return targets
