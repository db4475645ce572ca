"""A lesson as plain text, which can be followed with a pocket calculator."""

import inspect
import math
import re
import sys
import textwrap
from collections.abc import Iterator

import torch
from torch import Tensor

from seqmodels.layers import RecurrentLayer
from seqmodels.lesson.backward import BackwardStep, autograd_gradients, back_propagate, whole_gradients
from seqmodels.lesson.forward import Lesson, Step, symbol
from seqmodels.signatures import public_name

TITLE, COLUMN, WIDTH = 44, 12, 120
"""Characters of a title, of a number and of a line."""

RULES = {
    "linear": "y = W a + b         da = W^T dy,  db = dy,  dW = dy a^T, which is dy_i * a_j in row i and column j",
    "add": "y = a + b           da = dy,  db = dy",
    "sub": "y = a - b           da = dy,  db = -dy",
    "mul": "y = a * b           da = dy * b,  db = dy * a",
    "div": "y = a / b           da = dy / b,  db = -dy * y / b",
    "chunk": "y = a[3..4]         da[3..4] = dy",
    "neg": "y = -a              da = -dy",
    "exp": "y = exp(a)          da = dy * y",
    "tanh": "y = tanh(a)         da = dy * (1 - y^2)",
    "sigmoid": "y = sigmoid(a)      da = dy * y * (1 - y)",
    "log_sigmoid": "y = log sigmoid(a)  da = dy * (1 - sigmoid(a))",
    "relu": "y = relu(a)         da = dy where a > 0, else 0",
    "maximum": "y = maximum(a, b)   da = dy where a > b, db = dy where b > a, else 0",
    "complex": "y = complex(a, b)   da = Re dy,  db = Im dy; above, a complex factor or y counts as its conjugate",
    "real": "y = Re a            da = dy;  Re, or a real factor, keeps the real part of the gradient alone",
    "imag": "y = Im a            da = i dy",
    "cat": "y = cat(a, b)       da and db are the parts of dy",
    "layer_norm": "y = gain * n + b    da = (g - mean(g) - n * mean(g * n)) / deviation of a,  where g = dy * gain",
}
"""The chain rule of common operations."""

LOSSES = {"all": "the sum of all outputs, of every step", "last": "the sum of the outputs of the last step"}
"""The losses to choose from for the backward pass, in words."""


def forward_text(lesson: Lesson) -> Iterator[str]:
    """The equations, the weights and the forward pass, line by line."""
    layer = lesson.layer
    yield from str(layer).splitlines()
    yield ""
    yield from equations(layer).splitlines()
    for name, parameter in layer.named_parameters():
        yield ""
        yield f"{name} ({' x '.join(map(str, parameter.shape))}), written {symbol(name)}"
        yield from _matrix("", parameter)
    yield ""
    yield "The forward pass, as the code computes it. Lines follow from those above; a[3..4] is numbers 3 to 4 of a."
    largest, direction, units = 0.0, "", min(layer.hidden_size, _per_line(COLUMN))
    for step in lesson.steps:
        begins = direction != (direction := _direction(step))
        if begins:
            yield from ["", direction]
        yield from ["", f"  time step {step.time}"]
        yield from _row(f"x_{step.time}", step.input)
        if layer.gates == 1:  # else a row also holds the numbers of several gates
            yield " " * TITLE + "".join(f"{f'unit {unit + 1}':>{COLUMN}}" for unit in range(units))
        for name, state in step.before.items() if begins else ():
            yield from _row(f"{name}, the initial state", state)
        for operation in step.operations:
            for term, value in operation.terms.items():
                if step is lesson.steps[0] and term == "W_ih x_1":
                    yield from _spelled_out(layer.get_parameter("weight_ih_l0")[0], step.input[0], value[0, 0])
                if term != operation.formula:
                    yield from _row(term, value)
            yield from _matrix(f"{operation.name} = {operation.formula}".removeprefix(" = "), operation.result)
        if step.reference is not None:
            name, output = next(iter(step.after.items()))
            difference = (output - step.reference).abs()
            largest = max(largest, difference.max().item())
            yield from _row(f"{name} by {_reference(layer)}", step.reference)
            yield from _row("difference", difference)
    if layer.reference is not None:
        yield from ["", f"largest difference from {_reference(layer)}: {largest:.2g}"]


def backward_text(lesson: Lesson, loss: str) -> Iterator[str]:
    """The backward pass for one of the `LOSSES`, line by line, and torch's gradients beside its results."""
    output_gradient = torch.ones_like(lesson.output)
    if loss == "last":
        output_gradient[:-1] = 0
    functions = {operation.function for step in lesson.steps for operation in step.operations}
    value = _number((lesson.output * output_gradient).sum().item())
    yield f"Back-propagation through time, for the loss L = {LOSSES[loss]} = {value}"
    yield ""
    yield "    The rules for the operations of this layer, in which dy is short for dL/dy:"
    yield ""
    yield from (f"        {rule}" for function, rule in RULES.items() if function in functions)
    yield ""
    yield "    A quantity that is used in several places receives a gradient from each of them; they add up."
    steps: list[BackwardStep] = []
    for backward in back_propagate(lesson, output_gradient):
        begins = not steps or _direction(backward.step) != _direction(steps[-1].step)
        steps.append(backward)
        if begins:
            yield from ["", _direction(backward.step)]
        yield from _backward_step(backward)
    by = _reference(lesson.layer) if lesson.layer.reference else "autograd"
    yield from ["", "The whole gradients"]
    expected = autograd_gradients(lesson, output_gradient)
    largest = 0.0
    for name, gradient in whole_gradients(lesson, steps).items():
        difference = (gradient - expected[name]).abs().max().item()
        largest = max(largest, difference)
        yield ""
        yield from _matrix(f"dL/d({name})", gradient)
        yield from _matrix(f"by {by}", expected[name])
        yield from _row("largest difference", torch.tensor(difference))
    yield from ["", f"largest difference from {by}: {largest:.2g}"]


