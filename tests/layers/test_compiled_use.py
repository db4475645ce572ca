"""The backend "compiled" under the circumstances of real runs: processes, threads, copies, long and strange inputs."""

import copy
import os
import pickle
import shutil
import subprocess
import sys
import threading

import pytest
import torch
from test_bptt import assert_equal, draw, everything
from torch.nn import functional

from seqmodels.layers import ManualGRU, ManualLSTM, ManualRNN
from seqmodels.layers.compiled import cache, function

pytest.importorskip("numba")


@pytest.fixture(autouse=True)
def cache_folder(request, monkeypatch):
    folder = request.config.cache.mkdir("compiled")
    folder.chmod(0o700)
    monkeypatch.setenv("SEQMODELS_CACHE", str(folder))


@pytest.fixture
def must_compile(monkeypatch):
    monkeypatch.setattr(function, "_loop", lambda *_: pytest.fail("it fell back to autograd"))


def twins(kind=ManualRNN, dtype=torch.float64):
    layers = []
    for backend in ("compiled", "autograd"):
        torch.manual_seed(0)
        layers.append(kind(3, 5, backend=backend).to(dtype))
    return layers


PROGRAM = """
import torch
from seqmodels.layers import ManualRNN
torch.set_num_threads(1)
torch.manual_seed(0)
layer = ManualRNN(3, 5, backend="compiled")
layer(torch.ones(4, 2, 3))[0].sum().backward()
print(layer.weight_hh_l0.grad.sum().item())
"""


