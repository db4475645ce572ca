"""Losses of answers that are numbers, by name. Each is a mean over all answers.

    mse       (y - a)^2
    mae       |y - a|
    huber     (y - a)^2 / 2 where |y - a| < 1, else |y - a| - 1/2
    quantile  max(q (y - a), (q - 1) (y - a)), the mean over the quantiles q, each of which has an answer a of its own

Peter J. Huber, "Robust Estimation of a Location Parameter", Annals of Mathematical Statistics 35, 1964.
Roger Koenker and Gilbert Bassett, "Regression Quantiles", Econometrica 46, 1978.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.checks import check_choice, check_probability

LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"mse": F.mse_loss, "mae": F.l1_loss, "huber": F.huber_loss}


def check_loss(loss: str, quantiles: Sequence[float]) -> None:
    """Refuse a loss that is not known, and quantiles without the median, whose answer is the one that is scored."""
    check_choice("loss", loss, [*LOSSES, "quantile"])
    for quantile in quantiles:
        check_probability("quantiles", quantile)
    if list(quantiles) != sorted({*quantiles, 0.5}) or {0, 1} & {*quantiles}:
        raise ValueError(f"quantiles should ascend between 0 and 1 and include the median, 0.5, got {list(quantiles)}")


def quantile_loss(outputs: Tensor, targets: Tensor, quantiles: Sequence[float]) -> Tensor:
    """Outputs (n, quantiles), targets (n,).

    >>> quantile_loss(torch.tensor([[0.0, 0.0]]), torch.tensor([2.0]), [0.1, 0.5])  # (0.1 * 2 + 0.5 * 2) / 2
    tensor(0.6000)
    """
    errors = targets.unsqueeze(-1) - outputs
    levels = outputs.new_tensor(quantiles)
    return torch.maximum(levels * errors, (levels - 1) * errors).mean()
