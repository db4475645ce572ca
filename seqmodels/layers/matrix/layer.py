"""Layers whose state is a matrix for each head: what they share, and what the author of one has to define.

    p_t = W_ih x_t + b_ih                                            queries, keys, values, gates     (`projections`)
    q_t, k_t, v_t, w_t, a_t, b_t = f(p_t)                            what a step does to the state    (`update`)
    S_t = diag(w_t) S_{t-1} + b_t (a_t^T S_{t-1}) + k_t v_t^T        for each head
    y_t = g(S_t^T q_t)                                               norm, gate and projection W_ho   (`read`)

A layer is its `projections` and its `update`. The recurrence, step by step or in chunks, is that of scan.py; the short
convolution in front of it is that of convolution.py.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Unpack

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from seqmodels.checks import check_flag, check_whole
from seqmodels.layers.cell import States, Weights, without_autocast
from seqmodels.layers.convolution import causal_convolution
from seqmodels.layers.decay import draw_decay
from seqmodels.layers.matrix.scan import Steps, matrix_loop, matrix_scan
from seqmodels.layers.stack import LayerSettings, RecurrentLayer

EPSILON = 1e-5
"""Added to the mean square by which an output is normalised."""


class MatrixSettings(LayerSettings, total=False):
    """The arguments of `MatrixLayer` after the sizes."""

    heads: int
    expand_k: float
    expand_v: float
    kernel_size: int | None
    learned_state: bool
    chunk: int


@dataclass(frozen=True)
class Update(Steps):
    """What steps do to the state, and what else a layer needs to read it."""

    gate: Any = None
    """Multiplies the outputs of the heads, (time, batch, heads, V); None for no gate."""
    bound: Any = None
    """The least value of a normaliser, (time, batch, heads, 1), if there is one."""
    carried: States = ()
    """The states other than the matrix after the last step, in the order of `carried`."""


class MatrixLayer(RecurrentLayer):
    """Base class of layers with a matrix state; a subclass defines `projections` and `update`.

    The states are (y, S), then those in `carried`, and "past", the last inputs of the convolution, if there is one.

    Args:
        heads: state matrices, each of K = expand_k * hidden_size / heads rows and V = expand_v * hidden_size / heads
            columns.
        expand_k, expand_v: features of all keys and of all values, in units of `hidden_size`.
        kernel_size: steps that the short convolution of queries, keys and values combines, at least 2; None for no
            convolution.
        learned_state: the state before the first step is learned; otherwise it is zero.
        chunk: steps that are computed together, a power of two. It changes speed and memory, not the numbers.
        others: see `RecurrentLayer`. The papers have no biases, as their inputs come from a block with a norm.

    Raises:
        TypeError, ValueError: as `RecurrentLayer`; and if `heads` does not divide the features of keys or values, or
            `chunk` is not a power of two.
    """

    states: tuple[str, ...] = ("y", "S")

    convolved: tuple[str, ...] = ("q", "k", "v")
    """The projections that the convolution acts on; they come first in `projections`."""

    steps_per_input: int = 1
    """Steps of the recurrence for each input; the last one is read."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        heads: int = 4,
        expand_k: float = 1.0,
        expand_v: float = 1.0,
        kernel_size: int | None = None,
        learned_state: bool = False,
        chunk: int = 16,
        **settings: Unpack[LayerSettings],
    ) -> None:
        check_whole("hidden_size", hidden_size, 1)
        check_whole("heads", heads, 1)
        self.key_size = features_of_a_head("expand_k", expand_k, hidden_size, heads)
        self.value_size = features_of_a_head("expand_v", expand_v, hidden_size, heads)
        if kernel_size is not None:
            check_whole("kernel_size", kernel_size, 2)
        check_flag("learned_state", learned_state)
        check_whole("chunk", chunk, 1)
        if chunk & (chunk - 1):
            raise ValueError(f"chunk should be a power of two, got {chunk}")
        self.hidden_size, self.heads, self.expand_k, self.expand_v = hidden_size, heads, expand_k, expand_v
        self.kernel_size, self.learned_state, self.chunk = kernel_size, learned_state, chunk
        self.states = ("y", "S", *self.carried, *(["past"] if kernel_size else []))
        super().__init__(input_size, hidden_size, **settings)

    def projections(self) -> dict[str, tuple[int, ...]]:
        """The names and shapes of what `weight_ih` computes at each step, in the order of its rows."""
        keys, values = (self.heads, self.key_size), (self.heads, self.value_size)
        return {"q": keys, "k": keys, "v": values}

    def update(self, weights: Weights, carried: States, *unused: Any, **projections: Any) -> Update:
        """What the steps do to the state.

        Args:
            weights: the parameters by their names in `shapes`.
            carried: the states named in `carried` before the first step, (batch, features).
            projections: the `projections` by their names, (time, batch, *shape), after the convolution.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no update")

    def read(self, output: Tensor, update: Update, weights: Weights) -> Tensor:
        """From the outputs of the recurrence (time, batch, heads, V) to those of the layer, (time, batch, features).

        RMSNorm over each head, times the gate if there is one, and a projection.
        """
        normalised = F.rms_norm(output, output.shape[-1:], weights.gain, EPSILON)
        gated = normalised if update.gate is None else normalised * update.gate
        return F.linear(gated.flatten(-2), weights.weight_ho, weights.bias_ho)

    @property
    def carried(self) -> dict[str, int]:
        """The names and sizes of states other than y, the matrix and the past of the convolution."""
        return {}

    @property
    def state_shape(self) -> tuple[int, int, int]:
        """(heads, K, V), of the matrix state."""
        return self.heads, self.key_size, self.value_size

    @property
    def state_sizes(self) -> tuple[int, ...]:
        past = [(self.kernel_size - 1) * self._channels()] if self.kernel_size else []
        return self.hidden_size, math.prod(self.state_shape), *self.carried.values(), *past

    def shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        rows = sum(self._sizes())
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, input_size),
            "weight_ho": (self.hidden_size, self.heads * self.value_size),
            "gain": (self.value_size,),
        }
        if self.kernel_size:
            shapes["weight_conv"] = (self._channels(), self.kernel_size)
        if self.learned_state:
            shapes["start"] = (math.prod(self.state_shape),)
        return shapes | ({"bias_ih": (rows,), "bias_ho": (self.hidden_size,)} if self.bias else {})

    def reset_parameters(self) -> None:
        """Draw weights and biases from U(-1/sqrt(hidden_size), 1/sqrt(hidden_size)), those of the convolution from
        U(-1/sqrt(kernel_size), 1/sqrt(kernel_size)), and decays by `draw_decay`; gains start at 1."""
        super().reset_parameters()
        for name, parameter in self.named_parameters():
            if name.startswith(("gain", "skip")):
                nn.init.ones_(parameter)
            elif name.startswith("weight_conv"):
                bound = 1 / math.sqrt(parameter.size(1))
                nn.init.uniform_(parameter, -bound, bound)
        draw_decay(self)

    def initial_state(self, like: Tensor, rows: int, batch: int) -> States:
        states = super().initial_state(like, rows, batch)
        if not self.learned_state:
            return states
        starts = [
            getattr(self, "start" + suffix) for layer in range(self.num_layers) for suffix in self.suffixes(layer)
        ]
        return states[0], torch.stack(starts).unsqueeze(1).expand(-1, batch, -1), *states[2:]

    def step(self, projected: Tensor, state: States, weights: Weights) -> States:
        return self._run(projected.unsqueeze(0), state, weights, matrix_loop)[1]

    def scan(self, projected: Tensor, state: States, weights: Weights) -> tuple[Tensor, States]:
        return self._run(projected, state, weights, partial(matrix_scan, chunk=self.chunk))

    def _run(
        self, projected: Tensor, state: States, weights: Weights, recurrence: Callable[..., tuple[Tensor, Tensor]]
    ) -> tuple[Tensor, States]:
        _, matrix, *rest = state
        past: States = ()
        # The recurrence keeps the precision of the weights, also under autocast.
        with without_autocast(projected):
            projected = projected.to(weights.weight_ih.dtype)
            if self.kernel_size:
                channels = self._channels()
                mixed, others = projected.split([channels, projected.size(-1) - channels], dim=-1)
                mixed, after = causal_convolution(mixed, rest.pop(), weights.weight_conv, weights.bias_conv)
                projected, past = torch.cat([mixed, others], dim=-1), (after,)
            pieces = zip(self.projections().items(), projected.split(self._sizes(), dim=-1), strict=True)
            named = {name: piece.unflatten(-1, shape) for (name, shape), piece in pieces}
            update = self.update(weights, tuple(rest), **named)
            output, matrix = recurrence(update, matrix.unflatten(-1, self.state_shape))
        output = self.read(output[self.steps_per_input - 1 :: self.steps_per_input], update, weights)
        return output, (output[-1], matrix.flatten(1), *update.carried, *past)

    def _sizes(self) -> list[int]:
        """Rows of `weight_ih` of each projection."""
        return [math.prod(shape) for shape in self.projections().values()]

    def _channels(self) -> int:
        """Channels of the convolution."""
        return sum(self._sizes()[: len(self.convolved)])

    def extra_repr(self) -> str:
        return super().extra_repr() + f", heads={self.heads}"


def features_of_a_head(name: str, expansion: Any, hidden_size: int, heads: int) -> int:
    """expansion * hidden_size / heads, once it is checked to be a positive whole number."""
    if isinstance(expansion, bool) or not isinstance(expansion, int | float) or not 0 < expansion < math.inf:
        raise ValueError(f"{name} should be a positive number, got {expansion!r}")
    features = expansion * hidden_size
    if features % heads:
        times = "" if expansion == 1 else f" times {name}={expansion:g}"
        raise ValueError(f"hidden_size={hidden_size}{times} should be a multiple of heads={heads}")
    return int(features) // heads


def unit(vectors: Tensor, length: float = 1.0) -> Tensor:
    """Vectors (..., features) of this length, in their own directions.

    The square of the length that they are divided by is increased by 1e-6, so 0 stays 0.
    """
    return vectors * (length * torch.rsqrt(vectors.square().sum(-1, keepdim=True) + 1e-6))
