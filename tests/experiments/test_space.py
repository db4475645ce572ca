"""Spaces of settings: what their files may say, and the messages where they say something else."""

import pytest
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from seqmodels.checks import UserError
from seqmodels.config import CONF, compose
from seqmodels.experiments.tuning.space import contains, corners, distributions, in_words, words_of

SPACES = sorted(file.stem for file in (CONF / "space").glob("*.yaml"))


def test_ranges_and_choices():
    space = distributions("own", {
        "optimizer.lr": {"low": 1e-4, "high": 1, "log": True},
        "model.hidden_size": {"low": 16, "high": 64, "step": 16},
        "model.dropout": {"low": 0, "high": 0.5, "step": 0.1},
        "scheduler": {"choices": ["none", "cosine"]},
        "embedding_size": {"choices": [None, 8]},
    })  # fmt: skip
    assert space == {
        "optimizer.lr": FloatDistribution(1e-4, 1.0, log=True),
        "model.hidden_size": IntDistribution(16, 64, step=16),
        "model.dropout": FloatDistribution(0.0, 0.5, step=0.1),
        "scheduler": CategoricalDistribution(["none", "cosine"]),
        "embedding_size": CategoricalDistribution([None, 8]),
    }
    assert list(map(in_words, space.values())) == [
        "from 0.0001 to 1.0 (log)", "from 16 to 64 in steps of 16", "from 0.0 to 0.5 in steps of 0.1",
        "among ['none', 'cosine']", "among [None, 8]",
    ]  # fmt: skip
    low, high = corners(space)
    assert low == {
        "optimizer.lr": 1e-4, "model.hidden_size": 16, "model.dropout": 0.0, "scheduler": "none", "embedding_size": None
    }  # fmt: skip
    assert high["scheduler"] == "cosine"
    assert high["model.dropout"] == 0.5


def test_a_setting_and_those_below_it_may_be_searched_at_once():
    lr = {"low": 1e-4, "high": 1}
    space = distributions("own", {"optimizer": {"choices": ["adam", "sgd"], "lr": lr}, "model": {"dropout": None}})
    assert space == distributions("own", {"optimizer": {"choices": ["adam", "sgd"]}, "optimizer.lr": lr})
    assert set(space) == {"optimizer", "optimizer.lr"}


@pytest.mark.parametrize(
    ("words", "high"),
    [
        (["~space.trainer.gradient_clip_val"], {"optimizer.lr": 3e-2}),
        (["space.trainer.gradient_clip_val=null"], {"optimizer.lr": 3e-2}),
        (["space.optimizer.lr.high=1", "~space.trainer"], {"optimizer.lr": 1.0}),
        (
            ["~space.optimizer.lr", "+space.model={dropout: {low: 0, high: 0.5}}"],
            {"trainer.gradient_clip_val": 10.0, "model.dropout": 0.5},
        ),
    ],
)
def test_the_command_line_changes_a_space(words, high):
    space = distributions("rates", OmegaConf.to_container(compose(*words, config_name="tune").space))
    assert {name: values.high for name, values in space.items()} == high


@pytest.mark.parametrize("name", SPACES)
def test_the_spaces_that_are_shipped_suit_the_default_config(name):
    space = distributions(name, OmegaConf.to_container(compose(f"space={name}", config_name="tune").space))
    assert "optimizer.lr" in space
    for settings in corners(space):
        config = compose(*words_of(settings))
        for setting, value in settings.items():
            if setting not in ("optimizer", "scheduler"):
                assert OmegaConf.select(config, setting) == value  # exactly, floats included


def test_a_value_comes_back_exactly_as_it_was_suggested():
    settings = {"optimizer.lr": 0.1 + 0.2, "trainer.gradient_clip_val": None, "model.bias": False}
    config = compose(*words_of(settings | {"optimizer.betas": "[0.8,0.99]"}))
    assert {name: OmegaConf.select(config, name) for name in settings} == settings
    assert config.optimizer.betas == [0.8, 0.99]
    assert compose(*words_of({"optimizer.lr": 1e-5})).optimizer.lr == 1e-5


@pytest.mark.parametrize(
    ("values", "inside", "outside"),
    [
        (IntDistribution(16, 64, step=16), [16, 32, 64], [8, 40, 80, 32.0, True, None]),
        (FloatDistribution(0.0, 0.5, step=0.1), [0, 0.3, 0.5], [0.35, -0.1, "0.3"]),
        (FloatDistribution(1e-4, 1.0, log=True), [1e-4, 0.005, 1], [0.0, 2]),
        (CategoricalDistribution(["none", None]), ["none", None], ["cosine", [0.9, 0.99]]),
    ],
)
def test_contains(values, inside, outside):
    assert all(contains(values, value) for value in inside)
    assert not any(contains(values, value) for value in outside)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        ({}, "space=own should name settings to search, such as optimizer.lr, and names none"),
        (None, "and names none"),
        ({"a": 3}, r"space=own: a should be a range such as \{low: 0.1, high: 10\} or \{choices: \[...\]\}, got 3"),
        ({"a": {}}, "and names none"),
        ({"a": {"b": None}}, "and names none"),
        ({"a": {"b": 3}}, r"space=own: a.b should be a range such as \{low: 0.1, high: 10\}"),
        ({"a": {"high": 1}}, "a.low should be a number, got None"),
        ({"a": {"b": {"low": 2, "high": 1}}}, "a.b.low should be at most high, got 2 and 1"),
        ({"a": {"low": 1}}, "a.high should be a number, got None"),
        ({"a": {"low": 1, "hihg": 2}}, "a.hihg is not part of a range; did you mean 'high'?"),
        ({"a": {"low": 2, "high": 1}}, "a.low should be at most high, got 2 and 1"),
        ({"a": {"low": 0, "high": 1, "log": True}}, "a.low should be positive on a logarithmic scale, got 0"),
        ({"a": {"low": -1.0, "high": 1, "log": True}}, "positive on a logarithmic scale, got -1.0"),
        ({"a": {"low": 1, "high": 2, "log": 1}}, "a.log should be true or false, got 1"),
        ({"a": {"low": 1, "high": 9, "log": True, "step": 2}}, "either log or step, got both"),
        ({"a": {"low": 1, "high": 9, "step": 0}}, "a.step should be positive, got 0"),
        ({"a": {"low": "1e-4", "high": 9}}, "a.low should be a number, got '1e-4'"),
        ({"a": {"low": 1, "high": float("inf")}}, "a.high should be a number, got inf"),
        ({"a": {"choices": []}}, "a.choices should be a list of at least one value, got"),
        ({"a": {"choices": "b"}}, "a.choices should be a list of at least one value, got 'b'"),
        ({"a": {"choices": [1, 1.0]}}, "a.choices should all be different"),
        ({"a": {"choices": [[1]]}}, "a.choices should be names, numbers, true, false or null"),
        ({"a": {"choices": [1], "low": 3}}, "either choices or a range, got both"),
        ({"seed": {"low": 1, "high": 9}}, "seed cannot be searched: it is set by seeds"),
        ({"model": {"choices": ["nn_rnn"]}}, "model cannot be searched: it is chosen by model=A,B"),
        ({"trainer.max_steps": {"low": 1, "high": 9}}, "it is the budget, which is equal for all trials"),
        ({"task.length": {"low": 1, "high": 9}}, "task.length cannot be searched: it would change what is learned"),
    ],
)  # fmt: skip
def test_a_mistake_is_named(node, message):
    with pytest.raises(UserError, match=message):
        distributions("own", node)
