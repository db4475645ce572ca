"""Exports give the model's answers in programs that know nothing of this package."""

import io
from functools import partial
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn

from seqmodels import export
from seqmodels.checks import UserError
from seqmodels.config import compose, layer_of
from seqmodels.config.folders import CONF
from seqmodels.export import export_model, forms
from seqmodels.export.forms import relative
from seqmodels.layers import LRU, RWKV7, SLSTM, TCN, DeltaNet, IndRNN, ManualLSTM, ManualRNN, Transformer
from seqmodels.model import SequenceModel

needs_onnx = pytest.mark.skipif(find_spec("onnxruntime") is None, reason="needs the extra `export`")
FORMATS = [pytest.param("onnx", marks=needs_onnx), "torch"]
ANY = (1, 2, 3, 17)


def model_of(layer, tokens=False, every_step=False, embedding_size=None, hidden_size=8, **arguments):
    torch.manual_seed(0)
    layer = partial(layer, hidden_size=hidden_size, batch_first=True, **arguments)
    return SequenceModel(layer, 5, 3, tokens, every_step, embedding_size).eval()


def inputs_of(model, batch, length):
    if model.arguments["tokens"]:
        return torch.randint(5, (batch, length))
    return torch.randn(batch, length, 5)


def loaded(content, format):
    """The exported model as a function of tensors, by the libraries that a user would take."""
    if format == "torch":
        module = torch.export.load(io.BytesIO(content)).module()
        return lambda *inputs: outputs if isinstance(outputs := module(*inputs), tuple) else (outputs,)
    import onnxruntime

    session = onnxruntime.InferenceSession(content)
    names = [port.name for port in session.get_inputs()]
    return lambda *inputs: [
        torch.tensor(output) for output in session.run(None, {n: i.numpy() for n, i in zip(names, inputs, strict=True)})
    ]


def assert_equal(found, expected):
    assert found.shape == expected.shape
    np.testing.assert_allclose(found.detach(), expected.detach(), rtol=0, atol=1e-5)


def check_whole(model, format, lengths, **arguments):
    exported = export_model(model, format, **arguments)
    run = loaded(exported.content, format)
    for batch in (1, 3, 64):
        for length in lengths:
            inputs = inputs_of(model, batch, length)
            extra = [torch.randint(1, length + 1, (batch,))] if arguments.get("padded") else []
            assert_equal(run(inputs, *extra)[0], model(inputs, *extra))
    return exported


def check_streaming(model, format, steps=30):
    exported = export_model(model, format, streaming=True)
    run = loaded(exported.content, format)
    for batch in (1, 3):
        inputs = inputs_of(model, batch, steps)
        sizes = [[batch if size == "batch" else size for size in port.shape] for port in exported.inputs[1:]]
        state = [torch.full(size, port.start) for size, port in zip(sizes, exported.inputs[1:], strict=True)]
        for step in range(steps):
            answer, *state = run(inputs[:, step], *state)
            expected = model(inputs[:, : step + 1])
            assert_equal(answer, expected[:, -1] if model.every_step else expected)
    return exported


@needs_onnx
@pytest.mark.parametrize(
    ("layer", "arguments", "padded"),
    [(ManualLSTM, {"num_layers": 2, "tokens": True, "embedding_size": 3}, True), (SLSTM, {"every_step": True}, False)],
)
def test_a_recurrent_layer_becomes_a_loop_of_any_length_in_onnx(layer, arguments, padded):
    exported = check_whole(model_of(layer, **arguments), "onnx", ANY, padded=padded)
    assert exported.inputs[0].shape[:2] == ("batch", "length")
    assert max(exported.differences.values()) < 1e-5


@pytest.mark.parametrize("format", FORMATS)
def test_a_layer_that_reads_in_two_directions_is_exported_for_one_length(format):
    model = model_of(ManualRNN, bidirectional=True, tokens=True)
    exported = check_whole(model, format, [4], length=4)
    assert [str(port) for port in exported.inputs] == ["inputs (batch, 4) int64"]
    assert [str(port) for port in exported.outputs] == ["answers (batch, 3) float32"]
    with pytest.raises(UserError, match="ManualRNN reads in two directions"):
        export_model(model, format)


@pytest.mark.parametrize("format", FORMATS)
def test_one_step_takes_the_state_and_returns_the_next(format, monkeypatch):
    monkeypatch.setattr(forms, "STEPS", (1, 100))
    layer = SLSTM if format == "onnx" else LRU
    exported = check_streaming(model_of(layer, num_layers=2), format)
    assert [port.name for port in exported.inputs] == ["inputs", *layer.states]
    assert [port.name for port in exported.outputs] == ["answers", *(f"{name}_n" for name in layer.states)]
    assert {port.shape for port in exported.inputs[1:]} == {(2, "batch", 8)}
    assert exported.inputs[-1].start == (-torch.inf if format == "onnx" else 0)
    if format == "onnx":
        check_names(exported)


@needs_onnx
@pytest.mark.parametrize("layer", [DeltaNet, RWKV7])
def test_one_step_of_a_delta_rule_is_exported_to_onnx(layer, monkeypatch):
    monkeypatch.setattr(forms, "STEPS", (1, 20))
    check_streaming(model_of(layer), "onnx", steps=20)


