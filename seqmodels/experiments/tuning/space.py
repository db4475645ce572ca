"""A space of settings to search: ranges and choices, as the files of conf/space/ describe them.

The settings stand where they stand in the config:

    optimizer:
      lr: {low: 1.0e-4, high: 3.0e-2, log: true}     a number, drawn evenly on a logarithmic scale
    model:
      hidden_size: {low: 16, high: 128, step: 16}    a whole number, because low and high are
    scheduler: {choices: [none, cosine]}             one of a list

So the command line changes them as it changes other settings: `space.optimizer.lr.high=1e-2`, `~space.optimizer.lr`.
"""

import math
import warnings
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from seqmodels.checks import UserError, nearest

RANGE, LIST = ("low", "high", "log", "step"), ("choices",)

FIXED = {
    "model": "is chosen by model=A,B, which tunes each",
    "task": "is chosen by task=A,B, which tunes on each",
    "seed": "is set by seeds",
    "trainer.max_steps": "is the budget, which is equal for all trials",
    "trainer.val_check_interval": "decides when trials are compared",
    "trainer.limit_val_batches": "decides which batches are validated",
    "data.eval_batches": "decides which batches are validated",
}
"""Settings that cannot be searched, and why."""

TASK = ("task.doubling_batches", "task.mixed_lengths")
"""The settings of a task that change only the training, and may be searched."""


def distributions(name: str, node: Any) -> dict[str, BaseDistribution]:
    """The settings of a space by their dotted names, with the values that each may have, in Optuna's form.

    Args:
        name: the name of the space, for messages.
        node: the content of its file, in plain containers.

    Raises:
        UserError: it is empty, or the description of a setting makes no sense.
    """
    settings = by_dotted_name(node) if isinstance(node, dict) else {}
    if not settings:
        raise UserError(f"space={name} should name settings to search, such as optimizer.lr, and names none")
    return {setting: distribution(f"space={name}: {setting}", setting, settings[setting]) for setting in settings}


def by_dotted_name(node: dict[str, Any], name: str = "") -> dict[str, Any]:
    """The settings below a node, which is that of a setting itself if it says `low` or the like.

    A setting that is null or empty, as `~space.optimizer.lr` leaves it, is left out.
    """
    described = name != "" and any(key in node for key in RANGE + LIST)
    found: dict[str, Any] = {name: {}} if described else {}
    for key, value in node.items():
        below = f"{name}.{key}".removeprefix(".")
        if isinstance(value, dict):
            found |= by_dotted_name(value, below)
        elif described:
            found[name][key] = value
        elif value is not None:
            found[below] = value
    return found


def distribution(where: str, setting: str, node: Any) -> BaseDistribution:
    """The values that a setting may have; messages begin with `where`."""
    if setting in FIXED:
        raise UserError(f"{where} cannot be searched: it {FIXED[setting]}")
    if setting.startswith("task.") and setting not in TASK:
        raise UserError(f"{where} cannot be searched: it would change what is learned")
    if not isinstance(node, dict):
        raise UserError(f"{where} should be a range such as {{low: 0.1, high: 10}} or {{choices: [...]}}, got {node!r}")
    for key in node:
        if key not in RANGE + LIST:
            raise UserError(f"{where}.{key} is not part of a range{nearest(str(key), RANGE + LIST)}")
    return categories(where, node) if "choices" in node else numbers(where, node)


def categories(where: str, node: dict[str, Any]) -> CategoricalDistribution:
    choices = node["choices"]
    if len(node) > 1:
        raise UserError(f"{where} should have either choices or a range, got both")
    if not isinstance(choices, list) or not choices:
        raise UserError(f"{where}.choices should be a list of at least one value, got {choices!r}")
    for choice in choices:
        if not isinstance(choice, str | int | float | None):
            raise UserError(f"{where}.choices should be names, numbers, true, false or null, got {choice!r}")
    if len(set(choices)) < len(choices):
        raise UserError(f"{where}.choices should all be different, got {choices}")
    return CategoricalDistribution(choices)


def numbers(where: str, node: dict[str, Any]) -> BaseDistribution:
    for key in ("low", "high", "step"):
        value = node.get(key)
        if key == "step" and value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UserError(f"{where}.{key} should be a number, got {value!r}")
    low, high, step, log = node["low"], node["high"], node.get("step"), node.get("log", False)
    if not isinstance(log, bool):
        raise UserError(f"{where}.log should be true or false, got {log!r}")
    if low > high:
        raise UserError(f"{where}.low should be at most high, got {low} and {high}")
    if log and low <= 0:
        raise UserError(f"{where}.low should be positive on a logarithmic scale, got {low}")
    if log and step is not None:
        raise UserError(f"{where} should have either log or step, got both")
    if step is not None and step <= 0:
        raise UserError(f"{where}.step should be positive, got {step}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about steps that do not reach high exactly: the range then ends below it
        if all(isinstance(value, int) for value in (low, high, 1 if step is None else step)):
            return IntDistribution(low, high, log=log, step=1 if step is None else step)
        return FloatDistribution(float(low), float(high), log=log, step=step)


def corners(space: dict[str, BaseDistribution]) -> list[dict[str, Any]]:
    """A few combinations in which each end of each range, and each value of each list, occurs at least once."""
    values = {name: ends(values) for name, values in space.items()}
    count = max(map(len, values.values()))
    return [{name: several[min(index, len(several) - 1)] for name, several in values.items()} for index in range(count)]


def ends(values: Any) -> list[Any]:
    return list(values.choices) if isinstance(values, CategoricalDistribution) else [values.low, values.high]


def in_words(values: Any) -> str:
    """The values that a setting may have: "from 0.0001 to 0.03 (log)", "from 16 to 128 in steps of 16"."""
    if isinstance(values, CategoricalDistribution):
        return f"among {list(values.choices)}"
    any_step = values.step is None or (isinstance(values, IntDistribution) and values.step == 1)
    step = "" if any_step else f" in steps of {values.step}"
    return f"from {values.low} to {values.high}{step}{' (log)' if values.log else ''}"


def words_of(settings: dict[str, Any]) -> list[str]:
    """Settings as overrides that yield exactly these values."""
    plain = {None: "null", True: "true", False: "false"}
    return [
        f"{name}={plain[value] if value is None or isinstance(value, bool) else value}"
        for name, value in settings.items()
    ]


def contains(values: Any, value: Any) -> bool:
    """Whether a setting may have a value."""
    if isinstance(values, CategoricalDistribution):
        return value in values.choices
    kinds = int if isinstance(values, IntDistribution) else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not values.low <= value <= values.high:
        return False
    steps = 0.0 if values.step is None else (value - values.low) / values.step
    return math.isclose(steps, round(steps), abs_tol=1e-9)
