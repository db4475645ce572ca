"""The kernel of the Elman network.

    h_t = f(a_t),  a_t = W_ih x_t + b_ih + W_hh h_{t-1} + b_hh

With f = tanh, f'(a) = 1 - tanh(a)^2; with f = relu, f'(a) is 1 where relu(a) > 0 and 0 elsewhere. Both follow from
h_t, so only the output is kept, and

    dL/da_t     = f'(a_t) * dL/dh_t
    dL/dh_{t-1} = dL/dy_{t-1} + W_hh^T dL/da_t            with dL/dy_t the gradient of the output of step t
"""

import torch
from torch import Tensor

from seqmodels.layers.bptt.kernel import BackwardPass, Kernel
from seqmodels.layers.bptt.pointwise import tanh_in_place_for
from seqmodels.layers.bptt.products import StepProduct
from seqmodels.layers.cell import States, Weights


class ElmanKernel(Kernel):
    width = 1

    @property
    def tanh_gate(self) -> int | None:  # type: ignore[override]
        return 0 if self.layer.nonlinearity == "tanh" else None

    def projected_bias(self, weights: Weights) -> Tensor:
        return weights.bias_ih + weights.bias_hh

    def forward_steps(
        self, recur: StepProduct, state: States, output: Tensor, kept: list[Tensor], weights: Weights
    ) -> States:
        (hidden,) = state
        activate = tanh_in_place_for(hidden) if self.layer.nonlinearity == "tanh" else Tensor.relu_
        for step in output.unbind(0):
            recur(hidden, step, step)
            activate(step)
            hidden = step
        return (hidden,)

    def backward_steps(self, backward: BackwardPass) -> Tensor:
        (d_hidden,) = backward.d_state
        output = backward.output[backward.steps]
        if self.layer.nonlinearity == "tanh":
            slopes = torch.addcmul(output.new_ones(()), output, output, value=-1)
        else:
            slopes = (output > 0).to(output.dtype)
        d_sums = backward.buffer("sums", self.size)
        steps = zip(d_sums.unbind(0), slopes.unbind(0), backward.incoming(), strict=True)
        for d_step, slope, incoming in reversed(list(steps)):
            torch.mul(d_hidden, slope, out=d_step)
            backward.carry(d_step, incoming, d_hidden)
        return d_sums
