"""What is exported of a model: whole sequences, padded sequences, or one step."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.checks import UserError
from seqmodels.layers import Blocks, RecurrentLayer
from seqmodels.layers.context import ContextLayer
from seqmodels.model import SequenceModel

LENGTHS = (1, 10, 100)
"""The lengths at which an export for any length is compared with its model."""

STEPS = (*LENGTHS, 1000)
"""The numbers of steps over which an export of one step is compared with its model."""

Run = Callable[..., tuple[Tensor, ...]]
"""An exported model as a function of its inputs."""


@dataclass(frozen=True)
class Port:
    """A tensor that an exported model accepts or returns; sizes of its shape that may vary are words."""

    name: str
    shape: tuple[int | str, ...]
    dtype: torch.dtype
    start: float | None = None
    """Of a state, the value of all its entries before the first step."""

    def __str__(self) -> str:
        start = "" if self.start is None else f", at first {self.start:g}"
        return f"{self.name} ({', '.join(map(str, self.shape))}) {str(self.dtype).removeprefix('torch.')}{start}"


class Form(nn.Module):
    """What is exported of a model; a subclass sets the ports and defines `forward` and `draw`."""

    inputs: list[Port]
    outputs: list[Port]
    loops: bool = False
    """Whether a file for any length needs a loop over time."""
    lengths: tuple[int, ...] = LENGTHS
    """The lengths at which the export is compared with the model."""

    def __init__(self, model: SequenceModel) -> None:
        super().__init__()
        self.model = model
        self.name = type(model.layer).__name__
        self.dtype = model.head.weight.dtype
        arguments: Any = model.arguments
        self.tokens, self.size, self.answers = (arguments[key] for key in ("tokens", "input_size", "output_size"))

    def draw(self, batch: int, steps: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Random inputs of so many steps."""
        raise NotImplementedError(f"{type(self).__name__} defines no draw")

    def difference(self, run: Run, batch: int, steps: int) -> float:
        """The difference between the answers of the export and the model to random inputs; see `relative`."""
        inputs = self.draw(batch, steps, torch.Generator().manual_seed(batch))
        return relative(run(*inputs)[0], self.model(*inputs))

    def rounding(self, steps: int) -> float:
        """The difference between the model's own answers in its precision and in float64."""
        sequences = self.draw_sequences(64, steps, torch.Generator().manual_seed(0))
        return relative(self.model(sequences), copy.deepcopy(self.model).double()(sequences))

    def port(self, *steps: int | str) -> Port:
        """The port of the model's inputs, for a sequence or, without `steps`, for one step."""
        if self.tokens:
            return Port("inputs", ("batch", *steps), torch.int64)
        return Port("inputs", ("batch", *steps, self.size), self.dtype)

    def draw_sequences(self, batch: int, steps: int, generator: torch.Generator) -> Tensor:
        """Random inputs of the model: any token is as likely as any other, and numbers are from N(0, 1)."""
        if self.tokens:
            return torch.randint(self.size, (batch, steps), generator=generator)
        return torch.randn(batch, steps, self.size, generator=generator, dtype=self.dtype)


