"""The answers of a model to any sequences, such that an answer does not depend on what else is asked."""

import copy
from collections.abc import Sequence

import torch
from torch import Tensor

from seqmodels.model import SequenceModel

ROWS = 128
"""The most sequences in a batch."""


def in_double(model: SequenceModel) -> SequenceModel:
    """A copy of the model that computes in double precision; the model itself if its layer cannot.

    Rounding depends on the shape of a matrix product, and on the place of a row in it. In double precision the
    difference is about 1e-15, and is gone when an answer is rounded to single precision: only one number in about ten
    million lies so close to the border between two that it shows.
    """
    double = copy.deepcopy(model).double()
    features = model.arguments["input_size"]
    try:
        with torch.inference_mode():
            double(torch.zeros(1, 1, int(features or 1)))
    except RuntimeError:  # a layer of a user's own may compute in single precision only
        return model
    return double


@torch.inference_mode()
def answers_to(model: SequenceModel, sequences: Sequence[Tensor]) -> list[Tensor]:
    """The answers to sequences (time, features): to each (output_size,), or with `every_step` (time, output_size).

    A batch has sequences of one length, so that nothing is padded. Answers are in single precision.
    """
    of_length: dict[int, list[int]] = {}
    for number, sequence in enumerate(sequences):
        of_length.setdefault(len(sequence), []).append(number)
    answers: dict[int, Tensor] = {}
    for numbers in of_length.values():
        for start in range(0, len(numbers), ROWS):
            chosen = numbers[start : start + ROWS]
            batch = torch.stack([sequences[number] for number in chosen])
            answers |= zip(chosen, model(batch).float(), strict=True)
    return [answers[number] for number in range(len(sequences))]
