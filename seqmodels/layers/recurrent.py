"""What every recurrent layer shares: stacking, direction, dropout, batch order and the loop over time.

A stack of `num_layers` layers reads a sequence `x_1 .. x_T`; layer `k` reads the outputs of layer `k - 1`.
Within a layer the work is split as

    p_t = W_ih x_t + b_ih                     all steps at once, one matrix product     (`project`)
    h_t = cell(p_t, h_{t-1}, W_hh, b_hh)      one step after the other                  (`step`)

so a cell, which is all that differs from one recurrent layer to the next, is its `step` and its gate count.

Parameter names, shapes, order and initialisation are those of `torch.nn.RNN`: `weight_ih_l0`, `weight_hh_l0`,
`bias_ih_l0`, `bias_hh_l0`, then `..._l0_reverse` where there are two directions, then `..._l1`. Equal seeds
therefore give equal initial weights, and a state dict loads strictly both ways.
"""

import math
import warnings

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class RecurrentLayer(nn.Module):
    """Base class of the recurrent layers; a subclass gives `step`, and `gates` where there is more than one.

    Args:
        input_size: features of one input step.
        hidden_size: features of the state h.
        num_layers: how many layers are stacked.
        bias: whether the two biases exist.
        batch_first: inputs and outputs are (batch, time, features) instead of (time, batch, features).
            The state is (layers, batch, hidden_size) either way.
        dropout: probability of zeroing an output of a layer on its way into the next one, in training only.
        bidirectional: a second set of weights reads the sequence backwards; outputs are concatenated.

    Raises:
        TypeError: a size is not a whole number.
        ValueError: a size is not positive, or `dropout` is not a probability.
    """

    gates: int = 1
    """Rows of the weights in units of `hidden_size`."""

    reference: type[nn.Module] | None = None
    """The class whose numbers this one reproduces, if it reproduces any."""

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        for name, size in [("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)]:
            if not isinstance(size, int) or isinstance(size, bool):
                raise TypeError(f"{name} should be a positive whole number, got {size!r}")
            if size <= 0:
                raise ValueError(f"{name} should be a positive whole number, got {size}")
        if isinstance(dropout, bool) or not isinstance(dropout, int | float) or not 0 <= dropout <= 1:
            raise ValueError(f"dropout should be a probability between 0 and 1, got {dropout!r}")
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

        rows = self.gates * hidden_size
        for layer in range(num_layers):
            layer_input_size = input_size if layer == 0 else hidden_size * self.num_directions
            for suffix in self.suffixes(layer):
                shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, layer_input_size)}
                shapes["weight_hh"] = (rows, hidden_size)
                if bias:
                    shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
                for name, shape in shapes.items():
                    empty = torch.empty(shape, device=device, dtype=dtype)
                    self.register_parameter(name + suffix, nn.Parameter(empty))
        self.reset_parameters()

    @property
    def num_directions(self) -> int:
        return 2 if self.bidirectional else 1

    def reset_parameters(self) -> None:
        """Draw every parameter from U(-1/sqrt(hidden_size), 1/sqrt(hidden_size))."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Read whole sequences.

        Args:
            input: (time, batch, input_size), or (batch, time, input_size) with `batch_first`, or
                (time, input_size) for a single sequence.
            hx: the initial state (num_layers * directions, batch, hidden_size), without the batch for a
                single sequence; zeros if not given.

        Returns:
            `output`: what the last layer gives at each step, shaped like `input` with
            directions * hidden_size features; and `h_n`: the final state of each layer, shaped like `hx`.

        Raises:
            ValueError: `input` is not 2D or 3D, or its dtype is not the weights'.
            RuntimeError: the feature width or the state's shape is wrong, or the sequence is empty.
        """
        if not isinstance(input, Tensor):
            raise TypeError(f"{type(self).__name__}: expected input to be a Tensor, got {type(input).__name__}")
        if input.dim() not in (2, 3):
            raise ValueError(f"{type(self).__name__}: expected input to be 2D or 3D, got {input.dim()}D")
        single = input.dim() == 2
        if single:
            if hx is not None and hx.dim() != 2:
                raise RuntimeError(f"for a single (2D) sequence hx should be 2D too, got {hx.dim()}D")
            input = input.unsqueeze(1)
            hx = None if hx is None else hx.unsqueeze(1)
        elif self.batch_first:
            input = input.transpose(0, 1)
        self._check(input, hx)
        if hx is None:
            hx = input.new_zeros(self.num_layers * self.num_directions, input.size(1), self.hidden_size)

        output = input
        final_states: list[Tensor] = []
        for layer in range(self.num_layers):
            if layer > 0:
                output = F.dropout(output, self.dropout, self.training)
            directions = []
            for suffix in self.suffixes(layer):
                states = self._read(output, hx[len(final_states)], suffix)
                directions.append(states)
                final_states.append(states[0] if suffix.endswith("reverse") else states[-1])
            output = torch.cat(directions, dim=-1)
        h_n = torch.stack(final_states)

        if single:
            return output.squeeze(1), h_n.squeeze(1)
        return (output.transpose(0, 1) if self.batch_first else output), h_n

    def _read(self, sequence: Tensor, state: Tensor, suffix: str) -> Tensor:
        """All states (time, batch, hidden_size) of one layer in one direction."""
        weight_hh, bias_hh = getattr(self, "weight_hh" + suffix), getattr(self, "bias_hh" + suffix, None)
        steps = self.project(sequence, suffix).unbind(0)
        reverse = suffix.endswith("reverse")
        states = []
        for projected in reversed(steps) if reverse else steps:
            state = self.step(projected, state, weight_hh, bias_hh)
            states.append(state)
        return torch.stack(states[::-1] if reverse else states)

    def project(self, sequence: Tensor, suffix: str = "_l0") -> Tensor:
        """The inputs' part of every step, W_ih x_t + b_ih: (..., features) to (..., gates * hidden_size)."""
        return F.linear(sequence, getattr(self, "weight_ih" + suffix), getattr(self, "bias_ih" + suffix, None))

    def step(self, projected: Tensor, state: Tensor, weight_hh: Tensor, bias_hh: Tensor | None) -> Tensor:
        """The next state (batch, hidden_size) from one projected input and the state before it."""
        raise NotImplementedError(f"{type(self).__name__} gives no step")

    def suffixes(self, layer: int) -> list[str]:
        """The endings of the parameter names of one layer of the stack, one for each direction."""
        return [f"_l{layer}", f"_l{layer}_reverse"][: self.num_directions]

    def _check(self, input: Tensor, hx: Tensor | None) -> None:
        """Refuse what the loop would misread; `input` is (time, batch, features) here."""
        time, batch, features = input.shape
        if features != self.input_size:
            raise RuntimeError(f"input.size(-1) should be input_size={self.input_size}, got {features}")
        if time == 0:
            raise RuntimeError("expected a sequence of at least one step, got length 0")
        dtype = next(self.parameters()).dtype
        if input.dtype != dtype and not torch.is_autocast_enabled(input.device.type):
            raise ValueError(f"input dtype {input.dtype} does not match weight dtype {dtype}: convert one of them")
        expected = (self.num_layers * self.num_directions, batch, self.hidden_size)
        if hx is not None and hx.shape != expected:
            raise RuntimeError(f"expected hx of size {list(expected)}, got {list(hx.shape)}")

    def extra_repr(self) -> str:
        shown = [f"{self.input_size}, {self.hidden_size}"]
        for name, default in {
            "num_layers": 1,
            "bias": True,
            "batch_first": False,
            "dropout": 0.0,
            "bidirectional": False,
        }.items():
            if getattr(self, name) != default:
                shown.append(f"{name}={getattr(self, name)}")
        return ", ".join(shown)
