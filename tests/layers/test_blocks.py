"""Any layer in residual blocks keeps the contract of a layer, and a block computes what its equations say."""

import copy
from functools import partial

import properties
import pytest
import torch
import torchrecurrent
from omegaconf import OmegaConf
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence, unpack_sequence
from torch.utils import _pytree as pytree

from seqmodels.config import CONF, compose, layer_of
from seqmodels.layers import GLA, LRU, SLSTM, TCN, Blocks, ManualGRU, ManualRNN, MinGRU, Transformer
from seqmodels.layers.context import ContextLayer
from seqmodels.model import SequenceModel

MIXERS = {
    "rnn": partial(ManualRNN, hidden_size=4),
    "nn_lstm": partial(nn.LSTM, hidden_size=6, proj_size=4, num_layers=2),
    "lru": partial(LRU, hidden_size=4),
    "min_gru": partial(MinGRU, hidden_size=4),
    "slstm": partial(SLSTM, hidden_size=4),
    "torchrecurrent": partial(torchrecurrent.PeepholeLSTM, hidden_size=4),  # accepts no packed sequences
}
PLAIN, FULL = {}, {"expansion": 2, "kernel_size": 4}
MODELS = sorted(file.stem for file in (CONF / "model").glob("*.yaml"))


def build(mixer, seed=0, batch_first=True, **options):
    """Two blocks in float64."""
    torch.manual_seed(seed)
    return Blocks(partial(MIXERS[mixer], batch_first=batch_first), 3, **{"num_blocks": 2} | options).double()


ALL = [(mixer, FULL, True) for mixer in MIXERS]
ALL += [("rnn", PLAIN, True), ("lru", {"expansion": 3}, False), ("slstm", {"kernel_size": 2}, False)]
CASES = [
    pytest.param(*case, check, id=f"{case[0]}-{'-'.join(case[1]) or 'plain'}-{check.__name__}")
    for case in ALL
    for check in properties.CHECKS
    if (case[0], check) != ("torchrecurrent", properties.check_padding)
]


@pytest.mark.parametrize(("mixer", "options", "batch_first", "check"), CASES)
def test_properties(mixer, options, batch_first, check):
    check(build(mixer, batch_first=batch_first, **options))


@pytest.mark.parametrize("mixer", ["rnn", "nn_lstm", "lru", "torchrecurrent"])
def test_gradients_by_finite_differences(mixer):
    properties.check_gradients(build(mixer, num_blocks=1, expansion=1, kernel_size=3))


@pytest.mark.parametrize("options", [PLAIN, FULL], ids=["plain", "full"])
def test_learning_and_saving(options):
    properties.check_learning(build("min_gru", **options))
    properties.check_save_and_load(build("lru", **options), build("lru", seed=1, **options))


