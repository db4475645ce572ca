"""Handwritten digits read as sequences: the 1797 images of 8 x 8 pixels that come with scikit-learn.

E. Alpaydin and C. Kaynak, "Optical Recognition of Handwritten Digits", UCI Machine Learning Repository, 1998.
Read pixel by pixel in the manner of Quoc Le, Navdeep Jaitly and Geoffrey Hinton, arXiv:1504.00941, 2015.
"""

from typing import Literal

import torch

from seqmodels.checks import check_choice
from seqmodels.tasks.finite import FiniteTask
from seqmodels.tasks.task import Split

SPLITS: dict[Split, slice] = {"train": slice(0, 1197), "val": slice(1197, 1497), "test": slice(1497, 1797)}


class Digits(FiniteTask):
    """Inputs: the rows of an image (batch, 8, 8), or its pixels (batch, 64, 1), from 0 to 1; target: the digit.

    The images are shuffled once, the same way for every run, into 1197 for training, 300 for validation and 300 for
    the test. Chance is the accuracy of always answering the digit that is most frequent in training.

    Args:
        read: "rows" or "pixels".
    """

    output_size = 10
    metric_name = "accuracy"
    solved_at = 0.9

    def __init__(self, read: Literal["rows", "pixels"] = "rows") -> None:
        from sklearn.datasets import load_digits  # takes a second, which other tasks need not spend

        check_choice("read", read, ["rows", "pixels"])
        self.input_size = 8 if read == "rows" else 1
        digits = load_digits()
        order = torch.randperm(1797, generator=torch.Generator().manual_seed(0))
        images = torch.tensor(digits.images / 16, dtype=torch.float32).reshape(1797, -1, self.input_size)[order]
        labels = torch.tensor(digits.target)[order]
        self.data = {split: (images[part], labels[part]) for split, part in SPLITS.items()}
        most_frequent = self.data["train"][1].mode().values
        self.chance = (self.data["test"][1] == most_frequent).float().mean().item()
