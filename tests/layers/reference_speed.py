"""The speed of layers beside published code that runs on a CPU, in one process, interleaved, on one thread.

    pip install -c constraints.txt -e ".[references]" && python tests/layers/reference_speed.py

Each side computes the same numbers in single precision, which is checked first: the outputs of a recurrence, or of a
whole Mamba, and from a fixed gradient of theirs those of all inputs. "Copies" is the time to copy each of these tensors
once, which no implementation can avoid.
"""

from functools import partial

import torch
from references import batch_first, executed, heads_first
from torch.nn import functional as F

from seqmodels.layers import Mamba
from seqmodels.layers.matrix.mlstm import running_maxima
from seqmodels.layers.matrix.scan import Steps, matrix_loop, matrix_scan
from seqmodels.report.tables import markdown_table
from seqmodels.speed.benchmark import interleaved

TIME, BATCH, HEADS, SIZE = 256, 64, 4, 32
ROUNDS = 5


def drawn(*last):
    return torch.randn(TIME, BATCH, HEADS, *last)


def inputs(*names):
    """q, k of length 1, v, and beta and the logarithm of a decay for each head."""
    every = {
        "q": drawn(SIZE) / SIZE**0.5,
        "k": F.normalize(drawn(SIZE), dim=-1),
        "v": drawn(SIZE),
        "beta": torch.rand(TIME, BATCH, HEADS),
        "log_w": F.logsigmoid(3 + drawn()),
        "i": drawn(),
        "f": 3 + drawn(),
    }
    return [every[name].requires_grad_() for name in names]


def ours(form, q, k, v, beta=None, log_w=None):
    """Linear attention, a decay for each head, the delta rule, or both, by `matrix_loop` or `matrix_scan`."""
    state = q.new_zeros(BATCH, HEADS, SIZE, SIZE)
    log_w = None if log_w is None else log_w.unsqueeze(-1)
    if beta is None:
        return form(Steps(q, k, v, log_w), state)[0]
    written = beta.unsqueeze(-1) * k
    return form(Steps(q, written, v, log_w, k if log_w is None else log_w.exp() * k, -written), state)[0]


def mlstm(form, q, k, v, i, f):
    log_f, start = F.logsigmoid(f), i.new_zeros(BATCH, HEADS)
    m = running_maxima(log_f, i, start)
    k = (torch.exp(i - m) / SIZE**0.5).unsqueeze(-1) * k
    log_w = log_f + torch.cat([start.unsqueeze(0), m[:-1]]) - m
    steps = Steps(q, k, torch.cat([v, torch.ones_like(i).unsqueeze(-1)], dim=-1), log_w.unsqueeze(-1))
    output, _ = form(steps, q.new_zeros(BATCH, HEADS, SIZE, SIZE + 1))
    weighted_sum, normaliser = output.split([SIZE, 1], dim=-1)
    return weighted_sum / (torch.maximum(normaliser.abs(), torch.exp(-m).unsqueeze(-1)) + 1e-6)


def opengdn(q, k, v, beta, log_w=None):
    from opengdn import gated_delta_chunkwise

    alpha = torch.ones_like(beta) if log_w is None else log_w.exp()
    output, _ = gated_delta_chunkwise(*batch_first(q, k, v, alpha, beta))
    return output.transpose(0, 1)


def fla_delta(q, k, v, beta, log_w):
    function = executed("fla-core", "fla/ops/gated_delta_rule/naive.py").naive_chunk_gated_delta_rule
    q, k, v, beta, log_w = batch_first(q, k, v, beta, log_w)
    return function(q, k, v, beta=beta, g=log_w, scale=1.0)[0].transpose(0, 1)


def fla_decay(q, k, v, log_w):
    function = executed("fla-core", "fla/ops/simple_gla/naive.py").naive_chunk_simple_gla
    return function(*batch_first(q, k, v, log_w), scale=1.0)[0].transpose(0, 1)


