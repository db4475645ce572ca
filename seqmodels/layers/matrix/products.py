"""Products of queries and keys within a chunk, each times the decay between the two steps.

    P_tj = sum_i x_ti D_tji y_ji     for j <= t, where D_tj is the product of the decays w_{j+1} .. w_t

Where all rows of the state have the same decay, these are the products x y^T times a number for each pair of steps.
Otherwise a pair of steps has as many decays as the state has rows. To form them all would take much memory, so a chunk
is halved again and again: what leads from the first half into the second passes its middle, and is one product of
matrices, x times the decay since the middle, and y times the decay until the middle.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.layers.fallback import gradients_by_autograd, is_plain, operations_are_observed


def decayed_products(
    xs: tuple[Tensor, ...], ys: tuple[Tensor, ...], logs: Tensor
) -> tuple[tuple[Tensor, ...], Tensor, Tensor]:
    """For each x and each y the sums P_tj for j <= t, and 0 for j > t; then G_t = D_t0, and D_Cj up to the last step C.

    x, y, G and D are (..., length, K), the sums (..., length, length), and logs, the logarithms of the decays,
    (..., length, K or 1).
    """
    if logs.size(-1) == 1:
        one = torch.ones_like(logs).unsqueeze(-2)
        factors, from_start, to_end = _products(one, one, logs)
        return tuple(x @ y.mT * factors for x in xs for y in ys), from_start, to_end
    x, y = torch.stack(xs, dim=-2), torch.stack(ys, dim=-2)
    pairs, from_start, to_end = _products(x, y, logs)
    pairs = pairs.unflatten(-1, (-1, len(ys))).unflatten(-3, (-1, len(xs)))
    return tuple(pair.contiguous() for row in pairs.unbind(-3) for pair in row.unbind(-1)), from_start, to_end


def _products(x: Tensor, y: Tensor, logs: Tensor) -> tuple[Tensor, ...]:
    """The sums for x and y (..., length, features, K), G_t and D_Cj.

    The sums are in one matrix: its rows are the features of x at the first step, then those at the second, and so on.
    """
    given = (x, y, logs)
    return _Products.apply(*given) if is_plain(given, (torch.float32, torch.float64)) else _halved(*given)[1]


class _Products(torch.autograd.Function):
    """These products with a backward pass of their own, which does not go back through each decay.

    The gradient of the logarithm of w_t is the sum of what leads from steps before t to t and later ones, times its
    gradient. Each sum has such terms only: with a strong decay they are small, and would be lost in larger ones.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, logs: Tensor) -> tuple[Tensor, ...]:
        levels, products = _halved(x, y, logs)
        ctx.save_for_backward(x, y, logs, *products[1:], *(part for level in levels for part in level))
        return products

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, y, logs, from_start, to_end, *parts = ctx.saved_tensors
        if torch.is_grad_enabled() or operations_are_observed(*gradients):
            return tuple(gradients_by_autograd(lambda *given: _halved(*given)[1], (x, y, logs), gradients))
        d_pairs, d_start, d_end = gradients
        squares = _squares(d_pairs, x.size(-3)).contiguous()
        dx, dy = squares @ y, squares.mT @ x
        d_logs = _until(from_start * d_start) + _since(to_end * d_end)
        for after, before, x_after, y_before in zip(*(parts[place::4] for place in range(4)), strict=True):
            count = after.size(-4)
            corners = _corners(d_pairs, count).contiguous()
            (_, dx_after), (dy_before, _) = _halves(dx, count), _halves(dy, count)
            d_after = (corners @ y_before.flatten(-3, -2)).view_as(x_after)
            d_before = (corners.mT @ x_after.flatten(-3, -2)).view_as(y_before)
            d_first, d_second = d_logs.unflatten(-2, (count, 2, -1)).unbind(-3)
            d_first += _since((d_before * y_before).sum(-2))
            d_second += _until((d_after * x_after).sum(-2))
            dx_after.addcmul_(d_after, after)
            dy_before.addcmul_(d_before, before)
        return dx, dy, d_logs


def _until(terms: Tensor) -> Tensor:
    """For each step, the sum of its term and of those of later steps, (..., steps, K)."""
    return terms.new_ones(terms.size(-2), terms.size(-2)).triu() @ terms


def _since(terms: Tensor) -> Tensor:
    """For each step, the sum of the terms of earlier steps."""
    return terms.new_ones(terms.size(-2), terms.size(-2)).tril(-1) @ terms


def _halved(x: Tensor, y: Tensor, logs: Tensor) -> tuple[list[tuple[Tensor, ...]], tuple[Tensor, ...]]:
    """Both halves of a chunk, and what leads from the first into the second one, by way of its middle; the same in
    each half, and so on down to single steps, which come first here.

    A product of decays is at most 1, so nothing overflows, as it would where y is divided by the decays up to it. No
    product comes from a quotient, which would not be a number where a decay is 0.

    Returns:
        For parts of 2 steps, of 4, and so on: the decays from the middle to each step after it, those from each step
        before it to the middle, and x and y times these, (..., parts, steps, features, K). Then what `_products`
        returns.
    """
    length = x.size(-3)
    pairs = x @ y.mT  # (..., parts, rows, columns)
    from_start = logs.exp().unsqueeze(-2)
    to_end = torch.ones_like(from_start)
    levels: list[tuple[Tensor, ...]] = []
    count = length // 2
    while count:
        (first, after), (before, second) = _halves(from_start, count), _halves(to_end, count)
        x_after, y_before = _halves(x, count)[1] * after, _halves(y, count)[0] * before
        across = x_after.flatten(-3, -2) @ y_before.flatten(-3, -2).mT
        upper, lower = pairs.unflatten(-3, (count, 2)).unbind(-3)
        pairs = torch.cat([F.pad(upper, (0, across.size(-1))), torch.cat([across, lower], dim=-1)], dim=-2)
        levels.append((after, before, x_after, y_before))
        from_start = torch.cat([first, after * first[..., -1:, :, :]], dim=-3).flatten(-4, -3)
        to_end = torch.cat([before * after[..., -1:, :, :], second], dim=-3).flatten(-4, -3)
        count //= 2
    return levels, (pairs.squeeze(-3), from_start.squeeze(-2), to_end.squeeze(-2))


def _halves(steps: Tensor, count: int) -> tuple[Tensor, ...]:
    """The first and the second half of each of `count` parts, from (..., length, features, K)."""
    return steps.unflatten(-3, (count, 2, -1)).unbind(-4)


def _squares(pairs: Tensor, count: int) -> Tensor:
    """A view of `count` squares along the diagonal, (..., count, rows, columns)."""
    return pairs.unflatten(-1, (count, -1)).unflatten(-3, (count, -1)).diagonal(dim1=-4, dim2=-2).movedim(-1, -3)


def _corners(pairs: Tensor, count: int) -> Tensor:
    """A view of their lower left quarters."""
    return _squares(pairs, count).unflatten(-1, (2, -1)).unflatten(-3, (2, -1))[..., 1, :, 0, :]
