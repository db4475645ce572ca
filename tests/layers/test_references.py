"""Layers, and the recurrences that they are made of, against code that others have published.

    pip install -c constraints.txt -e ".[references]" && pytest tests/layers/test_references.py

Both sides have the same weights, in float64, and agree in outputs, final states and gradients. Where published code
differs from ours or from other published code, a test shows by what.
"""

import math
from functools import partial

import numpy as np
import pytest
import references
import torch
from matrix_layers import CASES, both, build, by_steps, named
from properties import agree
from references import negative_eigenvalues

from seqmodels.layers import (
    GLA,
    MLSTM,
    RWKV7,
    S4D,
    SLSTM,
    DeltaNet,
    DeltaProduct,
    GatedDeltaNet,
    LinearAttention,
    Mamba,
    Mamba2,
    RetNet,
)
from seqmodels.layers.matrix.scan import Steps, matrix_loop, matrix_scan

TIME, BATCH, HEADS, K, V = 19, 2, 3, 4, 5


def drawn(*shapes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_() for shape in shapes]


def start_of(layer, batch=BATCH):
    """A state as it occurs in use."""
    _, state = layer(torch.randn(9, batch, layer.input_size, dtype=torch.float64))
    return tuple(part.detach().requires_grad_() for part in state)


# Layers


def as_mambapy(layer):
    """The weights of a Mamba by the names and in the shapes of a block of mambapy."""
    w = layer.weights()
    return {
        "in_proj.weight": w.weight_ih,
        "in_proj.bias": w.bias_ih,
        "conv1d.weight": w.weight_conv.unsqueeze(1),
        "conv1d.bias": w.bias_conv,
        "x_proj.weight": w.weight_x,
        "dt_proj.weight": w.weight_dt,
        "dt_proj.bias": w.bias_dt,
        "A_log": w.log_rate,
        "D": w.skip,
        "out_proj.weight": w.weight_ho,
        "out_proj.bias": w.bias_ho,
    }


@pytest.mark.parametrize("eigenvalues", [(0, 1), (-1, 1)])
@pytest.mark.parametrize("parallel", [False, True])
def test_mamba_is_that_of_mambapy(eigenvalues, parallel):
    size = 20  # so that the rank, 2, is rounded up
    block = references.mamba_block(size, parallel, **({} if eigenvalues[0] == 0 else negative_eigenvalues()))
    torch.manual_seed(0)
    layer = Mamba(size, size, dtype=torch.float64, eigenvalues=eigenvalues)
    with torch.no_grad():
        for parameter in layer.parameters():  # away from D = 1 and the like
            parameter.add_(0.3 * torch.randn_like(parameter))
    (inputs,) = drawn((TIME, BATCH, size))
    weights = as_mambapy(layer)
    assert {name: value.shape for name, value in weights.items()} == {n: p.shape for n, p in block.named_parameters()}
    expected = torch.func.functional_call(block, weights, (inputs.transpose(0, 1),)).transpose(0, 1)
    agree([layer(inputs)[0]], [expected], [inputs, *layer.parameters()])


@pytest.mark.parametrize("eigenvalues", [(0, 1), (-1, 1)])
def test_mamba_step_by_step_from_a_state_is_that_of_mambapy(eigenvalues):
    size, reach = 20, 3
    block = references.mamba_block(size, False, **({} if eigenvalues[0] == 0 else negative_eigenvalues()))
    torch.manual_seed(0)
    layer = Mamba(size, size, dtype=torch.float64, eigenvalues=eigenvalues)
    block.load_state_dict(as_mambapy(layer))
    (inputs,) = drawn((TIME, BATCH, size))
    start = start_of(layer)
    output, (_, hidden, past) = layer(inputs, start)
    cache = start[1][0].unflatten(-1, (2 * size, -1)), start[2][0].unflatten(-1, (reach, -1)).mT
    outputs = []
    for step in inputs:
        expected, cache = block.step(step, cache)
        outputs.append(expected)
    found = [output, hidden[0].unflatten(-1, (2 * size, -1)), past[0].unflatten(-1, (reach, -1)).mT]
    agree(found, [torch.stack(outputs), *cache], [inputs, *start])


