"""ManualRNN, ManualGRU and ManualLSTM against torch.nn: numbers in float64, and all else that a drop-in needs."""

import copy
import pickle
import random

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from seqmodels.layers import ManualGRU, ManualLSTM, ManualRNN

FAMILIES = {ManualRNN: nn.RNN, ManualGRU: nn.GRU, ManualLSTM: nn.LSTM}
families = pytest.mark.parametrize(("ours_class", "theirs_class"), FAMILIES.items(), ids=lambda c: c.__name__)


def pair(ours_class, *arguments, seed=7, **options):
    """Our layer and torch's with equal weights, drawn from equal seeds rather than copied."""
    layers = []
    for layer_class in (ours_class, FAMILIES[ours_class]):
        torch.manual_seed(seed)
        given = {"dtype": torch.float64} | options
        if layer_class in FAMILIES.values():
            given.pop("backend", None)
        layers.append(layer_class(*arguments, **given))
    return layers


def parts(state):
    return state if isinstance(state, tuple) else (state,)


def data(output):
    return output.data if isinstance(output, PackedSequence) else output


def random_case(seed):
    """A random configuration, and inputs and an initial state for it, both leaves (the state may be None)."""
    choose = random.Random(seed)
    torch.manual_seed(seed)
    ours_class = choose.choice(list(FAMILIES))
    hidden = choose.randint(1, 9)
    options = {
        "input_size": choose.randint(1, 6),
        "hidden_size": hidden,
        "num_layers": choose.randint(1, 3),
        "bias": choose.random() < 0.7,
        "batch_first": choose.random() < 0.5,
        "bidirectional": choose.random() < 0.5,
        "dropout": 0.0,
    }
    if options["num_layers"] > 1 and choose.random() < 0.3:
        options["dropout"] = choose.choice([0.2, 0.5, 1.0])
    if ours_class is ManualRNN:
        options["nonlinearity"] = choose.choice(["tanh", "relu"])
    if ours_class is ManualLSTM and hidden > 1 and choose.random() < 0.4:
        options["proj_size"] = choose.randint(1, hidden - 1)
    time, batch = choose.randint(1, 12), choose.randint(1, 5)
    kind = choose.choice(["batch", "single", "sorted", "unsorted"])
    shape = (time,) if kind == "single" else (batch, time) if options["batch_first"] else (time, batch)
    inputs = torch.randn(*shape, options["input_size"], dtype=torch.float64, requires_grad=True)
    lengths = None
    if kind in ("sorted", "unsorted"):
        lengths = [time] + [choose.randint(1, time) for _ in range(batch - 1)]
        lengths = sorted(lengths, reverse=True) if kind == "sorted" else choose.sample(lengths, batch)
    rows = options["num_layers"] * (2 if options["bidirectional"] else 1)
    sizes = (options.get("proj_size") or hidden, hidden) if ours_class is ManualLSTM else (hidden,)
    middle = () if kind == "single" else (batch,)
    state = tuple(torch.randn(rows, *middle, size, dtype=torch.float64, requires_grad=True) for size in sizes)
    return ours_class, options, inputs, lengths, state if choose.random() < 0.7 else None, kind == "sorted"


def run(layer, inputs, lengths, state, enforce_sorted, seed):
    """Outputs, final states, and the gradients of everything for random output gradients."""
    fed = inputs
    if lengths is not None:
        fed = pack_padded_sequence(inputs, torch.tensor(lengths), layer.batch_first, enforce_sorted)
    torch.manual_seed(seed)  # of dropout
    output, final = layer(fed, None if state is None else state if len(state) > 1 else state[0])
    results = (data(output), *parts(final))
    generator = torch.Generator().manual_seed(seed)
    weights = [torch.randn(result.shape, generator=generator, dtype=result.dtype) for result in results]
    leaves = [inputs, *(state or ()), *layer.parameters()]
    return [*results, *torch.autograd.grad(results, leaves, weights, allow_unused=True)]


