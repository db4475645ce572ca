"""A causal transformer, to compare the recurrent layers with.

    x_t = W input_t + b + position_t                                 sines and cosines of t
    a_t = x_t + dropout(attention(LN(x_t); LN(x_1) .. LN(x_t)))      a block: `heads` heads,
    y_t = a_t + dropout(W_2 dropout(relu(W_1 LN(a_t) + b_1)) + b_2)  then 4 * hidden_size units
    output_t = LN(y_t)                                               after the last block

Ashish Vaswani et al., "Attention Is All You Need", NeurIPS 2017.

The normalisation comes first in each block, as in Ruibin Xiong et al., "On Layer Normalization in the Transformer
Architecture", ICML 2020. Blocks are `torch.nn.TransformerEncoderLayer`.
"""

import math

import torch
from torch import Tensor, nn

from seqmodels.checks import check_whole
from seqmodels.layers.context import ContextLayer


class Transformer(ContextLayer):
    """`num_layers` blocks of `heads` heads, over inputs that are mapped to `hidden_size` features.

    Args:
        heads: attention heads; `hidden_size` is a multiple of them.
        dropout: of attention weights and of both parts of a block, in training.
        others: see `ContextLayer`, also for the state.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 2,
        heads: int = 4,
        dropout: float = 0.0,
        batch_first: bool = False,
    ) -> None:
        super().__init__(input_size, hidden_size, num_layers, dropout, batch_first)
        check_whole("heads", heads, 1)
        if hidden_size % heads or hidden_size % 2:
            raise ValueError(f"hidden_size should be even and a multiple of heads={heads}, got {hidden_size}")
        self.heads = heads
        self.widen = nn.Linear(input_size, hidden_size)
        block = nn.TransformerEncoderLayer(
            hidden_size, heads, 4 * hidden_size, dropout, batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(block, num_layers, nn.LayerNorm(hidden_size), enable_nested_tensor=False)

    def read(self, sequence: Tensor, begun: Tensor) -> Tensor:
        time = sequence.size(1)
        positions = (begun.cumsum(1) - 1).clamp(min=0)
        hidden = self.widen(sequence) + self._signal(positions).to(sequence.dtype)
        later = torch.ones(time, time, dtype=torch.bool, device=sequence.device).triu(1)
        hidden_from = later | ~begun.unsqueeze(1)  # (batch, query, key)
        hidden_from = hidden_from & ~torch.eye(time, dtype=torch.bool, device=sequence.device)  # padding sees itself
        return self.blocks(hidden, mask=hidden_from.repeat_interleave(self.heads, dim=0))

    def _signal(self, positions: Tensor) -> Tensor:
        """Sines and cosines of (batch, time) positions, with wavelengths from 2 pi to 10000 * 2 pi."""
        half = torch.arange(self.hidden_size // 2, dtype=torch.float64, device=positions.device)
        angles = positions.unsqueeze(2) * torch.exp(-math.log(10000) * half / (self.hidden_size // 2))
        return torch.cat([angles.sin(), angles.cos()], dim=2)
