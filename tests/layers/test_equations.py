"""The cells beyond torch.nn against the equations of their papers, written once more: one unit at a time."""

import math

import pytest
import torch

from seqmodels.layers import LRU, MGU, SLSTM, IndRNN, LayerNormLSTM, MinGRU, MinLSTM, PeepholeLSTM

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


CELLS = {
    MGU: (mgu, 1),
    IndRNN: (indrnn, 1),
    LayerNormLSTM: (layernorm_lstm, 2),
    PeepholeLSTM: (peephole_lstm, 2),
    SLSTM: (slstm, 3),
    MinGRU: (min_gru, 1),
    MinLSTM: (min_lstm, 1),
    LRU: (lru, 3),
}


@pytest.mark.parametrize("layer_class", CELLS, ids=lambda layer: layer.__name__)
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

        zeros = tuple(torch.zeros(SIZE, dtype=torch.float64) for _ in range(states))
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


@pytest.mark.parametrize("layer_class", CELLS, ids=lambda layer: layer.__name__)
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
