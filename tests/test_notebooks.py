"""Every fact of the notebooks this project grew out of: an RNN computed by hand, compared with torch.nn.RNN."""

import numpy as np
import pytest
import torch
from torch import nn

from seqmodels.layers import ManualRNN
from seqmodels.model import SequenceModel

LAYERS = [ManualRNN, nn.RNN]
ONE_TWO_THREE = torch.tensor([[1.0] * 5, [2.0] * 5, [3.0] * 5])


@pytest.mark.parametrize("layer_class", LAYERS)
def test_one_two_three_gives_the_printed_digits(layer_class):
    torch.manual_seed(1)
    layer = layer_class(input_size=5, hidden_size=2, num_layers=1, batch_first=True)
    shapes = {name: tuple(parameter.shape) for name, parameter in layer.named_parameters()}
    assert shapes == {"weight_ih_l0": (2, 5), "weight_hh_l0": (2, 2), "bias_ih_l0": (2,), "bias_hh_l0": (2,)}

    output, h_n = layer(ONE_TWO_THREE.reshape(1, 3, 5))
    assert output.shape == (1, 3, 2)
    assert h_n.shape == (1, 1, 2)
    printed = [[-0.3519801, 0.52525216], [-0.68424344, 0.76074266], [-0.8649416, 0.90466356]]
    # one unit in the last place of a float32: the notebooks themselves print .90466356 here and .9046636 there
    np.testing.assert_allclose(output[0].detach().numpy(), printed, rtol=0, atol=1e-7)
    np.testing.assert_array_equal(h_n[0].detach().numpy(), output[:, -1].detach().numpy())


def test_one_two_three_projects_to_the_printed_digits():
    torch.manual_seed(1)
    layer = ManualRNN(input_size=5, hidden_size=2, batch_first=True)
    printed = [[-0.4701929, 0.5863904], [-0.88883156, 1.2364397], [-1.3074701, 1.886489]]
    np.testing.assert_allclose(
        layer.project(ONE_TWO_THREE, layer.weights()).detach().numpy(), printed, rtol=0, atol=2.4e-7
    )


@pytest.mark.parametrize("layer_class", LAYERS)
def test_two_stacked_layers_are_read_at_the_last_hidden_state(layer_class):
    torch.manual_seed(1)
    model = SequenceModel(
        lambda input_size: layer_class(input_size, 32, num_layers=2, batch_first=True), input_size=64, output_size=1
    )
    inputs = torch.randn(5, 3, 64)
    _, hidden = model.layer(inputs)
    assert hidden.shape == (2, 5, 32)
    assert model(inputs).shape == (5, 1)
    torch.testing.assert_close(model(inputs), hidden[1] @ model.head.weight.T + model.head.bias)


def test_time_comes_first_unless_told_otherwise_and_batches_are_independent():
    ours, theirs = ManualRNN(5, 3), nn.RNN(5, 3)
    ours.load_state_dict(theirs.state_dict())
    inputs = torch.randn(5, 4, 5)  # (time, batch, features)
    output, hidden = ours(inputs)
    for found, expected in zip((output, hidden), theirs(inputs), strict=True):
        torch.testing.assert_close(found, expected)
    for sequence in range(4):
        torch.testing.assert_close(ours(inputs[:, sequence])[0], output[:, sequence])


def test_unbatched_input_and_the_state_handed_on_to_a_next_call():
    ours, theirs = ManualRNN(5, 3), nn.RNN(5, 3)
    ours.load_state_dict(theirs.state_dict())
    first, following = torch.randn(5, 5), torch.randn(1, 5)
    output, hidden = ours(first)
    assert output.shape == (5, 3)
    assert hidden.shape == (1, 3)
    expected_output, expected_hidden = theirs(first)
    torch.testing.assert_close(output, expected_output)
    torch.testing.assert_close(hidden, expected_hidden)
    for found, expected in zip(ours(following, hidden), theirs(following, expected_hidden), strict=True):
        torch.testing.assert_close(found, expected)
    assert not torch.allclose(ours(following, hidden)[0], ours(following)[0])


@pytest.mark.parametrize("samples", [1, 6])
def test_a_head_on_every_step_against_numpy(samples):
    model = SequenceModel(
        lambda input_size: ManualRNN(input_size, 5, batch_first=True), input_size=3, output_size=2, every_step=True
    ).double()
    inputs = np.random.default_rng(0).standard_normal((samples, 10, 3))
    w_ih, w_hh, b_ih, b_hh = (parameter.detach().numpy() for parameter in model.layer.parameters())
    w_out, b_out = (parameter.detach().numpy() for parameter in model.head.parameters())

    expected = np.zeros((samples, 10, 2))
    hidden = np.zeros((samples, 5))
    for t in range(10):  # all samples at once
        hidden = np.tanh(inputs[:, t] @ w_ih.T + b_ih + hidden @ w_hh.T + b_hh)
        expected[:, t] = hidden @ w_out.T + b_out
    np.testing.assert_allclose(model(torch.tensor(inputs)).detach().numpy(), expected, rtol=1e-12, atol=1e-14)


def test_relu_by_two_matrices_and_by_one_concatenated_matrix():
    torch.manual_seed(0)
    layer = ManualRNN(input_size=4, hidden_size=8, nonlinearity="relu")
    inputs = torch.rand(5, 4)
    _, h_n = layer(inputs)

    single_matrix = torch.cat([layer.weight_ih_l0, layer.weight_hh_l0], dim=1)
    bias = layer.bias_ih_l0 + layer.bias_hh_l0
    by_two = by_one = torch.zeros(8)
    for x in inputs:
        by_two = torch.relu(
            x @ layer.weight_ih_l0.T + layer.bias_ih_l0 + by_two @ layer.weight_hh_l0.T + layer.bias_hh_l0
        )
        by_one = torch.relu(torch.cat([x, by_one]) @ single_matrix.T + bias)
    torch.testing.assert_close(h_n[0], by_two)
    torch.testing.assert_close(h_n[0], by_one)
    torch.testing.assert_close(nn_rnn_like(layer)(inputs)[1], h_n)


def nn_rnn_like(layer):
    reference = nn.RNN(layer.input_size, layer.hidden_size, nonlinearity=layer.nonlinearity)
    reference.load_state_dict(layer.state_dict())
    return reference
