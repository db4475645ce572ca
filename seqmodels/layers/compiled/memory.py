"""Memory for what a pass keeps: of large tensors, in pages of megabytes.

The allocator maps large tensors afresh each time, and the first write to each page of 4 KB takes longer than the steps
that fill it. Linux gives larger pages to those who ask.
"""

import ctypes
import sys

from torch import Tensor

LARGE = 2**24
"""Bytes from which on larger pages are asked for."""

PAGE = 4096
HUGE_PAGES = 14
"""MADV_HUGEPAGE of Linux."""


def empty(like: Tensor, *shape: int) -> Tensor:
    """A tensor that is not filled, of the dtype of another."""
    tensor = like.new_empty(shape)
    if tensor.nbytes >= LARGE and sys.platform == "linux":
        start = -(-tensor.data_ptr() // PAGE) * PAGE
        size = tensor.data_ptr() + tensor.nbytes - start
        # It may fail, where pages have another size, and does no harm then.
        ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), HUGE_PAGES)
    return tensor
