"""The answers of a model to any sequences, such that an answer does not depend on what else is asked."""

from collections.abc import Sequence

import torch
from torch import Tensor

from seqmodels.layers.context import ContextLayer
from seqmodels.model import SequenceModel

ROWS = 32
"""Sequences in a batch. Rounding depends on the shape of a matrix product, so a smaller batch is filled up."""


@torch.inference_mode()
def answers_to(model: SequenceModel, sequences: Sequence[Tensor]) -> list[Tensor]:
    """The answers to sequences (time, features): to each (output_size,), or with `every_step` (time, output_size).

    A batch has sequences of one length, and a fixed number of rows. So an answer has the same bits in any company,
    except perhaps for layers of a user's own. Attention computes a row in a way that depends on its place in the batch;
    layers that look back at their inputs are given one sequence at a time.
    """
    rows = 1 if isinstance(model.layer, ContextLayer) else ROWS
    of_length: dict[int, list[int]] = {}
    for number, sequence in enumerate(sequences):
        of_length.setdefault(len(sequence), []).append(number)
    answers: dict[int, Tensor] = {}
    for numbers in of_length.values():
        for start in range(0, len(numbers), rows):
            chosen = numbers[start : start + rows]
            batch = torch.stack([sequences[number] for number in chosen + chosen[:1] * (rows - len(chosen))])
            answers |= zip(chosen, model(batch), strict=False)
    return [answers[number] for number in range(len(sequences))]