def check_names(exported):
    """The graph itself says what its inputs are called, what may vary, and where states start."""
    import onnx

    model = onnx.load_from_string(exported.content)
    onnx.checker.check_model(model, full_check=True)
    values = [*model.graph.input, *model.graph.output]
    for value, port in zip(values, [*exported.inputs, *exported.outputs], strict=True):
        assert value.name == port.name
        assert tuple(size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim) == port.shape
    assert [value.doc_string for value in model.graph.input] == [
        "",
        *[f"{start} before the first step" for start in ("0", "0", "0", "-inf")],
    ]


@pytest.mark.parametrize(
    ("layer", "choices", "message"),
    [
        (partial(ManualRNN), {"format": "torch"}, "format=torch unrolls the loop of ManualRNN over time"),
        (partial(ManualRNN, bidirectional=True), {"streaming": True}, "ManualRNN reads in two directions"),
        (partial(ManualRNN, bidirectional=True), {"length": 3, "padded": True}, "would need packed sequences"),
        (TCN, {"streaming": True}, "TCN is not recurrent"),
        (Transformer, {"streaming": True}, "Transformer is not recurrent"),
        (DeltaNet, {"format": "onnx", "length": 10}, "DeltaNet solves systems of equations.* which ONNX lacks"),
        (LRU, {"format": "onnx", "streaming": True}, "LRU computes with complex numbers, which ONNX lacks"),
    ],
)
def test_what_cannot_be_exported_is_refused_in_a_sentence(layer, choices, message, monkeypatch):
    monkeypatch.setattr(export, "check_installed", lambda format: None)
    with pytest.raises(UserError, match=message):
        export_model(model_of(layer), **{"format": "torch"} | choices)


def test_padded_sequences_need_no_lengths_where_each_step_has_an_answer():
    with pytest.raises(UserError, match="answers at every step"):
        export_model(model_of(IndRNN, every_step=True), "torch", length=3, padded=True)


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"format": "onxx"}, "format should be 'onnx' or 'torch', got 'onxx'; did you mean 'onnx'?"),
        ({"length": 0}, "length should be a positive whole number"),
        ({"length": 3, "streaming": True}, "length=3 should be left out with streaming=true"),
        ({"padded": True, "streaming": True}, "padded=true should be left out with streaming=true"),
        ({"tolerance": 0}, "tolerance should be a positive number, got 0"),
    ],
)
def test_wrong_arguments_are_refused(choices, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        export_model(model_of(ManualRNN), **choices)


def test_missing_packages_are_named_with_the_command_that_installs_them(monkeypatch):
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnxscript" else object())
    with pytest.raises(UserError, match=r'format=onnx needs onnxscript: pip install "seqmodels\[export\]"'):
        export_model(model_of(ManualRNN))


def test_an_export_with_other_answers_is_refused(monkeypatch):
    read = export.read_torch

    def read_another(content):
        run = read(content)
        return lambda *inputs: tuple(1.01 * output for output in run(*inputs))

    monkeypatch.setattr(export, "read_torch", read_another)
    with pytest.raises(UserError, match=r"by 1\.0e-02 of the largest answer, at length 2; the tolerance is 1e-04"):
        export_model(model_of(ManualRNN), "torch", length=2)


def test_the_difference_is_infinite_for_other_shapes_and_for_nan():
    ones = torch.ones(2, 3)
    assert relative(ones, ones) == 0
    assert relative(3 * ones, 2 * ones) == 0.5
    assert relative(ones[:1], ones) == torch.inf
    assert relative(ones * torch.nan, ones) == torch.inf
    with pytest.raises(UserError, match="own answers are not finite"):
        relative(ones, ones * torch.nan)


@torch.no_grad()
def test_a_model_that_amplifies_rounding_is_compared_only_where_its_answers_mean_something():
    """A large recurrent weight makes an Elman network chaotic: rounding decides its answers after a few dozen steps."""
    model = model_of(ManualRNN, tokens=True, hidden_size=64)
    nn.init.normal_(model.layer.weight_hh_l0, std=4 / 64**0.5)

    def same(inputs):
        return (model(inputs),)

    assert export.compared(forms.Whole(model, None), same, 1e-4)[1] == 10
    with pytest.raises(UserError, match="ManualRNN amplifies rounding: at length 60, float64 changes its answers by"):
        export.compared(forms.Whole(model, 60), same, 1e-4)
    assert export.compared(forms.Whole(model, 60), same, 2)[1] == 60


def test_a_model_whose_own_answers_are_not_finite_is_refused():
    model = model_of(ManualRNN)
    nn.init.constant_(model.head.weight, torch.nan)
    with pytest.raises(UserError, match="own answers are not finite"):
        export_model(model, "torch", length=2)


MODELS = sorted(file.stem for file in (CONF / "model").glob("*.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_exported_in_every_form_that_it_has(name, format):
    layer = layer_of(compose(f"model={name}", "model.hidden_size=16").model)
    looks_back = name in ("tcn", "transformer")
    if name in ("lru", "s4d") and format == "onnx":  # which has no complex numbers
        return
    for tokens, every_step in [(True, False), (False, True)]:
        model = SequenceModel(layer, 5, 3, tokens, every_step).eval()
        check_whole(model, format, [10], length=10)
        if format == "onnx" or name == "transformer":
            check_whole(model, format, ANY)
        if not every_step:
            check_whole(model, format, [10], length=10, padded=True)
        if not looks_back:
            check_streaming(model, format)
