"""Formal languages: tasks whose inputs and answers are symbols, and whose rules are exact."""

from seqmodels.tasks.formal.cycle_navigation import CycleNavigation
from seqmodels.tasks.formal.majority import Majority
from seqmodels.tasks.formal.modular_arithmetic_simple import ModularArithmeticSimple
from seqmodels.tasks.formal.parity import CumulativeParity, EvenPairs, Parity
from seqmodels.tasks.formal.word_problem import WordProblem

__all__ = [
    "CumulativeParity",
    "CycleNavigation",
    "EvenPairs",
    "Majority",
    "ModularArithmeticSimple",
    "Parity",
    "WordProblem",
]
