"""Formal languages: tasks over symbols, with exact rules."""

from seqmodels.tasks.formal.binary_arithmetic import BinaryAddition, BinaryMultiplication
from seqmodels.tasks.formal.compute_sqrt import ComputeSqrt
from seqmodels.tasks.formal.counting import AnBn, AnBnCn
from seqmodels.tasks.formal.cycle_navigation import CycleNavigation
from seqmodels.tasks.formal.dyck import Dyck
from seqmodels.tasks.formal.expressions import ModularArithmetic, SolveEquation
from seqmodels.tasks.formal.majority import Majority
from seqmodels.tasks.formal.modular_arithmetic_simple import ModularArithmeticSimple
from seqmodels.tasks.formal.parity_check import CumulativeParity, EvenPairs, ParityCheck
from seqmodels.tasks.formal.reber import Reber
from seqmodels.tasks.formal.stack_manipulation import StackManipulation
from seqmodels.tasks.formal.strings import BucketSort, Duplicate, MissingDuplicate, OddsFirst, Reverse
from seqmodels.tasks.formal.tomita import Tomita
from seqmodels.tasks.formal.word_problem import WordProblem

__all__ = [
    "AnBn",
    "AnBnCn",
    "BinaryAddition",
    "BinaryMultiplication",
    "BucketSort",
    "ComputeSqrt",
    "CumulativeParity",
    "CycleNavigation",
    "Duplicate",
    "Dyck",
    "EvenPairs",
    "Majority",
    "MissingDuplicate",
    "ModularArithmetic",
    "ModularArithmeticSimple",
    "OddsFirst",
    "ParityCheck",
    "Reber",
    "Reverse",
    "SolveEquation",
    "StackManipulation",
    "Tomita",
    "WordProblem",
]
