"""Recall: find earlier tokens again, by their content or by their place."""

from seqmodels.tasks.recall.compression import Compression
from seqmodels.tasks.recall.fuzzy_recall import FuzzyRecall
from seqmodels.tasks.recall.in_context_recall import InContextRecall
from seqmodels.tasks.recall.induction_heads import InductionHeads
from seqmodels.tasks.recall.memorization import Memorization
from seqmodels.tasks.recall.mqar import MQAR
from seqmodels.tasks.recall.priority_sort import PrioritySort
from seqmodels.tasks.recall.repeat_copy import RepeatCopy
from seqmodels.tasks.recall.selective_copy import SelectiveCopy

__all__ = [
    "MQAR",
    "Compression",
    "FuzzyRecall",
    "InContextRecall",
    "InductionHeads",
    "Memorization",
    "PrioritySort",
    "RepeatCopy",
    "SelectiveCopy",
]