def test_mamba_follows_the_published_code_not_equation_4():
    """Delta B in place of a zero-order hold, (exp(Delta A) - 1) / A B: they differ in the second order of Delta A."""
    torch.manual_seed(0)
    layer = Mamba(4, 4, dtype=torch.float64)
    w, inputs = layer.weights(), torch.randn(1, 4, dtype=torch.float64)
    _, (_, hidden, _) = layer(inputs)
    channels, size = w.log_rate.shape
    x = torch.nn.functional.silu(
        layer.project(inputs[0], w)[:channels] * w.weight_conv[:, -1] + w.bias_conv
    )  # the first step, which sees zeros before it
    low, write, _ = (w.weight_x @ x).split([w.weight_dt.size(1), size, size])
    delta = torch.nn.functional.softplus(w.weight_dt @ low + w.bias_dt).unsqueeze(1)
    rates = -w.log_rate.exp()
    euler, held = (factor * write * x.unsqueeze(1) for factor in (delta, torch.expm1(delta * rates) / rates))
    torch.testing.assert_close(hidden[0].unflatten(-1, (channels, -1)), euler, rtol=1e-12, atol=0)
    second_order = 1 + delta * rates / 2
    assert ((held / euler - second_order).abs() < (delta * rates) ** 2).all()
    assert (held / euler).min() < 0.9


@pytest.mark.parametrize("length", [5, 130])
def test_s4d_is_the_convolution_with_its_kernel(length):
    """By NumPy: K_t = 2 Re sum_n C_n (exp(dt A_n) - 1) / A_n exp(dt A_n t), and all sums over past inputs."""
    torch.manual_seed(0)
    layer = S4D(3, 4, dtype=torch.float64, state_size=8)
    inputs = torch.randn(length, 3, dtype=torch.float64)
    w = {name: parameter.detach().numpy() for name, parameter in vars(layer.weights()).items() if parameter is not None}
    u = inputs.numpy() @ w["weight_ih"].T + w["bias_ih"]
    rates, dt = -np.exp(w["log_rate"]) + 1j * w["frequency"], np.exp(w["log_dt"])[:, None]
    coefficients = (w["c_real"] + 1j * w["c_imag"]) * (np.exp(dt * rates) - 1) / rates
    kernel = 2 * np.einsum("hn,hnt->ht", coefficients, np.exp((dt * rates)[..., None] * np.arange(length))).real
    filtered = np.stack([np.convolve(kernel[h], u[:, h])[:length] for h in range(4)], axis=1) + w["skip"] * u
    active = filtered * 0.5 * (1 + np.vectorize(math.erf)(filtered / 2**0.5))
    value, gate = np.split(active @ w["weight_ho"].T + w["bias_ho"], 2, axis=1)
    expected = value / (1 + np.exp(-gate))
    np.testing.assert_allclose(layer(inputs)[0].detach().numpy(), expected, rtol=1e-10, atol=1e-12)


def test_slstm_is_that_of_xlstm():
    torch.manual_seed(0)
    layer = SLSTM(3, 4, dtype=torch.float64)
    (inputs,) = drawn((TIME, BATCH, 3))
    w = layer.weights()
    weights = (w.weight_ih, w.weight_hh, w.bias_ih + w.bias_hh)
    zeros = tuple(torch.zeros(BATCH, 4, dtype=torch.float64) for _ in range(4))
    start = start_of(layer)
    for given, theirs in ((None, zeros), (start, tuple(part[0] for part in start))):
        expected, last = references.slstm(inputs, theirs, *weights)
        output, final = layer(inputs, given)
        leaves = [inputs, *layer.parameters(), *(given or ())]
        agree([output, *(part[0] for part in final)], [expected, *last], leaves)


