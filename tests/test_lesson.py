"""The lesson shows what a layer computes, forward and backward, for every recurrent cell and for a user's own."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from seqmodels.checks import UserError
from seqmodels.config import CONF, compose, instantiate
from seqmodels.layers import LRU, SLSTM, ManualGRU, ManualLSTM, ManualRNN, MatrixLayer, RecurrentLayer
from seqmodels.lesson import autograd_gradients, back_propagate, backward_text, forward_text, record, whole_gradients
from seqmodels.lesson.forward import symbol


def recurrent_layers():
    """Every recurrent layer that conf/model names, by its word on the command line."""
    for file in sorted((CONF / "model").glob("*.yaml")):
        layer = instantiate(compose(f"model={file.stem}").model, "model", input_size=1)
        if isinstance(layer, RecurrentLayer):
            options = {"heads": 1, "expand_k": 1 / 3} if isinstance(layer, MatrixLayer) else {}
            yield file.stem, type(layer), options | OPTIONS.get(file.stem, {})


OPTIONS = {
    "irnn": {"nonlinearity": "relu", "identity": 1.0},
    "retnet": {"expand_k": 2.0},
    "delta_product": {"expand_k": 1.0},
}
"""Of layers that need them, with three units, to be built or to be themselves."""


ALSO_SLOW = [pytest.param(both, both, marks=pytest.mark.slow) for both in (True, False)]


class Free(RecurrentLayer):
    """A cell that keeps the contract and is unusual otherwise."""

    states = ("h", "kept")

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.norm = torch.nn.LayerNorm(self.hidden_size)
        self.scale = torch.nn.Parameter(torch.tensor(0.5))
        self.register_buffer("shift", torch.tensor([0.25]))

    def mix(self, old, new):
        share = torch.sigmoid(new)
        return 1 - share + share * torch.lerp(old, new, 0.3)

    def step(self, projected, state, weights):
        before, kept = state
        drive = projected + before @ weights.weight_hh.T / 2.0
        first, rest = drive[:, :1], drive[:, 1:]
        drive = torch.cat([rest.tanh(), first**2], dim=-1)
        drive = torch.where(drive > 0, drive, -drive * self.scale) - self.shift
        return self.mix(before, self.norm(drive)) + kept, kept


LAYERS = [
    *recurrent_layers(),
    ("manual_lstm with a projection", ManualLSTM, {"proj_size": 2}),
    ("free", Free, {}),
]
every_layer = pytest.mark.parametrize(
    ("layer", "options"), [layer[1:] for layer in LAYERS], ids=[n for n, *_ in LAYERS]
)


def build(layer, time=4, **options):
    """A layer of double precision, and inputs."""
    torch.manual_seed(0)
    inputs = torch.randn(time, 3, dtype=torch.float64)
    return layer(3, 3, dtype=torch.float64, **options).to(torch.float64), inputs


def test_every_family_is_here():
    assert {cls for _, cls, _ in LAYERS} >= {ManualRNN, ManualGRU, ManualLSTM, LRU, SLSTM}
    assert len(LAYERS) >= 14


@every_layer
@pytest.mark.parametrize(("time", "bidirectional"), [(1, False), (4, True), (12, False)])
def test_the_steps_are_those_of_the_layer(layer, options, bidirectional, time):
    layer, inputs = build(layer, time, num_layers=2, bidirectional=bidirectional, **options)
    lesson = record(layer, inputs)
    output, final = layer.eval()(inputs)
    torch.testing.assert_close(lesson.output, output, rtol=0, atol=1e-12)
    assert [(s.layer, s.reverse, s.time) for s in lesson.steps] == [
        (level, reverse, t)
        for level in range(2)
        for reverse in ([False, True] if bidirectional else [False])
        for t in (range(time, 0, -1) if reverse else range(1, time + 1))
    ]
    size = layer.state_sizes[0]
    below = {0: inputs}
    for step in lesson.steps:
        own = next(iter(step.after.values()))[0]
        if step.layer == 1:
            columns = slice(size, None) if step.reverse else slice(size)
            torch.testing.assert_close(own, output[step.time - 1, columns], rtol=0, atol=1e-12)
        else:
            below.setdefault(1, torch.zeros(time, size * layer.num_directions, dtype=torch.float64))
            below[1][step.time - 1, size * step.reverse : size * (1 + step.reverse)] = own
        if step.reference is not None:
            torch.testing.assert_close(own, step.reference[0], rtol=0, atol=1e-12)
    for step in lesson.steps:
        torch.testing.assert_close(step.input[0], below[step.layer][step.time - 1], rtol=0, atol=1e-12)
    ends = [step for step in lesson.steps if step.time == (1 if step.reverse else time)]
    for number, state in enumerate(final if isinstance(final, tuple) else (final,)):
        torch.testing.assert_close(torch.cat([list(s.after.values())[number] for s in ends]), state)
    assert (lesson.steps[0].reference is None) == (layer.reference is None)


@every_layer
@pytest.mark.parametrize(("bias", "bidirectional"), [(True, False), (False, True), *ALSO_SLOW])
def test_the_gradients_add_up_to_those_of_autograd(layer, options, bias, bidirectional):
    layer, inputs = build(layer, num_layers=2, bidirectional=bidirectional, bias=bias, **options)
    lesson = record(layer, inputs)
    output_gradient = torch.randn_like(lesson.output)
    found = whole_gradients(lesson, back_propagate(lesson, output_gradient))
    inputs.requires_grad_()
    layer(inputs)[0].backward(output_gradient)
    expected = {"inputs": inputs.grad} | {name: p.grad for name, p in layer.named_parameters()}
    assert found.keys() == expected.keys()
    shown = autograd_gradients(lesson, output_gradient)
    for name, gradient in expected.items():
        gradient = torch.zeros_like(found[name]) if gradient is None else gradient
        assert gradient.isfinite().all()
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=1e-10)
        torch.testing.assert_close(shown[name], gradient, rtol=0, atol=1e-10)


FUNCTIONS = {
    "tanh": np.tanh,
    "exp": np.exp,
    "sigmoid": lambda a: 1 / (1 + np.exp(-a)),
    "log_sigmoid": lambda a: -np.log1p(np.exp(-a)),
    "relu": lambda a: np.maximum(a, 0),
    "maximum": np.maximum,
    "real": np.real,
    "imag": np.imag,
    "complex": lambda a, b: a + 1j * b,
    "cat": lambda *parts: np.concatenate(parts),
    "lerp": lambda a, b, share: a + share * (b - a),
    "where": np.where,
    "gt": np.greater,
    "T": np.transpose,
    "softmax": lambda a: np.exp(a) / np.exp(a).sum(),
    "zeros_like": np.zeros_like,
    "roll": lambda a, shifts, dims: np.roll(a, shifts),
    "unsqueeze": lambda a, dim: a if dim == 0 else np.expand_dims(a, dim),
    "sum": lambda a, *dims: a,  # over the features of a key, of which there is one
    "movedim": lambda a, *dims: a,
    "silu": lambda a, inplace=False: a / (1 + np.exp(-a)),
    "softplus": lambda a: np.log1p(np.exp(a)),
    "rsqrt": lambda a: 1 / np.sqrt(a),
    "square": np.square,
    "elu": lambda a: np.where(a > 0, a, np.expm1(np.minimum(a, 0))),
    "rms_norm": lambda a, weight=1.0, eps=0.0: weight * a / np.sqrt((a**2).mean() + eps),
    "layer_norm": lambda a, weight=1.0, bias=0.0, eps=0.0: weight * (a - a.mean()) / np.sqrt(a.var() + eps) + bias,
}


def evaluate(formula, known):
    """The value of a formula, by NumPy, from the values of what stands in lines above it."""
    product = re.fullmatch(r"(W_\w+)(?:\[(\d+)\.\.(\d+)\])? ((?:[\w ]|\[.*\])+|\(.*\)|cat\(.*\))", formula)
    if product and product[1] in known:
        rows = slice(int(product[2]) - 1, int(product[3])) if product[2] else slice(None)
        return known[product[1]][rows] @ np.ravel(evaluate(product[4], known))
    values = {}
    for number, quantity in enumerate(sorted(known, key=len, reverse=True)):
        code = re.sub(rf"(?<![\w.]){re.escape(quantity)}(?![\w(=])", f" v{number}_ ", formula)
        if code != formula:
            values[f"v{number}_"], formula = known[quantity], code
    formula = re.sub(r"\[(\d+)\.\.(\d+)\]", lambda found: f"[{int(found[1]) - 1}:{found[2]}]", formula)
    formula = re.sub(r"\[(\d+)\]", lambda found: f"[{int(found[1]) - 1}:{found[1]}]", formula).replace("^", "**")
    formula = re.sub(r"([a-z]) (?=[a-z]+\()", r"\1_", formula)
    return eval(formula.strip(), {"__builtins__": {}}, FUNCTIONS | values)


@every_layer
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_every_line_follows_from_the_lines_above_it(layer, options, bias):
    """Each formula, evaluated by NumPy, equals the number beside it, up to the new states."""
    layer, inputs = build(layer, bias=bias, **options)
    if max(layer.state_sizes) > 3:
        pytest.skip("formulas do not show the shapes of matrices")
    lesson = record(layer, inputs)
    weights = dict(lesson.layer.named_parameters()) | dict(lesson.layer.named_buffers())
    weights = {symbol(name): value for name, value in weights.items()}
    for step in lesson.steps:
        lines = weights | {f"x_{step.time}": step.input} | step.before
        known = {name: value.detach().numpy() for name, value in lines.items()}
        known = {name: value if name[:2] == "S_" else value.squeeze() for name, value in known.items()}  # S has one row
        for operation in step.operations:
            rows = {term: (term, value) for term, value in operation.terms.items()}
            rows |= {operation.quantity: (operation.formula, operation.result)}
            for quantity, (formula, value) in rows.items():
                number = value.detach().numpy().ravel() if len(value) == 1 else value.detach().numpy()
                found = evaluate(formula, known)
                np.testing.assert_allclose(np.reshape(found, number.shape), number, rtol=0, atol=1e-12, err_msg=formula)
                known[quantity] = found if np.ndim(found) == 2 else number
        assert step.after.keys() <= known.keys()
        assert known.keys().isdisjoint({"constant"})


def test_names_are_those_of_the_cells_code():
    (step, *_) = record(*build(ManualGRU)).steps
    lines = {operation.name: operation for operation in step.operations}
    assert {"projected", "reset gate", "update gate", "candidate", "h_1"} <= lines.keys()
    assert lines["projected"].formula == "W_ih x_1 + b_ih"
    assert list(lines["projected"].terms) == ["W_ih x_1", "b_ih"]
    (step, *_) = record(*build(ManualRNN)).steps
    assert step.operations[-1].formula == "tanh(projected + W_hh h_0 + b_hh)"
    assert list(step.operations[-2].terms) == ["W_hh h_0", "b_hh"]


class Student:
    """Reads a printed lesson, and has nothing but the printed digits."""

    def __init__(self, lines):
        self.rows, self.time, self.weights, place, title = {}, 0, {}, None, ""
        for line in lines:
            if found := re.match(r"(\w+) \([\dx ]+\), written", line):
                place, title = self.weights.setdefault(found[1], []), ""
            elif found := re.match(r"  time step (\d+)", line):
                place, title = None, ""
                self.time = int(found[1])
            elif line.startswith("The whole"):
                self.time = 0
            elif place is not None and re.fullmatch(r" +(row \d+)?([- .\de]+)", line):
                place.append([float(number) for number in line.split("row")[-1].split()[("row" in line) :]])
            elif line.startswith("    ") and self.time:
                numbers = line[44:].split()
                label = line[:44].strip() if len(line) > 44 and numbers and re.match(r"[-\d]", numbers[0]) else ""
                title = label or (title if line[:44].strip() == "" else line.strip())
                title = re.sub(", through .*", "", title)
                if len(line) > 44 and re.fullmatch(r"[-\de. ]+", line[44:]):
                    self.rows.setdefault((self.time, title), []).extend(map(float, numbers))

    def row(self, time, title):
        return np.array(self.rows[time, title])

    def has(self, time, expected, atol=2e-6):
        """Whether some line of a step has these numbers."""
        rows = [np.array(row) for (step, _), row in self.rows.items() if step == time]
        return any(row.shape == expected.shape and np.allclose(row, expected, rtol=0, atol=atol) for row in rows)


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def forward_by_hand(family, w, x, state):
    """The textbook's equations: the new state, and everything on the way."""
    a, b = w["weight_ih_l0"] @ x + w["bias_ih_l0"], w["weight_hh_l0"] @ state[0] + w["bias_hh_l0"]
    if family is ManualRNN:
        h = np.tanh(a + b)
        return (h,), {"sum": a + b, "h": h}
    if family is ManualGRU:
        r, z = np.split(sigmoid(a + b)[: 2 * len(x[:2])], 2)
        n = np.tanh(a[4:] + r * b[4:])
        h = (1 - z) * n + z * state[0]
        return (h,), {"r": r, "z": z, "n": n, "h": h}
    i, f, o = sigmoid((a + b)[0:2]), sigmoid((a + b)[2:4]), sigmoid((a + b)[6:8])
    g = np.tanh((a + b)[4:6])
    c = f * state[1] + i * g
    h = o * np.tanh(c)
    return (h, c), {"i": i, "f": f, "g": g, "o": o, "c": c, "h": h}


