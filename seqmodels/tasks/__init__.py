"""Tasks. A task defines its data, targets, loss and metric, the score of chance, and when it counts as solved."""

from seqmodels.checks import RENAMED, nearest
from seqmodels.tasks.drawn import DrawnTask
from seqmodels.tasks.finite import FiniteTask
from seqmodels.tasks.formal import ParityCheck
from seqmodels.tasks.memory import Adding, CopyMemory
from seqmodels.tasks.real import Digits, Forecast, Sequences, Table, Text
from seqmodels.tasks.signals import Sine
from seqmodels.tasks.task import Split, Task

__all__ = [
    "Adding",
    "CopyMemory",
    "Digits",
    "DrawnTask",
    "FiniteTask",
    "Forecast",
    "ParityCheck",
    "Sequences",
    "Sine",
    "Split",
    "Table",
    "Task",
    "Text",
]


def __getattr__(name: str) -> None:
    # `from seqmodels.tasks import Parity` shows the message of an ImportError, and hides that of an AttributeError.
    error = ImportError if RENAMED.get(name) in __all__ else AttributeError
    raise error(f"module {__name__!r} has no attribute {name!r}{nearest(name, __all__)}")