@pytest.mark.slow
def test_two_processes_may_compile_the_same_at_once(tmp_path):
    environment = os.environ | {"SEQMODELS_CACHE": str(tmp_path)}
    command = [sys.executable, "-W", "error", "-c", PROGRAM]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    processes = [subprocess.Popen(command, env=environment, **pipes) for _ in range(2)]
    shown = [process.communicate() for process in processes]
    assert shown[0][0] == shown[1][0]
    assert all(not errors for _, errors in shown), shown
    assert len(list(tmp_path.glob("*.py"))) == 2
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize("trouble", ["deleted", "read-only", "full"])
def test_a_folder_that_fails_later_does_no_harm(trouble, tmp_path, monkeypatch):
    monkeypatch.setenv("SEQMODELS_CACHE", str(tmp_path))
    arguments = draw(2, 2, 3), (torch.zeros(2, 5).double(),), twins()[0].weights()
    source = function.plan_of(twins()[0], *arguments).forward.text + f"# {trouble}\n"
    original = cache._execute

    def execute(name, file):
        if trouble == "deleted":
            shutil.rmtree(tmp_path)
        return original(name, file)

    def write(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache, "_execute", execute)
    if trouble == "full":
        monkeypatch.setattr("numba.core.caching.IndexDataCacheFile.save", write)
    if trouble == "read-only":
        monkeypatch.setattr("tempfile.NamedTemporaryFile", write)
    assert callable(cache.load(source))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_fork_goes_on_with_compiled_code(must_compile):
    layer, _ = twins()
    expected = everything(layer, draw(6, 4, 3))
    child = os.fork()
    if child == 0:
        try:
            assert_equal(everything(layer, draw(6, 4, 3)), expected, 0)
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_threads_share_a_layer(must_compile):
    layer, loop = twins(ManualLSTM)
    inputs = [draw(40, 9, 3, seed=seed) for seed in range(4)]
    expected = [everything(loop, each) for each in inputs]
    wrong = []

    def work(each, right):
        for _ in range(30):
            try:
                result = layer(each)[0]
                if not torch.allclose(result, right, atol=1e-12):
                    wrong.append(result)
                weights = list(layer.parameters())
                first, second = (torch.autograd.grad(layer(each)[0].sum(), weights) for _ in range(2))
                wrong.extend(pair for pair in zip(first, second, strict=True) if not torch.equal(*pair))
            except BaseException as error:
                wrong.append(error)

    threads = [
        threading.Thread(target=work, args=(each, right[0])) for each, right in zip(inputs, expected, strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def through_pickle(layer):
    return pickle.loads(pickle.dumps(layer))


@pytest.mark.parametrize("way", [copy.deepcopy, through_pickle])
def test_copies_after_use(way, must_compile):
    layer, _ = twins()
    expected = everything(layer, draw(6, 4, 3))
    copied = way(layer)
    with torch.no_grad():
        layer.weight_hh_l0.zero_()
    assert_equal(everything(copied, draw(6, 4, 3)), expected, 0)


def test_an_attribute_or_method_that_changes_after_use_is_noticed(monkeypatch):
    layer, loop = twins()
    for _ in range(2):
        layer(draw(6, 4, 3))
    layer.nonlinearity = loop.nonlinearity = "relu"
    assert_equal(everything(layer, draw(6, 4, 3)), everything(loop, draw(6, 4, 3)))
    monkeypatch.setattr(ManualRNN, "step", lambda self, projected, state, weights: projected - state)
    assert_equal(everything(layer, draw(6, 4, 3))[:1], everything(loop, draw(6, 4, 3))[:1])


SCALE = 1.0
SCALES = {"of all": 1.0}


def scaled(values):
    return SCALE * SCALES["of all"] * values


class Looking(ManualRNN):
    """A cell that looks up a global, a global dictionary, an attribute of its class, and two methods."""

    shift = 0.0
    scales = (1.0, 2.0)

    def moved(self, values):
        return values + self.shift

    @staticmethod
    def bent(values):
        return torch.tanh(values)

    def step(self, projected, state, weights):
        total = projected + functional.linear(state, weights.weight_hh, weights.bias_hh)
        return self.bent(scaled(self.moved(total))) * self.scales[0]


CHANGES = {
    "a global": lambda patch: patch.setitem(globals(), "SCALE", 0.5),
    "in a global": lambda patch: patch.setitem(SCALES, "of all", 0.5),
    "a function": lambda patch: patch.setitem(globals(), "scaled", lambda values: -values),
    "an attribute of the class": lambda patch: patch.setattr(Looking, "shift", 0.1),
    "a tuple": lambda patch: patch.setattr(Looking, "scales", (2.0,)),
    "a method": lambda patch: patch.setattr(Looking, "moved", lambda self, values: -values),
    "a static method": lambda patch: patch.setattr(Looking, "bent", staticmethod(torch.sin)),
}


@pytest.mark.parametrize(
    "changes", [["a global", "a method"], pytest.param([*CHANGES], marks=pytest.mark.slow)], ids=["some", "all"]
)
def test_what_a_step_looks_up_may_change(changes, must_compile, monkeypatch):
    layer, loop = twins(Looking)
    first = everything(layer, draw(6, 4, 3))
    assert_equal(first, everything(loop, draw(6, 4, 3)))
    for name in changes:
        with monkeypatch.context() as patch:
            CHANGES[name](patch)
            second = everything(layer, draw(6, 4, 3))
            assert not torch.allclose(first[0], second[0])
            assert_equal(second, everything(loop, draw(6, 4, 3)))
            assert_equal(everything(twins(Looking)[0], draw(6, 4, 3)), second)
    assert_equal(everything(layer, draw(6, 4, 3)), first)


def test_a_layer_that_changes_before_its_second_derivatives_is_refused():
    layer, _ = twins()
    inputs = draw(6, 4, 3).requires_grad_()
    output, _ = layer(inputs)
    layer.nonlinearity = "relu"
    with pytest.raises(RuntimeError, match="ManualRNN has changed between its forward and its backward pass"):
        torch.autograd.grad(output.sum(), inputs, create_graph=True)


class WithBuffer(ManualRNN):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.register_buffer("factor", torch.ones(1))

    def step(self, projected, state, weights):
        return torch.tanh(projected + state * self.factor.tolist()[0])


class Growing(ManualRNN):
    factors = ([1.0],)

    def step(self, projected, state, weights):
        return torch.tanh(projected + state * self.factors[0][0])


class WithModule(ManualRNN):
    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.inner = torch.nn.Tanh()

    def step(self, projected, state, weights):
        return self.inner(projected + state)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (WithBuffer, "it reads the value of a tensor"),
        (Growing, "it reads factors, a tuple, which can change unnoticed"),
        (WithModule, "a module in it has hooks"),
    ],
)
def test_what_could_change_unnoticed_is_not_compiled(kind, reason):
    layer, loop = twins(kind)
    if kind is WithModule:
        for each in (layer, loop):
            assert_equal(everything(each, draw(6, 4, 3)), everything(loop, draw(6, 4, 3)))
            each.inner.register_forward_hook(lambda module, given, result: 2 * result)
    with pytest.warns(UserWarning, match=reason):
        found = everything(layer, draw(6, 4, 3))
    assert_equal(found, everything(loop, draw(6, 4, 3)))