def _backward_step(backward: BackwardStep) -> Iterator[str]:
    step = backward.step
    yield from ["", f"  time step {step.time}"]
    arrived = {}
    for state, parts in backward.arriving.items():
        for source, gradient in parts.items():
            yield from _row(f"dL/d{state} {source}", gradient)
        if parts:
            arrived[state] = sum(parts.values(), torch.zeros(()))
        if len(parts) > 1:
            yield from _row(f"dL/d{state}, the sum", arrived[state])
    for operation, inner in reversed(list(zip(step.operations, backward.operations, strict=True))):
        if inner is None or (operation.name in arrived and inner.equal(arrived[operation.name])):
            continue
        outside = ", the sum above" if operation.name in arrived else ""
        yield from _matrix(_derivative(operation.quantity) + outside + _through(step, operation.quantity), inner)
    for quantity, gradient in ({f"x_{step.time}": backward.input} | backward.before).items():
        yield from _row(_derivative(quantity) + _through(step, quantity), gradient)
    for name, gradient in backward.weights.items():
        yield from _matrix(f"{_derivative(symbol(name))}, from this step", gradient)
        if not gradient.equal(backward.totals[name]):
            yield from _matrix("total so far", backward.totals[name])


def equations(layer: RecurrentLayer) -> str:
    """The docstring of a cell's module, with its equations, and the order of its weights; else the code of `step`."""
    order = (inspect.getdoc(type(layer)) or "").partition("\n\n")[0]
    for base in type(layer).__mro__:
        text = inspect.getdoc(sys.modules[base.__module__]) or ""
        if any(line.startswith("    ") for line in text.splitlines()):
            return f"{text}\n\n{order}"
        if "step" in vars(base):
            break
    return inspect.getsource(type(layer).step)


def _direction(step: Step) -> str:
    return f"Layer {step.layer}{', backwards in time' if step.reverse else ''}"


def _reference(layer: RecurrentLayer) -> str:
    assert layer.reference is not None
    return public_name(layer.reference)


def _derivative(quantity: str) -> str:
    """dL/dh_1, but dL/d(reset gate)"""
    return f"dL/d{quantity}" if re.fullmatch(r"[a-zA-Z]{1,2}_\w+", quantity) else f"dL/d({quantity})"


def _through(step: Step, quantity: str) -> str:
    """The operations that use a quantity, where there are several, or where it also is a new state."""
    users = [
        f"through {user.quantity}"
        for user in step.operations
        if quantity in user.operands and not user.formula.startswith(f"{quantity}[")
    ]
    return f", {', '.join(users)}" if len(users) > 1 or (users and quantity in step.after) else ""


def _spelled_out(weights: Tensor, inputs: Tensor, result: Tensor) -> Iterator[str]:
    """The first number of the first product, as a sum."""
    pairs = zip(weights.tolist(), inputs.tolist(), strict=True)
    products = " + ".join(f"{_number(weight)} * {_number(feature)}" for weight, feature in pairs)
    sentence = f"W_ih x_1, unit 1: {products} = {_number(result.item())}"
    yield from textwrap.wrap(sentence, WIDTH, initial_indent="    ", subsequent_indent=" " * 22)


def _matrix(title: str, values: Tensor) -> Iterator[str]:
    """A matrix row by row; a vector, also one of the shape (1, features), as one row without a number."""
    if values.dim() != 2 or len(values) == 1:
        yield from _row(title, values)
        return
    for number, row in enumerate(values):
        place = f"row {number + 1}"
        yield from _row(f"{title if number == 0 else '':<{TITLE - 16}}{place:>8}", row)


def _row(title: str, values: Tensor) -> Iterator[str]:
    """A title and the numbers of a vector, in lines of about the same length where one does not suffice."""
    numbers = values.detach().flatten().tolist()
    column = 2 * COLUMN if values.is_complex() else COLUMN
    lines = math.ceil(len(numbers) / _per_line(column))
    per_line = math.ceil(len(numbers) / lines)
    title = f"    {title}"
    if len(title) > TITLE - 1:
        yield from textwrap.wrap(title.strip(), WIDTH, initial_indent="    ", subsequent_indent=" " * 8)
        title = ""
    for start in range(0, len(numbers), per_line):
        cells = (_aligned(number) for number in numbers[start : start + per_line])
        yield f"{title if start == 0 else '':<{TITLE}}{''.join(f'{cell:>{column}}' for cell in cells)}".rstrip()


def _per_line(column: int) -> int:
    return (WIDTH - TITLE) // column


def _number(value: complex) -> str:
    """A number with 7 decimals, or with 5 significant digits where 7 decimals would not show it."""
    if isinstance(value, complex):
        return f"{_number(value.real)}{'-' if value.imag < 0 else '+'}{_number(abs(value.imag))}i"
    if not math.isfinite(value) or (value == round(value) and abs(value) < 1e4):
        return f"{value + 0:.0f}"
    return f"{value:.7f}" if 1e-3 <= abs(value) < 1e4 else f"{value:.4e}"


def _aligned(value: complex) -> str:
    """The number, with room after a whole one in place of its decimals."""
    number = _number(value)
    return number if "." in number or "n" in number else f"{number:<{len(number) + 8}}"
