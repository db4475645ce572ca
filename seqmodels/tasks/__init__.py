"""What is learned. A task owns its data, targets, loss, metric, guess line and what counts as solved."""

from seqmodels.tasks.drawn import DrawnTask
from seqmodels.tasks.finite import FiniteTask
from seqmodels.tasks.formal import Parity
from seqmodels.tasks.memory import Adding, CopyMemory
from seqmodels.tasks.real import Digits, Forecast, Text
from seqmodels.tasks.signals import Sine
from seqmodels.tasks.task import Split, Task

__all__ = [
    "Adding",
    "CopyMemory",
    "Digits",
    "DrawnTask",
    "FiniteTask",
    "Forecast",
    "Parity",
    "Sine",
    "Split",
    "Task",
    "Text",
]
