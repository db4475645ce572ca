"""The base class of all kernels: the input projection, the sums over time, and the gradients of the weights.

For one layer in one direction, its states s_t = (h_t, ...), sums a_t = W_ih x_t + b_ih + W_hh h_{t-1} + b_hh and a
loss L:

    forward    s_t = cell(a_t, s_{t-1})                                            for t = 1 .. T
    backward   dL/da_t     = (ds_t/da_t)^T dL/ds_t                                 for t = T .. 1
               dL/ds_{t-1} = gradient from outside + (ds_t/ds_{t-1})^T dL/ds_t,    and for h also + W_hh^T dL/da_t
               dL/dW_hh = sum_t dL/da_t h_{t-1}^T      dL/dx_t = W_ih^T dL/da_t
               dL/dW_ih = sum_t dL/da_t x_t^T          dL/db   = sum_t dL/da_t

Paul Werbos, "Backpropagation through time: what it does and how to do it", Proceedings of the IEEE 78(10), 1990.

Autograd goes the same way one operation of one step at a time, and keeps every operand. This is faster because:

- Backwards, the recurrence is linear in dL/ds_t. Its factors ds_t/da_t and ds_t/ds_{t-1} follow from the states alone
  and are computed for many steps at once; the loop is left with one product and a few multiplications a step.
- The sums over time are one matrix product over many steps.
- Steps are taken in chunks that fit into the processor's cache. Only the output and what `kept` names outlive a chunk.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from seqmodels.layers.bptt.pointwise import tanh_is_slow
from seqmodels.layers.bptt.products import StepProduct, linear, outer, step_product
from seqmodels.layers.cell import States, Weights

CHUNK = 2**18
"""Numbers in the widest buffer of a chunk: 1 MiB in single precision, the size of a core's second-level cache."""

ROWS = 4
"""Rows of a chunk for each unit, at least: with fewer, adding to the weight's gradient costs as much as the product."""


