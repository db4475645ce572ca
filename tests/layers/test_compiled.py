"""The backend "compiled" computes the numbers of autograd from `step` alone, or leaves the work to it."""

import copy
import warnings

import pytest
import torch
from test_bptt import assert_equal, draw, everything
from test_recipe import CELL
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pack_sequence
from torch.utils import _pytree as pytree

from seqmodels.layers import (
    MGU,
    SLSTM,
    IndRNN,
    LayerNormLSTM,
    ManualGRU,
    ManualLSTM,
    ManualRNN,
    MinGRU,
    PeepholeLSTM,
    RecurrentLayer,
)
from seqmodels.layers.compiled import cache, function

pytest.importorskip("numba")


class Wide(RecurrentLayer):
    """A cell with slices, joined states, rows of one number, weights that are computed from weights, and masks."""

    gates, states = 2, ("h", "z")

    @property
    def state_sizes(self):
        return 5, 3

    def shapes(self, input_size):
        joined = {"weight_cat": (10, 8), "scale": (), "rate": (5,)}
        return {"weight_ih": (10, input_size), "bias_ih": (10,)} | joined

    def reset_parameters(self):
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.5, 0.5)

    def step(self, projected, state, weights):
        hidden, other = state
        sums = projected + F.linear(torch.cat(state, -1), weights.weight_cat)
        gates = torch.sigmoid(sums[:, :5])
        candidate = torch.softmax(sums[:, 5:], -1) - other.amax(-1, keepdim=True)
        candidate = torch.where(candidate > 0, candidate, F.leaky_relu(candidate, 0.2) * weights.scale.exp())
        hidden = torch.exp(-F.softplus(weights.rate)) * gates * hidden + (1 - gates).clamp(0.1, 0.7) * candidate
        return hidden, torch.cat([hidden[:, 1:3], other[:, :1]], -1) / (1 + hidden.pow(2).mean(-1, keepdim=True))


RECIPE: dict = {"__name__": "recipe"}
exec(CELL, RECIPE)
CELLS = {
    "rnn": (ManualRNN, {}),
    "gru": (ManualGRU, {}),
    "lstm": (ManualLSTM, {}),
    "slstm": (SLSTM, {}),
    "peephole_lstm": (PeepholeLSTM, {}),
    "mgu": (MGU, {}),
    "indrnn": (IndRNN, {}),
    "layernorm_lstm": (LayerNormLSTM, {}),
    "ugrnn": (RECIPE["UGRNN"], {}),
    "wide": (Wide, {}),
}
VARIANTS = {"relu": (ManualRNN, {"nonlinearity": "relu"}), "projection": (ManualLSTM, {"proj_size": 2})}


def parametrized(*by_default):
    """Every cell takes seconds to compile, so others than those named are left to a long run."""
    slow = [name for name in CELLS | VARIANTS if name not in by_default]
    return pytest.mark.parametrize(
        "name", [*by_default, *(pytest.param(name, marks=pytest.mark.slow) for name in slow)]
    )


cells = parametrized(*CELLS)


@pytest.fixture(autouse=True)
def cache_folder(request, monkeypatch):
    """A folder that outlives the tests, as compiling takes most of their time."""
    folder = request.config.cache.mkdir("compiled")
    folder.chmod(0o700)
    monkeypatch.setenv("SEQMODELS_CACHE", str(folder))


@pytest.fixture(autouse=True)
def must_compile(request, monkeypatch):
    """Falling back to autograd would make a test pass for nothing."""
    if "falls_back" not in request.node.name:
        monkeypatch.setattr(function, "_loop", lambda *_: pytest.fail("it fell back to autograd"))


def twins(name, dtype=torch.float64, **options):
    """The same layer with either backend."""
    kind, arguments = (CELLS | VARIANTS)[name]
    layers = []
    for backend in ("compiled", "autograd"):
        torch.manual_seed(0)
        layers.append(kind(3, 5, **arguments, **options, backend=backend).to(dtype))
    return layers


def state_of(layer, batch, dtype=torch.float64):
    """A state that sequences may have reached."""
    with torch.no_grad():
        _, state = layer(draw(3, batch, 3, dtype=dtype, seed=7))
    return state


