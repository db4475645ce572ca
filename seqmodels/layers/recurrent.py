"""What every recurrent layer shares: stacking, direction, dropout, packing, batch order and the loop over time.

A stack of `num_layers` layers reads a sequence `x_1 .. x_T`; layer `k` reads the outputs of layer `k - 1`.
Within a layer the work is split as

    p_t = W_ih x_t + b_ih                 for all steps at once, one matrix product     (`project`)
    s_t = cell(p_t, s_{t-1})              one step after the other                      (`step`)

so a cell, which is all that differs from one recurrent layer to the next, is its gate count, its states and its `step`.

Parameter names, shapes, order and initialisation are those of `torch.nn.RNN`: `weight_ih_l0`, `weight_hh_l0`,
`bias_ih_l0`, `bias_hh_l0`, then `..._l0_reverse` where there are two directions, then `..._l1`. Equal seeds
therefore give equal initial weights, and a state dict loads strictly both ways.
"""

import math
import warnings
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from seqmodels.layers.checks import check_arguments, check_dimensions, check_features, check_states, given_states
from seqmodels.layers.fused import Kernel, fused_scan
from seqmodels.layers.weights import Weights

SHORTEST = 8
"""Steps from which on "auto" is "fused": with fewer, what a kernel sets up costs more than it saves."""

State = Tensor | tuple[Tensor, ...]
"""One tensor, or a tuple where a cell has several states; the first one is what a step puts out."""