def test_the_stabiliser_of_slstm_depends_on_the_batch_in_xlstm():
    """A start with n = 0 is recognised only if all sequences of the batch are at theirs. The output is the same."""
    torch.manual_seed(0)
    layer = SLSTM(3, 4, dtype=torch.float64)
    w = layer.weights()
    weights = (w.weight_ih, w.weight_hh, w.bias_ih + w.bias_hh)
    (inputs,) = drawn((1, 1, 3))
    fresh = tuple(torch.zeros(1, 4, dtype=torch.float64) for _ in range(4))
    used = tuple(part[0] for part in start_of(layer, batch=1))
    mixed = tuple(torch.cat(pair) for pair in zip(fresh, used, strict=True))
    alone_output, alone = references.slstm(inputs - 5, fresh, *weights)
    output, both = references.slstm((inputs - 5).expand(1, 2, 3), mixed, *weights)
    torch.testing.assert_close(output[:, :1], alone_output, rtol=1e-10, atol=1e-12)
    assert not torch.allclose(both[3][:1], alone[3])


PUBLISHED = {
    LinearAttention: references.normalised_linear_attention,
    RetNet: references.scalar_decay,
    GLA: references.vector_decay,
    DeltaNet: references.delta_rule,
    GatedDeltaNet: references.gated_delta_rule,
    DeltaProduct: references.gated_delta_product,
    Mamba2: references.scalar_decay,
    MLSTM: references.mlstm,
}
"""The recurrences of layers with a matrix state."""


@pytest.mark.parametrize("steps", [3, 19])
@pytest.mark.parametrize("form", [build, lambda *a, **k: by_steps(build(*a, **k))], ids=["chunks", "steps"])
@pytest.mark.parametrize(("layer_class", "arguments"), CASES, ids=named)
def test_a_matrix_layer_is_its_second_writing_around_the_published_recurrence(layer_class, arguments, form, steps):
    agree(*both(form(layer_class, **arguments), PUBLISHED[layer_class], steps))


@pytest.mark.parametrize("chunk", [None, 3])
def test_gated_delta_net_is_also_that_of_another_author(chunk):
    layer = build(GatedDeltaNet, kernel_size=4, eigenvalues=(-1, 1))
    agree(*both(layer, partial(references.gated_delta_rule_of_opengdn, chunk=chunk), TIME))


# Recurrences of matrices


@pytest.fixture(
    params=[matrix_loop, partial(matrix_scan, chunk=4), partial(matrix_scan, chunk=16)], ids=["1", "4", "16"]
)
def recurrence(request):
    """Ours, S_t = diag(w_t) S_{t-1} + b_t (a_t^T S_{t-1}) + k_t v_t^T, o_t = S_t^T q_t, step by step and in chunks."""
    return lambda q, k, v, state, log_w=None, a=None, b=None: request.param(Steps(q, k, v, log_w, a, b), state)


@pytest.fixture
def parts():
    """q, k, v, state, beta in (0, 2) and logarithms of a decay."""
    q, k, v, state, beta, log_w = drawn(
        (TIME, BATCH, HEADS, K),
        (TIME, BATCH, HEADS, K),
        (TIME, BATCH, HEADS, V),
        (BATCH, HEADS, K, V),
        (TIME, BATCH, HEADS),
        (TIME, BATCH, HEADS),
    )
    k = torch.nn.functional.normalize(k.detach(), dim=-1).requires_grad_()
    beta = (2 * torch.sigmoid(beta.detach())).requires_grad_()
    log_w = torch.nn.functional.logsigmoid(log_w.detach()).requires_grad_()
    return q, k, v, state, beta, log_w


def vector_of(log_w):
    """A decay (time, batch, heads, K) of each row of the state from one of each head."""
    return log_w.unsqueeze(-1) * torch.linspace(0.1, 1.5, K, dtype=log_w.dtype)


def test_linear_attention(recurrence, parts):
    q, k, v, state, _, _ = parts
    agree(references.linear_attention(q, k, v, state), recurrence(q, k, v, state), [q, k, v, state])


def test_normalised_linear_attention(recurrence, parts):
    """Its z is the same recurrence with v = 1; keys and queries are positive."""
    q, k, v, state, _, _ = parts
    q, k = (torch.nn.functional.elu(part) + 1 for part in (q, k))
    total = torch.rand(BATCH, HEADS, K, dtype=torch.float64, requires_grad=True)
    sums, last = recurrence(q, k, v, state)
    norms, last_total = recurrence(q, k, torch.ones_like(v[..., :1]), total.unsqueeze(-1))
    expected = [sums / (norms + 1e-10), last, last_total.squeeze(-1)]
    agree(references.normalised_linear_attention(q, k, v, state, total), expected, [*parts[:4], total])


