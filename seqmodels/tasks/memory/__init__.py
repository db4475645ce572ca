"""Memory: hold something over a long time, then use it."""

from seqmodels.tasks.memory.adding import Adding, Multiplication
from seqmodels.tasks.memory.copy_memory import CopyMemory, DelayedRecall, NoiselessMemory
from seqmodels.tasks.memory.delay import Delay
from seqmodels.tasks.memory.random_permutation import RandomPermutation
from seqmodels.tasks.memory.temporal_order import TemporalOrder

__all__ = [
    "Adding",
    "CopyMemory",
    "Delay",
    "DelayedRecall",
    "Multiplication",
    "NoiselessMemory",
    "RandomPermutation",
    "TemporalOrder",
]
