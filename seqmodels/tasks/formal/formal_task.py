"""Base classes of the formal tasks: tokens in, classes out, accuracy; and answers of several symbols.

Many of the tasks are those of Grégoire Delétang et al., "Neural Networks and the Chomsky Hierarchy", ICLR 2023, section
4 and appendix A: a word is read, then its answer is written, one symbol for each empty token that follows the word.
"""

from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.tasks.drawn import DrawnTask
from seqmodels.tasks.task import IGNORED


class FormalTask(DrawnTask):
    """Base class of the formal tasks: symbols are tokens, answers are classes, and an accuracy of 0.99 is solved."""

    tokens = True
    metric_name = "accuracy"
    solved_at = 0.99


class Transduction(FormalTask):
    """Base class of tasks that answer a word by a word; a subclass defines `draw_words` and `answer`.

    Inputs (batch, length + answer length): the word, then the empty token, which is the last of the vocabulary, once
    for each position of the answer. Targets: ignored while the word is read, then the answer.
    """

    every_step = True

    @abstractmethod
    def draw_words(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        """`size` random words (batch, length)."""

    @abstractmethod
    def answer(self, words: Tensor) -> Tensor:
        """The exact answers (batch, answer length) to any words, `IGNORED` after their end."""

    def answer_length(self, length: int) -> int:
        """Positions of the answer to a word of this length."""
        return length

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        words = self.draw_words(size, length, generator)
        return F.pad(words, (0, self.answer_length(words.size(1))), value=self.input_size - 1)

    def solve(self, inputs: Tensor) -> Tensor:
        length = int((inputs[0] != self.input_size - 1).sum())
        return F.pad(self.answer(inputs[:, :length]), (length, 0), value=IGNORED)


def ended(answers: Tensor, lengths: Tensor, end: int) -> Tensor:
    """The first `lengths` (batch, 1) symbols of `answers` (batch, time), then the end token, then `IGNORED`."""
    places = torch.arange(answers.size(1))
    return torch.where(places < lengths, answers, torch.where(places == lengths, end, IGNORED))