def test_retention(recurrence, parts):
    q, k, v, _, _, _ = parts
    log_w = torch.log(1 - 2.0 ** (-5 - torch.arange(HEADS, dtype=torch.float64)))[:, None].expand(TIME, BATCH, -1, K)
    zeros = torch.zeros(BATCH, HEADS, K, V, dtype=torch.float64)
    agree([references.retention(q, k, v)], [recurrence(q, k, v, zeros, log_w)[0]], [q, k, v])


@pytest.mark.parametrize("chunk", [None, 3])
def test_scalar_decay(recurrence, parts, chunk):
    q, k, v, state, _, log_w = parts
    expected = list(recurrence(q, k, v, state, log_w.unsqueeze(-1)))
    found = list(references.scalar_decay(q, k, v, state, log_w, chunk))
    agree(found, expected, [q, k, v, state, log_w])


def test_vector_decay(recurrence, parts):
    q, k, v, state, _, log_w = parts
    agree(
        references.vector_decay(q, k, v, state, vector_of(log_w)),
        recurrence(q, k, v, state, vector_of(log_w)),
        [q, k, v, state, log_w],
    )


def test_delta_rule(recurrence, parts):
    q, k, v, state, beta, _ = parts
    scaled = beta.unsqueeze(-1) * k
    expected = recurrence(q, scaled, v, state, a=k, b=-scaled)
    agree(references.delta_rule(q, k, v, state, beta), expected, [q, k, v, state, beta])


@pytest.mark.parametrize("chunk", [None, 3])
@pytest.mark.parametrize("reference", [references.gated_delta_rule, references.gated_delta_rule_of_opengdn])
def test_gated_delta_rule(recurrence, parts, reference, chunk):
    """With w S in place of S, a is w k."""
    q, k, v, state, beta, log_w = parts
    scaled, decay = beta.unsqueeze(-1) * k, log_w.unsqueeze(-1)
    expected = recurrence(q, scaled, v, state, decay, decay.exp() * k, -scaled)
    agree(reference(q, k, v, state, beta, log_w, chunk), expected, [q, k, v, state, beta, log_w])


def test_gated_delta_product(recurrence, parts):
    """As many steps of the delta rule as there are products, with the decay in the first and q after the last."""
    q, _, _, state, _, log_w = parts
    steps = 3
    k, v, beta = drawn(
        (TIME, steps, BATCH, HEADS, K), (TIME, steps, BATCH, HEADS, V), (TIME, steps, BATCH, HEADS), seed=1
    )
    k, beta = torch.nn.functional.normalize(k, dim=-1), 2 * torch.sigmoid(beta)
    scaled = beta.unsqueeze(-1) * k
    decay = torch.cat([log_w.unsqueeze(1), torch.zeros_like(beta[:, 1:])], dim=1).unsqueeze(-1)
    a = decay.exp() * k
    flat = [part.flatten(0, 1) for part in (scaled, v, decay, a, -scaled)]
    outputs, last = recurrence(q.repeat_interleave(steps, 0), *flat[:2], state, *flat[2:])
    expected = [outputs[steps - 1 :: steps], last]
    found = references.gated_delta_product(q, k, v, state, beta, log_w)
    agree(found, expected, [q, k, v, state, beta, log_w])


def test_kimi_delta_attention(recurrence, parts):
    q, k, v, state, beta, log_w = parts
    decay, scaled = vector_of(log_w), beta.unsqueeze(-1) * k
    expected = recurrence(q, scaled, v, state, decay, decay.exp() * k, -scaled)
    found = references.kimi_delta_attention(q, k, v, state, beta, decay)
    agree(found, expected, [q, k, v, state, beta, log_w])


def test_diagonal_plus_low_rank(recurrence, parts):
    """RWKV-7: a is minus the removal key, b that key times a rate; a reads the state before its decay."""
    q, k, v, state, _, log_w = parts
    (rate,) = drawn((TIME, BATCH, HEADS, K), seed=2)
    a, b = -k, torch.sigmoid(rate) * k
    expected = recurrence(q, k, v, state, vector_of(log_w), a, b)
    found = references.diagonal_plus_low_rank(q, k, v, state, vector_of(log_w), a, b)
    agree(found, expected, [q, k, v, state, log_w, rate])


