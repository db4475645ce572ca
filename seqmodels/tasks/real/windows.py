"""Windows of rows: the inputs of a forecast, and the values that follow them."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Windows:
    """Windows that are cut from rows when they are read: each row is in many of them."""

    window: int
    horizon: int
    difference: bool
    features: Tensor
    """(rows, features): what is known of a row when it has been measured."""
    ahead: Tensor
    """(rows, features): what is known of a row in advance. A window shows it `horizon` rows ahead."""
    answers: Tensor
    """(rows, targets)"""
    missing: Tensor | None
    """(rows, targets): which targets are not scored; None if all are."""

    def inputs(self, firsts: Tensor) -> Tensor:
        """The inputs (windows, window, features) of the windows with these first rows."""
        rows = firsts.unsqueeze(1) + torch.arange(self.window)
        if not self.ahead.size(1):
            return self.features[rows]
        return torch.cat([self.features[rows], self.ahead[rows + self.horizon]], dim=2)

    def targets(self, firsts: Tensor) -> Tensor:
        """Their targets (windows, horizon * targets): all of the first step ahead, then all of the second, ..."""
        rows = firsts.unsqueeze(1) + self.window + torch.arange(self.horizon)
        answers = self.answers[rows]
        if self.difference:  # the changes of single steps add up to that from the last value seen
            answers = answers.cumsum(1)
        if self.missing is not None:
            answers = answers.masked_fill(self.missing[rows], torch.nan)
        return answers.flatten(1)
