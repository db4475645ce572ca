"""A layer made of a cell: stacking, directions, dropout, packing, batch order, and the choice of a backend.

Layer k of a stack of `num_layers` reads the outputs of layer k - 1. What happens within one layer in one direction is
the cell's own; see cell.py.
"""

import warnings
from importlib.util import find_spec
from itertools import groupby
from typing import Any, Literal, TypedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence

from seqmodels.checks import check_choice, check_flag, check_probability, check_whole
from seqmodels.layers.bptt import Kernel, bptt_applies, bptt_scan
from seqmodels.layers.cell import Cell, States, Weights
from seqmodels.layers.checks import check_dimensions, check_features, check_precision, check_states, given_states
from seqmodels.layers.compiled import compiled_scan

SHORTEST = 8
"""The fewest steps for which a kernel pays, and in packed sequences a scan. With fewer, setting it up costs more."""

State = Tensor | tuple[Tensor, ...]
"""One tensor, or a tuple if the cell has several states."""

PARTS_OF_A_STEP = {"step", "project", "scan", "advance"}
"""The methods that a kernel replaces."""


class LayerSettings(TypedDict, total=False):
    """The arguments of `RecurrentLayer` beside the sizes, for constructors that pass them on: see `diagonal/s4d.py`."""

    num_layers: int
    bias: bool
    batch_first: bool
    dropout: float
    bidirectional: bool
    device: Any
    dtype: Any
    backend: Literal["auto", "autograd", "bptt", "compiled"]


