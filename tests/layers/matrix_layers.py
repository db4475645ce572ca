"""The layers with a matrix state, written a second time around a recurrence that is an argument.

A recurrence accepts and returns what its namesakes in references.py do. With those of a published package a layer is
compared with others' code, in test_references.py; with plain loops it is compared with its equations, in
test_matrix_layers.py.
"""

import math
from functools import partial

import torch

from seqmodels.layers import (
    GLA,
    MLSTM,
    DeltaNet,
    DeltaProduct,
    GatedDeltaNet,
    LinearAttention,
    Mamba2,
    RecurrentLayer,
    RetNet,
)

INPUTS, BATCH, HEADS = 3, 2, 2


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


def silu(x):
    return x / (1 + torch.exp(-x))


def softplus(x):
    return torch.log(1 + torch.exp(x))


def unit(x):
    return x / ((x * x).sum(-1, keepdim=True) + 1e-6) ** 0.5


def rms(x, gain):
    return gain * x / ((x * x).mean(-1, keepdim=True) + 1e-5) ** 0.5


def linear(x, weight, bias):
    return x @ weight.T if bias is None else x @ weight.T + bias


def sizes(layer):
    """Heads, and the features of a key and of a value of one head."""
    heads, size = layer.heads, layer.hidden_size
    return heads, round(layer.expand_k * size / heads), round(layer.expand_v * size / heads)


def pieces(layer, x, state, *shapes):
    """W x + b in pieces of these shapes; the first three are convolved, if there is a convolution. And its past."""
    w = layer.weights()
    widths = [math.prod(shape) for shape in shapes]
    rows = linear(x, w.weight_ih, w.bias_ih)
    past = {}
    if "past" in state:
        channels, taps = w.weight_conv.shape
        earlier = state["past"].reshape(-1, taps - 1, channels).transpose(0, 1)
        seen = torch.cat([earlier, rows[..., :channels]])
        mixed = [sum(w.weight_conv[:, j] * seen[t + j] for j in range(taps)) for t in range(len(x))]
        mixed = torch.stack(mixed) + (0 if w.bias_conv is None else w.bias_conv)
        rows = torch.cat([mixed, rows[..., channels:]], dim=-1)
        past = {"past": seen[len(x) :].transpose(0, 1)}
    cut = [piece.reshape(*x.shape[:2], *shape) for piece, shape in zip(rows.split(widths, -1), shapes, strict=True)]
    return cut, past


def project(layer, outputs):
    w = layer.weights()
    return linear(outputs.reshape(*outputs.shape[:2], -1), w.weight_ho, w.bias_ho)


def matrix(state, heads, rows, columns):
    return state["S"].reshape(-1, heads, rows, columns)


# The layers: from inputs (time, batch, features) and states by name to outputs and last states by name


def linear_attention(layer, x, state, recurrence):
    H, K, V = sizes(layer)
    (q, k, v), past = pieces(layer, x, state, (H, K), (H, K), (H, V))
    q, k = (torch.where(part > 0, part + 1, torch.exp(part)) for part in (q, k))
    S = matrix(state, H, K, V + 1)
    outputs, S, z = recurrence(q, k, v, S[..., :V], S[..., V])
    return project(layer, outputs), {"S": torch.cat([S, z.unsqueeze(-1)], dim=-1), **past}


