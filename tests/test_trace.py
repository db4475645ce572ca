"""The trace shows the arithmetic of the notebooks, and of any other manual layer."""

import re

import numpy as np
import pytest
import torch

from seqmodels.layers import ManualRNN
from seqmodels.trace import trace


def test_the_defaults_print_the_notebooks_example(type_command, tmp_path):
    code, printed, _ = type_command(program="seqmodels.trace")
    assert code == 0
    printed_rows = {
        "Projected": [[-0.4701929, 0.5863904], [-0.88883156, 1.2364397], [-1.3074701, 1.886489]],
        "State, ManualRNN": [[-0.3519801, 0.52525216], [-0.68424344, 0.76074266], [-0.8649416, 0.90466356]],
        "State, reference": [[-0.3519801, 0.52525216], [-0.68424344, 0.76074266], [-0.8649416, 0.90466356]],
        "Input": [[1] * 5, [2] * 5, [3] * 5],
    }
    for title, expected in printed_rows.items():
        found = [line.split() for line in re.findall(rf"{title} *: \[\[(.*)\]\]", printed)]
        np.testing.assert_allclose(np.array(found, dtype=float), expected, rtol=0, atol=2.4e-7)
    assert printed.count("Difference") == 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_the_steps_are_those_of_the_layer_and_of_the_reference(nonlinearity, bidirectional):
    torch.manual_seed(0)
    layer = ManualRNN(3, 4, 2, nonlinearity, bidirectional=bidirectional)
    inputs = torch.randn(5, 3)
    steps = list(trace(layer, inputs))
    assert len(steps) == 5 * 2 * layer.num_directions
    output, h_n = layer(inputs)
    for step in steps:
        torch.testing.assert_close(step.hidden, step.reference, rtol=0, atol=1e-6)
        if step.layer == 1:
            part = output[step.time, 4:] if step.reverse else output[step.time, :4]
            torch.testing.assert_close(step.hidden[0], part)
    last = [step for step in steps if step.time == (0 if step.reverse else 4)]
    torch.testing.assert_close(torch.cat([step.hidden for step in last]), h_n)


@pytest.mark.parametrize(
    "words",
    [["model=manual_gru"], ["model=manual_lstm", "model.proj_size=1"], ["model=manual_lstm", "model.bias=false"]],
)
def test_other_families_are_traced_beside_their_reference(type_command, words):
    code, printed, _ = type_command(*words, "model.num_layers=2", "model.bidirectional=true", program="seqmodels.trace")
    assert code == 0
    differences = [float(value) for value in re.findall(r"Difference *: (\S+)", printed)]
    assert len(differences) == 3 * 2 * 2
    assert max(differences) < 1e-6


@pytest.mark.parametrize("model", ["mgu", "slstm", "lru", "min_gru"])
def test_cells_without_a_reference_are_traced_alone(type_command, model):
    code, printed, _ = type_command(f"model={model}", program="seqmodels.trace")
    assert code == 0
    assert printed.count("State, ") == 3
    assert "Difference" not in printed


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("inputs=[[1,0],[1]]", "inputs should be rows of numbers"),
        ("inputs=3", "inputs should be rows of numbers"),
        ("inputs=[[a,b]]", "inputs should be rows of numbers"),
        ("model=nn_rnn", "a layer whose steps can be seen"),
        ("model.hidden_size=0", "model.hidden_size=0"),
        ("modle=nn_rnn", "did you mean 'model'?"),
        ("seed=-1", "seed"),
        ("seed=x", "seed"),
    ],
)
def test_mistakes_are_named(type_command, override, message):
    code, _, complaint = type_command(override, program="seqmodels.trace")
    assert code == 1
    assert message in complaint
    assert complaint.count("\n") == 1
