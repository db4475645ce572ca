"""A kernel for any cell that is element by element beyond its two products, from its `combine` alone.

    s_t = combine(p_t, q_t, s_{t-1})         with p_t = W_ih x_t + b_ih and q_t = W_hh h_{t-1} + b_hh

Unit k of every state depends on unit k of the states before it and on row k of each gate alone. The Jacobians of all
steps of a chunk are therefore diagonal blocks, and one pass of autograd for each state, over all steps at once and with
ones for gradients, gives them whole. What is left for the loop over time is

    dL/dq_t     = sum over states s of  ds_t/dq_t * dL/ds_t
    dL/dr_{t-1} = sum over states s of  ds_t/dr_{t-1} * dL/ds_t,      and for h also + W_hh^T dL/dq_t

and a last pass of autograd, with the dL/ds_t found, gives the gradients of p and of any further parameters. Compared
with a kernel by hand it recomputes the cell once more, and multiplies where a hand would see that a factor serves
twice.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from seqmodels.layers.fused.kernel import Backward, Kernel, State
from seqmodels.layers.fused.products import StepProduct
from seqmodels.layers.weights import Weights


class DerivedKernel(Kernel):
    """Kept for the backward pass: the projected inputs, and the states other than the output."""

    mode = staticmethod(torch.no_grad)  # autograd takes no tensors made in inference mode

    @property
    def width(self) -> int:  # type: ignore[override]
        return self.layer.gates * len(self.layer.states)

    def kept(self) -> list[int]:
        return [self.layer.gates * self.size] + [self.size] * (len(self.layer.states) - 1)

    def projected_bias(self, weights: Weights) -> Tensor:
        return weights.bias_ih

    def combine(self, projected: Tensor, recurrent: Tensor, state: State, weights: Weights) -> State:
        after = self.layer.combine(projected, recurrent, state if len(state) > 1 else state[0], weights)
        return after if isinstance(after, tuple) else (after,)

    def forward_steps(
        self, recur: StepProduct, state: State, output: Tensor, kept: list[Tensor], weights: Weights
    ) -> State:
        projected, *others = kept
        recurrent = torch.empty_like(projected[0])
        bias = projected.new_zeros(()) if weights.bias_hh is None else weights.bias_hh
        slots = zip(*(part.unbind(0) for part in (output, *others)), strict=True)
        for inputs, slot in zip(projected.unbind(0), slots, strict=True):
            recur(state[0], bias, recurrent)
            for part, after in zip(slot, self.combine(inputs, recurrent, state, weights), strict=True):
                part.copy_(after)
            state = slot
        return state

    def backward_steps(self, chunk: Backward) -> Tensor:
        projected, *_ = chunk.kept
        after = [chunk.output, *chunk.all_kept[1:]]
        befores = [chunk.before(states, position) for position, states in enumerate(after)]
        recurrent = F.linear(befores[0], chunk.weights.weight_hh, chunk.weights.bias_hh)
        # Autograd over all steps at once.
        with torch.enable_grad():
            leaves = [part.detach().requires_grad_() for part in (projected, recurrent, *befores)]
            further = {
                name: weight.detach().requires_grad_()
                for name, weight in vars(chunk.weights).items()
                if weight is not None and name not in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            }
            weights = Weights(**vars(chunk.weights) | further)
            states = self.combine(leaves[0], leaves[1], tuple(leaves[2:]), weights)
        jacobians = [
            torch.autograd.grad(part, leaves[1:], torch.ones_like(part), retain_graph=True, allow_unused=True)
            for part in states
        ]
        # The loop over time.
        gates = self.layer.gates
        d_recurrent = torch.empty_like(recurrent)
        d_states = [torch.empty_like(part) for part in befores]
        for step, incoming in reversed(list(enumerate(chunk.incoming()))):
            d_sums = d_recurrent[step].unflatten(-1, (gates, -1)).zero_()
            d_before: list[Any] = [None] * len(states)
            for d_all, d_state, (to_sums, *to_states) in zip(d_states, chunk.d_state, jacobians, strict=True):
                d_all[step] = d_state
                if to_sums is not None:
                    d_sums.addcmul_(to_sums[step].unflatten(-1, (gates, -1)), d_state.unsqueeze(1))
                for position, factor in enumerate(to_states):
                    if factor is not None:
                        part = factor[step] * d_state
                        d_before[position] = part if d_before[position] is None else d_before[position] + part
            for position, (d_state, d_part) in enumerate(zip(chunk.d_state, d_before, strict=True)):
                d_part = torch.zeros_like(d_state) if d_part is None else d_part
                if position == 0:
                    chunk.carry(d_recurrent[step], d_part + incoming, d_state)
                else:
                    d_state.copy_(d_part)
        # What is not on the way back in time.
        rest = [leaves[0], *further.values()]
        d_rest = torch.autograd.grad(states, rest, d_states, allow_unused=True)
        self.d_projected, *d_further = (
            torch.zeros_like(leaf) if part is None else part for leaf, part in zip(rest, d_rest, strict=True)
        )
        for name, part in zip(further, d_further, strict=True):
            chunk.d_weights[name] += part
        return d_recurrent

    def input_sums(self, chunk: Backward, d_sums: Tensor) -> Tensor:
        if chunk.weights.bias_ih is not None:
            chunk.d_weights["bias_ih"] += self.d_projected.sum((0, 1))
        return self.d_projected

    def input_bias(self, d_weights: dict[str, Tensor]) -> None:
        pass
