"""How much of a layer is saturated: gates that are nearly closed or open, and units at the ends of their range.

There the derivative is nearly zero, so hardly any gradient passes; but a saturated unit can also store a bit that small
changes of its input do not disturb.
"""

import re
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.layers import Blocks, ManualGRU, ManualLSTM, ManualRNN, RecurrentLayer
from seqmodels.layers.blocks import mixers_in
from seqmodels.lesson import record
from seqmodels.signatures import shared_arguments

NEAR = 0.05
"""How close to the end of its range a saturated value is."""

RANGES = {"sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0), "relu": (0.0, None)}
"""The ends of the ranges of the functions that saturate."""

WRITTEN_OUT: dict[type[nn.Module], type[RecurrentLayer]] = {
    nn.RNN: ManualRNN,
    nn.GRU: ManualGRU,
    nn.LSTM: ManualLSTM,
}
"""torch's layers hide their gates; our versions of them have the same weights, and show them."""


@dataclass(frozen=True)
class Saturation:
    """How often one quantity of a layer is at an end of its range, over all its units and all steps."""

    name: str
    """As in the layer's code, such as "update gate"; with the number of the layer where there are several."""
    low: float
    """The share within `NEAR` of the lower end: closed gates, -1 of a tanh; of rectified units, those at 0."""
    high: float | None
    """The share within `NEAR` of the upper end: open gates, 1 of a tanh. None where the range has no end."""


def saturation_of(layer: Any, sequences: Tensor) -> list[Saturation]:
    """The saturation of each sigmoid, tanh and rectifier in a step of a layer, over sequences (batch, time, features).

    Empty for layers that are not built from a cell, and for cells without such functions. Of a layer in blocks, it is
    that of each block.
    """
    if isinstance(layer, Blocks):
        read = inputs_of_mixers(layer, sequences) if len(sequences) else []
        return [
            replace(saturation, name=f"{saturation.name}, block {number}")
            for number, (mixer, inputs) in enumerate(zip(mixers_in(layer), read, strict=False), start=1)
            for saturation in saturation_of(mixer, inputs)
        ]
    with torch.random.fork_rng(devices=[]):  # constructing a layer draws weights
        watched = written_out(layer)
        steps = [step for sequence in sequences for step in (record(watched, sequence).steps if watched else [])]
    results: dict[str, list[tuple[str, Tensor]]] = {}
    for step in steps:
        place = f", layer {step.layer + 1}" if layer.num_layers > 1 else ""
        place += ", backwards" if step.reverse else ""
        for operation in step.operations:
            if operation.function in RANGES:
                name = re.sub(r"_\d+\b", "", operation.quantity)  # the state h_3 is the third value of h
                results.setdefault(name + place, []).append((operation.function, operation.result.detach()))
    found = []
    for name, calls in results.items():
        values = torch.cat([result.flatten() for _, result in calls])
        low, high = RANGES[calls[0][0]]
        near = 0.0 if high is None else NEAR
        found.append(
            Saturation(name, share(values <= low + near), None if high is None else share(values >= high - NEAR))
        )
    return found


@torch.no_grad()
def inputs_of_mixers(blocks: Blocks, sequences: Tensor) -> list[Tensor]:
    """What the layer in each block reads when the blocks read these sequences."""
    read: list[Tensor] = []
    hooks = [
        mixer.register_forward_pre_hook(lambda _, arguments: read.append(arguments[0])) for mixer in mixers_in(blocks)
    ]
    try:
        blocks(sequences)
    finally:
        for hook in hooks:
            hook.remove()
    return read


def written_out(layer: nn.Module) -> RecurrentLayer | None:
    """The layer itself if it is built from a cell; our version of torch's RNN, GRU or LSTM; None for other layers."""
    if isinstance(layer, RecurrentLayer):
        return layer
    if type(layer) not in WRITTEN_OUT:
        return None
    written = WRITTEN_OUT[type(layer)]
    copy = written(**shared_arguments(written, vars(layer) | {"dropout": 0.0})).to(next(layer.parameters()).dtype)
    copy.load_state_dict(layer.state_dict())
    return copy


def share(values: Tensor) -> float:
    return values.double().mean().item()
