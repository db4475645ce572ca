"""Sequence layers that are called as `torch.nn.RNN` is. They need torch and nothing else."""

from seqmodels.layers.blocks import Blocks
from seqmodels.layers.gru import ManualGRU
from seqmodels.layers.indrnn import IndRNN
from seqmodels.layers.layernorm_lstm import LayerNormLSTM
from seqmodels.layers.lru import LRU
from seqmodels.layers.lstm import ManualLSTM
from seqmodels.layers.mgu import MGU
from seqmodels.layers.min_gru import MinGRU
from seqmodels.layers.min_lstm import MinLSTM
from seqmodels.layers.peephole_lstm import PeepholeLSTM
from seqmodels.layers.rnn import ManualRNN
from seqmodels.layers.slstm import SLSTM
from seqmodels.layers.stack import RecurrentLayer
from seqmodels.layers.tcn import TCN
from seqmodels.layers.transformer import Transformer

__all__ = [
    "LRU",
    "MGU",
    "SLSTM",
    "TCN",
    "Blocks",
    "IndRNN",
    "LayerNormLSTM",
    "ManualGRU",
    "ManualLSTM",
    "ManualRNN",
    "MinGRU",
    "MinLSTM",
    "PeepholeLSTM",
    "RecurrentLayer",
    "Transformer",
]
