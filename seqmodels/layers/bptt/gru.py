"""The kernel of the gated recurrent unit.

    r_t = sigmoid(W_ir x_t + b_ir + W_hr h_{t-1} + b_hr)
    z_t = sigmoid(W_iz x_t + b_iz + W_hz h_{t-1} + b_hz)
    m_t = W_hn h_{t-1} + b_hn
    n_t = tanh(W_in x_t + b_in + r_t * m_t)
    h_t = n_t + z_t * (h_{t-1} - n_t)

With dh_t = dL/dh_t and d the gradient of a gate's sum (before its sigmoid or tanh), as sigmoid' = sigmoid (1 -
sigmoid) and tanh' = 1 - tanh^2:

    dn_t = (1 - z_t) (1 - n_t^2)                * dh_t
    dr_t = m_t r_t (1 - r_t)                    * dn_t
    dm_t = r_t                                  * dn_t
    dz_t = (h_{t-1} - n_t) z_t (1 - z_t)        * dh_t
    dh_{t-1} = dL/dy_{t-1} + z_t * dh_t + W_hr^T dr_t + W_hz^T dz_t + W_hn^T dm_t

Each is a factor, known from the forward pass, times dh_t. W_hh receives (dr, dz, dm), W_ih (dr, dz, dn).
"""

import torch
from torch import Tensor

from seqmodels.layers.bptt.kernel import BackwardPass, Kernel, each_step
from seqmodels.layers.bptt.pointwise import tanh_in_place_for, tanh_is_slow
from seqmodels.layers.bptt.products import StepProduct
from seqmodels.layers.cell import States, Weights


class GRUKernel(Kernel):
    """Keeps r, z and m in one tensor, and n in another, for the backward pass."""

    width = 3
    tanh_gate = 2

    def kept(self) -> list[int]:
        return [3 * self.size, self.size]

    def projected_bias(self, weights: Weights) -> Tensor:
        bias = weights.bias_ih.clone()
        bias[: 2 * self.size] += weights.bias_hh[: 2 * self.size]
        return bias

    def forward_steps(
        self, recur: StepProduct, state: States, output: Tensor, kept: list[Tensor], weights: Weights
    ) -> States:
        (hidden,) = state
        tanh = tanh_in_place_for(hidden)
        sums, candidates = kept
        memory = sums[..., 2 * self.size :]
        candidates.copy_(memory)  # W_in x + b_in
        memory.zero_()
        if weights.bias_hh is not None:
            memory.add_(weights.bias_hh[2 * self.size :], alpha=2 if tanh_is_slow(hidden) else 1)
        gates = self.working(sums)
        parts = [sums, gates, gates[..., : 2 * self.size], *gates.chunk(3, dim=-1), candidates, output]
        for step_sums, step_gates, switches, reset, update, memory, candidate, after in each_step(parts):
            recur(hidden, step_sums, step_gates)
            switches.sigmoid_()
            tanh(candidate.addcmul_(reset, memory))
            hidden = torch.lerp(candidate, hidden, update, out=after)
        return (hidden,)

    def backward_steps(self, backward: BackwardPass) -> Tensor:
        (d_last,) = backward.d_state
        gates, candidate = backward.kept
        reset, update, memory = gates.chunk(3, dim=-1)
        one = gates.new_ones(())
        factors = backward.buffer("factors", 3 * self.size)
        to_reset, to_update, to_memory = factors.chunk(3, dim=-1)
        to_candidate = backward.buffer("to_candidate", self.size)
        new = one - update
        torch.addcmul(one, candidate, candidate, value=-1, out=to_candidate).mul_(new)
        torch.mul(to_candidate, reset, out=to_memory)
        unit = 0.5 if tanh_is_slow(d_last) else 1.0  # of m, which the forward pass keeps doubled where tanh is slow
        torch.mul(to_memory, memory, out=to_reset).mul_(torch.sub(one * unit, reset, alpha=unit))
        torch.sub(backward.before(backward.output, 0), candidate, out=to_update).mul_(update).mul_(new)

        d_sums = backward.buffer("sums", 3 * self.size)
        d_hidden = backward.buffer("hidden", self.size)
        d_hidden[-1] = d_last
        d_direct = torch.empty_like(d_last)
        by_gate = [d_sums.unflatten(-1, (3, -1)), d_hidden.unsqueeze(2), factors.unflatten(-1, (3, -1))]
        steps = [*(part.unbind(0) for part in (*by_gate, d_sums, d_hidden, update)), backward.incoming()]
        befores = [d_last, *d_hidden[:-1].unbind(0)]
        for d_gates, d_of_each, factor, d_step, d_after, share, incoming, d_before in reversed(
            list(zip(*steps, befores, strict=True))
        ):
            torch.mul(d_of_each, factor, out=d_gates)
            torch.addcmul(incoming, d_after, share, out=d_direct)
            backward.carry(d_step, d_direct, d_before)
        return d_sums

    def input_bias(self, d_weights: dict[str, Tensor]) -> None:
        d_weights["bias_ih"][: 2 * self.size] = d_weights["bias_hh"][: 2 * self.size]

    def input_sums(self, backward: BackwardPass, d_sums: Tensor) -> Tensor:
        d_candidate = backward.buffer("to_candidate", self.size).mul_(backward.buffer("hidden", self.size))
        d_sums[..., 2 * self.size :] = d_candidate
        if backward.weights.bias_ih is not None:
            backward.d_weights["bias_ih"][2 * self.size :] += d_candidate.sum((0, 1))
        return d_sums
