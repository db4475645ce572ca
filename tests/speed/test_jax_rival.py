"""JAX's layers are torch's in numbers, on as many CPUs as torch has threads, and leave no trace in JAX's settings.

pip install -c constraints.txt -e ".[test,jax]" && pytest tests/speed
"""

import os
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn

from seqmodels.layers import ManualGRU, ManualLSTM, ManualRNN, MinGRU
from seqmodels.speed import jax_rival
from seqmodels.speed.benchmark import largest_error, results
from seqmodels.speed.jax_rival import JaxRival, has_rival, on_cpus

pytest.importorskip("jax", reason="needs the extra `jax`")

LAYERS = [(ManualRNN, nn.RNN), (ManualGRU, nn.GRU), (ManualLSTM, nn.LSTM)]


@pytest.fixture(autouse=True)
def one_unroll(monkeypatch):
    """Compile one function rather than several; 4 divides few of the lengths here."""
    monkeypatch.setattr(jax_rival, "UNROLLS", (4,))


@pytest.mark.parametrize(("ours", "reference"), LAYERS)
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_outputs_and_gradients_are_those_of_torch(ours, reference, dtype, tolerance):
    theirs = reference(3, 5, num_layers=2, dtype=dtype)
    layer = ours(3, 5, num_layers=2, dtype=dtype)
    layer.load_state_dict(theirs.state_dict())
    inputs, gradient = torch.randn(7, 2, 3, dtype=dtype), torch.randn(7, 2, 5, dtype=dtype)
    rival = JaxRival(layer, inputs, gradient)
    found, expected = rival.results(), results(theirs, inputs, gradient)
    assert len(found) == 2 + 2 * 4
    assert [each.dtype for each in found] == [dtype] * len(found)
    assert largest_error(found, expected) < tolerance
    assert largest_error([jax_rival.in_torch(rival.infer())], expected[:1]) < tolerance


def test_double_precision_is_not_left_on():
    from jax import numpy as jnp

    inputs = torch.randn(4, 2, 3, dtype=torch.float64)
    JaxRival(ManualRNN(3, 5, dtype=torch.float64), inputs, torch.randn(4, 2, 5, dtype=torch.float64)).train()
    assert jnp.ones(2).dtype == jnp.float32


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs Linux")
def test_one_thread_is_one_cpu_for_every_thread_of_the_process():
    def cpus():
        return {frozenset(os.sched_getaffinity(int(thread.name))) for thread in Path("/proc/self/task").iterdir()}

    before = os.sched_getaffinity(0)
    with on_cpus(1):
        JaxRival(ManualGRU(3, 4), torch.randn(5, 2, 3), torch.randn(5, 2, 4)).train()
        assert [len(each) for each in cpus()] == [1]
    assert cpus() == {frozenset(before)}


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (ManualRNN(3, 4, num_layers=2), True),
        (ManualRNN(3, 4, nonlinearity="relu"), False),
        (ManualGRU(3, 4, bidirectional=True), False),
        (ManualLSTM(3, 4, proj_size=2), False),
        (ManualLSTM(3, 4, bias=False), False),
        (MinGRU(3, 4), False),
    ],
)
def test_other_layers_have_no_rival(layer, expected):
    assert has_rival(layer) is expected


def test_the_table_has_columns_for_jax(type_command, tmp_path):
    words = ["layers=[manual_gru,min_gru]", "threads=[1]", "rounds=1", "sizes=[[4,2,3,5,1]]", "jax=true"]
    code, shown, _ = type_command(*words, verb="benchmark")
    assert code == 0
    assert "JAX" in shown
    (folder,) = tmp_path.glob("outputs/benchmark/*")
    table = pd.read_csv(folder / "benchmark.csv")
    assert list(table["jax_ms"].isna()) == [False, False, True, True]
    assert table["jax_ratio"].to_numpy() == pytest.approx(
        (table["jax_ms"] / table["ours_ms"]).to_numpy(), rel=1e-3, nan_ok=True
    )
    header = (folder / "benchmark.md").read_text().splitlines()[0]
    assert header.endswith("| manual_gru train, 1, JAX | manual_gru infer, 1, JAX |")


def test_what_differs_is_not_timed(type_command, tmp_path, monkeypatch):
    def wrong(projected, states, weights):
        return tuple(1.001 * state for state in jax_rival.rnn_step(projected, states, weights))

    monkeypatch.setitem(jax_rival.STEPS, nn.RNN, wrong)
    words = ["layers=[manual_rnn]", "threads=[1]", "rounds=1", "sizes=[[4,2,3,5,1]]"]
    code, _, complaint = type_command(*words, verb="benchmark")
    assert code == 1
    assert complaint.startswith("error: JAX differs from manual_rnn at [4, 2, 3, 5, 1] by")
    assert list(tmp_path.iterdir()) == []
