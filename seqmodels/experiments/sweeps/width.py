"""Models of equal size: the `model.hidden_size` at which a model has about as many parameters as another one.

Models are built on torch's meta device, without memory for their weights, and nothing is trained.
"""

import bisect
import functools
import itertools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from seqmodels.checks import UserError, as_user_errors, check_whole
from seqmodels.config import compose, layer_of
from seqmodels.config.folders import name_in
from seqmodels.runs.build import build_model, build_task
from seqmodels.tasks import Task

WIDEST = 2**16
"""The largest hidden size that is tried."""

TOLERANCE = 0.1
"""The relative difference in size at which models no longer count as equally large."""

GAP = 256
"""How many hidden sizes in a row may be impossible, such as those that are not a multiple of the number of heads."""


def parameters_of(config: DictConfig, layer: functools.partial | None = None) -> int:
    """The number of parameters of a run's model, encoder and head included; `layer`, if given, replaces its own.

    Raises:
        UserError: the model cannot be built.
    """
    task = task_of(OmegaConf.to_yaml(config.task))
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")  # about sizes that are only tried
        model = build_model(config, layer or layer_of(config.model), task)
    return sum(parameter.numel() for parameter in model.parameters())


@functools.lru_cache(maxsize=64)
def task_of(node: str) -> Task:
    """The task that a config's node, as YAML, describes. It is built once, because some tasks read files."""
    config: Any = OmegaConf.create(node)
    return build_task(config)


def width_for(config: DictConfig, parameters: int) -> int:
    """The `model.hidden_size` at which the size of a run's model is closest to `parameters`; of two, the smaller.

    The number of parameters grows with the width, so the width is found by bisection. Widths at which the model cannot
    be built are skipped: the width of a transformer, for example, has to be a multiple of its number of heads.

    Raises:
        UserError: the model has no `hidden_size`, cannot be built, would be wider than 65,536, or has more than twice
            as many parameters even at its smallest width.
    """
    with as_user_errors():
        check_whole("parameters", parameters, 1)
    if "hidden_size" not in config.model:
        raise UserError(f"model={config.model_name} has no hidden_size, which match needs to set")
    layer = layer_of(config.model)

    @functools.cache
    def count(width: int) -> int:
        return parameters_of(config, functools.partial(layer, hidden_size=width))

    @functools.cache
    def possible(width: int) -> int:
        """The smallest width from `width` on at which the model can be built."""
        for candidate in range(width, width + GAP):
            try:
                count(candidate)
            except UserError as error:
                problem = error
            else:
                return candidate
        raise problem

    def enough(width: int) -> bool:
        return count(possible(width)) >= parameters

    few, many = 0, 64
    while not enough(many):
        if many >= WIDEST:
            raise UserError(f"model={config.model_name} needs a hidden_size above {WIDEST} for {parameters} parameters")
        few, many = many, 4 * many
    wider = possible(bisect.bisect_left(range(many + 1), True, few + 1, many, key=enough))
    narrower = (width for width in range(wider - 1, max(wider - GAP, 0), -1) if possible(width) == width)
    best = min([*itertools.islice(narrower, 1), wider], key=lambda width: abs(count(width) - parameters))
    if count(best) > 2 * parameters:
        raise UserError(
            f"model={config.model_name} cannot be as small as {parameters} parameters: "
            f"on task={config.task_name} it has {count(best)} at model.hidden_size={best}"
        )
    return best


def mismatch(config: DictConfig, width: int, parameters: int) -> str:
    """A warning if a run's model of this width is more than a tenth larger or smaller than `parameters`; else empty."""
    found = parameters_of(config, functools.partial(layer_of(config.model), hidden_size=width))
    if abs(found - parameters) <= TOLERANCE * parameters:
        return ""
    return (
        f"model={config.model_name} on task={config.task_name} has {found} parameters, not about {parameters}: "
        f"no model.hidden_size is closer than {width}"
    )


def matched(runs: Sequence[Sequence[str]], match: Any, warn: Callable[[str], None]) -> list[list[str]]:
    """The overrides of runs, each with a `model.hidden_size` at which all models are about equally large.

    Args:
        runs: the overrides of each run. Those without a `model=` have the default model.
        match: the number of parameters; or "parameters", for as many as the model of the first run has on the same
            task and with the same other settings. A typed `model.hidden_size` is then that of the first model.
        warn: called with a message for each model that has no width at which it is about equally large.

    Raises:
        UserError: `match` is neither of them, or a model cannot have this number of parameters.
    """
    check_match(match)
    reference = [word for word in runs[0] if name_in(word) in ("model", "block")] if runs else []

    problems: dict[str, None] = {}

    @functools.cache
    def width(words: tuple[str, ...]) -> int:
        number = match
        if match == "parameters":
            of_first = [word for word in words if name_in(word) not in ("model", "block")]
            number = parameters_of(compose(*reference, *of_first))
        config = compose(*words)
        found = width_for(config, number)
        if problem := mismatch(config, found, number):
            problems[problem] = None
        return found

    widths = [width(tuple(word for word in run if name_in(word) != "seed")) for run in runs]
    for problem in problems:
        warn(problem)
    kept = [[word for word in run if name_in(word) != "model.hidden_size"] for run in runs]
    return [[*run, f"model.hidden_size={width}"] for run, width in zip(kept, widths, strict=True)]


def check_match(match: Any) -> None:
    """Refuse a value of the setting `match` other than null, "parameters" and a number, with a UserError."""
    if match is None or match == "parameters" or (isinstance(match, int) and not isinstance(match, bool) and match > 0):
        return
    raise UserError(f"match should be 'parameters', a number of parameters such as 5000, or null, got {match!r}")