@cells
def test_equals_autograd(name):
    check_equal(*twins(name, num_layers=2, bidirectional=True))


@parametrized("rnn")
def test_equals_autograd_without_biases(name):
    check_equal(*twins(name, num_layers=2, bidirectional=True, bias=False))


@parametrized("lstm")
def test_packed_sequences(name):
    compiled, loop = twins(name, num_layers=2, bidirectional=True)
    packed = pack_sequence([draw(time, 1, 3)[:, 0] for time in (3, 12, 1, 12, 5)], enforce_sorted=False)
    state = state_of(loop, 5)
    results = []
    for layer in (compiled, loop):
        output, final = layer(packed, state)
        tensors = [output.data, *(final if isinstance(final, tuple) else [final])]
        loss = sum(part.square().sum() for part in tensors)
        results.append([*tensors, *torch.autograd.grad(loss, list(layer.parameters()))])
    assert_equal(*results, 1e-11)


def linear(state, weights):
    return F.linear(state, weights.weight_hh, weights.bias_hh)


def mean_of_joined(projected, state, weights):
    gate = torch.sigmoid(torch.cat([projected, linear(state, weights)], -1).mean(-1, keepdim=True))
    return gate * state + (1 - gate) * torch.tanh(projected)


def part_of_a_mean(projected, state, weights):
    sums = projected + linear(state, weights)
    mean = torch.sin(sums.mean(-1, keepdim=True))
    return torch.cat([torch.tanh(sums[:, :2]), mean.expand(-1, 3)], -1)


def sum_with_numbers(projected, state, weights):
    padded = torch.cat([state[:, :2], torch.ones_like(state[:, 2:])], -1)
    return torch.tanh(projected + linear(state, weights)) * torch.softmax(padded, -1).sum(-1, keepdim=True)


@pytest.mark.parametrize("step", [mean_of_joined, part_of_a_mean, sum_with_numbers], ids=lambda step: step.__name__)
def test_columns_that_are_equal(step):
    """The gradient of a mean, and a number, stand for as many columns as they fill."""
    kind = type("Cell", (RecurrentLayer,), {"step": lambda self, *arguments: step(*arguments)})
    torch.manual_seed(0)
    compiled = kind(3, 5, backend="compiled").double()
    loop = copy.deepcopy(compiled)
    loop.backend = "autograd"
    check_equal(compiled, loop)


@pytest.mark.parametrize("kind", ["one feature", "twice", "batch of one"])
@pytest.mark.filterwarnings("ignore:.* cannot be compiled, and runs by autograd:UserWarning")
def test_falls_back_where_compiled_code_would_be_wrong(kind):
    def step(self, projected, state, weights):
        if kind == "twice":
            new = torch.tanh(projected + linear(state[0], weights) + state[1])
            return new, new
        factor = torch.sigmoid(state[:, 0]).unsqueeze(-1) if kind == "one feature" else (1.0 if len(state) > 1 else 0.5)
        return torch.tanh(projected + linear(state, weights)) * factor

    states = ("h", "c") if kind == "twice" else ("h",)
    cell = type("Cell", (RecurrentLayer,), {"step": step, "states": states})
    torch.manual_seed(0)
    compiled = cell(3, 5, backend="compiled").double()
    loop = copy.deepcopy(compiled)
    loop.backend = "autograd"
    check_equal(compiled, loop)


def check_equal(compiled, loop):
    """With several layers, both directions, a given state and without, a single sequence, and a single step."""
    for time, batch in [(6, 4), (1, 4), (6, 1)]:
        inputs, state = draw(time, batch, 3), state_of(loop, batch)
        assert_equal(everything(compiled, inputs, state), everything(loop, inputs, state), 1e-11)
        assert_equal(everything(compiled, inputs), everything(loop, inputs), 1e-11)


@pytest.mark.parametrize("used", ["output", "final"])
@cells
def test_gradients_of_one_result_alone(name, used):
    gradients = []
    for layer in twins(name):
        inputs = draw(6, 4, 3).requires_grad_()
        output, final = layer(inputs)
        result = output if used == "output" else pytree.tree_leaves(final)[-1]
        gradients.append(torch.autograd.grad((result * draw(*result.shape)).sum(), [inputs, *layer.parameters()]))
    assert_equal(*gradients, 1e-11)