def mlstm_by(recurrence, q, k, v, state, input_sums, forget_sums):
    """By `recurrence`, without a stabiliser: gates exp(i) and sigmoid(f), and both states multiplied by exp(m)."""
    matrix, total, stabiliser = state
    scale = stabiliser.exp()[..., None]
    k = input_sums.exp().unsqueeze(-1) * k / K**0.5
    log_w = torch.nn.functional.logsigmoid(forget_sums).unsqueeze(-1)
    sums, last = recurrence(q, k, v, scale.unsqueeze(-1) * matrix, log_w)
    norms, last_total = recurrence(q, k, torch.ones_like(v[..., :1]), (scale * total).unsqueeze(-1), log_w)
    steps = []
    for forget, given in zip(log_w.squeeze(-1), input_sums, strict=True):
        stabiliser = torch.maximum(forget + stabiliser, given)
        steps.append(stabiliser)
    most = torch.stack(steps).unsqueeze(-1)
    # max(|n q|, exp(-m)) + eps, of states that the stabiliser divides by exp(m)
    outputs = sums / (torch.maximum(norms.abs(), torch.ones_like(norms)) + 1e-6 * most.exp())
    shrink = (-stabiliser).exp()[..., None]
    return outputs, (shrink.unsqueeze(-1) * last, shrink * last_total.squeeze(-1), stabiliser)


def gates_of_mlstm():
    return drawn((TIME, BATCH, HEADS), (TIME, BATCH, HEADS), (BATCH, HEADS, K), (BATCH, HEADS), seed=3)


def test_mlstm(recurrence, parts):
    q, k, v, matrix, _, _ = parts
    input_sums, forget_sums, total, stabiliser = gates_of_mlstm()
    start = (matrix, total, stabiliser)
    outputs, last = references.mlstm(q, k, v, start, input_sums, forget_sums)
    expected, expected_last = mlstm_by(recurrence, q, k, v, start, input_sums, forget_sums)
    agree([outputs, *last], [expected, *expected_last], [q, k, v, *start, input_sums, forget_sums])


def test_mlstm_from_zeros_in_parallel(parts):
    q, k, v, matrix, _, _ = parts
    v = v[..., :K]  # the parallel form wants values as wide as keys
    input_sums, forget_sums, total, stabiliser = gates_of_mlstm()
    zeros = tuple(torch.zeros_like(part) for part in (matrix[..., :K], total, stabiliser))
    one_by_one, _ = references.mlstm(q, k, v, zeros, input_sums, forget_sums)
    # m starts at 0 in one and at minus infinity in the other, which moves the 1e-6 beside the denominator
    agree(
        [references.mlstm_in_parallel(q, k, v, input_sums, forget_sums)],
        [one_by_one],
        [q, k, input_sums, forget_sums],
        tolerance=1e-5,
    )


def test_the_states_of_mlstm_differ_between_two_published_packages(parts):
    """By sqrt(K): one scales keys on their way into the state, the other queries on their way out."""
    q, k, v, matrix, _, _ = parts
    input_sums, forget_sums, total, stabiliser = gates_of_mlstm()
    outputs, (last, last_total, last_stabiliser) = references.mlstm(
        q, k, v, (matrix, total, stabiliser), input_sums, forget_sums
    )
    scaled = (K**0.5 * matrix, K**0.5 * total, stabiliser)
    found, others = references.mlstm_of_kernels(q, k, v, scaled, input_sums, forget_sums)
    expected = [outputs, K**0.5 * last, K**0.5 * last_total, last_stabiliser]
    agree([found, *others], expected, [q, k, v, matrix, total, stabiliser, input_sums, forget_sums])
    same, _ = references.mlstm_of_kernels(q, k, v, (matrix, total, stabiliser), input_sums, forget_sums)
    assert not torch.allclose(same, outputs)


