"""A trained model as one file that needs none of this package: an ONNX graph, or a program of torch.export.

There are three forms, each for batches of any size:

- whole: sequences of one length in, answers out. A loop over time is written out step by step, so the file, and the
  time to make it, grow with the length.
- padded: sequences padded at the end to one length, and their own lengths in; answers out.
- one step: an input step and the state in, the answer and the next state out; for sequences of any length. It needs a
  recurrent layer in one direction.

Every export is read back from its bytes, run, and compared with the model.
"""

import io
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.checks import UserError, check_choice, check_flag, check_whole
from seqmodels.layers import RecurrentLayer
from seqmodels.layers.context import ContextLayer
from seqmodels.model import SequenceModel, last_hidden

ENDINGS = {"onnx": ".onnx", "torch": ".pt2"}
"""The formats, with the endings of their files."""

TOLERANCE = 1e-4
"""The largest relative difference that passes. Rounding alone stays below 1e-5, unless the model amplifies it."""

BATCHES = (1, 7, 64)
"""The batch sizes at which an export is compared with its model."""

STEPS = 1000
"""The steps over which an export of one step is compared with its model."""

Run = Callable[..., tuple[Tensor, ...]]
"""An exported model as a function of its inputs."""


@dataclass(frozen=True)
class Port:
    """A tensor that an exported model accepts or returns; a size of its shape may be "batch"."""

    name: str
    shape: tuple[int | str, ...]
    dtype: torch.dtype
    start: float | None = None
    """Of a state, the value of all its entries before the first step."""

    def __str__(self) -> str:
        start = "" if self.start is None else f", at first {self.start:g}"
        return f"{self.name} ({', '.join(map(str, self.shape))}) {str(self.dtype).removeprefix('torch.')}{start}"


@dataclass(frozen=True)
class Export:
    """The content of a file, what the model in it accepts and returns, and how far its answers are from the model's."""

    content: bytes
    inputs: list[Port]
    outputs: list[Port]
    differences: dict[int, float]
    """The largest difference of an answer, relative to the largest answer, for each size of a batch."""


def export_model(
    model: SequenceModel,
    format: str = "onnx",
    length: int | None = None,
    padded: bool = False,
    streaming: bool = False,
    tolerance: float = TOLERANCE,
) -> Export:
    """Export a model, and compare the export with it.

    Args:
        model: a model on the CPU, in evaluation mode.
        format: "onnx", or "torch" for a program of torch.export.
        length: the steps of a sequence; None with `streaming`.
        padded: sequences are padded at the end, and their lengths are a second input.
        streaming: export one step, with the state as further inputs and outputs.
        tolerance: the largest relative difference between the answers of the export and the model.

    Raises:
        TypeError, ValueError: an argument is wrong.
        UserError: this model cannot be exported so, a package is missing, or the export differs from the model.
    """
    check_arguments(format, length, padded, streaming, tolerance)
    check_installed(format)
    form = OneStep(model) if streaming else Padded(model, length) if padded else Whole(model, length)
    program = program_of(form)
    content, read_back = (
        (onnx_file(program, form), read_onnx) if format == "onnx" else (torch_file(program), read_torch)
    )
    run = read_back(content)
    with torch.no_grad():
        differences = {batch: form.difference(run, batch) for batch in BATCHES}
    if not max(differences.values()) <= tolerance:
        raise UserError(
            f"the export differs from the model by {max(differences.values()):.1e} of the largest answer, more than "
            f"tolerance={tolerance:g}, and is not written"
        )
    return Export(content, form.inputs, form.outputs, differences)