def worst_error(seed, backend):
    """The largest relative error of any tensor in a random case."""
    ours_class, options, inputs, lengths, state, enforce_sorted = random_case(seed)
    ours, theirs = pair(ours_class, seed=seed, backend=backend, **options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    ours.load_state_dict(theirs.state_dict(), strict=True)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    found, expected = (run(layer, inputs, lengths, state, enforce_sorted, seed) for layer in (ours, theirs))
    worst = 0.0
    for mine, other in zip(found, expected, strict=True):
        if other is None or mine is None:
            # for a parameter that dropout=1 cuts off, one of the two has no gradient, and the other zeros
            rest = mine if other is None else other
            assert rest is None or not rest.any(), (ours_class, options)
            continue
        assert mine.shape == other.shape, (ours_class, options)
        scale = other.abs().max().item()
        error = (mine - other).abs().max().item()
        worst = max(worst, error / scale if scale else error)
    return worst


backends = pytest.mark.parametrize("backend", ["bptt", "autograd"])


@backends
@pytest.mark.parametrize("seed", range(60))
def test_random_configurations_equal_torch(seed, backend):
    assert worst_error(seed, backend) < 1e-10


@backends
@pytest.mark.slow
def test_fuzz_against_torch(backend):
    """1,500 random configurations; `pytest -m slow -s` prints the worst relative error."""
    errors = {seed: worst_error(seed, backend) for seed in range(1000, 2500)}
    worst = max(errors, key=errors.get)
    print(f"\n{backend}: worst relative error of {len(errors)} configurations: {errors[worst]:.1e} (seed {worst})")
    assert errors[worst] < 1e-10


@families
def test_dropout_draws_the_masks_of_torch(ours_class, theirs_class):
    """In training, on the CPU; in evaluation nothing is dropped."""
    ours, theirs = pair(ours_class, 4, 5, num_layers=3, dropout=0.4)
    inputs = torch.randn(6, 2, 4, dtype=torch.float64)
    outputs = []
    for layer in (ours, theirs):
        torch.manual_seed(11)
        outputs.append(layer(inputs)[0])
    torch.testing.assert_close(*outputs, rtol=1e-10, atol=1e-12)
    assert not torch.allclose(outputs[0], ours.eval()(inputs)[0])
    torch.testing.assert_close(ours(inputs)[0], theirs.eval()(inputs)[0], rtol=1e-10, atol=1e-12)


REFUSED = [
    {"hidden_size": "abc"},
    {"hidden_size": 2.5},
    {"hidden_size": -1},
    {"hidden_size": 0},
    {"num_layers": 0},
    {"dropout": 1.5},
    {"dropout": -0.1},
    {"dropout": True},
]


@pytest.mark.parametrize(
    ("ours_class", "arguments"),
    [
        *((family, refused) for family in FAMILIES for refused in REFUSED),
        (ManualRNN, {"nonlinearity": "sigmoid"}),
        (ManualLSTM, {"proj_size": 4}),
        (ManualLSTM, {"proj_size": -1}),
        (ManualLSTM, {"proj_size": "a"}),
    ],
    ids=str,
)
def test_refuses_the_arguments_that_torch_refuses_with_the_same_error(ours_class, arguments):
    errors = []
    for layer in (ours_class, FAMILIES[ours_class]):
        with pytest.raises(Exception) as caught:  # noqa: PT011 : the test asks which one
            layer(**{"input_size": 3, "hidden_size": 4} | arguments)
        errors.append(caught.value)
    assert type(errors[0]) is type(errors[1])
    ((name, value),) = arguments.items()
    assert name in str(errors[0])
    assert str(value).strip("'") in str(errors[0])


@pytest.mark.parametrize("arguments", [{"bias": "no"}, {"batch_first": 1}, {"bidirectional": None}], ids=str)
@families
def test_refuses_flags_that_are_neither_true_nor_false(ours_class, theirs_class, arguments):
    """As torch does, but for `bidirectional`, from some version after 2.6 on."""
    ((name, value),) = arguments.items()
    with pytest.raises(TypeError, match=f"{name} should be True or False, got {value!r}"):
        ours_class(3, 4, **arguments)


BATCH, SINGLE = torch.ones(3, 2, 4), torch.ones(3, 4)


@families
@pytest.mark.parametrize(
    ("inputs", "shape"),
    [
        (torch.ones(3, 2, 9), None),
        (torch.ones(3, 2, 4, 1), None),
        (torch.ones(4), None),
        (BATCH.double(), None),
        (torch.ones(0, 2, 4), None),
        (BATCH, (1, 2, 5)),
        (BATCH, (2, 3, 5)),
        (BATCH, (2, 2, 6)),
        (BATCH, (2, 5)),
        (SINGLE, (2, 1, 5)),
        (SINGLE, (1, 5)),
        (pack_padded_sequence(torch.ones(3, 2, 9), torch.tensor([3, 1])), None),
        (pack_padded_sequence(BATCH, torch.tensor([3, 1])), (2, 3, 5)),
    ],
)
def test_refuses_the_calls_that_torch_refuses_with_the_same_error(ours_class, theirs_class, inputs, shape):
    errors = []
    for layer_class in (ours_class, theirs_class):
        state = None if shape is None else torch.ones(shape)
        state = (state, state) if state is not None and ours_class is ManualLSTM else state
        with pytest.raises(Exception) as caught:  # noqa: PT011
            layer_class(4, 5, 2)(inputs, state)
        errors.append(type(caught.value))
    assert errors[0] is errors[1]


def test_the_state_of_an_lstm_is_a_pair_and_that_of_the_others_is_not():
    state = torch.zeros(1, 2, 5)
    for wrong in (state, (state,), (state, state, state)):
        with pytest.raises(RuntimeError, match=r"a tuple \(h, c\), got"):
            ManualLSTM(4, 5)(BATCH, wrong)
    for family in (ManualRNN, ManualGRU):
        with pytest.raises(RuntimeError, match="one tensor h, got a tuple of 2"):
            family(4, 5)(BATCH, (state, state))


@families
def test_warns_of_dropout_without_effect_as_torch_does(ours_class, theirs_class):
    for layer in (ours_class, theirs_class):
        with pytest.warns(UserWarning, match="dropout"):
            layer(4, 5, dropout=0.5)


@families
def test_an_empty_batch_has_the_shapes_of_torch(ours_class, theirs_class):
    outcomes = []
    for layer in pair(ours_class, 4, 5, 2, dtype=torch.float32):
        output, state = layer(torch.ones(3, 0, 4))
        outcomes.append([output.shape, *(part.shape for part in parts(state))])
    assert outcomes[0] == outcomes[1]


@families
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_precisions_are_as_close_to_torch_as_they_can_be(ours_class, theirs_class, dtype):
    ours, theirs = pair(ours_class, 4, 16, 2, dtype=dtype)
    inputs = torch.randn(9, 3, 4, dtype=dtype)
    tolerance = {torch.float32: 1e-5, torch.bfloat16: 5e-2}[dtype]
    for found, expected in zip(ours(inputs), theirs(inputs), strict=True):
        for mine, other in zip(parts(found), parts(expected), strict=True):
            assert mine.dtype is dtype
            torch.testing.assert_close(mine, other, rtol=tolerance, atol=tolerance)


@families
def test_is_copied_pickled_and_shown(ours_class, theirs_class):
    layer = ours_class(4, 5, 2, batch_first=True, dropout=0.5, bidirectional=True, bias=False).eval()
    inputs = torch.ones(2, 3, 4)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        torch.testing.assert_close(twin(inputs)[0], layer(inputs)[0], rtol=0, atol=0)
    shown = "(4, 5, num_layers=2, bias=False, batch_first=True, dropout=0.5, bidirectional=True)"
    assert repr(layer) == ours_class.__name__ + shown
    assert repr(theirs_class(4, 5, 2, batch_first=True, dropout=0.5, bidirectional=True, bias=False)).endswith(shown)
    assert repr(ManualRNN(4, 5, nonlinearity="relu")) == "ManualRNN(4, 5, nonlinearity=relu)"
    assert repr(ManualLSTM(4, 5, proj_size=2)) == "ManualLSTM(4, 5, proj_size=2)"
    assert layer.flatten_parameters() is None


@families
def test_parametrizations_and_tied_weights_are_seen(ours_class, theirs_class):
    ours, theirs = pair(ours_class, 5, 5, 2)
    inputs = torch.randn(4, 2, 5, dtype=torch.float64)
    for layer in (ours, theirs):
        layer.weight_hh_l1 = layer.weight_hh_l0
        layer.flatten_parameters()
    assert len(list(ours.parameters())) == 7
    torch.testing.assert_close(ours(inputs)[0], theirs(inputs)[0], rtol=1e-10, atol=1e-12)
    gradients = []
    for layer in (ours, theirs):
        layer(inputs)[0].sum().backward()
        gradients.append(layer.weight_hh_l0.grad)
    torch.testing.assert_close(*gradients, rtol=1e-10, atol=1e-12)

    class Halve(nn.Module):
        def forward(self, weight):
            return 0.5 * weight

    plain, halved = pair(ours_class, 5, 5)[0], pair(ours_class, 5, 5)[0]
    nn.utils.parametrize.register_parametrization(halved, "weight_hh_l0", Halve())
    with torch.no_grad():
        plain.weight_hh_l0.mul_(0.5)
    torch.testing.assert_close(halved(inputs)[0], plain(inputs)[0])
    halved(inputs)[0].sum().backward()
    assert halved.parametrizations.weight_hh_l0.original.grad.any()


@families
def test_a_device_that_computes_nothing_is_accepted(ours_class, theirs_class):
    """`device` and `dtype` reach the parameters; tensors on the meta device have shapes alone."""
    layer = ours_class(4, 5, 2, device="meta", dtype=torch.bfloat16)
    assert {(p.device.type, p.dtype) for p in layer.parameters()} == {("meta", torch.bfloat16)}
    output, _ = layer(torch.ones(3, 2, 4, device="meta", dtype=torch.bfloat16))
    assert output.shape == (3, 2, 5)


def test_an_irnn_is_a_manual_rnn_that_starts_as_the_identity():
    torch.manual_seed(0)
    layer = ManualRNN(2, 4, 2, "relu", identity=1.0)
    assert torch.equal(layer.weight_hh_l1, torch.eye(4))
    assert not layer.bias_ih_l0.any()
    assert layer.weight_ih_l0.abs().max() < 0.01
    inputs = torch.zeros(50, 1, 2)
    state = torch.rand(2, 1, 4)
    torch.testing.assert_close(layer(inputs, state)[1][0], state[0])  # kept over any number of empty steps
