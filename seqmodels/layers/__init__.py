"""Recurrent layers with the calling contract of `torch.nn.RNN`. They need torch and nothing else."""

from seqmodels.layers.recurrent import RecurrentLayer
from seqmodels.layers.rnn import ManualRNN

__all__ = ["ManualRNN", "RecurrentLayer"]
