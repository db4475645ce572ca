"""The forward pass of a recurrent layer, step by step, with every operation of every step."""

import copy
import functools
import re
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seqmodels.layers import RecurrentLayer
from seqmodels.lesson.operations import Operation, Recorder
from seqmodels.signatures import shared_arguments


@dataclass(frozen=True)
class Step:
    """One time step of one layer of the stack, in one direction. Vectors have the shape (1, features).

    The tensors are those of an autograd graph of this step alone: it begins at `input`, `before` and the parameters,
    and ends at `after`.
    """

    layer: int
    """Counted from 0, as in the names of the parameters."""
    reverse: bool
    """Whether this direction reads the sequence backwards."""
    time: int
    """Counted from 1, as in the equations."""
    input: Tensor
    """x_t"""
    before: dict[str, Tensor]
    """The states before the step, by name, such as "h_0"."""
    after: dict[str, Tensor]
    """The states after it, such as "h_1". The first one is the output."""
    operations: list[Operation]
    """In order: those of `project`, then those of `step`."""
    reference: Tensor | None
    """The output as the reference layer computes it."""


@dataclass(frozen=True)
class Lesson:
    """A layer, in evaluation, and all its steps over one sequence, in the order of computation."""

    layer: RecurrentLayer
    inputs: Tensor
    """(time, input_size)"""
    output: Tensor
    """(time, directions * features), as the layer returns it."""
    steps: list[Step]


def record(layer: RecurrentLayer, inputs: Tensor) -> Lesson:
    """Run a layer over one sequence (time, input_size) from its initial state, and record every step.

    The given layer is left alone: a copy runs, and its own code does the stacking and the directions.
    """
    layer = copy.deepcopy(layer).eval()
    references = reference_outputs(layer, inputs)
    places = {
        id(layer.weights(suffix).weight_ih): (level, bool(reverse))
        for level in range(layer.num_layers)
        for reverse, suffix in enumerate(layer.suffixes(level))
    }
    sequence = inputs
    steps: list[Step] = []

    def project(read: Tensor, weights: Any) -> Tensor:
        nonlocal sequence
        sequence = read  # by this layer, in this direction
        return layer.project(read, weights)

    def step(projected: Tensor, state: Any, weights: Any) -> Any:
        level, reverse = places[id(weights.weight_ih)]
        position = sum((past.layer, past.reverse) == (level, reverse) for past in steps)
        time = len(sequence) - position if reverse else position + 1
        expected = None
        if references:
            expected = references[level][time - 1].chunk(layer.num_directions, dim=-1)[reverse].unsqueeze(0)
        before = state if isinstance(state, tuple) else (state,)
        taken = _take_step(layer, (level, reverse, time), sequence[position], before, weights, expected)
        steps.append(taken)
        after = tuple(part.detach() for part in taken.after.values())
        return after if isinstance(state, tuple) else after[0]

    # A `step` set on the object makes the layer run one step at a time, and so does the `scan` of the base class.
    recorded = copy.copy(layer)  # with the same parameters
    scan = functools.partial(RecurrentLayer.scan, recorded)
    vars(recorded).update(backend="autograd", project=project, step=step, scan=scan)
    with torch.no_grad():
        output, _ = recorded(inputs)
    return Lesson(layer, inputs, output, steps)


@torch.enable_grad()
def _take_step(
    layer: RecurrentLayer,
    place: tuple[int, bool, int],
    features: Tensor,
    state: tuple[Tensor, ...],
    weights: Any,
    reference: Tensor | None,
) -> Step:
    """Take one step, with a graph of its own."""
    level, reverse, time = place
    features, *parts = (tensor.detach().requires_grad_() for tensor in (features, *state))
    before = {f"{name}_{time + 1 if reverse else time - 1}": p for name, p in zip(layer.states, parts, strict=True)}
    tensors = dict(layer.named_parameters()) | dict(layer.named_buffers())
    suffix = layer.suffixes(level)[reverse]
    parameters = {symbol(name) if name.endswith(suffix) else name: tensor for name, tensor in tensors.items()}
    with Recorder(parameters | before | {f"x_{time}": features}) as recorder:
        projected = recorder.known["projected"] = layer.project(features, weights)
        new = layer.advance(projected, tuple(parts), weights)
    after = {f"{name}_{time}": part for name, part in zip(layer.states, new, strict=True)}
    return Step(*place, features, before, after, recorder.operations(after), reference)


def symbol(name: str) -> str:
    """A parameter as the equations write it: W_ih for weight_ih_l0, b_hh for bias_hh_l0_reverse."""
    return re.sub(r"_l\d+(_reverse)?$", "", name).replace("weight_", "W_").replace("bias_", "b_")


def reference_layer(layer: RecurrentLayer, num_layers: int) -> torch.nn.Module | None:
    """The reference of the lowest layers of the stack, with their weights; None if the layer has no reference."""
    if layer.reference is None:
        return None
    arguments = shared_arguments(layer.reference, vars(layer) | {"num_layers": num_layers, "dropout": 0.0})
    reference = layer.reference(**arguments).to(next(layer.parameters()).dtype)
    weights = layer.state_dict()
    reference.load_state_dict({name: weights[name] for name in reference.state_dict()})
    return reference.eval()


@torch.no_grad()
def reference_outputs(layer: RecurrentLayer, inputs: Tensor) -> list[Tensor]:
    """The outputs (time, directions * features) of each layer of the stack, by the reference; empty without one."""
    stacks = [reference_layer(layer, level + 1) for level in range(layer.num_layers)]
    return [stack(inputs)[0] for stack in stacks if stack is not None]
