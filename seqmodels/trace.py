"""A layer's arithmetic, one time step after the other, beside that of its reference.

    python -m seqmodels.trace
    python -m seqmodels.trace model.num_layers=2 model.nonlinearity=relu inputs=[[1,0],[0,1]]

The defaults are those of the example everybody starts with: `torch.manual_seed(1)`, `nn.RNN(5, 2, batch_first=True)`
and the inputs 1, 2, 3, each repeated five times. Of several states
the first one is shown, which is the output.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from omegaconf import DictConfig
from torch import Tensor

from seqmodels.config import UserError, arguments_of, check_seed, command, instantiate
from seqmodels.layers import RecurrentLayer


@dataclass(frozen=True)
class Step:
    """One time step of one layer of the stack; `reverse` where the sequence is read backwards. Shapes (1, features)."""

    layer: int
    reverse: bool
    time: int
    input: Tensor
    projected: Tensor
    """W_ih x_t + b_ih"""
    hidden: Tensor
    """The new state h, by `step` from the projected input and the state before it."""
    reference: Tensor | None
    """The same state as the reference layer computes it."""


@torch.no_grad()
def trace(layer: RecurrentLayer, inputs: Tensor) -> Iterator[Step]:
    """The steps of a layer over one sequence (time, input_size), from the zero state, in the order they are taken."""
    sequence = inputs.unsqueeze(1)  # (time, batch of one, features)
    for level in range(layer.num_layers):
        outputs = []
        for suffix in layer.suffixes(level):
            reverse = suffix.endswith("reverse")
            order = range(len(sequence))[:: -1 if reverse else 1]
            expected = reference_states(layer, suffix, sequence.flip(0) if reverse else sequence)
            state = tuple(part[0] for part in layer.initial_state(sequence, 1, 1))
            weights = layer.weights(suffix)
            states = {}
            for position, time in enumerate(order):
                projected = layer.project(sequence[time], weights)
                state = layer.advance(projected, state, weights)
                states[time] = state[0]
                reference = None if expected is None else expected[position]
                yield Step(level, reverse, time, sequence[time], projected, state[0], reference)
            outputs.append(torch.stack([states[time] for time in range(len(sequence))]))
        sequence = torch.cat(outputs, dim=-1)


def reference_states(layer: RecurrentLayer, suffix: str, sequence: Tensor) -> Tensor | None:
    """All states of one level of the stack, (time, 1, hidden_size), by a single reference layer with its weights."""
    if layer.reference is None:
        return None
    options = {name: getattr(layer, name) for name in ("nonlinearity", "proj_size") if hasattr(layer, name)}
    single = layer.reference(sequence.size(-1), layer.hidden_size, bias=layer.bias, **options)
    weights = {name: value for name, value in layer.state_dict().items() if name.endswith(suffix)}
    single.load_state_dict({name.removesuffix(suffix) + "_l0": value for name, value in weights.items()})
    return single(sequence)[0]


def show(steps: Iterator[Step], name: str) -> float:
    """Print the steps; returns the largest difference between the layer and its reference."""
    largest, heading = 0.0, ""
    width = max(len(f"State, {name}"), len("State, reference"))
    for step in steps:
        current = f"layer {step.layer}{', backwards' if step.reverse else ''}"
        if current != heading:
            heading = current
            print(heading)
        rows = {"Input": step.input, "Projected": step.projected, f"State, {name}": step.hidden}
        if step.reference is not None:
            difference = (step.hidden - step.reference).abs().max().item()
            largest = max(largest, difference)
            rows |= {"State, reference": step.reference}
        print(f"  time step {step.time} =>")
        for title, value in rows.items():
            print(f"    {title:<{width}} : {value.numpy()}")
        if step.reference is not None:
            print(f"    {'Difference':<{width}} : {difference:g}")
        print()
    return largest


@command("trace")
def main(config: DictConfig, folder: Path) -> None:
    check_seed(config)
    inputs = read_inputs(config)
    torch.manual_seed(config.seed)
    layer = instantiate(config.model, "model", input_size=inputs.size(1))
    if not isinstance(layer, RecurrentLayer):
        raise UserError(
            f"model._target_={config.model._target_} should be a layer whose steps can be seen, a RecurrentLayer"
        )
    print(layer)
    for name, parameter in layer.named_parameters():
        print(f"  {name}: {tuple(parameter.shape)}")
    if not inputs.isfinite().all():
        raise UserError("inputs should be finite numbers")
    largest = show(trace(layer, inputs), type(layer).__name__)
    if layer.reference is not None:
        print(f"largest difference from {layer.reference.__name__}: {largest:g}")


def read_inputs(config: DictConfig) -> Tensor:
    rows = arguments_of(config)["inputs"]
    try:
        inputs = torch.tensor(rows, dtype=torch.float32)
    except (TypeError, ValueError) as error:
        raise UserError(f"inputs should be rows of numbers, all of one length, got {rows}: {error}") from error
    if inputs.dim() != 2 or 0 in inputs.shape:
        raise UserError(f"inputs should be rows of numbers, as in inputs=[[1,0],[0,1]], got {rows}")
    return inputs


if __name__ == "__main__":
    main()
