"""The parity check passes what is equal, and catches what is wrong, by name."""

import json
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from seqmodels.layers import ManualRNN
from seqmodels.parity import ParityError, compare


class DropsBias(ManualRNN):
    def step(self, projected, state, weights):
        return super().step(projected, state, SimpleNamespace(**vars(weights) | {"bias_hh": None}))


class TransposesWeight(ManualRNN):
    def step(self, projected, state, weights):
        return super().step(projected, state, SimpleNamespace(**vars(weights) | {"weight_hh": weights.weight_hh.T}))


class TransposesParameter(ManualRNN):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.weight_ih_l0 = nn.Parameter(self.weight_ih_l0.detach().T.clone())

    def project(self, sequence, weights):
        return F.linear(sequence, weights.weight_ih.T, weights.bias_ih)


class DropsGivenState(ManualRNN):
    def forward(self, input, hx=None):
        return super().forward(input)


class NeverHandsTheStateOn(ManualRNN):
    def step(self, projected, state, weights):
        return super().step(projected, torch.zeros_like(state), weights)


class CutsTheGradient(ManualRNN):
    def step(self, projected, state, weights):
        return super().step(projected, state.detach(), weights)


class ReturnsTheFirstLayersState(ManualRNN):
    def forward(self, input, hx=None):
        output, final = super().forward(input, hx)
        return output, final.flip(0)


class GivesNaN(ManualRNN):
    def step(self, projected, state, weights):
        return super().step(projected, state, weights) * float("nan")


class Raises(ManualRNN):
    def step(self, projected, state, weights):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")


class IsWrongInTraining(ManualRNN):
    def step(self, projected, state, weights):
        return super().step(projected, state, weights) * (0.5 if self.training else 1.0)


class IsWrongInEvaluation(ManualRNN):
    def step(self, projected, state, weights):
        return super().step(projected, state, weights) * (1.0 if self.training else 0.5)


class IgnoresDropout(ManualRNN):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.dropout = 0.0


class StartsElsewhere(ManualRNN):
    def reset_parameters(self):
        for parameter in self.parameters():
            nn.init.normal_(parameter)


class ReturnsAConstantState(ManualRNN):
    def forward(self, input, hx=None):
        output, final = super().forward(input, hx)
        return output, torch.zeros_like(final)


class MixesBatchRows(ManualRNN):
    def step(self, projected, state, weights):
        return super().step(projected, state.roll(1, 0), weights)


WRONG = {
    IsWrongInTraining: ["output", "final state", "gradient of weight_hh_l0"],
    IsWrongInEvaluation: ["output from zero state"],
    IgnoresDropout: ["output"],
    StartsElsewhere: ["initial weights"],
    ReturnsAConstantState: ["final state", "final state from zero state"],
    MixesBatchRows: ["output", "final state"],
    DropsBias: ["output", "gradient of bias_hh_l0", "gradient of bias_hh_l1"],
    TransposesWeight: ["output", "gradient of weight_hh_l0"],
    TransposesParameter: ["weight_ih_l0"],
    DropsGivenState: ["output", "gradient of initial state"],
    NeverHandsTheStateOn: ["output", "output from zero state", "gradient of weight_hh_l0"],
    CutsTheGradient: ["gradient of input", "gradient of initial state", "gradient of weight_hh_l0"],
    ReturnsTheFirstLayersState: ["final state", "final state from zero state"],
    GivesNaN: ["output", "final state"],
    Raises: ["forward or backward"],
}
ARGUMENTS = {"input_size": 3, "hidden_size": 5, "num_layers": 2, "dropout": 0.5}


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_manual_rnn_equals_its_reference(batch_first, nonlinearity):
    parameters = [f"gradient of {name}" for name, _ in ManualRNN(**ARGUMENTS).named_parameters()]
    state = torch.get_rng_state()
    report = compare(
        ManualRNN, ARGUMENTS | {"batch_first": batch_first, "nonlinearity": nonlinearity}, batch=4, time=50
    )
    assert torch.equal(torch.get_rng_state(), state)
    report.check()
    assert report.passed
    assert report.worst < 1e-12
    tensors = [deviation.tensor for deviation in report.deviations]
    assert tensors[-len(parameters) :] == parameters
    assert {"output", "final state", "gradient of input", "gradient of initial state"} < set(tensors)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda layer: layer.__name__)
def test_a_wrong_layer_is_caught_and_what_is_wrong_is_named(wrong):
    report = compare(wrong, ARGUMENTS)
    assert not report.passed
    failures = [failure.tensor for failure in report.failures]
    assert set(WRONG[wrong]) <= set(failures)
    with pytest.raises(ParityError) as caught:
        report.check()
    assert all(name in str(caught.value) for name in [wrong.__name__, "torch.nn.RNN", *WRONG[wrong]])
    json.dumps(report.as_dict(), allow_nan=False)


def test_a_gradient_fault_leaves_the_outputs_equal():
    failures = [failure.tensor for failure in compare(CutsTheGradient, ARGUMENTS).failures]
    assert "output" not in failures


def test_a_class_without_a_reference_is_asked_for_one():
    with pytest.raises(ValueError, match="RNN names no reference"):
        compare(nn.RNN, ARGUMENTS)
    assert compare(nn.RNN, ARGUMENTS, reference=nn.RNN).passed


def test_the_command_shows_the_table_and_writes_nothing(type_command, tmp_path):
    code, printed, _ = type_command("model.num_layers=2", "task=adding", verb="parity")
    assert code == 0
    assert "gradient of weight_hh_l1" in printed
    assert "differs" not in printed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("nn_rnn", "torch.nn.RNN is torch's own"),
        ("gla", "GLA has no counterpart in torch; tests compare it with published code or its equations"),
        ("tcn", "TCN names no reference"),
    ],
)
def test_the_command_says_why_nothing_is_compared(type_command, model, words):
    code, printed, _ = type_command(f"model={model}", verb="parity")
    assert code == 0
    assert printed.startswith(words)
    assert printed.count("\n") == 1