class Kernel(ABC):
    """Forward and backward pass of dense sequences (time, batch, features), outside autograd, in float32 or float64.

    `layer` is the layer whose step the kernel computes, with its arguments, such as a nonlinearity. The rows of the
    sums are stacked as the layer's weights are.
    """

    width: int
    """Numbers for each unit in the widest buffer of a chunk."""

    tanh_gate: int | None = None
    """The gate whose sums are doubled on the way forwards, for tanh(a) = 2 sigmoid(2a) - 1, where tanh is slow."""

    def __init__(self, layer: Any) -> None:
        self.layer = layer
        self.size = layer.hidden_size

    def forward(self, sequence: Tensor, state: States, weights: Weights, keep: bool) -> tuple[Tensor, States, list]:
        """The output, the final state, and, if `keep`, the tensors that `backward` needs."""
        time, batch, _ = sequence.shape
        chunks, self.keep = self.chunks(time, batch), keep
        output = sequence.new_empty(time, batch, weights.weight_hh.size(1))
        kept = [sequence.new_empty(time if keep else chunks[0].stop, batch, size) for size in self.kept()]
        with torch.inference_mode():
            weight_ih, weight_hh = weights.weight_ih, weights.weight_hh
            bias = None if weights.bias_ih is None else self.projected_bias(weights)
            if self.tanh_gate is not None and tanh_is_slow(state[-1]):
                weight_ih, weight_hh, bias = (self.doubled(part) for part in (weight_ih, weight_hh, bias))
            recur = step_product(weight_hh, batch)
            for chunk in chunks:
                part = [whole[chunk] if keep else whole[: chunk.stop - chunk.start] for whole in kept]
                sums = (part or [output[chunk]])[0]
                linear(sequence[chunk].reshape(-1, sequence.size(2)), weight_ih, bias, out=sums.flatten(0, 1))
                state = self.forward_steps(recur, state, output[chunk], part, weights)
        return output, tuple(part.clone() for part in state), kept if keep else []

    def backward(
        self, sequence: Tensor, state: States, weights: Weights, output: Tensor, kept: list[Tensor],
        d_output: Tensor | None, d_final: tuple[Tensor | None, ...], needs_sequence: bool,
    ) -> tuple[Tensor | None, States, dict[str, Tensor]]:  # fmt: skip
        """The gradients of the sequence (None unless needed), the initial state and the weights.

        `d_output` and `d_final` are the gradients of the output and the final state; None stands for zeros.
        """
        time, batch, features = sequence.shape
        d_sequence = sequence.new_empty(sequence.shape) if needs_sequence else None
        d_weights = {name: torch.zeros_like(weight) for name, weight in vars(weights).items() if weight is not None}
        d_state = tuple(
            torch.zeros_like(part) if given is None else given.clone()
            for part, given in zip(state, d_final, strict=True)
        )
        with torch.inference_mode():
            if d_output is not None:
                d_state[0].add_(d_output[-1])
            carry = step_product(weights.weight_hh.t(), batch)
            backward = BackwardPass(state, weights, output, kept, d_output, d_state, d_weights, carry)
            for chunk in reversed(self.chunks(time, batch)):
                backward.steps = chunk
                d_sums = self.backward_steps(backward)
                outer(d_sums.flatten(0, 1), backward.before(output, 0).flatten(0, 1), d_weights["weight_hh"])
                if weights.bias_hh is not None:
                    d_weights["bias_hh"] += d_sums.sum((0, 1))
                d_sums = self.input_sums(backward, d_sums)
                outer(d_sums.flatten(0, 1), sequence[chunk].reshape(-1, features), d_weights["weight_ih"])
                if d_sequence is not None:
                    linear(d_sums.flatten(0, 1), weights.weight_ih.t(), None, out=d_sequence[chunk].flatten(0, 1))
            if weights.bias_ih is not None:
                self.input_bias(d_weights)
        return d_sequence, d_state, d_weights

    def kept(self) -> list[int]:
        """The features of each tensor that `forward_steps` fills for `backward_steps`, beside the output."""
        return []

    @abstractmethod
    def projected_bias(self, weights: Weights) -> Tensor | None:
        """The bias that is added to W_ih x for all steps at once."""

    @abstractmethod
    def forward_steps(
        self, recur: StepProduct, state: States, output: Tensor, kept: list[Tensor], weights: Weights
    ) -> States:
        """Take the steps of a chunk: fill `output` and `kept`, and return the state after the last one.

        The first of `kept`, or if nothing is kept the output, holds W_ih x plus the projected bias.
        `recur(h, addend, out)` writes addend + W_hh h into out.
        """

    @abstractmethod
    def backward_steps(self, backward: "BackwardPass") -> Tensor:
        """Take the steps of a chunk backwards, and return dL/d(W_hh h + b_hh), (time, batch, rows).

        `backward.d_state` holds dL/ds at the end of the chunk, and is to be overwritten by that at its beginning.
        """

    def input_sums(self, backward: "BackwardPass", d_sums: Tensor) -> Tensor:
        """dL/d(W_ih x + b_ih), given dL/d(W_hh h + b_hh), which may be overwritten."""
        return d_sums

    def input_bias(self, d_weights: dict[str, Tensor]) -> None:
        """Set dL/db_ih, given dL/db_hh."""
        d_weights["bias_ih"].copy_(d_weights["bias_hh"])

    def doubled(self, weight: Tensor | None) -> Tensor | None:
        """A copy with the rows of the gate `tanh_gate` doubled."""
        if weight is None or self.tanh_gate is None:
            return weight
        if len(weight) == self.size:
            return 2 * weight
        copy = weight.clone()
        copy[self.tanh_gate * self.size : (self.tanh_gate + 1) * self.size].mul_(2)
        return copy

    def working(self, kept: Tensor) -> Tensor:
        """Where the steps of a chunk write their values: each to its own place, or all to one if nothing is kept."""
        return kept if self.keep else torch.empty_like(kept[:1])

    def chunks(self, time: int, batch: int) -> list[slice]:
        rows = max(CHUNK // (self.size * self.width), ROWS * self.size)
        steps = max(1, rows // batch)
        return [slice(start, min(start + steps, time)) for start in range(0, time, steps)]


def each_step(parts: list[Tensor]) -> Iterator[tuple[Tensor, ...]]:
    """The slices of tensors along time. A tensor of a single step is repeated for every step."""
    steps = max(map(len, parts))
    return zip(*([part[0]] * steps if len(part) < steps else part.unbind(0) for part in parts), strict=True)


class BackwardPass:
    """The state of a backward pass from the last chunk to the first one: the tensors that it reads and fills."""

    steps: slice
    """The steps of the current chunk."""

    def __init__(
        self, state: States, weights: Any, output: Tensor, kept: list[Tensor], d_output: Tensor | None,
        d_state: States, d_weights: dict[str, Tensor], carry: StepProduct,
    ) -> None:  # fmt: skip
        self.state, self.weights, self.output, self.all_kept = state, weights, output, kept
        self.d_output, self.d_state, self.d_weights = d_output, d_state, d_weights
        self.carry = carry
        """carry(d, addend, out) writes addend + W_hh^T d into out."""
        self.nothing = torch.zeros_like(output[0])
        self.buffers: dict[str, Tensor] = {}

    @property
    def kept(self) -> list[Tensor]:
        """The tensors that the forward pass has kept, for the steps of the chunk."""
        return [part[self.steps] for part in self.all_kept]

    def before(self, states: Tensor, position: int) -> Tensor:
        """The state before each step of the chunk, given the state after each step of the sequence.

        `position` is the index of the state in `Cell.states`.
        """
        if self.steps.start > 0:
            return states[self.steps.start - 1 : self.steps.stop - 1]
        return torch.cat([self.state[position].unsqueeze(0), states[: self.steps.stop - 1]])

    def incoming(self) -> list[Tensor]:
        """dL/dh from the output before each step of the chunk; zeros before the first step of the sequence."""
        if self.d_output is None:
            return [self.nothing] * (self.steps.stop - self.steps.start)
        if self.steps.start > 0:
            return list(self.d_output[self.steps.start - 1 : self.steps.stop - 1].unbind(0))
        return [self.nothing, *self.d_output[: self.steps.stop - 1].unbind(0)]

    def buffer(self, name: str, columns: int) -> Tensor:
        """A tensor (time, batch, columns) for intermediate results of a chunk, reused by the next one."""
        steps = self.steps.stop - self.steps.start
        if name not in self.buffers or len(self.buffers[name]) < steps:
            self.buffers[name] = self.output.new_empty(steps, self.output.size(1), columns)
        return self.buffers[name][:steps]
