"""Stacks and tapes against plain Python: a list for each memory, one sequence at a time."""

import inspect
import typing

import properties
import pytest
import torch

from seqmodels.layers import (
    ManualGRU,
    ManualLSTM,
    MinGRU,
    RecurrentLayer,
    StackMemory,
    StackRNN,
    TapeMemory,
    TapeRNN,
)
from seqmodels.layers.stack import LayerSettings

SIZE, INPUTS, TIME, BATCH = 4, 2, 9, 3


class StackGRU(StackMemory, ManualGRU):
    states = ("h", "stack")


class StackLSTM(StackMemory, ManualLSTM):
    states = ("h", "c", "stack")


class StackMinGRU(StackMemory, MinGRU):
    states = ("h", "stack")


class TapeGRU(TapeMemory, ManualGRU):
    states = ("h", "tape")


STACK = {"stack_size": 5, "stack_width": 2}
TAPE = {"tape_size": 5, "tape_width": 2, "write_size": 6}
LAYERS = {
    "stack": (StackRNN, STACK),
    "tanh": (StackRNN, STACK | {"nonlinearity": "tanh", "bias": False}),
    "three stacks": (StackRNN, STACK | {"stacks": 3}),
    "one cell": (StackRNN, {"stack_size": 1, "stack_width": 3}),
    "gru": (StackGRU, STACK | {"stacks": 2}),
    "lstm": (StackLSTM, STACK | {"stacks": 2}),
    "tape": (TapeRNN, TAPE),
    "two tapes": (TapeRNN, TAPE | {"tapes": 2, "bias": False}),
    "jumps": (TapeRNN, TAPE | {"jump": 2}),
    "jumps beyond the tape": (TapeRNN, TAPE | {"jump": 7, "tapes": 2}),
    "tape gru": (TapeGRU, TAPE),
}
every_layer = pytest.mark.parametrize(("layer_class", "options"), LAYERS.values(), ids=LAYERS)


def build(layer_class, options, seed=0):
    torch.manual_seed(seed)
    layer = layer_class(INPUTS, SIZE, dtype=torch.float64, **options)
    with torch.no_grad():
        for parameter in layer.parameters():  # large enough for actions that differ
            parameter.add_(0.3 * torch.randn_like(parameter))
    return layer


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


def linear(w, name, vector):
    bias = getattr(w, f"bias_{name}", None)
    rows = [sum(row[k] * vector[k] for k in range(len(vector))) for row in getattr(w, f"weight_{name}")]
    return torch.stack(rows) + (0 if bias is None else bias)


def inner_step(layer, w, x, read, inner):
    """The equations of the inner cells, once more."""
    h = inner[0]
    from_input, from_state = linear(w, "ih", x) + linear(w, "mh", read), linear(w, "hh", h)
    if isinstance(layer, ManualGRU):
        (r, z, n), (hr, hz, hn) = from_input.reshape(3, SIZE), from_state.reshape(3, SIZE)
        z = sigmoid(z + hz)
        return [(1 - z) * torch.tanh(n + sigmoid(r + hr) * hn) + z * h]
    if isinstance(layer, ManualLSTM):
        i, f, g, o = (from_input + from_state).reshape(4, SIZE)
        c = sigmoid(f) * inner[1] + sigmoid(i) * torch.tanh(g)
        return [sigmoid(o) * torch.tanh(c), c]
    total = from_input + from_state
    return [torch.tanh(total) if layer.nonlinearity == "tanh" else total * (total > 0)]


def outcomes(layer, cells, value):
    """The list of cells after each of the actions."""
    if isinstance(layer, StackMemory):
        return [[value, *cells[:-1]], [*cells[1:], 0 * value], cells]
    written = [value, *cells[1:]]
    turned = [written, written[1:] + written[:1], written[-1:] + written[:-1]]
    if layer.jump is not None:
        far = layer.jump % len(written)
        turned += [written[far:] + written[:far], written[len(written) - far :] + written[: len(written) - far]]
    return turned


def plain_python(layer, inputs, state, joint=False):
    """Outputs and final states of one sequence. `joint`: one softmax for all memories, as in the published stacks."""
    w = layer.weights()
    *inner, flat = state
    memories = [list(part) for part in flat.reshape(layer.memories, layer.size, layer.width)]
    outputs = []
    for x in inputs:
        inner = inner_step(layer, w, x, torch.cat([cells[0] for cells in memories]), inner)
        outputs.append(inner[0])
        exps = torch.exp(linear(w, "ha", inner[0])).reshape(layer.memories, -1)
        probabilities = exps / (exps.sum() if joint else exps.sum(1, keepdim=True))
        if isinstance(layer, StackMemory):
            values = linear(w, "hv", inner[0])
        else:
            first = linear(w, "hu", inner[0])
            second = linear(w, "uw", first * (first > 0))
            values = linear(w, "wv", second * (second > 0))
        memories = [
            [sum(p * cells[k] for p, cells in zip(chances, after, strict=True)) for k in range(layer.size)]
            for chances, after in (
                (chances, outcomes(layer, cells, value))
                for chances, cells, value in zip(probabilities, memories, values.split(layer.width), strict=True)
            )
        ]
    return torch.stack(outputs), [*inner, torch.cat([cell for cells in memories for cell in cells])]