class Whole(Form):
    """Sequences of one length, or of any."""

    def __init__(self, model: SequenceModel, length: int | None) -> None:
        super().__init__(model)
        self.loops = length is None and not isinstance(model.layer, ContextLayer)
        if self.loops and model.directions == 2:
            raise UserError(
                f"{self.name} reads in two directions, and can only be exported for one length, as in length=40"
            )
        self.lengths = LENGTHS if length is None else (length,)
        steps = "length" if length is None else length
        self.inputs = [self.port(steps)]
        shape = ("batch", *([steps] if model.every_step else []), self.answers)
        self.outputs = [Port("answers", shape, self.dtype)]

    def forward(self, inputs: Tensor) -> Tensor:
        return self.model(inputs)

    def draw(self, batch: int, steps: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        return (self.draw_sequences(batch, steps, generator),)


class Padded(Whole):
    """Sequences padded at the end, and their lengths.

    The padding lies in the future of each answer, which a layer in one direction does not see.
    """

    def __init__(self, model: SequenceModel, length: int | None) -> None:
        super().__init__(model, length)
        if model.directions == 2:
            raise UserError(
                f"padded=true: {self.name} reads in two directions and would need packed sequences, "
                "which cannot be exported; with padded=false it can, for sequences of equal length"
            )
        if model.every_step:
            raise UserError(
                "padded=true is for models with one answer at the end; this one answers at every step, "
                "and padding at the end changes no answer before it"
            )
        self.inputs.append(Port("lengths", ("batch",), torch.int64))

    def forward(self, inputs: Tensor, lengths: Tensor) -> Tensor:  # type: ignore[override]
        output, _ = self.model.layer(self.model.encoder(inputs).to(self.dtype))
        last = (lengths - 1).reshape(-1, 1, 1).expand(-1, 1, output.size(2))
        return self.model.head(output.gather(1, last).squeeze(1))

    def draw(self, batch: int, steps: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        lengths = torch.randint(1, steps + 1, (batch,), generator=generator)
        return *super().draw(batch, steps, generator), lengths


class OneStep(Form):
    """One step, with the state before it as further inputs and the state after it as further outputs."""

    def __init__(self, model: SequenceModel) -> None:
        super().__init__(model)
        if model.directions == 2:
            raise UserError(
                f"streaming=true: {self.name} reads in two directions, and needs the whole sequence for any answer; "
                "export it with length=..."
            )
        if isinstance(model.layer, ContextLayer):
            raise UserError(
                f"streaming=true: {self.name} is not recurrent: it looks back at earlier inputs, and has no state of "
                "a fixed size; export it with length=..."
            )
        self.lengths = STEPS
        states = self.states_before(self.draw_sequences(2, 1, torch.Generator().manual_seed(0)))
        self.inputs = [self.port()]
        self.outputs = [Port("answers", ("batch", self.answers), self.dtype)]
        for name, state in zip(self.state_names(len(states)), states, strict=True):
            start = state.unique()
            if len(start) > 1:
                raise UserError(f"streaming=true: {self.name} starts from a state {name} that is not one number")
            shape = (state.size(0), "batch", state.size(2))
            self.inputs.append(Port(name, shape, state.dtype, start.item()))
            self.outputs.append(Port(f"{name}_n", shape, state.dtype))

    def forward(self, inputs: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        answer, after = self.model.step(inputs, state if len(state) > 1 else state[0])
        return answer, *(after if isinstance(after, tuple) else (after,))

    def draw(self, batch: int, steps: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        inputs = self.draw_sequences(batch, 1, generator)
        return inputs[:, 0], *self.states_before(inputs)

    def difference(self, run: Run, batch: int, steps: int) -> float:
        sequences = self.draw_sequences(batch, steps, torch.Generator().manual_seed(batch))
        state: Any = self.states_before(sequences)
        answers = []
        for inputs in sequences.unbind(1):
            answer, *state = run(inputs, *state)
            answers.append(answer)
        return relative(torch.stack(answers, 1) if self.model.every_step else answers[-1], self.model(sequences))

    def states_before(self, sequences: Tensor) -> tuple[Tensor, ...]:
        """The states (layers, batch, features) that a layer starts from when none is given."""
        with torch.no_grad():
            _, state = self.model.layer(self.model.encoder(sequences[:, :1]).to(self.dtype))
        return start_of(self.model.layer, tuple(map(torch.zeros_like, state if isinstance(state, tuple) else (state,))))

    def state_names(self, count: int) -> list[str]:
        return list(getattr(self.model.layer, "states", ("h", "c")))[:count]


def start_of(layer: Any, zeros: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """The states that a layer starts from, which are these zeros unless it says otherwise."""
    if isinstance(layer, RecurrentLayer):
        return layer.initial_state(zeros[0], layer.num_layers, zeros[0].size(1))
    if isinstance(layer, Blocks):
        starts, rest = zeros[:1], zeros[1:]
        block: Any
        for block in layer.blocks:
            starts += start_of(block.mixer, rest[: block.mixer_states])
            starts += rest[block.mixer_states : len(block.states)]
            rest = rest[len(block.states) :]
        return starts
    return zeros


def relative(found: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest entry that is expected; infinite for other shapes, or NaN.

    Raises:
        UserError: an entry that is expected is not finite.
    """
    if not expected.isfinite().all():
        raise UserError("the model's own answers are not finite numbers, so there is nothing to export")
    if found.shape != expected.shape or not found.isfinite().all():
        return math.inf
    return ((found - expected).abs().max() / expected.abs().max().clamp(min=torch.finfo(expected.dtype).tiny)).item()