def test_weights_that_change_are_noticed(must_compile):
    layer, loop = twins()
    layer(draw(6, 4, 3))
    for each in (layer, loop):
        with torch.no_grad():
            each.weight_hh_l0.mul_(2)
        each.bias_hh_l0 = torch.nn.Parameter(torch.ones_like(each.bias_hh_l0))
    assert_equal(everything(layer, draw(6, 4, 3)), everything(loop, draw(6, 4, 3)))


def test_weights_that_change_between_the_passes_are_noticed(must_compile):
    layer, _ = twins()
    output, _ = layer(draw(6, 4, 3))
    with torch.no_grad():
        layer.weight_hh_l0.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        output.sum().backward()


def test_the_graph_can_be_used_twice_if_it_is_kept(must_compile):
    layer, _ = twins(ManualLSTM)
    output, _ = layer(draw(6, 4, 3))
    gradients = [torch.autograd.grad(output.sum(), list(layer.parameters()), retain_graph=True) for _ in range(2)]
    assert_equal(*gradients, 0)


@pytest.mark.parametrize("kind", [ManualRNN, ManualLSTM])
@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), 1e200])
def test_numbers_that_are_not_finite(kind, number, must_compile):
    results = []
    for layer in twins(kind):
        inputs = draw(6, 4, 3)
        inputs[2, 1, 0] = number
        with torch.no_grad():
            results.append(layer(inputs)[0])
    assert torch.equal(results[0].isnan(), results[1].isnan())
    assert_equal([results[0].nan_to_num()], [results[1].nan_to_num()], 1e-12)


def test_empty_batches_fall_back():
    for layer in twins():
        output, final = layer(draw(6, 0, 3))
        assert output.shape == (6, 0, 5)
        assert final.shape == (1, 0, 5)


def test_layouts_of_memory(must_compile):
    """Inputs, states and gradients that are views, expanded or transposed."""
    results = []
    for layer in twins():
        inputs = draw(4, 6, 6).transpose(0, 1)[..., ::2].requires_grad_()
        state = draw(1, 1, 5).expand(1, 4, 5).clone().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_()
        output, final = layer(inputs, state)
        d_output = draw(5, 4, 6).permute(2, 1, 0)
        d_final = draw(1, 1, 1).expand_as(final)
        wanted = [inputs, state, *layer.parameters()]
        results.append(torch.autograd.grad([output, final], wanted, [d_output, d_final]))
    assert_equal(*results)


def test_anomaly_detection_and_frozen_layers(must_compile):
    results = []
    for layer in twins():
        layer.requires_grad_(False)
        assert not layer(draw(6, 4, 3))[0].requires_grad
        inputs = draw(6, 4, 3).requires_grad_()
        with torch.autograd.set_detect_anomaly(True):
            results.append(torch.autograd.grad(layer(inputs)[0].sum(), inputs))
    assert_equal(*results)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")  # torch.export uses it
def test_falls_back_for_compilers_and_forward_mode():
    compiled, loop = twins(ManualGRU)
    results = []
    for layer in (compiled, loop):
        inputs = draw(4, 2, 3)
        run = torch.compile(lambda given, layer=layer: layer(given)[0], backend="eager")
        exported = torch.export.export(layer, (inputs,)).module()
        _, tangent = torch.func.jvp(lambda given, layer=layer: layer(given)[0], (inputs,), (draw(4, 2, 3, seed=5),))
        with torch.autograd.forward_ad.dual_level():
            dual = torch.autograd.forward_ad.make_dual(inputs, torch.ones_like(inputs))
            other = torch.autograd.forward_ad.unpack_dual(layer(dual)[0]).tangent
        results.append([run(inputs), exported(inputs)[0], tangent, other])
    assert_equal(*results)


def test_gradients_pass_gradcheck_twice():
    layer, _ = twins()
    inputs = draw(3, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda given: layer(given)[0], inputs)
    assert torch.autograd.gradgradcheck(lambda given: layer(given)[0], inputs)


@pytest.mark.slow
def test_ten_thousand_steps(must_compile):
    results = []
    for layer in twins():
        inputs = draw(10_000, 2, 3)
        output, _ = layer(inputs)
        results.append([output, *torch.autograd.grad(output.sum(), list(layer.parameters()))])
    assert_equal(*results, 1e-9)
