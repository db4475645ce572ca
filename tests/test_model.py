"""SequenceModel: what it encodes, and which states its head reads."""

import functools
from functools import partial

import pytest
import torch
from torch import nn

from seqmodels.config import CONF, compose, instantiate
from seqmodels.layers import ManualRNN
from seqmodels.model import SequenceModel

RNN = partial(ManualRNN, hidden_size=6, num_layers=2, batch_first=True)


def test_tokens_are_encoded_one_hot_or_embedded():
    tokens = torch.tensor([[0, 2, 1], [1, 1, 2]])
    one_hot = SequenceModel(RNN, input_size=3, output_size=4, tokens=True)
    expected, _ = one_hot.layer(torch.eye(3)[tokens])
    torch.testing.assert_close(one_hot(tokens), one_hot.head(expected[:, -1]))

    embedded = SequenceModel(RNN, input_size=3, output_size=4, tokens=True, embedding_size=5)
    assert embedded.encoder.weight.shape == (3, 5)
    expected, _ = embedded.layer(embedded.encoder.weight[tokens])
    torch.testing.assert_close(embedded(tokens), embedded.head(expected[:, -1]))


def test_every_step_is_answered_from_the_outputs():
    model = SequenceModel(RNN, input_size=3, output_size=4, every_step=True)
    inputs = torch.randn(2, 7, 3)
    output, _ = model.layer(inputs)
    torch.testing.assert_close(model(inputs), output @ model.head.weight.T + model.head.bias)


@pytest.mark.parametrize("layer", [ManualRNN, nn.RNN, nn.GRU, nn.LSTM])
def test_one_answer_is_read_from_both_directions_of_the_last_layer(layer):
    model = SequenceModel(
        partial(layer, hidden_size=6, num_layers=2, batch_first=True, bidirectional=True), input_size=3, output_size=4
    )
    inputs = torch.randn(2, 7, 3)
    output, _ = model.layer(inputs)
    read = torch.cat([output[:, -1, :6], output[:, 0, 6:]], dim=1)  # each direction where it has seen everything
    torch.testing.assert_close(model(inputs), model.head(read))


def test_refuses_time_first_layers_and_embedded_numbers():
    with pytest.raises(ValueError, match="batch_first should be true"):
        SequenceModel(partial(ManualRNN, hidden_size=6), input_size=3, output_size=4)
    with pytest.raises(ValueError, match="embedding_size=5 is for tokens"):
        SequenceModel(RNN, input_size=3, output_size=4, embedding_size=5)


MODELS = sorted(file.stem for file in (CONF / "model").glob("*.yaml"))
LENGTHS = [3, 7, 1, 7, 4]


@functools.cache
def config_of(name):
    return compose(f"model={name}", "model.hidden_size=8").model


def model_of(name, every_step, **arguments):
    config = config_of(name)
    torch.manual_seed(0)
    model = SequenceModel(partial(instantiate, config, "model", **arguments), 3, 4, every_step=every_step)
    return model.double().eval()


def answers_and_gradients(model, batches, every_step):
    """Answers to the steps that belong to a sequence, and what a loss of all of them says to inputs and parameters."""
    rows = []
    for inputs, lengths in batches:
        answers = model(inputs) if lengths is None else model(inputs, lengths)
        own = [inputs.size(1)] * len(inputs) if lengths is None else lengths.tolist()
        rows += [row[:length] if every_step else row for row, length in zip(answers, own, strict=True)]
    loss = sum((row**2).sum() for row in rows)
    values = [inputs for inputs, _ in batches], list(model.parameters())
    *gradients, parameters = [torch.autograd.grad(loss, part, retain_graph=True) for part in values]
    return rows, gradients[0], parameters


@pytest.mark.parametrize("every_step", [False, True])
@pytest.mark.parametrize("packs", [True, False], ids=["packed", "padded"])
@pytest.mark.parametrize("name", MODELS)
def test_sequences_of_several_lengths_are_answered_as_each_alone(name, packs, every_step):
    """Outputs, and gradients of inputs and parameters; packed, and padded as for a layer that reads no packed ones."""
    model = model_of(name, every_step)
    assert model.packs
    model.packs = packs
    inputs = torch.randn(len(LENGTHS), 7, 3, dtype=torch.float64)
    alone = [(row[None, :length].clone().requires_grad_(), None) for row, length in zip(inputs, LENGTHS, strict=True)]
    expected, expected_inputs, expected_parameters = answers_and_gradients(model, alone, every_step)
    together = [(inputs.requires_grad_(), torch.tensor(LENGTHS))]
    found, (found_inputs,), found_parameters = answers_and_gradients(model, together, every_step)
    close = partial(torch.testing.assert_close, rtol=1e-10, atol=1e-10)
    close(found, expected)
    close(found_parameters, expected_parameters)
    for row, gradient, length in zip(found_inputs, expected_inputs, LENGTHS, strict=True):
        close(row[:length], gradient[0])
        assert not row[length:].any()  # padding is never looked at


@pytest.mark.parametrize("layer", [ManualRNN, nn.LSTM])
def test_a_layer_of_two_directions_is_packed(layer):
    model = SequenceModel(partial(layer, hidden_size=6, batch_first=True, bidirectional=True), 3, 4).double()
    inputs = torch.randn(len(LENGTHS), 7, 3, dtype=torch.float64)
    alone = [model(row[None, :length])[0] for row, length in zip(inputs, LENGTHS, strict=True)]
    torch.testing.assert_close(model(inputs, torch.tensor(LENGTHS)), torch.stack(alone))


class Unpacked(nn.GRU):
    """A layer that does not accept packed sequences."""

    def forward(self, inputs, hx=None):
        return super().forward(inputs + 0, hx)


def test_a_layer_that_reads_no_packed_sequences_is_padded_or_refused():
    build = partial(Unpacked, hidden_size=6, batch_first=True)
    model = SequenceModel(build, 3, 4).double()
    assert not model.packs
    assert model.takes_lengths
    inputs = torch.randn(2, 7, 3, dtype=torch.float64)
    torch.testing.assert_close(model(inputs, torch.tensor([7, 2]))[1:], model(inputs[1:, :2]))
    backwards = SequenceModel(partial(build, bidirectional=True), 3, 4)
    assert not backwards.takes_lengths
    with pytest.raises(ValueError, match="None for Unpacked, which reads backwards"):
        backwards(inputs.float(), torch.tensor([7, 2]))
    for wrong in ([7, 0], [8, 1]):
        with pytest.raises(ValueError, match="lengths should be between 1 and 7"):
            model(inputs, torch.tensor(wrong))
