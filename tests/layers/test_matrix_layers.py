"""The layers with a matrix state against their equations, one sequence, head and step at a time; and at extremes."""

import math

import pytest
import torch
from matrix_layers import BATCH, CASES, INPUTS, SHARED, both, build, by_steps, named
from properties import agree, relative_error

from seqmodels.layers import GLA, MLSTM, RWKV7, DeltaNet, DeltaProduct, GatedDeltaNet, LinearAttention, Mamba2, RetNet

# One step of one head: from its parts and its state to its output and the next state


def one_by_one(step):
    """The recurrence of `step`, with one sequence, head and step after the other.

    Its parts are (time, batch, heads, ...), and its state is a tuple of tensors (batch, heads, ...).
    """

    def recurrence(*parts, state):
        rows, lasts = [], []
        for b in range(parts[0].size(1)):
            for h in range(parts[0].size(2)):
                own, outputs = [part[b, h] for part in state], []
                for t in range(len(parts[0])):
                    output, own = step(*(part[t, b, h] for part in parts), *own)
                    outputs.append(output)
                rows.append(torch.stack(outputs))
                lasts.append(own)
        heads = parts[0].shape[1:3]
        last = [torch.stack(own).unflatten(0, heads) for own in zip(*lasts, strict=True)]
        return torch.stack(rows, dim=1).unflatten(1, heads), *last

    return recurrence


def linear_attention(q, k, v, state, total):
    def step(q, k, v, S, z):
        S, z = S + torch.outer(k, v), z + k
        return S.T @ q / (z @ q + 1e-10), (S, z)

    return one_by_one(step)(q, k, v, state=(state, total))


def decay(q, k, v, state, log_w):
    """One number a head, or one a row of the state."""

    def step(q, k, v, log_w, S):
        S = torch.diag(torch.exp(log_w).expand(len(k))) @ S + torch.outer(k, v)
        return S.T @ q, (S,)

    return one_by_one(step)(q, k, v, log_w, state=(state,))


def delta_rule(q, k, v, state, beta):
    def step(q, k, v, beta, S):
        S = S + beta * torch.outer(k, v - S.T @ k)
        return S.T @ q, (S,)

    return one_by_one(step)(q, k, v, beta, state=(state,))


def gated_delta_rule(q, k, v, state, beta, log_w):
    def step(q, k, v, beta, log_w, S):
        S = torch.exp(log_w) * S
        S = S + beta * torch.outer(k, v - S.T @ k)
        return S.T @ q, (S,)

    return one_by_one(step)(q, k, v, beta, log_w, state=(state,))


def delta_product(q, k, v, state, beta, log_w):
    def step(q, k, v, beta, log_w, S):
        S = torch.exp(log_w) * S
        for j in range(len(k)):
            S = S + beta[j] * torch.outer(k[j], v[j] - S.T @ k[j])
        return S.T @ q, (S,)

    k, v, beta = (part.movedim(1, 3) for part in (k, v, beta))
    return one_by_one(step)(q, k, v, beta, log_w, state=(state,))


def mlstm(q, k, v, state, input_sums, forget_sums):
    def step(q, k, v, i, f, C, n, m):
        log_f = -torch.log(1 + torch.exp(-f))
        after = torch.maximum(log_f + m, i)
        f, i, k = torch.exp(log_f + m - after), torch.exp(i - after), k / math.sqrt(len(k))
        C, n = f * C + i * torch.outer(k, v), f * n + i * k
        return C.T @ q / (torch.maximum((n @ q).abs(), torch.exp(-after)) + 1e-6), (C, n, after)

    outputs, *last = one_by_one(step)(q, k, v, input_sums, forget_sums, state=state)
    return outputs, last


EQUATIONS = {
    LinearAttention: linear_attention,
    RetNet: decay,
    GLA: decay,
    DeltaNet: delta_rule,
    GatedDeltaNet: gated_delta_rule,
    DeltaProduct: delta_product,
    Mamba2: decay,
    MLSTM: mlstm,
}


@pytest.mark.parametrize(("layer_class", "arguments"), CASES, ids=named)
def test_a_matrix_layer_is_its_equations_in_outputs_states_and_gradients(layer_class, arguments):
    layer = build(layer_class, **arguments)
    for steps in (2, 7):
        agree(*both(layer, EQUATIONS[layer_class], steps))
    agree(*both(by_steps(layer), EQUATIONS[layer_class], 3))


# Lengths and extremes

WIDE = [case for case in [*CASES, *((RWKV7, shared) for shared in SHARED)] if "chunk" not in case[1]]
"""In chunks of the usual size, which are computed faster."""


