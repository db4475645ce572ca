"""The memory that a computation needs at its peak."""

import gc
import os
from collections.abc import Callable

# Silences the messages of torch's memory profiler about itself; it reads them when torch is imported.
os.environ.setdefault("KINETO_LOG_LEVEL", "99")
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")

import torch
from torch.profiler import ProfilerActivity, profile


def peak_memory(compute: Callable[[], object], device: str) -> float:
    """The most megabytes that `compute` holds at once, beyond those held before."""
    gc.collect()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        compute()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        compute()
    events = profiler.profiler.kineto_results.events()
    changes = sorted((event for event in events if event.name() == "[memory]"), key=lambda event: event.start_ns())
    now = most = 0
    for change in changes:
        now += change.nbytes()
        most = max(most, now)
    return most / 2**20