class RecurrentLayer(Cell):
    """Base class of the recurrent layers; a subclass defines `step` and anything else its cell needs (see `Cell`).

    Args:
        input_size: features of one input step.
        hidden_size: features of the state h.
        num_layers: number of stacked layers.
        bias: whether the two biases exist.
        batch_first: inputs and outputs are (batch, time, features) instead of (time, batch, features).
            States are (layers, batch, features) either way.
        dropout: probability of zeroing an output of a layer on its way into the next one, in training only. On the
            CPU equal seeds draw the masks of `torch.nn.RNN`; on a GPU cuDNN draws its own, and they differ.
        bidirectional: a second set of weights reads the sequence backwards; outputs are concatenated.
        backend: "autograd" computes one step after the other by `step`. "bptt" computes the same numbers, up to
            rounding, faster, by a hand-derived backward pass (see `seqmodels.layers.bptt`), and leaves to autograd
            what that cannot do. "compiled" derives both passes from `step` and compiles them when they are first used,
            which takes seconds (see `seqmodels.layers.compiled`); it serves any cell on a CPU, and leaves to autograd
            what it cannot compile. "auto" is "bptt" if the cell has a kernel and the sequence has at least 8 steps.

    Raises:
        TypeError: a size is not a whole number, or a flag neither True nor False.
        ValueError: a size is not positive, `dropout` is not a probability, or `backend` is unknown, "bptt" for a
            cell without a kernel, or "compiled" without numba.
    """

    kernel: type[Kernel] | None = None
    """A hand-derived backward pass of the `step` in the same class, if there is one."""

    def __init_subclass__(cls, **arguments: Any) -> None:
        """Drop an inherited kernel if the subclass, or a class mixed in, changes the step that the kernel computes."""
        super().__init_subclass__(**arguments)
        nearest = next(base for base in cls.__mro__ if "kernel" in vars(base) or PARTS_OF_A_STEP & vars(base).keys())
        if "kernel" not in vars(nearest):
            cls.kernel = None

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
        backend: Literal["auto", "autograd", "bptt", "compiled"] = "auto",
    ) -> None:
        super().__init__()
        for name, size in [("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)]:
            check_whole(name, size, 1)
        check_probability("dropout", dropout)
        for name, flag in [("bias", bias), ("batch_first", batch_first), ("bidirectional", bidirectional)]:
            check_flag(name, flag)
        check_choice("backend", backend, ("auto", "autograd", "bptt", "compiled"))
        if backend == "bptt" and self.kernel is None:
            raise ValueError(
                f"backend should be 'auto' or 'autograd' for {type(self).__name__}, which has no kernel, got 'bptt'"
            )
        if backend == "compiled" and find_spec("numba") is None:
            raise ValueError('backend "compiled" needs numba: pip install "seqmodels[fast]"')
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                f"dropout={dropout} acts between stacked layers and has no effect with num_layers=1", stacklevel=3
            )
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = float(dropout)
        self.bidirectional = bidirectional
        self.backend = backend
        self.parameter_names = tuple(self.shapes(input_size))

        for layer in range(num_layers):
            layer_input_size = input_size if layer == 0 else self.state_sizes[0] * self.num_directions
            for suffix in self.suffixes(layer):
                for name, shape in self.shapes(layer_input_size).items():
                    empty = torch.empty(shape, device=device, dtype=dtype)
                    self.register_parameter(name + suffix, nn.Parameter(empty))
        self.reset_parameters()

    @property
    def num_directions(self) -> int:
        return 2 if self.bidirectional else 1

    def suffixes(self, layer: int) -> list[str]:
        """The endings of the parameter names of one layer of the stack, one for each direction."""
        return [f"_l{layer}", f"_l{layer}_reverse"][: self.num_directions]

    def forward(self, input: Tensor | PackedSequence, hx: State | None = None) -> tuple[Any, State]:
        """Read whole sequences, or the next steps of sequences whose state so far is given.

        Args:
            input: (time, batch, input_size), or (batch, time, input_size) with `batch_first`, or
                (time, input_size) for a single sequence, or a PackedSequence of sequences of several lengths.
            hx: the initial state (num_layers * directions, batch, hidden_size), without the batch for a
                single sequence, a tuple if the layer has several states; zeros if not given.

        Returns:
            `output`: the outputs of the last layer at each step, shaped like `input` (packed if it is) with
            directions * hidden_size features; and `h_n`: the final state of each layer, shaped like `hx`.

        Raises:
            TypeError: `input` is neither a tensor nor packed, or a state is not a tensor.
            ValueError: `input` is not 2D or 3D, or its dtype is not the weights'; or this is half precision, which the
                layer refuses.
            RuntimeError: the feature width, or the state's number, shape, dtype or device is wrong, or the
                sequence is empty.
        """
        if isinstance(input, PackedSequence):
            return self._forward_packed(input, hx)
        check_dimensions(input)
        single = input.dim() == 2
        given = given_states(self, hx, dimensions=input.dim())
        if single:
            input = input.unsqueeze(1)
            given = given and tuple(part.unsqueeze(1) for part in given)
        elif self.batch_first:
            input = input.transpose(0, 1)
        if len(input) == 0:
            raise RuntimeError("expected a sequence of at least one step, got length 0")
        output, final = self._run_stack(input, None, self._start(input, given, input.size(1)))
        if single:
            return output.squeeze(1), self._as_given(tuple(part.squeeze(1) for part in final))
        return (output.transpose(0, 1) if self.batch_first else output), self._as_given(final)

    def _forward_packed(self, packed: PackedSequence, hx: State | None) -> tuple[PackedSequence, State]:
        data, batch_sizes, sorted_indices, unsorted_indices = packed
        given = given_states(self, hx, dimensions=3)
        if given is not None and sorted_indices is not None:
            given = tuple(part.index_select(1, sorted_indices) for part in given)
        state = self._start(data, given, int(batch_sizes[0]))
        output, final = self._run_stack(data, batch_sizes.tolist(), state)
        if unsorted_indices is not None:
            final = tuple(part.index_select(1, unsorted_indices) for part in final)
        return PackedSequence(output, batch_sizes, sorted_indices, unsorted_indices), self._as_given(final)

    def _start(self, sequence: Tensor, given: States | None, batch: int) -> States:
        """The given states once they are checked, or the cell's own. `sequence` has features last."""
        weight: Any = self.weight_ih_l0
        check_precision(self, weight.dtype)
        check_features(self, sequence, weight.dtype)
        rows = self.num_layers * self.num_directions
        if given is None:
            return self.initial_state(sequence, rows, batch)
        check_states(self, sequence, given, [(rows, batch, size) for size in self.state_sizes])
        return given

    def _as_given(self, states: States) -> State:
        return states if len(self.states) > 1 else states[0]

    def _run_stack(self, sequence: Tensor, batch_sizes: list[int] | None, state: States) -> tuple[Tensor, States]:
        """The outputs of the last layer, and the final states of all layers and directions."""
        finals: list[States] = []
        for layer in range(self.num_layers):
            if layer > 0:
                sequence = F.dropout(sequence, self.dropout, self.training)
            outputs = []
            for suffix in self.suffixes(layer):
                weights = self.weights(suffix)
                before = tuple(part[len(finals)] for part in state)
                reverse = suffix.endswith("reverse")
                if batch_sizes is not None:
                    output, final = self._read_packed(sequence, batch_sizes, before, weights, reverse)
                elif reverse:
                    output, final = self._read_dense(sequence.flip(0), before, weights)
                    output = output.flip(0)
                else:
                    output, final = self._read_dense(sequence, before, weights)
                outputs.append(output)
                finals.append(final)
            sequence = torch.cat(outputs, dim=-1) if len(outputs) > 1 else outputs[0]
        if len(finals) == 1:
            return sequence, finals[0]
        return sequence, tuple(torch.cat(parts) for parts in zip(*finals, strict=True))

    def _read_packed(
        self, sequence: Tensor, batch_sizes: list[int], state: States, weights: Weights, reverse: bool
    ) -> tuple[Tensor, States]:
        """A packed batch (all steps, features), longest sequence first, through one layer in one direction.

        Steps that the same sequences have are read together, as a dense sequence. The other sequences keep their state,
        which is the last one after they have ended or, backwards, the initial one before they begin.
        """
        runs = [(alive, len(list(steps))) for alive, steps in groupby(batch_sizes)]
        parts = sequence.split([alive * steps for alive, steps in runs])
        outputs = []
        pairs = list(zip(runs, parts, strict=True))
        for (alive, steps), part in pairs[::-1] if reverse else pairs:
            dense = part.view(steps, alive, -1)
            before = tuple(part[:alive] for part in state)
            read = self._read_short if steps < SHORTEST and self.backend != "compiled" else self._read_dense
            output, final = read(dense.flip(0) if reverse else dense, before, weights)
            outputs.append((output.flip(0) if reverse else output).flatten(0, 1))
            state = tuple(torch.cat([new[0], old[alive:]]) for new, old in zip(final, state, strict=True))
        return torch.cat(outputs[::-1] if reverse else outputs), tuple(part.unsqueeze(0) for part in state)

    def _read_dense(self, sequence: Tensor, state: States, weights: Weights) -> tuple[Tensor, States]:
        """A dense sequence (time, batch, features) through one layer in one direction, by one of the backends.

        The final states are (1, batch, features), so that those of all layers can be joined.
        """
        if self.backend == "compiled" and self._may_replace_step():
            return compiled_scan(self, sequence, state, weights)
        if self.kernel is not None and self._prefers_bptt(sequence) and bptt_applies(sequence, state, weights):
            output, final = bptt_scan(self.kernel(self), self._scan_by_autograd, sequence, state, weights)
        else:
            output, final = self._scan_by_autograd(sequence, state, weights)
        return output, tuple(part.unsqueeze(0) for part in final)

    def _read_short(self, sequence: Tensor, state: States, weights: Weights) -> tuple[Tensor, States]:
        """As `_read_dense`, by single steps, even if the cell can compute all at once."""
        output, final = Cell.scan(self, self.project(sequence, weights), state, weights)
        return output, tuple(part.unsqueeze(0) for part in final)

    def _prefers_bptt(self, sequence: Tensor) -> bool:
        if self.backend not in ("auto", "bptt") or (self.backend == "auto" and len(sequence) < SHORTEST):
            return False
        return self._may_replace_step()

    def _may_replace_step(self) -> bool:
        # A kernel would ignore a `step` that is set on the object itself, to watch or to change it.
        return not torch.compiler.is_compiling() and PARTS_OF_A_STEP.isdisjoint(vars(self))

    def _scan_by_autograd(self, sequence: Tensor, state: States, weights: Weights) -> tuple[Tensor, States]:
        return self.scan(self.project(sequence, weights), state, weights)

    def flatten_parameters(self) -> None:
        """Nothing to do, as there is no second copy of the weights. For code written for `torch.nn.RNN`."""

    def extra_repr(self) -> str:
        shown = [f"{self.input_size}, {self.hidden_size}"]
        defaults = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        for name, default in defaults.items():
            if getattr(self, name) != default:
                shown.append(f"{name}={getattr(self, name)}")
        return ", ".join(shown)