@pytest.mark.parametrize(("layer_class", "arguments"), WIDE, ids=named)
def test_ten_thousand_steps_in_single_precision(layer_class, arguments):
    """In units of the largest number, those of RetNet and MLSTM differ by some 1e-5, the others by less."""
    layer = build(layer_class, **arguments).float()
    inputs = torch.randn(10_000, 1, INPUTS)
    with torch.no_grad():
        output, state = layer(inputs)
        expected, expected_state = layer.double()(inputs.double())
    for found, known in zip((output, *state), (expected, *expected_state), strict=True):
        assert relative_error(found, known) < 1e-4


def saturated(layer, bias):
    """The layer with gates, strengths and decays at their ends: by large weights, and all decays by large biases."""
    with torch.no_grad():
        for name, parameter in layer.named_parameters():
            if name.startswith(("weight_ih", "weight_w")):
                parameter.mul_(1e3)
            elif bias is not None and name.startswith(("bias_i_", "bias_f_", "bias_w", "bias_dt")):
                parameter.fill_(bias)
    return layer


@pytest.mark.parametrize("bias", [None, -1e4, 1e4])
@pytest.mark.parametrize(("layer_class", "arguments"), WIDE, ids=named)
def test_saturated_gates_stay_finite_in_values_and_gradients(layer_class, arguments, bias):
    layer = saturated(build(layer_class, **arguments).float(), bias)
    torch.manual_seed(1)
    inputs = torch.randn(20, BATCH, INPUTS)
    inputs[7:9] = 0  # without biases the queries and keys are 0, too
    leaves = [inputs.requires_grad_(), *layer.parameters()]
    start = None
    if not layer.learned_state:
        start = tuple(torch.rand(1, BATCH, size).requires_grad_() for size in layer.state_sizes)
        leaves += start[1:]
    output, state = layer(inputs, start)
    loss = output.sum() + sum(part.sum() for part in state)
    assert all(part.isfinite().all() for part in (output, *state, *torch.autograd.grad(loss, leaves)))

    layer, inputs = layer.double(), inputs.double()
    start = start and tuple(part.double() for part in start)
    for found, known in zip(layer(inputs, start), by_steps(layer)(inputs, start), strict=True):
        for mine, other in zip(found, known, strict=True):
            assert relative_error(mine, other) < 1e-9


@pytest.mark.parametrize("bias", [None, -1e4, 1e4])
@pytest.mark.parametrize("eigenvalues", [(0, 1), (-1, 1)])
def test_saturated_gates_are_at_their_ends(eigenvalues, bias, monkeypatch):
    """What the test above presumes: beta is 0 and 1, or 0 and 2, and decays are 0, 1, or both."""
    layer = saturated(build(GatedDeltaNet, eigenvalues=eigenvalues).float(), bias)
    update, seen = layer.update, []
    monkeypatch.setattr(layer, "update", lambda *given, **named: seen.append(update(*given, **named)) or seen[-1])
    layer(torch.randn(50, BATCH, INPUTS))
    strengths, decays = seen[0].b.norm(dim=-1), seen[0].log_w.exp()  # keys have the length 1
    assert strengths.min() < 1e-10
    assert strengths.max().item() == pytest.approx(2 if eigenvalues[0] else 1)
    assert (decays.min(), decays.max()) == {None: (0, 1), -1e4: (1, 1), 1e4: (0, 0)}[bias]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 0.2), (torch.float16, 0.05)])
@pytest.mark.parametrize(
    "layer_class", [GLA, MLSTM, RWKV7, DeltaNet, DeltaProduct, GatedDeltaNet, LinearAttention, Mamba2]
)
def test_half_precision_is_single_precision_rounded_in_values_and_gradients(layer_class, dtype, tolerance):
    torch.manual_seed(0)
    layer, inputs = layer_class(INPUTS, 8).to(dtype), torch.randn(37, BATCH, INPUTS).to(dtype)
    results = []
    for precision in (dtype, torch.float32):
        layer, own = layer.to(precision), inputs.to(precision).requires_grad_()
        output, _ = layer(own)
        results.append([output, *torch.autograd.grad(output.square().sum(), [own, *layer.parameters()])])
    for found, expected in zip(*results, strict=True):
        assert found.dtype == dtype
        assert (found.float() - expected).norm() <= tolerance * expected.norm() + 1e-6


def test_retnet_counts_600_single_steps():
    layer, inputs, state, outputs = build(RetNet).float(), torch.randn(600, BATCH, INPUTS), None, []
    with torch.no_grad():
        for step in inputs.split(1):
            output, state = layer(step, state)
            outputs.append(output)
        expected, known = layer(inputs)
    assert relative_error(torch.cat(outputs), expected) < 1e-4
    assert all(relative_error(*pair) < 1e-4 for pair in zip(state, known, strict=True))
    assert (state[-1] == 600).all()
