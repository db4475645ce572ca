"""The trace prints the arithmetic of the notebooks, and a lesson of any other recurrent layer."""

import re

import numpy as np
import pytest
from omegaconf import OmegaConf

from seqmodels.commands.trace import SMALL
from seqmodels.config import CONF

FOREIGN = {"nn_rnn", "nn_gru", "nn_lstm", "tcn", "transformer"}
RECURRENT = sorted({file.stem for file in (CONF / "model").glob("*.yaml")} - FOREIGN)


def rows(printed, title):
    """The numbers of the lines with this title, one row for each."""
    lines = re.findall(rf"^ +{re.escape(title)} +(-?\d.*)$", printed, re.MULTILINE)
    return np.array([line.split() for line in lines], dtype=float)


def test_the_defaults_print_the_notebooks_example(type_command, tmp_path):
    code, printed, _ = type_command(verb="trace")
    assert code == 0
    states = [[-0.3519801, 0.52525216], [-0.68424344, 0.76074266], [-0.8649416, 0.90466356]]
    projected = [[-0.4701929, 0.5863904], [-0.88883156, 1.2364397], [-1.3074701, 1.886489]]
    for time in (1, 2, 3):
        expected = {
            f"x_{time}": [time] * 5,
            f"projected = W_ih x_{time} + b_ih": projected[time - 1],
            f"h_{time} = tanh(projected + W_hh h_{time - 1} + b_hh)": states[time - 1],
            f"h_{time} by torch.nn.RNN": states[time - 1],
        }
        for title, numbers in expected.items():
            np.testing.assert_allclose(rows(printed, title), [numbers], rtol=0, atol=2.4e-7)
        for product, bias in [(f"W_ih x_{time}", "b_ih"), (f"W_hh h_{time - 1}", "b_hh")]:
            assert rows(printed, product).shape == (1, 2)
            assert rows(printed, bias).shape == (3, 2)
    assert "h_t = tanh(W_ih x_t + b_ih + W_hh h_{t-1} + b_hh)" in printed
    first = (
        "W_ih x_1, unit 1: 0.3643461 * 1 + -0.3121015 * 1 + -0.1370808 * 1 + 0.3318940 * 1 + -0.6656964 * 1 = -0.418638"
    )
    assert first in printed
    assert printed.count("difference  ") == 3
    assert "Back-propagation" not in printed
    assert list(tmp_path.iterdir()) == []


def test_the_backward_pass_ends_with_the_gradients_of_torch(type_command, tmp_path):
    code, printed, _ = type_command("backward=true", verb="trace")
    assert code == 0
    _, backward = printed.split("Back-propagation through time, for the loss L = the sum of all outputs")
    assert [int(time) for time in re.findall(r"time step (\d)", backward)] == [3, 2, 1]
    for time in (1, 2):
        parts = [rows(backward, f"dL/dh_{time} from {source}") for source in ("the loss", f"step {time + 1}")]
        np.testing.assert_allclose(rows(backward, f"dL/dh_{time}, the sum"), sum(parts), atol=2e-7)
    parts = rows(backward, "dL/db_ih, from this step")
    np.testing.assert_allclose(rows(backward, "total so far"), np.repeat(np.cumsum(parts, 0)[1:], 2, 0), atol=4e-7)
    assert len(rows(backward, "largest difference")) == 5
    assert rows(backward, "largest difference").max() < 1e-6
    assert list(tmp_path.iterdir()) == []


def test_the_loss_of_the_last_step_reaches_the_others_through_the_state_alone(type_command):
    code, printed, _ = type_command("backward=true", "loss=last", verb="trace")
    assert code == 0
    assert [rows(printed, f"dL/dh_{time} from the loss").tolist() for time in (1, 2, 3)] == [
        [[0, 0]],
        [[0, 0]],
        [[1, 1]],
    ]


@pytest.mark.parametrize(
    "words",
    [["model=manual_gru"], ["model=manual_lstm", "model.proj_size=1"], ["model=manual_lstm", "model.bias=false"]],
)
def test_other_families_are_traced_beside_their_reference(type_command, words):
    stack = ["model.num_layers=2", "model.bidirectional=true", "backward=true"]
    code, printed, _ = type_command(*words, *stack, verb="trace")
    assert code == 0
    assert len(rows(printed, "difference")) == 3 * 2 * 2
    assert rows(printed, "difference").max() < 1e-6
    assert rows(printed, "largest difference").max() < 1e-5


@pytest.mark.parametrize("model", ["mgu", "slstm", "lru", "min_gru"])
def test_cells_without_a_reference_are_traced_alone(type_command, model):
    code, printed, _ = type_command(f"model={model}", verb="trace")
    assert code == 0
    assert printed.count("time step") == 3
    assert "difference" not in printed


@pytest.mark.parametrize("model", RECURRENT)
def test_every_recurrent_layer_is_traced_as_typed(type_command, model):
    code, printed, complaint = type_command(f"model={model}", "backward=true", verb="trace")
    assert code == 0, complaint
    assert len(re.findall(r"^ +time step \d$", printed, re.MULTILINE)) == 2 * 3
    assert max(map(len, printed.splitlines())) <= 120
    assert len(printed.splitlines()) < 2500


def test_sizes_that_are_typed_are_kept(type_command):
    for words, shape in [
        (["model=mamba"], "log_rate_l0 (2 x 2)"),
        (["model=mamba", "model.state_size=3", "++model.expand=2"], "log_rate_l0 (4 x 3)"),
        (["model=gla", "model.hidden_size=6", "model.heads=3"], "gain_l0 (2)"),
    ]:
        assert shape in type_command(*words, verb="trace")[1]
    code, _, complaint = type_command("model=gla", "model.heads=4", verb="trace")
    assert code == 1
    assert "should be a multiple of heads=4" in complaint


def test_every_small_size_is_one_of_a_layer():
    files = [*CONF.glob("model/*.yaml"), *CONF.glob("*layer.yaml")]
    assert {name for file in files for name in OmegaConf.load(file)} >= SMALL.keys()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("inputs=[[1,0],[1]]", "inputs should be rows of numbers"),
        ("inputs=3", "inputs should be rows of numbers"),
        ("inputs=[[a,b]]", "inputs should be rows of numbers"),
        ("inputs=[[1,nan]]", "inputs should be finite numbers"),
        ("model=nn_rnn", "should be a RecurrentLayer"),
        ("model.hidden_size=0", "model.hidden_size=0"),
        ("modle=nn_rnn", "did you mean 'model'?"),
        ("seed=-1", "seed"),
        ("seed=x", "seed"),
        ("backward=yes_please", "backward should be True or False"),
        ("loss=lats", "did you mean 'last'?"),
    ],
)
def test_mistakes_are_named(type_command, override, message):
    code, _, complaint = type_command(override, verb="trace")
    assert code == 1
    assert message in complaint
    assert complaint.count("\n") == 1
