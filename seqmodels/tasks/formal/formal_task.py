"""What the formal tasks share: tokens in, classes out, accuracy; and how an answer of several symbols is asked for.

Many of them are those of Grégoire Delétang et al., "Neural Networks and the Chomsky Hierarchy", ICLR 2023, section 4
and appendix A: a word is read, then its answer is written, one symbol for each empty token that follows the word.
"""

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.tasks.drawn import DrawnTask
from seqmodels.tasks.task import IGNORED


class FormalTask(DrawnTask):
    """Base class of the formal tasks: symbols are tokens, answers are classes, and 99 % of them make it solved."""

    tokens = True
    metric_name = "accuracy"
    solved_at = 0.99


class Transduction(FormalTask):
    """Base class of tasks that answer a word by a word; a subclass gives `draw_words` and `answer`.

    Inputs (batch, length + answer length): the word, then the empty token, which is the last of the vocabulary, once
    for each position of the answer. Targets: ignored while the word is read, then the answer.
    """

    every_step = True

    @abstractmethod
    def draw_words(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        """`size` random words (batch, length)."""

    @abstractmethod
    def answer(self, words: Tensor) -> Tensor:
        """The exact answers (batch, answer length) to any words, `IGNORED` where one is over."""

    def answer_length(self, length: int) -> int:
        """Positions of the answer to a word of this length."""
        return length

    def draw(self, size: int, length: int, generator: torch.Generator) -> Tensor:
        words = self.draw_words(size, length, generator)
        return F.pad(words, (0, self.answer_length(words.size(1))), value=self.input_size - 1)

    def solve(self, inputs: Tensor) -> Tensor:
        length = inputs.numpy()[0].tolist().index(self.input_size - 1)
        return F.pad(self.answer(inputs[:, :length].contiguous()), (length, 0), value=IGNORED)


def ended(answers: np.ndarray, lengths: np.ndarray, end: int) -> Tensor:
    """`answers` (batch, time), changed to end after the first `lengths` (batch,) symbols; none after that is scored."""
    answers[np.arange(len(answers)), lengths] = end
    np.copyto(answers, IGNORED, where=np.arange(answers.shape[1]) > lengths[:, None])
    return torch.from_numpy(answers)