def backward_by_hand(family, v, w, state, dh, dc):
    """The chain rule on paper: gradients of what is added up in W_ih x + b_ih, and of the states before."""
    if family is ManualRNN:
        da = db = dh * (1 - v["h"] ** 2)
        direct, dc = 0, 0
    elif family is ManualGRU:
        dn, dz = dh * (1 - v["z"]) * (1 - v["n"] ** 2), dh * (state[0] - v["n"]) * v["z"] * (1 - v["z"])
        b = w["weight_hh_l0"] @ state[0] + w["bias_hh_l0"]
        dr = dn * b[4:] * v["r"] * (1 - v["r"])
        da, db = np.concatenate([dr, dz, dn]), np.concatenate([dr, dz, dn * v["r"]])
        direct, dc = dh * v["z"], 0
    else:
        dc = dc + dh * v["o"] * (1 - np.tanh(v["c"]) ** 2)
        di, df = dc * v["g"] * v["i"] * (1 - v["i"]), dc * state[1] * v["f"] * (1 - v["f"])
        dg, do = dc * v["i"] * (1 - v["g"] ** 2), dh * np.tanh(v["c"]) * v["o"] * (1 - v["o"])
        da = db = np.concatenate([di, df, dg, do])
        direct, dc = 0, dc * v["f"]
    return da, db, w["weight_hh_l0"].T @ db + direct, dc


