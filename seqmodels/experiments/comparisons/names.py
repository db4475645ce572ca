"""Short names of settings, and of their values, for tables and pictures."""

from collections import Counter

from seqmodels.experiments.comparisons.results import TYPES

TAKEN = {*TYPES, "date", "folder", "settings", "steps/s", "diverged at"}
"""Names of columns that no setting may have."""


def short_names(names: list[str]) -> dict[str, str]:
    """The last parts of dotted names, such as lr, where these are unambiguous; a class has the name of its node.

    >>> list(short_names(["optimizer.lr", "optimizer._target_", "model.length", "task.length"]).values())
    ['lr', 'optimizer', 'model.length', 'task.length']
    """
    last = {name: name.removesuffix("._target_").rpartition(".")[2] for name in names}
    counts = Counter(last.values())
    return {name: name if counts[short] > 1 or short in TAKEN else short for name, short in last.items()}


def short_value(value: str) -> str:
    """A setting's value; of a long dotted name, such as that of a class, the last part."""
    last = value.rpartition(".")[2]
    return last if last.isidentifier() and len(value) > 20 else value