def by_hand(weights, inputs, past, hidden, kernel_size, blocks):
    """One sequence through blocks around a tanh RNN, step by step, each as its equation in `blocks.py`."""

    def norm(name, x):
        return weights[f"{name}.weight"] * x * (x.square().mean() + 1e-5) ** -0.5

    def linear(name, x):
        return weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]

    outputs = []
    for step in inputs:
        x = linear("widen", step)
        for k in range(blocks):
            name = f"blocks.{k}"
            past[k] = [*past[k], norm(f"{name}.norm", x)][-kernel_size:]
            kernel = weights[f"{name}.convolution.weight"]
            u = weights[f"{name}.convolution.bias"] + sum(kernel[:, 0, j] * past[k][j] for j in range(kernel_size))
            u = u / (1 + torch.exp(-u))
            rnn = {key: weights[f"{name}.mixer.{key}_l0"] for key in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")}
            sums = rnn["weight_ih"] @ u + rnn["bias_ih"] + rnn["weight_hh"] @ hidden[k] + rnn["bias_hh"]
            hidden[k] = torch.tanh(sums)
            x = x + hidden[k]
            inner = linear(f"{name}.mlp.1", norm(f"{name}.mlp.0", x))
            x = x + linear(f"{name}.mlp.3", inner * (1 + torch.erf(inner / 2**0.5)) / 2)
        outputs.append(norm("norm", x))
    return torch.stack(outputs)


@pytest.mark.parametrize("time", [1, 2, 6])
def test_blocks_are_their_equations(time):
    """Outputs, states, and the gradients of inputs, initial states and every parameter, in float64."""
    width, kernel_size, blocks = 4, 4, 2
    layer = build("rnn", batch_first=False, expansion=3, kernel_size=kernel_size, num_blocks=blocks)
    with torch.no_grad():
        for parameter in layer.parameters():  # norms, too, start from other numbers than 1
            parameter.add_(0.3 * torch.randn_like(parameter))
    inputs = torch.randn(time, 3, dtype=torch.float64, requires_grad=True)
    pasts = [torch.randn(kernel_size - 1, width, dtype=torch.float64, requires_grad=True) for _ in range(blocks)]
    starts = [torch.randn(width, dtype=torch.float64, requires_grad=True) for _ in range(blocks)]

    state = [torch.zeros(1, width, dtype=torch.float64)]
    for start, past in zip(starts, pasts, strict=True):
        state += [start[None], past.flatten()[None]]
    output, (y, *after) = layer(inputs, tuple(state))

    theirs = {name: value.detach().clone().requires_grad_() for name, value in layer.named_parameters()}
    past, hidden = [list(past) for past in pasts], list(starts)
    expected = by_hand(theirs, inputs, past, hidden, kernel_size, blocks)
    properties.close(output, expected, 1e-12)
    properties.close(y[0], expected[-1], 1e-12)
    expected_after = [part for k in range(blocks) for part in (hidden[k], torch.cat(past[k][1:]))]
    for found, part in zip(after, expected_after, strict=True):
        properties.close(found[0], part, 1e-12)

    results = [(output, expected), *zip((part[0] for part in after), expected_after, strict=True)]
    gradients = [torch.randn_like(part) for _, part in results]
    leaves = [inputs, *pasts, *starts]
    found = torch.autograd.grad([mine for mine, _ in results], [*leaves, *layer.parameters()], gradients)
    wanted = torch.autograd.grad([part for _, part in results], [*leaves, *theirs.values()], gradients)
    for mine, part in zip(found, wanted, strict=True):
        assert (mine - part).abs().max() <= 1e-11 * part.abs().max().clamp(min=1.0)


def test_packed_sequences_in_any_order():
    """Sorted by hand, with equal lengths in an order of one's own, and shorter than the kernel."""
    layer = build("min_gru", kernel_size=4)
    sequences = [torch.randn(length, 3, dtype=torch.float64) for length in (5, 2, 2, 1)]
    ordered = pack_sequence(sequences)
    assert ordered.sorted_indices is None
    expected = [layer(sequence[None]) for sequence in sequences]
    swapped = torch.tensor([0, 2, 1, 3])  # not the order that torch would choose
    rows = torch.cat([step[swapped[: len(step)]] for step in ordered.data.split(ordered.batch_sizes.tolist())])
    own = PackedSequence(rows, ordered.batch_sizes, swapped, swapped)
    for packed in (ordered, own):
        output, state = layer(packed)
        for row, (alone, alone_state) in enumerate(expected):
            properties.close(unpack_sequence(output)[row], alone[0])
            properties.close(pytree.tree_map(lambda part, row=row: part[:, row : row + 1], state), alone_state)
    padded = nn.utils.rnn.pad_sequence(sequences, batch_first=True)
    again = layer(pack_padded_sequence(padded, torch.tensor([5, 2, 2, 1]), batch_first=True))[0]
    properties.close(again.data, layer(ordered)[0].data)


@pytest.mark.parametrize("mixer", [ManualGRU, nn.LSTM])
def test_both_directions(mixer):
    """The output has one width again, and y holds the outputs at both ends, of packed sequences as well."""
    torch.manual_seed(0)
    layer = Blocks(partial(mixer, hidden_size=4, bidirectional=True, batch_first=True), 3, kernel_size=3).double()
    assert layer.bidirectional
    inputs = properties.draw(layer)
    output, state = layer(inputs)
    assert output.shape == (*inputs.shape[:2], 4)
    properties.close(state[0], torch.stack([output[:, -1], output[:, 0]]))
    changed = inputs.clone()
    changed[:, -1] += 1
    assert not torch.allclose(layer(changed)[0][:, 0], output[:, 0])
    packed, packed_state = layer(pack_sequence([inputs[0, :2], inputs[1], inputs[2, :1]], enforce_sorted=False))
    for row, length in enumerate([2, properties.TIME, 1]):
        alone, alone_state = layer(inputs[row : row + 1, :length])
        properties.close(unpack_sequence(packed)[row], alone[0])
        properties.close(packed_state[0][:, row], alone_state[0][:, 0])
    properties.check_single_sequence(layer)
    properties.check_batch_independence(layer)
    for every_step in (False, True):
        model = SequenceModel(
            partial(Blocks, partial(mixer, hidden_size=4, bidirectional=True, batch_first=True)),
            3,
            2,
            every_step=every_step,
        )
        assert model(torch.randn(2, 5, 3), torch.tensor([5, 2])).shape == ((2, 5, 2) if every_step else (2, 2))


class Odd(nn.Module):
    """A layer of a user's own: its output is wider than what it reads, and it has no argument for the width."""

    def __init__(self, input_size, batch_first=True, dtype=None):
        super().__init__()
        self.batch_first = batch_first
        self.inner = nn.RNN(input_size, input_size + 2, batch_first=batch_first, dtype=dtype)

    def forward(self, inputs, state=None):
        output, after = self.inner(inputs, None if state is None else state[0])
        return output, (after,)  # a tuple of one


def test_a_layer_of_any_width_is_mapped_back():
    layer = Blocks(Odd, 3, kernel_size=3).double()
    assert layer.hidden_size == 5
    assert [tuple(block.map_back.weight.shape) for block in layer.blocks] == [(5, 7)] * 2
    properties.check_streaming(layer)
    properties.check_single_sequence(layer)


def test_states_are_named_and_checked():
    layer = build("slstm", kernel_size=3)
    inputs = properties.draw(layer)
    _, state = layer(inputs)
    names = [f"{name}_block{number}" for number in range(2) for name in ("h", "c", "n", "m", "past")]
    assert list(layer.states) == ["y", *names]
    assert build("torchrecurrent", num_blocks=1).states == ("y", "h_block0", "c_block0")
    assert Blocks(partial(nn.GRU, hidden_size=4), 3, num_blocks=1).states == ("y", "h_block0")
    assert [part.shape for part in state] == [(1, 3, size) for size in [4, *[4, 4, 4, 4, 8] * 2]]
    for wrong in (state[0], state[:-1], (state[0], state[1:])):
        with pytest.raises(RuntimeError, match="the state hx should be a tuple"):
            layer(inputs, wrong)
    with pytest.raises(RuntimeError, match=r"the state past_block1 should be of size \[1, 3, 8\], got \[1, 3, 4\]"):
        layer(inputs, (*state[:-1], state[-1][..., :4]))
    with pytest.raises(RuntimeError, match="the state y should have the input's dtype"):
        layer(inputs, (state[0].float(), *state[1:]))
    with pytest.raises(RuntimeError, match=r"the state y of a single \(2D\) sequence should be 2D"):
        layer(inputs[0], state)
    for arguments in [(inputs[..., :2],), (inputs[:, :0],)]:
        with pytest.raises(RuntimeError):
            layer(*arguments)
    with pytest.raises(ValueError, match="dtype"):
        layer(inputs.float())
    with pytest.raises(ValueError, match="2D or 3D"):
        layer(inputs[..., None])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("layer", [GLA, nn.GRU])
def test_blocks_have_the_dtype_and_the_device_of_their_layer(layer, dtype):
    options = {"expansion": 2, "kernel_size": 3}
    blocks = Blocks(partial(layer, hidden_size=8, dtype=dtype), 5, **options)
    assert {parameter.dtype for parameter in blocks.parameters()} == {dtype}
    output, _ = blocks(torch.randn(4, 2, 5, dtype=dtype))
    assert output.dtype == dtype
    nowhere = Blocks(partial(layer, hidden_size=8, dtype=dtype, device="meta"), 5, **options)
    assert {(parameter.dtype, parameter.is_meta) for parameter in nowhere.parameters()} == {(dtype, True)}
    odd = Blocks(partial(Odd, dtype=dtype), 5)
    assert {parameter.dtype for parameter in odd.parameters()} == {dtype}


class Unpacking(nn.RNN):
    def forward(self, inputs, state=None):
        output, after = super().forward(inputs, state)
        return output.data, after


def test_a_layer_that_reads_no_packed_sequences_is_found_out():
    packed = pack_sequence([torch.randn(2, 3)])
    with pytest.raises(TypeError, match="input should be a Tensor for Unpacking, got a PackedSequence"):
        Blocks(partial(Unpacking, hidden_size=4), 3)(packed)
    for layer in (partial(Unpacking, hidden_size=4), MIXERS["torchrecurrent"]):
        model = SequenceModel(partial(Blocks, partial(layer, batch_first=True)), 3, 2)
        assert not model.packs
        assert model.takes_lengths


@pytest.mark.parametrize("mixer", ["rnn", "lru", "min_gru"])
def test_autocast_computes_in_bfloat16(mixer):
    layer = build(mixer, **FULL).float()
    inputs = properties.draw(layer).float()
    packed = pack_sequence([inputs[0], inputs[1, :2]])
    expected, expected_packed = layer(inputs)[0], layer(packed)[0].data
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, state = layer(inputs[:, :4])
        following, _ = layer(inputs[:, 4:], state)
        found_packed = layer(packed)[0].data
    torch.testing.assert_close(torch.cat([output, following], dim=1).float(), expected, rtol=0.05, atol=0.05)
    torch.testing.assert_close(found_packed.float(), expected_packed, rtol=0.05, atol=0.05)


class FourDimensional(nn.RNN):
    def forward(self, inputs, state=None):
        output, after = super().forward(inputs)
        return output, after[..., None]


class OutputAlone(nn.RNN):
    def forward(self, inputs, state=None):
        return super().forward(inputs)[0]


@pytest.mark.parametrize(
    ("layer", "options", "message"),
    [
        (GLA(3, 8), {}, "layer should be a class or a partial of one, got an instance of GLA"),
        (8, {}, "layer should be a class or a partial of one, got an instance of int"),
        (nn.Linear, {}, "layer should accept input_size=, as torch.nn.RNN does, which Linear does not"),
        (partial(nn.Linear, out_features=4), {}, "layer should accept input_size=.*Linear does not"),
        (partial(OutputAlone, hidden_size=4), {}, "layer should return an output and a state.*OutputAlone does not"),
        (GLA, {}, "missing 1 required positional argument: 'hidden_size'"),
        (partial(Transformer, hidden_size=4), {}, "Transformer is made of blocks already: use it with block=none"),
        (partial(TCN, hidden_size=4), {}, "TCN is made of blocks already"),
        (partial(Blocks, MIXERS["rnn"]), {}, "Blocks is made of blocks already"),
        (partial(FourDimensional, hidden_size=4), {}, "the states of FourDimensional should be 3D tensors"),
        (MIXERS["rnn"], {"num_blocks": 0}, "num_blocks should be a positive whole number, got 0"),
        (MIXERS["rnn"], {"num_blocks": 1.5}, "num_blocks should be a positive whole number, got 1.5"),
        (MIXERS["rnn"], {"expansion": 0}, "expansion should be a positive whole number, got 0"),
        (MIXERS["rnn"], {"kernel_size": 1}, "kernel_size should be a whole number of at least 2, got 1"),
        (MIXERS["rnn"], {"input_size": 0}, "input_size should be a positive whole number, got 0"),
    ],
)
def test_refuses(layer, options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        Blocks(layer, **{"input_size": 3} | options)


@pytest.mark.parametrize("model", MODELS)
def test_every_layer_goes_into_blocks_unless_it_is_made_of_them(model):
    config = OmegaConf.merge(compose(f"model={model}").model, {"hidden_size": 8})
    layer = layer_of(config)
    if issubclass(layer.func, ContextLayer):
        with pytest.raises(ValueError, match="use it with block=none"):
            Blocks(layer, 3)
        return
    blocks = Blocks(layer, 3, expansion=2, kernel_size=4).double()
    output, state = blocks(properties.draw(blocks))
    assert output.shape == (properties.BATCH, properties.TIME, 8)
    (output.sum() + sum(part.sum() for part in state[1:] if part.isfinite().all())).backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in blocks.parameters())
    properties.close(copy.deepcopy(blocks)(properties.draw(blocks))[0], output, tolerance=0)
