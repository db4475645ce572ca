"""The kernel of the LSTM.

    i_t, f_t, o_t = sigmoid(a_t),  g_t = tanh(a_t)            with a_t = W_ih x_t + b_ih + W_hh h_{t-1} + b_hh of each
    c_t = f_t * c_{t-1} + i_t * g_t
    h_t = o_t * tanh(c_t),  or with a projection  W_hr (o_t * tanh(c_t))

With dh_t = dL/dh_t and dc_t = dL/dc_t from outside and from step t + 1, and d the gradient of a gate's sum (before
its sigmoid or tanh), as sigmoid' = sigmoid (1 - sigmoid) and tanh' = 1 - tanh^2:

    dm_t = dh_t,  or with a projection  W_hr^T dh_t
    do_t = tanh(c_t) o_t (1 - o_t)       * dm_t
    dc_t = dc_t + o_t (1 - tanh(c_t)^2)  * dm_t
    di_t = g_t i_t (1 - i_t)             * dc_t
    df_t = c_{t-1} f_t (1 - f_t)         * dc_t
    dg_t = i_t (1 - g_t^2)               * dc_t
    dc_{t-1} = f_t                       * dc_t
    dh_{t-1} = dL/dy_{t-1} + W_hh^T (di_t, df_t, dg_t, do_t)
    dL/dW_hr = sum_t dh_t (o_t * tanh(c_t))^T

Each is a factor, known from the forward pass, times dm_t or dc_t.
"""

import torch
from torch import Tensor

from seqmodels.layers.bptt.kernel import BackwardPass, Kernel, each_step
from seqmodels.layers.bptt.pointwise import tanh_for, tanh_is_slow
from seqmodels.layers.bptt.products import StepProduct, outer
from seqmodels.layers.cell import States, Weights


class LSTMKernel(Kernel):
    """Keeps i, f, g and o in one tensor, and the cells c in another, for the backward pass."""

    width = 4
    tanh_gate = 2

    def kept(self) -> list[int]:
        return [4 * self.size, self.size]

    def projected_bias(self, weights: Weights) -> Tensor:
        return weights.bias_ih + weights.bias_hh

    def forward_steps(
        self, recur: StepProduct, state: States, output: Tensor, kept: list[Tensor], weights: Weights
    ) -> States:
        hidden, cell = state
        sums, cells = kept
        tanh = tanh_for(cell)
        doubled, minus_one = tanh_is_slow(cell), cell.new_tensor(-1.0)
        scratch = torch.empty_like(cell)
        gates = self.working(sums)
        parts = [sums, gates, *gates.chunk(4, dim=-1), self.working(cells), output]
        for step_sums, step_gates, input_gate, forget_gate, candidate, output_gate, cell_after, after in each_step(
            parts
        ):
            recur(hidden, step_sums, step_gates)
            if doubled:
                step_gates.sigmoid_()
                torch.add(minus_one, candidate, alpha=2, out=candidate)
            else:
                torch.tanh(candidate, out=scratch)
                step_gates.sigmoid_()
                candidate.copy_(scratch)
            cell = torch.mul(forget_gate, cell, out=cell_after).addcmul_(input_gate, candidate)
            if self.layer.proj_size:
                tanh(cell, scratch)
                hidden = torch.mm(scratch.mul_(output_gate), weights.weight_hr.t(), out=after)
            else:
                tanh(cell, after)
                hidden = after.mul_(output_gate)
        return hidden, cell

    def backward_steps(self, backward: BackwardPass) -> Tensor:
        d_hidden, d_cell = backward.d_state
        gates, cells = backward.kept
        input_gate, forget_gate, candidate, output_gate = gates.chunk(4, dim=-1)
        one = gates.new_ones(())
        tanh_cells = torch.empty_like(cells)
        tanh_for(cells)(cells, tanh_cells)
        factors = backward.buffer("factors", 4 * self.size)
        to_input, to_forget, to_candidate, to_output = factors.chunk(4, dim=-1)
        torch.mul(candidate, input_gate, out=to_input).mul_(one - input_gate)
        torch.mul(backward.before(backward.all_kept[1], 1), forget_gate, out=to_forget).mul_(one - forget_gate)
        torch.addcmul(one, candidate, candidate, value=-1, out=to_candidate).mul_(input_gate)
        torch.mul(tanh_cells, output_gate, out=to_output).mul_(one - output_gate)
        to_cell = torch.addcmul(one, tanh_cells, tanh_cells, value=-1).mul_(output_gate)

        d_sums = backward.buffer("sums", 4 * self.size)
        by_gate, factor_by_gate = d_sums.unflatten(-1, (4, -1)), factors.unflatten(-1, (4, -1))
        parts = [by_gate[:, :, :3], factor_by_gate[:, :, :3], by_gate[:, :, 3], to_output, to_cell, forget_gate, d_sums]
        steps = [*(part.unbind(0) for part in parts), backward.incoming()]
        d_unprojected = d_hidden
        if self.layer.proj_size:
            d_unprojected = torch.empty_like(d_cell)
            d_projections = backward.buffer("projections", self.layer.proj_size)
            projections = list(d_projections.unbind(0))
        d_cell_of_each = d_cell.unsqueeze(1)
        for d_three, three_factors, d_output_gate, output_factor, cell_factor, share, d_step, incoming in reversed(
            list(zip(*steps, strict=True))
        ):
            if self.layer.proj_size:
                torch.mm(projections.pop().copy_(d_hidden), backward.weights.weight_hr, out=d_unprojected)
            torch.mul(d_unprojected, output_factor, out=d_output_gate)
            d_cell.addcmul_(d_unprojected, cell_factor)
            torch.mul(d_cell_of_each, three_factors, out=d_three)
            d_cell.mul_(share)
            backward.carry(d_step, incoming, d_hidden)
        if self.layer.proj_size:
            tanh_cells.mul_(output_gate)
            outer(d_projections.flatten(0, 1), tanh_cells.flatten(0, 1), backward.d_weights["weight_hr"])
        return d_sums
