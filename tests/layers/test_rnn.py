"""ManualRNN against torch.nn.RNN in float64, and against what a drop-in must accept and refuse."""

import copy
import itertools
import pickle

import pytest
import torch
from torch import nn

from seqmodels.layers import ManualRNN

OPTIONS = [
    {
        "num_layers": layers,
        "nonlinearity": nonlinearity,
        "bias": bias,
        "batch_first": batch_first,
        "bidirectional": bidirectional,
    }
    for layers, nonlinearity, bias, batch_first, bidirectional in itertools.product(
        (1, 3), ("tanh", "relu"), (True, False), (True, False), (True, False)
    )
]


def pair(**options):
    """Ours and torch's with equal weights, drawn from equal seeds rather than copied."""
    layers = []
    for layer in (ManualRNN, nn.RNN):
        torch.manual_seed(7)
        layers.append(layer(4, 5, **options, dtype=torch.float64))
    return layers


def leaf(*shape):
    return torch.randn(*shape, dtype=torch.float64, requires_grad=True)


def results(layer, inputs, state):
    """Outputs, final state and every gradient, for fixed output gradients."""
    inputs, state = inputs.detach().requires_grad_(), state.detach().requires_grad_()
    output, final = layer(inputs, state)
    generator = torch.Generator().manual_seed(3)
    gradients = [torch.randn(t.shape, generator=generator, dtype=t.dtype) for t in (output, final)]
    layer.zero_grad()
    torch.autograd.backward([output, final], gradients)
    return [output, final, inputs.grad, state.grad, *(parameter.grad for parameter in layer.parameters())]


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())))
@pytest.mark.parametrize("single", [False, True])
def test_equals_torch_in_outputs_states_and_gradients(options, single):
    ours, theirs = pair(**options)
    states = options["num_layers"] * (2 if options["bidirectional"] else 1)
    inputs = leaf(7, 4) if single else leaf(3, 7, 4)
    length_first = inputs if single or options["batch_first"] else inputs.transpose(0, 1)
    state = leaf(states, 5) if single else leaf(states, 3, 5)
    for found, expected in zip(*(results(layer, length_first, state) for layer in (ours, theirs)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    for found, expected in zip(ours(length_first), theirs(length_first), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(map(str, o.values())))
def test_names_shapes_and_initial_weights_are_those_of_torch(options):
    ours, theirs = pair(**options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, weight in theirs.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], weight, rtol=0, atol=0)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    theirs.load_state_dict(ours.state_dict(), strict=True)


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_first_and_second_derivatives_by_finite_differences(nonlinearity):
    torch.manual_seed(0)
    layer = ManualRNN(2, 3, num_layers=2, nonlinearity=nonlinearity, dtype=torch.float64)
    names = [name for name, _ in layer.named_parameters()]

    def function(inputs, state, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (inputs, state))

    values = (leaf(3, 2, 2), leaf(2, 2, 3), *layer.parameters())
    assert torch.autograd.gradcheck(function, values)
    assert torch.autograd.gradgradcheck(function, values)


def test_dropout_masks_are_those_of_torch_and_only_in_training():
    ours, theirs = pair(num_layers=3, dropout=0.4)
    inputs = leaf(6, 2, 4)
    outputs = []
    for layer in (ours, theirs):
        torch.manual_seed(11)
        outputs.append(layer(inputs)[0])
    torch.testing.assert_close(*outputs, rtol=1e-10, atol=1e-12)
    assert not torch.allclose(outputs[0], ours.eval()(inputs)[0])
    torch.testing.assert_close(ours(inputs)[0], theirs.eval()(inputs)[0], rtol=1e-10, atol=1e-12)


def test_a_sequence_cut_in_two_with_the_state_handed_on_is_the_whole():
    ours, _ = pair(num_layers=2)
    inputs = leaf(9, 3, 4)
    whole, final = ours(inputs)
    first, state = ours(inputs[:4])
    second, last = ours(inputs[4:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    torch.testing.assert_close(last, final)


@pytest.mark.parametrize(
    "arguments",
    [
        {"hidden_size": "abc"},
        {"hidden_size": 2.5},
        {"hidden_size": -1},
        {"hidden_size": 0},
        {"num_layers": 0},
        {"nonlinearity": "sigmoid"},
        {"dropout": 1.5},
        {"dropout": -0.1},
        {"dropout": True},
    ],
    ids=str,
)
def test_refuses_the_arguments_that_torch_refuses_with_the_same_error(arguments):
    arguments = {"input_size": 3, "hidden_size": 4} | arguments
    errors = []
    for layer in (ManualRNN, nn.RNN):
        with pytest.raises(Exception) as caught:  # noqa: PT011 : which one is the question
            layer(**arguments)
        errors.append(caught)
    assert type(errors[0].value) is type(errors[1].value)
    name, value = list(arguments.items())[-1] if len(arguments) > 2 else ("hidden_size", arguments["hidden_size"])
    assert name in str(errors[0].value)
    assert str(value).strip("'") in str(errors[0].value)


@pytest.mark.parametrize(
    ("inputs", "state"),
    [
        (torch.ones(3, 2, 9), None),
        (torch.ones(3, 2, 4, 1), None),
        (torch.ones(3, 2, 4, dtype=torch.float64), None),
        (torch.ones(0, 2, 4), None),
        (torch.ones(3, 2, 4), torch.ones(1, 2, 5)),
        (torch.ones(3, 2, 4), torch.ones(2, 3, 5)),
        (torch.ones(3, 4), torch.ones(2, 1, 5)),
    ],
    ids=["width", "4D", "dtype", "empty", "state layers", "state batch", "state of a single sequence"],
)
def test_refuses_the_calls_that_torch_refuses_with_the_same_error(inputs, state):
    errors = []
    for layer in (ManualRNN(4, 5, 2), nn.RNN(4, 5, 2)):
        with pytest.raises(Exception) as caught:  # noqa: PT011
            layer(inputs, state)
        errors.append(type(caught.value))
    assert errors[0] is errors[1]


def test_warns_of_dropout_without_effect_as_torch_does():
    for layer in (ManualRNN, nn.RNN):
        with pytest.warns(UserWarning, match="dropout"):
            layer(4, 5, dropout=0.5)


def test_is_copied_pickled_and_shown():
    layer = ManualRNN(4, 5, 2, nonlinearity="relu", batch_first=True)
    inputs = torch.ones(2, 3, 4)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.testing.assert_close(twin(inputs)[0], layer(inputs)[0], rtol=0, atol=0)
    assert repr(layer) == "ManualRNN(4, 5, num_layers=2, batch_first=True, nonlinearity=relu)"
