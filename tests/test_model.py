"""SequenceModel: what it encodes, and which states its head reads."""

from functools import partial

import pytest
import torch
from torch import nn

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
