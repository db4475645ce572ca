"""The arithmetic of a recurrent layer, forward and backward, number by number. Needs torch and the layers alone."""

from seqmodels.lesson.backward import BackwardStep, autograd_gradients, back_propagate, whole_gradients
from seqmodels.lesson.forward import Lesson, Step, record
from seqmodels.lesson.operations import Operation
from seqmodels.lesson.text import LOSSES, backward_text, forward_text

__all__ = [
    "LOSSES",
    "BackwardStep",
    "Lesson",
    "Operation",
    "Step",
    "autograd_gradients",
    "back_propagate",
    "backward_text",
    "forward_text",
    "record",
    "whole_gradients",
]
