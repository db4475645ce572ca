"""Hold something over a long time, then use it."""

from seqmodels.tasks.memory.adding import Adding
from seqmodels.tasks.memory.copy_memory import CopyMemory

__all__ = ["Adding", "CopyMemory"]
