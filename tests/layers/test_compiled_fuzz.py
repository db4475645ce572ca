"""Random cells: compiled code and autograd agree, whatever a step is made of."""

import copy
import random

import pytest
import torch
from test_bptt import draw, everything
from torch import nn
from torch.nn import functional as F

from seqmodels.layers import RecurrentLayer
from seqmodels.layers.compiled import function

pytest.importorskip("numba")

UNITS = 6
# not hardsigmoid: torch multiplies its gradients by one sixth in single precision
UNARY = (
    *("torch.tanh({})", "torch.sigmoid({})", "F.relu({})", "F.softplus({})", "F.gelu({})", "F.silu({})", "F.elu({})"),
    *("torch.sin({})", "torch.cos({})", "torch.exp(-{}.abs())", "{}.square()", "torch.sqrt(1 + {} ** 2)", "-{}"),
    *("torch.softmax({}, -1)", "F.layer_norm({}, (6,))", "{}.clamp(-0.5, 0.7)", "F.hardtanh({})", "0.5 * {} + 0.1"),
    *("{}.mean(-1, keepdim=True).expand(-1, 6)", "{} - {}.mean(-1, keepdim=True)", "{}.sum(-1, keepdim=True) * 0.2"),
    *("F.linear({}, weights.weight_hh, weights.bias_hh)", "F.linear(torch.tanh({}), weights.weight_hh)"),
    *(
        "torch.cat([{}[:, 2:], {}[:, :2]], -1)",
        "torch.cat(list({}.chunk(3, -1))[::-1], -1)",
        "F.pad({}[:, 1:], (0, 1))",
    ),
    *("torch.where({} > 0, {}, 0.3 * {})", "torch.log1p({}.square())", "{}.amax(-1, keepdim=True) + 0.1 * {}"),
)
BINARY = (
    *(
        "({} + {})",
        "({} - {})",
        "({} * {})",
        "{} / (1 + {}.square())",
        "torch.maximum({}, {})",
        "torch.minimum({}, {})",
    ),
    *(
        "torch.where({} > {}, projected, 0.2)",
        "torch.cat([{}[:, :3], {}[:, 3:]], -1)",
        "torch.addcmul({}, {}, projected)",
    ),
)


def source(seed):
    """The step of a random cell with one state or two."""
    chosen = random.Random(seed)
    states = chosen.choice([1, 2])
    known = ["projected", "state"] if states == 1 else ["projected", "state[0]", "state[1]"]
    lines = []
    for number in range(chosen.randint(4, 9)):
        template = chosen.choice(UNARY + BINARY)
        values = [chosen.choice(known[-4:]) for _ in range(template.count("{}"))]
        if template in UNARY:
            values = values[:1] * len(values)
        lines.append(f"v{number} = {template.format(*values)} * torch.ones_like(projected)")
        known.append(f"v{number}")
    results = [f"torch.tanh({known[-place]} + projected)" for place in range(1, states + 1)]
    lines.append(f"return {', '.join(results)}")
    return "def step(self, projected, state, weights):\n    " + "\n    ".join(lines), states


@pytest.mark.parametrize("seed", [pytest.param(seed, marks=() if seed < 2 else pytest.mark.slow) for seed in range(60)])
def test_random_cells(seed, monkeypatch):
    monkeypatch.setattr(function, "_loop", lambda *_: pytest.fail("it fell back to autograd"))
    code, states = source(seed)
    names = {"torch": torch, "F": F}
    exec(code, names)
    kind = type("Cell", (RecurrentLayer,), {"step": names["step"], "states": ("h", "c")[:states]})
    torch.manual_seed(seed)
    compiled = kind(3, UNITS, backend="compiled").double()
    for parameter in compiled.parameters():
        nn.init.uniform_(parameter, -0.7, 0.7)
    loop = copy.deepcopy(compiled)
    loop.backend = "autograd"
    for time, batch in [(7, 5), (4, 1)]:
        inputs = draw(time, batch, 3, seed=seed)
        found, expected, moved = (
            everything(layer, given)
            for layer, given in [(compiled, inputs), (loop, inputs), (loop, inputs * (1 + 1e-14))]
        )
        for mine, other, nearby in zip(found, expected, moved, strict=True):
            assert (mine is None) == (other is None)
            if mine is not None:
                rounding = (other - nearby).abs().max().item()  # some of these cells amplify it
                assert (mine - other).abs().max().item() <= 1e-11 * max(other.abs().max().item(), 1) + 100 * rounding
