"""Signals: predict the next values."""

from seqmodels.tasks.signals.damped_oscillator import DampedOscillator
from seqmodels.tasks.signals.lorenz import Lorenz
from seqmodels.tasks.signals.mackey_glass import MackeyGlass
from seqmodels.tasks.signals.narma10 import NARMA10
from seqmodels.tasks.signals.signal import Signal
from seqmodels.tasks.signals.sine import Sine

__all__ = ["NARMA10", "DampedOscillator", "Lorenz", "MackeyGlass", "Signal", "Sine"]