@cells
def test_gradients_of_some_inputs_alone(name):
    for trained in (*dict(twins(name)[0].named_parameters()), None):
        gradients = []
        for layer in twins(name):
            layer.requires_grad_(False)
            wanted = draw(6, 4, 3).requires_grad_() if trained is None else layer.get_parameter(trained)
            wanted.requires_grad_()
            output, _ = layer(wanted if trained is None else draw(6, 4, 3))
            gradients.append(torch.autograd.grad((output * draw(*output.shape)).sum(), [wanted]))
        assert_equal(*gradients, 1e-11)


@cells
def test_inference_equals_training(name):
    compiled, loop = twins(name, bidirectional=True)
    expected = pytree.tree_leaves(loop(draw(7, 4, 3)))
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert_equal(pytree.tree_leaves(compiled(draw(7, 4, 3))), expected, 1e-11)


@parametrized("gru")
def test_single_precision_is_as_close_to_double_as_autograd(name):
    """Over 100 steps of 30 sequences, so that sums are long."""
    _, exact = twins(name)
    expected = everything(exact, draw(100, 30, 3))
    errors = []
    for layer in twins(name, torch.float32):
        layer.load_state_dict(exact.state_dict())
        found = everything(layer, draw(100, 30, 3).float())
        pairs = zip(found, expected, strict=True)
        errors.append([((a - b)[b.isfinite()].abs().max() / b[b.isfinite()].abs().max()).item() for a, b in pairs])
    for mine, other in zip(*errors, strict=True):
        assert mine <= max(3 * other, 2e-6)


def test_sizes_share_one_compilation(monkeypatch):
    ManualGRU(2, 3, backend="compiled")(torch.ones(2, 2, 2))[0].sum().backward()
    monkeypatch.setattr(cache, "_execute", lambda *_: pytest.fail("it compiled again"))
    ManualGRU(7, 11, backend="compiled")(torch.ones(4, 6, 7))[0].sum().backward()


def test_an_argument_that_changes_is_noticed():
    compiled, loop = twins("rnn")
    compiled(draw(6, 4, 3))
    compiled.nonlinearity = loop.nonlinearity = "relu"
    assert_equal(everything(compiled, draw(6, 4, 3)), everything(loop, draw(6, 4, 3)), 1e-11)


class Values(ManualRNN):
    def step(self, projected, state, weights):
        return state if projected.sum() > 0 else projected


class Random(ManualRNN):
    def step(self, projected, state, weights):
        return F.dropout(projected + state, 0.5, True)


class Closed(ManualRNN):
    def step(self, projected, state, weights):
        return torch.tanh(projected + state * self.weight_hh_l0[0])


class Mixed(ManualRNN):
    def step(self, projected, state, weights):
        return projected + state - state.mean(0)


class Counting(ManualRNN):
    steps = 0

    def step(self, projected, state, weights):
        self.steps += 1
        return projected + state / self.steps


class Unknown(ManualRNN):
    def step(self, projected, state, weights):
        return projected + state.cumsum(-1)


class Written(ManualRNN):
    def step(self, projected, state, weights):
        after = projected.clone()
        after[:, 0] = state[:, 1]
        return after


class DividedByBatch(ManualRNN):
    def step(self, projected, state, weights):
        return torch.tanh(projected + state) / len(state)


class DividedByTime(ManualRNN):
    def project(self, sequence, weights):
        return super().project(sequence, weights) / len(sequence)

    def step(self, projected, state, weights):
        return torch.tanh(projected + state)


REFUSED = {
    DividedByBatch: "depend on the number of sequences",
    DividedByTime: "depend on the number of sequences",
    Values: "reads the value of a tensor",
    Random: "random",
    Closed: "not among its arguments",
    Mixed: "depend on one another",
    Counting: "changes attributes",
    Unknown: "cumsum",
    Written: "in place",
    MinGRU: "all steps at once",
}


