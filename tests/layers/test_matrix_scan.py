"""The recurrence of matrix states: in chunks and step by step, against its equation one number at a time."""

import math

import pytest
import torch
from torch.nn import functional as F

from seqmodels.layers.matrix import kernel
from seqmodels.layers.matrix.decays import WEAKEST
from seqmodels.layers.matrix.scan import Steps, matrix_loop, matrix_scan, scan_by_autograd

KINDS = ["", "scalar", "vector", "delta", "scalar delta", "vector delta"]


def draw(kind, time, K=4, V=3, batch=2, heads=2, slowness=1):
    """q, k, v, S_0, log w, a, b; a parameter that this kind lacks is None. A larger `slowness` is a weaker decay."""
    torch.manual_seed(0)
    shape = (time, batch, heads)
    q, v = torch.randn(*shape, K), torch.randn(*shape, V)
    k = F.normalize(torch.randn(*shape, K), dim=-1)
    log_w = a = b = None
    if "scalar" in kind:
        log_w = F.logsigmoid(3 * torch.randn(*shape, 1)) / slowness
    if "vector" in kind:
        log_w = F.logsigmoid(3 * torch.randn(*shape, K)) / slowness
    if "delta" in kind:
        a, b = (k if log_w is None else log_w.exp() * k), -2 * torch.rand(*shape, 1) * k
    parts = (q, k, v, torch.randn(batch, heads, K, V), log_w, a, b)
    return [None if part is None else part.double().requires_grad_() for part in parts]


def loop(q, k, v, state, log_w, a, b):
    return matrix_loop(Steps(q, k, v, log_w, a, b), state)


def scan(q, k, v, state, log_w, a, b, **chunk):
    return matrix_scan(Steps(q, k, v, log_w, a, b), state, **chunk)


def by_numbers(q, k, v, state, log_w, a, b):
    """The equation with sums over indices."""
    outputs = []
    for t in range(len(q)):
        transition = torch.diag_embed(torch.ones_like(q[t]) if log_w is None else log_w[t].exp().expand_as(q[t]))
        if a is not None:
            transition = transition + torch.einsum("...i,...j->...ij", b[t], a[t])
        state = torch.einsum("...ij,...jv->...iv", transition, state) + torch.einsum("...i,...v->...iv", k[t], v[t])
        outputs.append(torch.einsum("...iv,...i->...v", state, q[t]))
    return torch.stack(outputs), state


def by_hand(outputs):
    """Whether these come from the hand-derived backward pass."""
    return "MatrixScan" in outputs[0].grad_fn.name()


def same(found, expected, tolerance=1e-10):
    for pair in zip(found, expected, strict=True):
        torch.testing.assert_close(*pair, rtol=tolerance, atol=tolerance)


# Against the equation. Decays of single rows are too strong for the hand-derived pass unless they are slowed; those of
# all rows take its two ways.


@pytest.mark.parametrize("slowness", [0.1, 1, 16])
@pytest.mark.parametrize("time", [1, 2, 7, 16, 37])
@pytest.mark.parametrize("kind", KINDS)
def test_loop_and_chunks_are_the_equation_in_values_and_gradients(kind, time, slowness):
    given = draw(kind, time, slowness=slowness)
    leaves = [part for part in given if part is not None]
    steps, state = Steps(*given[:3], *given[4:]), given[3]
    autograd = scan_by_autograd(steps, state, 16), scan_by_autograd(steps, state, 4)
    results = [by_numbers(*given), loop(*given), scan(*given), scan(*given, chunk=4), *autograd]
    upstream = [torch.randn_like(part) for part in results[0]]
    gradients = [torch.autograd.grad(result, leaves, upstream) for result in results]
    for result, gradient in zip(results[1:], gradients[1:], strict=True):
        same([*result, *gradient], [*results[0], *gradients[0]])


@pytest.mark.parametrize("segment", [1, 100, 1000, 10**6])
@pytest.mark.parametrize(
    ("kind", "slowness"), [*((kind, 16) for kind in KINDS), ("scalar", 0.1), ("scalar delta", 0.1)]
)
def test_segments_of_any_size_compute_the_same(kind, slowness, segment, monkeypatch):
    """From one chunk of one sequence to all chunks of all; 5 sequences and 43 steps leave a remainder in each."""
    monkeypatch.setattr(kernel, "SEGMENT", segment)
    given = draw(kind, 43, batch=5, slowness=slowness)
    leaves = [part for part in given if part is not None]
    expected = by_numbers(*given)
    upstream = [torch.randn_like(part) for part in expected]
    d_expected = torch.autograd.grad(expected, leaves, upstream)
    for chunk in (4, 16):
        found = scan(*given, chunk=chunk)
        assert by_hand(found)
        same([*found, *torch.autograd.grad(found, leaves, upstream)], [*expected, *d_expected])
        with torch.no_grad():
            same(scan(*given, chunk=chunk), expected)


