"""The checks of tests/properties.py can fail: of each layer here, with one fault, the right check says so."""

import properties
import pytest
import torch

from seqmodels.layers import TCN, ManualLSTM, ManualRNN, MinGRU, Transformer


class LeaksFromTheFuture(ManualRNN):
    def scan(self, projected, state, weights):
        return super().scan(projected + 0.01 * projected.roll(-1, 0), state, weights)


class DropsTheGivenState(ManualRNN):
    def forward(self, input, hx=None):
        return super().forward(input)


class MixesBatchRows(ManualRNN):
    def step(self, projected, state, weights):
        return super().step(projected + 0.01 * projected.mean(0), state, weights)


class ReadsPadding(ManualRNN):
    def _forward_packed(self, packed, hx):
        padded, lengths = torch.nn.utils.rnn.pad_packed_sequence(packed)
        output, state = super().forward(padded, hx)
        repacked = torch.nn.utils.rnn.pack_padded_sequence(output, lengths, enforce_sorted=False)
        return repacked, state  # the outputs are right, the state has gone on over the padding


class ReturnsNoState(ManualRNN):
    def forward(self, input, hx=None):
        output, state = super().forward(input, hx)
        return output, torch.zeros_like(state)


class ScansOtherThanItSteps(MinGRU):
    def step(self, projected, state, weights):
        return super().step(projected, 0.9 * state, weights)


class ReturnsTheWrongLayersState(ManualRNN):
    def forward(self, input, hx=None):
        output, state = super().forward(input, hx)
        return output, state.flip(0)


class CutsTheGradient(ManualRNN):
    def step(self, projected, state, weights):
        return super().step(projected, state.detach(), weights)


class RoundsToSingle(ManualRNN):
    def step(self, projected, state, weights):
        return super().step(projected, state, weights) + 1e-3 * (projected.dtype == torch.float32)


class NeverLearns(ManualRNN):
    def step(self, projected, state, weights):
        return super().step(projected, state, weights).detach()


class KeepsAWeightAside(ManualRNN):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.aside = torch.rand(())

    def step(self, projected, state, weights):
        return super().step(projected + self.aside, state, weights)


FAULTS = {
    LeaksFromTheFuture: properties.check_causality,
    DropsTheGivenState: properties.check_streaming,
    MixesBatchRows: properties.check_batch_independence,
    ReadsPadding: properties.check_padding,
    ReturnsNoState: properties.check_streaming,
    ScansOtherThanItSteps: properties.check_steps,
    ReturnsTheWrongLayersState: properties.check_shapes,
    CutsTheGradient: properties.check_gradients,
    RoundsToSingle: properties.check_single_precision,
    NeverLearns: properties.check_learning,
}


def build(layer, seed=0):
    torch.manual_seed(seed)
    return layer(3, 8, 2, batch_first=True).double()


@pytest.mark.parametrize("fault", FAULTS, ids=lambda layer: layer.__name__)
def test_a_fault_is_caught(fault):
    with pytest.raises((AssertionError, RuntimeError)):
        FAULTS[fault](build(fault))


@pytest.mark.parametrize("check", dict.fromkeys(FAULTS.values()), ids=lambda check: check.__name__)
def test_the_same_check_passes_without_the_fault(check):
    check(build(ManualRNN))


def test_a_weight_that_is_not_saved_is_caught():
    with pytest.raises(AssertionError):
        properties.check_save_and_load(build(KeepsAWeightAside), build(KeepsAWeightAside, seed=1))


class ForgetsAState(ManualLSTM):
    def step(self, projected, state, weights):
        return super().step(projected, state, weights)[0]


class ReturnsAnotherWidth(ManualRNN):
    def step(self, projected, state, weights):
        return projected[:, :2]


@pytest.mark.parametrize("layer", [ForgetsAState, ReturnsAnotherWidth])
def test_a_step_that_returns_other_states_is_refused(layer):
    with pytest.raises(RuntimeError, match=r"step should return the states \[\[3, 8\].*\], got"):
        build(layer)(torch.randn(3, 5, 3).double())


@pytest.mark.parametrize("layer", [Transformer, TCN])
def test_a_missing_value_shows_in_a_stream_as_in_the_whole(layer):
    """NaN marks the rows before a sequence. Within a sequence it is a fault in the data, and shows as one."""
    model, inputs = build(layer), torch.randn(1, 6, 3).double()
    inputs[0, 2] = torch.nan
    whole, _ = model(inputs)
    first, state = model(inputs[:, :4])
    second, _ = model(inputs[:, 4:], state)
    assert whole[0, 3:].isnan().all()
    properties.close(torch.cat([first, second], dim=1), whole)
