"""Properties of every layer. Each function accepts a layer in float64; for each there is a layer that fails it.

Layers are called as `output, state = layer(inputs, state)`, with a state that they returned themselves.
"""

import io

import torch
from torch.nn.utils.rnn import PackedSequence, pack_sequence, unpack_sequence
from torch.utils import _pytree as pytree

from seqmodels.speed.benchmark import at_once, loop_of

TIME, BATCH = 7, 3


def close(found, expected, tolerance=1e-10):
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance, equal_nan=True)


def relative_error(found, expected):
    """The largest difference, in units of the largest number expected."""
    difference = (found - expected).abs().max().item()
    return difference / expected.abs().max().item() if difference else 0.0


def values_and_gradients(tensors, leaves):
    """The tensors, and the gradients of a random linear function of all of them."""
    generator = torch.Generator().manual_seed(1)
    loss = sum((t * torch.randn(t.shape, generator=generator, dtype=t.dtype)).sum() for t in tensors)
    gradients = torch.autograd.grad(loss, leaves, retain_graph=True, allow_unused=True, materialize_grads=True)
    assert any(gradient.any() for gradient in gradients)
    return [*tensors, *gradients]


def agree(found, expected, leaves, tolerance=1e-10):
    """Tensors, and what they yield as gradients, are equal."""
    both = (values_and_gradients(tensors, leaves) for tensors in (found, expected))
    for number, (mine, other) in enumerate(zip(*both, strict=True)):
        assert mine.shape == other.shape
        error = relative_error(mine, other)
        part = f"tensor {number}" if number < len(found) else f"gradient {number - len(found)}"
        assert error <= tolerance, f"{part} of {list(mine.shape)}: a relative error of {error:.1e}"