class Form(nn.Module):
    """What is exported of a model; a subclass sets the ports and defines `forward` and `draw`."""

    inputs: list[Port]
    outputs: list[Port]

    def __init__(self, model: SequenceModel) -> None:
        super().__init__()
        self.model = model
        self.name = type(model.layer).__name__
        self.dtype = model.head.weight.dtype

    def draw(self, batch: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        """Random inputs."""
        raise NotImplementedError

    def difference(self, run: Run, batch: int) -> float:
        """The largest difference between the answers of the export and the model, relative to the largest answer."""
        inputs = self.draw(batch, torch.Generator().manual_seed(batch))
        return relative(run(*inputs)[0], self.model(*inputs))

    def port(self, name: str, *steps: int) -> Port:
        """The port of the model's inputs, of a whole sequence or, without `steps`, of one step."""
        if self.model.arguments["tokens"]:
            return Port(name, ("batch", *steps), torch.int64)
        return Port(name, ("batch", *steps, self.model.arguments["input_size"]), self.dtype)

    def draw_sequences(self, batch: int, steps: int, generator: torch.Generator) -> Tensor:
        """Random inputs of the model, any token as likely as any other, and numbers from N(0, 1)."""
        size = self.model.arguments["input_size"]
        if self.model.arguments["tokens"]:
            return torch.randint(size, (batch, steps), generator=generator)
        return torch.randn(batch, steps, size, generator=generator, dtype=self.dtype)


class Whole(Form):
    """Sequences of one length."""

    def __init__(self, model: SequenceModel, length: int) -> None:
        super().__init__(model)
        self.length = length
        steps = (length,) if model.every_step else ()
        self.inputs = [self.port("inputs", length)]
        self.outputs = [Port("answers", ("batch", *steps, model.arguments["output_size"]), self.dtype)]

    def forward(self, inputs: Tensor) -> Tensor:
        return self.model(inputs)

    def draw(self, batch: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        return (self.draw_sequences(batch, self.length, generator),)


class Padded(Whole):
    """Sequences padded at the end, and their lengths.

    The padding lies in the future of each answer, which a layer in one direction does not see.
    """

    def __init__(self, model: SequenceModel, length: int) -> None:
        super().__init__(model, length)
        if model.directions == 2:
            raise UserError(
                f"padded=true: {self.name} reads in two directions and would need packed sequences, "
                "which have no exported form; export it with padded=false, for sequences of equal length"
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

    def draw(self, batch: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        lengths = torch.randint(1, self.length + 1, (batch,), generator=generator)
        return *super().draw(batch, generator), lengths


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
        states = self.states_before(self.draw_sequences(2, 1, torch.Generator().manual_seed(0)))
        self.inputs = [self.port("inputs")]
        self.outputs = [Port("answers", ("batch", model.arguments["output_size"]), self.dtype)]
        for name, state in zip(self.state_names(len(states)), states, strict=True):
            start = state.unique()
            if len(start) > 1:
                raise UserError(f"streaming=true: {self.name} starts from a state {name} that is not one number")
            shape = (state.size(0), "batch", state.size(2))
            self.inputs.append(Port(name, shape, state.dtype, start.item()))
            self.outputs.append(Port(f"{name}_n", shape, state.dtype))

    def forward(self, inputs: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
        sequence = self.model.encoder(inputs.unsqueeze(1)).to(self.dtype)
        output, after = self.model.layer(sequence, state if len(state) > 1 else state[0])
        answer = self.model.head(output[:, 0] if self.model.every_step else last_hidden(after)[-1])
        return answer, *(after if isinstance(after, tuple) else (after,))

    def draw(self, batch: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        inputs = self.draw_sequences(batch, 1, generator)
        return inputs[:, 0], *self.states_before(inputs)

    def difference(self, run: Run, batch: int) -> float:
        """Over 1,000 steps from the initial state; where the model answers at the end, after 1, 10, 100 and 1,000."""
        sequences = self.draw_sequences(batch, STEPS, torch.Generator().manual_seed(batch))
        state = self.states_before(sequences)
        answers = []
        for inputs in sequences.unbind(1):
            answer, *state = run(inputs, *state)
            answers.append(answer)
        if self.model.every_step:
            return relative(torch.stack(answers, 1), self.model(sequences))
        ends = [steps for steps in (1, 10, 100, STEPS) if steps <= STEPS]
        return max(relative(answers[steps - 1], self.model(sequences[:, :steps])) for steps in ends)

    def states_before(self, sequences: Tensor) -> tuple[Tensor, ...]:
        """The states (layers, batch, features) that a layer starts from when none is given."""
        layer, batch = self.model.layer, len(sequences)
        if isinstance(layer, RecurrentLayer):
            return layer.initial_state(torch.zeros((), dtype=self.dtype), layer.num_layers, batch)
        with torch.no_grad():
            _, state = layer(self.model.encoder(sequences[:, :1]).to(self.dtype))
        return tuple(map(torch.zeros_like, state if isinstance(state, tuple) else (state,)))

    def state_names(self, count: int) -> list[str]:
        return list(getattr(self.model.layer, "states", ("h", "c")))[:count]


def relative(found: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest entry that is expected.

    Raises:
        UserError: an entry that is expected is not finite.
    """
    if not expected.isfinite().all():
        raise UserError("the model's own answers are not finite, so there is nothing to export")
    return ((found - expected).abs().max() / expected.abs().max().clamp(min=torch.finfo(expected.dtype).tiny)).item()


def check_arguments(format: str, length: int | None, padded: bool, streaming: bool, tolerance: float) -> None:
    check_choice("format", format, ENDINGS)
    check_flag("padded", padded)
    check_flag("streaming", streaming)
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not tolerance > 0:
        raise ValueError(f"tolerance should be a positive number, got {tolerance!r}")
    if streaming and (padded or length is not None):
        given = "padded=true" if padded else f"length={length}"
        raise ValueError(f"{given} should be left out with streaming=true, which reads one step at a time")
    if not streaming and length is None:
        raise ValueError(
            "length should be the number of steps of a sequence, as in length=40; "
            "with streaming=true a recurrent layer reads one step at a time instead, for any length"
        )
    if length is not None:
        check_whole("length", length, 1)


def check_installed(format: str) -> None:
    """Refuse a format whose packages are missing, with a UserError."""
    needed = ["onnx", "onnxscript", "onnxruntime"] if format == "onnx" else []
    if missing := [name for name in needed if find_spec(name) is None]:
        raise UserError(f'format={format} needs {", ".join(missing)}: pip install "seqmodels[export]"')


def program_of(form: Form) -> Any:
    """The form as a program of torch.export, for any size of a batch."""
    example = form.draw(2, torch.Generator().manual_seed(0))
    dynamic: list[Any] = [{port.shape.index("batch"): torch.export.Dim.DYNAMIC} for port in form.inputs]
    if len(dynamic) > 1 and isinstance(form, OneStep):
        dynamic = [dynamic[0], tuple(dynamic[1:])]  # the states are `*state`, one argument
    with quiet():
        return torch.export.export(form, example, dynamic_shapes=tuple(dynamic), strict=False)


def torch_file(program: Any) -> bytes:
    file = io.BytesIO()
    with quiet():
        torch.export.save(program, file)
    return file.getvalue()


def read_torch(content: bytes) -> Run:
    with quiet():
        module = torch.export.load(io.BytesIO(content)).module()

    def run(*inputs: Tensor) -> tuple[Tensor, ...]:
        outputs = module(*inputs)
        return outputs if isinstance(outputs, tuple) else (outputs,)

    return run


def onnx_file(program: Any, form: Form) -> bytes:
    if any(value.is_complex() for node in program.graph.nodes if isinstance(value := node.meta.get("val"), Tensor)):
        raise UserError(f"format=onnx: {form.name} computes with complex numbers, which ONNX lacks; use format=torch")
    names = {f"{kind}_names": [port.name for port in getattr(form, f"{kind}s")] for kind in ("input", "output")}
    with quiet():
        proto = torch.onnx.export(program, dynamo=True, verbose=False, **names).model_proto
    return proto.SerializeToString()


def read_onnx(content: bytes) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [port.name for port in session.get_inputs()]

    def run(*inputs: Tensor) -> tuple[Tensor, ...]:
        feed = {name: value.numpy() for name, value in zip(names, inputs, strict=True)}
        return tuple(map(torch.from_numpy, session.run(None, feed)))

    return run


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what torch says about its own exporters."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns that torchvision is not installed
    try:
        with warnings.catch_warnings():
            # torch's own use of its tree utilities
            warnings.filterwarnings("ignore", "`isinstance.treespec, LeafSpec.` is deprecated", FutureWarning)
            # torch.nn.RNN keeps a second list of its weights
            warnings.filterwarnings("ignore", r"The tensor attributes? self\.model\.layer\._flat_weights", UserWarning)
            yield
    finally:
        logger.setLevel(level)
