"""Sequence layers that are called as `torch.nn.RNN` is. They need torch and nothing else."""

from seqmodels.layers.blocks import Blocks
from seqmodels.layers.diagonal.lru import LRU
from seqmodels.layers.diagonal.mamba import Mamba
from seqmodels.layers.diagonal.min_gru import MinGRU
from seqmodels.layers.diagonal.min_lstm import MinLSTM
from seqmodels.layers.diagonal.s4d import S4D
from seqmodels.layers.gru import ManualGRU
from seqmodels.layers.indrnn import IndRNN
from seqmodels.layers.layernorm_lstm import LayerNormLSTM
from seqmodels.layers.lstm import ManualLSTM
from seqmodels.layers.matrix.delta_net import DeltaNet
from seqmodels.layers.matrix.delta_product import DeltaProduct
from seqmodels.layers.matrix.gated_delta_net import GatedDeltaNet
from seqmodels.layers.matrix.gla import GLA
from seqmodels.layers.matrix.layer import MatrixLayer
from seqmodels.layers.matrix.linear_attention import LinearAttention
from seqmodels.layers.matrix.mamba2 import Mamba2
from seqmodels.layers.matrix.mlstm import MLSTM
from seqmodels.layers.matrix.retnet import RetNet
from seqmodels.layers.matrix.rwkv7 import RWKV7
from seqmodels.layers.memory.stack_rnn import StackMemory, StackRNN
from seqmodels.layers.memory.tape_rnn import TapeMemory, TapeRNN
from seqmodels.layers.mgu import MGU
from seqmodels.layers.peephole_lstm import PeepholeLSTM
from seqmodels.layers.rnn import ManualRNN
from seqmodels.layers.slstm import SLSTM
from seqmodels.layers.stack import RecurrentLayer
from seqmodels.layers.tcn import TCN
from seqmodels.layers.transformer import Transformer

__all__ = [
    "GLA",
    "LRU",
    "MGU",
    "MLSTM",
    "RWKV7",
    "S4D",
    "SLSTM",
    "TCN",
    "Blocks",
    "DeltaNet",
    "DeltaProduct",
    "GatedDeltaNet",
    "IndRNN",
    "LayerNormLSTM",
    "LinearAttention",
    "Mamba",
    "Mamba2",
    "ManualGRU",
    "ManualLSTM",
    "ManualRNN",
    "MatrixLayer",
    "MinGRU",
    "MinLSTM",
    "PeepholeLSTM",
    "RecurrentLayer",
    "RetNet",
    "StackMemory",
    "StackRNN",
    "TapeMemory",
    "TapeRNN",
    "Transformer",
]