def draw(layer, time=TIME, batch=BATCH, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shape = (batch, time) if layer.batch_first else (time, batch)
    return torch.randn(*shape, layer.input_size, generator=generator, dtype=torch.float64)


def time_first(layer, tensor):
    return tensor.transpose(0, 1) if layer.batch_first else tensor


def call(layer, inputs, state=None):
    """Call a layer with inputs (time, batch, features), and return outputs in this order, for either `batch_first`."""
    output, state = layer(time_first(layer, inputs), state)
    return time_first(layer, output), state


def natural_state(layer):
    """A state as it occurs in use, after a sequence."""
    return call(layer, time_first(layer, draw(layer, seed=9)))[1]


def check_shapes(layer):
    inputs = time_first(layer, draw(layer))
    output, state = call(layer, inputs)
    assert output.shape[:2] == (TIME, BATCH)
    first = state[0] if isinstance(state, tuple) else state
    directions = 2 if getattr(layer, "bidirectional", False) else 1
    assert first.dim() == 3
    assert first.size(0) % directions == 0
    assert first.size(1) == BATCH
    assert directions * first.size(2) == output.size(2)
    close(first[-directions], output[-1, :, : first.size(2)])  # the last layer's state is its last output
    again, again_state = call(layer, inputs, natural_state(layer))
    assert again.shape == output.shape
    assert len(pytree.tree_leaves(again_state)) == len(pytree.tree_leaves(state))


def check_single_sequence(layer):
    inputs = time_first(layer, draw(layer, batch=1))
    batch_output, batch_state = call(layer, inputs)
    output, state = layer(inputs[:, 0])  # (time, features), for either batch_first
    close(output, batch_output[:, 0])
    close(state, pytree.tree_map(lambda part: part[:, 0], batch_state))
    more = torch.randn_like(inputs)
    close(layer(more[:, 0], state)[0], call(layer, more, batch_state)[0][:, 0])


def check_causality(layer):
    """A change at step t changes the output at t, and none before."""
    inputs = time_first(layer, draw(layer))
    output, _ = call(layer, inputs)
    for t in range(TIME):
        changed = inputs.clone()
        changed[t] += 1
        after, _ = call(layer, changed)
        close(after[:t], output[:t])
        assert not torch.allclose(after[t], output[t]), f"a change at step {t} has no effect"


def check_padding(layer):
    """A packed batch has the outputs, states and gradients of its sequences one by one."""
    lengths = [2, 19, 1, 10]  # two runs of one step with the same sequences, and two of at least eight
    for initial in (None, call(layer, time_first(layer, draw(layer, batch=4, seed=9)))[1]):
        sequences = [torch.randn(n, layer.input_size, dtype=torch.float64, requires_grad=True) for n in lengths]
        output, state = layer(pack_sequence(sequences, enforce_sorted=False), initial)
        assert isinstance(output, PackedSequence)
        weights = torch.randn_like(output.data)
        gradients = torch.autograd.grad((output.data * weights).sum(), sequences, retain_graph=True)
        rows = unpack_sequence(output._replace(data=weights))
        for row, sequence in enumerate(sequences):
            own = (
                pytree.tree_map(lambda part, row=row: part[:, row : row + 1], initial) if initial is not None else None
            )
            alone, alone_state = call(layer, sequence.unsqueeze(1), own)
            close(unpack_sequence(output)[row], alone[:, 0])
            (gradient,) = torch.autograd.grad((alone[:, 0] * rows[row]).sum(), sequence)
            close(gradients[row], gradient)
            first, first_alone = (s[0] if isinstance(s, tuple) else s for s in (state, alone_state))
            close(first[:, row], first_alone[:, 0])
            if not getattr(layer, "bidirectional", False):  # one can go on from the state
                more = torch.randn(2, 1, layer.input_size, dtype=torch.float64)
                together, _ = call(layer, more.expand(-1, 4, -1), state)
                close(together[:, row], call(layer, more, alone_state)[0][:, 0])


def check_streaming(layer):
    """A sequence read step by step, or in two parts, has the outputs and the state of the whole."""
    inputs = time_first(layer, draw(layer))
    start = natural_state(layer)
    for initial in (None, start):
        output, final = call(layer, inputs, initial)
        for size in (1, 4):
            parts, state = [], initial
            for part in inputs.split(size):
                part_output, state = call(layer, part, state)
                parts.append(part_output)
            close(torch.cat(parts), output)
            close(state, final)
    assert not torch.allclose(call(layer, inputs, start)[0], call(layer, inputs)[0]), "the given state has no effect"


def check_steps(layer):
    """A cell that computes all steps at once has the outputs, states and gradients of its single steps."""
    if at_once(layer):
        inputs = draw(layer).requires_grad_()
        output, state = layer(inputs)
        expected, expected_state = loop_of(layer)(inputs)
        agree([output, *pytree.tree_leaves(state)], [expected, *pytree.tree_leaves(expected_state)], [inputs])


def check_batch_independence(layer):
    inputs = time_first(layer, draw(layer))
    output, state = call(layer, inputs)
    changed = inputs.clone()
    changed[:, 1] = torch.randn_like(changed[:, 1])
    after, after_state = call(layer, changed)
    others = torch.tensor([0, 2])
    close(after[:, others], output[:, others])
    close(*(pytree.tree_map(lambda part: part[:, others], s) for s in (after_state, state)))
    order = torch.tensor([2, 0, 1])
    close(call(layer, inputs[:, order])[0], output[:, order])


def check_save_and_load(layer, fresh):
    """`fresh` is another layer of the same kind, with other weights."""
    inputs = draw(layer)
    assert not torch.allclose(layer(inputs)[0], fresh(inputs)[0])
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    fresh.load_state_dict(torch.load(file, weights_only=True), strict=True)
    close(fresh(inputs)[0], layer(inputs)[0], tolerance=0)


def check_single_precision(layer):
    inputs = draw(layer)
    expected = layer(inputs)[0]
    found, state = layer.float()(inputs.float())
    assert found.dtype == torch.float32
    assert all(part.dtype == torch.float32 for part in pytree.tree_leaves(state))
    close(found.double(), expected, tolerance=1e-4)
    layer.double()


def check_gradients(layer, states=True):
    """Derivatives with respect to inputs and parameters equal finite differences; if `states`, also with respect to
    the initial state, and second derivatives."""
    inputs = draw(layer, time=4, batch=2)
    state = layer(draw(layer, batch=2, seed=9))[1] if states else ()
    leaves, structure = pytree.tree_flatten(state)
    names = [name for name, _ in layer.named_parameters()]

    def function(inputs, *rest):
        initial = pytree.tree_unflatten(rest[: len(leaves)], structure) if states else None
        parameters = dict(zip(names, rest[len(leaves) :], strict=True))
        output, final = torch.func.functional_call(layer, parameters, (inputs, initial))
        return (output, *pytree.tree_leaves(final)) if states else output

    values = [value.detach().requires_grad_() for value in (inputs, *leaves, *layer.parameters())]
    assert torch.autograd.gradcheck(function, values, fast_mode=True)
    if states:
        assert torch.autograd.gradgradcheck(function, values, fast_mode=True)
    layer.zero_grad()
    layer(draw(layer))[0].pow(2).sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, f"no gradient for {name}"
        assert parameter.grad.any(), f"zero gradient for {name}"


def check_learning(layer):
    """The first of five numbers is read from the last output, to a fifth of its variance, within 300 updates."""
    torch.manual_seed(0)
    head = torch.nn.Linear(layer(draw(layer))[0].size(-1), 1).double()
    optimizer = torch.optim.Adam([*layer.parameters(), *head.parameters()], lr=1e-2)
    for _ in range(300):
        inputs = time_first(layer, draw(layer, time=5, batch=64, seed=int(torch.randint(10**6, ()))))
        output, _ = call(layer, inputs)
        loss = (head(output[-1])[:, 0] - inputs[0, :, 0]).pow(2).mean()
        if loss < 0.2:
            return
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    raise AssertionError(f"loss {loss:.3f} after 300 updates")


CHECKS_OF_BOTH_DIRECTIONS = [
    check_shapes,
    check_single_sequence,
    check_padding,
    check_steps,
    check_batch_independence,
    check_single_precision,
]
CHECKS = [*CHECKS_OF_BOTH_DIRECTIONS, check_causality, check_streaming]
