"""The cells beyond torch.nn against the equations of their papers, written once more: one unit at a time."""

import math
from functools import partial

import properties
import pytest
import torch

from seqmodels.layers import (
    LRU,
    MGU,
    RWKV7,
    S4D,
    SLSTM,
    IndRNN,
    LayerNormLSTM,
    Mamba,
    MinGRU,
    MinLSTM,
    PeepholeLSTM,
    RecurrentLayer,
    RetNet,
)

SIZE, INPUTS, TIME = 3, 2, 6


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


def dot(row, vector):
    return sum(row[k] * vector[k] for k in range(len(vector)))


def gate(w, number, x, h):
    """W x + b + U h + b of one gate: `number` counts the blocks of SIZE rows."""
    rows = range(number * SIZE, (number + 1) * SIZE)
    return torch.stack([dot(w.weight_ih[j], x) + w.bias_ih[j] + dot(w.weight_hh[j], h) + w.bias_hh[j] for j in rows])


def mgu(w, x, state):
    (h,) = state
    forget = sigmoid(gate(w, 0, x, h))
    candidate = torch.tanh(gate(w, 1, x, forget * h))
    return ((1 - forget) * h + forget * candidate,)


def indrnn(w, x, state):
    (h,) = state
    sums = [dot(w.weight_ih[j], x) + w.weight_hh[j] * h[j] + w.bias_ih[j] for j in range(SIZE)]
    return (torch.stack([s if s > 0 else 0 * s for s in sums]),)


def normalised(values, gain, bias):
    mean = sum(values) / len(values)
    deviation = (sum((v - mean) ** 2 for v in values) / len(values) + 1e-5) ** 0.5
    return torch.stack([gain[j] * (v - mean) / deviation + bias[j] for j, v in enumerate(values)])


def layernorm_lstm(w, x, state):
    h, c = state
    from_input = normalised([dot(row, x) for row in w.weight_ih], w.gain_ih, w.bias_ih)
    from_state = normalised([dot(row, h) for row in w.weight_hh], w.gain_hh, w.bias_hh)
    i, f, g, o = (from_input + from_state).reshape(4, SIZE)
    c = sigmoid(f) * c + sigmoid(i) * torch.tanh(g)
    return sigmoid(o) * torch.tanh(normalised(list(c), w.gain_c, w.bias_c)), c


def peephole_lstm(w, x, state):
    h, c = state
    p_i, p_f, p_o = w.weight_ch.reshape(3, SIZE)
    i = sigmoid(gate(w, 0, x, h) + p_i * c)
    f = sigmoid(gate(w, 1, x, h) + p_f * c)
    new = f * c + i * torch.tanh(gate(w, 2, x, h))
    o = sigmoid(gate(w, 3, x, h) + p_o * new)
    return o * torch.tanh(new), new


def slstm(w, x, state):
    """Without the stabiliser, which cancels: with c and n as in the paper before it is introduced."""
    h, c, n = state
    i, f = torch.exp(gate(w, 0, x, h)), sigmoid(gate(w, 1, x, h))
    z, o = torch.tanh(gate(w, 2, x, h)), sigmoid(gate(w, 3, x, h))
    c, n = f * c + i * z, f * n + i
    return o * c / n, c, n


def min_gru(w, x, state):
    (h,) = state
    z, candidate = (torch.stack([dot(row, x) for row in w.weight_ih]) + w.bias_ih).reshape(2, SIZE)
    return ((1 - sigmoid(z)) * h + sigmoid(z) * candidate,)


def min_lstm(w, x, state):
    (h,) = state
    f, i, candidate = (torch.stack([dot(row, x) for row in w.weight_ih]) + w.bias_ih).reshape(3, SIZE)
    f, i = sigmoid(f), sigmoid(i)
    return (f / (f + i) * h + i / (f + i) * candidate,)