def test_the_step_of_xlstm_changes_its_inputs():
    backends = pytest.importorskip("xlstm.blocks.mlstm.backends", reason="needs the extra `references`")
    q, k, v = (torch.randn(BATCH, HEADS, 1, K) for _ in range(3))
    state = (torch.zeros(BATCH, HEADS, K, K), torch.zeros(BATCH, HEADS, K, 1), torch.zeros(BATCH, HEADS, 1, 1))
    gate = torch.zeros(BATCH, HEADS, 1, 1)
    backends.recurrent_step_stabilized_simple(*state, q, k, v, gate, gate)
    assert q.shape == (BATCH, HEADS, K)


# RWKV-7


def rwkv7_by_torch(layer, inputs, state):
    """The published time mixer by torch's own modules, around the recurrence of fla."""
    w, heads = layer.weights(), layer.heads
    _, matrix, last = state
    features = torch.nn.functional.linear(inputs, w.weight_ih, w.bias_ih)
    before = torch.cat([last, features])[: len(inputs)]
    shifted = {name: torch.lerp(features, before, getattr(w, f"mu_{name}")) for name in "rwkvag"}
    r, k, v = shifted["r"] @ w.weight_r.T, shifted["k"] @ w.weight_k.T, shifted["v"] @ w.weight_v.T
    speed = w.bias_w + torch.tanh(shifted["w"] @ w.weight_w1.T) @ w.weight_w2.T
    log_w = -torch.exp(-torch.nn.functional.softplus(-speed) - 0.5)  # as in the first code: exp(-exp(-softplus - 1/2))
    a = torch.sigmoid(w.bias_a + shifted["a"] @ w.weight_a1.T @ w.weight_a2.T)
    g = torch.sigmoid(shifted["g"] @ w.weight_g1.T) @ w.weight_g2.T
    removed = torch.nn.functional.normalize((k * w.k_k.flatten()).unflatten(-1, (heads, -1)), dim=-1).flatten(-2)
    k = k + k * (a - 1) * w.k_a.flatten()
    r, k, v, log_w, b, removed = (part.unflatten(-1, (heads, -1)) for part in (r, k, v, log_w, removed * a, removed))
    start = matrix[0].unflatten(-1, layer.state_shape)
    outputs, matrix = references.diagonal_plus_low_rank(r, k, v, start, log_w, -removed, b)
    gain, bias = w.gain.flatten(), w.bias_norm.flatten()
    flat = torch.nn.functional.group_norm(outputs.flatten(0, 1).flatten(1), heads, gain, bias, eps=64e-5)
    own = torch.einsum("tbhk,tbhk,hk,tbhv->tbhv", r, k, w.r_k, v).flatten(-2)
    output = ((flat.unflatten(0, own.shape[:2]) + own) * g) @ w.weight_ho.T + w.bias_ho
    return [output, output[-1:], matrix.flatten(1).unsqueeze(0), features[-1:]]


@pytest.mark.parametrize("time", [1, 7, 37])
@pytest.mark.parametrize("expand_v", [1.0, 1.5])
def test_rwkv7_is_the_published_time_mixer(expand_v, time, monkeypatch):
    """Up to the 1e-6 under the root of the length of a key, which the published code adds to nothing."""
    monkeypatch.setattr("seqmodels.layers.matrix.rwkv7.unit", partial(torch.nn.functional.normalize, dim=-1))
    torch.manual_seed(0)
    layer = RWKV7(5, 8, heads=2, expand_v=expand_v, dtype=torch.float64)
    with torch.no_grad():
        for parameter in layer.parameters():  # away from gains of one and the like
            parameter.add_(0.3 * torch.randn_like(parameter))
    (inputs,) = drawn((time, BATCH, 5))
    start = start_of(layer)
    output, final = layer(inputs, start)
    agree([output, *final], rwkv7_by_torch(layer, inputs, start), [inputs, *start[1:], *layer.parameters()])


def test_the_length_of_a_key_of_rwkv7_differs_by_a_millionth():
    torch.manual_seed(0)
    layer = RWKV7(5, 8, heads=2, dtype=torch.float64)
    with torch.no_grad():
        layer.weight_k_l0.mul_(100)  # keys of length 1 or so
    (inputs,) = drawn((7, BATCH, 5))
    start = start_of(layer)
    difference = (layer(inputs, start)[0] - rwkv7_by_torch(layer, inputs, start)[0]).abs().max()
    assert 0 < difference < 1e-6
