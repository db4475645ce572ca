"""Back-propagation through time, step by step from the last step to the first.

Within a step, autograd computes the gradients of its operations. The recursion from step to step, the sums of what
arrives from several places, and the sums of the weights' gradients over time are written out here.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from seqmodels.lesson.forward import Lesson, Step, reference_layer


@dataclass(frozen=True)
class BackwardStep:
    """The gradients of the loss at one step. Each has the shape of what it belongs to."""

    step: Step
    arriving: dict[str, dict[str, Tensor]]
    """Of each new state, such as "h_2": the parts that come from outside the step, by their source."""
    operations: list[Tensor | None]
    """Of the result of each of `step.operations`; None where it has no part in the new states."""
    input: Tensor
    """Of x_t, for the layer below."""
    before: dict[str, Tensor]
    """Of each state before the step, for the step before."""
    weights: dict[str, Tensor]
    """Of each parameter that the step uses: the part that comes from this step."""
    totals: dict[str, Tensor]
    """The sums of these parts over the steps so far."""


def back_propagate(lesson: Lesson, output_gradient: Tensor) -> Iterator[BackwardStep]:
    """Go through the steps of a lesson in reverse order, the last layer first.

    Args:
        lesson: the recorded forward pass.
        output_gradient: the gradient of the loss for the outputs, shaped like `lesson.output`.
    """
    totals: dict[str, Tensor] = {}
    source, from_above = "from the loss", output_gradient
    for layer in reversed(range(lesson.layer.num_layers)):
        to_below: dict[int, Tensor] = {}
        for reverse, output_part in enumerate(from_above.chunk(lesson.layer.num_directions, dim=-1)):
            later, time_later = dict[str, Tensor](), 0
            steps = [step for step in lesson.steps if (step.layer, step.reverse) == (layer, reverse)]
            for step in reversed(steps):
                arriving: dict[str, dict[str, Tensor]] = {state: {} for state in step.after}
                arriving[next(iter(step.after))][source] = output_part[step.time - 1].unsqueeze(0)
                for state, gradient in later.items():
                    arriving[state][f"from step {time_later}"] = gradient
                backward = back_through(step, arriving, dict(lesson.layer.named_parameters()), totals)
                yield backward
                later, time_later = backward.before, step.time
                totals = totals | backward.totals
                to_below[step.time] = to_below.get(step.time, 0) + backward.input
        source, from_above = f"from layer {layer}", torch.cat([to_below[time] for time in sorted(to_below)])


def back_through(
    step: Step, arriving: dict[str, dict[str, Tensor]], parameters: dict[str, Tensor], totals: dict[str, Tensor]
) -> BackwardStep:
    """The gradients of one step by the chain rule, from those that arrive at its states."""
    states = [(state, sum(arriving[name].values(), torch.zeros_like(state))) for name, state in step.after.items()]
    outputs, sums = zip(*[pair for pair in states if pair[0].requires_grad], strict=True)

    def gradients(targets: Iterable[Tensor]) -> list[Tensor | None]:
        return [
            torch.autograd.grad(outputs, target, sums, retain_graph=True, allow_unused=True)[0]
            if target.requires_grad
            else None
            for target in targets
        ]

    start = [step.input, *step.before.values()]
    to_input, *to_states = (
        torch.zeros_like(target) if gradient is None else gradient
        for target, gradient in zip(start, gradients(start), strict=True)
    )
    found = zip(parameters, gradients(parameters.values()), strict=True)
    weights = {name: gradient for name, gradient in found if gradient is not None}
    return BackwardStep(
        step,
        arriving,
        gradients(operation.result for operation in step.operations),
        to_input,
        dict(zip(step.before, to_states, strict=True)),
        weights,
        {name: gradient + totals.get(name, 0) for name, gradient in weights.items()},
    )


def whole_gradients(lesson: Lesson, steps: Iterable[BackwardStep]) -> dict[str, Tensor]:
    """The sums over all steps of the backward pass: the gradients of "inputs" and of each parameter, by name."""
    whole = {"inputs": torch.zeros_like(lesson.inputs)}
    whole |= {name: torch.zeros_like(parameter) for name, parameter in lesson.layer.named_parameters()}
    for backward in steps:
        whole |= backward.totals
        if backward.step.layer == 0:
            whole["inputs"][backward.step.time - 1] += backward.input[0]
    return whole


def autograd_gradients(lesson: Lesson, output_gradient: Tensor) -> dict[str, Tensor]:
    """The same gradients, computed by torch in one call.

    Through the reference layer with the same weights, or through the layer itself if it has no reference.
    """
    layer = reference_layer(lesson.layer, lesson.layer.num_layers) or lesson.layer
    inputs = lesson.inputs.detach().clone().requires_grad_()
    sources = {"inputs": inputs} | dict(layer.named_parameters())
    found = torch.autograd.grad(layer(inputs)[0], list(sources.values()), output_gradient, materialize_grads=True)
    return dict(zip(sources, found, strict=True))