def lru(w, x, state):
    """With pairs of real numbers in place of complex ones."""
    _, re, im = state
    drive_re, drive_im, skip = (torch.stack([dot(row, x) for row in w.weight_ih]) + w.bias_ih).reshape(3, SIZE)
    modulus, phase = torch.exp(-torch.exp(w.log_nu)), torch.exp(w.log_theta)
    a, b, gamma = modulus * torch.cos(phase), modulus * torch.sin(phase), torch.exp(w.log_gamma)
    re, im = a * re - b * im + gamma * drive_re, a * im + b * re + gamma * drive_im
    both = torch.cat([re, im])
    return torch.stack([dot(row, both) for row in w.weight_hh]) + skip, re, im


def silu(x):
    return x * sigmoid(x)


def gelu(x):
    return 0.5 * x * (1 + torch.erf(x / 2**0.5))


def mamba(w, u, state, negative=False):
    """One channel, and one number of its state, after the other."""
    _, h, past = state
    channels, size = w.log_rate.shape
    sums = [dot(row, u) + b for row, b in zip(w.weight_ih, w.bias_ih, strict=True)]
    window = [*past.reshape(3, channels), torch.stack(sums[:channels])]
    past = torch.cat(window[1:])
    x = [silu(dot(w.weight_conv[c], [row[c] for row in window]) + w.bias_conv[c]) for c in range(channels)]
    low, b, c = torch.stack([dot(row, x) for row in w.weight_x]).split([w.weight_dt.size(1), size, size])
    after, y = [], []
    for k in range(channels):
        delta = torch.log1p(torch.exp(dot(w.weight_dt[k], low) + w.bias_dt[k]))
        factors = [torch.exp(-delta * torch.exp(w.log_rate[k, n])) for n in range(size)]
        factors = [2 * factor - 1 for factor in factors] if negative else factors
        own = [factors[n] * h[k * size + n] + delta * b[n] * x[k] for n in range(size)]
        y.append((dot(own, c) + w.skip[k] * x[k]) * silu(sums[channels + k]))
        after += own
    output = torch.stack([dot(row, y) + b for row, b in zip(w.weight_ho, w.bias_ho, strict=True)])
    return output, torch.stack(after), past


def mamba_with_negative_eigenvalues(w, u, state):
    return mamba(w, u, state, negative=True)


def s4d(w, x, state):
    """With pairs of real numbers in place of complex ones."""
    _, re, im = state
    u = [dot(row, x) + b for row, b in zip(w.weight_ih, w.bias_ih, strict=True)]
    dt = torch.exp(w.log_dt).unsqueeze(1)
    a, b = -torch.exp(w.log_rate), w.frequency
    modulus = torch.exp(dt * a)
    f_re, f_im = modulus * torch.cos(dt * b), modulus * torch.sin(dt * b)
    drive_re, drive_im = [part / (a**2 + b**2) for part in ((f_re - 1) * a + f_im * b, f_im * a - (f_re - 1) * b)]
    re, im = re.reshape(a.shape), im.reshape(a.shape)
    column = torch.stack(u).unsqueeze(1)
    re, im = f_re * re - f_im * im + drive_re * column, f_re * im + f_im * re + drive_im * column
    sums = 2 * (w.c_real * re - w.c_imag * im).sum(1)
    mixed = [gelu(sums[k] + w.skip[k] * u[k]) for k in range(SIZE)]
    out = [dot(row, mixed) + b for row, b in zip(w.weight_ho, w.bias_ho, strict=True)]
    return torch.stack([out[k] * sigmoid(out[SIZE + k]) for k in range(SIZE)]), re.flatten(), im.flatten()


CELLS = {
    MGU: (mgu, 1),
    IndRNN: (indrnn, 1),
    LayerNormLSTM: (layernorm_lstm, 2),
    PeepholeLSTM: (peephole_lstm, 2),
    SLSTM: (slstm, 3),
    MinGRU: (min_gru, 1),
    MinLSTM: (min_lstm, 1),
    LRU: (lru, 3),
    Mamba: (mamba, 3),
    partial(Mamba, eigenvalues=(-1, 1)): (mamba_with_negative_eigenvalues, 3),
    S4D: (s4d, 3),
}


