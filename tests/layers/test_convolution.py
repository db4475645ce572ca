"""The short causal convolution against torch's, whole and in parts."""

import pytest
import torch
from torch.nn import functional as F

from seqmodels.layers.convolution import causal_convolution


@pytest.mark.parametrize("kernel_size", [2, 4])
@pytest.mark.parametrize("biased", [False, True])
def test_it_is_a_depthwise_convolution_of_what_came_before(kernel_size, biased):
    torch.manual_seed(0)
    sequence = torch.randn(9, 3, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, kernel_size, dtype=torch.float64, requires_grad=True)
    bias = torch.randn(5, dtype=torch.float64, requires_grad=True) if biased else None
    past = torch.randn(3, (kernel_size - 1) * 5, dtype=torch.float64, requires_grad=True)
    found, _ = causal_convolution(sequence, past, weight, bias)
    before = past.view(3, kernel_size - 1, 5).transpose(1, 2)
    whole = torch.cat([before, sequence.permute(1, 2, 0)], dim=2)
    expected = F.conv1d(whole, weight.unsqueeze(1), bias, groups=5).permute(2, 0, 1)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    leaves = [sequence, weight, past] + ([bias] if biased else [])
    upstream = torch.randn_like(found)
    for pair in zip(*(torch.autograd.grad(out, leaves, upstream) for out in (found, expected)), strict=True):
        torch.testing.assert_close(*pair, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sizes", [(1,) * 7, (2, 2, 3), (1, 5, 1), (7,)])
def test_split_anywhere_it_is_the_same(sizes):
    torch.manual_seed(0)
    sequence, weight = torch.randn(7, 2, 3, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    start = torch.randn(2, 9, dtype=torch.float64)
    whole, last = causal_convolution(sequence, start, weight)
    parts, past = [], start
    for part in sequence.split(sizes):
        output, past = causal_convolution(part, past, weight)
        parts.append(output)
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(past, last, rtol=0, atol=0)