@pytest.mark.parametrize("family", [ManualRNN, ManualGRU, ManualLSTM])
def test_a_student_comes_to_the_printed_numbers(family):
    """With the equations of a textbook and the printed digits alone, forward and backward."""
    torch.manual_seed(1)
    lesson = record(family(5, 2), torch.arange(1.0, 4.0).repeat_interleave(5).reshape(3, 5))
    forward, backward = Student(forward_text(lesson)), Student(backward_text(lesson, "all"))
    w = {
        name: np.array(rows[0] if name.startswith("bias") and len(rows) == 1 else rows)
        for name, rows in forward.weights.items()
    }
    w = {name: value.flatten() if name.startswith("bias") else value for name, value in w.items()}
    x = {time: forward.row(time, f"x_{time}") for time in (1, 2, 3)}
    states, values = {0: (np.zeros(2), np.zeros(2))}, {}
    for time in (1, 2, 3):
        states[time], values[time] = forward_by_hand(family, w, x[time], states[time - 1])
        assert forward.has(time, w["weight_ih_l0"] @ x[time])
        assert forward.has(time, w["weight_hh_l0"] @ states[time - 1][0])
        for name, value in values[time].items():
            assert forward.has(time, value), (time, name)
    dh, dc, total = np.zeros(2), np.zeros(2), 0
    for time in (3, 2, 1):
        da, db, dh, dc = backward_by_hand(family, values[time], w, states[time - 1], dh + 1, dc)
        total = total + np.outer(da, x[time])
        assert backward.has(time, da)
        assert backward.has(time, db)
        np.testing.assert_allclose(backward.row(time, f"dL/dh_{time - 1}"), dh, rtol=0, atol=2e-6)
        np.testing.assert_allclose(backward.row(time, f"dL/dx_{time}"), w["weight_ih_l0"].T @ da, rtol=0, atol=2e-6)
    np.testing.assert_allclose(
        whole_gradients(lesson, back_propagate(lesson, torch.ones(3, 2)))["weight_ih_l0"], total, rtol=0, atol=2e-5
    )