class RecurrentLayer(nn.Module):
    """Base class of the recurrent layers; a subclass gives `step`, and what differs of `gates`, `states`, `shapes`.

    Args:
        input_size: features of one input step.
        hidden_size: features of the state h.
        num_layers: how many layers are stacked.
        bias: whether the two biases exist.
        batch_first: inputs and outputs are (batch, time, features) instead of (time, batch, features).
            States are (layers, batch, features) either way.
        dropout: probability of zeroing an output of a layer on its way into the next one, in training only. On the
            CPU equal seeds give the masks of `torch.nn.RNN`; on a GPU cuDNN draws its own, and they differ.
        bidirectional: a second set of weights reads the sequence backwards; outputs are concatenated.
        backend: "loop" takes one step after the other through `step` and autograd. "fused" computes the same numbers
            faster, to rounding, with a backward pass of its own (see `seqmodels.layers.fused`), and falls back to the
            loop for what that cannot do. "auto" is "fused" where the cell has a kernel and the sequence is long enough
            to pay for it.

    Raises:
        TypeError: a size is not a whole number.
        ValueError: a size is not positive, `dropout` is not a probability, or `backend` is none of these, or "fused"
            for a cell without a kernel.
    """

    gates: int = 1
    """Rows of the weights in units of `hidden_size`."""

    states: tuple[str, ...] = ("h",)
    """The names of the states; with more than one, `hx` and `h_n` are tuples in this order, as in `torch.nn.LSTM`."""

    reference: type[nn.Module] | None = None
    """The class whose numbers this one reproduces, if it reproduces any."""

    kernel: type[Kernel] | None = None
    """What computes whole sequences of the `step` that stands in the same class, if there is a faster way."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        backend: Literal["auto", "loop", "fused"] = "auto",
    ) -> None:
        super().__init__()
        check_arguments(input_size, hidden_size, num_layers, dropout)
        for name, flag in [("bias", bias), ("batch_first", batch_first), ("bidirectional", bidirectional)]:
            if not isinstance(flag, bool):
                raise TypeError(f"{name} should be True or False, got {flag!r}")
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                f"dropout={dropout} acts between stacked layers and has no effect with num_layers=1", stacklevel=3
            )
        if backend not in ("auto", "loop", "fused"):
            raise ValueError(f"backend should be 'auto', 'loop' or 'fused', got {backend!r}")
        self.backend = backend
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional

        for layer in range(num_layers):
            layer_input_size = input_size if layer == 0 else self.state_sizes[0] * self.num_directions
            for suffix in self.suffixes(layer):
                for name, shape in self.shapes(layer_input_size).items():
                    empty = torch.empty(shape, device=device, dtype=dtype)
                    self.register_parameter(name + suffix, nn.Parameter(empty))
        self.reset_parameters()
        if backend == "fused" and self._kernel() is None:
            raise ValueError(f"backend should be 'auto' or 'loop', as {type(self).__name__} has no kernel, got 'fused'")

    @property
    def num_directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """Features of each state; of the first one, which is the output, too."""
        return (self.hidden_size,) * len(self.states)

    def suffixes(self, layer: int) -> list[str]:
        """The endings of the parameter names of one layer of the stack, one for each direction."""
        return [f"_l{layer}", f"_l{layer}_reverse"][: self.num_directions]

    def shapes(self, input_size: int) -> dict[str, tuple[int, ...]]:
        """The parameters of one layer in one direction, in their order; a cell with others extends or replaces them."""
        rows = self.gates * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, input_size),
            "weight_hh": (rows, self.state_sizes[0]),
        }
        return shapes | ({"bias_ih": (rows,), "bias_hh": (rows,)} if self.bias else {})

    def reset_parameters(self) -> None:
        """Draw every parameter from U(-1/sqrt(hidden_size), 1/sqrt(hidden_size))."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def initial_state(self, like: Tensor, rows: int, batch: int) -> tuple[Tensor, ...]:
        """The state of `rows` layers and directions where none is given: zeros of the dtype and device of `like`."""
        return tuple(like.new_zeros(rows, batch, size) for size in self.state_sizes)

    def flatten_parameters(self) -> None:
        """Nothing to do: there is no second copy of the weights. Here for code written for `torch.nn.RNN`."""

    def project(self, sequence: Tensor, weights: Weights) -> Tensor:
        """The inputs' part of every step, W_ih x_t + b_ih: (..., features) to (..., gates * hidden_size)."""
        return F.linear(sequence, weights.weight_ih, weights.bias_ih)

    def step(self, projected: Tensor, state: Any, weights: Weights) -> State:
        """The cell.

        Args:
            projected: W_ih x_t + b_ih, (batch, gates * hidden_size).
            state: the state before, (batch, features), or a tuple of them where `states` has more than one name.
            weights: the parameters of this layer and direction by the names in `shapes`: `weights.weight_hh`,
                `weights.bias_hh` and so on; a bias is None where there is none.

        Returns:
            The next state.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no step")

    def scan(self, projected: Tensor, state: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, Any]:
        """All steps, (time, batch, gates * hidden_size) to (time, batch, features), and the last state.

        A cell whose recurrence can be computed for all steps at once does so here.
        """
        outputs = []
        for step_input in projected.unbind(0):
            state = self.advance(step_input, state, weights)
            outputs.append(state[0])
        return torch.stack(outputs), state

    def forward(self, input: Tensor | PackedSequence, hx: State | None = None) -> tuple[Any, State]:
        """Read whole sequences, or the next steps of sequences whose state so far is given.

        Args:
            input: (time, batch, input_size), or (batch, time, input_size) with `batch_first`, or
                (time, input_size) for a single sequence, or a PackedSequence of sequences of several lengths.
            hx: the initial state (num_layers * directions, batch, hidden_size), without the batch for a
                single sequence, a tuple where the layer has several states; zeros if not given.

        Returns:
            `output`: what the last layer gives at each step, shaped like `input` (packed if it is) with
            directions * hidden_size features; and `h_n`: the final state of each layer, shaped like `hx`.

        Raises:
            TypeError: `input` is neither a tensor nor packed.
            ValueError: `input` is not 2D or 3D, or its dtype is not the weights'.
            RuntimeError: the feature width, or the state's number, shape, dtype or device is wrong, or the
                sequence is empty.
        """
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx)
        check_dimensions(input)
        single = input.dim() == 2
        if single:
            input = input.unsqueeze(1)
            given = given_states(self, hx, dimensions=2)
            given = given and tuple(part.unsqueeze(1) for part in given)
        else:
            input = input.transpose(0, 1) if self.batch_first else input
            given = given_states(self, hx, dimensions=3)
        if len(input) == 0:
            raise RuntimeError("expected a sequence of at least one step, got length 0")
        state = self._initial_state(input, given, input.size(1))
        output, final = self._run_stack(input, None, state)
        if single:
            return output.squeeze(1), self._as_given(tuple(part.squeeze(1) for part in final))
        return (output.transpose(0, 1) if self.batch_first else output), self._as_given(final)

    def _forward_packed(self, packed: PackedSequence, hx: State | None) -> tuple[PackedSequence, State]:
        data, batch_sizes, sorted_indices, unsorted_indices = packed
        given = given_states(self, hx, dimensions=3)
        if given is not None and sorted_indices is not None:
            given = tuple(part.index_select(1, sorted_indices) for part in given)
        state = self._initial_state(data, given, int(batch_sizes[0]))
        output, final = self._run_stack(data, batch_sizes.tolist(), state)
        if unsorted_indices is not None:
            final = tuple(part.index_select(1, unsorted_indices) for part in final)
        return PackedSequence(output, batch_sizes, sorted_indices, unsorted_indices), self._as_given(final)

    def _run_stack(
        self, sequence: Tensor, batch_sizes: list[int] | None, state: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The outputs of the last layer, and the final states of all layers and directions."""
        finals: list[tuple[Tensor, ...]] = []
        for layer in range(self.num_layers):
            if layer > 0:
                sequence = F.dropout(sequence, self.dropout, self.training)
            outputs = []
            for suffix in self.suffixes(layer):
                weights = self.weights(suffix)
                before = tuple(part[len(finals)] for part in state)
                reverse = suffix.endswith("reverse")
                if batch_sizes is not None:
                    projected = self.project(sequence, weights)
                    output, final = self._scan_packed(projected.split(batch_sizes), before, weights, reverse)
                elif reverse:
                    output, final = self._read_dense(sequence.flip(0), before, weights)
                    output = output.flip(0)
                else:
                    output, final = self._read_dense(sequence, before, weights)
                outputs.append(output)
                finals.append(final)
            sequence = torch.cat(outputs, dim=-1) if len(outputs) > 1 else outputs[0]
        return sequence, tuple(torch.stack(parts) for parts in zip(*finals, strict=True))

    def _read_dense(
        self, sequence: Tensor, state: tuple[Tensor, ...], weights: Weights
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """A dense sequence (time, batch, features) through one layer in one direction."""
        worth_it = self.backend == "fused" or (self.backend == "auto" and len(sequence) >= SHORTEST)
        if worth_it and not torch.compiler.is_compiling() and (kernel := self._kernel()):
            result = fused_scan(kernel(self), sequence, state, weights)
            if result is not None:
                return result
        return self.scan(self.project(sequence, weights), state, weights)

    def _kernel(self) -> type[Kernel] | None:
        """The kernel beside the `step` in use, as long as no subclass changes anything else about a step."""
        rest = ("project", "scan", "advance")
        if any(getattr(type(self), name) is not getattr(RecurrentLayer, name) for name in rest):
            return None
        if not vars(self).keys().isdisjoint(("step", *rest)):
            return None
        cell = next(cls for cls in type(self).__mro__ if "step" in vars(cls))
        return vars(cell).get("kernel")

    def _scan_packed(
        self, steps: tuple[Tensor, ...], state: tuple[Tensor, ...], weights: Weights, reverse: bool
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """`scan` over the steps of a packed batch, whose longest sequences come first.

        A step moves the sequences that reach that far; the others keep their state: their last one, or backwards,
        where they have not begun, their first one.
        """
        outputs = []
        for step_input in reversed(steps) if reverse else steps:
            alive = len(step_input)
            moved = self.advance(step_input, tuple(part[:alive] for part in state), weights)
            state = tuple(torch.cat([new, old[alive:]]) for new, old in zip(moved, state, strict=True))
            outputs.append(moved[0])
        return torch.cat(outputs[::-1] if reverse else outputs), state

    def advance(self, projected: Tensor, state: tuple[Tensor, ...], weights: Weights) -> tuple[Tensor, ...]:
        """`step`, with a tuple of states whatever their number."""
        after = self.step(projected, state if len(state) > 1 else state[0], weights)
        after = after if isinstance(after, tuple) else (after,)
        if [part.shape for part in after] != [part.shape for part in state]:
            expected, found = ([list(part.shape) for part in parts] for parts in (state, after))
            raise RuntimeError(f"{type(self).__name__}.step should give the states {expected}, got {found}")
        return after

    def weights(self, suffix: str = "_l0") -> Weights:
        """The parameters of one layer in one direction, by their names without the ending; None for a missing bias."""
        names = self.shapes(self.input_size)
        absent = {"bias_ih": None, "bias_hh": None}
        return Weights(**absent | {name: getattr(self, name + suffix) for name in names})

    def _as_given(self, state: tuple[Tensor, ...]) -> State:
        return state if len(self.states) > 1 else state[0]

    def _initial_state(self, sequence: Tensor, given: tuple[Tensor, ...] | None, batch: int) -> tuple[Tensor, ...]:
        """The given state, or zeros; refuses what the loop would misread. `sequence` has features last."""
        weight: Any = self.weight_ih_l0
        check_features(self, sequence, weight.dtype)
        rows = self.num_layers * self.num_directions
        if given is None:
            return self.initial_state(sequence, rows, batch)
        check_states(self, sequence, given, [(rows, batch, size) for size in self.state_sizes])
        return given

    def extra_repr(self) -> str:
        shown = [f"{self.input_size}, {self.hidden_size}"]
        defaults = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        for name, default in defaults.items():
            if getattr(self, name) != default:
                shown.append(f"{name}={getattr(self, name)}")
        return ", ".join(shown)
