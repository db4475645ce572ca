"""Interrupting a run, and what it may not change: for the tests of runs that continue."""

import json
from contextlib import contextmanager

import pytest
import torch


def contents(folder):
    """Everything in a run folder that the interruption must not have changed."""
    result = json.loads((folder / "result.json").read_text())
    unequal = {"seconds", "steps_per_second", "finished", "digests"}
    contents = {name: value for name, value in result.items() if name not in unequal}
    contents["metrics.csv"] = (folder / "metrics.csv").read_bytes()
    for name in ("best", "last"):
        checkpoint = torch.load(folder / "checkpoints" / f"{name}.ckpt", weights_only=True)
        contents[name] = [value.numpy().tobytes() for value in checkpoint["state_dict"].values()]
    optimizer = checkpoint["optimizer_states"][0]["state"]
    contents["optimizer"] = [value.numpy().tobytes() for state in optimizer.values() for value in state.values()]
    contents["scheduler"] = checkpoint["lr_schedulers"]
    contents["random numbers"] = checkpoint["callbacks"]["Checkpoints"]["random_state"]["cpu"].numpy().tobytes()
    return contents


@contextmanager
def at(owner, method, count, function):
    """Call a function once, when a method has been called a number of times in this process."""
    original, calls = getattr(owner, method), iter(range(1, 10**9))

    def counted(*arguments, **named):
        if next(calls) == count:
            function()
        return original(*arguments, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, method, counted)
        yield


def fail():
    raise ValueError("a mistake")
