"""A trained model as one file that needs none of this package: an ONNX graph, or a program of torch.export.

There are three forms, each for batches of any size:

- whole: sequences in, answers out. With a fixed length, a loop over time is unrolled, so that the file, and the time to
  make it, grow with the length. With any length, ONNX has the loop as an operator.
- padded: sequences padded at the end, and their lengths in; answers out.
- one step: an input step and the state in, the answer and the next state out. It needs a recurrent layer in one
  direction.

Every export is read back from its bytes, run, and compared with the model.
"""

import itertools
from dataclasses import dataclass
from importlib.util import find_spec

import torch

from seqmodels.checks import UserError, check_choice, check_flag, check_whole
from seqmodels.export.forms import Form, OneStep, Padded, Port, Run, Whole
from seqmodels.export.graph import loop_file, onnx_file, read_onnx
from seqmodels.export.program import read_torch, torch_file
from seqmodels.model import SequenceModel

ENDINGS = {"onnx": ".onnx", "torch": ".pt2"}
"""The formats, with the endings of their files."""

TOLERANCE = 1e-4
"""The largest relative difference that passes. Rounding alone stays below 1e-5, unless the model amplifies it."""

AMPLIFIED = 10
"""For a model that amplifies rounding, the tolerance is this many times the difference that float64 makes."""

TELLING = 1e-2
"""Lengths at which float64 makes a larger difference are not compared: rounding decides the answers."""

BATCHES = (1, 7, 64)
"""The batch sizes at which an export is compared with its model."""


@dataclass(frozen=True)
class Export:
    """The content of a file, what the model in it accepts and returns, and how far its answers are from the model's."""

    content: bytes
    inputs: list[Port]
    outputs: list[Port]
    differences: dict[int, float]
    """The largest difference of an answer, relative to the largest answer, for each size of a batch."""
    steps: int
    """The length of the longest sequences compared."""


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
        length: the steps of a sequence; None for any length.
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
    if form.loops and format == "torch":
        raise UserError(
            f"format=torch unrolls the loop of {form.name} over time, for one length, as in length=40; "
            "streaming=true exports one step, for any length"
        )
    if format == "torch":
        content, read = torch_file(form), read_torch
    else:
        content, read = loop_file(OneStep(model), form) if form.loops else onnx_file(form), read_onnx
    try:
        with torch.no_grad():
            differences, steps = compared(form, read(content), tolerance)
    except UserError:
        raise
    except Exception as error:  # a guard of torch.export, or an operator that the runtime lacks
        hint = "" if streaming or length is not None else "; give the length, as in length=40"
        raise UserError(
            f"this export of {form.name} does not run for all batches and lengths: {error}{hint}"
        ) from error
    return Export(content, form.inputs, form.outputs, differences, steps)


def compared(form: Form, run: Run, tolerance: float) -> tuple[dict[int, float], int]:
    """The largest difference from the model for each size of a batch, and the longest length compared.

    Raises:
        UserError: they differ too much, or rounding decides the model's own answers at all lengths.
    """
    rounding = {length: form.rounding(length) for length in form.lengths}
    telling = [length for length in form.lengths if rounding[length] <= max(TELLING, tolerance)]
    if not telling:
        raise UserError(
            f"{form.name} amplifies rounding: at length {form.lengths[0]}, float64 changes its answers by "
            f"{rounding[form.lengths[0]]:.1e} of the largest one, and so could an export; a shorter length can be "
            "compared, and tolerance=1 exports this one nevertheless"
        )
    differences = dict.fromkeys(BATCHES, 0.0)
    for length, batch in itertools.product(telling, BATCHES):
        difference, allowed = form.difference(run, batch, length), max(tolerance, AMPLIFIED * rounding[length])
        if difference > allowed:
            raise UserError(
                f"the export differs from the model by {difference:.1e} of the largest answer, at length {length}; "
                f"the tolerance is {allowed:.0e}, so nothing is written"
            )
        differences[batch] = max(differences[batch], difference)
    return differences, telling[-1]


def check_arguments(format: str, length: int | None, padded: bool, streaming: bool, tolerance: float) -> None:
    check_choice("format", format, ENDINGS)
    check_flag("padded", padded)
    check_flag("streaming", streaming)
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not tolerance > 0:
        raise ValueError(f"tolerance should be a positive number, got {tolerance!r}")
    if streaming and (padded or length is not None):
        given = "padded=true" if padded else f"length={length}"
        raise ValueError(f"{given} should be left out with streaming=true, which reads one step at a time")
    if length is not None:
        check_whole("length", length, 1)


def check_installed(format: str) -> None:
    """Refuse a format whose packages are missing, with a UserError."""
    needed = ["onnx", "onnxscript", "onnxruntime"] if format == "onnx" else []
    if missing := [name for name in needed if find_spec(name) is None]:
        raise UserError(f'format={format} needs {", ".join(missing)}: pip install "seqmodels[export]"')
