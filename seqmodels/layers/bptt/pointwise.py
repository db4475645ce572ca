"""Tanh, computed the faster way."""

from collections.abc import Callable

import torch
from torch import Tensor


def tanh_is_slow(like: Tensor) -> bool:
    """Whether tanh(a) is faster as 2 sigmoid(2a) - 1 for tensors of this kind and size.

    On a CPU torch's sigmoid is about eight times as fast as its tanh. The error is at most 1.8e-7, which is 1.5
    roundings of 1; that of `torch.tanh` is half a rounding of the result. Where exactness matters, use float64,
    which always calls `torch.tanh`.
    """
    return like.device.type == "cpu" and like.dtype == torch.float32 and like.numel() >= 1024


def tanh_for(like: Tensor) -> Callable[[Tensor, Tensor], object]:
    """A function (inputs, out) that writes tanh(inputs) into out, for tensors of this kind and size."""
    if not tanh_is_slow(like):
        return lambda inputs, out: torch.tanh(inputs, out=out)
    minus_one = like.new_tensor(-1.0)

    def by_sigmoid(inputs: Tensor, out: Tensor) -> None:
        torch.add(inputs, inputs, out=out)
        torch.add(minus_one, out.sigmoid_(), alpha=2, out=out)

    return by_sigmoid


def tanh_in_place_for(like: Tensor) -> Callable[[Tensor], object]:
    """A function that replaces a by tanh(a), for tensors of this kind and size; where `tanh_is_slow`, they hold 2a."""
    if not tanh_is_slow(like):
        return Tensor.tanh_
    minus_one = like.new_tensor(-1.0)
    return lambda doubled: torch.add(minus_one, doubled.sigmoid_(), alpha=2, out=doubled)
