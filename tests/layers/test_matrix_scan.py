"""The recurrence of matrix states: in chunks and step by step, against its equation one number at a time."""

import pytest
import torch
from torch.nn import functional as F

from seqmodels.layers.matrix.scan import Steps, matrix_loop, matrix_scan

KINDS = ["", "scalar", "vector", "delta", "scalar delta", "vector delta"]


def draw(kind, time, K=4, V=3, batch=2, heads=2):
    """q, k, v, S_0, log w, a, b; a parameter that this kind lacks is None."""
    torch.manual_seed(0)
    shape = (time, batch, heads)
    q, v = torch.randn(*shape, K), torch.randn(*shape, V)
    k = F.normalize(torch.randn(*shape, K), dim=-1)
    log_w = a = b = None
    if "scalar" in kind:
        log_w = F.logsigmoid(3 * torch.randn(*shape, 1))
    if "vector" in kind:
        log_w = F.logsigmoid(3 * torch.randn(*shape, K))
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


@pytest.mark.parametrize("time", [1, 2, 7, 16, 37])
@pytest.mark.parametrize("kind", KINDS)
def test_loop_and_chunks_are_the_equation_in_values_and_gradients(kind, time):
    given = draw(kind, time)
    leaves = [part for part in given if part is not None]
    results = [by_numbers(*given), loop(*given), scan(*given), scan(*given, chunk=4)]
    upstream = [torch.randn_like(part) for part in results[0]]
    gradients = [torch.autograd.grad(result, leaves, upstream) for result in results]
    for result, gradient in zip(results[1:], gradients[1:], strict=True):
        for found, expected in zip([*result, *gradient], [*results[0], *gradients[0]], strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives_exist(kind):
    given = draw(kind, 6, K=2, V=2, batch=1, heads=1)
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


@pytest.mark.parametrize("kind", ["scalar", "vector", "delta", "vector delta"])
def test_single_precision_holds_over_ten_thousand_steps(kind):
    given = [None if part is None else part.detach() for part in draw(kind, 10_000, batch=1, heads=1)]
    exact = scan(*given)[0]
    found = scan(*(None if part is None else part.float() for part in given))[0]
    torch.testing.assert_close(found.double(), exact, rtol=1e-3, atol=1e-3 * exact.abs().max().item())


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
    given = draw(kind, 6)
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
    given = draw("vector delta", 6)
    output, _ = scan(*given)
    upstream = torch.randn(3, *output.shape, dtype=output.dtype)
    batched = torch.autograd.grad(output, given, upstream, is_grads_batched=True, retain_graph=True)
    single = [torch.autograd.grad(output, given, each, retain_graph=True) for each in upstream]
    for found, expected in zip(batched, zip(*single, strict=True), strict=True):
        torch.testing.assert_close(found, torch.stack(expected), rtol=1e-10, atol=1e-10)
