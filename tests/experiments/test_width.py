"""Models of equal size: each model of conf/model can be given about as many parameters as another."""

import pytest
import torch

from seqmodels.checks import UserError
from seqmodels.config import CONF, compose, layer_of
from seqmodels.experiments.sweeps.width import matched, parameters_of, task_of, width_for
from seqmodels.runs.build import build_model, build_task

MODELS = sorted(file.stem for file in (CONF / "model").glob("*.yaml"))
WANTED = 20_000


def parameters_at(config, width):
    """None where the model cannot be built."""
    config.model.hidden_size = width
    try:
        return parameters_of(config)
    except UserError:
        return None


@pytest.mark.parametrize("model", MODELS)
def test_the_width_is_the_one_with_the_nearest_number_of_parameters(model):
    config = compose(f"model={model}", "task=adding")
    width = width_for(config, WANTED)
    found = parameters_at(config, width)
    heads = config.model.get("heads", 1)
    assert found == pytest.approx(WANTED, rel=0.03 if heads == 1 else 0.07)
    others = [parameters_at(config, other) for other in (width - heads, width + heads)]
    assert all(abs(found - WANTED) <= abs(other - WANTED) for other in others if other is not None)


def test_parameters_are_those_of_the_model_that_is_trained():
    config = compose("model=manual_lstm", "task=text", "embedding_size=5", "model.num_layers=2", "model.proj_size=3")
    model = build_model(config, layer_of(config.model), build_task(config.task))
    assert parameters_of(config) == sum(parameter.numel() for parameter in model.parameters())


def test_depth_directions_heads_and_other_constraints_are_respected():
    config = compose("model=transformer", "task=adding", "model.heads=8", "model.num_layers=3")
    assert width_for(config, 30_000) % 8 == 0
    config = compose("model=manual_lstm", "task=adding", "model.proj_size=12")
    assert width_for(config, 800) == 13  # it has to be larger than the projection


def test_nothing_is_computed_and_no_memory_is_needed(monkeypatch):
    made = []
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *size, **options: (made.append(empty(*size, **options)), made[-1])[1])
    width_for(compose("model=nn_rnn", "task=adding"), 10**9)
    assert made
    assert {str(tensor.device) for tensor in made if tensor.numel() > 1000} == {"meta"}


def test_the_runs_of_a_sweep_are_matched_on_each_task():
    runs = [
        [f"model={model}", f"task={task}", "model.hidden_size=50", f"seed={seed}"]
        for task in ("adding", "delay")
        for model in ("manual_rnn", "manual_lstm")
        for seed in (1, 2)
    ]
    warnings = []
    got = matched(runs, "parameters", warnings.append)
    assert len(got) == len(runs)
    for before, after in zip(runs, got, strict=True):
        assert after[:3] == [word for word in before if word != "model.hidden_size=50"]
        (width,) = (int(word.partition("=")[2]) for word in after[3:])
        assert width == 50 or before[0] == "model=manual_lstm"
        if before[3] == "seed=1":
            wanted = parameters_of(compose("model=manual_rnn", before[1], "model.hidden_size=50"))
            assert parameters_of(compose(*after)) == pytest.approx(wanted, rel=0.04)
    assert matched([["model=nn_rnn", "task=adding"]], 5000, warnings.append) == [
        ["model=nn_rnn", "task=adding", "model.hidden_size=68"]
    ]
    assert not warnings


def test_a_model_that_cannot_be_as_large_as_the_others_is_named():
    warnings = []
    runs = [["model=transformer", "task=adding", f"seed={seed}"] for seed in (1, 2)]
    (width,) = {run[-1] for run in matched(runs, 800, warnings.append)}
    found = parameters_of(compose(*runs[0], width))
    assert abs(found - 800) > 80
    assert warnings == [
        f"model=transformer on task=adding has {found} parameters, not about 800: "
        f"no model.hidden_size is closer than {width.partition('=')[2]}"
    ]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: matched([["model=nn_rnn"]], "parameter", print),
            "match should be 'parameters', a number of parameters",
        ),
        (lambda: matched([["model=nn_rnn"]], True, print), "got True"),
        (lambda: matched([["model=nn_rnn"]], 0, print), "got 0"),
        (lambda: width_for(compose(), 0), "parameters should be a positive whole number, got 0"),
        (lambda: width_for(compose("model=nn_lstm"), 2), "model=nn_lstm cannot be as small as 2 parameters: on task="),
        (lambda: width_for(compose("model=indrnn"), 10**8), "needs a hidden_size above 65536 for 100000000 parameters"),
    ],
)
def test_mistakes(call, message):
    with pytest.raises(UserError, match=message):
        call()


def test_a_task_is_built_once(monkeypatch):
    task_of.cache_clear()
    config = compose("task=adding")
    width_for(config, 5000)
    assert task_of.cache_info().misses == 1
