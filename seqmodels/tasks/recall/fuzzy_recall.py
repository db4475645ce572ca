"""Fuzzy recall: in-context recall where keys and values are not single tokens but motifs of up to a few.

Michael Poli et al., "Mechanistic Design and Scaling of Hybrid Architectures", ICML 2024 (MAD), in its multi-query form;
there keys have full length in the test, here the test is drawn as training is.
"""

import itertools
from collections.abc import Sequence
from typing import Unpack

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.tasks.drawn import DrawnTask, Lengths
from seqmodels.tasks.task import IGNORED, check_whole

BLANK = -1
MOTIFS = 2**16
"""About as many may be listed, for time and memory."""


class FuzzyRecall(DrawnTask):
    """Inputs (batch, length) of tokens: key, value, key, value, ..., and a key at the end. A key is a motif of 1 to
    `motif` different key tokens (0 to `keys` - 1), a value such a motif of value tokens (`keys` to `keys` + `values` -
    1); a key has the same value throughout a sequence. Blanks (`keys` + `values`) fill up the start. Targets: after a
    key that was there before each token of its value, one step ahead; of the last key, the value's first token.

    Sizes of motifs are drawn uniformly, and so are motifs of a size; then as many pairs are kept as fit, which favours
    short ones a little. The key at the end is that of a pair drawn uniformly. All values of a size are equally likely,
    so that a guess is right once in `values` times.

    Args:
        length: see `DrawnTask`, and there for `lengths`; at least 3 * `motif`.
        keys, values: how many tokens there are for each.
        motif: how many tokens a motif has at most. All motifs are listed, so (keys + 1)^motif and (values + 1)^motif
            are 65,536 at most.

    Example:
        Key 0 1 has the value 5 3, key 1 the value 4.

        >>> task = FuzzyRecall(length=11, keys=3, values=3, motif=2)
        >>> task.solve(torch.tensor([[6, 0, 1, 5, 3, 1, 4, 0, 1, 5, 3]]))
        tensor([[-100, -100, -100, -100, -100, -100, -100, -100,    5,    3, -100]])
        >>> task.solve(torch.tensor([[6, 6, 6, 6, 0, 1, 5, 3, 1, 4, 1]]))[0, -1]
        tensor(4)
    """

    tokens = True
    every_step = True
    answers_follow = True
    metric_name = "accuracy"
    solved_at = 0.99

    def __init__(
        self,
        length: int | Sequence[int],
        keys: int = 7,
        values: int = 8,
        motif: int = 3,
        **lengths: Unpack[Lengths],
    ) -> None:
        check_whole("motif", motif, 1)
        check_whole("keys", keys, max(motif, 2))
        check_whole("values", values, max(motif, 2))
        for name, count in {"keys": keys, "values": values}.items():
            if (count + 1) ** motif > MOTIFS:
                raise ValueError(f"({name} + 1)^motif should be at most {MOTIFS}, got ({count} + 1)^{motif}")
        self.keys, self.values, self.motif = keys, values, motif
        self.min_length = 3 * motif
        super().__init__(length, **lengths)
        self.input_size = keys + values + 1
        self.output_size = keys + values
        key_motifs, self.key_lots = motifs(range(keys), motif)
        value_motifs, value_lots = motifs(range(keys, keys + values), motif)
        self.motifs = torch.cat([key_motifs, value_motifs])
        self.value_lots = len(key_motifs) + value_lots
        self.sizes = (self.motifs != BLANK).sum(dim=1)

    def chance_at(self, length: int) -> float:
        return 1 / self.values

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        def some(lots: Tensor) -> Tensor:
            """(size, length // 2) numbers of motifs, uniform over sizes and then over the motifs of a size."""
            return lots.take(torch.randint(0, len(lots), (size, length // 2), generator=generator))

        # More pairs than may fit, from the right. Of all the values drawn for a key one holds, and which one depends on
        # the keys alone.
        keys, values = some(self.key_lots), some(self.value_lots)
        value_of = torch.empty(size, len(self.motifs), dtype=torch.long).scatter_(1, keys, values)
        row = torch.stack([value_of.gather(1, keys), keys], dim=2).flatten(1)
        ends = self.sizes.take(row).cumsum(dim=1)

        # Room for the key at the end, then as many whole pairs as fit.
        count = (ends[:, 1::2] <= length - self.motif).sum(dim=1, keepdim=True)
        asked = keys.gather(1, (torch.rand(size, 1, generator=generator) * count).long())
        row = torch.cat([asked, row], dim=1)
        ends = F.pad(ends, (1, 0)) + self.sizes.take(asked)

        # A step, from the right as well, belongs to the motif before which as many have ended as before the step.
        steps = torch.arange(length)
        ended = torch.zeros(size, length + 1, dtype=torch.long).scatter_(1, ends.clamp(max=length), 1)
        number = ended.cumsum(dim=1)[:, :length]
        place = ends.gather(1, number) - 1 - steps
        tokens = self.motifs.take(row.gather(1, number) * self.motif + place)
        return tokens.masked_fill_(steps >= ends.gather(1, 2 * count), self.input_size - 1).flip(1)

    def solve(self, inputs: Tensor) -> Tensor:
        size, length = inputs.shape
        steps = torch.arange(length)
        padded = F.pad(inputs, (0, 1), value=self.keys + self.values)
        is_key = padded < self.keys
        is_value = ~is_key & (padded < self.keys + self.values)

        # A number for the key that ends at a step: its tokens, plus one, as digits.
        base = self.keys + 1
        digits, shift = (padded + 1) * is_key, base * is_key
        number = digits
        for _ in range(self.motif - 1):
            number = torch.addcmul(digits, shift, F.pad(number[:, :-1], (1, 0)))
        ends = is_key[:, :-1] & ~is_key[:, 1:]
        number = number[:, :-1] * ends

        first = torch.full((size, base**self.motif), length)
        first.scatter_reduce_(1, number, steps.expand_as(number), "amin")
        first = first.gather(1, number)  # where each step's key first ended
        asked = ends & (first < steps)
        targets = torch.where(asked, padded.gather(1, first + 1), IGNORED)
        # Then the rest of the value, as long as there is more of it.
        continues = is_value[:, :-1] & is_value[:, 1:]
        for _ in range(self.motif - 1):
            asked = F.pad(asked[:, :-1], (1, 0)) & continues
            targets = torch.where(asked, padded[:, 1:], targets)
        return targets


def motifs(tokens: Sequence[int], longest: int) -> tuple[Tensor, Tensor]:
    """All motifs of 1 to `longest` different tokens, filled up with BLANK, by size.

    And their numbers, each so many times that all sizes are equally frequent: of size s there are (n - s + 1) times as
    many motifs as of the size before, for n tokens.
    """
    found = [list(itertools.permutations(tokens, size)) for size in range(1, longest + 1)]
    rows = [[*motif, *[BLANK] * (longest - len(motif))] for group in found for motif in group]
    times = [len(found[-1]) // len(group) for group in found for _ in group]
    return torch.tensor(rows), torch.arange(len(rows)).repeat_interleave(torch.tensor(times))
