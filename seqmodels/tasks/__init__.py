"""What is learned. A task owns its data, targets, loss, metric, guess line and what counts as solved."""

from seqmodels.tasks.adding import Adding
from seqmodels.tasks.copy_memory import CopyMemory
from seqmodels.tasks.digits import Digits
from seqmodels.tasks.drawn import DrawnTask
from seqmodels.tasks.finite import FiniteTask
from seqmodels.tasks.forecast import Forecast
from seqmodels.tasks.formal import Parity
from seqmodels.tasks.sine import Sine
from seqmodels.tasks.task import Split, Task
from seqmodels.tasks.text import Text

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
