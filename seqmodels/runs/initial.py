"""The first weights of a run: those of another run, where they fit, and parameters that never move."""

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.checks import UserError, nearest
from seqmodels.report.tables import counted
from seqmodels.restore import read_weights
from seqmodels.untrusted.reading import printable

LARGER = 16
"""How many times larger than the new model the one may be from which weights are taken, if it has over 64 MiB."""


def take_weights(model: nn.Module, folder: str) -> dict[str, Any]:
    """Copy the weights of another run into a model, where name and shape fit.

    Args:
        folder: a run folder, or one that `save_weights` wrote. It may come from anyone.

    Returns:
        A record in plain data: {"folder": ..., "fitted": [{"name": ..., "shape": [...]}, ...], "left": [{"name": ...,
        "here": [...], "there": [...]}, ...]}. `here` is the shape in the model, and `there` that in the folder; None
        where there is no such weight.

    Raises:
        RunFolderError: see `load_run`.
        UserError: there is no such folder, no parameter fits, or one that fits is not finite.
    """
    if not Path(folder).is_dir():
        fault = "is a file" if Path(folder).is_file() else "does not exist"
        raise UserError(f"init_from should be a run folder, and {printable(folder)} {fault}")
    here = model.state_dict()
    there = read_weights(folder, LARGER * sum(weight.nbytes for weight in here.values()))
    fitted, left = [], []
    for name in dict.fromkeys([*here, *there]):
        ours, theirs = here.get(name), there.get(name)
        if fit(ours, theirs):
            fitted.append(name)
        else:
            left.append({"name": printable(name, 100), "here": shape_of(ours), "there": shape_of(theirs)})
    if not {name for name, _ in model.named_parameters()} & set(fitted):
        raise UserError(
            f"init_from={printable(folder)}: none of its weights fits this model; {'; '.join(listed(left))}"
        )
    for name in fitted:
        if not there[name].isfinite().all():
            raise UserError(f"init_from={printable(folder)}: its weight {name} is not finite")
        with torch.no_grad():
            here[name].copy_(there[name])
    return {
        "folder": printable(folder),
        "fitted": [{"name": name, "shape": shape_of(here[name])} for name in fitted],
        "left": left,
    }


def freeze(model: nn.Module, patterns: str | Sequence[str]) -> list[str]:
    """Let the parameters of these names, or patterns such as layer.*, keep their values; returns their names.

    Raises:
        UserError: a pattern matches no parameter, or none is left to be trained.
    """
    parameters = dict(model.named_parameters())
    frozen: set[str] = set()
    for pattern in [patterns] if isinstance(patterns, str) else patterns:
        matching = [name for name in parameters if fnmatchcase(name, str(pattern))]
        if not matching:
            hint = nearest(str(pattern), parameters) or f"; there are {', '.join(parameters)}"
            raise UserError(f"freeze={pattern}: this model has no such parameter{hint}")
        frozen |= set(matching)
    if len(frozen) == len(parameters):
        raise UserError("freeze leaves no parameter to be trained")
    for name in frozen:
        parameters[name].requires_grad_(False)
    return [name for name in parameters if name in frozen]


def description(record: dict[str, Any]) -> str:
    """What a record of `take_weights` says, for the screen: a line, and one more for each weight that did not fit."""
    fitted, left = len(record["fitted"]), record["left"]
    lines = [f"init_from: {counted(fitted, 'weight')} of {record['folder']} fitted, {len(left)} did not"]
    return "\n  ".join([*lines, *listed(left)])


def listed(left: list[dict[str, Any]]) -> Iterator[str]:
    """A few words about each weight that did not fit."""
    for weight in left:
        here, there = ("missing" if weight[place] is None else str(weight[place]) for place in ("here", "there"))
        yield f"{weight['name']}: {here} here, {there} there"


def fit(ours: Tensor | None, theirs: Tensor | None) -> bool:
    """Whether one weight can take the place of the other."""
    if ours is None or theirs is None:
        return False
    return ours.shape == theirs.shape and ours.is_complex() == theirs.is_complex()


def shape_of(weight: Tensor | None) -> list[int] | None:
    return None if weight is None else list(weight.shape)
