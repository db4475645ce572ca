"""DeltaProduct: several steps of the delta rule for each input.

    q_t                                                              as in DeltaNet
    k_tj, v_tj, beta_tj                                              as in DeltaNet, for j = 1 .. n
    S_tj = S_t,j-1 + beta_tj k_tj (v_tj - S_t,j-1^T k_tj)^T          state; S_t0 = S_t-1,n, or g_t S_t-1,n
    y_t = W_ho norm(S_tn^T q_t / sqrt(K))                            norm: RMSNorm over each head

Julien Siems, Timur Carstensen, Arber Zela, Frank Hutter, Massimiliano Pontil and Riccardo Grazzi, "DeltaProduct:
Improving State-Tracking in Linear RNNs via Householder Products", NeurIPS 2025, section 3.

The transition of an input is a product of n Householder matrices I - beta k k^T. With eigenvalues in [-1, 1] a product
of two can rotate, and one of n can permute n + 1 things.
"""

from collections.abc import Sequence
from typing import Unpack

from torch import Tensor
from torch.nn import functional as F

from seqmodels.checks import check_flag, check_whole
from seqmodels.layers.cell import States, Weights
from seqmodels.layers.decay import decay_shapes, log_decay, time_step
from seqmodels.layers.matrix.delta_net import DeltaNet
from seqmodels.layers.matrix.gated_delta_net import decayed
from seqmodels.layers.matrix.layer import MatrixSettings, Update


class DeltaProduct(DeltaNet):
    """Args:
    householders: n, the steps of the delta rule for each input.
    forget_gate: multiply the state by a decay g_t, as in `GatedDeltaNet`, before the first of these steps.
    others: see `DeltaNet`.
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        householders: int = 2,
        forget_gate: bool = False,
        eigenvalues: Sequence[int] = (0, 1),
        **settings: Unpack[MatrixSettings],
    ) -> None:
        check_whole("householders", householders, 1)
        check_flag("forget_gate", forget_gate)
        self.steps_per_input, self.forget_gate = householders, forget_gate
        super().__init__(input_size, hidden_size, eigenvalues=eigenvalues, **settings)

    def projections(self) -> dict[str, tuple[int, ...]]:
        shapes = super().projections()
        several = {name: (self.steps_per_input, *shapes[name]) for name in ("k", "v", "beta")}
        return shapes | several | ({"decay": (self.heads,)} if self.forget_gate else {})

    def shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        return super().shapes(input_size) | (decay_shapes(self.heads) if self.forget_gate else {})

    def update(self, weights: Weights, carried: States, *unused: Tensor, **named: Tensor) -> Update:
        decay = named.pop("decay", None)
        k, v, beta = (named[name].movedim(2, 1).flatten(0, 1) for name in ("k", "v", "beta"))
        others = self.steps_per_input - 1
        q = F.pad(named["q"].unsqueeze(1), (0, 0) * 3 + (others, 0)).flatten(0, 1)  # the other steps are not read
        rule = super().update(weights, carried, q=q, k=k, v=v, beta=beta)
        if decay is None:
            return rule
        log_w = log_decay(time_step(decay, weights), weights)
        return decayed(rule, F.pad(log_w.unsqueeze(1), (0, 0) * 3 + (0, others)).flatten(0, 1))
