"""The backend "bptt" computes the numbers of autograd, or leaves the work to it."""

import contextlib

import pytest
import torch
from test_contract import MODELS, build, class_of
from test_torch_families import FAMILIES
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence
from torch.utils import _pytree as pytree

from seqmodels.layers import MGU, ManualGRU, ManualLSTM, ManualRNN, stack
from seqmodels.layers.bptt import kernel, pointwise, products
from seqmodels.speed.benchmark import training
from seqmodels.speed.memory import peak_memory

WITH_KERNEL = [model for model in MODELS if getattr(class_of(model), "kernel", None)]
CASES = {
    "one layer": {"num_layers": 1},
    "stacked": {"num_layers": 3},
    "both directions": {"bidirectional": True},
    "no bias": {"bias": False, "bidirectional": True},
    "time first": {"batch_first": False},
    "dropout": {"dropout": 0.4},
}


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Chunks of two or three steps, so that every test crosses their borders."""
    monkeypatch.setattr(kernel, "CHUNK", 160)
    monkeypatch.setattr(kernel, "ROWS", 0)


@contextlib.contextmanager
def watched(monkeypatch):
    """Counts how often kernels apply, and how often autograd has to serve."""
    counts = {"bptt": 0, "autograd": 0}
    original = stack.bptt_applies

    def counting(*arguments):
        applies = original(*arguments)
        counts["bptt" if applies else "autograd"] += 1
        return applies

    monkeypatch.setattr(stack, "bptt_applies", counting)
    yield counts


def twins(model, **options):
    """The same layer with either backend: derived by hand, and by autograd."""
    return build(model, **options, backend="bptt"), build(model, **options, backend="autograd")


def everything(layer, inputs, state=None, seed=3):
    """Outputs, final states, and the gradients of inputs, states and parameters for random gradients of all results."""
    leaves, structure = pytree.tree_flatten(() if state is None else state)
    leaves = [leaf.detach().clone().requires_grad_() for leaf in leaves]
    data = inputs.data if isinstance(inputs, nn.utils.rnn.PackedSequence) else inputs
    data = data.detach().clone().requires_grad_()
    fed = inputs._replace(data=data) if isinstance(inputs, nn.utils.rnn.PackedSequence) else data
    torch.manual_seed(seed)
    output, final = layer(fed, None if state is None else pytree.tree_unflatten(leaves, structure))
    output = output.data if isinstance(output, nn.utils.rnn.PackedSequence) else output
    results = [output, *pytree.tree_leaves(final)]
    torch.manual_seed(seed)
    weights = [torch.randn_like(result) for result in results]
    gradients = torch.autograd.grad(results, [data, *leaves, *layer.parameters()], weights, allow_unused=True)
    return [*results, *gradients]


def assert_equal(found, expected, tolerance=1e-12):
    for mine, other in zip(found, expected, strict=True):
        if mine is None or other is None:
            assert mine is other
            continue
        assert mine.shape == other.shape
        assert mine.dtype == other.dtype
        finite = other.isfinite()
        assert torch.equal(mine[~finite], other[~finite])
        scale = other[finite].abs().max().item() if finite.any() else 1.0
        assert (mine - other)[finite].abs().max().item() <= tolerance * max(scale, 1e-3)


def draw(*shape, dtype=torch.float64, seed=1):
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def test_which_models_have_a_kernel():
    assert {"manual_rnn", "irnn", "manual_gru", "manual_lstm"} <= set(WITH_KERNEL)
    assert not {"mgu", "min_gru"} & set(WITH_KERNEL)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("model", WITH_KERNEL)
def test_equals_autograd(model, case, monkeypatch):
    by_hand, by_autograd = twins(model, **CASES[case])
    inputs = draw(4, 9, 3)
    with watched(monkeypatch) as counts:
        assert_equal(everything(by_hand, inputs), everything(by_autograd, inputs))
        _, state = by_autograd(draw(4, 2, 3, seed=5) if by_autograd.batch_first else draw(2, 9, 3, seed=5))
        assert_equal(everything(by_hand, inputs, state), everything(by_autograd, inputs, state))
    assert counts["bptt"] == 2 * by_hand.num_layers * by_hand.num_directions
    assert counts["autograd"] == 0


@pytest.mark.parametrize("model", WITH_KERNEL)
def test_equals_autograd_on_packed_and_single_sequences(model):
    by_hand, by_autograd = twins(model, bidirectional=True)
    packed = pack_padded_sequence(draw(4, 9, 3), torch.tensor([9, 2, 7, 7]), True, enforce_sorted=False)
    assert_equal(everything(by_hand, packed), everything(by_autograd, packed))
    assert_equal(everything(by_hand, draw(9, 3)), everything(by_autograd, draw(9, 3)))


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_equals_autograd_with_either_nonlinearity(nonlinearity):
    by_hand, by_autograd = twins("manual_rnn", nonlinearity=nonlinearity)
    assert_equal(everything(by_hand, draw(4, 9, 3)), everything(by_autograd, draw(4, 9, 3)))


@pytest.mark.parametrize("bidirectional", [False, True])
def test_equals_autograd_with_a_projection(bidirectional):
    layers = []
    for backend in ("bptt", "autograd"):
        torch.manual_seed(0)
        layers.append(ManualLSTM(3, 6, 2, proj_size=2, bidirectional=bidirectional, backend=backend).double())
    assert_equal(*(everything(layer, draw(9, 4, 3)) for layer in layers))


@pytest.mark.parametrize("model", WITH_KERNEL)
def test_inference_equals_training(model):
    layer = build(model, bidirectional=True, backend="bptt")
    expected = layer(draw(4, 9, 3))
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert_equal(pytree.tree_leaves(layer(draw(4, 9, 3))), pytree.tree_leaves(expected), 0)


@pytest.mark.parametrize("model", WITH_KERNEL)
@pytest.mark.parametrize("sizes", [(8, 8), (64, 40)], ids=["short", "long"])
def test_single_precision_is_as_close_to_double_as_autograd(model, sizes):
    """With 64 units and 40 rows tanh is computed by the sigmoid."""
    hidden, batch = sizes
    exact = build(model, hidden_size=hidden, backend="autograd")
    inputs = draw(batch, 20, 3)
    expected = everything(exact, inputs)
    errors = []
    for backend in ("bptt", "autograd"):
        layer = build(model, hidden_size=hidden, backend=backend).float()
        found = everything(layer, inputs.float())
        pairs = [(a.double(), b) for a, b in zip(found, expected, strict=True) if b is not None and b.isfinite().all()]
        gradients = pairs[1 + len(layer.states) :]  # whose output gradients were drawn in another precision
        assert all(torch.isfinite(a).all() for a, _ in gradients)
        errors.append(max(((a - b).abs().max() / b.abs().max()).item() for a, b in pairs[: 1 + len(layer.states)]))
    assert errors[0] < 10 * errors[1] + 2e-6


@pytest.mark.parametrize("model", WITH_KERNEL)
def test_gradients_in_single_precision_equal_those_of_autograd(model):
    """At a size where tanh is computed by the sigmoid."""
    by_hand, by_autograd = twins(model, hidden_size=64)
    inputs = draw(40, 20, 3).float()
    assert_equal(everything(by_hand.float(), inputs), everything(by_autograd.float(), inputs), 2e-5)


def test_tanh_by_the_sigmoid_is_exact_to_a_rounding():
    inputs = torch.linspace(-20, 20, 100_001)
    assert pointwise.tanh_is_slow(inputs)
    assert not pointwise.tanh_is_slow(inputs.double())
    out, in_place = torch.empty_like(inputs), 2 * inputs
    pointwise.tanh_for(inputs)(inputs, out)
    pointwise.tanh_in_place_for(inputs)(in_place)
    for found in (out, in_place):
        assert (found.double() - torch.tanh(inputs.double())).abs().max() < 1.8e-7


@pytest.mark.parametrize("backend", ["bptt", "autograd"])
@pytest.mark.parametrize("model", WITH_KERNEL)
def test_first_and_second_derivatives_by_finite_differences(model, backend):
    layer = build(model, num_layers=1, hidden_size=3, backend=backend, bidirectional=model == "manual_rnn")
    names = [name for name, _ in layer.named_parameters()]
    state = layer(draw(2, 2, 3, seed=9))[1]  # one that the layer can be in
    leaves, structure = pytree.tree_flatten(state)

    def function(inputs, *rest):
        parameters = dict(zip(names, rest[len(leaves) :], strict=True))
        state = pytree.tree_unflatten(rest[: len(leaves)], structure)
        output, final = torch.func.functional_call(layer, parameters, (inputs, state))
        return output, *pytree.tree_leaves(final)

    values = [value.detach().requires_grad_() for value in (draw(2, 3, 3), *leaves, *layer.parameters())]
    assert torch.autograd.gradcheck(function, values, fast_mode=True)
    assert torch.autograd.gradgradcheck(function, values, fast_mode=True)


def hessian_vector(layer, inputs):
    inputs = inputs.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(layer(inputs)[0].pow(3).sum(), inputs, create_graph=True)
    return torch.autograd.grad(gradient.pow(2).sum(), [inputs, *layer.parameters()])


@pytest.mark.parametrize("model", WITH_KERNEL)
def test_second_derivatives_equal_those_of_autograd(model):
    by_hand, by_autograd = twins(model, num_layers=2)
    assert_equal(hessian_vector(by_hand, draw(4, 9, 3)), hessian_vector(by_autograd, draw(4, 9, 3)), 1e-11)


# torch's own forward-mode derivatives are TorchScript.
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is")
@pytest.mark.parametrize("model", WITH_KERNEL)
def test_everything_that_follows_single_operations_goes_by_autograd(model, monkeypatch):
    by_hand, by_autograd = twins(model, num_layers=1)
    inputs = draw(2, 4, 3)
    parameters = {name: value.detach() for name, value in by_hand.named_parameters()}

    def value(layer, parameters, inputs):
        return torch.func.functional_call(layer, parameters, (inputs,))[0].pow(2).sum()

    def forward_mode(layer):
        with torch.autograd.forward_ad.dual_level():
            dual = torch.autograd.forward_ad.make_dual(inputs, torch.ones_like(inputs))
            return torch.autograd.forward_ad.unpack_dual(layer(dual)[0]).tangent

    many = torch.stack([inputs, 2 * inputs])
    ways = {
        "grad": lambda layer: torch.func.grad(value, argnums=1)(layer, parameters, inputs),
        "vmap": lambda layer: torch.vmap(lambda each: layer(each)[0])(many),
        "per-sample": lambda layer: torch.vmap(
            lambda each: torch.func.grad(value, argnums=1)(layer, parameters, each[None])
        )(inputs),
        "jvp": lambda layer: torch.func.jvp(lambda each: layer(each)[0], (inputs,), (torch.ones_like(inputs),))[1],
        "jacrev": lambda layer: torch.func.jacrev(lambda each: layer(each)[0])(inputs),
        "hessian": lambda layer: torch.func.hessian(lambda each: value(layer, parameters, each))(inputs),
        "forward mode": forward_mode,
        "compile": lambda layer: torch.compile(lambda each: layer(each)[0], backend="eager", fullgraph=True)(inputs),
        "export": lambda layer: torch.export.export(layer, (inputs,)).module()(inputs)[0],
    }
    for name, way in ways.items():
        with watched(monkeypatch) as counts:
            found = pytree.tree_leaves(way(by_hand))
        assert counts["bptt"] == 0, name
        assert_equal(found, pytree.tree_leaves(way(by_autograd)), 1e-12)


def test_one_tensor_given_twice_counts_once_for_each_place():
    """In first and second derivatives."""
    found = []
    for layer in twins("manual_lstm", num_layers=1):
        state = draw(1, 4, 8).requires_grad_()
        output, _ = layer(draw(4, 9, 3), (state, state))
        (gradient,) = torch.autograd.grad(output.pow(3).sum(), state, create_graph=True)
        found.append([gradient, *torch.autograd.grad(gradient.pow(2).sum(), state)])
    assert_equal(*found)


def test_batched_gradients_equal_single_ones():
    by_hand, _ = twins("manual_gru", num_layers=1)

    def function(inputs):
        return by_hand(inputs)[0].sum(0)

    single = torch.autograd.functional.jacobian(function, draw(2, 4, 3))
    together = torch.autograd.functional.jacobian(function, draw(2, 4, 3), vectorize=True)
    assert_equal([together], [single])


@pytest.mark.parametrize("model", WITH_KERNEL)
def test_reduced_precision_and_autocast_are_computed_by_autograd(model):
    by_hand, by_autograd = twins(model)
    inputs = draw(4, 9, 3).float()
    with torch.autocast("cpu", torch.bfloat16):
        found, expected = (everything(layer.float(), inputs) for layer in (by_hand, by_autograd))
    assert_equal(found, expected, 0)
    found, expected = (everything(layer.bfloat16(), inputs.bfloat16()) for layer in (by_hand, by_autograd))
    assert_equal(found, expected, 0)


@pytest.mark.parametrize("model", WITH_KERNEL)
def test_a_backward_pass_within_autocast_is_not_cast(model):
    layer = build(model, hidden_size=64, backend="bptt").float()
    gradients = []
    for enabled in (True, False):
        output = layer(draw(40, 9, 3).float())[0]
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            gradients.append(torch.autograd.grad(output, list(layer.parameters()), torch.ones_like(output)))
    assert_equal(*gradients, 0)


@pytest.mark.parametrize("model", WITH_KERNEL)
def test_gradients_of_some_results_with_respect_to_some_tensors(model):
    by_hand, by_autograd = twins(model)
    found, expected = [], []
    for layer, results in ((by_hand, found), (by_autograd, expected)):
        inputs = draw(4, 9, 3).requires_grad_()
        output, final = layer(inputs)
        last = pytree.tree_leaves(final)[0]
        results.append(torch.autograd.grad(last.sum(), inputs, retain_graph=True)[0])  # the final state alone
        results.append(torch.autograd.grad(last.sum(), inputs, retain_graph=True)[0])  # a second time
        first = torch.autograd.grad(last.pow(2).sum(), inputs, create_graph=True)[0]
        results.append(torch.autograd.grad(first.pow(2).sum(), layer.weight_hh_l0, retain_graph=True)[0])
        results.append(torch.autograd.grad(output[:, 3].sum(), layer.weight_hh_l0)[0])  # one step, one weight
        for name, parameter in layer.named_parameters():
            parameter.requires_grad_(name == "bias_hh_l1")
        layer(inputs.detach())[0].sum().backward()
        results.append(layer.bias_hh_l1.grad)
        assert layer.weight_hh_l0.grad is None
    assert_equal(found, expected)


def test_an_output_changed_in_place_is_an_error_and_not_a_wrong_gradient():
    output, _ = build("manual_rnn", num_layers=1)(draw(4, 9, 3).requires_grad_())
    output.mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


@pytest.mark.parametrize("checkpoint", [True, False])
def test_works_under_checkpointing_and_saved_tensor_hooks(checkpoint):
    by_hand, by_autograd = twins("manual_lstm")
    gradients = []
    for layer in (by_hand, by_autograd):
        inputs = draw(4, 9, 3).requires_grad_()
        if checkpoint:
            output = torch.utils.checkpoint.checkpoint(lambda each: layer(each)[0], inputs, use_reentrant=False)  # noqa: B023
        else:
            with torch.autograd.graph.save_on_cpu():
                output = layer(inputs)[0]
        gradients.append(torch.autograd.grad(output.pow(2).sum(), [inputs, *layer.parameters()]))
    assert_equal(*gradients)


class Halved(ManualRNN):
    def step(self, projected, state, weights):
        return 0.5 * super().step(projected, state, weights)


class Forgetful(ManualGRU):
    def advance(self, projected, state, weights):
        return super().advance(projected, (0.9 * state[0],), weights)


class Shifted(ManualLSTM):
    def project(self, sequence, weights):
        return super().project(sequence, weights) + 1


class Doubling:
    def step(self, projected, state, weights):
        return super().step(2 * projected, state, weights)


class MixedIn(Doubling, ManualGRU):
    pass


class Inherited(Halved):
    pass


@pytest.mark.parametrize("layer_class", [Halved, Forgetful, Shifted, MixedIn, Inherited])
def test_the_kernel_of_a_class_is_not_used_where_a_subclass_changes_the_step(layer_class):
    base = next(base for base in layer_class.__mro__ if base in FAMILIES)
    layers = []
    for cls, backend in ((layer_class, "auto"), (layer_class, "autograd"), (base, "auto")):
        torch.manual_seed(0)
        layers.append(cls(3, 5, 2, backend=backend).double())
    found, expected, plain = (everything(layer, draw(9, 4, 3)) for layer in layers)
    assert_equal(found, expected)
    assert not torch.allclose(found[0], plain[0])


def test_a_step_put_on_an_object_is_used():
    layer = build("manual_rnn", num_layers=1)
    layer.step = lambda projected, state, weights: torch.zeros_like(state)
    assert not layer(draw(4, 9, 3))[0].any()


def test_refuses_an_unknown_backend():
    with pytest.raises(ValueError, match="backend should be 'auto', 'autograd', 'bptt' or 'compiled', got 'fast'"):
        ManualRNN(3, 5, backend="fast")
    with pytest.raises(ValueError, match="got 'fused'; 'fused' is now called 'bptt'"):
        ManualRNN(3, 5, backend="fused")
    with pytest.raises(ValueError, match="got 'loop'; 'loop' is now called 'autograd'"):
        ManualRNN(3, 5, backend="loop")
    with pytest.raises(ValueError, match=r"backend should be 'auto' or 'autograd' for MGU, .* no kernel, got 'bptt'"):
        MGU(3, 5, backend="bptt")
    MGU(3, 5, backend="auto")


@pytest.mark.skipif(not products.has_onednn(), reason="torch was built without oneDNN")
@pytest.mark.parametrize("model", WITH_KERNEL)
def test_products_by_onednn_equal_those_by_mm(model, monkeypatch):
    """On any processor; which of the two is faster is another question."""
    monkeypatch.setattr(products, "has_faster_onednn", lambda: True)
    monkeypatch.setattr(products, "FEW", 0)
    layer = build(model, hidden_size=16, backend="bptt").float()
    inputs = draw(8, 9, 3).float()
    expected = everything(layer, inputs)
    used = []
    monkeypatch.setattr(products, "SMALLEST", 0)
    takes_onednn = products._takes_onednn
    monkeypatch.setattr(products, "_takes_onednn", lambda *sizes: used.append(takes_onednn(*sizes)) or used[-1])
    assert_equal(everything(layer, inputs), expected, 1e-5)
    assert used
    assert all(used)


def test_an_older_torch_uses_mm(monkeypatch):
    """`torch.cpu.get_capabilities` exists from torch 2.11 on."""
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert products.has_faster_onednn.__wrapped__() is False


@pytest.mark.parametrize("narrow", [0, 16])
def test_products_against_matmul(narrow, monkeypatch):
    monkeypatch.setattr(products, "NARROW", narrow)
    left, right, bias = draw(7, 4), draw(7, 5), draw(5)
    out, total = torch.empty(7, 5, dtype=torch.float64), torch.ones(4, 5, dtype=torch.float64)
    products.linear(left, right[:5, :4], bias, out)
    torch.testing.assert_close(out, left @ right[:5, :4].T + bias)
    products.outer(left, right, total)
    torch.testing.assert_close(total, 1 + left.T @ right)
    products.step_product(right[:5, :4], 7)(left, bias, out)
    torch.testing.assert_close(out, left @ right[:5, :4].T + bias)


@pytest.mark.parametrize(("ours", "share"), [(ManualRNN, 0.7), (ManualGRU, 0.7)])
def test_training_takes_less_memory_than_torch(ours, share, monkeypatch):
    """Allocations, unlike times, are the same on every machine. `torch.nn.LSTM` allocates outside of torch's count."""
    monkeypatch.undo()
    inputs, gradient = torch.randn(500, 16, 1), torch.randn(500, 16, 128)
    peaks = [peak_memory(training(layer(1, 128), inputs, gradient), "cpu") for layer in (ours, FAMILIES[ours])]
    assert peaks[0] < share * peaks[1]
