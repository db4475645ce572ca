"""Back-propagation through time, derived by hand: the same numbers as autograd's loop over `step`, faster.

`bptt_scan` runs a whole sequence through one layer in one direction; kernel.py explains how, and why it is faster.
"""

from seqmodels.layers.bptt.elman import ElmanKernel
from seqmodels.layers.bptt.function import bptt_applies, bptt_scan
from seqmodels.layers.bptt.gru import GRUKernel
from seqmodels.layers.bptt.kernel import Kernel
from seqmodels.layers.bptt.lstm import LSTMKernel

__all__ = ["ElmanKernel", "GRUKernel", "Kernel", "LSTMKernel", "bptt_applies", "bptt_scan"]