def name_of(layer_class):
    return CELLS[layer_class][0].__name__


@pytest.mark.parametrize("layer_class", CELLS, ids=name_of)
def test_a_cell_is_its_equations_in_outputs_states_and_gradients(layer_class):
    torch.manual_seed(0)
    layer = layer_class(INPUTS, SIZE, dtype=torch.float64)
    with torch.no_grad():
        for parameter in layer.parameters():  # away from gains of one and the like
            parameter.add_(0.3 * torch.randn_like(parameter))
    equations, states = CELLS[layer_class]
    inputs = torch.randn(TIME, INPUTS, dtype=torch.float64, requires_grad=True)
    start = layer(torch.randn(4, INPUTS, dtype=torch.float64))[1]
    for given in (None, start):
        parts = (given,) if isinstance(given, torch.Tensor) else given
        parts = None if parts is None else tuple(part.detach().requires_grad_() for part in parts)
        output, final = layer(inputs, parts if parts is None or len(parts) > 1 else parts[0])
        final = final if isinstance(final, tuple) else (final,)

        zeros = tuple(torch.zeros(size, dtype=torch.float64) for size in layer.state_sizes[:states])
        state = zeros if parts is None else tuple(part[0] for part in parts[:states])
        if layer_class is SLSTM and parts is not None:  # take the stabiliser out: c and n are kept divided by exp(m)
            state = (state[0], state[1] * torch.exp(parts[3][0]), state[2] * torch.exp(parts[3][0]))
        expected = []
        for x in inputs:
            state = equations(layer.weights(), x, state)
            expected.append(state[0])
        if layer_class is SLSTM:
            scale = torch.exp(-final[3][0])
            state = (state[0], state[1] * scale, state[2] * scale)
        found_all, expected_all = [output, *(part[0] for part in final[:states])], [torch.stack(expected), *state]
        leaves = [inputs, *(parts or ()), *layer.parameters()]
        gradients = []
        for found in (found_all, expected_all):
            weights = [
                torch.randn(t.shape, dtype=t.dtype, generator=torch.Generator().manual_seed(k))
                for k, t in enumerate(found)
            ]
            # the gradients of an SLSTM's states depend on the stabiliser; of these only the values are compared
            count = 1 if layer_class is SLSTM else len(found)
            loss = sum((tensor * weight).sum() for tensor, weight in zip(found[:count], weights, strict=False))
            gradients.append(torch.autograd.grad(loss, leaves, allow_unused=True, retain_graph=True))
        for mine, other in zip([*found_all, *gradients[0]], [*expected_all, *gradients[1]], strict=True):
            if mine is None or other is None:
                assert all(t is None or not t.any() for t in (mine, other))
            else:
                torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-11)


def test_the_lru_starts_where_its_paper_says():
    torch.manual_seed(0)
    layer = LRU(2, 1000, dtype=torch.float64)
    modulus = torch.exp(-torch.exp(layer.log_nu_l0))
    assert 0.9 <= modulus.min() < 0.905
    assert 0.995 < modulus.max() <= 0.999
    torch.testing.assert_close(layer.log_gamma_l0.exp(), (1 - modulus**2).sqrt())
    assert layer.log_theta_l0.exp().min() > 0
    assert layer.log_theta_l0.exp().max() <= math.pi / 10
    assert abs((modulus**2).mean() - (0.9**2 + 0.999**2) / 2) < 0.005  # uniform in area


@pytest.mark.parametrize("layer_class", CELLS, ids=name_of)
@pytest.mark.parametrize("scale", [1e3, -1e3, 0.0])
def test_extreme_inputs_stay_finite(layer_class, scale):
    torch.manual_seed(0)
    layer = layer_class(3, 8)
    output, _ = layer(torch.full((50, 2, 3), scale).requires_grad_())
    output.sum().backward()
    assert output.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters() if parameter.grad is not None)