@pytest.mark.parametrize("used", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_of_the_outputs_alone_and_of_the_last_state_alone(kind, used):
    given = draw(kind, 37, slowness=16)
    leaves = [part for part in given if part is not None]
    found, expected = scan(*given), by_numbers(*given)
    assert by_hand(found)
    upstream = torch.randn_like(expected[used])
    for mine, other in zip(
        torch.autograd.grad(found[used], leaves, upstream),
        torch.autograd.grad(expected[used], leaves, upstream, allow_unused=True),
        strict=True,
    ):
        torch.testing.assert_close(mine, torch.zeros_like(mine) if other is None else other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("only", range(7))
def test_gradients_of_one_input_alone(only):
    given = [part.detach() for part in draw("vector delta", 37, slowness=16)]
    given[only].requires_grad_()
    found, expected = scan(*given), by_numbers(*given)
    assert by_hand(found)
    upstream = [torch.randn_like(part) for part in expected]
    losses = (sum((part * up).sum() for part, up in zip(way, upstream, strict=True)) for way in (found, expected))
    same(*(torch.autograd.grad(loss, given[only]) for loss in losses))


def test_inputs_of_any_strides_and_one_tensor_in_several_places():
    """As layers have them: slices of one projection, keys of one head for all, and a = k."""
    projected = torch.randn(37, 2, 3 * 8, dtype=torch.float64, requires_grad=True)
    shared = torch.randn(37, 2, 1, 4, dtype=torch.float64, requires_grad=True)
    leaves = projected, shared
    results = []
    for way in (scan, by_numbers):
        q, _, v = (part.unflatten(-1, (2, 4)) for part in projected.chunk(3, dim=-1))
        keys = F.normalize(shared, dim=-1).expand(-1, -1, 2, -1)
        result = way(q, keys, v, torch.eye(4, dtype=q.dtype).expand(2, 2, -1, -1), None, keys, -keys)
        results.append([*result, *torch.autograd.grad(result[0].sum() + result[1].sum(), leaves)])
    same(*results)


@pytest.mark.parametrize("kind", KINDS)
def test_the_backward_pass_can_run_twice_and_leaves_its_inputs_alone(kind):
    given = draw(kind, 37, slowness=16)
    leaves = [part for part in given if part is not None]
    copies = [part.detach().clone() for part in leaves]
    found = scan(*given)
    upstream = [torch.randn_like(part) for part in found]
    originals = [part.clone() for part in (*found, *upstream)]
    first = torch.autograd.grad(found, leaves, upstream, retain_graph=True)
    same(torch.autograd.grad(found, leaves, upstream), first, 0)
    same([*leaves, *found, *upstream], [*copies, *originals], 0)


@pytest.mark.parametrize("total", [0.9, 1.1, math.inf])
def test_decays_at_the_limit_of_what_can_be_divided(total):
    """Below it a chunk is computed by hand, beyond it in shorter ones, and where there is no end to it by autograd."""
    given = draw("vector delta", 37, slowness=1e6)
    with torch.no_grad():
        given[4][:, 0, 0, 1] = total * math.log(WEAKEST) / 16
    leaves = given
    found, expected = scan(*given), by_numbers(*given)
    assert by_hand(found) == math.isfinite(total)
    upstream = [torch.randn_like(part) for part in expected]
    mine, other = (torch.autograd.grad(result, leaves, upstream) for result in (found, expected))
    same([*found, *mine[:4], *mine[5:]], [*expected, *other[:4], *other[5:]])
    # 0 times infinity: torch's derivative by the logarithm of a decay of 0 is not a number where S_0 is not 0
    torch.testing.assert_close(mine[4].nan_to_num(), other[4].nan_to_num(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives_exist(kind):
    given = draw(kind, 6, K=2, V=2, batch=1, heads=1, slowness=16)
    leaves = [part for part in given if part is not None]

    def function(*values):
        rest = iter(values)
        return scan(*(None if part is None else next(rest) for part in given), chunk=4)

    assert torch.autograd.gradgradcheck(function, leaves, fast_mode=True)


@pytest.mark.parametrize("log_decay", [0.0, -1e-9, -1e3, -torch.inf])
@pytest.mark.parametrize("beta", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("kind", ["scalar delta", "vector delta"])
def test_extreme_decays_and_strengths_are_exact_and_finite(kind, beta, log_decay):
    q, k, v, state, log_w, _, _ = (None if part is None else part.detach() for part in draw(kind, 37))
    log_w = torch.full_like(log_w, log_decay)
    given = [part.requires_grad_() for part in (q, k, v, state, log_w, log_w.exp() * k, -beta * k)]
    found, expected = scan(*given), by_numbers(*given)
    for pair in zip(found, expected, strict=True):
        torch.testing.assert_close(*pair, rtol=1e-10, atol=1e-10)
    for gradient in torch.autograd.grad(found[0].sum() + found[1].sum(), given, allow_unused=True):
        assert gradient is None or gradient.isfinite().all()


@pytest.mark.parametrize("slowness", [1, 16])
@pytest.mark.parametrize("kind", ["scalar", "vector", "delta", "scalar delta", "vector delta"])
def test_single_precision_holds_over_ten_thousand_steps(kind, slowness):
    given = draw(kind, 10_000, batch=1, heads=1, slowness=slowness)
    single = [None if part is None else part.detach().float().requires_grad_() for part in given]
    results, upstream = [scan(*given), scan(*single)], torch.randn(10_000, 1, 1, 3)
    gradients = [
        torch.autograd.grad(outputs, [part for part in parts if part is not None], upstream.to(outputs.dtype))
        for (outputs, _), parts in zip(results, (given, single), strict=True)
    ]
    for exact, found in zip(*([*result, *rest] for result, rest in zip(results, gradients, strict=True)), strict=True):
        torch.testing.assert_close(found.double(), exact, rtol=1e-3, atol=1e-4 * exact.abs().max().item())


@pytest.mark.parametrize("log_decay", [0.0, -1e-9, -1e3])
def test_gradients_at_extreme_decays_are_those_of_the_loop(log_decay):
    q, k, v, state, log_w, _, _ = draw("vector delta", 37)
    extreme = torch.where(torch.rand_like(log_w) < 0.5, torch.full_like(log_w, log_decay), log_w)
    given = [part.detach().requires_grad_() for part in (q, k, v, state, extreme, k, -k)]
    gradients = [torch.autograd.grad(sum(part.sum() for part in way(*given)), given) for way in (scan, loop)]
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


# torch's own forward-mode derivatives are TorchScript.
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is")
@pytest.mark.parametrize("kind", ["vector", "scalar delta", "vector delta"])
def test_transforms_and_compilers_compute_the_same(kind):
    given = draw(kind, 6, slowness=16)
    places = [place for place, part in enumerate(given) if part is not None]
    parts = tuple(given[place].detach() for place in places)
    tangents = tuple(torch.randn_like(part) for part in parts)
    every = tuple(range(len(parts)))
    batch = tuple(0 if place == 3 else 1 for place in places)  # the state has it first

    def called(way):
        def function(*parts):
            named = dict(zip(places, parts, strict=True))
            return way(*(named.get(place) for place in range(7)))

        return function

    ways = {
        "compile": lambda way: torch.compile(called(way), backend="eager", fullgraph=True)(*parts),
        "vmap": lambda way: torch.vmap(called(way), in_dims=batch, out_dims=(1, 0))(*parts),
        "jvp": lambda way: torch.func.jvp(called(way), parts, tangents)[1],
        "grad": lambda way: torch.func.grad(lambda *parts: called(way)(*parts)[0].pow(2).sum(), every)(*parts),
    }
    for transformed in ways.values():
        for found, expected in zip(transformed(scan), transformed(loop), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


def test_batched_gradients_equal_single_ones():
    given = draw("vector delta", 6, slowness=16)
    output, _ = scan(*given)
    upstream = torch.randn(3, *output.shape, dtype=output.dtype)
    batched = torch.autograd.grad(output, given, upstream, is_grads_batched=True, retain_graph=True)
    single = [torch.autograd.grad(output, given, each, retain_graph=True) for each in upstream]
    for found, expected in zip(batched, zip(*single, strict=True), strict=True):
        torch.testing.assert_close(found, torch.stack(expected), rtol=1e-10, atol=1e-10)
