"""Predict how a signal goes on."""

from seqmodels.tasks.signals.sine import Sine

__all__ = ["Sine"]
