"""All measurements of the lens, for one model on one batch of test sequences."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from seqmodels.layers import RecurrentLayer
from seqmodels.layers.blocks import mixers_in
from seqmodels.lens.components import Components, components_of
from seqmodels.lens.eigenvalues import Spectrum, spectra_of
from seqmodels.lens.gradients import gradient_norms
from seqmodels.lens.saturation import Saturation, saturation_of
from seqmodels.model import SequenceModel
from seqmodels.tasks import Task
from seqmodels.tasks.task import IGNORED

WATCHED = 3
"""The number of sequences whose states and gates are recorded."""

LAYERS, STEPS = 8, 200
"""The most layers, and steps of a sequence, whose gates are recorded, which takes about a millisecond each."""


@dataclass(frozen=True)
class Known:
    """What is known about each step of the sequences, by which their states are coloured."""

    values: Tensor
    """(batch, time): whole numbers, or numbers; NaN where nothing is known."""
    text: str
    """What the values are, in a few words."""
    names: tuple[str, ...] | None = None
    """The names of the values 0, 1, ..., if they have names."""


@dataclass(frozen=True)
class Lens:
    """Measurements inside a model while it reads test sequences."""

    states: Tensor
    """The outputs (sequences, time, units) of the last layer, of a few sequences."""
    components: Components
    """Of the same outputs, of all sequences."""
    known: Known
    gradients: Tensor
    """See `gradient_norms`; (batch, time)."""
    spectra: list[Spectrum]
    saturation: list[Saturation]


def look(model: SequenceModel, inputs: Tensor, targets: Tensor, known: Known) -> Lens:
    """Measure a model, in evaluation mode, on a batch of sequences of equal length."""
    with torch.no_grad():
        sequence = model.encode(inputs)
        states = model.layer(sequence)[0]
    layer: Any = model.layer
    layers = sum(getattr(mixer, "num_layers", 1) for mixer in mixers_in(layer))
    watched = sequence[:WATCHED, :STEPS] if layers <= LAYERS else sequence[:0]
    return Lens(
        states[:WATCHED],
        components_of(states),
        known,
        gradient_norms(model, inputs, targets),
        spectra_of(layer),
        saturation_of(layer, watched),
    )


def known_of(task: Task, inputs: Tensor, targets: Tensor) -> Known:
    """What has to be remembered, if the task says so; otherwise the target of each step, or of the sequence."""
    states = task.states(inputs)
    if states is not None:
        return Known(states.double(), task.remembered)
    values = targets[..., 0] if targets.is_floating_point() else targets
    values = values.double().masked_fill(values == IGNORED, torch.nan)
    names = None if task.symbols is None else tuple(task.symbols)
    if task.every_step:
        return Known(values, "the target of the step", names)
    return Known(values.unsqueeze(1).expand(inputs.shape[:2]), "the target of the sequence", names)


def is_recurrent(model: SequenceModel) -> bool:
    """Whether the layer is one that carries a hidden state from step to step."""
    return isinstance(model.layer, RecurrentLayer | torch.nn.RNNBase)
