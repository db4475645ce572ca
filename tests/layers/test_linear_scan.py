"""The scan against the recurrence, one step after the other by autograd; values and gradients in double precision."""

import pytest
import torch

from seqmodels.layers.diagonal import scan as scans
from seqmodels.layers.diagonal.scan import linear_scan, scan_in_rounds

LENGTHS = [1, 2, 31, 32, 33, 50, 200]
SHAPES = {
    "as the terms": lambda time: (time, 2, 3),
    "one for a feature": lambda time: (3,),
    "one for a step": lambda time: (time, 1, 1),
    "one for a step and feature": lambda time: (time, 1, 3),
    "one for a sequence": lambda time: (2, 1),
    "one": lambda time: (),
}


def loop(factors, terms, state):
    """The definition."""
    factors = factors.expand_as(terms)
    states = []
    for factor, term in zip(factors, terms, strict=True):
        state = factor * state + term
        states.append(state)
    return torch.stack(states), state


def drawn(time, shape, dtype=torch.float64, rows=(2, 3)):
    """Factors of either sign and of size at most 1, among them 0, 1 and -1; terms; a state."""
    factors = torch.rand(shape, dtype=torch.float64) * 2 - 1
    if factors.numel() > 4:
        factors.view(-1)[:4] = torch.tensor([0.0, 1.0, -1.0, 0.0])
    if dtype.is_complex:
        factors = factors * torch.exp(1j * torch.rand(shape, dtype=torch.float64) * 6.3)
    tensors = factors.to(dtype), torch.randn(time, *rows, dtype=dtype), torch.randn(*rows, dtype=dtype)
    return [tensor.requires_grad_() for tensor in tensors]


def gradients(function, inputs, used):
    outputs = [output for output, use in zip(function(*inputs), used, strict=True) if use]
    generator = torch.Generator().manual_seed(3)
    given = [torch.randn(output.shape, dtype=output.dtype, generator=generator) for output in outputs]
    return outputs, torch.autograd.grad(outputs, inputs, given)


def assert_equal(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=["real", "complex"])
@pytest.mark.parametrize("shape", SHAPES)
def test_values_and_gradients_are_those_of_the_loop(shape, dtype):
    torch.manual_seed(0)
    for time in LENGTHS:
        inputs = drawn(time, SHAPES[shape](time), dtype)
        for used in [(True, True), (True, False), (False, True)]:
            (outputs, found), (expected, wanted) = (gradients(each, inputs, used) for each in (linear_scan, loop))
            assert_equal(outputs, expected)
            assert_equal(found, wanted)
        with torch.inference_mode():
            assert_equal(linear_scan(*inputs), loop(*inputs))


def test_a_large_step_is_not_cut_into_chunks_and_yields_the_same(monkeypatch):
    torch.manual_seed(0)
    inputs = drawn(100, (100, 2, 3))
    expected = gradients(loop, inputs, (True, True))
    monkeypatch.setattr(scans, "LARGE", 6)
    monkeypatch.setattr(scans, "_side_by_side", None)  # a call would fail
    outputs, found = gradients(linear_scan, inputs, (True, True))
    assert_equal([*outputs, *found], [*expected[0], *expected[1]])


def test_terms_of_any_layout_and_number_of_dimensions():
    torch.manual_seed(0)
    factors, terms, state = drawn(60, (60, 4, 2, 3), rows=(4, 2, 3))
    for dimensions in [(0, 1, 2, 3), (0, 3, 1, 2), (0, 2, 3, 1)]:
        inputs = [
            factors.permute(dimensions),
            terms.permute(dimensions),
            state.permute([d - 1 for d in dimensions[1:]]),
        ]
        (outputs, found), (expected, wanted) = (gradients(each, inputs, (True, True)) for each in (linear_scan, loop))
        assert_equal([*outputs, *found], [*expected, *wanted])


def test_only_the_wanted_gradients_are_computed():
    for wanted in range(3):
        inputs = [part.detach().requires_grad_(number == wanted) for number, part in enumerate(drawn(40, (3,)))]
        (expected,) = torch.autograd.grad(loop(*inputs)[0].sum(), inputs[wanted])
        (found,) = torch.autograd.grad(linear_scan(*inputs)[0].sum(), inputs[wanted])
        assert_equal([found], [expected])


@pytest.mark.parametrize("dtype", [torch.float64, torch.complex128], ids=["real", "complex"])
def test_second_derivatives(dtype):
    torch.manual_seed(0)
    assert torch.autograd.gradgradcheck(linear_scan, drawn(40, (40, 2, 3), dtype), fast_mode=True)
    assert torch.autograd.gradgradcheck(linear_scan, drawn(40, (3,), dtype), fast_mode=True)


# torch's own forward-mode derivatives are TorchScript.
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is")
def test_transforms_and_compilers_compute_the_same():
    torch.manual_seed(0)
    inputs = [part.detach() for part in drawn(40, (40, 2, 3))]
    tangents = tuple(torch.randn_like(part) for part in inputs)
    ways = {
        "compile": lambda scan: torch.compile(scan, backend="eager", fullgraph=True)(*inputs),
        "vmap": lambda scan: torch.vmap(scan, in_dims=(1, 1, 0), out_dims=(1, 0))(*inputs),
        "jvp": lambda scan: torch.func.jvp(scan, tuple(inputs), tangents)[1],
        "grad": lambda scan: torch.func.grad(lambda *given: scan(*given)[0].pow(2).sum(), argnums=(0, 1, 2))(*inputs),
    }
    for way in ways.values():
        assert_equal(way(linear_scan), way(loop))


def test_batched_gradients_equal_single_ones():
    torch.manual_seed(0)
    inputs = drawn(40, (40, 2, 3))
    states, _ = linear_scan(*inputs)
    given = torch.randn(4, *states.shape, dtype=states.dtype)
    batched = torch.autograd.grad(states, inputs, given, is_grads_batched=True, retain_graph=True)
    single = [torch.autograd.grad(states, inputs, each, retain_graph=True) for each in given]
    assert_equal(batched, [torch.stack(parts) for parts in zip(*single, strict=True)])


def test_half_precision():
    inputs = [part.detach().bfloat16() for part in drawn(40, (40, 2, 3))]
    states, _ = linear_scan(*inputs)
    assert states.dtype == torch.bfloat16
    expected, _ = loop(*(part.double() for part in inputs))
    assert (states.double() - expected).abs().max() < 0.03 * expected.abs().max()


def test_the_rounds_are_the_loop():
    torch.manual_seed(0)
    for shape in SHAPES.values():
        inputs = drawn(37, shape(37))
        assert_equal(scan_in_rounds(inputs[0][(None,) * (3 - inputs[0].dim())], *inputs[1:]), loop(*inputs))


def test_ten_thousand_steps_in_single_precision():
    torch.manual_seed(0)
    factors, terms, state = (part.detach() for part in drawn(10_000, (10_000, 2, 3)))
    single = linear_scan(factors.float(), terms.float(), state.float())
    assert all(
        (a - b).abs().max() < 1e-5 * b.abs().max() for a, b in zip(single, loop(factors, terms, state), strict=True)
    )


def test_a_step_depends_on_no_later_one():
    torch.manual_seed(0)
    factors, terms, state = (part.detach() for part in drawn(100, (100, 2, 3)))
    before = linear_scan(factors, terms, state)[0]
    for part in (factors, terms):
        part[70:] = torch.nan
    after = linear_scan(factors, terms, state)[0]
    assert torch.equal(before[:70], after[:70])
    assert after[70:].isnan().all()
