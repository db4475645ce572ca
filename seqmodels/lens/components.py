"""The directions in which hidden states differ most."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Components:
    """The states of sequences in the plane of their first two principal components."""

    places: Tensor
    """(batch, time, 2), centred on the mean of all states."""
    shares: tuple[float, float]
    """The shares of the variance along both."""


def components_of(states: Tensor) -> Components:
    """The first two principal components of states (batch, time, units), over all steps of all sequences.

    They are computed in double precision. The sign of each is such that its largest coefficient is positive; a
    component along which nothing varies is 0.
    """
    flat = states.detach().flatten(0, 1).double()
    centred = flat - flat.mean(dim=0)
    _, sizes, directions = torch.linalg.svd(centred, full_matrices=False)
    plane = torch.zeros(2, flat.size(1), dtype=torch.float64)
    plane[: len(directions[:2])] = directions[:2]
    largest = plane.gather(1, plane.abs().argmax(dim=1, keepdim=True))
    plane = plane * torch.where(largest < 0, -1.0, 1.0)
    variances = torch.zeros(2, dtype=torch.float64)
    variances[: len(sizes[:2])] = sizes[:2] ** 2
    shares = variances / (sizes**2).sum().clamp(min=torch.finfo(torch.float64).tiny)
    return Components((centred @ plane.T).view(*states.shape[:2], 2), (shares[0].item(), shares[1].item()))