def test_shut_gates_stay_finite():
    for layer, rows in ((SLSTM(1, 2), slice(0, 2)), (MinLSTM(1, 2), slice(0, 4))):
        with torch.no_grad():
            layer.weight_ih_l0.zero_()
            layer.bias_ih_l0.zero_()[rows] = -200.0
        output, _ = layer(torch.randn(30, 1, 1))
        output.sum().backward()
        assert output.isfinite().all()
        assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


def test_mamba_starts_as_published():
    torch.manual_seed(0)
    layer = Mamba(5, 1000, dtype=torch.float64, state_size=3)
    torch.testing.assert_close(layer.log_rate_l0.exp(), torch.tensor([1.0, 2.0, 3.0]).double().expand(2000, 3))
    assert (layer.skip_l0 == 1).all()
    delta = torch.nn.functional.softplus(layer.bias_dt_l0)
    assert 1e-3 <= delta.min() < 1.01e-3
    assert 0.099 < delta.max() <= 0.1
    assert abs(delta.log().mean() - math.log(1e-2)) < 0.1  # log-uniform
    for name, inputs in [("ih", 5), ("conv", 4), ("x", 2000), ("dt", 63), ("ho", 2000)]:
        weight = getattr(layer, f"weight_{name}_l0")
        assert weight.size(1) == inputs
        assert 0.99 * inputs**-0.5 < weight.abs().max() <= inputs**-0.5


def test_s4d_starts_as_published():
    torch.manual_seed(0)
    layer = S4D(5, 1000, dtype=torch.float64, state_size=6)
    rates = torch.complex(-layer.log_rate_l0.exp(), layer.frequency_l0)
    expected = torch.tensor([-0.5, -0.5 + 1j * math.pi, -0.5 + 2j * math.pi], dtype=torch.complex128)
    torch.testing.assert_close(rates, expected.expand(1000, 3))
    assert 1e-3 <= layer.log_dt_l0.exp().min() < 1.01e-3
    assert 0.099 < layer.log_dt_l0.exp().max() <= 0.1
    assert abs(layer.c_real_l0.var() + layer.c_imag_l0.var() - 1) < 0.05


@pytest.mark.parametrize("arguments", [{}, {"kernel_size": None}, {"bias": False}, {"eigenvalues": [-1, 1]}], ids=str)
def test_arguments_of_mamba_keep_the_promises(arguments):
    """The contract is tested with the arguments of conf/model alone."""
    torch.manual_seed(0)
    layer = Mamba(3, 4, num_layers=2, dtype=torch.float64, state_size=3, expand=3, **arguments)
    for check in (properties.check_streaming, properties.check_padding, properties.check_causality):
        check(layer)
    _, state = layer(torch.randn(5, 2, 3).double())
    assert len(state) == (2 if "kernel_size" in arguments else 3)
    assert state[1].shape == (2, 2, 4 * 3 * 3)


@pytest.mark.parametrize(
    ("layer_class", "arguments", "message"),
    [
        (Mamba, {"eigenvalues": (0, 2)}, r"eigenvalues should be \[0, 1\] or \[-1, 1\], got \[0, 2\]"),
        (Mamba, {"eigenvalues": 1}, r"eigenvalues should be \[0, 1\] or \[-1, 1\], got 1"),
        (Mamba, {"kernel_size": 1}, "kernel_size should be a whole number of at least 2, got 1"),
        (Mamba, {"state_size": 0}, "state_size should be a positive whole number, got 0"),
        (Mamba, {"expand": 1.5}, "expand should be a positive whole number, got 1.5"),
        (S4D, {"state_size": 7}, "state_size should be even.*got 7"),
    ],
)
def test_arguments_that_do_not_exist(layer_class, arguments, message):
    with pytest.raises((ValueError, TypeError), match=message):
        layer_class(3, 4, **arguments)