def zero_state(layer):
    return [torch.zeros(size, dtype=torch.float64) for size in layer.state_sizes]


@every_layer
def test_outputs_states_and_gradients_are_those_of_plain_python(layer_class, options):
    layer = build(layer_class, options)
    inputs = torch.randn(TIME, INPUTS, dtype=torch.float64, requires_grad=True)
    natural = layer(torch.randn(4, INPUTS, dtype=torch.float64))[1]
    for given in (None, tuple(part.detach() + 0.1 for part in natural)):
        given = given and tuple(part.requires_grad_() for part in given)
        output, final = layer(inputs, given)
        found = [output, *(part[0] for part in final)]
        start = zero_state(layer) if given is None else [part[0] for part in given]
        plain_output, plain_final = plain_python(layer, inputs, start)
        expected = [plain_output, *plain_final]
        leaves = [inputs, *(given or ()), *layer.parameters()]
        weights = [torch.randn_like(tensor) for tensor in found]
        gradients = [
            torch.autograd.grad(sum((t * w).sum() for t, w in zip(tensors, weights, strict=True)), leaves)
            for tensors in (found, expected)
        ]
        for mine, other in zip([*found, *gradients[0]], [*expected, *gradients[1]], strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-10, atol=1e-12)
        assert all(gradient.any() for gradient in gradients[0])


def obedient(layer):
    """Let the inputs alone decide: first a number for each action, then the value, for each memory in turn.

    The inner cell passes on its inputs, which must not be negative; an action of 1 has a logit of 50, one of 0 of -50.
    """
    share = layer.actions + layer.width
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.zero_()
        layer.weight_ih_l0.copy_(torch.eye(layer.hidden_size))
        layer.bias_ha_l0.fill_(-50.0)
        for memory in range(layer.memories):
            for action in range(layer.actions):
                layer.weight_ha_l0[memory * layer.actions + action, memory * share + action] = 100.0
            for feature in range(layer.width):
                row, column = memory * layer.width + feature, memory * share + layer.actions + feature
                if isinstance(layer, StackMemory):
                    layer.weight_hv_l0[row, column] = 1.0
                else:
                    layer.weight_hu_l0[row, column] = layer.weight_uw_l0[row, row] = layer.weight_wv_l0[row, row] = 1.0
    return layer