@every_layer
def test_every_layer_prints_a_lesson_of_readable_width(layer, options):
    lesson = record(*build(layer, num_layers=2, bidirectional=True, **options))
    lines = [*forward_text(lesson), *backward_text(lesson, "last")]
    assert max(map(len, lines)) <= 120
    assert "nan" not in "\n".join(lines)
    for name, _ in lesson.layer.named_parameters():
        assert any(line.startswith(f"{name} (") for line in lines)


def test_the_given_layer_is_left_alone():
    layer, inputs = build(ManualRNN)
    before = {name: id(parameter) for name, parameter in layer.named_parameters()}
    attributes = dict(vars(layer))
    list(back_propagate(lesson := record(layer, inputs), torch.ones_like(lesson.output)))
    assert before == {name: id(parameter) for name, parameter in layer.named_parameters()}
    assert vars(layer) == attributes
    assert all(parameter.grad is None for parameter in layer.parameters())


def test_a_cell_without_equations_shows_its_code():
    lesson = record(*build(Free))
    shown = "\n".join(forward_text(lesson))
    assert "drive = projected + before @ weights.weight_hh.T" in shown
    assert "    h_t = tanh(W_ih x_t" in "\n".join(forward_text(record(*build(ManualRNN))))


def test_the_cell_of_the_recipe_is_shown(tmp_path, monkeypatch):
    recipe = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
    (tmp_path / "recipe_cell.py").write_text(re.search(r"```python\n(.*?)```", recipe, re.DOTALL)[1])
    monkeypatch.syspath_prepend(tmp_path)
    import recipe_cell

    cell = next(c for c in vars(recipe_cell).values() if getattr(c, "__module__", "") == "recipe_cell")
    lesson = record(*build(cell))
    found = whole_gradients(lesson, back_propagate(lesson, torch.ones_like(lesson.output)))
    for name, gradient in autograd_gradients(lesson, torch.ones_like(lesson.output)).items():
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=1e-10)


@pytest.mark.parametrize("change", ["projected += 1", "projected[:, 0] = 1", "projected.mul_(2)"])
def test_a_step_that_overwrites_its_numbers_is_refused(change):
    class Overwrites(RecurrentLayer):
        def step(self, projected, state, weights):
            exec(change)
            return torch.tanh(projected + state)

    with pytest.raises(UserError, match="in place"):
        record(*build(Overwrites))
