"""The numbers of the lens, against the same computed in another way, in double precision."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from seqmodels.layers import LRU, IndRNN, ManualGRU, ManualLSTM, ManualRNN, MinGRU, Transformer
from seqmodels.lens import known_of, look
from seqmodels.lens.components import components_of
from seqmodels.lens.eigenvalues import spectra_of
from seqmodels.lens.gradients import gradient_norms
from seqmodels.lens.saturation import saturation_of
from seqmodels.model import SequenceModel
from seqmodels.tasks.formal import CumulativeParity, ParityCheck, Reber
from seqmodels.tasks.real import Digits
from seqmodels.tasks.signals import Sine


def test_the_components_are_those_of_a_singular_value_decomposition():
    states = torch.randn(5, 7, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    components = components_of(states)
    flat = states.reshape(-1, 6).numpy()
    flat = flat - flat.mean(axis=0)
    left, sizes, _ = np.linalg.svd(flat, full_matrices=False)
    expected = (left * sizes)[:, :2].reshape(5, 7, 2)
    signs = np.sign((expected * components.places.numpy()).sum(axis=(0, 1)))
    np.testing.assert_allclose(components.places.numpy(), expected * signs, atol=1e-12)
    np.testing.assert_allclose(components.shares, sizes[:2] ** 2 / (sizes**2).sum(), atol=1e-12)


def test_the_components_of_states_that_do_not_vary_or_have_one_unit():
    constant = components_of(torch.ones(2, 3, 4))
    assert (constant.places == 0).all()
    assert constant.shares == (0, 0)
    line = components_of(torch.arange(6.0).reshape(2, 3, 1))
    assert line.shares[0] == pytest.approx(1)
    assert (line.places[..., 1] == 0).all()


@pytest.mark.parametrize("task", [ParityCheck(9), CumulativeParity(9)])
def test_gradients_are_products_of_jacobians(task):
    torch.manual_seed(0)
    model = SequenceModel(
        partial(ManualRNN, hidden_size=5, batch_first=True), 2, 2, tokens=True, every_step=task.every_step
    ).double()
    inputs = task.draw(4, 9, torch.Generator().manual_seed(1))
    targets = task.solve(inputs)
    norms = gradient_norms(model, inputs, targets)
    layer, head = model.layer, model.head.weight.detach().double()
    for row, tokens in enumerate(inputs):
        state, jacobians = torch.zeros(5, dtype=torch.float64), []
        for token in tokens:
            sums = layer.weight_ih_l0[:, token] + layer.bias_ih_l0 + layer.weight_hh_l0 @ state + layer.bias_hh_l0
            state = sums.tanh().detach()
            jacobians.append(torch.diag(1 - state**2))
        right = targets[row, -1] if task.every_step else targets[row]
        back = head[right] - head.mean(dim=0)
        for distance in range(9):
            back = back @ jacobians[-1 - distance]
            expected = (back @ layer.weight_ih_l0).norm()
            assert norms[row, distance].item() == pytest.approx(expected.item(), rel=1e-12)
            back = back @ layer.weight_hh_l0


def test_the_gradient_of_numbers_is_that_of_their_sum_at_the_last_scored_step():
    torch.manual_seed(0)
    model = SequenceModel(partial(nn.GRU, hidden_size=4, batch_first=True), 1, 2, every_step=True).double()
    inputs = torch.randn(3, 6, 1, dtype=torch.float64)
    targets = torch.zeros(3, 6, 2).double()
    targets[1, 4:] = torch.nan
    targets[2] = torch.nan
    norms = gradient_norms(model, inputs, targets)
    for row, last in ((0, 5), (1, 3)):
        jacobian = torch.autograd.functional.jacobian(
            lambda x, last=last: model(x)[0, last].sum(), inputs[row : row + 1]
        )
        expected = jacobian[0, :, 0].abs().flip(0)[5 - last :]
        torch.testing.assert_close(norms[row, : last + 1], expected)
        assert norms[row, last + 1 :].isnan().all()
    assert norms[2].isnan().all()


def test_the_eigenvalues_of_each_gate():
    layer = nn.LSTM(3, 6, num_layers=2, bidirectional=True)
    spectra = spectra_of(layer)
    assert len(spectra) == 16
    assert spectra[5].name == "weight_hh_l0_reverse, forget gate"
    block = layer.weight_hh_l0_reverse.detach().double().numpy()[6:12]
    np.testing.assert_allclose(
        np.sort_complex(spectra[5].values.numpy()), np.sort_complex(np.linalg.eigvals(block)), atol=1e-9
    )


def test_the_eigenvalues_of_diagonal_recurrences():
    layer = LRU(3, 4)
    (spectrum,) = spectra_of(layer)
    modulus = np.exp(-np.exp(layer.log_nu_l0.detach().double().numpy()))
    np.testing.assert_allclose(np.abs(spectrum.values.numpy()), modulus)
    (spectrum,) = spectra_of(IndRNN(3, 4))
    assert (spectrum.values.imag == 0).all()
    assert spectra_of(MinGRU(3, 4)) == []
    assert spectra_of(Transformer(3, 4)) == []
    assert spectra_of(nn.LSTM(3, 6, proj_size=2)) == []  # it is not square


def test_saturation_counts_the_values_near_the_ends_of_each_function():
    torch.manual_seed(0)
    layer = ManualGRU(2, 3, batch_first=True).double()
    with torch.no_grad():
        layer.weight_hh_l0.mul_(6)
        layer.weight_ih_l0.mul_(6)
    inputs = torch.randn(2, 5, 2, dtype=torch.float64)
    found = {row.name: row for row in saturation_of(layer, inputs)}
    assert set(found) == {"reset gate", "update gate", "candidate"}
    gates = {"reset gate": [], "update gate": [], "candidate": []}
    for sequence in inputs:
        state = torch.zeros(3, dtype=torch.float64)
        for x in sequence:
            own = (layer.weight_ih_l0 @ x + layer.bias_ih_l0).chunk(3)
            past = (layer.weight_hh_l0 @ state + layer.bias_hh_l0).chunk(3)
            reset, update = (own[0] + past[0]).sigmoid(), (own[1] + past[1]).sigmoid()
            candidate = (own[2] + reset * past[2]).tanh()
            for name, value in zip(gates, (reset, update, candidate), strict=True):
                gates[name] += value.tolist()
            state = (1 - update) * candidate + update * state
    for name, values in gates.items():
        low = -1 if name == "candidate" else 0
        assert found[name].low == pytest.approx(np.mean(np.array(values) <= low + 0.05))
        assert found[name].high == pytest.approx(np.mean(np.array(values) >= 0.95))
    assert 0 < found["update gate"].high < 1


@pytest.mark.parametrize(("theirs", "ours"), [(nn.RNN, ManualRNN), (nn.GRU, ManualGRU), (nn.LSTM, ManualLSTM)])
def test_the_layers_of_torch_are_watched_as_they_are_written_out(theirs, ours):
    layer = theirs(2, 3, num_layers=2, batch_first=True, dropout=0.1, bidirectional=True)
    same = ours(2, 3, num_layers=2, batch_first=True, bidirectional=True)
    same.load_state_dict(layer.state_dict())
    inputs = torch.randn(2, 5, 2)
    assert saturation_of(layer, inputs) == saturation_of(same, inputs)
    assert "layer 2, backwards" in saturation_of(layer, inputs)[-1].name


def test_saturation_of_rectified_units_is_their_share_at_zero():
    layer = ManualRNN(2, 8, nonlinearity="relu", batch_first=True)
    inputs = torch.randn(1, 6, 2)
    output, _ = layer(inputs)
    (row,) = saturation_of(layer, inputs)
    assert (row.name, row.high) == ("h", None)
    assert row.low == pytest.approx((output == 0).float().mean().item())
    assert saturation_of(Transformer(2, 4, batch_first=True), inputs) == []
    assert saturation_of(MinGRU(2, 4, batch_first=True), inputs)[0].name == "update gate"


def test_what_is_known_of_a_step():
    task = Reber(9)
    inputs = task.draw(2, 9, torch.Generator().manual_seed(0))
    known = known_of(task, inputs, task.solve(inputs))
    assert known.text == task.remembered
    task = Sine(8)
    inputs = task.draw(2, 8, torch.Generator().manual_seed(0))
    known = known_of(task, inputs, task.solve(inputs))
    assert known.text == "the target of the step"
    assert known.values[:, : task.min_length - 1].isnan().all()
    task = Digits()
    inputs, targets = task.batch("test", 0, 3, None)
    known = known_of(task, inputs, targets)
    assert known.values.tolist() == [[float(target)] * 8 for target in targets]


def test_looking_changes_neither_the_model_nor_the_random_generator():
    torch.manual_seed(0)
    model = SequenceModel(partial(nn.LSTM, hidden_size=4, batch_first=True), 2, 2, tokens=True).eval()
    task = ParityCheck(6)
    inputs = task.draw(5, 6, torch.Generator().manual_seed(0))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    random = torch.get_rng_state()
    lens = look(model, inputs, task.solve(inputs), known_of(task, inputs, task.solve(inputs)))
    assert lens.states.shape == (3, 6, 4)
    assert lens.components.places.shape == (5, 6, 2)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert torch.equal(random, torch.get_rng_state())