@pytest.mark.parametrize("kind", REFUSED, ids=lambda kind: kind.__name__)
def test_falls_back_and_says_why_once(kind):
    torch.manual_seed(0)
    layer = kind(3, 5, backend="compiled").double()
    with pytest.warns(UserWarning, match=REFUSED[kind]):
        first = everything(layer, draw(6, 4, 3))
    if kind is Counting:  # each of its results differs from the one before
        return
    layer.backend = "autograd"
    assert_equal(first, everything(layer, draw(6, 4, 3)), 0)
    layer.backend = "compiled"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        layer(draw(6, 4, 3))


def test_falls_back_for_a_step_that_is_set_on_the_layer():
    compiled, _ = twins("rnn")
    compiled.step = lambda projected, state, weights: projected
    assert_equal([compiled(draw(6, 4, 3))[0]], [compiled.project(draw(6, 4, 3), compiled.weights())], 0)


@parametrized("rnn", "wide")
def test_falls_back_for_second_derivatives(name):
    results = []
    for layer in twins(name):
        inputs = draw(4, 2, 3).requires_grad_()
        (first,) = torch.autograd.grad(layer(inputs)[0].pow(3).sum(), inputs, create_graph=True)
        results.append(torch.autograd.grad(first.pow(2).sum(), [inputs, *layer.parameters()], allow_unused=True))
    assert_equal(*results, 1e-10)


def test_falls_back_for_transforms_autocast_and_packed_sequences():
    compiled, loop = twins("lstm")
    packed = pack_padded_sequence(draw(9, 4, 3), torch.tensor([9, 2, 7, 7]), enforce_sorted=False)
    assert_equal(everything(compiled, packed), everything(loop, packed))
    results = []
    for layer in (compiled, loop):
        mapped = torch.func.vmap(lambda inputs, layer=layer: layer(inputs)[0])(draw(5, 9, 4, 3))
        jacobian = torch.func.jacrev(lambda inputs, layer=layer: layer(inputs)[0].sum())(draw(9, 4, 3))
        with torch.autocast("cpu", torch.bfloat16):
            low = layer.float()(draw(9, 4, 3).float())[0].double()
        layer.double()
        results.append([mapped, jacobian, low])
    assert_equal(*results)


def test_overwritten_outputs_are_noticed():
    compiled, _ = twins("rnn")
    output, _ = compiled(draw(6, 4, 3))
    output.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


@pytest.mark.parametrize("trouble", ["a file", "open to all", "cannot be read", "broken"])
def test_a_folder_that_cannot_be_used_does_no_harm(trouble, tmp_path, monkeypatch, caplog):
    source = function.plan_of(*_arguments(IndRNN(2, 3).double())).forward.text + f"# {trouble}\n"
    folder = tmp_path / "cache"
    monkeypatch.setenv("SEQMODELS_CACHE", str(folder))
    if trouble == "a file":
        folder.write_text("")
    else:
        folder.mkdir(mode=0o777 if trouble == "open to all" else 0o700)
        folder.chmod(0o777 if trouble == "open to all" else 0o700)
    if trouble == "broken":
        for said in (True, False):  # the first process that compiles says so, the next one finds what it wants
            caplog.clear()
            cache._announce.cache_clear()
            cache.load(source)
            cache._load.cache_clear()
            assert ("for the first time" in caplog.text) == said
        assert list(folder.rglob("*.nbi"))
        for file in folder.rglob("*"):
            if file.is_file():
                file.write_bytes(file.read_bytes()[:20])
    if trouble == "cannot be read":
        monkeypatch.setattr(cache, "_execute", lambda *_: (_ for _ in ()).throw(PermissionError()))
    assert callable(cache.load(source))
    if trouble == "open to all":
        assert not list(folder.iterdir())


def _arguments(layer):
    state = tuple(part[0] for part in layer.initial_state(torch.zeros(1, dtype=torch.float64), 1, 2))
    return layer, torch.zeros(2, 2, 2, dtype=torch.float64), state, layer.weights()


def test_falls_back_without_numba_with_one_message(monkeypatch):
    monkeypatch.setattr("seqmodels.layers.stack.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r'backend "compiled" needs numba: pip install "seqmodels\[fast\]"'):
        ManualRNN(2, 3, backend="compiled")
