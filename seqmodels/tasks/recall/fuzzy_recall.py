"""Fuzzy recall: in-context recall where keys and values are motifs of a few tokens rather than single tokens.

Michael Poli et al., "Mechanistic Design and Scaling of Hybrid Architectures", ICML 2024 (MAD), in its multi-query form.
There keys have full length in the test; here the test is drawn as training is.
"""

import itertools
from collections.abc import Sequence
from typing import Unpack

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.checks import check_whole
from seqmodels.tasks.drawn import DrawnTask
from seqmodels.tasks.lengths import LengthSettings
from seqmodels.tasks.task import IGNORED

MOTIFS = 2**16
"""About the most motifs that may be listed, to limit time and memory."""


class FuzzyRecall(DrawnTask):
    """Inputs (batch, length) of tokens: key, value, key, value, ..., and a key at the end. A key is a motif of 1 to
    `motif` different key tokens (0 to `keys` - 1), a value is one of 1 to `motif` different value tokens (`keys` to
    `keys` + `values` - 1); a key has the same value throughout a sequence. Blanks (`keys` + `values`) fill up the
    start. Targets: after a key that has occurred before, each token of its value, one step ahead; of the last key, the
    value's first token.

    Sizes of motifs are drawn uniformly, and so are motifs of a size; then as many pairs are kept as fit, which slightly
    favours short ones. The key at the end is that of a pair drawn uniformly. All values of a size are equally likely,
    so chance is 1 / `values`.

    Args:
        length: see `DrawnTask`; at least 3 * `motif`.
        keys, values: the number of tokens for each.
        motif: the most tokens that a motif has. All motifs are listed, so (keys + 1)^motif and (values + 1)^motif are
            65,536 at most.

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
    predicts_next = True
    metric_name = "accuracy"
    solved_at = 0.99

    def __init__(
        self,
        length: int | Sequence[int],
        keys: int = 7,
        values: int = 8,
        motif: int = 3,
        **lengths: Unpack[LengthSettings],
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
        self.key_motifs = motifs(range(keys), motif)
        self.value_motifs = motifs(range(keys, keys + values), motif)

    def chance_at(self, length: int) -> float:
        return 1 / self.values

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        blank = self.input_size - 1
        # More pairs than can fit, and the relative place, among those that do, of the pair to ask for.
        keys = torch.randint(0, len(self.key_motifs), (size, length // 2), generator=generator).tolist()
        values = torch.randint(0, len(self.value_motifs), (size, length // 2), generator=generator).tolist()
        places = torch.rand(size, generator=generator).tolist()
        rows = []
        for key_numbers, value_numbers, place in zip(keys, values, places, strict=True):
            value_of: dict[tuple[int, ...], tuple[int, ...]] = {}
            row: list[int] = []
            kept = []
            for key_number, value_number in zip(key_numbers, value_numbers, strict=True):
                key = self.key_motifs[key_number]
                value = value_of.setdefault(key, self.value_motifs[value_number])
                if len(row) + len(key) + len(value) > length - self.motif:  # leaves room for the key at the end
                    break
                row += key + value
                kept.append(key)
            asked = kept[int(place * len(kept))]
            rows.append([blank] * (length - len(row) - len(asked)) + row + list(asked))
        return torch.from_numpy(np.array(rows))  # faster than torch.tensor

    def solve(self, inputs: Tensor) -> Tensor:
        size, length = inputs.shape
        blank = self.input_size - 1
        steps = torch.arange(length)
        padded = F.pad(inputs, (0, 1), value=blank)
        is_key = padded < self.keys
        is_value = ~is_key & (padded < blank)

        # Each key gets a number at its last step: its tokens, plus one, are the digits.
        base = self.keys + 1
        digits = (padded + 1) * is_key
        number = digits
        for _ in range(self.motif - 1):
            number = digits + base * is_key * F.pad(number[:, :-1], (1, 0))
        ends = is_key[:, :-1] & ~is_key[:, 1:]
        number = number[:, :-1] * ends

        first = torch.full((size, base**self.motif), length)
        first.scatter_reduce_(1, number, steps.expand_as(number), "amin")
        first = first.gather(1, number)  # where each step's key first ended
        asked = ends & (first < steps)
        targets = torch.where(asked, padded.gather(1, first + 1), IGNORED)
        # The following tokens of the value are the next inputs, as long as these continue the value.
        continues = is_value[:, :-1] & is_value[:, 1:]
        for _ in range(self.motif - 1):
            asked = F.pad(asked[:, :-1], (1, 0)) & continues
            targets = torch.where(asked, padded[:, 1:], targets)
        return targets


def motifs(tokens: Sequence[int], longest: int) -> list[tuple[int, ...]]:
    """All motifs of 1 to `longest` different tokens, each repeated so that all sizes are equally frequent.

    Of size s there are (n - s + 1) times as many motifs as of the size before, for n tokens.
    """
    found = [list(itertools.permutations(tokens, size)) for size in range(1, longest + 1)]
    return [motif for group in found for motif in group for _ in range(len(found[-1]) // len(group))]