@pytest.mark.parametrize("steps", [2000, pytest.param(10000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("jump", ["stack", None, 3])
def test_hard_actions_are_those_of_an_exact_stack_or_tape(jump, steps):
    """A random program for two memories, which overflow and underflow, in single precision."""
    width, size, memories = 2, 6, 2
    share = width + {"stack": 3, None: 3, 3: 5}[jump]
    if jump == "stack":
        layer = StackRNN(share * 2, share * 2, stack_size=size, stack_width=width, stacks=2)
    else:
        layer = TapeRNN(share * 2, share * 2, tape_size=size, tape_width=width, tapes=2, jump=jump)
    obedient(layer)
    generator = torch.Generator().manual_seed(0)
    lists = [[[0, 0] for _ in range(size)] for _ in range(memories)]
    state = None
    for _ in range(steps):
        inputs = []
        for number, cells in enumerate(lists):
            action = int(torch.randint(layer.actions, (), generator=generator))
            value = torch.randint(10, (width,), generator=generator).tolist()
            inputs += [int(k == action) for k in range(layer.actions)] + value
            if jump == "stack":
                if action == 0:
                    cells.insert(0, value)
                    cells.pop()
                elif action == 1:
                    cells.pop(0)
                    cells.append([0, 0])
            else:
                cells[0] = value
                first = [0, 1, -1, jump, -(jump or 0)][action]  # the cell that comes under the head
                lists[number] = [cells[(first + k) % size] for k in range(size)]
        with torch.no_grad():
            _, state = layer(torch.tensor([inputs], dtype=torch.float32), state)
        expected = torch.tensor(lists, dtype=torch.float32).flatten()
        torch.testing.assert_close(state[1][0], expected, rtol=0, atol=1e-30)


@every_layer
def test_extreme_actions_stay_finite(layer_class, options):
    for scale in (50.0, -50.0, 1e4):
        layer = build(layer_class, options).float()
        with torch.no_grad():
            layer.weight_ha_l0.mul_(scale)
        inputs = torch.randn(30, BATCH, INPUTS).requires_grad_()
        output, state = layer(inputs)
        (output.sum() + state[-1].sum()).backward()
        tensors = [output, *state, inputs.grad, *(parameter.grad for parameter in layer.parameters())]
        assert all(tensor.isfinite().all() for tensor in tensors)


@pytest.mark.parametrize("time", [2000, pytest.param(10000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("layer_class", [StackRNN, TapeRNN])
def test_single_precision_is_stable_over_long_sequences(layer_class, time):
    torch.manual_seed(0)
    layer = layer_class(INPUTS, 16)
    inputs = torch.randn(time, 1, INPUTS)
    with torch.no_grad():
        found, state = layer(inputs)
        expected, expected_state = layer.double()(inputs.double())
    torch.testing.assert_close(found.double(), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(state[1].double(), expected_state[1], rtol=1e-4, atol=1e-5)


def test_gradients_are_finite_after_a_long_sequence():
    torch.manual_seed(0)
    for layer in (StackRNN(INPUTS, 16), TapeRNN(INPUTS, 16)):
        layer(torch.randn(1000, 1, INPUTS))[0].pow(2).mean().backward()
        assert all(parameter.grad.isfinite().all() for parameter in layer.parameters())


def test_one_softmax_for_all_stacks_as_published_is_right_for_one_stack_only():
    """Shared by two stacks, the probabilities of one add up to less than 1, and what it holds fades away."""
    inputs = torch.randn(TIME, INPUTS, dtype=torch.float64)
    with torch.no_grad():
        for stacks in (1, 2):
            layer = build(StackRNN, STACK | {"stacks": stacks})
            output, _ = layer(inputs)
            published, _ = plain_python(layer, inputs, zero_state(layer), joint=True)
            assert torch.allclose(output, published) == (stacks == 1)

        for parameter in layer.parameters():
            parameter.zero_()
        layer.bias_ha_l0.copy_(torch.tensor([-50.0, -50, 50, -50, -50, 50]))  # nothing is pushed or popped
        full = [torch.zeros(SIZE, dtype=torch.float64), torch.ones(layer.state_sizes[1], dtype=torch.float64)]
        _, (_, kept) = layer(inputs, tuple(part[None] for part in full))
        _, (_, faded) = plain_python(layer, inputs, full, joint=True)
        torch.testing.assert_close(kept[0], full[1])
        torch.testing.assert_close(faded, full[1] / 2**TIME)


@pytest.mark.parametrize("layer_class", [StackRNN, TapeRNN])
def test_a_trained_layer_can_get_a_larger_memory(layer_class):
    """The weights fit; and a stack gives the same answers while the smaller one has not overflowed."""
    name = "stack_size" if layer_class is StackRNN else "tape_size"
    small, large = layer_class(INPUTS, SIZE, **{name: TIME}), layer_class(INPUTS, SIZE, **{name: 50})
    large.load_state_dict(small.state_dict())
    if layer_class is StackRNN:
        inputs = torch.randn(TIME, BATCH, INPUTS)
        torch.testing.assert_close(small(inputs)[0], large(inputs)[0])


@pytest.mark.parametrize("layer_class", [StackGRU, StackLSTM, StackMinGRU, TapeGRU])
def test_a_memory_around_another_cell_takes_two_lines(layer_class):
    """The inner cell's kernel, reference and scan, which know nothing of the memory, are not used."""
    assert len(inspect.getsource(layer_class).splitlines()) == 2
    assert layer_class.kernel is None
    assert layer_class.reference is None
    for check in properties.CHECKS:
        check(layer_class(3, 8, num_layers=2, batch_first=True, dtype=torch.float64))
    properties.check_gradients(layer_class(3, 4, dtype=torch.float64))


def test_the_settings_are_the_arguments_of_the_base_class():
    """They are written twice, for callers and for type checkers."""
    accepted = list(inspect.signature(RecurrentLayer.__init__).parameters)
    assert accepted == ["self", "input_size", "hidden_size", *typing.get_type_hints(LayerSettings)]


@pytest.mark.parametrize(
    ("layer_class", "options", "message"),
    [
        (StackRNN, {"stack_size": 0}, "stack_size should be a positive whole number, got 0"),
        (StackRNN, {"stack_width": 2.5}, "stack_width should be a positive whole number, got 2.5"),
        (StackRNN, {"stacks": True}, "stacks should be a positive whole number, got True"),
        (StackRNN, {"nonlinearity": "rel"}, "should be 'tanh' or 'relu', got 'rel'; did you mean 'relu'?"),
        (StackRNN, {"backend": "bptt"}, "for StackRNN, which has no kernel"),
        (StackRNN, {"num_layers": 0}, "num_layers should be a positive whole number, got 0"),
        (TapeRNN, {"tape_size": -1}, "tape_size should be a positive whole number, got -1"),
        (TapeRNN, {"tape_width": 0}, "tape_width should be a positive whole number, got 0"),
        (TapeRNN, {"tapes": 0}, "tapes should be a positive whole number, got 0"),
        (TapeRNN, {"jump": 0}, "jump should be a positive whole number, got 0"),
        (TapeRNN, {"jump": "far"}, "jump should be a positive whole number, got 'far'"),
        (TapeRNN, {"write_size": 0}, "write_size should be a positive whole number, got 0"),
        (TapeRNN, {"nonlinearity": "sin"}, "nonlinearity should be 'tanh' or 'relu', got 'sin'"),
    ],
    ids=str,
)
def test_refuses_impossible_memories(layer_class, options, message):
    with pytest.raises((TypeError, ValueError)) as refusal:
        layer_class(2, 3, **options)
    assert message in str(refusal.value)
