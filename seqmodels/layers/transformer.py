"""A causal transformer, as a rival to the recurrent layers.

Ashish Vaswani et al., "Attention Is All You Need", NeurIPS 2017: sinusoidal positions, attention to the present step
and those before it. The normalisation comes first in each block, as in Ruibin Xiong et al., "On Layer Normalization in
the Transformer Architecture", ICML 2020, with a last one at the end. Blocks are `torch.nn.TransformerEncoderLayer`.
"""

import math

import torch
from torch import Tensor, nn

from seqmodels.layers.context import ContextLayer


class Transformer(ContextLayer):
    """`num_layers` blocks of `heads` heads over inputs widened to `hidden_size`; the feed-forward part is 4 times that.

    Args:
        heads: attention heads; they divide `hidden_size`.
        dropout: of attention weights and of both parts of a block, in training.
        others: see `ContextLayer`, and there for the state.
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
        if heads < 1 or hidden_size % heads or hidden_size % 2:
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
        hidden_from = hidden_from & ~torch.eye(time, dtype=torch.bool, device=sequence.device)  # rows that saw nothing
        return self.blocks(hidden, mask=hidden_from.repeat_interleave(self.heads, dim=0))

    def _signal(self, positions: Tensor) -> Tensor:
        """Sines and cosines of (batch, time) positions, of wavelengths from 2 pi to 10000 * 2 pi."""
        half = torch.arange(self.hidden_size // 2, dtype=torch.float64, device=positions.device)
        angles = positions.unsqueeze(2) * torch.exp(-math.log(10000) * half / (self.hidden_size // 2))
        return torch.cat([angles.sin(), angles.cos()], dim=2)