@pytest.mark.parametrize("layer_class", [LRU, S4D, RetNet])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_layers_that_half_precision_cannot_represent_refuse_it(layer_class, dtype):
    layer = layer_class(3, 8).to(dtype)
    with pytest.raises(ValueError, match=rf"{layer_class.__name__} .*torch.float32 or torch.float64, got {dtype}"):
        layer(torch.zeros(5, 2, 3, dtype=dtype))


@pytest.mark.parametrize("model", ["lru", "s4d", "retnet"])
def test_half_precision_is_refused_on_the_command_line_before_the_run_writes(type_command, tmp_path, model):
    code, _, complaint = type_command(f"model={model}", "task=sine", "trainer=smoke", "trainer.precision=bf16-true")
    assert code == 1
    assert complaint.count("\n") == 1
    assert "trainer.precision=bf16-true" in complaint
    assert "torch.float32 or torch.float64, got torch.bfloat16" in complaint
    assert not list(tmp_path.rglob("*.yaml"))


@pytest.mark.parametrize("bias", [-1e4, 30.0, 1e4])
@pytest.mark.parametrize("eigenvalues", [(0, 1), (-1, 1)])
def test_extreme_step_sizes_of_mamba(bias, eigenvalues):
    """Delta is 0, or so large that the state is forgotten, or with [-1, 1] turned over, at each step."""
    torch.manual_seed(0)
    layer = Mamba(3, 8, eigenvalues=eigenvalues)
    with torch.no_grad():
        layer.bias_dt_l0.fill_(bias)
    start = tuple(torch.randn(1, 2, size) for size in layer.state_sizes)
    output, (_, hidden, _) = layer(torch.randn(20, 2, 3), start)
    (output.sum() + hidden.sum()).backward()
    assert output.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())
    if bias < 0:
        torch.testing.assert_close(hidden, start[1])


@pytest.mark.parametrize("log_dt", [-50.0, 10.0, 60.0])
def test_extreme_step_sizes_of_s4d(log_dt):
    torch.manual_seed(0)
    layer = S4D(3, 8)
    with torch.no_grad():
        layer.log_dt_l0.fill_(log_dt)
    output, state = layer(torch.randn(100, 2, 3))
    (output.sum() + sum(part.sum() for part in state)).backward()
    assert output.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


