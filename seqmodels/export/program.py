"""A form of a model as a program of torch.export."""

import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from seqmodels.checks import UserError
from seqmodels.export.forms import Form, OneStep, Run


def program_of(form: Form) -> Any:
    """The form as a program of torch.export, for any size of a batch and any length that its ports leave open."""
    example = form.draw(2, form.lengths[-1], torch.Generator().manual_seed(0))
    dynamic: list[Any] = [
        {axis: torch.export.Dim.DYNAMIC for axis, size in enumerate(port.shape) if isinstance(size, str)}
        for port in form.inputs
    ]
    if isinstance(form, OneStep):
        dynamic = [dynamic[0], tuple(dynamic[1:])]  # the states are one argument, `*state`
    try:
        with quiet():
            return torch.export.export(form, example, dynamic_shapes=tuple(dynamic), strict=False)
    except Exception as error:  # whatever a layer does that torch.export cannot follow
        raise refused(form, "torch.export", error) from error


def refused(form: Form, exporter: str, error: Exception) -> UserError:
    """The error for a user whose model an exporter cannot follow."""
    problem = str(error).strip().partition("\n")[0]
    return UserError(f"{exporter} cannot export {form.name}: {type(error).__name__}: {problem}")


def torch_file(form: Form) -> bytes:
    """The content of a file for `torch.export.load`."""
    program, file = program_of(form), io.BytesIO()
    with quiet():
        torch.export.save(program, file)
    return file.getvalue()


def read_torch(content: bytes) -> Run:
    """The program in a file of `torch_file`."""
    with quiet():
        module = torch.export.load(io.BytesIO(content)).module()

    def run(*inputs: Tensor) -> tuple[Tensor, ...]:
        outputs = module(*inputs)
        return outputs if isinstance(outputs, tuple) else (outputs,)

    return run


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what torch says about its own exporters."""
    # The first warns that torchvision is missing, the second, in torch 2.6, of errors that the comparison would find.
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.fx.experimental.symbolic_shapes")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # torch's own use of its tree utilities
            warnings.filterwarnings("ignore", "`isinstance.treespec, LeafSpec.` is deprecated", FutureWarning)
            # torch.nn.RNN keeps a second list of its weights
            warnings.filterwarnings(
                "ignore", r"The tensor attributes? self\.model\.layer\.[\w.]*_flat_weights", UserWarning
            )
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
