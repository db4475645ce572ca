"""Next character: predict, at each character of a text, the one that follows."""

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.checks import check_whole
from seqmodels.tasks.finite import FiniteTask

UNKNOWN = "\ufffd"
"""How token 0 is printed: the replacement character."""
SOURCES = Path(__file__).parents[2]


class Text(FiniteTask):
    """Inputs (batch, length): characters as tokens; targets: at every step the next character.

    The first 80 % of the text are for training, the next 10 % for validation and the last 10 % for the test.
    The vocabulary is the characters of training, and one token (0) for any other character. Training reads windows
    from anywhere; validation and test read theirs one after the other.

    Chance is the cross-entropy (bits per character) of the training frequencies of single characters, the
    `bigram` baseline that of pairs of characters. Both count each possibility once in advance (Laplace's rule).
    The task counts as solved at the score of the bigrams: a lower one needs more than the last character.

    Args:
        path: a text file in UTF-8; this package's own source files if not given.
        length: the number of characters in a window.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not UTF-8 text, or too short.
    """

    tokens = True
    every_step = True
    predicts_next = True
    metric_name = "bits"

    def __init__(self, path: str | None = None, length: int = 100) -> None:
        check_whole("length", length, 1)
        text = read_sources() if path is None else read_text(path)
        parts = {"train": text[: len(text) * 8 // 10], "val": text[len(text) * 8 // 10 : len(text) * 9 // 10]}
        parts["test"] = text[len(text) * 9 // 10 :]
        if min(len(part) for part in parts.values()) < length + 1:
            raise ValueError(
                f"the text should have at least {10 * (length + 1)} characters for length={length} "
                f"(a tenth of it is for the test), got {len(text)} from {path or SOURCES}"
            )
        self.characters = sorted(set(parts["train"]))
        self.symbols = [UNKNOWN, *self.characters]
        ids = {character: number for number, character in enumerate(self.characters, start=1)}
        self.input_size = self.output_size = len(self.characters) + 1
        streams = {split: torch.tensor([ids.get(character, 0) for character in part]) for split, part in parts.items()}
        self.data = {}
        for split in ("train", "val", "test"):
            windows = streams[split].unfold(0, length + 1, 1 if split == "train" else length)
            self.data[split] = (windows[:, :-1], windows[:, 1:])

        counts = torch.ones(self.input_size, self.input_size)
        pairs = torch.stack([streams["train"][:-1], streams["train"][1:]])
        counts.index_put_((pairs[0], pairs[1]), torch.ones(pairs.size(1)), accumulate=True)
        inputs, targets = self.data["test"]
        singles = 1 + torch.bincount(streams["train"], minlength=self.input_size).float()
        self.chance = bits(singles.expand_as(counts), inputs, targets)
        self.solved_at = bits(counts, inputs, targets)

    @property
    def facts(self) -> dict[str, Any]:
        return {"characters": "".join(self.characters)}  # the first character is token 1

    @property
    def baselines(self) -> dict[str, float]:
        return {"bigram": self.solved_at}


def bits(counts: Tensor, inputs: Tensor, targets: Tensor) -> float:
    """Cross-entropy in bits of the targets under the frequencies counts[input, target]."""
    log_frequencies = counts.log()  # cross_entropy normalises the rows
    return F.cross_entropy(log_frequencies[inputs.flatten()], targets.flatten()).item() / math.log(2)


def read_text(path: str) -> str:
    """The text of a file in UTF-8."""
    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(f"path should be a text file, and there is none at {path}")
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"path should be a text file in UTF-8, and {path} is not: {error.reason}") from error


def read_sources() -> str:
    """The package's Python files, one after the other."""
    return "\n".join(file.read_text(encoding="utf-8") for file in sorted(SOURCES.rglob("*.py")))