def xlstm(q, k, v, i, f):
    from xlstm.blocks.mlstm.backends import chunkwise_simple

    return chunkwise_simple(*heads_first(q, k, v, i, f)).movedim(2, 0)


def mambas(size=64):
    """Both sides of a Mamba, with equal weights."""
    module = executed("mambapy", "mambapy/mamba.py")
    block = module.MambaBlock(module.MambaConfig(d_model=size, n_layers=1, bias=True, pscan=True))
    layer = Mamba(size, size)
    w = block.state_dict()
    names = {
        "weight_ih": "in_proj.weight", "bias_ih": "in_proj.bias", "bias_conv": "conv1d.bias",
        "weight_x": "x_proj.weight", "weight_dt": "dt_proj.weight", "bias_dt": "dt_proj.bias",
        "log_rate": "A_log", "skip": "D", "weight_ho": "out_proj.weight", "bias_ho": "out_proj.bias",
    }  # fmt: skip
    weights = {f"{ours}_l0": w[theirs] for ours, theirs in names.items()}
    layer.load_state_dict(weights | {"weight_conv_l0": w["conv1d.weight"].squeeze(1)})
    x = torch.randn(TIME, BATCH, size).requires_grad_()
    return [lambda x: layer(x)[0], lambda x: block(x.transpose(0, 1)).transpose(0, 1)], [x]


def compare(name, sides, given):
    """A row of the table: milliseconds of forward and backward pass of each side."""
    gradient = torch.randn_like(sides[0](*given))
    results = []
    for side in sides:
        output = side(*given)
        results.append([output, *torch.autograd.grad(output, given, gradient)])
    for mine, other in zip(*results, strict=True):
        error = (mine - other).abs().max() / other.abs().max()
        assert error < 1e-3, f"{name}: the sides differ by {error:.1e}"

    def training(side):
        return lambda: torch.autograd.grad(side(*given), given, gradient)

    moved = [*given, *given, gradient, gradient]

    def copies():
        for part in moved:
            part.detach().clone()

    seconds = interleaved([*(training(side) for side in sides), copies], ROUNDS, "cpu")
    mine, other, least = (f"{1e3 * part:.0f}" for part in seconds)
    return [name, mine, other, f"{seconds[1] / seconds[0]:.1f}", least]


def main():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    delta, gated = ("q", "k", "v", "beta"), ("q", "k", "v", "beta", "log_w")
    chunks, loop = partial(ours, matrix_scan), partial(ours, matrix_loop)

    def decayed(q, k, v, log_w, form=chunks):
        return form(q, k, v, log_w=log_w)

    pairs = {
        "linear attention, its loop": ([chunks, loop], inputs("q", "k", "v")),
        "one decay, its loop": ([decayed, partial(decayed, form=loop)], inputs("q", "k", "v", "log_w")),
        "one decay, fla-core in chunks": ([decayed, fla_decay], inputs("q", "k", "v", "log_w")),
        "delta rule, its loop": ([chunks, loop], inputs(*delta)),
        "delta rule, opengdn in chunks": ([chunks, opengdn], inputs(*delta)),
        "gated delta rule, its loop": ([chunks, loop], inputs(*gated)),
        "gated delta rule, opengdn in chunks": ([chunks, opengdn], inputs(*gated)),
        "gated delta rule, fla-core in chunks": ([chunks, fla_delta], inputs(*gated)),
        "mLSTM, xlstm in chunks": ([partial(mlstm, matrix_scan), xlstm], inputs("q", "k", "v", "i", "f")),
        "Mamba of 64 units, mambapy": mambas(),
    }
    rows = []
    for name, (sides, given) in pairs.items():
        try:
            rows.append(compare(name, sides, given))
        except ImportError as missing:
            rows.append([name, f"needs {missing.name}", "", "", ""])
    header = ["recurrence, and what it is compared with", "ours, ms", "other, ms", "ratio", "copies, ms"]
    print(markdown_table(header, rows))


if __name__ == "__main__":
    main()
