"""The eigenvalues of the recurrent weights: where they have modulus 1, a linear recurrence keeps its state."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from seqmodels.layers import LRU, MGU, SLSTM, Blocks, LayerNormLSTM, ManualGRU, ManualLSTM, PeepholeLSTM
from seqmodels.layers.blocks import mixers_in

LARGEST = 512
"""The most rows of a matrix whose eigenvalues are computed."""

GATES = {
    (nn.GRU, ManualGRU): ("reset gate", "update gate", "candidate"),
    (MGU,): ("forget gate", "candidate"),
    (SLSTM,): ("input gate", "forget gate", "candidate", "output gate"),
    (nn.LSTM, ManualLSTM, PeepholeLSTM, LayerNormLSTM): ("input gate", "forget gate", "candidate", "output gate"),
}
"""The names of the blocks of the recurrent weights, in order. The blocks of other layers are numbered."""


@dataclass(frozen=True)
class Spectrum:
    """The eigenvalues of one matrix."""

    name: str
    """The weight and, where it has several blocks, which of them: "weight_hh_l0, update gate"."""
    values: Tensor
    """(n,), complex."""


def spectra_of(layer: Any) -> list[Spectrum]:
    """The eigenvalues of all square blocks of the recurrent weights of a layer; empty if it has none.

    The recurrent weights of `torch.nn.RNN` are named weight_hh, and so are those of layers made like it. A vector, as
    in the IndRNN, is a diagonal matrix. The recurrence of an LRU is diagonal, too, and follows from other parameters.
    Of a layer in blocks, they are those of each block.
    """
    if isinstance(layer, Blocks):
        mixers = enumerate(mixers_in(layer), start=1)
        return [
            replace(one, name=f"block {number}: {one.name}") for number, mixer in mixers for one in spectra_of(mixer)
        ]
    found = []
    for name, weight in layer.named_parameters():
        if not name.startswith("weight_hh"):
            continue
        matrix = weight.detach().double().nan_to_num()
        if isinstance(layer, LRU):
            suffix = name.removeprefix("weight_hh")
            decay, turn = (getattr(layer, f"log_{part}{suffix}").detach().double().exp() for part in ("nu", "theta"))
            found.append(Spectrum(f"lambda{suffix}", torch.exp(torch.complex(-decay, turn))))
        elif matrix.dim() == 1:
            found.append(Spectrum(name, matrix + 0j))
        elif matrix.size(1) == layer.hidden_size <= LARGEST and len(matrix) % layer.hidden_size == 0:
            blocks = matrix.split(matrix.size(1))
            for block, part in zip(blocks, names_of(layer, len(blocks)), strict=True):
                found.append(Spectrum(f"{name}, {part}" if part else name, torch.linalg.eigvals(block)))
    return found


def names_of(layer: nn.Module, count: int) -> tuple[str, ...]:
    """The names of the blocks of a layer's recurrent weights."""
    if count == 1:
        return ("",)
    for layers, names in GATES.items():
        if isinstance(layer, layers) and len(names) == count:
            return names
    return tuple(f"block {number} of {count}" for number in range(1, count + 1))