@pytest.mark.parametrize("length", [1, 63, 64, 65, 200])
def test_s4d_in_chunks_is_its_step(length):
    torch.manual_seed(0)
    layer = S4D(3, 4, dtype=torch.float64, state_size=6)
    start = tuple(torch.randn(1, 2, size, dtype=torch.float64) for size in layer.state_sizes)
    inputs = torch.randn(length, 2, 3, dtype=torch.float64)
    projected, first = layer.project(inputs, layer.weights()), tuple(part[0] for part in start)
    expected, last = RecurrentLayer.scan(layer, projected, first, layer.weights())
    output, state = layer(inputs, start)
    for found, known in zip((output, *state), (expected, *(part[None] for part in last)), strict=True):
        torch.testing.assert_close(found, known, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("layer_class", [Mamba, partial(Mamba, eigenvalues=(-1, 1)), S4D], ids=str)
def test_ten_thousand_steps_in_single_precision(layer_class):
    torch.manual_seed(0)
    layer = layer_class(2, 4)
    inputs = torch.randn(10_000, 1, 2)
    with torch.no_grad():
        output, state = layer(inputs)
        expected, expected_state = layer.double()(inputs.double())
    for found, known in zip((output, *state), (expected, *expected_state), strict=True):
        assert (found - known).norm() / known.norm() < 1e-4


def rwkv7_step(w, x, state, heads):
    """RWKV-7, one head after the other and one number of its state after the other."""
    _, matrices, last = state
    p = [dot(row, x) + b for row, b in zip(w.weight_ih, w.bias_ih, strict=True)]

    def shifted(name):
        mu = getattr(w, f"mu_{name}")
        return [p[n] + mu[n] * (last[n] - p[n]) for n in range(len(p))]

    def product(name, vector):
        return [dot(row, vector) for row in getattr(w, f"weight_{name}")]

    r, k, v = (product(name, shifted(name)) for name in "rkv")
    low_w = [torch.tanh(number) for number in product("w1", shifted("w"))]
    decay = [torch.exp(-sigmoid(n + b) / math.e**0.5) for n, b in zip(product("w2", low_w), w.bias_w, strict=True)]
    rate = [sigmoid(n + b) for n, b in zip(product("a2", product("a1", shifted("a"))), w.bias_a, strict=True)]
    gate = product("g2", [sigmoid(number) for number in product("g1", shifted("g"))])
    rows, columns = len(k) // heads, len(v) // heads
    gated, after = [], []
    for head in range(heads):
        own, own_v = range(head * rows, (head + 1) * rows), range(head * columns, (head + 1) * columns)
        S = matrices.reshape(heads, rows, columns)[head]
        removed = [k[i] * w.k_k[head, i - own[0]] for i in own]
        length = (sum(number**2 for number in removed) + 1e-6) ** 0.5
        kappa = [number / length for number in removed]
        written = [k[i] * (1 + (rate[i] - 1) * w.k_a[head, i - own[0]]) for i in own]
        new = [
            [
                decay[own[i]] * S[i, j]
                - kappa[i] * rate[own[i]] * sum(kappa[n] * S[n, j] for n in range(rows))
                + written[i] * v[own_v[j]]
                for j in range(columns)
            ]
            for i in range(rows)
        ]
        o = [sum(new[i][j] * r[own[i]] for i in range(rows)) for j in range(columns)]
        mean = sum(o) / columns
        deviation = (sum((number - mean) ** 2 for number in o) / columns + 64e-5) ** 0.5
        bonus = sum(r[own[i]] * written[i] * w.r_k[head, i] for i in range(rows))
        for j in range(columns):
            normal = w.gain[head, j] * (o[j] - mean) / deviation + w.bias_norm[head, j]
            gated.append((normal + bonus * v[own_v[j]]) * gate[own_v[j]])
        after += [number for row in new for number in row]
    output = [dot(row, gated) + b for row, b in zip(w.weight_ho, w.bias_ho, strict=True)]
    return torch.stack(output), torch.stack(after), torch.stack(p)


@pytest.mark.parametrize("given", [False, True])
def test_rwkv7_is_its_equations_in_outputs_states_and_gradients(given):
    torch.manual_seed(0)
    layer = RWKV7(INPUTS, 4, heads=2, expand_v=1.5, dtype=torch.float64)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    inputs = torch.randn(4, INPUTS, dtype=torch.float64, requires_grad=True)
    start = [torch.zeros(1, size, dtype=torch.float64) for size in layer.state_sizes]
    if given:
        start = [part.detach() for part in layer(torch.randn(3, INPUTS, dtype=torch.float64))[1]]
    start = tuple(part.requires_grad_() for part in start)
    output, final = layer(inputs, start if given else None)
    state, outputs = tuple(part[0] for part in start), []
    for x in inputs:
        state = rwkv7_step(layer.weights(), x, state, heads=2)
        outputs.append(state[0])
    found_all, expected_all = [output, *(part[0] for part in final)], [torch.stack(outputs), *state]
    leaves, gradients = [inputs, *layer.parameters(), *(start[1:] if given else ())], []
    for found in (found_all, expected_all):
        torch.manual_seed(1)
        loss = sum((part * torch.randn(part.shape, dtype=part.dtype)).sum() for part in found)
        gradients.append(torch.autograd.grad(loss, leaves))
    for mine, other in zip([*found_all, *gradients[0]], [*expected_all, *gradients[1]], strict=True):
        assert other.any()
        torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-11)


