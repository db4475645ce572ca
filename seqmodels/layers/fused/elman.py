"""The Elman network's kernel.

    h_t = f(a_t),  a_t = W_ih x_t + b_ih + W_hh h_{t-1} + b_hh

With f = tanh, f'(a) = 1 - tanh(a)^2; with f = relu, f'(a) is 1 where relu(a) > 0 and 0 elsewhere. Both follow from
h_t, so that the output is all that is kept, and

    dL/da_t     = f'(a_t) * dL/dh_t
    dL/dh_{t-1} = dL/dy_{t-1} + W_hh^T dL/da_t            with dL/dy_t the gradient of the output of step t
"""

import torch
from torch import Tensor

from seqmodels.layers.fused.kernel import Backward, Kernel, State
from seqmodels.layers.fused.pointwise import tanh_in_place_for
from seqmodels.layers.fused.products import StepProduct
from seqmodels.layers.weights import Weights


class ElmanKernel(Kernel):
    width = 1

    @property
    def tanh_gate(self) -> int | None:  # type: ignore[override]
        return 0 if self.layer.nonlinearity == "tanh" else None

    def projected_bias(self, weights: Weights) -> Tensor:
        return weights.bias_ih + weights.bias_hh

    def forward_steps(
        self, recur: StepProduct, state: State, output: Tensor, kept: list[Tensor], weights: Weights
    ) -> State:
        (hidden,) = state
        activate = tanh_in_place_for(hidden) if self.layer.nonlinearity == "tanh" else Tensor.relu_
        for step in output.unbind(0):
            recur(hidden, step, step)
            activate(step)
            hidden = step
        return (hidden,)

    def backward_steps(self, chunk: Backward) -> Tensor:
        (d_hidden,) = chunk.d_state
        output = chunk.output[chunk.chunk]
        if self.layer.nonlinearity == "tanh":
            slopes = torch.addcmul(output.new_ones(()), output, output, value=-1)
        else:
            slopes = (output > 0).to(output.dtype)
        d_sums = chunk.buffer("sums", self.size)
        steps = zip(d_sums.unbind(0), slopes.unbind(0), chunk.incoming(), strict=True)
        for d_step, slope, incoming in reversed(list(steps)):
            torch.mul(d_hidden, slope, out=d_step)
            chunk.carry(d_step, incoming, d_hidden)
        return d_sums
