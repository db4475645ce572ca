"""Every layer that conf/model names keeps the contract. The tests find the layers there; no list is kept by hand."""

import copy
import functools
import inspect
import re

import properties
import pytest
import torch
from omegaconf import OmegaConf
from torch.nn.utils.rnn import pack_sequence

from seqmodels.config import CONF, arguments_of, compose, instantiate, target_of
from seqmodels.layers import RecurrentLayer
from seqmodels.parity import compare
from seqmodels.signatures import accepted_by

MODELS = sorted(file.stem for file in (CONF / "model").glob("*.yaml"))


@functools.cache
def config_of(model):
    return compose(f"model={model}").model


@functools.cache
def class_of(model):
    """Read from its YAML, or the one that this derives from; composing each config would take seconds."""
    described = OmegaConf.load(CONF / "model" / f"{model}.yaml")
    return target_of(described, "model") if "_target_" in described else class_of(described.defaults[0])


def build(model, seed=0, **arguments):
    """A small layer in float64, as the YAML describes it."""
    torch.manual_seed(seed)
    small = {"hidden_size": 8, "num_layers": 2} | ({"heads": 2} if "heads" in config_of(model) else {})
    config = OmegaConf.merge(config_of(model), small | arguments)
    return instantiate(config, "model", input_size=3).double()


RECURRENT = [model for model in MODELS if issubclass(class_of(model), RecurrentLayer)]
BIDIRECTIONAL = [model for model in MODELS if "bidirectional" in accepted_by(class_of(model))]
REPRODUCING = [model for model in RECURRENT if class_of(model).reference]
ONE_WAY = [(model, options) for model in MODELS for options in ({}, {"batch_first": False})]


@pytest.mark.parametrize("check", properties.CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(("model", "options"), ONE_WAY, ids=str)
def test_properties(model, options, check):
    check(build(model, **options))


@pytest.mark.parametrize("check", properties.CHECKS_OF_BOTH_DIRECTIONS, ids=lambda check: check.__name__)
@pytest.mark.parametrize("model", BIDIRECTIONAL)
def test_properties_of_both_directions(model, check):
    check(build(model, bidirectional=True))


@pytest.mark.parametrize("model", [model for model in MODELS if class_of(model).__module__.startswith("seqmodels.")])
def test_the_docstring_is_a_summary_equations_the_paper_and_deviations(model):
    """In this order, as paragraphs, so that a table of the layers can be made from them."""
    documented = inspect.getdoc(inspect.getmodule(class_of(model)))
    summary, equations, paper, *_ = [*documented.split("\n\n"), "", ""]
    assert re.fullmatch(r"[^\n]*[^.\n]\.", summary)
    assert all(re.match(r"    \S", line) for line in equations.splitlines())
    assert "_t = " in equations
    assert re.match(r"[A-Z].*\".*\".*(19|20)\d\d", paper, re.DOTALL), 'expected a source: author, "title", year'


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
    properties.check_gradients(build(model, num_layers=1, hidden_size=4), states=model in RECURRENT)


@pytest.mark.parametrize("model", MODELS)
def test_dropout_acts_in_training_between_layers(model):
    layer = build(model, dropout=0.5)
    inputs = properties.draw(layer)
    assert not torch.equal(layer(inputs)[0], layer(inputs)[0])
    layer.eval()
    properties.close(layer(inputs)[0], layer(inputs)[0], tolerance=0)


@pytest.mark.parametrize("model", REPRODUCING)
def test_layers_that_name_a_reference_equal_it(model):
    arguments = arguments_of(config_of(model)) | {"input_size": 3, "hidden_size": 8}
    for options in ({}, {"num_layers": 3, "bidirectional": True}, {"bias": False, "batch_first": False}):
        compare(class_of(model), arguments | options).check()


@pytest.mark.parametrize("model", BIDIRECTIONAL)
def test_both_directions_are_one_direction_each(model):
    """Backwards is forwards over the reversed sequence, for layers whose parameters are named as torch names them."""
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


@pytest.mark.parametrize("model", BIDIRECTIONAL)
def test_bidirectional_layers_are_not_causal(model):
    """This is why causality is not asked of them; and it shows that the check can fail."""
    with pytest.raises(AssertionError):
        properties.check_causality(build(model, bidirectional=True))


@pytest.mark.parametrize("model", MODELS)
def test_refuses_inputs_and_states_that_do_not_fit(model):
    layer = build(model)
    inputs = properties.draw(layer)
    _, state = layer(inputs)
    wrong_batch = torch.utils._pytree.tree_map(lambda part: part[:, :2], state)
    for arguments in [(inputs[..., :2],), (inputs[:, :0],), (inputs, wrong_batch)]:
        with pytest.raises(RuntimeError):
            layer(*arguments)
    with pytest.raises(ValueError, match="type"):
        layer(inputs.float())
    with pytest.raises(ValueError, match="D"):
        layer(inputs[..., None])


@pytest.mark.parametrize("model", RECURRENT)
def test_refuses_states_of_another_number_type_or_dtype(model):
    layer = build(model)
    inputs = properties.draw(layer)
    _, state = layer(inputs)
    with pytest.raises(RuntimeError, match="the state hx should be"):
        layer(inputs, (torch.zeros(2, 3, 8).double(),) * 7)
    with pytest.raises(TypeError, match=f"the state {layer.states[0]} should be a Tensor, got (NoneType|int)"):
        layer(inputs, (None,) * len(state) if isinstance(state, tuple) else 0)
    with pytest.raises(RuntimeError, match="dtype"):
        layer(inputs, torch.utils._pytree.tree_map(lambda part: part.float(), state))


@pytest.mark.parametrize("model", MODELS)
def test_autocast_computes_in_bfloat16(model):
    layer = build(model).float()
    inputs = properties.draw(layer).float()
    packed = pack_sequence(list(inputs[:, :5]) + list(inputs[:, :2]), enforce_sorted=False)
    expected, expected_packed = layer(inputs)[0], layer(packed)[0].data
    try:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found, found_packed = layer(inputs)[0], layer(packed)[0].data
    except RuntimeError as error:
        if isinstance(layer, torch.nn.RNNBase) and "could not create a primitive" in str(error):
            pytest.skip("torch's own LSTM has no bfloat16 on this processor")
        raise
    # A norm magnifies the rounding of small sums. Rounding weights and inputs alone shows by how much.
    rounded = copy.deepcopy(layer).bfloat16().float()(inputs.bfloat16().float())[0]
    tolerance = max(0.05, 6 * (rounded - expected).abs().max().item())
    torch.testing.assert_close(found.float(), expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(found_packed.float(), expected_packed, rtol=tolerance, atol=tolerance)
    with torch.autocast("cpu", dtype=torch.bfloat16):  # a state is accepted in the precision it has
        _, state = layer(inputs[:, :4])
        following, _ = layer(inputs[:, 4:], state)
    torch.testing.assert_close(following.float(), expected[:, 4:], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("model", ["mamba2", "mlstm", "rwkv7", "stack_rnn", "tape_rnn"])
def test_a_compiler_follows_the_whole_layer(model):
    layer = build(model)
    inputs = properties.draw(layer)[:, :3]
    (found, last), (expected, known) = torch.compile(layer, backend="eager", fullgraph=True)(inputs), layer(inputs)
    for pair in zip((found, *last), (expected, *known), strict=True):
        torch.testing.assert_close(*pair)