def retnet(layer, x, state, recurrence):
    """With complex numbers in place of pairs of features."""
    H, K, V = sizes(layer)
    (q, k, v, g), past = pieces(layer, x, state, (H, K), (H, K), (H, V), (H, V))
    steps = state["position"] + torch.arange(len(x)).reshape(-1, 1, 1)
    angles = steps * 10000.0 ** (-torch.arange(0, K, 2).double() / K)
    turn = torch.polar(torch.ones_like(angles), angles).unsqueeze(2)
    q, k = (torch.complex(part[..., : K // 2], part[..., K // 2 :]) * turn for part in (q, k))
    q, k = (torch.cat([part.real, part.imag], dim=-1) for part in (q, k))
    log_w = torch.tensor([math.log(1 - 2 ** (-5 - h)) for h in range(H)], dtype=x.dtype).expand(len(x), BATCH, H)
    outputs, S = recurrence(q / K**0.5, k, v, matrix(state, H, K, V), log_w)
    outputs = project(layer, rms(outputs, layer.weights().gain) * silu(g))
    return outputs, {"S": S, "position": state["position"] + len(x), **past}


def gla(layer, x, state, recurrence):
    H, K, V = sizes(layer)
    w = layer.weights()
    (q, k, v, g, low), past = pieces(layer, x, state, (H, K), (H, K), (H, V), (H, V), (16,))
    log_w = torch.log(sigmoid(low @ w.weight_w.T + w.bias_w) ** (1 / 16)).reshape(k.shape)
    outputs, S = recurrence(q / K**0.5, k, v, matrix(state, H, K, V), log_w)
    return project(layer, rms(outputs, w.gain) * silu(g)), {"S": S, **past}


def most(layer):
    """The largest beta."""
    return 2 if tuple(layer.eigenvalues) == (-1, 1) else 1


def log_decay(layer, sums):
    w = layer.weights()
    return -torch.exp(w.log_rate) * softplus(sums + w.bias_dt)


def delta_net(layer, x, state, recurrence):
    H, K, V = sizes(layer)
    (q, k, v, beta), past = pieces(layer, x, state, (H, K), (H, K), (H, V), (H,))
    q, k, v, beta = unit(silu(q)) / K**0.5, unit(silu(k)), silu(v), most(layer) * sigmoid(beta)
    outputs, S = recurrence(q, k, v, matrix(state, H, K, V), beta)
    return project(layer, rms(outputs, layer.weights().gain)), {"S": S, **past}


def gated_delta_net(layer, x, state, recurrence):
    H, K, V = sizes(layer)
    shapes = (H, K), (H, K), (H, V), (H,), (H,), (H, V)
    (q, k, v, beta, decay, g), past = pieces(layer, x, state, *shapes)
    q, k, v, beta = unit(silu(q)) / K**0.5, unit(silu(k)), silu(v), most(layer) * sigmoid(beta)
    outputs, S = recurrence(q, k, v, matrix(state, H, K, V), beta, log_decay(layer, decay))
    return project(layer, rms(outputs, layer.weights().gain) * silu(g)), {"S": S, **past}


def delta_product(layer, x, state, recurrence):
    H, K, V = sizes(layer)
    n = layer.steps_per_input
    shapes = (H, K), (n, H, K), (n, H, V), (n, H), *([(H,)] if layer.forget_gate else [])
    (q, k, v, beta, *decay), past = pieces(layer, x, state, *shapes)
    log_w = log_decay(layer, decay[0]) if decay else torch.zeros_like(q[..., 0])
    k, v, beta = (part.transpose(1, 2) for part in (unit(silu(k)), silu(v), most(layer) * sigmoid(beta)))
    outputs, S = recurrence(unit(silu(q)) / K**0.5, k, v, matrix(state, H, K, V), beta, log_w)
    return project(layer, rms(outputs, layer.weights().gain)), {"S": S, **past}


def mamba2(layer, x, state, recurrence):
    H, _, V = sizes(layer)
    N, w = layer.state_size, layer.weights()
    (v, k, q, z, dt), past = pieces(layer, x, state, (H, V), (N,), (N,), (H, V), (H,))
    v, k, q = silu(v), silu(k).unsqueeze(2).expand(-1, -1, H, -1), silu(q).unsqueeze(2).expand(-1, -1, H, -1)
    delta = softplus(dt + w.bias_dt).unsqueeze(-1)
    outputs, S = recurrence(q, k, delta * v, matrix(state, H, N, V), log_decay(layer, dt))
    gated = (outputs + w.skip.reshape(H, 1) * v) * silu(z)
    return project(layer, rms(gated.flatten(2), w.gain)), {"S": S, **past}


def mlstm(layer, x, state, recurrence):
    H, K, V = sizes(layer)
    w = layer.weights()
    (q, k, v, i, f, o), past = pieces(layer, x, state, (H, K), (H, K), (H, V), (H,), (H,), (H, V))
    S = matrix(state, H, K, V + 1)
    start = S[..., :V], S[..., V], state["m"]
    outputs, (C, n, m) = recurrence(q, k, v, start, i + w.bias_i, f + w.bias_f)
    S = torch.cat([C, n.unsqueeze(-1)], dim=-1)
    return (sigmoid(o) * outputs).flatten(2), {"S": S, "m": m, **past}


WRITINGS = {
    LinearAttention: linear_attention,
    RetNet: retnet,
    GLA: gla,
    DeltaNet: delta_net,
    GatedDeltaNet: gated_delta_net,
    DeltaProduct: delta_product,
    Mamba2: mamba2,
    MLSTM: mlstm,
}

OWN = {
    DeltaNet: [{}, {"eigenvalues": (-1, 1)}],
    GatedDeltaNet: [{}, {"eigenvalues": (-1, 1)}],
    DeltaProduct: [
        {"householders": 1},
        {"householders": 3, "eigenvalues": (-1, 1)},
        {"householders": 1, "forget_gate": True, "eigenvalues": (-1, 1)},
        {"householders": 3, "forget_gate": True},
    ],
    Mamba2: [{"state_size": 5}],
}
"""Arguments that a layer alone has."""

SHARED = [
    {},
    {"kernel_size": 3, "expand_k": 1.5, "expand_v": 2.0, "chunk": 4},
    {"kernel_size": 5, "bias": False, "learned_state": True},
]
"""Arguments of all layers. With a learned state a sequence begins there, otherwise at a state from use."""


def named(value):
    """The name of a layer or of arguments in that of a test."""
    return value.__name__ if isinstance(value, type) else str(value)


CASES = [(layer, own | shared) for layer in WRITINGS for own in OWN.get(layer, [{}]) for shared in SHARED]


def build(layer_class, **arguments):
    torch.manual_seed(0)
    layer = layer_class(INPUTS, 8, **({"heads": HEADS, "dtype": torch.float64} | arguments))
    with torch.no_grad():
        for parameter in layer.parameters():  # away from gains of one and the like
            parameter.add_(0.3 * torch.randn_like(parameter))
    return layer


def both(layer, recurrence, steps):
    """Outputs and last states of the layer, those of its second writing, and all that they are functions of."""
    torch.manual_seed(1)
    used, inputs = torch.randn(9, BATCH, INPUTS).double(), torch.randn(steps, BATCH, INPUTS).double().requires_grad_()
    if layer.learned_state:
        given = None
        state = [torch.zeros(BATCH, size).double() for size in layer.state_sizes]
        state[1] = layer.weights().start.expand(BATCH, -1)
    else:
        given = tuple(part.detach().requires_grad_() for part in layer(used)[1])
        state = [part[0] for part in given]
    output, last = layer(inputs, given)
    known, known_last = WRITINGS[type(layer)](layer, inputs, dict(zip(layer.states, state, strict=True)), recurrence)
    parts = [known_last[name].reshape(BATCH, -1) for name in layer.states[1:]]
    found, expected = [output, *(part[0] for part in last)], [known, known[-1], *parts]
    return found, expected, [inputs, *(given or ()), *layer.parameters()]


def by_steps(layer):
    """The same layer, which computes one step after the other rather than in chunks."""
    layer.scan = partial(RecurrentLayer.scan, layer)
    return layer