def test_rwkv7_starts_as_published():
    torch.manual_seed(0)
    layer = RWKV7(5, 64, heads=4, dtype=torch.float64)
    w, size, head = layer.weights(), 64, 16
    for name, power in [("r", 0.2), ("w", 0.9), ("k", 0.7), ("v", 0.7), ("a", 0.9), ("g", 0.2)]:
        expected = torch.tensor([1 - (n / size) ** power for n in range(size)]).double()
        torch.testing.assert_close(getattr(w, f"mu_{name}"), expected, rtol=1e-5, atol=1e-6)
    for n in range(size):
        linear, zigzag = n / (size - 1) - 0.5, (n % head - (head - 1) / 2) / ((head - 1) / 2)
        zigzag *= abs(zigzag)
        assert w.bias_w[n].item() == pytest.approx(-6 + 6 * n / (size - 1) + 0.5 + 2.5 * zigzag, abs=1e-5)
        assert w.bias_a[n].item() == pytest.approx(-0.19 + 0.3 * zigzag + 0.4 * linear, abs=1e-5)
        assert w.k_k[n // head, n % head].item() == pytest.approx(0.71 - 0.1 * linear, abs=1e-5)
    for name, value in [("k_a", 1.02), ("r_k", -0.04), ("gain", 1.0), ("bias_norm", 0.0)]:
        torch.testing.assert_close(getattr(w, name), torch.full((4, 16), value).double(), rtol=1e-6, atol=0)
    for name, bound in [("r", 1 / 8), ("k", 1 / 80), ("v", 1 / 8), ("ho", 1 / 8)]:
        assert 0.99 * bound < getattr(w, f"weight_{name}").abs().max() <= bound
    for hidden, ranks in [(64, (32, 32)), (512, (64, 128)), (1024, (64, 160))]:
        shapes = RWKV7(1, hidden, device="meta").shapes(1)
        assert (shapes["weight_w1"][0], shapes["weight_g1"][0]) == ranks
        assert shapes["weight_a1"] == shapes["weight_w1"]


@pytest.mark.parametrize("arguments", [{"kernel_size": 3}, {"expand_k": 0.5, "expand_v": 2.0}, {"learned_state": True}])
def test_arguments_of_rwkv7_keep_the_promises(arguments):
    torch.manual_seed(0)
    layer = RWKV7(3, 8, num_layers=2, heads=2, dtype=torch.float64, **arguments)
    with torch.no_grad():
        for parameter in layer.parameters():  # what is written is small at the start, and so are its effects
            parameter.add_(0.3 * torch.randn_like(parameter))
    for check in (properties.check_streaming, properties.check_padding, properties.check_causality):
        check(layer)


@pytest.mark.parametrize("scale", [1e3, -1e3, 0.0])
def test_extreme_inputs_of_rwkv7_stay_finite(scale):
    """At 0 without biases its keys are 0, too, which have no direction."""
    torch.manual_seed(0)
    layer = RWKV7(3, 8, heads=2, bias=False)
    output, state = layer(torch.full((50, 2, 3), scale).requires_grad_())
    (output.sum() + sum(part.sum() for part in state)).backward()
    assert output.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


def test_the_eigenvalues_of_a_transition_of_rwkv7():
    """Real, and between exp(-exp(-1/2)) - 1 and 1; the bound is reached where w is least and a is 1."""
    torch.manual_seed(0)
    layer = RWKV7(3, 8, heads=2, dtype=torch.float64)
    least, most = math.exp(-math.exp(-0.5)) - 1, 1.0
    found = []
    for scale in (0.1, 1.0, 10.0, 100.0):
        with torch.no_grad():
            layer.bias_w_l0.normal_(0, scale)
            layer.bias_a_l0.normal_(0, scale)
            p = torch.randn(64, 2, 8, dtype=torch.float64)
            update = layer.update(layer.weights(), (torch.zeros(2, 8, dtype=torch.float64),), p)
        transitions = torch.diag_embed(update.log_w.exp()) + update.b.unsqueeze(-1) * update.a.unsqueeze(-2)
        found.append(torch.linalg.eigvals(transitions))
    found = torch.stack(found)
    assert found.imag.abs().max() < 1e-7
    assert least - 1e-7 <= found.real.min() < least + 0.05
    assert found.real.max() <= most + 1e-7
