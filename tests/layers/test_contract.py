"""Every layer that conf/model names keeps the contract. Nothing here is a list of layers."""

import functools
import inspect

import properties
import pytest
import torch
from omegaconf import OmegaConf
from torch.nn.utils.rnn import pack_sequence

from seqmodels.config import CONF, arguments_of, compose, instantiate, target_of
from seqmodels.layers import RecurrentLayer
from seqmodels.parity import compare

MODELS = sorted(file.stem for file in (CONF / "model").glob("*.yaml"))


@functools.cache
def config_of(model):
    return compose(f"model={model}").model


def build(model, seed=0, **arguments):
    """A small layer in float64, as the YAML describes it."""
    torch.manual_seed(seed)
    config = OmegaConf.merge(config_of(model), {"hidden_size": 8, "num_layers": 2} | arguments)
    return instantiate(config, "model", input_size=3).double()


def accepts(model, argument):
    return argument in inspect.signature(target_of(config_of(model), "model").__init__).parameters or model[:3] == "nn_"


@pytest.mark.parametrize("check", properties.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("options", [{}, {"batch_first": False}, {"bidirectional": True}], ids=str)
@pytest.mark.parametrize("model", MODELS)
def test_properties(model, options, check):
    if not all(accepts(model, option) for option in options):
        return  # a layer without a second direction
    check(build(model, **options))


@pytest.mark.parametrize("model", MODELS)
def test_learns_a_tiny_task(model):
    properties.check_learning(build(model))


@pytest.mark.parametrize("model", MODELS)
def test_save_and_load(model):
    properties.check_save_and_load(build(model), build(model, seed=1))


@pytest.mark.parametrize("model", MODELS)
def test_equal_seeds_give_equal_weights(model):
    for first, second in zip(build(model).parameters(), build(model).parameters(), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("model", MODELS)
def test_gradients_by_finite_differences(model):
    layer = build(model, num_layers=1, hidden_size=4)
    properties.check_gradients(layer, states=isinstance(layer, RecurrentLayer))


@pytest.mark.parametrize("model", MODELS)
def test_dropout_acts_in_training_between_layers(model):
    layer = build(model, dropout=0.5)
    inputs = properties.draw(layer)
    assert not torch.equal(layer(inputs)[0], layer(inputs)[0])
    layer.eval()
    properties.close(layer(inputs)[0], layer(inputs)[0], tolerance=0)


@pytest.mark.parametrize("model", MODELS)
def test_layers_that_name_a_reference_equal_it(model):
    layer = build(model)
    if getattr(layer, "reference", None) is None:
        return
    arguments = arguments_of(config_of(model)) | {"input_size": 3}
    for options in ({}, {"num_layers": 3, "bidirectional": True}, {"bias": False, "batch_first": False}):
        compare(type(layer), arguments | {"hidden_size": 8} | options).check()


@pytest.mark.parametrize("model", MODELS)
def test_both_directions_are_one_direction_each(model):
    """Backwards is forwards over the reversed sequence, for layers whose parameters are named as torch names them."""
    if not accepts(model, "bidirectional"):
        return
    both, single = build(model, num_layers=1, bidirectional=True), build(model, num_layers=1)
    inputs = properties.draw(both)
    output, _ = both(inputs)
    size = output.size(-1) // 2
    weights = both.state_dict()
    for ending, part in [("_l0", slice(None, size)), ("_l0_reverse", slice(size, None))]:
        single.load_state_dict({name: weights[name.removesuffix("_l0") + ending] for name in single.state_dict()})
        reverse = ending == "_l0_reverse"
        expected, _ = single(inputs.flip(1) if reverse else inputs)
        properties.close(output[..., part], expected.flip(1) if reverse else expected)


@pytest.mark.parametrize("model", [model for model in MODELS if accepts(model, "bidirectional")])
def test_bidirectional_layers_are_not_causal(model):
    """They are exempt from causality for what they are, and the check would see it."""
    layer = build(model, bidirectional=True)
    vars(layer)["bidirectional"] = False
    layer.forward = functools.partial(type(layer).forward, both := build(model, bidirectional=True))
    assert both.bidirectional
    with pytest.raises(AssertionError):
        properties.check_causality(layer)


@pytest.mark.parametrize("model", MODELS)
def test_refuses_inputs_and_states_that_do_not_fit(model):
    layer = build(model)
    inputs = properties.draw(layer)
    _, state = layer(inputs)
    wrong_batch = torch.utils._pytree.tree_map(lambda part: part[:, :2], state)
    for arguments in [(inputs[..., :2],), (inputs[:, :0],), (inputs, wrong_batch)]:
        with pytest.raises(RuntimeError):
            layer(*arguments)
    with pytest.raises(ValueError, match="dtype"):
        layer(inputs.float())
    with pytest.raises(ValueError, match="D"):
        layer(inputs[..., None])
    if isinstance(layer, RecurrentLayer):
        with pytest.raises(RuntimeError, match="expected the state hx to be"):
            layer(inputs, (torch.zeros(2, 3, 8).double(),) * 7)
        single = state if isinstance(state, tuple) else (state,)
        with pytest.raises(RuntimeError, match="dtype"):
            layer(inputs, tuple(part.float() for part in single) if len(single) > 1 else state.float())


@pytest.mark.parametrize("model", MODELS)
def test_autocast_gives_the_numbers_of_bfloat16(model):
    layer = build(model).float()
    inputs = properties.draw(layer).float()
    packed = pack_sequence(list(inputs[:, :5]) + list(inputs[:, :2]), enforce_sorted=False)
    expected, expected_packed = layer(inputs)[0], layer(packed)[0].data
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, found_packed = layer(inputs)[0], layer(packed)[0].data
    torch.testing.assert_close(found.float(), expected, rtol=0.05, atol=0.05)
    torch.testing.assert_close(found_packed.float(), expected_packed, rtol=0.05, atol=0.05)
    with torch.autocast("cpu", dtype=torch.bfloat16):  # the state goes on in whatever precision it came
        _, state = layer(inputs[:, :4])
        following, _ = layer(inputs[:, 4:], state)
    torch.testing.assert_close(following.float(), expected[:, 4:], rtol=0.05, atol=0.05)
